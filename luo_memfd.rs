// SPDX-License-Identifier: GPL-2.0

//! The file handler of memfds: a file goes into the next kernel with its memory, which stays where
//! it is.
//!
//! There are two formats, see [`abi`], and a handler for each, which differ in what an entry is
//! about. Files of this kernel are written in one of them, `memfd-v2` unless `liveupdate.memfd=runs`
//! is given. Files of the previous kernel are read in both.
//!
//! What the previous kernel wrote is [checked](Incoming::check) as a whole before any memory of the
//! file is taken. If anything is wrong, all of it is left where it is for the rest of this boot:
//! nobody knows whose it is. If nothing is, it goes into the [file](Incoming::fill), or back to the
//! system, whatever fails.

#[path = "abi/memfd.rs"]
mod abi;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/common.rs"]
mod common;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/fault.rs"]
mod fault;

use abi::Record;
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    fmt,
    folio,
    fs::File,
    kho::{
        self,
        claim::{
            Claims,
            Next,
            Reader, //
        },
        AreaDescriptor,
        PreservedArea, //
    },
    liveupdate::{
        self,
        FileHandler,
        HandOver,
        Handle,
        Handler,
        Registration,
        Session, //
    },
    memfd::{
        self,
        Frozen,
        Memfd,
        NewMemfd,
        Piece,
        PreservedFolios,
        Unit, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    }, //
};
use zerocopy::{
    FromZeros,
    Immutable, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/memfd.rs"]
mod tests;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/memfd_alloc.rs"]
mod alloc_tests;

module! {
    type: MemfdModule,
    name: "luo_memfd",
    authors: ["The LUO in Rust developers"],
    description: "Live update of memfds",
    license: "GPL",
}

/// Both handlers, if live update is on.
struct MemfdModule {
    /// What keeps them registered.
    _handlers: Option<Handlers>,
}

/// The registrations of both.
type Handlers = (Registration<Handling<Folios>>, Registration<Handling<Runs>>);

impl kernel::Module for MemfdModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let handlers = if liveupdate::is_enabled() {
            Some((FOLIOS.register()?, RUNS.register()?))
        } else {
            None
        };

        Ok(Self {
            _handlers: handlers,
        })
    }
}

/// The handler of files in `memfd-v2`.
static FOLIOS: Handler<Handling<Folios>> = Handler::new(&[]);
/// The handler of files in `memfd-runs-v1`.
static RUNS: Handler<Handling<Runs>> = Handler::new(&[]);

/// Whether `liveupdate.memfd=runs` is on the command line: luo_memfd_glue.c writes it.
#[export_name = "luo_memfd_runs"]
static WRITE_RUNS: Atomic<bool> = Atomic::new(false);

// The formats.

/// What an entry says.
struct Entry {
    /// The memory. It has no pages if the entry does not say how many: then it is a folio.
    piece: Piece,
    /// Whether the memory has contents, or is still to be filled with zeroes.
    contents: bool,
    /// A field that is not as it can be, if there is one, and what it says.
    wrong: Option<(&'static str, u64)>,
}

/// How it is handed over where a file's memory is.
trait Format: 'static {
    /// What it is called.
    const NAME: &'static CStr;

    /// What the fields of an entry are called: where the memory is, where in the file, and the rest.
    const FIELDS: [&'static str; 3];

    /// What has an entry, and is preserved as one.
    const UNIT: Unit;

    /// Whether there can be holes, and more is known of the file.
    const SPARSE: bool;

    /// How many pages a file can have.
    const MOST_PAGES: u64;

    /// An entry.
    type Wire: FromBytes + IntoBytes + Immutable + Copy + Send;

    /// Writes an entry.
    fn write(piece: &Piece) -> Self::Wire;

    /// Reads an entry.
    fn read(entry: &Self::Wire) -> Entry;

    /// The highest order that the next folio can have in a file.
    fn max_order(claims: &Claims, file: &NewMemfd) -> u32;

    /// Puts entries in the order in which they are read.
    fn sort(_entries: &mut [Self::Wire]) {}
}

/// `memfd-v2`, the format of the handler in C.
struct Folios;

impl Format for Folios {
    const NAME: &'static CStr = abi::FOLIOS;
    const FIELDS: [&'static str; 3] = [
        "memfd_luo_folio_ser.pfn",
        "memfd_luo_folio_ser.index",
        "memfd_luo_folio_ser.flags",
    ];
    const UNIT: Unit = Unit::Folio;
    const SPARSE: bool = false;
    const MOST_PAGES: u64 = u32::MAX as u64;

