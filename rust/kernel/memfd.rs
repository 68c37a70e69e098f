// SPDX-License-Identifier: GPL-2.0

//! Files in memory: what [`memfd_create(2)`] makes, and other shmem files without a name.
//!
//! One whose memory is to stay where it is, is [frozen](Memfd::freeze), and its memory
//! [preserved](PreservedFolios) for the next kernel. There, a [new file](NewMemfd) gets the memory
//! of an old one.
//!
//! C headers: [`include/linux/memfd.h`](srctree/include/linux/memfd.h),
//! [`include/linux/shmem_fs.h`](srctree/include/linux/shmem_fs.h)
//!
//! [`memfd_create(2)`]: https://man7.org/linux/man-pages/man2/memfd_create.2.html
//!
//! # Examples
//!
//! ```
//! use kernel::memfd::{
//!     Memfd,
//!     NewMemfd, //
//! };
//!
//! let file = NewMemfd::new(0o600, 0)?;
//! file.set_size(17);
//! let file = file.into_file(3, NewMemfd::READ_WRITE)?;
//!
//! let memfd = Memfd::of(&file).ok_or(EINVAL)?;
//! assert_eq!(memfd.size(), 17);
//! assert_eq!(memfd.position(), 3);
//! assert_eq!(memfd.permissions(), 0o600);
//!
//! // Nobody can make it larger or smaller as long as this exists.
//! let frozen = memfd.freeze();
//! assert_eq!(frozen.memfd().size(), 17);
//! # Ok::<(), Error>(())
//! ```

