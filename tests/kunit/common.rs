// SPDX-License-Identifier: GPL-2.0

//! What the KUnit suites of both crates need: a check that says where it failed, what KHO has noted
//! for the next kernel, and memory of the previous one.

use core::{
    mem,
    panic::Location,
    slice, //
};
use kernel::{
    bindings,
    kho::Extent,
    page::PAGE_SIZE,
    prelude::*, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_preserved_order(phys: u64) -> c_int;
    fn luo_kunit_hand_over(order: c_uint) -> u64;
    fn luo_kunit_split(phys: u64, order: c_uint);
    fn luo_kunit_free_pages() -> c_ulong;
}

/// Fails, and says where, unless `ok`.
#[track_caller]
pub(crate) fn check(ok: bool) -> Result {
    if ok {
        return Ok(());
    }

    let at = Location::caller();
    pr_err!("check failed at {}:{}\n", at.file(), at.line());
    Err(EINVAL)
}

/// The order with which KHO will hand over what is at `phys`, or [`None`] if it will not.
pub(crate) fn preserved_order(phys: u64) -> Option<u32> {
    // SAFETY: Any address may be asked for.
    unsafe { luo_kunit_preserved_order(phys) }.try_into().ok()
}

/// Pages of this kernel that look as if the previous one had handed them over.
pub(crate) struct HandedOverPages {
    phys: u64,
    order: u32,
}

impl HandedOverPages {
    /// Makes `1 << order` pages of zeroes.
    pub(crate) fn new(order: u32) -> Result<Self> {
        // SAFETY: May be called from where sleeping is allowed.
        match unsafe { luo_kunit_hand_over(order) } {
            0 => Err(ENOMEM),
            phys => Ok(Self { phys, order }),
        }
    }

    /// The physical address of the first page.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// All pages.
    pub(crate) fn extent(&self) -> Extent {
        Extent {
            phys: self.phys,
            size: PAGE_SIZE << self.order,
        }
    }

    /// Whether nobody has taken them.
    pub(crate) fn are_there(&self) -> bool {
        // SAFETY: Any address may be asked for.
        unsafe { bindings::kho_is_restorable(self.phys, self.order) }
    }

    /// Neighbours, each half as many pages, as if they had been preserved one after the other.
    pub(crate) fn halves(self) -> [Self; 2] {
        let Self { phys, order } = self;
        let order = order - 1;

        mem::forget(self);
        // SAFETY: So many pages were handed over there, and have no owner any more.
        unsafe { luo_kunit_split(phys, order) };
        [0, (PAGE_SIZE as u64) << order].map(|offset| Self {
            phys: phys + offset,
            order,
        })
    }

    /// The 64-bit words of the pages, to change them.
    pub(crate) fn words(&mut self) -> &mut [u64] {
        let Extent { phys, size } = self.extent();

        // SAFETY: Nobody else knows of the pages, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(bindings::phys_to_virt(phys).cast(), size / 8) }
    }
}

impl Drop for HandedOverPages {
    fn drop(&mut self) {
        if self.are_there() {
            // SAFETY: Nobody refers to the pages any more.
            unsafe { bindings::kho_restore_free(bindings::phys_to_virt(self.phys)) };
        }
    }
}

/// An area.
pub(crate) struct Area {
    pub(crate) chunk: HandedOverPages,
    pub(crate) blocks: KVec<HandedOverPages>,
    pub(crate) order: u32,
}

impl Area {
    /// Hands over these words, in blocks of an order.
    pub(crate) fn new(words: &[u64], order: u32) -> Result<Self> {
        let mut chunk = HandedOverPages::new(0)?;
        let mut blocks = KVec::new();

        for (number, words) in words
            .chunks((PAGE_SIZE / size_of::<u64>()) << order)
            .enumerate()
        {
            let mut block = HandedOverPages::new(order)?;

            block.words()[..words.len()].copy_from_slice(words);
            chunk.words()[1 + number] = block.phys();
            blocks.push(block, GFP_KERNEL)?;
        }
        Ok(Self {
            chunk,
            blocks,
            order,
        })
    }

    /// The words of the descriptor.
    pub(crate) fn words(&self) -> [u64; 2] {
        let pages = (self.blocks.len() as u64) << self.order;

        // Made by vmalloc(), in an order.
        [
            self.chunk.phys(),
            u64::from(self.order) << 48 | 1 << 32 | pages,
        ]
    }

    /// Whether all of it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.chunk.are_there() && self.blocks.iter().all(HandedOverPages::are_there)
    }
}

/// How many pages are free.
pub(crate) fn free_pages() -> usize {
    // SAFETY: May be called from where sleeping is allowed.
    unsafe { luo_kunit_free_pages() }
}
