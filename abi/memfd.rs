// SPDX-License-Identifier: GPL-2.0

//! What is handed over of a memfd: a record, and where its memory is.
//!
//! `memfd-v2` is the format that the handler in C has. Each folio has an entry of its own, and there
//! are no holes. `memfd-runs-v1` is ours: an entry is for neighbours, and what has none is a hole.
//! The record is the same for both.
//!
//! C header: [`include/linux/kho/abi/memfd.h`](srctree/include/linux/kho/abi/memfd.h)

use kernel::{
    kho::AreaDescriptor,
    page::PAGE_SIZE,
    prelude::*,
    static_assert, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The format of the handler in C, `MEMFD_LUO_FH_COMPATIBLE`.
pub(crate) const FOLIOS: &CStr = c"memfd-v2";

/// The format of runs.
pub(crate) const RUNS: &CStr = c"memfd-runs-v1";

/// All seals that a record can have: the numbers are those of `F_ADD_SEALS`.
pub(crate) const SEALS: u32 = SEAL_SEAL | SEALS_OF_EXECUTABLE | SEAL_EXEC;

const SEAL_SEAL: u32 = 0x01;

/// Those on what is in the file: what can be executed has them if its permissions are sealed.
pub(crate) const SEALS_OF_EXECUTABLE: u32 = 0x02 | 0x04 | 0x08 | 0x10;

/// The seal on the permission to execute.
pub(crate) const SEAL_EXEC: u32 = 0x20;

/// `struct memfd_luo_ser`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Record {
    /// Where the file is read and written next, in bytes.
    pub(crate) position: u64,
    /// How many bytes the file has.
    pub(crate) size: u64,
    /// The seals on it, as `F_GET_SEALS` has them.
    pub(crate) seals: u32,
    /// Nothing in `memfd-v2`. For runs, the permissions, and from [`Self::OPEN_SHIFT`] on the flags
    /// of `open(2)`.
    pub(crate) flags: u32,
    /// How many entries there are.
    pub(crate) count: u64,
    /// Where they are: nowhere, if there are none.
    pub(crate) entries: AreaDescriptor,
}

static_assert!(size_of::<Record>() == 48);

impl Record {
    const OPEN_SHIFT: u32 = 16;

    /// Sets the flags of a file in runs.
    pub(crate) fn set_access(&mut self, permissions: u16, open_flags: u32) {
        self.flags = open_flags << Self::OPEN_SHIFT | u32::from(permissions);
    }

    /// The permissions of a file in runs.
    pub(crate) fn permissions(&self) -> u16 {
        self.flags as u16
    }

    /// How a file in runs is open.
    pub(crate) fn open_flags(&self) -> u32 {
        self.flags >> Self::OPEN_SHIFT
    }

    /// How many pages the file has.
    pub(crate) fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE as u64)
    }
}

/// `struct memfd_luo_folio_ser`: a folio.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Folio {
    /// The number of its page frame, and from [`Self::FLAGS_SHIFT`] on flags.
    frame: u64,
    /// Where in the file it is, in pages.
    pub(crate) index: u64,
}

static_assert!(size_of::<Folio>() == 16);

impl Folio {
    const FLAGS_SHIFT: u32 = 52;
    /// There is something in it that would be missed.
    const DIRTY: u64 = 1;
    /// Nobody has to fill it with zeroes any more.
    pub(crate) const UP_TO_DATE: u64 = 2;
    /// All flags that there are.
    pub(crate) const FLAGS: u64 = Self::DIRTY | Self::UP_TO_DATE;

    /// A folio with contents.
    pub(crate) fn new(frame: u64, index: u64) -> Self {
        Self {
            frame: Self::FLAGS << Self::FLAGS_SHIFT | frame,
            index,
        }
    }

    /// The number of its page frame.
    pub(crate) fn frame(&self) -> u64 {
        self.frame & ((1 << Self::FLAGS_SHIFT) - 1)
    }

    /// Its flags, whether there are such or not.
    pub(crate) fn flags(&self) -> u64 {
        self.frame >> Self::FLAGS_SHIFT
    }
}

/// Neighbours, in memory and in the file.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Run {
    /// The number of the first page frame, and from [`Self::ORDER_SHIFT`] on the order of the folios
    /// that they were.
    frame: u64,
    /// Where in the file the first page is, in pages, and from [`Self::PAGES_SHIFT`] on how many
    /// pages there are.
    index: u64,
}

static_assert!(size_of::<Run>() == 16);

impl Run {
    const ORDER_SHIFT: u32 = 52;
    const PAGES_SHIFT: u32 = 40;

    /// A file cannot have more pages.
    pub(crate) const MOST_PAGES: u64 = 1 << Self::PAGES_SHIFT;

    /// `pages` is less than 1 << 24.
    pub(crate) fn new(frame: u64, order: u32, index: u64, pages: u64) -> Self {
        Self {
            frame: u64::from(order) << Self::ORDER_SHIFT | frame,
            index: pages << Self::PAGES_SHIFT | index,
        }
    }

    /// The number of the first page frame.
    pub(crate) fn frame(&self) -> u64 {
        self.frame & ((1 << Self::ORDER_SHIFT) - 1)
    }

    /// The order of the folios.
    pub(crate) fn order(&self) -> u32 {
        (self.frame >> Self::ORDER_SHIFT) as u32
    }

    /// Where in the file it is, in pages.
    pub(crate) fn index(&self) -> u64 {
        self.index & (Self::MOST_PAGES - 1)
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> u64 {
        self.index >> Self::PAGES_SHIFT
    }
}
