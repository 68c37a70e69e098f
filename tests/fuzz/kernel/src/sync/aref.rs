// SPDX-License-Identifier: GPL-2.0

//! References to what C code counts.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// A type whose values are there as long as somebody refers to them.
///
/// # Safety
///
/// That is so.
pub unsafe trait AlwaysRefCounted {
    /// One more.
    fn inc_ref(&self);

    /// One less.
    ///
    /// # Safety
    ///
    /// It is the caller's.
    unsafe fn dec_ref(object: NonNull<Self>);
}

/// A reference.
pub struct ARef<T: AlwaysRefCounted>(NonNull<T>, PhantomData<T>);

// SAFETY: There is one thread.
unsafe impl<T: AlwaysRefCounted> Send for ARef<T> {}

// SAFETY: As above.
unsafe impl<T: AlwaysRefCounted> Sync for ARef<T> {}

impl<T: AlwaysRefCounted> ARef<T> {
    /// Takes a reference over.
    ///
    /// # Safety
    ///
    /// It is the caller's.
    pub unsafe fn from_raw(object: NonNull<T>) -> Self {
        Self(object, PhantomData)
    }

    /// Gives a reference away.
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).0
    }
}

impl<T: AlwaysRefCounted> Clone for ARef<T> {
    fn clone(&self) -> Self {
        self.inc_ref();
        Self(self.0, PhantomData)
    }
}

impl<T: AlwaysRefCounted> Deref for ARef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The reference keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<T: AlwaysRefCounted> Drop for ARef<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { T::dec_ref(self.0) };
    }
}
