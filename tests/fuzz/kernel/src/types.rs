// SPDX-License-Identifier: GPL-2.0

//! Types around ownership and C.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use pin_init::PinInit;
use pin_init::Wrapper;
use pin_init::Zeroable;

/// A value that C code looks after.
#[repr(transparent)]
pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: It need not be initialised at all.
unsafe impl<T> Zeroable for Opaque<T> {}

impl<T> Opaque<T> {
    /// Takes a value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(MaybeUninit::new(value)))
    }

    /// A pointer to the value.
    pub const fn get(&self) -> *mut T {
        self.0.get().cast()
    }

    /// Returns an initialiser that calls a C function.
    pub fn ffi_init(init: impl FnOnce(*mut T)) -> impl PinInit<Self> {
        // SAFETY: It need not be initialised.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                init(slot.cast());
                Ok::<(), core::convert::Infallible>(())
            })
        }
    }
}

impl<T> Wrapper<T> for Opaque<T> {
    fn pin_init<E>(init: impl PinInit<T, E>) -> impl PinInit<Self, E> {
        // SAFETY: It is initialised if the value in it is.
        unsafe {
            pin_init::pin_init_from_closure(|slot: *mut Self| {
                pin_init::raw_try_init(slot.cast::<T>(), init)
            })
        }
    }
}

/// What belongs to one thread.
pub type NotThreadSafe = PhantomData<*mut ()>;

/// Its value.
#[allow(non_upper_case_globals)]
pub const NotThreadSafe: NotThreadSafe = PhantomData;

/// A pointer that C code can keep.
///
/// # Safety
///
/// What becomes of a pointer can be made of it again.
pub unsafe trait ForeignOwnable: Sized {
    /// How it is aligned.
    const FOREIGN_ALIGN: usize;

    /// What borrows it.
    type Borrowed<'a>
    where
        Self: 'a;

    /// As above.
    type BorrowedMut<'a>
    where
        Self: 'a;

    /// For C code.
    fn into_foreign(self) -> *mut c_void;

    /// Back from C code.
    ///
    /// # Safety
    ///
    /// The pointer comes from [`Self::into_foreign`], and this is done once.
    unsafe fn from_foreign(ptr: *mut c_void) -> Self;

    /// The same, unless C code has none.
    ///
    /// # Safety
    ///
    /// The same.
    unsafe fn try_from_foreign(ptr: *mut c_void) -> Option<Self> {
        // SAFETY: The caller guarantees it.
        (!ptr.is_null()).then(|| unsafe { Self::from_foreign(ptr) })
    }

    /// Looks at what C code has.
    ///
    /// # Safety
    ///
    /// C code still has it.
    unsafe fn borrow<'a>(ptr: *mut c_void) -> Self::Borrowed<'a>;

    /// As above.
    ///
    /// # Safety
    ///
    /// Nobody else looks at it.
    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> Self::BorrowedMut<'a>;
}

/// Does something with a value unless it is told not to.
pub struct ScopeGuard<T, F: FnOnce(T)>(Option<(T, F)>);

impl<T, F: FnOnce(T)> ScopeGuard<T, F> {
    /// Takes the value, and what to do.
    pub fn new_with_data(value: T, cleanup: F) -> Self {
        Self(Some((value, cleanup)))
    }

    /// Gives the value back.
    pub fn dismiss(mut self) -> T {
        self.0.take().expect("a guard that is not dropped").0
    }
}

impl<T, F: FnOnce(T)> Deref for ScopeGuard<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.as_ref().expect("a guard that is not dropped").0
    }
}

impl<T, F: FnOnce(T)> Drop for ScopeGuard<T, F> {
    fn drop(&mut self) {
        if let Some((value, cleanup)) = self.0.take() {
            cleanup(value);
        }
    }
}

// SAFETY: There is nothing behind any pointer.
unsafe impl ForeignOwnable for () {
    const FOREIGN_ALIGN: usize = 1;
    type Borrowed<'a> = ();
    type BorrowedMut<'a> = ();

    fn into_foreign(self) -> *mut c_void {
        core::ptr::dangling_mut()
    }

    unsafe fn from_foreign(_: *mut c_void) -> Self {}

    unsafe fn borrow<'a>(_: *mut c_void) -> Self::Borrowed<'a> {}

    unsafe fn borrow_mut<'a>(_: *mut c_void) -> Self::BorrowedMut<'a> {}
}
