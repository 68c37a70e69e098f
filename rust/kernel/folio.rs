// SPDX-License-Identifier: GPL-2.0

//! Folios: pages that are used, and freed, as one.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/folio_batch.h`](srctree/include/linux/folio_batch.h)

use crate::bindings;
use core::{
    mem,
    ptr::NonNull, //
};

/// The highest order of a folio that files in memory can have here.
#[inline]
pub fn max_order() -> u32 {
    // SAFETY: May be called from anywhere.
    unsafe { bindings::folio_max_file_order() }
}

/// A folio that nobody else knows of, and that is to go where its index says. Dropped, it is freed.
///
/// # Invariants
///
/// `ptr` is a folio with one reference, which belongs to this value.
pub struct Folio {
    ptr: NonNull<bindings::folio>,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Folio {}

// SAFETY: A shared folio gives access to nothing that changes.
unsafe impl Sync for Folio {}

impl Folio {
    /// Wraps a folio.
    ///
    /// # Safety
    ///
    /// The folio has one reference, which is the caller's and becomes that of the result.
    pub(crate) unsafe fn from_raw(ptr: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the caller's guarantee.
        Self { ptr }
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::folio_put(self.ptr.as_ptr()) };
    }
}

/// Some folios, to be dealt with at once. Dropped, they are freed.
///
/// # Invariants
///
/// The folios in it are as [`Folio`] has them.
pub struct Batch {
    inner: bindings::folio_batch,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        // INVARIANT: There is no folio in it.
        Self {
            inner: pin_init::zeroed(),
        }
    }

    /// Whether there is no room for one more.
    #[inline]
    pub fn is_full(&self) -> bool {
        usize::from(self.inner.nr) == self.inner.folios.len()
    }

    /// Adds a folio, behind the others. It is freed if there is no room.
    #[inline]
    pub fn push(&mut self, folio: Folio) {
        if let Some(slot) = self.inner.folios.get_mut(usize::from(self.inner.nr)) {
            // INVARIANT: This is a folio as they have to be, and it is not dropped.
            *slot = folio.ptr.as_ptr();
            self.inner.nr += 1;
            mem::forget(folio);
        }
    }

    /// The C struct, for who takes the folios out of it or leaves others of the kind there.
    pub(crate) fn as_raw(&mut self) -> *mut bindings::folio_batch {
        &raw mut self.inner
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the references are ours.
        unsafe { bindings::folios_put(self.as_raw()) };
    }
}
