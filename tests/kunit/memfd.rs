// SPDX-License-Identifier: GPL-2.0

//! Tests of the handler of memfds: what KHO has noted while files of this kernel are preserved, and
//! after that, and what becomes of files that the previous kernel seems to have handed over.

use super::*;
use crate::common::{
    check,
    free_pages,
    preserved_order,
    Area,
    HandedOverPages, //
};
use kernel::{
    bindings,
    error::to_result,
    fs::file::flags, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_preserved_pages() -> u64;
    fn luo_kunit_page(file: *mut c_void, index: c_ulong, to: &mut Page) -> bool;
    fn luo_kunit_huge_pages(file: *mut c_void, allow: bool);
}

/// How many pages KHO will hand over.
pub(super) fn preserved_pages() -> u64 {
    // SAFETY: May be called from where sleeping is allowed.
    unsafe { luo_kunit_preserved_pages() }
}

// Files of this kernel.

/// A page of a file, and what is said of its folio: `struct luo_kunit_page`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Page {
    pub(super) phys: u64,
    order: u32,
    up_to_date: bool,
    dirty: bool,
    pub(super) pinned: bool,
}

/// A page of a file, unless it is a hole.
pub(super) fn page_of(file: &File, index: u64) -> Option<Page> {
    let mut page = Page::default();

    // SAFETY: The file is open, and the result may be written.
    unsafe { luo_kunit_page(file.as_ptr().cast(), index as c_ulong, &mut page) }.then_some(page)
}

/// Lets files have huge pages, for as long as it exists.
struct HugePages(ARef<File>);

impl HugePages {
    fn allow() -> Result<Self> {
        let file = memfd(0, &[])?;

        // SAFETY: The file is open, and one of shmem.
        unsafe { luo_kunit_huge_pages(file.as_ptr().cast(), true) };
        Ok(Self(file))
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // SAFETY: The file is open, and one of shmem.
        unsafe { luo_kunit_huge_pages(self.0.as_ptr().cast(), false) };
    }
}

pub(super) const PAGE: u64 = PAGE_SIZE as u64;

/// How many words of a page tell where they are. Those of a page of 4 KiB all do.
const WORDS: u64 = 512;

/// How many words there are in a page for each that does.
const APART: usize = PAGE_SIZE / size_of::<u64>() / WORDS as usize;

/// What the words say from this page of any file on, as far as there is data.
fn data_from(page: u64) -> impl Iterator<Item = u64> {
    (page * WORDS..).map(|number| !number)
}

/// Writes what is in any file from this page on.
fn fill(words: &mut [u64], page: u64) {
    for (word, data) in words.iter_mut().step_by(APART).zip(data_from(page)) {
        *word = data;
    }
}

/// Whether it is there.
fn is_filled(words: &[u64], page: u64) -> bool {
    let mut words = words.iter().step_by(APART).zip(data_from(page));

    words.all(|(word, data)| *word == data)
}

/// A file with `size` bytes that has data in these pages, and holes for the others.
pub(super) fn memfd(size: u64, data: &[u64]) -> Result<ARef<File>> {
    let file = NewMemfd::new(0o640, 0)?;

    file.set_size(size);
    let file = file.into_file(17, NewMemfd::READ_WRITE)?;
    for page in data {
        write(&file, *page)?;
    }
    Ok(file)
}

/// Writes its data to a page.
pub(super) fn write(file: &File, page: u64) -> Result {
    let mut words = KVec::from_elem(0, PAGE_SIZE / size_of::<u64>(), GFP_KERNEL)?;
    let mut offset = (page * PAGE) as bindings::loff_t;

    fill(&mut words, page);
    // SAFETY: The file is open for writing, and there are so many bytes.
    let written = unsafe {
        bindings::kernel_write(file.as_ptr(), words.as_ptr().cast(), PAGE_SIZE, &mut offset)
    };
    to_result(written.min(0) as c_int)?;
    check(written == PAGE_SIZE as isize)
}