use crate::{
    alloc::flags::*,
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    folio,
    fs::{
        file::flags,
        File, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::CStrExt as _,
    sync::aref::ARef, //
};
use core::{
    mem,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};

/// All permissions that a file can have.
pub const PERMISSIONS: u16 = 0o777;

/// The permissions to execute it.
pub const EXECUTE: u16 = 0o111;

/// How many bytes so many pages have.
const fn bytes(pages: u64) -> u64 {
    pages * PAGE_SIZE as u64
}

/// How many pages can be allocated without driving others out (approximately).
pub fn available_pages() -> u64 {
    // SAFETY: May be called from anywhere.
    u64::try_from(unsafe { bindings::si_mem_available() }).unwrap_or(0)
}

/// Lets others run, if it is their turn, and says whether to go on: `EINTR` if the task is killed.
///
/// May sleep.
pub fn checkpoint() -> Result {
    // SAFETY: May be called from where sleeping is allowed.
    unsafe { bindings::cond_resched() };

    if current!().fatal_signal_pending() {
        Err(EINTR)
    } else {
        Ok(())
    }
}

/// The inode of an open file.
fn inode(file: &File) -> *mut bindings::inode {
    // SAFETY: The file is open.
    unsafe { bindings::file_inode(file.as_ptr()) }
}

/// An open file of shmem that has no name.
///
/// # Invariants
///
/// The file is one of shmem.
#[repr(transparent)]
pub struct Memfd(File);

impl Memfd {
    /// `file`, if it is one of these.
    pub fn of(file: &File) -> Option<&Self> {
        // SAFETY: The file is open.
        if !unsafe { bindings::shmem_file(file.as_ptr()) } {
            return None;
        }
        // SAFETY: The inode of an open file is there, and this is a number that is read once.
        if unsafe { (&raw const (*inode(file)).__bindgen_anon_1.i_nlink).read_volatile() } != 0 {
            return None;
        }

        // SAFETY: The representation is the same.
        // INVARIANT: Was just asked.
        Some(unsafe { &*ptr::from_ref(file).cast() })
    }

    fn inode(&self) -> *mut bindings::inode {
        inode(&self.0)
    }

    /// What all open files have in common that are this one: an address.
    pub fn id(&self) -> usize {
        self.inode().addr()
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        // SAFETY: The inode of an open file is there.
        unsafe { bindings::i_size_read(self.inode()) as u64 }
    }

    /// How many pages it has, whether there is memory for them or not.
    pub fn pages(&self) -> u64 {
        self.size().div_ceil(PAGE_SIZE as u64)
    }

    /// How many pages are in memory.
    pub fn pages_in_memory(&self) -> u64 {
        // SAFETY: The mapping of an open file is there, and this is a number that is read once.
        unsafe { (&raw const (*(*self.0.as_ptr()).f_mapping).nrpages).read_volatile() as u64 }
    }

    /// The seals, as `F_GET_SEALS` has them.
    pub fn seals(&self) -> u32 {
        // SAFETY: The file is open. It is one of shmem, which has seals.
        unsafe { bindings::memfd_get_seals(self.0.as_ptr()) as u32 }
    }

    /// The position, in bytes.
    pub fn position(&self) -> u64 {
        // SAFETY: The file is open, and this is a number that is read once.
        unsafe { (&raw const (*self.0.as_ptr()).f_pos).read_volatile() as u64 }
    }

    /// The permissions, as `chmod(2)` has them.
    pub fn permissions(&self) -> u16 {
        // SAFETY: The inode of an open file is there, and this is a number that is read once.
        unsafe { (&raw const (*self.inode()).i_mode).read_volatile() & PERMISSIONS }
    }

    /// How it is open: the access mode, and whether it is for appending.
    pub fn open_flags(&self) -> u32 {
        self.0.flags() & (flags::O_ACCMODE | flags::O_APPEND)
    }

    /// Lets nobody make it larger or smaller, or punch holes, and waits for who does.
    ///
    /// One who has it frozen should be the only one. May sleep.
    pub fn freeze(&self) -> Frozen {
        let file = ARef::from(&self.0);

        self.locked(|inode| {
            // SAFETY: The inode is locked.
            unsafe { bindings::shmem_freeze(inode, true) }
        });
        // INVARIANT: It was just frozen.
        Frozen { file }
    }

    /// Calls `what` with the inode locked.
    fn locked(&self, what: impl FnOnce(*mut bindings::inode)) {
        let inode = self.inode();

        // SAFETY: The inode of an open file is there.
        unsafe { bindings::inode_lock(inode) };
        what(inode);
        // SAFETY: It was just locked.
        unsafe { bindings::inode_unlock(inode) };
    }
}

/// A file that stays as large as it is. Dropped, it does no longer.
///
/// # Invariants
///
/// `file` is a [`Memfd`], and frozen.
pub struct Frozen {
    file: ARef<File>,
}

impl Frozen {
    /// The file.
    pub fn memfd(&self) -> &Memfd {
        // SAFETY: By the type invariants, it is one, and the representation is the same.
        unsafe { &*ptr::from_ref(&*self.file).cast() }
    }

    /// Lets nothing come into the holes any more, or lets it again. Whatever comes is there when
    /// this returns, or does not come. May sleep.
    pub fn freeze_holes(&self, freeze: bool) {
        self.memfd().locked(|inode| {
            // SAFETY: The inode is locked.
            unsafe { bindings::shmem_freeze_holes(inode, freeze) }
        });
    }

    /// The first pages from `pages.start` on, and before `pages.end`, that are no hole, up to the
    /// next one. May sleep.
    pub fn next_data(&self, pages: Range<u64>) -> Option<Range<u64>> {
        let mut start = pages.start as c_ulong;
        let mut end = pages.end as c_ulong;

        // SAFETY: The inode of an open file is there, and by the type invariants it is one of shmem.
        let found =
            unsafe { bindings::shmem_next_data(self.memfd().inode(), &mut start, &mut end) };

        found.then_some(start as u64..end as u64)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.memfd().locked(|inode| {
            // SAFETY: The inode is locked.
            unsafe {
                bindings::shmem_freeze_holes(inode, false);
                bindings::shmem_freeze(inode, false);
            }
        });
    }
}

/// What is preserved as one.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// A folio, by itself.
    Folio,
    /// Folios of the same order whose pages are neighbours, in memory and in the file.
    Run,
}

/// Memory of a file that is preserved as one, or is to be.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Its first page, in the file.
    pub index: u64,
    /// The number of the first page frame.
    pub frame: u64,
    /// How many pages it has.
    pub pages: u64,
    /// The order of the folios in it.
    pub order: u32,
}

impl Piece {
    /// What a folio is.
    ///
    /// # Safety
    ///
    /// The folio is pinned, and in the page cache of a frozen file.
    #[inline]
    unsafe fn of(folio: *mut bindings::folio) -> Self {
        // SAFETY: By the caller's guarantee the folio is there, and stays as it is.
        unsafe {
            let order = bindings::folio_order(folio);

            Self {
                index: (*folio)
                    .__bindgen_anon_1
                    .__bindgen_anon_1
                    .__bindgen_anon_2
                    .index as u64,
                frame: bindings::folio_pfn(folio) as u64,
                pages: 1 << order,
                order,
            }
        }
    }

