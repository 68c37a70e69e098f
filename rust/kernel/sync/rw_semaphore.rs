// SPDX-License-Identifier: GPL-2.0

//! A reader-writer semaphore.
//!
//! This module allows Rust code to use the kernel's `struct rw_semaphore`: a sleeping lock that
//! either several readers or one writer hold. Writers do not starve, so a reader must not take the
//! lock again while it holds it.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    mem,
    ops::Deref, //
};
use pin_init::Wrapper as _;

/// Creates an [`RwSemaphore`] initialiser with the given name and a newly-created lock class.
///
/// It uses the name if one is given, otherwise it generates one based on the file name and line
/// number.
#[macro_export]
macro_rules! new_rw_semaphore {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::rw_semaphore::RwSemaphore::new(
            $inner,
            $crate::optional_name!($($name)?),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_rw_semaphore;

/// A sleeping lock that protects data and is held by any number of readers or by one writer.
///
/// Instances of [`RwSemaphore`] need a lock class and to be pinned. The recommended way to create
/// them is with [`pin_init!`](pin_init::pin_init) and [`new_rw_semaphore!`].
///
/// # Invariants
///
/// `raw` is an initialised `rw_semaphore`, and `data` is only accessed by those who hold it.
///
/// # Examples
///
/// ```
/// use kernel::sync::rw_semaphore::{
///     new_rw_semaphore,
///     RwSemaphore, //
/// };
///
/// #[pin_data]
/// struct Registry {
///     #[pin]
///     names: RwSemaphore<KVec<u32>>,
/// }
///
/// let registry = KBox::pin_init(
///     pin_init!(Registry {
///         names <- new_rw_semaphore!(KVec::new(), "registry"),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// registry.names.write().push(17, GFP_KERNEL)?;
///
/// // Readers do not exclude each other.
/// let one = registry.names.read();
/// let other = registry.names.read();
/// assert_eq!(one[..], other[..]);
/// drop((one, other));
///
/// let writer = registry.names.write();
/// assert!(registry.names.try_read().is_none());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct RwSemaphore<T> {
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

impl<T> RwSemaphore<T> {
    /// Constructs an initialiser; [`new_rw_semaphore!`] adds a lock class.
    pub fn new(
        data: impl PinInit<T>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        // INVARIANT: The semaphore is initialised here.
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
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: By the type invariants the semaphore is initialised, and it is pinned.
        unsafe { bindings::down_read(self.raw.get()) };

        ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock to read, unless somebody has it to write, or waits for that.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: By the type invariants the semaphore is initialised, and it is pinned.
        let taken = unsafe { bindings::down_read_trylock(self.raw.get()) } != 0;

        taken.then(|| ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Takes the lock to write. May sleep.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: By the type invariants the semaphore is initialised, and it is pinned.
        unsafe { bindings::down_write(self.raw.get()) };

        WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// An [`RwSemaphore`] is held to read, by the current task, for as long as this exists.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard gives shared access to the data, and to nothing else.
unsafe impl<T: Sync> Sync for ReadGuard<'_, T> {}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held to read as long as `self` lives, so there is no writer.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard exists and cannot leave its task, so that holds the lock to read.
        unsafe { bindings::up_read(self.lock.raw.get()) };
    }
}

/// An [`RwSemaphore`] is held to write, by the current task, for as long as this exists.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard gives shared access to the data, and to nothing else.
unsafe impl<T: Sync> Sync for WriteGuard<'_, T> {}

impl<T> WriteGuard<'_, T> {
    /// The data, to be changed in place.
    #[inline]
    pub fn as_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: The lock is held to write as long as `self` lives, `self` is borrowed
        // exclusively, and the data is pinned with the lock.
        unsafe { Pin::new_unchecked(&mut *self.lock.data.get()) }
    }

    /// Never releases the lock: whoever wants it from now on waits for good.
    ///
    /// For what must not change any more once a machine is on its way down.
    #[inline]
    pub fn keep(self) {
        mem::forget(self);
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held to write as long as `self` lives, so nobody else has access.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: Unpin> core::ops::DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.as_mut().get_mut()
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard exists and cannot leave its task, so that holds the lock to write.
        unsafe { bindings::up_write(self.lock.raw.get()) };
    }
}
