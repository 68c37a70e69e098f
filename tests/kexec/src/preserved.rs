// SPDX-License-Identifier: GPL-2.0

//! How much KHO preserves for the next kernel, counted where KHO notes it: in a radix tree of
//! pages, whose format is that of `include/linux/kho/abi/kexec_handover.h`.

use crate::abi::ABI;
use anyhow::{Context, Result};
use luo_guest::PAGE;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

/// What there is to see of KHO.
const KHO: &str = "/sys/kernel/debug/kho";
/// What the next kernel gets first.
const FDT: &str = "/sys/kernel/debug/kho/out/fdt";
/// What the previous kernel left, if it left anything.
const PREVIOUS: &str = "/sys/kernel/debug/kho/in";
/// In how many bytes the headers of `/proc/kcore` are.
const HEADERS: usize = 4096;

/// How many pages, or larger blocks of them, KHO preserves now; a kernel that came with a live
/// update does not tell, nor does one without KHO.
pub fn blocks() -> Result<Option<u64>> {
    if Path::new(PREVIOUS).exists() || !Path::new(KHO).exists() {
        return Ok(None);
    }
    let root = root(&tree()?).with_context(|| format!("{FDT} names no tree"))?;
    Memory::open()?.keys(root, ABI.tables).map(Some)
}

/// The device tree that the next kernel gets. debugfs shows it in its first size only: without the
/// names of properties, which come last.
pub fn tree() -> Result<Vec<u8>> {
    fs::read(FDT).context(FDT)
}

/// Where the radix tree begins: the first number of 8 bytes among the device tree's properties.
fn root(fdt: &[u8]) -> Option<u64> {
    let structure = u32::from_be_bytes(*fdt.get(8..)?.first_chunk()?);
    let structure = fdt.get(structure as usize..)?;
    // A property: a 3, the length of its value, the place of its name, the value.
    let property = [3u32, 8].map(u32::to_be_bytes);
    let value = find(structure, property.as_flattened())? + 12;
    Some(u64::from_ne_bytes(*structure.get(value..)?.first_chunk()?))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|it| it == pattern)
}

/// The kernel's memory, by physical address.
pub struct Memory {
    kcore: File,
    /// What is where: physical address, size, and place in the file.
    segments: Vec<[u64; 3]>,
}

impl Memory {
    pub fn open() -> Result<Self> {
        let kcore = File::open("/proc/kcore").context("/proc/kcore")?;
        // ELF: program headers of 7 numbers follow a header of 8, its last one beginning with
        // their count.
        let header = words(&kcore, 0, HEADERS)?;
        let count = usize::from(header[7] as u16);
        let segments = header[8..].chunks_exact(7).take(count);
        let segments = segments.map(|it| [it[3], it[4], it[1]]).collect();
        Ok(Self { kcore, segments })
    }

    /// The page at `phys`.
    pub fn page(&self, phys: u64) -> Result<Vec<u64>> {
        let offset = self.segments.iter().find_map(|[start, size, offset]| {
            let at = phys.checked_sub(*start)?;
            (at < *size).then_some(offset + at)
        });
        let offset = offset.with_context(|| format!("no memory at {phys:#x}"))?;
        words(&self.kcore, offset, *PAGE)
    }

    /// How many keys there are below the node at `phys`.
    fn keys(&self, phys: u64, tables: u32) -> Result<u64> {
        let node = self.page(phys)?;
        if tables == 0 {
            return Ok(node.iter().map(|bits| u64::from(bits.count_ones())).sum());
        }
        node.iter()
            .filter(|&&child| child != 0)
            .map(|&child| self.keys(child, tables - 1))
            .sum()
    }
}

/// So many bytes of a file.
fn words(file: &File, offset: u64, bytes: usize) -> Result<Vec<u64>> {
    let mut words = vec![[0; 8]; bytes / 8];
    file.read_exact_at(words.as_flattened_mut(), offset)?;
    Ok(words.into_iter().map(u64::from_ne_bytes).collect())
}
