// SPDX-License-Identifier: GPL-2.0

//! Memory files, and how live update shows on them: a preserved one keeps its size.

use anyhow::{ensure, Context, Result};
use liveupdate::Session;
use luo_guest::PAGE;
use nix::{
    errno::Errno::{self, EPERM},
    fcntl::{fallocate, FallocateFlags},
    sys::{
        memfd::{memfd_create, MFdFlags},
        mman::{mmap, munmap, MapFlags, ProtFlags},
    },
    unistd::{lseek, Whence},
};
use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    num::NonZero,
    ops::Range,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    ptr::NonNull,
};

/// A memory file with the given content, at position 0, which may be sealed.
pub fn memfd(content: &[u8]) -> Result<File> {
    let file = memfd_with(MFdFlags::MFD_ALLOW_SEALING)?;
    file.write_all_at(content, 0)?;
    Ok(file)
}

/// An empty memory file that is made with these flags.
pub fn memfd_with(flags: MFdFlags) -> Result<File> {
    Ok(memfd_create("luo", MFdFlags::MFD_CLOEXEC | flags)?.into())
}

/// A memory file of so many bytes, none of which is in memory.
pub fn hole(size: u64) -> Result<File> {
    let file = memfd(b"")?;
    file.set_len(size)?;
    Ok(file)
}

/// Bytes in which a page in another's place is noticed.
pub fn pattern(size: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|word| (word ^ size as u32).to_le_bytes())
        .take(size)
        .collect()
}

/// Opens a file once more, with a position of its own.
pub fn reopen(file: &File, options: &OpenOptions) -> Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    options.open(&path).context(path)
}

/// All that is in a file, whatever its position.
pub fn content(file: &File) -> Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Where there is data in a file, and no hole.
fn data(file: &File) -> Result<Vec<Range<i64>>> {
    let mut data: Vec<Range<i64>> = vec![];
    let mut end = 0;
    loop {
        let start = match lseek(file, end, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(data),
            start => start?,
        };
        end = lseek(file, start, Whence::SeekHole)?;
        data.push(start..end);
    }
}

/// What a file is that can be read, however large: how large it is, and in memory, where it has
/// holes, and a digest of what is not zero.
pub fn description(file: &File) -> Result<String> {
    let file = reopen(file, File::options().read(true))?;
    let data = data(&file)?;
    let mut digest = DefaultHasher::new();
    let mut buffer = vec![0; 256 * *PAGE];
    for range in &data {
        let mut at = u64::try_from(range.start)?;
        let end = u64::try_from(range.end)?;
        while at < end {
            let left = usize::try_from(end - at)?.min(buffer.len());
            file.read_exact_at(&mut buffer[..left], at)?;
            for page in buffer[..left].chunks(*PAGE) {
                if page.iter().any(|&byte| byte != 0) {
                    (at, page).hash(&mut digest);
                }
                at += page.len() as u64;
            }
        }
    }
    let metadata = file.metadata()?;
    Ok(format!(
        "{} bytes, {} blocks, data {data:?}, digest {:016x}",
        metadata.len(),
        metadata.blocks(),
        digest.finish()
    ))
}

/// Preserves what the files of a session are to be in the next kernel.
pub fn preserve_descriptions(session: &Session, descriptions: &[String]) -> Result<()> {
    done!(session.preserve_fd(memfd(descriptions.join("\n").as_bytes())?, 0));
    Ok(())
}

/// Expects all files of a session, from token 1 on, to be what they were, holes included.
pub fn retrieve_described(session: &Session) -> Result<Vec<File>> {
    let due = content(&File::from(done!(session.retrieve_fd(0))))?;
    let due = String::from_utf8(due)?;
    let mut files = vec![];
    for (token, due) in (1..).zip(due.lines()) {
        let file = File::from(done!(session.retrieve_fd(token), token));
        same!(description(&file)?, due, token);
        files.push(file);
    }
    Ok(files)
}

/// Expects the size of a non-empty memory file to be fixed, and its content not.
pub fn expect_frozen(file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    refused!(file.write_at(b"+", size), EPERM);
    refused!(file.set_len(size + 1), EPERM);
    refused!(file.set_len(size - 1), EPERM);
    refused!(allocate(file), EPERM);
    refused!(punch(file, *PAGE as i64), EPERM);
    same!(file.metadata()?.len(), size);
    let first = &content(file)?[..1];
    same!(done!(file.write_at(first, 0)), 1);
    Ok(())
}

/// Expects a non-empty memory file to change its size as it is told, and leaves it as it was.
pub fn expect_thawed(file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    same!(done!(file.write_at(b"+", size)), 1);
    same!(file.metadata()?.len(), size + 1);
    done!(file.set_len(size + 2 * *PAGE as u64));
    done!(file.set_len(size));
    done!(allocate(file));
    Ok(())
}

fn allocate(file: &File) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1)?)
}

/// Makes a hole of the first bytes.
pub fn punch(file: &File, length: i64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE | FallocateFlags::FALLOC_FL_PUNCH_HOLE;
    Ok(fallocate(file, flags, 0, length)?)
}

/// A page of a file that is mapped, or all of it.
pub struct Map {
    start: NonNull<c_void>,
    size: NonZero<usize>,
}

impl Map {
    /// The page of a file at `offset`.
    pub fn new(file: &File, offset: u64) -> Result<Self> {
        Self::of(file, offset, *PAGE)
    }

    /// All of a file.
    pub fn all(file: &File) -> Result<Self> {
        Self::of(file, 0, file.metadata()?.len().try_into()?)
    }

    fn of(file: &File, offset: u64, size: usize) -> Result<Self> {
        let size = NonZero::new(size).context("an empty map")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let offset = i64::try_from(offset)?;
        // SAFETY: A new map takes no other memory's place.
        let start = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, file, offset) };
        Ok(Self {
            start: start?,
            size,
        })
    }

    /// The numbers of the page frames that it is in.
    pub fn frames(&self) -> Result<Vec<u64>> {
        const PRESENT: u64 = 1 << 63;
        const NUMBER: u64 = (1 << 55) - 1;

        // With this, the pages are where the map is.
        for at in (0..self.size.get()).step_by(*PAGE) {
            self.read_at(at);
        }
        let mut entries = vec![0; self.size.get().div_ceil(*PAGE) * size_of::<u64>()];
        let offset = self.start.addr().get() / *PAGE * size_of::<u64>();
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, offset as u64)?;
        let entries = entries.chunks_exact(size_of::<u64>()).map(|entry| {
            let entry = u64::from_ne_bytes(entry.try_into()?);
            ensure!(entry & PRESENT != 0, "a page is not there");
            Ok(entry & NUMBER)
        });
        entries.collect()
    }

    /// Reads a byte somewhere in it.
    fn read_at(&self, at: usize) -> u8 {
        assert!(at < self.size.get());
        // SAFETY: So much memory is there, and can be read.
        unsafe { self.start.cast::<u8>().add(at).read_volatile() }
    }

    pub fn write(&self, byte: u8) {
        self.write_at(byte, 0)
    }

    /// Writes a byte somewhere in it.
    pub fn write_at(&self, byte: u8, at: usize) {
        assert!(at < self.size.get());
        // SAFETY: So much memory is there, and can be written to.
        unsafe { self.start.cast::<u8>().add(at).write_volatile(byte) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: The map is ours.
        let unmapped = unsafe { munmap(self.start, self.size.get()) };
        debug_assert!(unmapped.is_ok());
    }
}
