// SPDX-License-Identifier: GPL-2.0

//! Kexec Handover (KHO) with owners: memory that the next kernel will get, and memory that the
//! previous kernel left.
//!
//! Outgoing memory is a value, [`Preserved`]; dropping it takes the memory back from KHO. Incoming
//! memory belongs to nobody until somebody has found it to be sound; until then it is looked at
//! through [`Memory`], which answers for every address whether there is anything to look at, and
//! leaves everything where it is unless told to release it.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h).

use core::ops::Deref;
use core::ops::DerefMut;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::from_err_ptr;
use kernel::error::to_result;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::KnownLayout;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/kho.rs"]
pub(crate) mod tests;

extern "C" {
    fn luo_virt_to_phys(virt: *const c_void) -> u64;
    fn luo_phys_to_virt(phys: u64) -> *mut c_void;
}

/// Whether KHO is enabled (`kho=`).
pub(crate) fn is_enabled() -> bool {
    // SAFETY: May be called from anywhere.
    unsafe { bindings::kho_is_enabled() }
}

/// A `T` in memory that the next kernel will find as it was left.
///
/// Dropped, the memory is taken out of KHO and freed. Nothing has to be done to hand it over: what
/// is still preserved when the machine jumps, is.
///
/// # Invariants
///
/// `ptr` came from `kho_alloc_preserve()`, is aligned to a page, holds a valid `T`, and belongs to
/// this value alone.
pub(crate) struct Preserved<T> {
    ptr: NonNull<T>,
}

// SAFETY: `Preserved<T>` owns its `T`, and preserved memory belongs to no thread.
unsafe impl<T: Send> Send for Preserved<T> {}

// SAFETY: A shared `Preserved<T>` gives shared access to `T` only.
unsafe impl<T: Sync> Sync for Preserved<T> {}

impl<T: FromZeros> Preserved<T> {
    /// Allocates and preserves a `T` of zeroes.
    ///
    /// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
    pub(crate) fn new() -> Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PAGE_SIZE) };

        // SAFETY: May be called from where sleeping is allowed.
        let ptr = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size_of::<T>()) })?;
        let ptr = NonNull::new(ptr.cast()).ok_or(ENOMEM)?;

        // INVARIANT: KHO returned zeroed memory of at least `T`'s size, aligned to a page; a `T`
        // of zeroes is valid, and nobody else knows of it.
        Ok(Self { ptr })
    }
}

impl<T> Preserved<T> {
    /// The physical address, under which the next kernel finds it.
    pub(crate) fn phys(&self) -> u64 {
        // SAFETY: By the type invariants, this is an address of the direct map.
        unsafe { luo_virt_to_phys(self.ptr.as_ptr().cast()) }
    }

    /// Enters this into KHO's tree as `name`, for the next kernel to begin with.
    ///
    /// Returns `EEXIST` if there is such an entry already, `ENOMEM` if KHO's tree is full. May
    /// sleep.
    pub(crate) fn publish(self, name: &CStr) -> Result<Published<T>> {
        // SAFETY: The name is NUL-terminated and copied by KHO; the memory is preserved and, by
        // `Published`'s invariants, stays so for as long as the entry is there.
        to_result(unsafe {
            bindings::kho_add_subtree(name.as_char_ptr(), self.ptr.as_ptr().cast(), size_of::<T>())
        })?;

        // INVARIANT: The entry was just made.
        Ok(Published { memory: self })
    }
}

impl<T> Deref for Preserved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T> DerefMut for Preserved<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref()`, and `self` is borrowed exclusively.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T> Drop for Preserved<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this came from `kho_alloc_preserve()` and has no other
        // owner.
        unsafe { bindings::kho_unpreserve_free(self.ptr.as_ptr().cast()) };
    }
}

/// Preserved memory with an entry in KHO's tree.
///
/// # Invariants
///
/// KHO's tree has an entry that points to `memory`.
pub(crate) struct Published<T> {
    memory: Preserved<T>,
}

impl<T> Deref for Published<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.memory
    }
}

impl<T> DerefMut for Published<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.memory
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is such an entry; the memory outlives it, as fields
        // are dropped after this.
        unsafe { bindings::kho_remove_subtree(self.memory.ptr.as_ptr().cast()) };
    }
}

/// The pages that a previous kernel handed over, as far as nobody has claimed them.
pub(crate) trait Memory {
    /// The `T` at the beginning of the page at `phys`, or [`None`] if that is not the address of a
    /// page that was handed over and is still there. Any address may be asked for.
    fn page<T: FromBytes + Immutable + KnownLayout>(&self, phys: u64) -> Option<&T>;

    /// Gives the pages at the physical addresses `pages` back to the system. That nobody looks at
    /// them any more is what the exclusive borrow says.
    fn release(&mut self, pages: &[u64]);
}

/// What KHO brought from the previous kernel.
///
/// There is one value of this type in the life of a kernel, so that nobody can release a page that
/// somebody else is looking at.
pub(crate) struct HandedOver(());

impl HandedOver {
    /// Returns the only [`HandedOver`], when called for the first time.
    pub(crate) fn take() -> Option<Self> {
        static TAKEN: Atomic<bool> = Atomic::new(false);

        (!TAKEN.xchg(true, Relaxed)).then_some(Self(()))
    }

    /// Looks up what the previous kernel published as `name`: its physical address, and its size
    /// in bytes.
    ///
    /// Returns `ENOENT` if there is no such entry, `EINVAL` if it is malformed.
    pub(crate) fn find(&self, name: &CStr) -> Result<(u64, usize)> {
        let mut phys = 0;
        let mut size = 0;

        // SAFETY: The name is NUL-terminated, and both results may be written.
        to_result(unsafe {
            bindings::kho_retrieve_subtree(name.as_char_ptr(), &mut phys, &mut size)
        })?;

        Ok((phys, size))
    }

    fn is_page(phys: u64) -> bool {
        // SAFETY: Any address may be asked for.
        unsafe { bindings::kho_is_restorable(phys, 0) }
    }
}

impl Memory for HandedOver {
    fn page<T: FromBytes + Immutable + KnownLayout>(&self, phys: u64) -> Option<&T> {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };

        if !Self::is_page(phys) {
            return None;
        }

        // SAFETY: `phys` is the address of a page that the previous kernel preserved and nobody
        // has restored: it is in the direct map, holds at least a `T`, aligned to a page, and any
        // bytes are a valid `T`. Nobody writes to it: it is reserved until it is restored. For a
        // page of LUO, `release()` alone does that, and cannot be called while the reference, which
        // borrows the only `HandedOver`, is alive. Pages of files are restored through LUO, so not
        // before all has been read. What remains, a damaged address that is by chance one of
        // another user of KHO, is read at early init and at the first open, and they restore
        // theirs while the kernel boots, between the two.
        Some(unsafe { &*luo_phys_to_virt(phys).cast_const().cast::<T>() })
    }

    fn release(&mut self, pages: &[u64]) {
        for &phys in pages {
            // Restoring a page makes it an ordinary one, so a second time is seen here.
            if Self::is_page(phys) {
                // SAFETY: The page is there to be restored, and nobody refers to it: references
                // come from the only `HandedOver`, which is borrowed exclusively.
                unsafe { bindings::kho_restore_free(luo_phys_to_virt(phys)) };
            }
        }
    }
}