    /// Whether `next` is its continuation, and both together are not too large.
    fn goes_on_with(&self, next: &Self) -> bool {
        self.index + self.pages == next.index
            && self.frame + self.pages == next.frame
            && self.order == next.order
            && self.pages + next.pages <= Frames::MOST_PAGES
    }
}

/// Folios of one order that are neighbours: the number of the first page frame, how many they are,
/// and their order, in a word.
#[derive(Clone, Copy)]
struct Frames(u64);

impl Frames {
    const ORDER_BITS: u32 = 6;
    const COUNT_BITS: u32 = 18;

    /// The most pages that they have together.
    const MOST_PAGES: u64 = 1 << 17;

    /// What is in a folio.
    fn new(folio: &Piece) -> Self {
        Self((folio.frame << Self::COUNT_BITS | 1) << Self::ORDER_BITS | u64::from(folio.order))
    }

    fn order(self) -> u64 {
        self.0 & ((1 << Self::ORDER_BITS) - 1)
    }

    /// How many folios there are.
    fn count(self) -> u64 {
        self.0 >> Self::ORDER_BITS & ((1 << Self::COUNT_BITS) - 1)
    }

    fn pages(self) -> u64 {
        self.count() << self.order()
    }

    fn first(self) -> u64 {
        self.0 >> (Self::COUNT_BITS + Self::ORDER_BITS)
    }

    /// Adds a folio if it is right behind, and there is room.
    #[inline]
    fn take(&mut self, folio: &Piece) -> bool {
        let goes_on = self.order() == u64::from(folio.order)
            && self.first() + self.pages() == folio.frame
            && self.pages() + folio.pages <= Self::MOST_PAGES;

        if goes_on {
            self.0 += 1 << Self::ORDER_BITS;
        }
        goes_on
    }
}

/// How many folios are pinned at a time.
const PINNED: usize = 512;

/// Room for those that are released at a time.
type Batch = [*mut bindings::folio; 64];

/// Memory of a file that the next kernel will find as it is left.
///
/// Dropped, it is not preserved any more.
///
/// # Invariants
///
/// The folios that `frames` are made of are pinned, once for this. They are preserved, each by
/// itself or those of one entry together, as `unit` says, but for those of the last entry if
/// `open` says so.
pub struct PreservedFolios {
    frames: KVVec<Frames>,
    unit: Unit,
    /// What is not preserved yet, as more of it may come.
    open: Option<Piece>,
}

impl PreservedFolios {
    /// Nothing yet, of which `unit` is going to be preserved as one.
    pub fn new(unit: Unit) -> Self {
        // INVARIANT: There are no folios.
        Self {
            frames: KVVec::new(),
            unit,
            open: None,
        }
    }

    /// Preserves these pages of a file, in which holes are filled with zeroes, and tells `note` of
    /// each piece in order. They become up to date, and dirty, so that nothing in them is dropped.
    ///
    /// Returns the page behind the last folio, which may be behind `pages.end`. Fails with `ENOMEM`,
    /// `ENOSPC` if the file may not have so many pages, `EINTR` if the task is killed, and what
    /// `note` does; then of these pages the runs that were noted stay preserved, and no others;
    /// folios may, noted or not. May sleep.
    pub fn add(
        &mut self,
        file: &Frozen,
        pages: Range<u64>,
        mut note: impl FnMut(Piece) -> Result,
    ) -> Result<u64> {
        let result = self.add_all(file, pages, &mut note);

        if result.is_err() && self.open.take().is_some() {
            // INVARIANT: What was open is neither pinned nor in `frames`. It was not preserved.
            if let Some(frames) = self.frames.pop() {
                let mut batch = [ptr::null_mut(); _];

                // SAFETY: By the type invariants these were pinned and not preserved. They were just
                // taken out, and all that is in the batch is of them.
                unsafe {
                    let count = self.gather(frames, &mut batch, 0);

                    self.release(&mut batch, count);
                }
            }
        }
        result
    }