    type Wire = abi::Folio;

    #[inline]
    fn write(piece: &Piece) -> abi::Folio {
        abi::Folio::new(piece.frame, piece.index)
    }

    #[inline]
    fn read(entry: &abi::Folio) -> Entry {
        let flags = entry.flags();

        Entry {
            piece: Piece {
                index: entry.index,
                frame: entry.frame(),
                pages: 0,
                order: 0,
            },
            contents: flags & abi::Folio::UP_TO_DATE != 0,
            wrong: (flags & !abi::Folio::FLAGS != 0).then_some((Self::FIELDS[2], flags)),
        }
    }

    #[inline]
    fn max_order(_claims: &Claims, _file: &NewMemfd) -> u32 {
        folio::max_order()
    }
}

/// `memfd-runs-v1`, a format of ours. An entry of zeroes is behind the last one.
struct Runs;

impl Format for Runs {
    const NAME: &'static CStr = abi::RUNS;
    const FIELDS: [&'static str; 3] = ["memfd_run.frame", "memfd_run.index", "memfd_run.pages"];
    const UNIT: Unit = Unit::Run;
    const SPARSE: bool = true;
    const MOST_PAGES: u64 = abi::Run::MOST_PAGES;

    type Wire = abi::Run;

    fn write(piece: &Piece) -> abi::Run {
        abi::Run::new(piece.frame, piece.order, piece.index, piece.pages)
    }

    fn read(run: &abi::Run) -> Entry {
        let pages = run.pages();
        // Whole folios, in a place where they can be.
        let of_folio = 1u64.checked_shl(run.order());
        let fits = |of_folio| (pages | run.index() | run.frame()) & (of_folio - 1) == 0;
        let wrong = if pages == 0 {
            Some((Self::FIELDS[2], pages))
        } else if !of_folio.is_some_and(fits) {
            Some(("memfd_run.order", run.order().into()))
        } else {
            None
        };

        Entry {
            piece: Piece {
                index: run.index(),
                frame: run.frame(),
                pages,
                order: run.order(),
            },
            contents: true,
            wrong,
        }
    }

    #[inline]
    fn max_order(claims: &Claims, file: &NewMemfd) -> u32 {
        let Some(Next {
            index,
            order,
            folio_order,
        }) = claims.next()
        else {
            return 0;
        };
        let was = folio_order.min(folio::max_order());
        let fits = order.min(index.trailing_zeros());

        // What was one folio is one again; neighbours may become one.
        if fits > was {
            let allowed = file.allowed_orders(index) & ((2 << fits) - 1);

            allowed.checked_ilog2().map_or(was, |order| order.max(was))
        } else {
            was
        }
    }

    fn sort(entries: &mut [abi::Run]) {
        entries.sort_unstable_by_key(abi::Run::index);
    }
}

/// The handler of files in one of the formats.
struct Handling<F>(PhantomData<F>);

#[vtable]
impl<F: Format> FileHandler for Handling<F> {
    const COMPATIBLE: &'static CStr = F::NAME;

    type Preserved = Outgoing<F>;
    type Restored = Incoming<F>;

    fn can_preserve(file: &File) -> bool {
        F::SPARSE == WRITE_RUNS.load(Relaxed) && Memfd::of(file).is_some()
    }

    fn preserve(file: &File, _session: &Session<'_>) -> Result<Outgoing<F>> {
        Outgoing::new(Memfd::of(file).ok_or(EINVAL)?)
    }

    fn freeze(_file: &File, preserved: &mut Outgoing<F>, _session: &Session<'_>) -> Result {
        preserved.freeze()
    }