/// Reads the words of a page, as far as the file goes.
fn read(file: &File, page: u64) -> Result<KVec<u64>> {
    let mut words = KVec::from_elem(0, PAGE_SIZE / size_of::<u64>(), GFP_KERNEL)?;
    let mut offset = (page * PAGE) as bindings::loff_t;
    // SAFETY: The file is open for reading, and there is room for so many bytes.
    let len = unsafe {
        bindings::kernel_read(
            file.as_ptr(),
            words.as_mut_ptr().cast(),
            PAGE_SIZE,
            &mut offset,
        )
    };

    to_result(len.min(0) as c_int)?;
    words.truncate(len as usize / size_of::<u64>());
    Ok(words)
}

/// As `ftruncate(2)`.
pub(super) fn resize(file: &File, size: u64) -> Result {
    // SAFETY: The file is open, which has a path.
    to_result(unsafe {
        bindings::vfs_truncate(
            &raw const (*file.as_ptr()).__bindgen_anon_1.f_path,
            size as bindings::loff_t,
        ) as c_int
    })
}

/// As `fallocate(2)`, for one page.
fn fallocate(file: &File, mode: u32, page: u64) -> Result {
    // SAFETY: The file is open.
    to_result(unsafe {
        bindings::vfs_fallocate(
            file.as_ptr(),
            mode as c_int,
            (page * PAGE) as bindings::loff_t,
            PAGE as bindings::loff_t,
        )
    })
}

/// Makes a page a hole.
fn punch(file: &File, page: u64) -> Result {
    const PUNCH_HOLE_KEEP_SIZE: u32 = 0x02 | 0x01;

    fallocate(file, PUNCH_HOLE_KEEP_SIZE, page)
}

/// As `F_ADD_SEALS`.
fn seal(file: &File, seals: u32) -> Result {
    // SAFETY: The file is open.
    to_result(unsafe { bindings::memfd_add_seals(file.as_ptr(), seals) })
}

/// Fails unless a file has data in the pages that should have it, and zeroes in the others.
pub(super) fn check_contents(file: &File, has_data: impl Fn(u64) -> bool) -> Result {
    let memfd = Memfd::of(file).ok_or(EINVAL)?;
    let mut len = 0;

    for page in 0..memfd.pages() {
        let words = read(file, page)?;

        len += size_of_val(&words[..]) as u64;
        if has_data(page) {
            check(is_filled(&words, page))?;
        } else {
            check(words.iter().all(|word| *word == 0))?;
        }
    }
    check(len == memfd.size())
}

/// Fails unless a file cannot change its size, or have new holes.
pub(super) fn check_frozen(file: &File) -> Result {
    let size = Memfd::of(file).ok_or(EINVAL)?.size();

    check(resize(file, size - 1) == Err(EPERM))?;
    check(resize(file, size + 1) == Err(EPERM))?;
    check(punch(file, 0) == Err(EPERM))
}

/// Fails unless a file can do that and nobody needs its pages, when as much is preserved as was
/// before.
pub(super) fn check_let_go(file: &File, preserved: u64) -> Result {
    let memfd = Memfd::of(file).ok_or(EINVAL)?;
    let size = memfd.size();

    check(preserved_pages() == preserved)?;
    check((0..memfd.pages()).all(|page| !page_of(file, page).is_some_and(|page| page.pinned)))?;
    resize(file, size - 1)?;
    resize(file, size + 1)?;
    punch(file, 0)
}

/// A format, as it is written down elsewhere.
pub(super) trait Stated: Format {
    /// An entry for the pages from `index` on.
    fn words(frame: u64, index: u64, pages: u64, order: u32) -> [u64; 2];
}

impl Stated for Folios {
    fn words(frame: u64, index: u64, _pages: u64, _order: u32) -> [u64; 2] {
        // Dirty and up to date.
        [3 << 52 | frame, index]
    }
}

impl Stated for Runs {
    fn words(frame: u64, index: u64, pages: u64, order: u32) -> [u64; 2] {
        [u64::from(order) << 52 | frame, pages << 40 | index]
    }
}

/// Whether a page of a file with `data` is in memory once the file is preserved: if the format has no
/// holes, all are.
pub(super) fn in_memory<F: Format>(data: &[u64], page: u64) -> bool {
    !F::SPARSE || data.contains(&page)
}

/// Preserves a file.
pub(super) fn preserve<F: Format>(file: &File) -> Result<Outgoing<F>> {
    Outgoing::new(Memfd::of(file).ok_or(EINVAL)?)
}

/// What `T` is made of.
fn words_in<T: IntoBytes + Immutable, const N: usize>(value: &T) -> Result<[u64; N]> {
    <[u64; N]>::read_from_bytes(value.as_bytes()).map_err(|_| EINVAL)
}

