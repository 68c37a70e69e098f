// SPDX-License-Identifier: GPL-2.0

//! Sharing, by the one thread that there is.

mod arc;
pub mod aref;
pub mod atomic;
mod condvar;
mod lock;
#[path = "../../../../../rust/kernel/sync/rw_semaphore.rs"]
pub mod rw_semaphore;

pub use arc::Arc;
pub use arc::ArcBorrow;
pub use condvar::CondVar;
pub use lock::Guard as MutexGuard;
pub use lock::Mutex;
pub use lock::SpinLock;

use crate::bindings;
use crate::machine;
use core::cell::UnsafeCell;
use core::pin::Pin;

/// The class of a lock.
pub struct LockClassKey;

impl LockClassKey {
    /// For C code.
    pub fn as_ptr(self: Pin<&'static Self>) -> *mut bindings::lock_class_key {
        core::ptr::null_mut()
    }
}

/// A class of its own.
#[macro_export]
macro_rules! static_lock_class {
    () => {
        ::core::pin::Pin::static_ref(&$crate::sync::LockClassKey)
    };
}

/// A value that is set once in each boot.
pub struct SetOnce<T>(UnsafeCell<Option<T>>);

// SAFETY: There is one thread.
unsafe impl<T> Sync for SetOnce<T> {}

impl<T> SetOnce<T> {
    /// Starts without a value.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// The value.
    pub fn as_ref(&self) -> Option<&T> {
        // SAFETY: It changes only while nobody has seen it, and when the machine is switched off.
        unsafe { &*self.0.get() }.as_ref()
    }

    /// Sets the value, if there is none.
    pub fn populate(&'static self, value: T) -> bool {
        if self.as_ref().is_some() {
            return false;
        }

        // SAFETY: There is none, so nobody has a reference to it.
        unsafe { *self.0.get() = Some(value) };
        // SAFETY: When the machine is switched off, the kernel runs no longer.
        machine::at_power_off(|| drop(unsafe { (*self.0.get()).take() }));
        true
    }
}
