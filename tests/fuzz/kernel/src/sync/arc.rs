// SPDX-License-Identifier: GPL-2.0

//! Counted references.

use crate::alloc::Flags;
use crate::error::Error;
use crate::error::Result;
use crate::types::ForeignOwnable;
use core::ffi::c_void;
use core::ops::Deref;
use pin_init::PinInit;
use std::mem::ManuallyDrop;

/// A reference to a value that is there as long as there is one.
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    /// Makes a value.
    pub fn pin_init<E>(init: impl PinInit<T, E>, _: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        let mut memory = std::sync::Arc::new_uninit();
        let slot = std::sync::Arc::get_mut(&mut memory).expect("the only reference");

        // SAFETY: The memory can be written, and what is in an `Arc` is not moved.
        unsafe { pin_init::raw_try_init(slot.as_mut_ptr(), init)? };
        // SAFETY: It was just initialised.
        Ok(Self(unsafe { memory.assume_init() }))
    }

    /// Turns a reference into a pointer.
    pub fn into_raw(self) -> *const T {
        std::sync::Arc::into_raw(self.0)
    }

    /// Turns it back.
    ///
    /// # Safety
    ///
    /// The pointer comes from [`Self::into_raw`], and this is done once.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: The caller guarantees it.
        Self(unsafe { std::sync::Arc::from_raw(ptr) })
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A borrowed [`Arc`].
pub struct ArcBorrow<'a, T>(ManuallyDrop<Arc<T>>, core::marker::PhantomData<&'a T>);

impl<T> Deref for ArcBorrow<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

// SAFETY: A pointer to the value goes back and forth.
unsafe impl<T: 'static> ForeignOwnable for Arc<T> {
    const FOREIGN_ALIGN: usize = align_of::<T>();
    type Borrowed<'a> = ArcBorrow<'a, T>;
    type BorrowedMut<'a> = ArcBorrow<'a, T>;

    fn into_foreign(self) -> *mut c_void {
        self.into_raw().cast_mut().cast()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: The caller guarantees that it comes from `into_foreign()`.
        unsafe { Self::from_raw(ptr.cast()) }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> ArcBorrow<'a, T> {
        // SAFETY: As above, and the reference is not given up.
        let arc = unsafe { Self::from_raw(ptr.cast()) };

        ArcBorrow(ManuallyDrop::new(arc), core::marker::PhantomData)
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> ArcBorrow<'a, T> {
        // SAFETY: The caller guarantees what is asked for.
        unsafe { Self::borrow(ptr) }
    }
}
