// SPDX-License-Identifier: GPL-2.0

//! Modules, of which there are none: everything is built in.

use crate::bindings;
use crate::error::Result;
use core::ffi::CStr;

/// What is known of a module.
pub trait ModuleMetadata {
    /// Its name.
    const NAME: &'static CStr;

    /// Itself.
    const THIS_MODULE: ThisModule;
}

/// What a module does when it is loaded.
pub trait Module: Sized {
    /// Registers what it has.
    fn init(module: &'static ThisModule) -> Result<Self>;
}

/// The module of some code.
pub struct ThisModule(*mut bindings::module);

// SAFETY: There is one thread.
unsafe impl Sync for ThisModule {}

impl ThisModule {
    /// Takes a module.
    ///
    /// # Safety
    ///
    /// It is the right one.
    pub const unsafe fn from_ptr(ptr: *mut bindings::module) -> Self {
        Self(ptr)
    }

    /// For C code.
    pub const fn as_ptr(&self) -> *mut bindings::module {
        self.0
    }
}

/// The module that is known by `M`.
pub const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    &M::THIS_MODULE
}