    fn unfreeze(_file: &File, preserved: &mut Outgoing<F>, _session: &Session<'_>) {
        preserved.file.freeze_holes(false);
    }

    fn restore(handle: Handle) -> Result<Incoming<F>> {
        Incoming::new(handle.into_data())
    }

    fn retrieve(restored: Incoming<F>, _session: &Session<'_>) -> Result<ARef<File>> {
        restored.into_file()
    }

    fn get_id(file: &File) -> usize {
        Memfd::of(file).map_or(0, Memfd::id)
    }
}

// What goes into the next kernel.

/// A file that is preserved.
struct Outgoing<F: Format> {
    /// What the next kernel reads first.
    record: kho::Preserved<Record>,
    /// The entries in KHO, if there are any and they are.
    area: Option<PreservedArea<F::Wire>>,
    /// The entries, if they are not.
    entries: VVec<F::Wire>,
    /// The memory of the file.
    folios: PreservedFolios,
    /// The file, as long as it is preserved.
    file: Frozen,
}

impl<F: Format> HandOver for Outgoing<F> {
    fn data(&self) -> u64 {
        self.record.phys()
    }
}

impl<F: Format> Outgoing<F> {
    /// Preserves a file.
    ///
    /// Returns `EOPNOTSUPP` if it has a seal that no format has, `EFBIG` if it has more pages than
    /// `memfd-v2` may have, `ENOMEM` if there is no memory for its holes, or for anything else,
    /// `ENOSPC`, `EINTR` if the task is killed. May sleep.
    fn new(memfd: &Memfd) -> Result<Self> {
        let mut outgoing = Self {
            record: kho::Preserved::new()?,
            area: None,
            entries: VVec::new(),
            folios: PreservedFolios::new(F::UNIT),
            file: memfd.freeze(),
        };

        outgoing.describe()?;
        outgoing.fits()?;

        let pages = outgoing.pages();

        if F::SPARSE {
            outgoing.add_data(0..pages)?;
        } else {
            let _ = outgoing.add(0..pages)?;
        }
        outgoing.hand_over_entries()?;
        Ok(outgoing)
    }

    /// How many pages the file has, which stay so many.
    fn pages(&self) -> u64 {
        self.file.memfd().pages()
    }

    /// Writes down what there is of the file besides its memory.
    fn describe(&mut self) -> Result {
        let memfd = self.file.memfd();

        self.record.position = memfd.position();
        self.record.size = memfd.size();
        self.record.seals = memfd.seals();
        if F::SPARSE {
            self.record
                .set_access(memfd.permissions(), memfd.open_flags());
        }

        if self.record.seals & !abi::SEALS == 0 {
            Ok(())
        } else {
            Err(EOPNOTSUPP)
        }
    }

    /// Refuses a file whose holes nobody could fill, before anything is allocated.
    fn fits(&self) -> Result {
        let pages = self.pages();

        if pages > F::MOST_PAGES {
            return Err(EFBIG);
        }
        if F::SPARSE {
            return Ok(());
        }

        let holes = pages.saturating_sub(self.file.memfd().pages_in_memory());
        let entries = pages * size_of::<F::Wire>() as u64 / PAGE_SIZE as u64;

        if holes + entries <= memfd::available_pages() {
            Ok(())
        } else {
            Err(ENOMEM)
        }
    }

    /// Preserves these pages, and fills those that are holes. Returns the page behind the last folio.
    fn add(&mut self, pages: Range<u64>) -> Result<u64> {
        let Self {
            folios,
            file,
            entries,
            ..
        } = self;
        let end = pages.end;

        folios.add(file, pages, |piece| {
            if entries.len() == entries.capacity() {
                // As many as there will be, if the others are like this one.
                let like_this = (end - piece.index).div_ceil(piece.pages) as usize;

                entries.reserve(like_this.max(1), GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN)?;
            }
            entries
                .push_within_capacity(F::write(&piece))
                .map_err(|_| ENOMEM)
        })
    }

    /// Preserves those of these pages that are no holes.
    fn add_data(&mut self, mut pages: Range<u64>) -> Result {
        while let Some(data) = self.file.next_data(pages.clone()) {
            pages.start = self.add(data)?;
        }
        Ok(())
    }