impl<F: Stated> Outgoing<F> {
    /// What is written down, in 64-bit words.
    fn record_words(&self) -> Result<[u64; 6]> {
        words_in(&*self.record)
    }

    /// Fails unless the entries are about these pages and no others, all of which are preserved.
    pub(super) fn check_pages(&self, file: &File, pages: impl IntoIterator<Item = u64>) -> Result {
        let mut pages = pages.into_iter();
        let area = self.area.as_ref().ok_or(EINVAL)?;
        let (entries, rest) = area
            .split_at_checked(self.record.count as usize)
            .ok_or(EINVAL)?;

        check(self.record.entries == area.descriptor())?;
        check(rest.len() == usize::from(F::SPARSE))?;
        check(rest.iter().all(|wire| words_in(wire) == Ok([0, 0])))?;

        for wire in entries {
            let words = words_in(wire)?;
            let (index, count) = if F::SPARSE {
                (words[1] & ((1 << 40) - 1), words[1] >> 40)
            } else {
                (words[1], 0)
            };
            let first = page_of(file, index).ok_or(ENOENT)?;
            let count = if F::SPARSE { count } else { 1 << first.order };
            let mut preserved = 0;

            check(words == F::words(first.phys / PAGE, index, count, first.order))?;
            for number in 0..count {
                let page = page_of(file, index + number).ok_or(ENOENT)?;

                check(pages.next() == Some(index + number))?;
                check((page.phys, page.order) == (first.phys + number * PAGE, first.order))?;
                check(page.up_to_date && page.dirty && page.pinned)?;
            }
            while preserved < count {
                preserved += 1 << preserved_order(first.phys + preserved * PAGE).ok_or(ENOENT)?;
            }
            check(preserved == count)?;
        }
        check(pages.next().is_none())
    }
}

// Files that the previous kernel seems to have handed over.

/// A file. Dropped, it is freed, but for what was taken of it.
pub(super) struct Sent {
    record: HandedOverPages,
    entries: Area,
    /// Where in the file there is memory.
    memory: KVec<(u64, HandedOverPages)>,
}

impl Sent {
    /// Hands over a file with data in these folios: the first page and the order of each.
    pub(super) fn new<F: Stated>(size: u64, folios: &[(u64, u32)]) -> Result<Self> {
        let mut memory = KVec::new();
        let mut entries = KVec::new();

        for &(index, order) in folios {
            let pages = HandedOverPages::new(order)?;

            entries.push(
                F::words(pages.phys() / PAGE, index, 1 << order, order),
                GFP_KERNEL,
            )?;
            memory.push((index, pages), GFP_KERNEL)?;
        }
        Self::with::<F>(size, memory, entries)
    }

    /// Hands over a file with data in this memory, and these entries.
    fn with<F: Stated>(
        size: u64,
        mut memory: KVec<(u64, HandedOverPages)>,
        mut entries: KVec<[u64; 2]>,
    ) -> Result<Self> {
        let mut record = HandedOverPages::new(0)?;
        let count = entries.len() as u64;

        if F::SPARSE {
            entries.push([0; 2], GFP_KERNEL)?;
        }
        let entries = Area::new(entries.as_flattened(), 0)?;
        let [first, rest] = entries.words();

        record.words()[..6].copy_from_slice(&[0, size, 0, count, first, rest]);
        for (index, pages) in &mut memory {
            fill(pages.words(), *index);
        }
        Ok(Self {
            record,
            entries,
            memory,
        })
    }

    /// Receives the file, in this kernel.
    pub(super) fn receive<F: Format>(&self) -> Result<Incoming<F>> {
        Incoming::new(self.record.phys())
    }

    /// Whether nobody has taken or changed any of it.
    fn is_untouched(&mut self) -> bool {
        self.record.are_there()
            && self.entries.is_there()
            && self
                .memory
                .iter_mut()
                .all(|(index, pages)| is_filled(pages.words(), *index) && pages.are_there())
    }

    /// Whether all of it is taken.
    pub(super) fn is_taken(&self) -> bool {
        !self.record.are_there()
            && !self.entries.chunk.are_there()
            && !self.entries.blocks.iter().any(HandedOverPages::are_there)
            && !self.memory.iter().any(|(_, pages)| pages.are_there())
    }

