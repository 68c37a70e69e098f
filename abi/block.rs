// SPDX-License-Identifier: GPL-2.0

//! Serialization blocks: preserved memory, linked by physical address, that holds arrays of entries
//! of one type.
//!
//! How large a block is depends on the format; as many entries as fit follow its header.
//!
//! C header: `include/linux/kho/abi/block.h`.

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The number of blocks of one chain that the C LUO is willing to read.
pub(crate) const C_MAX_BLOCKS: usize = 10_000;

/// `struct kho_block_header_ser`: the beginning of a block.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Header {
    /// Physical address of the next block, 0 in the last one.
    pub(crate) next: u64,
    /// How many entries are in use; those behind them are zero.
    pub(crate) count: u64,
}

/// The number of entries of type `E` that fit into a block of `size` bytes.
pub(crate) const fn capacity<E>(size: usize) -> usize {
    size.saturating_sub(size_of::<Header>()) / size_of::<E>()
}
