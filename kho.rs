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

use crate::table::Keyed;
use core::ops::Deref;
use core::ops::DerefMut;
use core::ptr::NonNull;
use core::slice;
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

/// Allocates and preserves `size` bytes of zeroes.
///
/// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
fn alloc(size: usize) -> Result<NonNull<u8>> {
    // SAFETY: May be called from where sleeping is allowed.
    let ptr = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;

    NonNull::new(ptr.cast()).ok_or(ENOMEM)
}

/// The order of the pages that `size` bytes take, as KHO preserves them.
const fn order(size: usize) -> u32 {
    size.div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros()
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
pub(crate) struct Preserved<T: ?Sized> {
    ptr: NonNull<T>,
}

// SAFETY: `Preserved<T>` owns its `T`, and preserved memory belongs to no thread.
unsafe impl<T: ?Sized + Send> Send for Preserved<T> {}

// SAFETY: A shared `Preserved<T>` gives shared access to `T` only.
unsafe impl<T: ?Sized + Sync> Sync for Preserved<T> {}

impl<T: FromZeros> Preserved<T> {
    /// Allocates and preserves a `T` of zeroes.
    ///
    /// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
    pub(crate) fn new() -> Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PAGE_SIZE) };

        let ptr = alloc(size_of::<T>())?.cast();

        // INVARIANT: KHO returned zeroed memory of at least `T`'s size, aligned to a page; a `T`
        // of zeroes is valid, and nobody else knows of it.
        Ok(Self { ptr })
    }
}

impl Preserved<[u8]> {
    /// Allocates and preserves `size` bytes of zeroes, aligned to a page.
    ///
    /// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
    pub(crate) fn zeroed(size: usize) -> Result<Self> {
        let ptr = NonNull::slice_from_raw_parts(alloc(size)?, size);

        // INVARIANT: KHO returned so many bytes, aligned to a page, and nobody else knows of them.
        Ok(Self { ptr })
    }
}

impl<T: ?Sized> Preserved<T> {
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
            let size = size_of_val(&*self);

            bindings::kho_add_subtree(name.as_char_ptr(), self.ptr.as_ptr().cast(), size)
        })?;

        // INVARIANT: The entry was just made.
        Ok(Published { memory: self })
    }
}

impl<T: ?Sized> Deref for Preserved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Preserved<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref()`, and `self` is borrowed exclusively.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T: ?Sized> Drop for Preserved<T> {
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
pub(crate) struct Published<T: ?Sized> {
    memory: Preserved<T>,
}

impl<T: ?Sized> Deref for Published<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.memory
    }
}

impl<T: ?Sized> DerefMut for Published<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.memory
    }
}

impl<T: ?Sized> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is such an entry; the memory outlives it, as fields
        // are dropped after this.
        unsafe { bindings::kho_remove_subtree(self.memory.ptr.as_ptr().cast()) };
    }
}

/// Pages that were preserved as one.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// The physical address of the first page.
    pub(crate) phys: u64,
    /// How many bytes of them are used.
    pub(crate) size: usize,
}

impl Extent {
    /// The single page at `phys`.
    pub(crate) const fn page(phys: u64) -> Self {
        Self {
            phys,
            size: PAGE_SIZE,
        }
    }
}

impl Keyed for Extent {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.phys
    }
}

/// The pages that a previous kernel handed over, as far as nobody has claimed them.
pub(crate) trait Memory {
    /// The bytes of `extent`, or [`None`] unless as many pages as that takes were handed over there
    /// as one, and are still there. Any address may be asked for.
    fn bytes(&self, extent: Extent) -> Option<&[u8]>;

    /// The `T` at the beginning of the single page at `phys`; [`None`] as with [`Self::bytes`].
    fn page<T: FromBytes + Immutable + KnownLayout>(&self, phys: u64) -> Option<&T> {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };

        let (value, _) = T::ref_from_prefix(self.bytes(Extent::page(phys))?).ok()?;

        Some(value)
    }

    /// Gives pages back to the system. That nobody looks at them any more is what the exclusive
    /// borrow says.
    fn release(&mut self, extents: impl IntoIterator<Item = Extent>);
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

    fn is_there(extent: Extent) -> bool {
        // SAFETY: Any address may be asked for.
        unsafe { bindings::kho_is_restorable(extent.phys, order(extent.size)) }
    }
}

impl Memory for HandedOver {
    fn bytes(&self, extent: Extent) -> Option<&[u8]> {
        if !Self::is_there(extent) {
            return None;
        }

        // SAFETY: These are pages that the previous kernel preserved as one and nobody has
        // restored: they are in the direct map, and hold at least `size` bytes. Nobody writes to
        // them: they are reserved until they are restored. For pages of LUO, `release()` alone does
        // that, and cannot be called while the reference, which borrows the only `HandedOver`, is
        // alive. Pages of files are restored through LUO, so not before all has been read. What
        // remains, a damaged address that is by chance one of another user of KHO, is read at early
        // init and at the first open, and they restore theirs while the kernel boots, between the
        // two.
        Some(unsafe {
            slice::from_raw_parts(
                luo_phys_to_virt(extent.phys).cast_const().cast(),
                extent.size,
            )
        })
    }

    fn release(&mut self, extents: impl IntoIterator<Item = Extent>) {
        for extent in extents {
            // Restoring a page makes it an ordinary one, so a second time is seen here.
            if Self::is_there(extent) {
                // SAFETY: The pages are there to be restored, and nobody refers to them: references
                // come from the only `HandedOver`, which is borrowed exclusively.
                unsafe { bindings::kho_restore_free(luo_phys_to_virt(extent.phys)) };
            }
        }
    }
}