    /// Fails unless the memory is in the file, and made of folios of these orders.
    fn check_places(&self, file: &File, orders: &[u32]) -> Result {
        let mut orders = orders.iter();

        for (index, pages) in &self.memory {
            let count = (pages.extent().size / PAGE_SIZE) as u64;
            let mut done = 0;

            while done < count {
                let page = page_of(file, index + done).ok_or(ENOENT)?;

                check(page.phys == pages.phys() + done * PAGE)?;
                check(page.up_to_date && page.dirty && !page.pinned)?;
                check(orders.next() == Some(&page.order))?;
                done += 1 << page.order;
            }
            check(done == count)?;
        }
        check(orders.next().is_none())
    }
}

/// Waits until the last files that were dropped are gone, with their memory.
pub(super) fn forget_files() {
    // SAFETY: May be called from where sleeping is allowed.
    unsafe { bindings::flush_delayed_fput() };
}

/// Preserves a file with a hole, and lets it go.
fn preserve_and_let_go<F: Stated>(flags: u64) -> Result {
    const DATA: [u64; 5] = [0, 1, 2, 4, 5];
    const SIZE: u64 = 6 * PAGE - 96;

    let before = preserved_pages();
    let file = memfd(6 * PAGE, &DATA)?;

    resize(&file, SIZE)?;
    seal(&file, abi::SEAL_EXEC)?;
    let outgoing = preserve::<F>(&file)?;
    let pages = || (0..6).filter(|page| in_memory::<F>(&DATA, *page));
    let [position, size, rest, ..] = outgoing.record_words()?;

    check((position, size) == (17, SIZE))?;
    check(rest == flags << 32 | u64::from(abi::SEAL_EXEC))?;
    outgoing.check_pages(&file, pages())?;
    check(pages().eq((0..6).filter(|page| page_of(&file, *page).is_some())))?;
    // The record, and a page of entries and one that leads there.
    check(preserved_order(outgoing.data()) == Some(0))?;
    check(preserved_pages() - before == pages().count() as u64 + 3)?;

    check_frozen(&file)?;
    write(&file, 0)?;
    check_contents(&file, |page| DATA.contains(&page))?;

    drop(outgoing);
    check_let_go(&file, before)
}

/// Preserves a file with a page that nobody has written to yet.
fn preserve_what_was_never_used<F: Stated>() -> Result {
    let file = memfd(4 * PAGE, &[0])?;

    fallocate(&file, 0, 2)?;
    check(page_of(&file, 2).is_some_and(|page| !page.up_to_date))?;
    let outgoing = preserve::<F>(&file)?;
    outgoing.check_pages(&file, (0..4).filter(|page| in_memory::<F>(&[0, 2], *page)))?;
    check_contents(&file, |page| page == 0)
}

/// Preserves a file with more pages than are pinned at a time, and holes about there.
fn preserve_many<F: Stated>() -> Result {
    const HOLES: [u64; 4] = [510, 511, 512, 1024];

    let before = preserved_pages();
    let file = memfd(1100 * PAGE, &[])?;

    for page in (0..1100).filter(|page| !HOLES.contains(page)) {
        write(&file, page)?;
    }
    let outgoing = preserve::<F>(&file)?;
    outgoing.check_pages(
        &file,
        (0..1100).filter(|page| !F::SPARSE || !HOLES.contains(page)),
    )?;
    check_contents(&file, |page| !HOLES.contains(&page))?;

    drop(outgoing);
    check_let_go(&file, before)
}

/// Preserves a file in huge pages, of which the last one is behind the end.
fn preserve_huge_pages<F: Stated>() -> Result {
    let before = preserved_pages();
    let _huge = HugePages::allow()?;
    let order = folio::max_order();
    let huge = 1 << order;
    let file = memfd((huge + 1) * PAGE, &[0, huge])?;

    check([0, huge].map(|page| page_of(&file, page).map(|page| page.order)) == [Some(order); 2])?;
    let outgoing = preserve::<F>(&file)?;
    outgoing.check_pages(&file, 0..2 * huge)?;
    check_contents(&file, |page| page % huge == 0)?;

    drop(outgoing);
    check_let_go(&file, before)
}

