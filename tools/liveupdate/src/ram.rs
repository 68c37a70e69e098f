// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A guest's memory, so that a virtual machine monitor carries all of it in one call and gets it
//! back only if it is what it expects.
//!
//! Memory consists of [`Region`]s, each of them all of a memfd or a part of one. A memfd is
//! preserved under the token *base* + [`Region::file`], which is the region's slot unless regions
//! share it.
//!
//! ```no_run
//! use liveupdate::{ram::{Ram, Region}, Device};
//! use std::num::NonZeroUsize;
//!
//! /// The token of slot 0.
//! const BASE: u64 = 0x100;
//!
//! # fn main() -> std::io::Result<()> {
//! let regions = [Region::new(0, 0, 3 << 30), Region::new(1, 4 << 30, 5 << 30)];
//!
//! // While the guest runs: stopping it for this only makes the blackout longer.
//! let ram = Ram::create(&regions)?;
//! let session = Device::open()?.create_session(b"vm")?;
//! let huge = ram.collapse()?;
//! println!("{} of {} bytes are in huge pages", huge.huge, huge.size);
//! ram.preserve(&session, BASE)?;
//!
//! // In the next kernel.
//! let session = Device::open()?.retrieve_session(b"vm")?;
//! let ram = Ram::retrieve(&session, BASE, &regions, NonZeroUsize::MIN)?;
//! for (region, mapping) in ram.regions().iter().zip(ram.map()?) {
//!     println!("slot {} is at {:p}", region.slot, mapping.as_ptr());
//! }
//! session.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! # While memory is preserved
//!
//! The guest may run, and it, the monitor and devices may write to all pages: what counts is what
//! is in them at the kexec. But a preserved memfd is fixed in size and in what is allocated, and
//! the kernel answers `EPERM` to whatever would change that:
//!
//! * `ftruncate()`, so no region can be resized, nor a file be extended by writing;
//! * `fallocate()`, also to punch a hole, and so `MADV_REMOVE`: a balloon that discards, free page
//!   reporting and virtio-mem have to wait until the session is dropped.
//!
//! Preserving takes time for each page, about 431 instructions for one that can be handed over
//! where it is, and 2,800 for one that was never written, as all of a memfd is allocated; and all
//! of it is pinned, so that it is neither swapped out nor moved. Therefore preserve while the guest
//! runs, and in [huge pages](Ram::collapse), where one such step does for 512 pages of 4 KiB.

use crate::Session;
use nix::{
    errno::Errno,
    libc,
    sys::{
        memfd::{memfd_create, MFdFlags},
        mman::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags},
    },
    unistd::{sysconf, SysconfVar},
};
use std::{
    collections::BTreeMap,
    ffi::c_void,
    fmt,
    fs::{self, File},
    io,
    num::NonZeroUsize,
    panic,
    ptr::NonNull,
    sync::{
        atomic::{AtomicUsize, Ordering},
        LazyLock,
    },
    thread,
};

/// What a region's numbers are multiples of: a page, in bytes.
static PAGE: LazyLock<u64> = LazyLock::new(|| {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
});

/// A huge page, in bytes: what the kernel says, or what a page of addresses of pages amounts to.
static HUGE: LazyLock<u64> = LazyLock::new(|| {
    let said = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    said.ok()
        .and_then(|size| size.trim().parse().ok())
        .unwrap_or(*PAGE / 8 * *PAGE)
});

/// A range of guest memory, and where it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Region {
    /// Its number, as KVM counts memory slots.
    pub slot: u32,
    /// The guest physical address at which it begins.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The number of its file.
    pub file: u32,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
}

impl Region {
    /// A region that is all of a file of its own, of its slot's number: `size` bytes from the guest
    /// physical address `address`.
    pub const fn new(slot: u32, address: u64, size: u64) -> Self {
        Self {
            slot,
            address,
            size,
            file: slot,
            offset: 0,
        }
    }

    /// The same region, `offset` bytes into the file of number `file`, which it shares.
    pub const fn within(mut self, file: u32, offset: u64) -> Self {
        self.file = file;
        self.offset = offset;
        self
    }
}

