// SPDX-License-Identifier: GPL-2.0

//! Kexec: the image of the next kernel, for those who hand something over to it.
//!
//! C header: [`include/linux/kexec.h`](srctree/include/linux/kexec.h)
//!
//! # Examples
//!
//! ```
//! use kernel::kexec::{
//!     Image,
//!     Lock, //
//! };
//!
//! // Nobody has loaded a kernel before there are programs.
//! let lock = Lock::try_lock()?;
//! assert!(matches!(lock.image(), Image::None));
//!
//! assert!(Lock::try_lock().is_err());
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    prelude::*, //
};
use core::mem::ManuallyDrop;

/// The image of the next kernel, by what that gets to know of what KHO holds.
pub enum Image {
    /// None is loaded.
    None,
    /// All of it: it was loaded by `kexec_file_load()`, with KHO on.
    Carries,
    /// Nothing.
    Loses,
}

/// Kexec is locked: nobody loads an image, or enters it, as long as this exists.
///
/// # Invariants
///
/// The lock of kexec is held, and released by dropping this.
pub struct Lock(());

impl Lock {
    /// Locks kexec. May be called from any context.
    ///
    /// Returns `EBUSY` if it is locked.
    pub fn try_lock() -> Result<Self> {
        // SAFETY: May be called at any time.
        if unsafe { bindings::kexec_trylock() } {
            // INVARIANT: It is held now, and nobody else releases it.
            Ok(Self(()))
        } else {
            Err(EBUSY)
        }
    }

    /// The lock that the caller's caller holds, and releases.
    ///
    /// # Safety
    ///
    /// Kexec has to be locked, and to stay so for as long as the result exists.
    pub unsafe fn held() -> ManuallyDrop<Self> {
        // INVARIANT: The caller guarantees that it is held, and this is not dropped.
        ManuallyDrop::new(Self(()))
    }

    /// The image that is loaded.
    pub fn image(&self) -> Image {
        // SAFETY: By the type invariants kexec is locked, so this is null, or an image that stays.
        let Some(image) = (unsafe { bindings::kexec_image.as_ref() }) else {
            return Image::None;
        };
        // SAFETY: The segment is null, or one of the image.
        let scratch = unsafe { image.kho.scratch.as_ref() };

        // What `kexec_load()` loads has neither part, and no kexec hands over without both.
        if image.kho.fdt != 0 && scratch.is_some_and(|scratch| scratch.bufsz != 0) {
            Image::Carries
        } else {
            Image::Loses
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is held, by nobody else.
        unsafe { bindings::kexec_unlock() };
    }
}