    /// Preserves the entries, and writes down where they are.
    fn hand_over_entries(&mut self) -> Result {
        let entries = &mut self.entries;

        self.record.count = entries.len() as u64;
        if entries.is_empty() {
            return Ok(());
        }

        // What is behind the last one goes with it, up to the end of the page: it is zeroed.
        F::sort(entries);
        if F::SPARSE {
            entries.push(
                F::Wire::new_zeroed(),
                GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN,
            )?;
        }
        match Self::without_spare_pages(entries).and_then(|()| PreservedArea::new(entries)) {
            Ok(area) => {
                self.record.entries = area.descriptor();
                self.area = Some(area);
                Ok(())
            }
            Err(err) => {
                if F::SPARSE {
                    entries.pop();
                }
                Err(err)
            }
        }
    }

    /// Gives back what room there is beyond the last page of the entries.
    fn without_spare_pages(entries: &mut VVec<F::Wire>) -> Result {
        if entries.capacity() - entries.len() >= PAGE_SIZE / size_of::<F::Wire>() {
            let flags = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;
            let mut exact = VVec::with_capacity(entries.len(), flags)?;

            exact.extend_from_slice(entries, GFP_KERNEL)?;
            *entries = exact;
        }
        Ok(())
    }

    /// Takes the entries back, if they are preserved, and puts them in order.
    fn take_entries_back(&mut self) {
        if let Some(area) = self.area.take() {
            self.entries = area.into_values();
            if F::SPARSE {
                self.entries.pop();
            }
        }
        F::sort(&mut self.entries);
    }

    /// Writes down what has changed since the file was preserved: the position, further seals, and
    /// what came into the holes.
    fn freeze(&mut self) -> Result {
        self.describe()?;
        if !F::SPARSE {
            return Ok(());
        }

        self.file.freeze_holes(true);
        self.add_holes()
            .inspect_err(|_| self.file.freeze_holes(false))
    }

    /// Preserves what has come into the holes.
    fn add_holes(&mut self) -> Result {
        self.take_entries_back();

        // Entries that are added here are behind those that are looked at.
        let known = self.entries.len();
        let mut hole = 0;

        for entry in 0..known {
            let Some(piece) = self.entries.get(entry).map(|wire| F::read(wire).piece) else {
                break;
            };

            self.add_data(hole..piece.index)?;
            hole = piece.index + piece.pages;
        }
        self.add_data(hole..self.pages())?;
        self.hand_over_entries()
    }
}

// What comes from the previous kernel.

/// What is wrong with what the previous kernel handed over of a file.
struct Damage {
    /// The entry that it is in, if any.
    entry: Option<u64>,
    /// The record and its field.
    field: &'static str,
    /// What it says.
    found: u64,
    /// Why that cannot be.
    why: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:#x}: {}", self.field, self.found, self.why)?;
        self.entry
            .map_or(Ok(()), |entry| write!(f, " (entry {entry})"))
    }
}

/// Takes note that a field says something that cannot be.
fn damaged<T>(field: &'static str, found: u64, why: &'static str) -> Result<T, Damage> {
    Err(Damage {
        entry: None,
        field,
        found,
        why,
    })
}

/// What the previous kernel handed over of a file, all of which was checked and belongs to this.
///
/// Dropped, what is left of it goes back to the system.
struct Incoming<F: Format> {
    /// A copy of the record.
    record: Record,
    /// The memory of the file.
    memory: Claims,
    /// The record and the entries.
    records: Claims,
    /// There is no value of a format.
    _format: PhantomData<fn(F)>,
}

impl<F: Format> Incoming<F> {
    /// Claims what was handed over, and checks it.
    ///
    /// Returns `EIO` if there is something wrong with it, and `EOPNOTSUPP` if it is a seal that this
    /// kernel does not know. Then it is all left where it is. Does not allocate. May sleep.
    fn new(phys: u64) -> Result<Self> {
        Self::check(phys).map_err(|damage| {
            pr_err!("refused what the previous kernel handed over of a memfd: {damage}\n");
            if damage.field == SEALS {
                EOPNOTSUPP
            } else {
                EIO
            }
        })
    }