/// Why guest memory is not carried.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller's regions do not fit together.
    Layout {
        /// The slot of the first that is wrong.
        slot: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file does not end where the last of its regions does.
    Size {
        /// The number of the file.
        file: u32,
        /// Its size in bytes.
        found: u64,
        /// What the regions say, in bytes.
        due: u64,
    },
    /// A call failed.
    Call {
        /// The number of the file.
        file: u32,
        /// What was tried with it.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The session does not take a file, or has it not.
    Session {
        /// The number of the file.
        file: u32,
        /// What the session says, with the file's token.
        error: crate::Error,
    },
}

impl Error {
    /// An error of a call about the file of number `file`.
    fn of(file: u32, what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Call { file, what, error }
    }

    /// An error of a session about the file of number `file`.
    fn of_session(file: u32) -> impl Fn(crate::Error) -> Self {
        move |error| Self::Session { file, error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { slot, why } => write!(f, "guest memory, slot {slot}: {why}"),
            Self::Size { file, found, due } => write!(
                f,
                "guest memory, file {file}: {found} bytes instead of {due}"
            ),
            Self::Call { file, what, error } => {
                write!(f, "guest memory, file {file}: cannot {what} it: {error}")
            }
            Self::Session { error, .. } => write!(f, "guest memory, {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// `InvalidInput` for a layout, `InvalidData` for a size, and otherwise what a call or a session says:
/// of a session the errno.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Layout { .. } => io::ErrorKind::InvalidInput,
            Error::Size { .. } => io::ErrorKind::InvalidData,
            Error::Call { ref error, .. } => error.kind(),
            Error::Session { error, .. } => return error.into(),
        };
        Self::new(kind, error)
    }
}

/// How much of a guest's memory is in huge pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collapsed {
    /// The bytes of all files.
    pub size: u64,
    /// Those in huge pages.
    pub huge: u64,
    /// The errno of the first refusal.
    ///
    /// `EINVAL` or `ENOSYS`: this kernel makes no huge pages of memfds, or is told not to; `ENOMEM`:
    /// there are no more; `EAGAIN` or `EBUSY`: a page was in use, as preserved ones are.
    pub refused: Option<i32>,
}

/// The memory of one guest: its regions and the memfds that they lie in.
#[derive(Debug)]
pub struct Ram {
    regions: Vec<Region>,
    files: BTreeMap<u32, File>,
}

impl Ram {
    /// Creates memory, of zeros, in new memfds.
    ///
    /// Fails with [`Error::Layout`] if the regions do not fit together, and with
    /// [`Error::Call`]: `EMFILE` or `ENFILE` if there are too many open files.
    pub fn create(regions: &[Region]) -> Result<Self, Error> {
        let files = sizes(regions)?.into_iter().map(|(number, size)| {
            let file = memfd_create("guest-ram", MFdFlags::MFD_CLOEXEC).map(File::from);
            let sized = file.map_err(io::Error::from).and_then(|file| {
                file.set_len(size)?;
                Ok((number, file))
            });
            sized.map_err(Error::of(number, "create"))
        });
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Self::new(regions, files)
    }

    /// Takes over memory that is there: `regions`, and each file that they name by its number.
    ///
    /// Fails with [`Error::Layout`] if the regions do not fit together, or a file is missing, and
    /// with [`Error::Size`] if one does not end where the last of its regions does.
    pub fn new(
        regions: &[Region],
        files: impl IntoIterator<Item = (u32, File)>,
    ) -> Result<Self, Error> {
        let ram = Self {
            regions: regions.to_vec(),
            files: files.into_iter().collect(),
        };
        for (number, due) in sizes(regions)? {
            expect_size(number, ram.numbered(number)?, due)?;
        }
        Ok(ram)
    }

    /// The regions, in the order given.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The file of number `number`, a memfd.
    pub fn file(&self, number: u32) -> Option<&File> {
        self.files.get(&number)
    }

    fn numbered(&self, number: u32) -> Result<&File, Error> {
        self.file(number).ok_or(Error::Layout {
            slot: number,
            why: "there is no file of this number",
        })
    }

    /// Maps all regions into this process, in their order, shared and for reading and writing.
    ///
    /// Fails with [`Error::Call`], and then none is mapped: `ENOMEM` if there is no room.
    pub fn map(&self) -> Result<Vec<Mapping>, Error> {
        let mappings = self.regions.iter().map(|region| {
            Mapping::new(self.numbered(region.file)?, region.offset, region.size)
                .map_err(Error::of(region.file, "map"))
        });
        mappings.collect()
    }

    /// Makes huge pages of the memory as far as the kernel does so, by `MADV_COLLAPSE`.
    ///
    /// To be called before [`Ram::preserve`], which pins the pages; the guest may run. Memory never
    /// written is allocated by it. A refusal is told and is no failure.
    ///
    /// Fails with [`Error::Call`] if a file cannot be mapped for it: `ENOMEM` if there is no room.
    pub fn collapse(&self) -> Result<Collapsed, Error> {
        let mut sum = Collapsed {
            size: 0,
            huge: 0,
            refused: None,
        };
        for (number, size) in sizes(&self.regions)? {
            let mapping =
                Mapping::new(self.numbered(number)?, 0, size).map_err(Error::of(number, "map"))?;
            let (huge, refused) = mapping.collapse();
            sum.size += size;
            sum.huge += huge;
            sum.refused = sum.refused.or(refused.map(|errno| errno as i32));
        }
        Ok(sum)
    }

    /// Preserves all memory in a created session, each file under `base` plus its number.
    ///
    /// To be called while the guest runs. What was preserved before a failure stays so until the
    /// session is dropped.
    ///
    /// Fails with [`Error::Session`]: `EEXIST` if the session has a file of such a token, `EBUSY` if a
    /// session has this file, `ENOMEM` if there is not enough memory to allocate all of it.
    pub fn preserve(&self, session: &Session, base: u64) -> Result<(), Error> {
        for &number in sizes(&self.regions)?.keys() {
            let file = self.numbered(number)?;
            let preserved = session.preserve_fd(file, token(base, number)?);
            preserved.map_err(Error::of_session(number))?;
        }
        Ok(())
    }

    /// Retrieves memory from a retrieved session, if it is what `regions` say, with at most
    /// `threads` threads, this one included.
    ///
    /// Each thread retrieves one file after the other, so that more threads than files are of no
    /// use. What is not as expected stays in the session: it may be asked for again.
    ///
    /// Fails with [`Error::Layout`] if the regions do not fit together, with [`Error::Size`] if a
    /// file does not end where the last of its regions does, and with [`Error::Session`]: `ENOENT` if
    /// the session has no file of such a token.
    pub fn retrieve(
        session: &Session,
        base: u64,
        regions: &[Region],
        threads: NonZeroUsize,
    ) -> Result<Self, Error> {
        let numbers: Vec<_> = sizes(regions)?.into_iter().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut files = vec![];
            while let Some(&(number, due)) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                let retrieved = session.retrieve_fd(token(base, number)?);
                let file = File::from(retrieved.map_err(Error::of_session(number))?);
                expect_size(number, &file, due)?;
                files.push((number, file));
            }
            Ok(files)
        };
        let files = thread::scope(|scope| {
            // A thread that is not to be had is done without.
            let others: Vec<_> = (1..threads.get().min(numbers.len()))
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let own = work();
            let others = others
                .into_iter()
                .map(|other| other.join().unwrap_or_else(|it| panic::resume_unwind(it)));
            let all: Result<Vec<_>, Error> = others.chain([own]).collect();
            all
        })?;
        Self::new(regions, files.into_iter().flatten())
    }
}

