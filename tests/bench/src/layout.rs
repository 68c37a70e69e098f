// SPDX-License-Identifier: GPL-2.0

//! Memory files whose pages lie in memory the way a load wants them: the next kernel's boot may
//! cost more for where they are than for how many there are.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use liveupdate::Device;
use luo_guest::PAGE;
use nix::errno::Errno;
use nix::fcntl::fallocate;
use nix::fcntl::FallocateFlags;
use nix::libc;
use nix::sys::memfd::memfd_create;
use nix::sys::memfd::MFdFlags;
use nix::sys::mman::mmap;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use std::collections::HashSet;
use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// So many pages are a huge one: as many as a page has room for addresses.
fn huge() -> usize {
    *PAGE / size_of::<u64>()
}

/// Pages are neighbours if they come in runs of so many on average.
const RUN: usize = 64;

/// More pages to take, as some have no partner to be kept apart from.
const SPARE: usize = 1024;

/// Where a mapping starts, so that it is aligned to huge pages.
const ADDRESS: NonZeroUsize = NonZeroUsize::new(1 << 40).expect("not 0");

/// How the pages of a file lie.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Layout {
    /// One after the other
    Neighbours,
    /// Hardly any beside another
    Scattered,
    /// In huge pages
    Huge,
}

/// A file whose pages lie like that, once it is preserved.
pub struct Laid {
    pub file: File,
    layout: Layout,
    bytes: usize,
    /// What lies between its pages.
    _between: Option<File>,
}

impl Layout {
    /// Makes a file of `bytes` bytes. If it has no pages yet, preserving it allocates them, outside
    /// of the scratch areas: what lies in one would have to move, and nobody knows where to.
    pub fn file(self, device: &Device, bytes: usize) -> Result<Laid> {
        let file = empty(bytes)?;
        let mut between = None;
        match self {
            Self::Neighbours => (),
            Self::Scattered => between = Some(checker(device, 2 * bytes + SPARE * *PAGE)?),
            Self::Huge => {
                fallocate(&file, FallocateFlags::empty(), 0, bytes as i64)?;
                let mapping = map(&file, bytes)?;
                // SAFETY: This moves the pages and changes nothing in them.
                let collapsed =
                    unsafe { libc::madvise(mapping.as_ptr(), bytes, libc::MADV_COLLAPSE) };
                Errno::result(collapsed).context("MADV_COLLAPSE")?;
            }
        }
        Ok(Laid {
            file,
            layout: self,
            bytes,
            _between: between,
        })
    }
}

impl Laid {
    /// Lets it have all of its pages.
    pub fn fill(&self) -> Result<()> {
        frames(&self.file, self.bytes).map(drop)
    }

    /// In how many pieces of memory the file is, if its pages lie as they should.
    pub fn fragments(&self) -> Result<usize> {
        let frames = frames(&self.file, self.bytes)?;
        let mut sorted = frames.clone();
        sorted.sort_unstable();
        let gaps = sorted.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
        let fragments = 1 + gaps.count();
        let right = match self.layout {
            Layout::Neighbours => fragments * RUN <= frames.len(),
            // The kernel has a few pages of its own to take first, and moves some to preserve them.
            Layout::Scattered => fragments * 100 >= frames.len() * 98,
            Layout::Huge => all_huge(&frames)?,
        };
        ensure!(
            right,
            "{:?}: {} pages are in {fragments} pieces",
            self.layout,
            frames.len()
        );
        Ok(fragments)
    }
}

/// A file without pages.
fn empty(bytes: usize) -> Result<File> {
    let file = File::from(memfd_create("luo-bench", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(bytes as u64)?;
    Ok(file)
}

/// Takes that much memory and gives every second page of it back. Those are what the kernel takes
/// first when it is next asked for a page: it splits no larger block as long as it has some.
fn checker(device: &Device, bytes: usize) -> Result<File> {
    let file = empty(bytes)?;
    let session = device.create_session(b"checker")?;
    session.preserve_fd(file.as_fd(), 1)?;
    drop(session);

    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let frames = frames(&file, bytes)?;
    let taken: HashSet<_> = frames.iter().copied().collect();
    for (from, frame) in (0..).step_by(*PAGE).zip(frames) {
        // The two would be merged if both were free.
        if frame % 2 == 0 && taken.contains(&(frame + 1)) {
            fallocate(&file, hole, from, *PAGE as i64)?;
        }
    }
    Ok(file)
}

fn map(file: &File, bytes: usize) -> Result<NonNull<c_void>> {
    let length = NonZeroUsize::new(bytes).context("an empty file")?;
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
    // SAFETY: The address is a wish: what is mapped already stays.
    let mapping = unsafe { mmap(Some(ADDRESS), length, ProtFlags::PROT_READ, flags, file, 0) };
    Ok(mapping?)
}

/// The number of each page's frame.
fn frames(file: &File, bytes: usize) -> Result<Vec<u64>> {
    /// Of an entry of 64 bits.
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;

    let mapping = map(file, bytes)?;
    let mut entries = vec![0; bytes / *PAGE * size_of::<u64>()];
    let offset = mapping.addr().get() / *PAGE * size_of::<u64>();
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, offset as u64)?;
    // SAFETY: It was mapped here, and nobody else knows of it.
    unsafe { munmap(mapping, bytes) }?;
    let frames = entries.chunks_exact(size_of::<u64>()).map(|entry| {
        let entry = u64::from_ne_bytes(entry.try_into()?);
        ensure!(entry & PRESENT != 0, "a page is not there");
        Ok(entry & FRAME)
    });
    frames.collect()
}

/// Whether the pages are in huge ones, each of them a folio, as `/proc/kpageflags` tells.
fn all_huge(frames: &[u64]) -> Result<bool> {
    const HEAD: u64 = 1 << 15;
    const TAIL: u64 = 1 << 16;

    let kernel = File::open("/proc/kpageflags")?;
    let has = |frame: u64, flag: u64| -> Result<bool> {
        let mut flags = [0; size_of::<u64>()];
        kernel.read_exact_at(&mut flags, frame * size_of::<u64>() as u64)?;
        Ok(u64::from_ne_bytes(flags) & flag != 0)
    };
    let huge = huge();
    for folio in frames.chunks(huge) {
        let (first, last) = (folio[0], folio[folio.len() - 1]);
        let whole = first % huge as u64 == 0 && last - first + 1 == huge as u64;
        if !whole || !has(first, HEAD)? || !has(last, TAIL)? {
            return Ok(false);
        }
    }
    Ok(true)
}