/// Receives a file that nobody asks for.
fn receive_and_drop<F: Stated>(folios: &[(u64, u32)]) -> Result {
    let sent = Sent::new::<F>(513 * PAGE, folios)?;

    drop(sent.receive::<F>()?);
    check(sent.is_taken())
}

/// What was handed over is damaged by one of these.
type Damages<'a> = &'a [fn(&mut Sent)];

/// Refuses a file of four folios, two of them neighbours, for each of these, twice.
fn refuse<F: Stated>(damages: Damages<'_>, err: Error) -> Result {
    for damage in damages {
        let mut sent = Sent::new::<F>(8 * PAGE, &[(0, 2), (4, 1), (6, 0), (7, 0)])?;

        damage(&mut sent);
        for _ in 0..2 {
            check(sent.receive::<F>().err() == Some(err))?;
            check(sent.is_untouched())?;
        }
    }
    Ok(())
}

/// What is wrong in either format.
const DAMAGES: Damages<'_> = &[
    // The position, the size, flags that are no permissions, how many entries.
    |sent| sent.record.words()[0] = 1 << 63,
    |sent| sent.record.words()[1] = 1 << 63,
    |sent| sent.record.words()[1] = 7 * PAGE,
    |sent| sent.record.words()[2] = 1 << 41,
    |sent| sent.record.words()[3] = 0,
    |sent| sent.record.words()[3] = 3,
    |sent| sent.record.words()[3] = 9,
    // The area.
    |sent| sent.record.words()[4] = 0,
    |sent| sent.record.words()[4] = sent.record.phys(),
    |sent| sent.record.words()[5] += 1,
    |sent| sent.record.words()[5] |= 1 << 48,
    |sent| sent.entries.chunk.words()[1] = 0,
    |sent| sent.entries.chunk.words()[1] = sent.entries.chunk.phys(),
    |sent| sent.entries.chunk.words()[1] = sent.memory[0].1.phys(),
    // Where the memory is: in the middle of it, twice, where other things are, nowhere.
    |sent| sent.entries.blocks[0].words()[0] += 1,
    |sent| sent.entries.blocks[0].words()[6] = sent.entries.blocks[0].words()[4],
    |sent| sent.entries.blocks[0].words()[4] += (1 << 51) - 1,
    |sent| {
        let mask = (1 << 52) - 1;
        let record = sent.record.phys() / PAGE;
        let word = &mut sent.entries.blocks[0].words()[6];

        *word = *word & !mask | record;
    },
    // Where in the file it is.
    |sent| sent.entries.blocks[0].words()[3] -= 1,
    |sent| sent.entries.blocks[0].words()[5] += 1,
    |sent| sent.entries.blocks[0].words()[7] += 1,
    |sent| sent.entries.blocks[0].words()[7] |= 1 << 39,
];

#[kunit_tests(luo_memfd)]
mod suite {
    use super::*;

    #[test]
    fn folios_are_preserved_and_let_go() -> Result {
        preserve_and_let_go::<Folios>(0)
    }

    #[test]
    fn runs_are_preserved_and_let_go() -> Result {
        preserve_and_let_go::<Runs>(u64::from(flags::O_RDWR) << 16 | 0o640)
    }

    #[test]
    fn what_was_never_used_is_preserved() -> Result {
        preserve_what_was_never_used::<Folios>()?;
        preserve_what_was_never_used::<Runs>()
    }

    #[test]
    fn more_than_is_pinned_at_once_is_preserved() -> Result {
        preserve_many::<Folios>()?;
        preserve_many::<Runs>()
    }

    #[test]
    fn huge_pages_are_preserved() -> Result {
        preserve_huge_pages::<Folios>()?;
        preserve_huge_pages::<Runs>()
    }

    #[test]
    fn a_file_of_nothing_has_no_entries() -> Result {
        for outgoing in [
            preserve::<Folios>(&*memfd(0, &[])?)?.record_words()?,
            preserve::<Runs>(&*memfd(0, &[])?)?.record_words()?,
            // However large it is.
            preserve::<Runs>(&*memfd(1 << 40, &[])?)?.record_words()?,
        ] {
            assert_eq!(outgoing[3..], [0, 0, 0]);
        }
        Ok(())
    }