/// The token of the file of number `number`.
fn token(base: u64, number: u32) -> Result<u64, Error> {
    let why = "its token would be beyond all of them";
    let token = base.checked_add(number.into());
    token.ok_or(Error::Layout { slot: number, why })
}

fn expect_size(number: u32, file: &File, due: u64) -> Result<(), Error> {
    let metadata = file.metadata().map_err(Error::of(number, "stat"))?;
    match metadata.len() {
        found if found == due => Ok(()),
        found => Err(Error::Size {
            file: number,
            found,
            due,
        }),
    }
}

/// Checks that regions fit together, and tells the files that they lie in: number and size.
fn sizes(regions: &[Region]) -> Result<BTreeMap<u32, u64>, Error> {
    let mut sizes = BTreeMap::new();
    for (at, region) in regions.iter().enumerate() {
        let Region {
            slot,
            address,
            size,
            file,
            offset,
        } = *region;
        let wrong = |why| Err(Error::Layout { slot, why });
        if size == 0 || (address | size | offset) % *PAGE != 0 {
            return wrong("it does not consist of whole pages");
        }
        // Files are as large as a signed number says.
        let end = offset
            .checked_add(size)
            .filter(|&end| end <= i64::MAX as u64);
        let (Some(_), Some(end)) = (address.checked_add(size), end) else {
            return wrong("it ends beyond all addresses");
        };
        for other in &regions[..at] {
            let overlap = |a: u64, b: u64| a < b + other.size && b < a + size;
            if slot == other.slot {
                return wrong("there is another region of this number");
            }
            if overlap(address, other.address) {
                return wrong("another region has addresses of it");
            }
            if file == other.file && overlap(offset, other.offset) {
                return wrong("another region has a part of its file");
            }
        }
        let due = sizes.entry(file).or_default();
        *due = end.max(*due);
    }
    Ok(sizes)
}