    fn add_all(
        &mut self,
        file: &Frozen,
        pages: Range<u64>,
        note: &mut impl FnMut(Piece) -> Result,
    ) -> Result<u64> {
        let end = bytes(pages.end).min(file.memfd().size());
        let mut next = pages.start;

        if bytes(next) >= end {
            return Ok(next);
        }

        let mut chunk = KBox::<[*mut bindings::folio; PINNED]>::new_uninit(GFP_KERNEL)?;

        while bytes(next) < end {
            checkpoint()?;

            let mut offset = 0;
            // SAFETY: The file is open, and there is room for so many folios.
            let pinned = unsafe {
                bindings::memfd_pin_folios(
                    file.file.as_ptr(),
                    bytes(next) as bindings::loff_t,
                    (end - 1) as bindings::loff_t,
                    chunk.as_mut_ptr().cast(),
                    PINNED as c_uint,
                    &mut offset,
                )
            };
            let pinned = match usize::try_from(pinned) {
                Ok(pinned) if pinned > 0 => pinned,
                _ => return Err(Error::from_errno(pinned as c_int)),
            };
            // SAFETY: From the start of the chunk on, so many were just written, and nobody else has it.
            let folios = unsafe { slice::from_raw_parts_mut(chunk.as_mut_ptr().cast(), pinned) };
            // SAFETY: They were just pinned, in a frozen file.
            let (entered, result) = unsafe { self.enter(folios, note) };
            let others = folios.get_mut(entered..).unwrap_or_default();

            // SAFETY: These are pinned, and did not get into `frames`.
            unsafe { bindings::unpin_folios(others.as_mut_ptr(), others.len() as c_ulong) };
            next = result?;
        }
        self.close(note)?;
        Ok(next)
    }

    /// Preserves folios. Tells how many of them, from the first on, got into `frames`, and the page
    /// behind the last one.
    ///
    /// # Safety
    ///
    /// They are pinned, for this if they get into `frames`, and in the page cache of a frozen file.
    unsafe fn enter(
        &mut self,
        folios: &mut [*mut bindings::folio],
        note: &mut impl FnMut(Piece) -> Result,
    ) -> (usize, Result<u64>) {
        let mut next = 0;
        let preserved = match self.unit {
            Unit::Run => folios.len(),
            Unit::Folio => {
                // SAFETY: By the caller's guarantee the folios are there.
                let preserved = unsafe {
                    bindings::kho_preserve_folios(folios.as_mut_ptr(), folios.len() as c_ulong)
                };

                match usize::try_from(preserved) {
                    Ok(preserved) => preserved,
                    Err(_) => return (0, Err(Error::from_errno(preserved as c_int))),
                }
            }
        };

        // Of all folios, each may need an entry.
        let mut result = self
            .frames
            .reserve(preserved, GFP_KERNEL | __GFP_NOWARN)
            .map_err(Error::from);
        let mut entered = 0;

        while let (Ok(()), Some(&folio)) = (result, folios.get(entered)) {
            if entered == preserved {
                break;
            }

            // SAFETY: By the caller's guarantee the folio is pinned, and in the page cache of a frozen
            // file.
            let piece = unsafe {
                keep(folio);
                Piece::of(folio)
            };

            next = piece.index + piece.pages;
            result = self.push(piece, note, &mut entered);
        }

        if self.unit == Unit::Folio {
            let others = folios.get_mut(entered..preserved).unwrap_or_default();

            // SAFETY: These are preserved, and did not get into `frames`.
            unsafe {
                bindings::kho_unpreserve_folios(others.as_mut_ptr(), others.len() as c_ulong)
            };
        }
        if result.is_ok() && preserved < folios.len() {
            result = Err(ENOMEM);
        }
        (entered, result.map(|()| next))
    }

    /// Enters a folio that is pinned, and preserved if it has to be by itself, into `frames`, which
    /// has room for it.
    #[inline]
    fn push(
        &mut self,
        piece: Piece,
        note: &mut impl FnMut(Piece) -> Result,
        entered: &mut usize,
    ) -> Result {
        let mut apart = false;

        if self.unit == Unit::Run {
            match &mut self.open {
                Some(open) if open.goes_on_with(&piece) => open.pages += piece.pages,
                _ => {
                    self.close(note)?;
                    self.open = Some(piece);
                    apart = true;
                }
            }
        }

        // INVARIANT: The folio is pinned, and preserved if it has to be, or else part of what is open.
        *entered += 1;
        if apart || !self.frames.last_mut().is_some_and(|last| last.take(&piece)) {
            let _ = self.frames.push_within_capacity(Frames::new(&piece));
        }

        match self.unit {
            Unit::Folio => note(piece),
            Unit::Run => Ok(()),
        }
    }

    /// Preserves the last run, and notes it; or else it stays open.
    fn close(&mut self, note: &mut impl FnMut(Piece) -> Result) -> Result {
        let Some(piece) = self.open else {
            return Ok(());
        };
        let pages = piece.pages as c_ulong;

        // SAFETY: By the type invariants these pages are pinned.
        to_result(unsafe { bindings::kho_preserve_pages(first_page(piece.frame), pages) })?;
        if let Err(err) = note(piece) {
            // SAFETY: They were just preserved together.
            unsafe { bindings::kho_unpreserve_pages(first_page(piece.frame), pages) };
            return Err(err);
        }

        // INVARIANT: They were just preserved.
        self.open = None;
        Ok(())
    }