    #[test]
    fn holes_that_nobody_could_fill_are_left() -> Result {
        let before = preserved_pages();

        for (pages, err) in [(1 << 28, ENOMEM), (1 << 33, EFBIG)] {
            let file = memfd(pages * PAGE, &[])?;

            assert_eq!(preserve::<Folios>(&file).err(), Some(err));
            assert_eq!(Memfd::of(&file).ok_or(EINVAL)?.pages_in_memory(), 0);
            assert_eq!(preserved_pages(), before);
            resize(&file, 0)?;
        }
        Ok(())
    }

    #[test]
    fn freezing_adds_what_came_since() -> Result {
        let before = preserved_pages();
        let file = memfd(10 * PAGE, &[2, 5, 6])?;
        let mut outgoing = preserve::<Runs>(&file)?;

        write(&file, 0)?;
        write(&file, 7)?;
        seal(&file, abi::SEAL_EXEC)?;
        outgoing.freeze()?;
        outgoing.check_pages(&file, [0, 2, 5, 6, 7])?;
        assert_eq!(outgoing.record.seals, abi::SEAL_EXEC);

        // Nothing comes any more but what is there already.
        assert_eq!(write(&file, 3), Err(EBUSY));
        write(&file, 5)?;
        check_frozen(&file)?;

        outgoing.file.freeze_holes(false);
        write(&file, 3)?;
        outgoing.freeze()?;
        outgoing.check_pages(&file, [0, 2, 3, 5, 6, 7])?;
        outgoing.freeze()?;
        outgoing.check_pages(&file, [0, 2, 3, 5, 6, 7])?;
        assert_eq!(preserved_pages() - before, 6 + 3);

        drop(outgoing);
        write(&file, 1)?;
        check_let_go(&file, before)
    }

    #[test]
    fn what_is_late_is_written_down() -> Result {
        // But for F_SEAL_WRITE, which nobody gets while pages are pinned.
        const SEALS: u32 = abi::SEALS & !0x08;

        let file = memfd(PAGE, &[0])?;
        let mut outgoing = preserve::<Folios>(&file)?;

        seal(&file, SEALS)?;
        // SAFETY: The file is open.
        unsafe { bindings::vfs_setpos(file.as_ptr(), 123, bindings::loff_t::MAX) };
        outgoing.freeze()?;
        assert_eq!(outgoing.record.position, 123);
        assert_eq!(outgoing.record.seals, SEALS);
        outgoing.check_pages(&file, 0..1)
    }

    #[test]
    fn folios_come_back() -> Result {
        let size = 517 * PAGE - 96;
        let mut sent = Sent::new::<Folios>(size, &[(0, 9), (512, 2), (516, 0)])?;
        sent.record.words()[0] = 123;
        sent.record.words()[2] = abi::SEALS_OF_EXECUTABLE.into();
        let file = sent.receive::<Folios>()?.into_file()?;
        let memfd = Memfd::of(&file).ok_or(EINVAL)?;

        assert_eq!((memfd.size(), memfd.position()), (size, 123));
        assert_eq!(memfd.seals(), abi::SEALS_OF_EXECUTABLE);
        assert_eq!(memfd.open_flags(), flags::O_RDWR);
        check_contents(&file, |_| true)?;
        sent.check_places(&file, &[9, 2, 0])?;
        assert!(sent.is_taken());
        Ok(())
    }

    #[test]
    fn what_is_larger_than_a_folio_can_be_comes_back() -> Result {
        let largest = folio::max_order();
        let order = largest + 1;

        // With pages of 16 KiB, nothing can be.
        if order <= bindings::MAX_PAGE_ORDER {
            let sent = Sent::new::<Folios>(PAGE << order, &[(0, order)])?;
            let file = sent.receive::<Folios>()?.into_file()?;

            check_contents(&file, |_| true)?;
            sent.check_places(&file, &[largest; 2])?;
        }
        Ok(())
    }

    #[test]
    fn what_was_never_used_comes_back_as_zeroes() -> Result {
        const UP_TO_DATE: u64 = 1 << 53;

        let mut sent = Sent::new::<Folios>(4 * PAGE, &[(0, 0), (1, 0), (2, 1)])?;
        for entry in [1, 2] {
            sent.entries.blocks[0].words()[2 * entry] &= !UP_TO_DATE;
        }
        check_contents(&*sent.receive::<Folios>()?.into_file()?, |page| page == 0)
    }