/// Memory of a file in this process, shared; unmapped when dropped.
///
/// Its address is that of its offset in the file, modulo the size of a huge page, so that such
/// pages can be mapped as such.
#[derive(Debug)]
pub struct Mapping {
    /// What is unmapped on drop: the mapping, with unused addresses before and behind it.
    room: NonNull<c_void>,
    room_size: usize,
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: It is addresses of this process, the same in each thread, of which it hands out pointers
// only.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes of a file from `offset` bytes on, which is a multiple of the page size.
    ///
    /// Fails with the errno of `mmap()`: `ENOMEM` if there is no room, `EINVAL` if a number is not
    /// as described.
    pub fn new(file: &File, offset: u64, size: u64) -> io::Result<Self> {
        let number = |value: u64| usize::try_from(value).map_err(|_| Errno::ENOMEM);
        let length = NonZeroUsize::new(number(size)?).ok_or(Errno::EINVAL)?;
        let room_length = length
            .checked_add(2 * number(*HUGE)?)
            .ok_or(Errno::ENOMEM)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: The kernel chooses addresses that are unused.
        let room = unsafe { mmap_anonymous(None, room_length, ProtFlags::PROT_NONE, flags) }?;
        let begin = room.addr().get().next_multiple_of(number(*HUGE)?) + number(offset % *HUGE)?;
        let mapping = Self {
            room,
            room_size: room_length.get(),
            start: room
                .cast()
                .with_addr(NonZeroUsize::new(begin).ok_or(Errno::EINVAL)?),
            size: length.get(),
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        let offset = offset.try_into().map_err(|_| Errno::EINVAL)?;
        // SAFETY: It replaces a part of what was mapped above: that begins less than two huge pages
        // before, and is as long and two of them longer. Nobody but `mapping` knows of it.
        unsafe {
            mmap(
                Some(mapping.start.addr()),
                length,
                protection,
                flags,
                file,
                offset,
            )
        }?;
        Ok(mapping)
    }

    /// Where it begins; valid for [`Mapping::size`] bytes until the mapping is dropped.
    ///
    /// Others write there: the guest, and whoever has the file.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes huge pages: the bytes in such pages, and why there are no more.
    fn collapse(&self) -> (u64, Option<Errno>) {
        let huge = *HUGE as usize;
        let whole = self.size - self.size % huge;
        let advise = |start, size, advice| {
            // SAFETY: The range is in the mapping, and what is in its pages stays the same.
            Errno::result(unsafe { libc::madvise(self.as_ptr().add(start).cast(), size, advice) })
        };
        let pieces = || (0..whole).step_by(huge);
        // The kernel makes no huge page of nothing. If there is no memory, that fails as well.
        for start in pieces() {
            let _ = advise(start, *PAGE as usize, libc::MADV_POPULATE_READ);
        }
        match advise(0, whole, libc::MADV_COLLAPSE) {
            Ok(_) => (whole as u64, None),
            // Piece by piece, it can be counted.
            Err(errno) => {
                let done = pieces()
                    .filter(|&start| advise(start, huge, libc::MADV_COLLAPSE).is_ok())
                    .count();
                let refused = (done * huge < whole).then_some(errno);
                ((done * huge) as u64, refused)
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Whoever still has a pointer into it was told that it is valid until now.
        let unmapped = unsafe { munmap(self.room, self.room_size) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Mapping, Ram, Region, HUGE, PAGE};
    use std::{io, os::unix::fs::FileExt};

    /// Two regions around a hole, in one file, and one in a file of its own.
    fn regions() -> [Region; 3] {
        [
            Region::new(0, 0, 2 * *HUGE),
            Region::new(1, 4 * *HUGE, *HUGE + *PAGE).within(0, 2 * *HUGE),
            Region::new(7, 8 * *HUGE, 3 * *PAGE),
        ]
    }

    fn why(regions: &[Region]) -> Option<&'static str> {
        match Ram::create(regions) {
            Err(Error::Layout { why, .. }) => Some(why),
            _ => None,
        }
    }

    #[test]
    fn a_file_is_as_large_as_its_regions() -> io::Result<()> {
        let ram = Ram::create(&regions())?;
        let size = |number| Some(ram.file(number)?.metadata().ok()?.len());
        assert_eq!(size(0), Some(3 * *HUGE + *PAGE));
        assert_eq!(size(1), None);
        assert_eq!(size(7), Some(3 * *PAGE));
        Ok(())
    }

    #[test]
    fn regions_that_do_not_fit_are_refused() {
        let [first, second, third] = regions();
        assert!(why(&[first, second, third]).is_none());
        assert!(why(&[first, Region::new(0, 8 * *HUGE, *PAGE)]).is_some());
        assert!(why(&[first, Region::new(1, *HUGE, *HUGE)]).is_some());
        assert!(why(&[first, second.within(0, *HUGE)]).is_some());
        assert!(why(&[Region::new(0, 0, 0)]).is_some());
        assert!(why(&[Region::new(0, 0, *PAGE + 1)]).is_some());
        assert!(why(&[Region::new(0, PAGE.wrapping_neg(), 2 * *PAGE)]).is_some());
        assert!(why(&[Region::new(0, 0, *PAGE).within(0, PAGE.wrapping_neg())]).is_some());
    }

    #[test]
    fn a_file_of_another_size_is_refused() -> io::Result<()> {
        for (size, due) in [(2 * *PAGE, 3 * *PAGE), (4 * *PAGE, 3 * *PAGE)] {
            let found = Ram::create(&[Region::new(7, 0, size)])?;
            let file = found.file(7).and_then(|file| file.try_clone().ok());
            let ram = Ram::new(&[Region::new(7, 0, due)], file.map(|file| (7, file)));
            assert!(
                matches!(ram, Err(Error::Size { file: 7, found, due: of }) if (found, of) == (size, due))
            );
        }
        let missing = Ram::new(&regions(), []);
        assert!(matches!(missing, Err(Error::Layout { slot: 0, .. })));
        Ok(())
    }

    #[test]
    fn mappings_are_the_files() -> io::Result<()> {
        let ram = Ram::create(&regions())?;
        let mappings = ram.map()?;
        for (region, mapping) in ram.regions().iter().zip(&mappings) {
            assert_eq!(mapping.size() as u64, region.size);
            assert_eq!(mapping.as_ptr() as u64 % *HUGE, region.offset % *HUGE);
            // SAFETY: It is the last byte of the mapping, and nobody else's.
            unsafe {
                mapping
                    .as_ptr()
                    .add(mapping.size() - 1)
                    .write(region.slot as u8 + 1)
            };
            let mut byte = [0];
            let file = ram.file(region.file).ok_or(io::ErrorKind::NotFound)?;
            file.read_exact_at(&mut byte, region.offset + region.size - 1)?;
            assert_eq!(byte, [region.slot as u8 + 1]);
        }
        Ok(())
    }

    #[test]
    fn an_odd_offset_is_mapped_where_huge_pages_fit() -> io::Result<()> {
        let ram = Ram::create(&[Region::new(0, 0, 4 * *HUGE)])?;
        let file = ram.file(0).ok_or(io::ErrorKind::NotFound)?;
        let mapping = Mapping::new(file, *HUGE + *PAGE, 2 * *HUGE)?;
        assert_eq!(mapping.as_ptr() as u64 % *HUGE, *PAGE);
        assert!(Mapping::new(file, 1, *HUGE).is_err());
        assert!(Mapping::new(file, 0, 0).is_err());
        assert!(Mapping::new(file, 0, u64::MAX).is_err());
        Ok(())
    }

    #[test]
    fn collapsing_tells_what_it_did_and_changes_nothing() -> io::Result<()> {
        let ram = Ram::create(&regions())?;
        let file = ram.file(0).ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(b"written", *HUGE - 3)?;
        let collapsed = ram.collapse()?;
        assert_eq!(collapsed.size, 3 * *HUGE + 4 * *PAGE);
        assert!(collapsed.huge == 3 * *HUGE || collapsed.refused.is_some());
        let mut read = [0; 7];
        file.read_exact_at(&mut read, *HUGE - 3)?;
        assert_eq!(&read, b"written");
        Ok(())
    }
}