    /// Claims what is at `phys`, and what it leads to, and checks it.
    fn check(phys: u64) -> Result<Self, Damage> {
        const ADDRESS: &str = "luo_file_ser.data";
        let mut memory = Claims::new();
        let mut records = Claims::new();
        let mut record = Record::new_zeroed();

        let read = match records.claim(phys, 0, 0) {
            Ok(0) => records.copy(phys, 0, record.as_mut_bytes()),
            Ok(_) => return damaged(ADDRESS, phys, "not a record, as it is larger than a page"),
            Err(_) => None,
        };

        if read.is_none() {
            return damaged(ADDRESS, phys, "nothing was handed over there");
        }
        Self::check_record(&record)?;

        if let Some(mut entries) = Self::claim_entries(&mut records, &record)? {
            let unfilled = Self::claim_memory(&mut memory, &mut entries, &records, &record)?;

            // Nothing is wrong with it.
            if unfilled {
                Self::fill_with_zeroes(&mut memory, &records, &record);
            }
        }
        Ok(Self {
            record,
            memory,
            records,
            _format: PhantomData,
        })
    }

    /// Checks what needs nothing else to be checked.
    fn check_record(record: &Record) -> Result<(), Damage> {
        const LARGEST: u64 = i64::MAX as u64;
        let known_flags = if F::SPARSE {
            record.permissions() & !memfd::PERMISSIONS == 0
                && NewMemfd::can_be_open(record.open_flags())
        } else {
            record.flags == 0
        };

        if record.position > LARGEST {
            damaged("memfd_luo_ser.pos", record.position, "beyond any file")
        } else if record.size > LARGEST {
            damaged("memfd_luo_ser.size", record.size, "larger than any file")
        } else if record.seals & !abi::SEALS != 0 {
            damaged(
                SEALS,
                record.seals.into(),
                "there is a seal that is not known",
            )
        } else if !known_flags {
            damaged(
                "memfd_luo_ser.flags",
                record.flags.into(),
                "there are no such flags",
            )
        } else {
            Ok(())
        }
    }

    /// Claims the entries, if there are any.
    fn claim_entries(records: &mut Claims, record: &Record) -> Result<Option<Reader>, Damage> {
        let count = record.count;
        let pages = record.pages();

        if count == 0 && record.entries != AreaDescriptor::new_zeroed() {
            damaged(COUNT, count, "there are entries")
        } else if count > pages {
            damaged(COUNT, count, "more than the file has pages")
        } else if count == 0 && pages != 0 && !F::SPARSE {
            damaged(COUNT, count, "the file has pages")
        } else if count == 0 {
            Ok(None)
        } else {
            let size = (count + u64::from(F::SPARSE)) * size_of::<F::Wire>() as u64;

            match records.claim_area(record.entries, size as usize) {
                Ok(reader) => Ok(Some(reader)),
                Err(_) => damaged(
                    "memfd_luo_ser.folios",
                    count,
                    "no area for so many entries was handed over",
                ),
            }
        }
    }

