// SPDX-License-Identifier: GPL-2.0

//! Serialization blocks: pages of preserved memory, linked by physical address, that hold arrays
//! of entries of one type.
//!
//! C header: `include/linux/kho/abi/block.h`.

use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use zerocopy_derive::Immutable;
use zerocopy_derive::KnownLayout;

/// The number of blocks of one chain that the C LUO is willing to read.
pub(crate) const C_MAX_BLOCKS: usize = 10_000;

/// One block: `struct kho_block_header_ser`, followed by room for `N` entries.
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout)]
pub(crate) struct Block<E, const N: usize> {
    /// Physical address of the next block, 0 in the last one.
    pub(crate) next: u64,
    /// How many of the entries are in use.
    pub(crate) count: u64,
    /// The entries; those past `count` are zero.
    pub(crate) entries: [E; N],
}

/// The number of entries of type `E` that fit into a block.
pub(crate) const fn capacity<E>() -> usize {
    (PAGE_SIZE - size_of::<Block<E, 0>>()) / size_of::<E>()
}
