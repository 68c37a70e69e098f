// SPDX-License-Identifier: GPL-2.0

//! The memory of userspace, which is that of this program.

use core::ffi::c_void;

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