    /// Adds folios to the first `count` ones of a batch, all of which are released when it is full.
    /// Returns how many it has then.
    ///
    /// # Safety
    ///
    /// They were in `self.frames` and are not any more, as those were that are in the batch. If they
    /// were preserved together, they are no longer.
    #[inline]
    unsafe fn gather(&self, frames: Frames, batch: &mut Batch, mut count: usize) -> usize {
        let mut frame = frames.first();

        for _ in 0..frames.count() {
            if count == batch.len() {
                // SAFETY: By the caller's guarantee.
                unsafe { self.release(batch, count) };
                count = 0;
            }
            if let Some(slot) = batch.get_mut(count) {
                // SAFETY: By the caller's guarantee a folio begins there.
                *slot = unsafe { bindings::pfn_folio(frame as c_ulong) };
                frame += 1 << frames.order();
                count += 1;
            }
        }
        count
    }

    /// Unpins the first folios of a batch.
    ///
    /// # Safety
    ///
    /// They were in `self.frames` and are not any more. If they were preserved together, they are no
    /// longer.
    unsafe fn release(&self, batch: &mut Batch, count: usize) {
        // SAFETY: By the type invariants they were pinned, and preserved if that is the unit. Whoever
        // drops this may sleep, as it did to make it.
        unsafe {
            if self.unit == Unit::Folio {
                bindings::kho_unpreserve_folios(batch.as_mut_ptr(), count as c_ulong);
            }
            bindings::unpin_folios(batch.as_mut_ptr(), count as c_ulong);
            bindings::cond_resched();
        }
    }
}

impl Drop for PreservedFolios {
    fn drop(&mut self) {
        let mut batch = [ptr::null_mut(); _];
        let mut count = 0;

        // INVARIANT: What is taken out here is neither pinned nor preserved in the end.
        if self.open.take().is_some() {
            if let Some(frames) = self.frames.pop() {
                // SAFETY: They were just taken out. They were not preserved yet.
                count = unsafe { self.gather(frames, &mut batch, count) };
            }
        }
        for &frames in &mem::take(&mut self.frames) {
            if self.unit == Unit::Run {
                // SAFETY: By the type invariants these were preserved together.
                unsafe {
                    bindings::kho_unpreserve_pages(
                        first_page(frames.first()),
                        frames.pages() as c_ulong,
                    )
                };
            }
            // SAFETY: They were just taken out, and so were those in the batch.
            count = unsafe { self.gather(frames, &mut batch, count) };
        }
        // SAFETY: All of them were taken out.
        unsafe { self.release(&mut batch, count) };
    }
}

/// The page of a frame.
///
/// # Safety
///
/// The frame is the first one of a folio.
unsafe fn first_page(frame: u64) -> *mut bindings::page {
    // SAFETY: By the caller's guarantee.
    unsafe { bindings::folio_page(bindings::pfn_folio(frame as c_ulong)) }
}

/// Lets nobody drop what is in a folio of a file. What nobody has written to yet becomes zeroes.
///
/// # Safety
///
/// The folio is pinned, and belongs to a file.
#[inline]
unsafe fn keep(folio: *mut bindings::folio) {
    // SAFETY: By the caller's guarantee the folio is there.
    unsafe {
        let flags = (&raw const (*folio).__bindgen_anon_1.__bindgen_anon_1.flags.f).read_volatile();
        let both = 1 << bindings::pageflags_PG_uptodate | 1 << bindings::pageflags_PG_dirty;

        // One that is both stays so, as it is pinned.
        if flags & both == both {
            return;
        }

        bindings::folio_lock(folio);
        bindings::folio_mark_dirty(folio);
        if !bindings::folio_test_uptodate(folio) {
            let size = PAGE_SIZE << bindings::folio_order(folio);

            bindings::folio_zero_range(folio, 0, size);
            bindings::flush_dcache_folio(folio);
            bindings::folio_mark_uptodate(folio);
        }
        bindings::folio_unlock(folio);
    }
}

/// A file that nobody can use yet. Dropped, it is gone, and the memory in it.
///
/// # Invariants
///
/// `file` is one of shmem, and nobody else has it.
pub struct NewMemfd {
    file: ARef<File>,
}

