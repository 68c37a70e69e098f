// SPDX-License-Identifier: GPL-2.0

//! References to modules.
//!
//! A module cannot be unloaded as long as somebody has a reference to it. Who calls functions of a
//! module that registered them needs one, if a call can be made after they are unregistered.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use crate::{
    bindings,
    module::{
        ModuleMetadata,
        ThisModule, //
    },
    prelude::*, //
};
use core::ptr;

/// The owner of what is built into the kernel and is no module, for code without `module!`.
pub struct BuiltIn;

impl ModuleMetadata for BuiltIn {
    const NAME: &'static CStr = c"kernel";

    // SAFETY: `THIS_MODULE` is null in what is built in.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(ptr::null_mut()) };
}

/// A module that cannot be unloaded as long as this exists.
///
/// What is built into the kernel belongs to no module; a reference to that holds nothing.
///
/// # Invariants
///
/// The pointer is null, or the module has a reference that is given back by dropping this.
///
/// # Examples
///
/// ```
/// use kernel::{
///     module::this_module,
///     module_ref::{
///         BuiltIn,
///         ModuleRef, //
///     }, //
/// };
///
/// // In a module, the type is the one that `module!` was told.
/// let module = ModuleRef::try_get(this_module::<BuiltIn>()).ok_or(ENODEV)?;
///
/// assert!(module.clone().name().is_none());
/// drop(module);
/// # Ok::<(), Error>(())
/// ```
pub struct ModuleRef(*mut bindings::module);

// SAFETY: The count of references to a module is not bound to a thread.
unsafe impl Send for ModuleRef {}

// SAFETY: A shared reference to this gives access to nothing.
unsafe impl Sync for ModuleRef {}

impl ModuleRef {
    /// Takes a reference to a module; [`None`] if it is going already. May be called from any
    /// context.
    #[inline]
    pub fn try_get(module: &ThisModule) -> Option<Self> {
        // SAFETY: This is the module of the caller, so it is there.
        unsafe { Self::try_get_raw(module.as_ptr()) }
    }

    /// As [`Self::try_get`], by the pointer that C has to a module.
    ///
    /// # Safety
    ///
    /// `module` has to be null, or a module that is not freed during the call.
    #[inline]
    pub unsafe fn try_get_raw(module: *mut bindings::module) -> Option<Self> {
        // INVARIANT: It is null, or there is one reference more, which is this one's.
        // SAFETY: The caller guarantees that this is null or a module.
        (module.is_null() || unsafe { bindings::try_module_get(module) }).then(|| Self(module))
    }

    /// The name of the module; [`None`] if it is built into the kernel. May be called from any
    /// context.
    pub fn name(&self) -> Option<&CStr> {
        if self.0.is_null() {
            return None;
        }

        // SAFETY: By the type invariants this is a module that is there as long as `self`, and its
        // name is a string that stays as it is.
        Some(unsafe { CStr::from_char_ptr(bindings::module_name(self.0)) })
    }
}

impl Clone for ModuleRef {
    /// Takes another reference. May be called from any context.
    #[inline]
    fn clone(&self) -> Self {
        if !self.0.is_null() {
            // SAFETY: By the type invariants this is a module that has a reference.
            unsafe { bindings::__module_get(self.0) };
        }

        // INVARIANT: If it is not null there is one reference more, which is the clone's.
        Self(self.0)
    }
}

impl Drop for ModuleRef {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: By the type invariants there is a reference that nobody else gives back.
            unsafe { bindings::module_put(self.0) };
        }
    }
}
