// SPDX-License-Identifier: GPL-2.0

//! The records in which one kernel tells the next what it preserved. They are the same in all
//! formats.
//!
//! C header: `include/linux/kho/abi/luo.h`. All integers are in the byte order of the machine;
//! all addresses are physical.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    static_assert, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// `struct luo_file_set_ser`: where the files of a session are.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct FileSet {
    /// The first block of files, 0 if there are none.
    pub(crate) files: u64,
    /// The number of files in all blocks.
    pub(crate) count: u64,
}

/// `struct luo_session_ser`: one session.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Session {
    /// The name, NUL-terminated.
    pub(crate) name: [u8; 64],
    /// The files.
    pub(crate) file_set: FileSet,
}

/// `struct luo_file_ser`: one preserved file.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct File {
    /// The compatible string of the file's handler, NUL-terminated.
    pub(crate) compatible: [u8; 48],
    /// What the handler wants to know again.
    pub(crate) data: u64,
    /// What userspace calls the file.
    pub(crate) token: u64,
}

/// `struct luo_flb_header_ser`: the beginning of the page of FLBs.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct FlbHeader {
    /// The number of pages, this one included: always 1.
    pub(crate) pgcnt: u64,
    /// The number of FLBs that follow.
    pub(crate) count: u64,
}

/// `struct luo_flb_ser`: one FLB.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Flb {
    /// The compatible string, NUL-terminated.
    pub(crate) name: [u8; 48],
    /// What the FLB wants to know again.
    pub(crate) data: u64,
    /// The number of files and references that depend on it.
    pub(crate) count: u64,
}

/// The page of FLBs.
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout)]
pub(crate) struct FlbPage {
    /// What follows.
    pub(crate) header: FlbHeader,
    /// The FLBs; what is past `header.count` means nothing.
    pub(crate) entries: [Flb; FLBS_PER_PAGE],
}

/// The most FLBs that can be handed over.
pub(crate) const FLBS_PER_PAGE: usize = (PAGE_SIZE - size_of::<FlbHeader>()) / size_of::<Flb>();

static_assert!(size_of::<FileSet>() == 16);
static_assert!(size_of::<Session>() == 80);
static_assert!(size_of::<File>() == 64);
static_assert!(size_of::<FlbHeader>() == 16);
static_assert!(size_of::<Flb>() == 64);
