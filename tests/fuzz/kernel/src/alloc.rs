// SPDX-License-Identifier: GPL-2.0

//! Memory: boxes and vectors that say so when there is none. There always is.

use crate::error::Error;
use core::ops::Deref;
use core::ops::DerefMut;
use core::pin::Pin;
use pin_init::PinInit;
use std::boxed::Box;

/// There is no memory.
#[derive(Debug)]
pub struct AllocError;

/// An element that there is not.
#[derive(Debug)]
pub struct RemoveError;

/// An element that there is no room for.
#[derive(Debug)]
pub struct PushError<T>(pub T);

/// How to allocate.
#[derive(Clone, Copy)]
pub struct Flags;

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, _: Self) -> Self {
        self
    }
}

impl Flags {
    /// For C code.
    pub fn as_raw(self) -> u32 {
        0
    }
}

/// How to allocate.
pub mod flags {
    /// From where sleeping is allowed.
    pub const GFP_KERNEL: super::Flags = super::Flags;
    /// From anywhere.
    pub const GFP_NOWAIT: super::Flags = super::Flags;
    /// Zeroed.
    pub const __GFP_ZERO: super::Flags = super::Flags;
    /// Without a warning if there is none.
    pub const __GFP_NOWARN: super::Flags = super::Flags;
}

/// A box.
pub struct KBox<T: ?Sized>(Box<T>);

impl<T> KBox<T> {
    /// Moves a value into a box.
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        Ok(Self(Box::new(value)))
    }

    /// Makes a value in a box.
    pub fn try_pin_init<E>(init: impl PinInit<T, E>, _: Flags) -> Result<Pin<Self>, E> {
        let mut memory = Box::new_uninit();

        // SAFETY: The memory can be written, and is pinned below.
        unsafe { pin_init::raw_try_init(memory.as_mut_ptr(), init)? };
        // SAFETY: It was just initialised, and nobody can move it any more.
        Ok(unsafe { Pin::new_unchecked(Self(memory.assume_init())) })
    }

    /// The same, of what has an error of its own.
    pub fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>, Error>
    where
        Error: From<E>,
    {
        Ok(Self::try_pin_init(init, flags)?)
    }

    /// Turns a box into a pointer.
    pub fn into_raw(self) -> *mut T {
        Box::into_raw(self.0)
    }

    /// Turns it back.
    ///
    /// # Safety
    ///
    /// The pointer comes from [`Self::into_raw`], and this is done once.
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        // SAFETY: The caller guarantees it.
        Self(unsafe { Box::from_raw(ptr) })
    }
}

impl<T: ?Sized> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A vector.
pub struct KVec<T>(std::vec::Vec<T>);

/// A vector that may be large.
pub type KVVec<T> = KVec<T>;

/// A vector that is contiguous only virtually.
pub type VVec<T> = KVec<T>;

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> KVec<T> {
    /// Makes an empty vector.
    pub const fn new() -> Self {
        Self(std::vec::Vec::new())
    }

    /// Makes one with room for `capacity`.
    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut this = Self::new();

        this.reserve(capacity, flags)?;
        Ok(this)
    }

    /// Makes one of `count` copies.
    pub fn from_elem(value: T, count: usize, flags: Flags) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut this = Self::with_capacity(count, flags)?;

        this.0.resize(count, value);
        Ok(this)
    }

    /// For how many there is room.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Makes room for more.
    pub fn reserve(&mut self, additional: usize, _: Flags) -> Result<(), AllocError> {
        self.0.try_reserve(additional).map_err(|_| AllocError)
    }

    /// Appends.
    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(value);
        Ok(())
    }

    /// Appends, if there is room.
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.0.len() == self.0.capacity() {
            return Err(PushError(value));
        }
        self.0.push(value);
        Ok(())
    }

    /// Appends copies.
    pub fn extend_with(&mut self, count: usize, value: T, flags: Flags) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(count, flags)?;
        self.0.resize(self.0.len() + count, value);
        Ok(())
    }

    /// Appends copies of what is there.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(other.len(), flags)?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Takes the last.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Takes any.
    pub fn remove(&mut self, index: usize) -> Result<T, RemoveError> {
        if index < self.0.len() {
            Ok(self.0.remove(index))
        } else {
            Err(RemoveError)
        }
    }

    /// Drops what is past `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Drops what is not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(keep);
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All of it.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// All of it, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut KVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}