impl NewMemfd {
    /// How a new file is open if nothing else is asked for.
    pub const READ_WRITE: u32 = flags::O_RDWR;

    /// Makes an empty file with these permissions, and these seals on it, as `F_ADD_SEALS` has them.
    ///
    /// Returns `EINVAL` if there are no such seals, `ENOMEM`, `ENFILE`, or `ENOSPC` if there is no
    /// memory for an inode. May sleep.
    pub fn new(permissions: u16, seals: u32) -> Result<Self> {
        // SAFETY: The name is NUL-terminated and copied.
        let file = from_err_ptr(unsafe {
            bindings::memfd_alloc_file(c"".as_char_ptr(), bindings::MFD_ALLOW_SEALING)
        })?;
        let file = NonNull::new(file).ok_or(ENOMEM)?;
        // SAFETY: The reference is ours, and nobody else uses the file.
        let file = unsafe { ARef::<File>::from_raw(file.cast()) };

        // Without the permission to execute it, a seal on that implies no other ones.
        // SAFETY: The inode of an open file is there, and nobody else uses it.
        unsafe {
            let mode = &raw mut (*inode(&file)).i_mode;

            mode.write(mode.read() & !PERMISSIONS | permissions & PERMISSIONS);
        }
        // SAFETY: The file is open.
        to_result(unsafe { bindings::memfd_add_seals(file.as_ptr(), seals) })?;

        // INVARIANT: This is what `memfd_alloc_file()` makes, and nobody else has got it.
        Ok(Self { file })
    }

    fn inode(&self) -> *mut bindings::inode {
        inode(&self.file)
    }

    /// Makes it so many bytes large, at most [`i64::MAX`].
    pub fn set_size(&self, size: u64) {
        // SAFETY: The inode of an open file is there, and by the type invariants nobody else writes
        // to it.
        unsafe { bindings::i_size_write(self.inode(), size as bindings::loff_t) };
    }

    /// Whether a file can be open with these flags of `open(2)`.
    pub fn can_be_open(open_flags: u32) -> bool {
        open_flags & !(flags::O_ACCMODE | flags::O_APPEND) == 0
            && open_flags & flags::O_ACCMODE != flags::O_ACCMODE
    }

    /// The orders that a folio of this file could have if it were allocated for this page: bit 1 is
    /// for order 1.
    pub fn allowed_orders(&self, index: u64) -> usize {
        // SAFETY: The inode of an open file is there.
        unsafe {
            bindings::shmem_allowable_huge_orders(
                self.inode(),
                ptr::null_mut(),
                index as c_ulong,
                0,
                false,
            )
        }
    }

    /// Makes folios pages of the file, where the index of each says. None is left in `batch`.
    ///
    /// They are charged to the task, and are up to date and dirty. Returns `EINVAL` if one would not
    /// be where its size allows it, `EEXIST` if there is a page already, `ENOSPC` if the file may not
    /// have so many, `ENOMEM`; then some may be there and the others are freed. May sleep.
    pub fn add(&self, batch: &mut folio::Batch) -> Result {
        // SAFETY: The inode of an open file is there, and by the type invariants nobody else uses
        // it. The batch has folios that nobody else knows of, and none after this.
        to_result(unsafe { bindings::shmem_add_folio_batch(self.inode(), batch.as_raw()) })
    }

    /// Opens it, with its position at a byte, at most [`i64::MAX`].
    ///
    /// `open_flags` are those that [`Memfd::open_flags`] tells of. Returns `ENOMEM`, `ENFILE`, and
    /// what a security module does. May sleep.
    pub fn into_file(self, position: u64, open_flags: u32) -> Result<ARef<File>> {
        let mut file = self.file;

        if open_flags != Self::READ_WRITE {
            // SAFETY: The file is open, which has a path, and who it was opened by.
            let other = from_err_ptr(unsafe {
                let old = file.as_ptr();

                bindings::dentry_open(
                    &raw const (*old).__bindgen_anon_1.f_path,
                    (open_flags | flags::O_LARGEFILE) as c_int,
                    (*old).f_cred,
                )
            })?;
            let other = NonNull::new(other).ok_or(ENOMEM)?;

            // SAFETY: The reference is ours, and nobody else uses the file.
            file = unsafe { ARef::from_raw(other.cast()) };
        }

        // SAFETY: The file is open, and nobody else has it.
        unsafe {
            bindings::vfs_setpos(
                file.as_ptr(),
                position as bindings::loff_t,
                bindings::loff_t::MAX,
            )
        };
        Ok(file)
    }
}
