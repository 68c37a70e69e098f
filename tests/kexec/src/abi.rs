// SPDX-License-Identifier: GPL-2.0

//! What the size of a page makes of the formats, worked out from the headers in `include/linux/kho`
//! for each size that there is, and of what else the kernel counts in pages.

use luo_guest::PAGE;
use std::sync::LazyLock;

/// What fits where.
pub struct Abi {
    page: usize,
    /// How many sessions a block of `luo-v5` has, and how many files.
    pub sessions: usize,
    pub files: usize,
    /// How many FLBs there can be.
    pub flbs: usize,
    /// How many sessions a block of `luo-fdt` has, and how many files.
    pub fdt_sessions: usize,
    pub fdt_files: usize,
    /// How many levels of tables there are above the bitmaps in the tree of what KHO preserves.
    pub tables: u32,
    /// The largest folio that a file can be in.
    pub folio: u64,
    /// Whether such a folio is a huge page.
    pub huge: bool,
    /// Whether it is swapped out in one piece.
    pub swapped_whole: bool,
}

/// That of the kernel that runs.
pub static ABI: LazyLock<&Abi> = LazyLock::new(|| {
    let mut all = ALL.iter();
    all.find(|abi| abi.page == *PAGE)
        .expect("Linux has no pages of another size")
});

const ALL: [Abi; 3] = [
    Abi {
        page: 4 << 10,
        sessions: 51,
        files: 63,
        flbs: 63,
        fdt_sessions: 819,
        fdt_files: 127,
        tables: 5,
        folio: 2 << 20,
        huge: true,
        swapped_whole: true,
    },
    Abi {
        page: 16 << 10,
        sessions: 204,
        files: 255,
        flbs: 255,
        fdt_sessions: 3276,
        fdt_files: 511,
        tables: 4,
        folio: 32 << 20,
        huge: true,
        swapped_whole: false,
    },
    Abi {
        page: 64 << 10,
        sessions: 819,
        files: 1023,
        flbs: 1023,
        fdt_sessions: 13107,
        fdt_files: 2047,
        tables: 3,
        // Huge pages are of 512 MiB.
        folio: 128 << 20,
        huge: false,
        swapped_whole: false,
    },
];
