// SPDX-License-Identifier: GPL-2.0

//! The memory of userspace, which is that of this program.

use crate::error::Result;
use core::ffi::c_void;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

#[path = "../../../../rust/kernel/uaccess/extensible.rs"]
pub mod extensible;

/// An address.
#[derive(Clone, Copy)]
pub struct UserPtr(usize);

impl UserPtr {
    /// Takes a number.
    pub fn from_addr(addr: usize) -> Self {
        Self(addr)
    }

    /// As a pointer.
    pub fn as_const_ptr(self) -> *const c_void {
        core::ptr::with_exposed_provenance(self.0)
    }

    /// As a pointer, to write.
    pub fn as_mut_ptr(self) -> *mut c_void {
        core::ptr::with_exposed_provenance_mut(self.0)
    }

    /// Some bytes further.
    pub fn wrapping_byte_add(self, add: usize) -> Self {
        Self(self.0.wrapping_add(add))
    }
}

/// A range of it.
pub struct UserSlice(UserPtr, usize);

impl UserSlice {
    /// Takes an address and a length.
    pub fn new(ptr: UserPtr, len: usize) -> Self {
        Self(ptr, len)
    }

    /// To read from.
    pub fn reader(self) -> Self {
        self
    }

    /// To write to.
    pub fn writer(self) -> Self {
        self
    }

    /// Reads a value.
    pub fn read<T: FromBytes + IntoBytes>(&mut self) -> Result<T> {
        let mut value = T::new_zeroed();

        self.read_slice(value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads bytes.
    pub fn read_slice(&mut self, to: &mut [u8]) -> Result {
        assert!(to.len() <= self.1);
        // SAFETY: The program owns what it passes.
        unsafe {
            to.as_mut_ptr()
                .copy_from_nonoverlapping(self.0.as_const_ptr().cast(), to.len())
        };
        Ok(())
    }

    /// Writes bytes.
    pub fn write_slice(&mut self, from: &[u8]) -> Result {
        assert!(from.len() <= self.1);
        // SAFETY: As above.
        unsafe {
            self.0
                .as_mut_ptr()
                .cast::<u8>()
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
        Ok(())
    }
}
