// SPDX-License-Identifier: GPL-2.0

//! Linked serialization blocks: arrays of entries of one type, of any length, in preserved memory.
//!
//! A kernel that preserves keeps a [`BlockSet`] as large as what it would have to write, so that
//! writing itself needs no memory. The blocks of a larger set lie next to each other, where memory
//! allows. A kernel that was handed a chain of blocks follows it with a [`Reader`] to its end,
//! believing nothing, and gets a copy of the entries.
//!
//! C source: `kernel/liveupdate/kho_block.c`.

use crate::{
    abi::{
        block::{
            capacity,
            Header,
            C_MAX_BLOCKS, //
        },
        format::Field,
        Damage,
        Found, //
    },
    table::{
        Keyed,
        Table, //
    }, //
};
use core::{
    marker::PhantomData,
    num::NonZeroUsize, //
};
use kernel::{
    alloc::{
        flags::__GFP_NOWARN,
        AllocError, //
    },
    kho::{
        Extent,
        Memory,
        Preserved,
        Row, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use zerocopy::FromZeros;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/block.rs"]
pub(crate) mod tests;

/// The header of a block, and what it has room for; [`None`] if that is less than a header.
fn split<E: FromBytes + IntoBytes>(block: &mut [u8]) -> Option<(&mut Header, &mut [E])> {
    let (header, rest) = Header::mut_from_prefix(block).ok()?;
    let (entries, _) = <[E]>::mut_from_prefix(rest).ok()?;

    Some((header, entries))
}

/// Blocks in their order. The first one, which is all that most sets need, takes no memory but its
/// own.
///
/// # Invariants
///
/// There are no others unless there is a first one.
struct Blocks {
    first: Option<Preserved<[u8]>>,
    others: KVVec<Preserved<[u8]>>,
}

impl Blocks {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Preserved<[u8]>> {
        Iterator::chain(self.first.iter(), &self.others)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut [u8]> {
        let block = match at.checked_sub(1) {
            None => self.first.as_mut(),
            Some(at) => self.others.get_mut(at),
        };

        block.map(|block| &mut **block)
    }

    fn push(&mut self, block: Preserved<[u8]>) -> Result {
        match self.first {
            None => self.first = Some(block),
            Some(_) => self.others.push(block, GFP_KERNEL)?,
        }

        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.others.truncate(len.saturating_sub(1));
        if len == 0 {
            self.first = None;
        }
    }
}

/// Blocks to write into, of entries of type `E`.
///
/// # Invariants
///
/// Each block's `next` is the address of the block after it, and that of the last one is 0.
pub(crate) struct BlockSet<E> {
    block_size: usize,
    blocks: Blocks,
    /// Where the next blocks are to be, as long as there are enough to care.
    row: Option<Row>,
    _entry: PhantomData<E>,
}

impl<E: FromBytes + IntoBytes> BlockSet<E> {
    /// So few blocks may lie anywhere.
    const FEW: usize = 4;

    /// How many blocks are allocated in a row, at most.
    const LONGEST_ROW: usize = 64;

    /// Returns a set without blocks; when it has some, they will have `block_size` bytes, which
    /// have to be enough for an entry.
    pub(crate) fn new(block_size: usize) -> Self {
        // INVARIANT: There are no blocks.
        Self {
            block_size,
            blocks: Blocks {
                first: None,
                others: KVVec::new(),
            },
            row: None,
            _entry: PhantomData,
        }
    }

    /// How many entries a block has room for.
    fn capacity(&self) -> NonZeroUsize {
        NonZeroUsize::new(capacity::<E>(self.block_size)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Makes room to note `count` blocks, so that so many need no memory but their own.
    ///
    /// Returns `ENOMEM`. May sleep.
    pub(crate) fn expect_blocks(&mut self, count: usize) -> Result {
        Ok(self.blocks.others.reserve(count, GFP_KERNEL)?)
    }

    /// Takes as many blocks as it needs to write `count` entries.
    ///
    /// Returns `ENOMEM` if there is no memory, and then has as many blocks as before. May sleep.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        let before = self.blocks.len();

        while self.blocks.len() * self.capacity().get() < count {
            if let Err(err) = self.add_block() {
                self.truncate(before);
                return Err(err);
            }
        }

        Ok(())
    }

    fn add_block(&mut self) -> Result {
        let block = self.allocate()?;
        let phys = block.phys();
        let last = self.blocks.len();

        self.blocks.push(block)?;
        self.link(last, phys);

        Ok(())
    }

    /// Takes the next page of a row, where a block is a page and there are some already. A row has as
    /// many as there are, up to a number; where there is none to be had, any page will do.
    fn allocate(&mut self) -> Result<Preserved<[u8]>> {
        let count = self.blocks.len();

        if self.block_size != PAGE_SIZE || count < Self::FEW {
            return Preserved::zeroed(self.block_size);
        }
        if self.row.as_ref().is_none_or(Row::is_empty) {
            self.row = Row::new(count.min(Self::LONGEST_ROW).ilog2());
        }

        match &mut self.row {
            Some(row) => row.preserve(),
            None => Preserved::zeroed(self.block_size),
        }
    }

    /// Links the last of the first `len` blocks, if there is one, to the block at `next`.
    fn link(&mut self, len: usize, next: u64) {
        let last = len.checked_sub(1).and_then(|at| self.blocks.get_mut(at));

        if let Some((header, _)) = last.and_then(|block| split::<E>(block)) {
            header.next = next;
        }
    }

    /// Gives back the blocks that `count` entries do not need.
    pub(crate) fn shrink(&mut self, count: usize) {
        self.truncate(count.div_ceil(self.capacity().get()));
    }

    fn truncate(&mut self, len: usize) {
        if len < self.blocks.len() {
            self.blocks.truncate(len);
            self.link(len, 0);
        }
        if len < Self::FEW {
            self.row = None;
        }
    }

    /// Writes the entry of number `index`; entries have to be written in order, from 0 on.
    ///
    /// Returns `ENOSPC` if there is no room, which [`Self::reserve`] prevents.
    pub(crate) fn write(&mut self, index: usize, entry: E) -> Result {
        let capacity = self.capacity();
        let at = index % capacity;
        let block = self.blocks.get_mut(index / capacity).ok_or(ENOSPC)?;
        let (header, entries) = split(block).ok_or(ENOSPC)?;

        *entries.get_mut(at).ok_or(ENOSPC)? = entry;
        header.count = at as u64 + 1;

        Ok(())
    }

    /// Unwrites all entries.
    pub(crate) fn clear(&mut self) {
        let Blocks { first, others } = &mut self.blocks;

        for block in Iterator::chain(first.iter_mut(), others) {
            if let Some((header, entries)) = split::<E>(block) {
                header.count = 0;
                entries.zero();
            }
        }
    }

    /// The physical address of the first block, 0 if there is none.
    pub(crate) fn head(&self) -> u64 {
        self.blocks.iter().next().map_or(0, Preserved::phys)
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
    Err(ReadError::Damaged(Damage::new(record, field, found, why)))
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

impl Keyed for Extent {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.phys
    }
}

/// The pages of a hand-over that were read. Each is a block of one chain, or none of any.
pub(crate) type Claimed = Table<Extent>;

/// Reads chains of blocks that another kernel wrote.
pub(crate) struct Reader<'m, M> {
    /// The memory that they are in.
    pub(crate) memory: &'m M,
    /// The blocks of all chains that were read.
    pub(crate) claimed: Claimed,
}

impl<'m, M: Memory> Reader<'m, M> {
    /// Begins without a chain.
    pub(crate) fn new(memory: &'m M) -> Self {
        Self {
            memory,
            claimed: Claimed::new(),
        }
    }

    /// Follows the chain of blocks of `block_size` bytes that begins at the physical address
    /// `head`, found in `field`, claims them, and returns a copy of their entries in `entries`;
    /// 0 is a chain without blocks.
    ///
    /// A last block without entries is accepted if another comes before it, as the C LUO may write
    /// one. May sleep.
    pub(crate) fn read_chain<E: FromBytes + IntoBytes + Clone>(
        &mut self,
        block_size: usize,
        field: Field,
        head: u64,
        entries: &mut KVVec<E>,
    ) -> Result<(), ReadError> {
        const BLOCK: &str = "kho_block_header_ser";

        let room = capacity::<E>(block_size) as u64;
        let mut link = (field, head);

        entries.clear();
        while link.1 != 0 {
            let ((record, field), phys) = link;
            let size = block_size;
            let block = Extent { phys, size };
            let not_there = || {
                let why = "not a page that was handed over";
                damaged(record, field, Found::Number(phys), why)
            };
            let Some(header) = self.memory.read::<Header>(block) else {
                return not_there();
            };
            // Those who walk in a circle come here as well.
            let Some(vacant) = self.claimed.vacant(&phys)? else {
                let why = "a block that belongs to a chain already";
                return damaged(record, field, Found::Number(phys), why);
            };
            if header.count > room {
                let why = "more than a block holds";
                return damaged(BLOCK, "count", Found::Number(header.count), why);
            }
            if header.count == 0 && (entries.is_empty() || header.next != 0) {
                let why = "no entries, and not the last of several blocks";
                return damaged(BLOCK, "count", Found::Number(0), why);
            }
            vacant.insert(block)?;

            // How much that is, is up to the hand-over: no reason for a warning with a backtrace.
            let flags = GFP_KERNEL | __GFP_NOWARN;
            let first = entries.len();
            entries.extend_with(header.count as usize, E::new_zeroed(), flags)?;
            let copies = entries.get_mut(first..).unwrap_or_default();
            let copied = self
                .memory
                .copy(block, size_of::<Header>(), copies.as_mut_bytes());
            if copied.is_none() {
                return not_there();
            }
            link = ((BLOCK, "next"), header.next);
        }

        Ok(())
    }
}
