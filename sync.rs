// SPDX-License-Identifier: GPL-2.0

//! The reader-writer semaphore, which the kernel crate does not have.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h).

use core::cell::UnsafeCell;
use core::ops::Deref;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::LockClassKey;
use kernel::types::NotThreadSafe;
use kernel::types::Opaque;
use pin_init::Wrapper as _;

/// A sleeping lock that many readers or one writer may hold.
#[pin_data]
pub(crate) struct RwSemaphore<T> {
    #[pin]
    raw: Opaque<bindings::rw_semaphore>,
    #[pin]
    data: UnsafeCell<T>,
}

// SAFETY: Whoever gets the lock gets the data; a `rw_semaphore` may be moved between threads while
// nobody holds it, and a guard borrows the lock.
unsafe impl<T: Send> Send for RwSemaphore<T> {}

// SAFETY: The semaphore lets either several `&T` exist, which `T: Sync` allows on several threads,
// or one `&mut T`, which `T: Send` allows on any thread.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

/// Initialises an [`RwSemaphore`] with a lock class of its own.
macro_rules! new_rwsem {
    ($data:expr, $name:literal) => {
        $crate::sync::RwSemaphore::new($data, $name, kernel::static_lock_class!())
    };
}
pub(crate) use new_rwsem;

impl<T> RwSemaphore<T> {
    /// Returns an initialiser; use [`new_rwsem!`] to get a lock class as well.
    pub(crate) fn new(
        data: impl PinInit<T>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writing a `rw_semaphore`, and the name and the class are
            // static, so lockdep may keep them.
            raw <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_rwsem(slot, name.as_char_ptr(), class.as_ptr())
            }),
            data <- UnsafeCell::pin_init(data),
        })
    }

    /// Takes the lock to read. May sleep.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: `raw` was initialised by `new()` and is pinned.
        unsafe { bindings::down_read(self.raw.get()) };
        ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock to write. May sleep.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: `raw` was initialised by `new()` and is pinned.
        unsafe { bindings::down_write(self.raw.get()) };
        WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// Proof that an [`RwSemaphore`] is held to read, by the current thread.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held to read as long as `self` lives, so there is no writer.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard exists, so this thread holds the lock to read.
        unsafe { bindings::up_read(self.lock.raw.get()) };
    }
}

/// Proof that an [`RwSemaphore`] is held to write, by the current thread.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct WriteGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: NotThreadSafe,
}

impl<T> WriteGuard<'_, T> {
    /// The data, to be changed.
    pub(crate) fn as_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: The lock is held to write as long as `self` lives, `self` is borrowed
        // exclusively, and the data is pinned with the lock.
        unsafe { Pin::new_unchecked(&mut *self.lock.data.get()) }
    }

    /// Never releases the lock.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held to write as long as `self` lives, so nobody else has access.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard exists, so this thread holds the lock to write.
        unsafe { bindings::up_write(self.lock.raw.get()) };
    }
}
