// SPDX-License-Identifier: GPL-2.0

//! Linked serialization blocks: arrays of entries of one type, of any length, in preserved memory.
//!
//! A kernel that preserves keeps a [`BlockSet`] as large as what it would have to write, so that
//! writing itself needs no memory. A kernel that was handed a chain of blocks first follows it to
//! its end, believing nothing, and gets a [`Chain`] that it can read.
//!
//! C source: `kernel/liveupdate/kho_block.c`.

use crate::abi::block::Block;
use crate::abi::block::C_MAX_BLOCKS;
use crate::abi::luo_v5;
use crate::abi::Damage;
use crate::abi::Found;
use crate::kho::Memory;
use crate::kho::Preserved;
use core::marker::PhantomData;
use kernel::alloc::AllocError;
use kernel::prelude::*;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::KnownLayout;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/block.rs"]
pub(crate) mod tests;

/// Blocks to write into, `N` entries of type `E` in each.
///
/// # Invariants
///
/// Each block's `next` is the address of the block after it, and that of the last one is 0.
pub(crate) struct BlockSet<E, const N: usize> {
    blocks: KVVec<Preserved<Block<E, N>>>,
}

impl<E: FromBytes, const N: usize> BlockSet<E, N> {
    /// Returns a set without blocks.
    pub(crate) const fn new() -> Self {
        Self {
            blocks: KVVec::new(),
        }
    }

    /// Takes as many blocks as it needs to write `count` entries.
    ///
    /// Returns `ENOMEM` if there is no memory, and then has as many blocks as before. May sleep.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        let before = self.blocks.len();

        while self.blocks.len() * N < count {
            if let Err(err) = self.add_block() {
                self.truncate(before);
                return Err(err);
            }
        }

        Ok(())
    }

    fn add_block(&mut self) -> Result {
        let block: Preserved<Block<E, N>> = Preserved::new()?;
        let phys = block.phys();

        self.blocks.push(block, GFP_KERNEL)?;
        if let [.., previous, _] = self.blocks.as_mut_slice() {
            previous.next = phys;
        }

        Ok(())
    }

    /// Gives back the blocks that `count` entries do not need.
    pub(crate) fn shrink(&mut self, count: usize) {
        self.truncate(count.div_ceil(N));
    }

    fn truncate(&mut self, len: usize) {
        if len == 0 {
            // An empty set holds no memory at all.
            self.blocks = KVVec::new();
        } else if len < self.blocks.len() {
            self.blocks.truncate(len);
            if let Some(last) = self.blocks.last_mut() {
                last.next = 0;
            }
        }
    }

    /// Writes the entry of number `index`; entries have to be written in order, from 0 on.
    ///
    /// Returns `ENOSPC` if there is no room, which [`Self::reserve`] prevents.
    pub(crate) fn write(&mut self, index: usize, entry: E) -> Result {
        let block = self.blocks.get_mut(index / N).ok_or(ENOSPC)?;
        let slot = block.entries.get_mut(index % N).ok_or(ENOSPC)?;

        *slot = entry;
        block.count = (index % N + 1) as u64;

        Ok(())
    }

    /// Unwrites all entries.
    pub(crate) fn clear(&mut self) {
        for block in &mut self.blocks {
            block.count = 0;
            block.entries.zero();
        }
    }

    /// The physical address of the first block, 0 if there is none.
    pub(crate) fn head(&self) -> u64 {
        self.blocks.first().map_or(0, Preserved::phys)
    }

    /// Whether the chain is longer than a C kernel is willing to read.
    pub(crate) fn exceeds_c(&self) -> bool {
        self.blocks.len() > C_MAX_BLOCKS
    }
}

/// Why a hand-over could not be read.
pub(crate) enum ReadError {
    /// It cannot be believed.
    Damaged(Damage),
    /// It has a file that nobody here can retrieve.
    NoHandler(luo_v5::File),
    /// This kernel failed; the hand-over may be sound.
    Kernel(Error),
}

/// A hand-over is damaged, in `field` of `record` (as the C headers call them), where that was
/// `found`.
pub(crate) fn damaged<T>(
    record: &'static str,
    field: &'static str,
    found: Found,
    why: &'static str,
) -> Result<T, ReadError> {
    Err(ReadError::Damaged(Damage {
        record,
        field,
        found,
        why,
    }))
}

impl From<Error> for ReadError {
    fn from(err: Error) -> Self {
        Self::Kernel(err)
    }
}

impl From<AllocError> for ReadError {
    fn from(_: AllocError) -> Self {
        Self::Kernel(ENOMEM)
    }
}

/// A chain of blocks that another kernel wrote, `N` entries of type `E` in each.
///
/// # Invariants
///
/// All of `pages` could be read when the chain was followed, no address is in it twice, and no
/// block claims more than `N` entries.
pub(crate) struct Chain<E, const N: usize> {
    pages: KVVec<u64>,
    entries: u64,
    _entry: PhantomData<E>,
}

impl<E: FromBytes + Immutable + KnownLayout, const N: usize> Chain<E, N> {
    /// Follows the chain that begins at the physical address `head`, found in `field` of
    /// `record`; 0 is a chain without blocks.
    ///
    /// A last block without entries is accepted if another comes before it, as the C LUO may write
    /// one. May sleep.
    pub(crate) fn follow(
        memory: &impl Memory,
        record: &'static str,
        field: &'static str,
        head: u64,
    ) -> Result<Self, ReadError> {
        const BLOCK: &str = "kho_block_header_ser";

        let mut pages = KVVec::new();
        let mut entries = 0;
        let mut link = (record, field, head);
        // Brent's algorithm: who walks in a circle meets a mark that is moved to the current block
        // after 1, 2, 4, 8, ... blocks.
        let mut mark = 0;

        while link.2 != 0 {
            let (record, field, phys) = link;

            if phys == mark {
                let why = "the blocks form a circle";
                return damaged(record, field, Found::Number(phys), why);
            }
            if pages.len().is_power_of_two() {
                mark = phys;
            }

            let Some(block) = memory.page::<Block<E, N>>(phys) else {
                let why = "not a page that was handed over";
                return damaged(record, field, Found::Number(phys), why);
            };
            if block.count > N as u64 {
                let why = "more than a block holds";
                return damaged(BLOCK, "count", Found::Number(block.count), why);
            }
            if block.count == 0 && (pages.is_empty() || block.next != 0) {
                let why = "no entries, and not the last of several blocks";
                return damaged(BLOCK, "count", Found::Number(0), why);
            }

            pages.push(phys, GFP_KERNEL)?;
            entries += block.count;
            link = (BLOCK, "next", block.next);
        }

        // INVARIANT: Each page was just read, a repeated one would have closed a circle, and every
        // count was compared with `N`.
        Ok(Self {
            pages,
            entries,
            _entry: PhantomData,
        })
    }

    /// The number of entries in all blocks.
    pub(crate) fn len(&self) -> u64 {
        self.entries
    }

    /// The physical addresses of the blocks.
    pub(crate) fn pages(&self) -> &[u64] {
        &self.pages
    }

    /// The entries in `memory`, which has to be the memory in which the chain was followed.
    pub(crate) fn iter<'m>(&'m self, memory: &'m impl Memory) -> impl Iterator<Item = &'m E> {
        self.pages
            .iter()
            .filter_map(|&phys| memory.page::<Block<E, N>>(phys))
            .flat_map(|block| block.entries.iter().take(block.count as usize))
    }
}