    #[test]
    fn seals_tell_who_may_execute_a_folio() -> Result {
        for (seals, permissions) in [
            (0, 0o777),
            (abi::SEALS_OF_EXECUTABLE, 0o777),
            (abi::SEAL_EXEC, 0o666),
            (abi::SEAL_EXEC | 0x02, 0o666),
            (abi::SEAL_EXEC | abi::SEALS_OF_EXECUTABLE, 0o777),
            (abi::SEALS, 0o777),
        ] {
            let mut sent = Sent::new::<Folios>(PAGE, &[(0, 0)])?;
            sent.record.words()[2] = seals.into();
            let file = sent.receive::<Folios>()?.into_file()?;
            let memfd = Memfd::of(&file).ok_or(EINVAL)?;

            assert_eq!((memfd.seals(), memfd.permissions()), (seals, permissions));
        }
        Ok(())
    }

    #[test]
    fn runs_come_back() -> Result {
        let size = 2048 * PAGE - 96;
        let mut sent = Sent::new::<Runs>(size, &[(4, 1), (7, 0), (512, 9), (2047, 0)])?;
        let open = flags::O_RDONLY | flags::O_APPEND;
        sent.record.words()[0] = 123;
        sent.record.words()[2] = u64::from(open) << 48 | 0o604 << 32 | 0x02;
        let file = sent.receive::<Runs>()?.into_file()?;
        let memfd = Memfd::of(&file).ok_or(EINVAL)?;

        assert_eq!((memfd.size(), memfd.position()), (size, 123));
        assert_eq!((memfd.seals(), memfd.permissions()), (0x02, 0o604));
        assert_eq!(memfd.open_flags(), open);
        check_contents(&file, |page| {
            [4, 5, 7, 2047].contains(&page) || (512..1024).contains(&page)
        })?;
        sent.check_places(&file, &[1, 0, 9, 0])?;
        assert_eq!(memfd.pages_in_memory(), 2 + 1 + 512 + 1);
        assert!(sent.is_taken());
        Ok(())
    }

    /// Six neighbours, four and two of which were preserved as one, from a page of the file on: how
    /// many pages each entry is for, and of which order.
    fn neighbours(index: u64, runs: &[(u64, u32)]) -> Result<Sent> {
        let [four, others] = HandedOverPages::new(3)?.halves();
        let [two, _] = others.halves();
        let mut memory = KVec::new();
        let mut entries = KVec::new();
        let mut done = 0;

        for &(pages, order) in runs {
            entries.push(
                Runs::words(four.phys() / PAGE + done, index + done, pages, order),
                GFP_KERNEL,
            )?;
            done += pages;
        }
        memory.push((index, four), GFP_KERNEL)?;
        memory.push((index + 4, two), GFP_KERNEL)?;
        Sent::with::<Runs>(11 * PAGE, memory, entries)
    }

    /// Retrieves a file of six neighbours at an index, which were folios of an order, and expects
    /// folios of these orders.
    fn check_neighbours(cases: [(u64, u32, &[u32]); 3]) -> Result {
        for (index, order, orders) in cases {
            let sent = neighbours(index, &[(6, order)])?;
            let file = sent.receive::<Runs>()?.into_file()?;

            check_contents(&file, |page| (index..index + 6).contains(&page))?;
            sent.check_places(&file, orders)?;
        }
        Ok(())
    }

    #[test]
    fn neighbours_come_back_as_the_folios_that_they_were() -> Result {
        check_neighbours([(4, 0, &[0; 6]), (5, 0, &[0; 6]), (4, 1, &[1; 3])])
    }

    #[test]
    fn neighbours_become_huge_pages_if_they_may() -> Result {
        let _huge = HugePages::allow()?;

        check_neighbours([(4, 0, &[2, 1]), (5, 0, &[0; 6]), (4, 1, &[2, 1])])
    }

