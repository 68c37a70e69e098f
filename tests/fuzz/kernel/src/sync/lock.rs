// SPDX-License-Identifier: GPL-2.0

//! Locks. Nobody ever waits for one: whoever holds it would be waiting as well.

use core::cell::Cell;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ops::DerefMut;
use pin_init::pin_data;
use pin_init::pin_init;
use pin_init::PinInit;
use pin_init::Wrapper as _;

/// A lock.
#[pin_data]
pub struct Mutex<T> {
    locked: Cell<bool>,
    #[pin]
    data: UnsafeCell<T>,
}

/// A lock that is held for a moment.
pub type SpinLock<T> = Mutex<T>;

// SAFETY: There is one thread.
unsafe impl<T> Sync for Mutex<T> {}

/// Initialises a [`Mutex`].
#[macro_export]
macro_rules! new_mutex {
    ($data:expr, $name:literal) => {
        $crate::sync::Mutex::new($data)
    };
}

/// Initialises a [`SpinLock`].
#[macro_export]
macro_rules! new_spinlock {
    ($data:expr, $name:literal) => {
        $crate::sync::SpinLock::new($data)
    };
}

impl<T> Mutex<T> {
    /// Returns an initialiser.
    pub fn new(data: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            locked: Cell::new(false),
            data <- UnsafeCell::pin_init(data),
        })
    }

    /// Takes the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        assert!(!self.locked.replace(true), "the lock is held already");
        Guard(self)
    }

    /// Takes the lock unless it is held.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        (!self.locked.replace(true)).then_some(Guard(self))
    }
}

/// Proof that a lock is held.
pub struct Guard<'a, T>(&'a Mutex<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.0.data.get() }
    }
}

impl<T: Unpin> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.locked.set(false);
    }
}