    /// Claims the memory of the file, and checks all entries. Tells whether there is some that has
    /// to be filled with zeroes.
    fn claim_memory(
        memory: &mut Claims,
        entries: &mut Reader,
        records: &Claims,
        record: &Record,
    ) -> Result<bool, Damage> {
        let [frame_field, index_field, rest_field] = F::FIELDS;
        let pages = record.pages();
        let mut unfilled = false;
        let mut end = 0;

        for number in 0..record.count {
            let fail = |field, found, why| {
                Err(Damage {
                    entry: Some(number),
                    field,
                    found,
                    why,
                })
            };
            let Some(wire) = entries.read(records) else {
                return fail(frame_field, 0, "it is gone");
            };
            let Entry {
                piece,
                contents,
                wrong,
            } = F::read(&wire);

            if let Some((field, found)) = wrong {
                return fail(field, found, "not as it can be");
            }
            if piece.index >= pages {
                return fail(index_field, piece.index, "beyond the end of the file");
            }
            if piece.index < end {
                return fail(index_field, piece.index, "not behind the one before");
            }
            if piece.index > end && !F::SPARSE {
                return fail(index_field, piece.index, "there is a hole before it");
            }

            // What was preserved as one is a folio, or with others as large as can be a run.
            end = piece.index;
            loop {
                let frame = piece.frame + (end - piece.index);
                let order = phys(frame).and_then(|at| memory.claim(at, end, piece.order).ok());
                let Some(order) = order else {
                    return fail(frame_field, frame, "nothing is there to be taken");
                };

                end += 1 << order;
                if end - piece.index >= piece.pages {
                    break;
                }
            }
            if number % 1024 == 0 {
                // All of it is claimed, whether the task is killed or not.
                let _ = memfd::checkpoint();
            }

            let claimed = end - piece.index;

            if piece.pages == 0 {
                if piece.index & (claimed - 1) != 0 {
                    return fail(index_field, piece.index, "not where its folio can be");
                }
            } else if piece.pages != claimed {
                return fail(rest_field, piece.pages, "not as many as are there");
            } else if end >= pages + (1 << piece.order) {
                // Of the last folio, the first page is in the file.
                return fail(rest_field, piece.pages, "beyond the end of the file");
            }
            unfilled |= !contents;
        }

        let complete = if F::SPARSE {
            entries
                .read(records)
                .is_some_and(|last: F::Wire| last.as_bytes().iter().all(|byte| *byte == 0))
        } else {
            end >= pages
        };

        if complete {
            Ok(unfilled)
        } else {
            damaged(COUNT, record.count, "not as many as there are")
        }
    }

    /// Fills with zeroes what nobody has written to.
    fn fill_with_zeroes(memory: &mut Claims, records: &Claims, record: &Record) {
        // No kernel that there is leaves any of it.
        let size = record.count as usize * size_of::<F::Wire>();
        let Ok(mut entries) = records.read_area(record.entries, size) else {
            return;
        };

        for _ in 0..record.count {
            let Some(wire) = entries.read(records) else {
                break;
            };

            if let Entry {
                piece,
                contents: false,
                ..
            } = F::read(&wire)
            {
                if let Some(phys) = phys(piece.frame) {
                    memory.zero(phys);
                }
            }
        }
    }

    /// The permissions of the file.
    fn permissions(&self) -> u16 {
        let seals = self.record.seals;

        if F::SPARSE {
            self.record.permissions()
        } else if seals & abi::SEAL_EXEC != 0
            && seals & abi::SEALS_OF_EXECUTABLE != abi::SEALS_OF_EXECUTABLE
        {
            // What can be executed would have all of these.
            memfd::PERMISSIONS & !memfd::EXECUTE
        } else {
            memfd::PERMISSIONS
        }
    }

    /// Makes the file.
    fn into_file(mut self) -> Result<ARef<File>> {
        let file = NewMemfd::new(self.permissions(), self.record.seals)?;

        file.set_size(self.record.size);
        self.fill(&file)?;

        let open_flags = if F::SPARSE {
            self.record.open_flags()
        } else {
            NewMemfd::READ_WRITE
        };

        file.into_file(self.record.position, open_flags)
    }

    /// Puts all of the memory into a file.
    fn fill(&mut self, file: &NewMemfd) -> Result {
        let mut batch = folio::Batch::new();

        while let Some(folio) = self.memory.take(F::max_order(&self.memory, file)) {
            batch.push(folio);
            if batch.is_full() {
                memfd::checkpoint()?;
                file.add(&mut batch)?;
            }
        }
        file.add(&mut batch)
    }
}

impl<F: Format> Drop for Incoming<F> {
    fn drop(&mut self) {
        self.memory.free();
        self.records.free();
    }
}

/// The seals, for which there is an error of their own.
const SEALS: &str = "memfd_luo_ser.seals";
/// How many entries there are.
const COUNT: &str = "memfd_luo_ser.nr_folios";

/// The address of a page frame.
#[inline]
fn phys(frame: u64) -> Option<u64> {
    frame.checked_mul(PAGE_SIZE as u64)
}