    #[test]
    fn what_came_back_is_preserved_as_it_was() -> Result {
        // Single pages, folios, folios of two orders.
        for (index, runs) in [(5, &[(6, 0)][..]), (4, &[(6, 1)]), (4, &[(4, 2), (2, 1)])] {
            let mut sent = neighbours(index, runs)?;
            let mut entries = KVec::new();
            entries.extend_from_slice(
                &sent.entries.blocks[0].words()[..2 * runs.len() + 2],
                GFP_KERNEL,
            )?;
            let file = sent.receive::<Runs>()?.into_file()?;
            let outgoing = preserve::<Runs>(&file)?;

            outgoing.check_pages(&file, index..index + 6)?;
            let area = outgoing.area.as_ref().ok_or(EINVAL)?;
            assert!(area.as_bytes() == entries.as_bytes());
            let [four, two] = [0, 1].map(|part| preserved_order(sent.memory[part].1.phys()));
            assert_eq!((four, two), (Some(2), Some(1)));
        }
        Ok(())
    }

    /// Does the same many times, and fails unless what that takes is free after it.
    fn check_freed(mut round: impl FnMut() -> Result) -> Result {
        const ROUNDS: usize = 64;

        let before = free_pages();
        for _ in 0..ROUNDS {
            round()?;
        }
        check(before.saturating_sub(free_pages()) < 2 * ROUNDS)
    }

    #[test]
    fn what_nobody_asks_for_is_freed() -> Result {
        check_freed(|| {
            receive_and_drop::<Folios>(&[(0, 9), (512, 0)])?;
            receive_and_drop::<Runs>(&[(0, 9), (512, 0)])
        })
    }

    #[test]
    fn a_file_that_came_back_is_freed_with_it() -> Result {
        check_freed(|| {
            let sent = Sent::new::<Folios>(512 * PAGE, &[(0, 9)])?;

            drop(sent.receive::<Folios>()?.into_file()?);
            forget_files();
            Ok(())
        })
    }

    #[test]
    fn damage_is_refused_and_left_alone() -> Result {
        refuse::<Folios>(DAMAGES, EIO)?;
        refuse::<Runs>(DAMAGES, EIO)
    }

    #[test]
    fn damage_of_one_format_is_refused() -> Result {
        // There are no such flags. A hole.
        refuse::<Folios>(
            &[
                |sent| sent.entries.blocks[0].words()[0] |= 1 << 54,
                |sent| sent.record.words()[1] = 9 * PAGE,
                |sent| sent.record.words()[2] = 0o600 << 32,
            ],
            EIO,
        )?;
        // No pages, more or fewer than are there, a wrong order, no end.
        refuse::<Runs>(
            &[
                |sent| sent.entries.blocks[0].words()[1] = 0,
                |sent| sent.entries.blocks[0].words()[5] += 1 << 40,
                |sent| {
                    let words = sent.entries.blocks[0].words();

                    words[2] &= (1 << 52) - 1;
                    words[3] -= 1 << 40;
                },
                |sent| sent.entries.blocks[0].words()[0] += 1 << 52,
                |sent| sent.entries.blocks[0].words()[0] |= 0xfff << 52,
                |sent| sent.entries.blocks[0].words()[8] = 1,
                |sent| sent.record.words()[2] = 3 << 48,
                // Two pages, neighbours and no folio, of which one is behind the end.
                |sent| {
                    sent.record.words()[1] = 5 * PAGE;
                    sent.record.words()[3] = 2;
                    sent.entries.blocks[0].words()[2] &= (1 << 52) - 1;
                    sent.entries.blocks[0].words()[4..6].fill(0);
                },
            ],
            EIO,
        )
    }

    #[test]
    fn a_seal_that_is_not_known_is_told_apart() -> Result {
        let damages: Damages<'_> = &[|sent| sent.record.words()[2] |= 0x40];

        refuse::<Folios>(damages, EOPNOTSUPP)?;
        refuse::<Runs>(damages, EOPNOTSUPP)
    }

    #[test]
    fn what_is_received_is_there_for_nobody_else() -> Result {
        let mut sent = Sent::new::<Folios>(4 * PAGE, &[(0, 2)])?;
        let mut other = Sent::new::<Folios>(4 * PAGE, &[(0, 2)])?;
        other.entries.blocks[0].words()[0] = sent.entries.blocks[0].words()[0];

        let incoming = sent.receive::<Folios>()?;
        for _ in 0..2 {
            assert_eq!(sent.receive::<Folios>().err(), Some(EIO));
            assert_eq!(other.receive::<Folios>().err(), Some(EIO));
        }
        assert!(other.is_untouched());
        let file = incoming.into_file()?;
        assert_eq!(other.receive::<Folios>().err(), Some(EIO));
        check_contents(&file, |_| true)
    }
}
