// SPDX-License-Identifier: GPL-2.0

//! Damages to what is handed over of memfds: the records of `include/linux/kho/abi/memfd.h`, and
//! those of the format `memfd-runs-v1`, which only the handler in Rust has.
//!
//! LUO knows nothing of all that: what is due is due of each file. One that is damaged is refused
//! when somebody asks for it, or finishes it, and the others are what they were.

use super::{
    file, file_word, page_shift, Damage, Due, Page, Place, Table, Value, Wrong, BEYOND_MEMORY, MAX,
    MMIO, NO_PAGES,
};
use luo_guest::{DAMAGED, PAGE, RUNS};
use nix::fcntl::SealFlag;
use std::{cmp::Reverse, iter};

/// Where the 64-bit words of each record are.
mod record {
    pub const POSITION: usize = 0;
    pub const SIZE: usize = 8;
    /// And in the upper half the flags.
    pub const SEALS: usize = 16;
    pub const COUNT: usize = 24;
    pub const FIRST: usize = 32;
    /// The number of pages, and in the upper half flags and an order.
    pub const PAGES: usize = 40;
    pub const LENGTH: usize = 48;
}
mod chunk {
    pub const NEXT: usize = 0;
    pub const ADDRESSES: usize = 8;
}
mod folio {
    /// The number of the frame, and in the upper bits flags.
    pub const FRAME: usize = 0;
    pub const INDEX: usize = 8;
    pub const LENGTH: usize = 16;
}
mod run {
    pub const FRAME: usize = 0;
    /// Above the frame.
    pub const ORDER_SHIFT: u32 = 52;
    pub const INDEX: usize = 8;
    /// Above the index.
    pub const PAGES_SHIFT: u32 = 40;
    pub const LENGTH: usize = 16;
}

/// The flags of a folio in `memfd-v2`.
const DIRTY: u64 = 1 << 52;
const UP_TO_DATE: u64 = 1 << 53;
const FLAGS: u64 = DIRTY | UP_TO_DATE;

/// A memfd that is handed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum File {
    /// It has a few pages, and a position and a seal.
    Few,
    /// Its entries fill more than a page.
    Many,
    Empty,
    /// It is like the first one, in another session, and has other contents.
    Other,
    /// It has nothing to do with any damage, and is for the test to write what it likes into.
    Last,
}

impl File {
    /// All of them, in the order in which they are preserved, asked for, and finished.
    pub const ALL: [Self; 5] = [Self::Few, Self::Many, Self::Empty, Self::Other, Self::Last];

    /// Its session, and its place in that, which is its token.
    pub const fn place(self) -> (usize, usize) {
        match self {
            Self::Few => (0, 0),
            Self::Many => (0, 1),
            Self::Empty => (0, 2),
            Self::Other => (1, 0),
            Self::Last => (1, 1),
        }
    }

    /// Which pages of it are no holes: no two of them are neighbours, so each is a run.
    pub fn pages(self) -> Vec<usize> {
        match self {
            Self::Few | Self::Other => vec![0, 2, FEW - 1],
            Self::Many => (0..many()).step_by(2).collect(),
            Self::Empty => vec![],
            Self::Last => vec![0],
        }
    }

    fn size(self) -> usize {
        match self {
            // The last page is there in part.
            Self::Few | Self::Other => (FEW - 1) * *PAGE + 5,
            Self::Many => many() * *PAGE,
            Self::Empty => 0,
            Self::Last => *PAGE,
        }
    }
}

/// How many pages there are in a file.
const FEW: usize = 6;

fn many() -> usize {
    (LIST - 1) * *PAGE / folio::LENGTH + 88
}

/// How many pages the entries of the larger one take: two, if there are half as many of them.
const LIST: usize = 3;

/// What somebody who asks for a memfd gets.
#[derive(Clone)]
pub struct Memfd {
    pub contents: Vec<u8>,
    pub position: u64,
    pub seals: SealFlag,
}

impl Memfd {
    /// The sound one.
    pub fn sound(file: File) -> Self {
        let mut contents = vec![0; file.size()];
        for page in file.pages() {
            // As an address, a length or a number of anything, each of these words is too large.
            let word = (1 << 31 | (file as u32) << 16 | page as u32).to_le_bytes();
            let bytes = contents[page * *PAGE..].iter_mut().take(*PAGE);
            for (byte, value) in bytes.zip(word.into_iter().cycle()) {
                *byte = value;
            }
        }
        let (position, seals) = match file {
            File::Few => (7, SealFlag::F_SEAL_GROW),
            _ => (0, SealFlag::empty()),
        };
        Self {
            contents,
            position,
            seals,
        }
    }

    fn page(&mut self, page: usize) -> &mut [u8] {
        &mut self.contents[page * *PAGE..][..*PAGE]
    }
}

/// What becomes of a memfd.
#[derive(Clone, Copy)]
pub enum Fate {
    /// It is refused for this field.
    Refused(&'static str),
    /// It is taken for what it says, which is this.
    Taken(fn(&mut Memfd)),
    /// One or the other, whatever that is.
    Either,
}

/// What becomes of all memfds.
#[derive(Clone)]
pub struct Fates {
    /// Whether somebody asks for them; if not, they are finished.
    pub asked: bool,
    of: Vec<(File, Fate)>,
}

impl Fates {
    /// What becomes of one.
    pub fn of(&self, file: File) -> Fate {
        let sound = Fate::Taken(|_| ());
        let mut fates = self.of.iter();
        fates
            .find_map(|&(of, fate)| (of == file).then_some(fate))
            .unwrap_or(sound)
    }

    /// Whether any memfd may be refused, as somebody may have taken its memory.
    pub fn any_refused(&self) -> bool {
        self.of.iter().any(|(_, fate)| matches!(fate, Fate::Either))
    }

    /// Whether nothing of what is refused can be another's.
    pub fn all_refused(&self) -> bool {
        self.of
            .iter()
            .all(|(_, fate)| matches!(fate, Fate::Refused(_)))
    }
}

/// Where the address of a memfd's record is.
pub fn data(file: File) -> Place {
    let (session, place) = file.place();
    file_word(session, place, file::DATA)
}

const fn word(file: File, offset: usize) -> Place {
    Place(Page::Memfd(file), offset)
}

/// Where the address of the page is that tells where the entries are.
pub const fn first(file: File) -> Place {
    word(file, record::FIRST)
}

/// Where the address of a page of entries is.
pub const fn address(file: File, page: usize) -> Place {
    Place(Page::Chunk(file), chunk::ADDRESSES + 8 * page)
}

/// What is so far into the entries.
pub fn entry(file: File, offset: usize) -> Place {
    Place(Page::Entries(file, offset / *PAGE), offset % *PAGE)
}

fn folio(file: File, number: usize, offset: usize) -> Place {
    entry(file, number * folio::LENGTH + offset)
}

fn run(file: File, number: usize, offset: usize) -> Place {
    entry(file, number * run::LENGTH + offset)
}

/// The page of a folio.
const fn page(file: File, number: usize) -> Page {
    Page::Contents(file, number * folio::LENGTH + folio::FRAME)
}

/// Two words, each in place of the other.
fn swapped(one: Place, other: Place) -> [Wrong; 3] {
    // Nobody reads it.
    let spare = Place(Page::Root, *PAGE - 8);
    [
        Wrong::Word(spare, Value::Copy(one)),
        Wrong::Word(one, Value::Copy(other)),
        Wrong::Word(other, Value::Copy(spare)),
    ]
}

const DATA: &str = "luo_file_ser.data";
const POSITION: &str = "memfd_luo_ser.pos";
const SIZE: &str = "memfd_luo_ser.size";
pub const SEALS: &str = "memfd_luo_ser.seals";
const RECORD_FLAGS: &str = "memfd_luo_ser.flags";
const COUNT: &str = "memfd_luo_ser.nr_folios";
const AREA: &str = "memfd_luo_ser.folios";
const FOLIO: &str = "memfd_luo_folio_ser.";
const FRAME: &str = "memfd_luo_folio_ser.pfn";
const INDEX: &str = "memfd_luo_folio_ser.index";
const FOLIO_FLAGS: &str = "memfd_luo_folio_ser.flags";
const RUN: &str = "memfd_run.";
const RUN_FRAME: &str = "memfd_run.frame";
const RUN_INDEX: &str = "memfd_run.index";
const RUN_PAGES: &str = "memfd_run.pages";
const RUN_ORDER: &str = "memfd_run.order";

const SOUND: Fate = Fate::Taken(|_| ());
/// A file is the other one, and for that one nothing is left.
const OTHER: Fate = Fate::Taken(|it| *it = Memfd::sound(File::Other));

/// Those that are also done to files that nobody asks for.
const UNASKED: &[&str] = &[
    "data-mmio",
    "data-unused-page",
    "data-of-other",
    "nr_folios-maximum",
    "folios-first-mmio",
    "chunk-0-one-more",
    "chunk-0-twice",
    "chunk-next-itself",
    "pfn-mmio",
    "pfn-unused-page",
    "pfn-twice",
    "pfn-entries",
    "pfn-of-other",
    "index-swapped",
    "runs-frame-unused-page",
    "runs-pages-maximum",
];

impl Table {
    /// Damages of a memfd, and what becomes of each of those that are not as they were.
    fn memfds(&mut self, name: &str, wrong: &[Wrong], fates: &[(File, Fate)]) -> &mut Damage {
        let damage = self.add(format!("memfd-{name}"), wrong, Due::Taken(|_| ()));
        damage.files = Some(Fates {
            asked: true,
            of: fates.to_vec(),
        });
        damage
    }

    /// One wrong word, and what becomes of its file.
    fn memfd(&mut self, name: &str, file: File, place: Place, value: Value, fate: Fate) {
        self.memfds(name, &[Wrong::Word(place, value)], &[(file, fate)]);
    }

    /// The same for several values of one word.
    fn few(&mut self, name: &str, place: Place, values: &[(&str, Value, Fate)]) {
        for &(what, value, fate) in values {
            self.memfd(&format!("{name}-{what}"), File::Few, place, value, fate);
        }
    }

    /// A field that has to hold the address of a page that was handed over.
    fn memfd_address(&mut self, name: &str, file: File, place: Place, field: &'static str) {
        for (what, value) in NO_PAGES {
            let name = format!("{name}-{what}");
            self.memfd(&name, file, place, value, Fate::Refused(field));
        }
    }
}

/// All damages.
pub fn all(table: &mut Table) {
    let begin = table.0.len();
    addresses(table);
    records(table);
    areas(table);
    chunks(table);
    frames(table);
    indices(table);
    flags(table);
    runs(table);
    flips(table);

    for name in UNASKED {
        let name = format!("{DAMAGED}memfd-{name}");
        let mut with_it = table.0[begin..].iter();
        let damage = with_it.find(|damage| damage.name == name);
        let mut damage = damage.expect("there is one of that name").clone();
        damage.name.push_str("-unasked");
        damage.files.as_mut().expect("there are memfds").asked = false;
        table.0.push(damage);
    }
}

/// Where the record is.
fn addresses(table: &mut Table) {
    let place = data(File::Few);
    let refused = Fate::Refused(DATA);
    table.memfd_address("data", File::Few, place, DATA);
    table.few(
        "data",
        place,
        &[
            ("zero", Value::Number(0), refused),
            // LUO has released its own.
            ("sessions", Value::Address(Page::Sessions(0)), refused),
            ("files", Value::Address(Page::Files(1, 0)), refused),
            (
                "chunk",
                Value::Address(Page::Chunk(File::Few)),
                Fate::Refused(COUNT),
            ),
            // The number of the second frame is not one of seals.
            (
                "entries",
                Value::Address(Page::Entries(File::Few, 0)),
                Fate::Refused(SEALS),
            ),
            (
                "contents",
                Value::Address(page(File::Few, 0)),
                Fate::Refused(POSITION),
            ),
        ],
    );
    let place = data(File::Empty);
    let mmio = Value::Number(MMIO);
    table.memfd("data-of-empty-mmio", File::Empty, place, mmio, refused);

    let other = Value::Copy(data(File::Other));
    table.memfds(
        "data-of-other",
        &[Wrong::Word(data(File::Few), other)],
        &[(File::Few, OTHER), (File::Other, refused)],
    );
    let few = Value::Copy(data(File::Few));
    table.memfd("data-of-few", File::Many, data(File::Many), few, refused);
    table.memfds(
        "data-swapped",
        &swapped(data(File::Few), data(File::Other)),
        &[
            (File::Few, OTHER),
            (File::Other, Fate::Taken(|it| *it = Memfd::sound(File::Few))),
        ],
    );
}

/// What the record says of the file.
fn records(table: &mut Table) {
    let refused = Fate::Refused(POSITION);
    table.few(
        "pos",
        word(File::Few, record::POSITION),
        &[
            ("maximum", Value::Number(MAX), refused),
            ("upper-half", Value::Number(1 << 63), refused),
            (
                "beyond-end",
                Value::Number(1 << 40),
                Fate::Taken(|it| it.position = 1 << 40),
            ),
        ],
    );

    let refused = Fate::Refused(SIZE);
    let of_count = Fate::Refused(COUNT);
    table.few(
        "size",
        word(File::Few, record::SIZE),
        &[
            ("zero", Value::Number(0), of_count),
            ("maximum", Value::Number(MAX), refused),
            ("upper-half", Value::Number(1 << 63), refused),
            ("largest", Value::Number(MAX >> 1), of_count),
            ("page-more", Value::Plus(*PAGE as u64), of_count),
            (
                "page-less",
                Value::Plus((*PAGE as u64).wrapping_neg()),
                of_count,
            ),
            (
                "one-more",
                Value::Plus(1),
                Fate::Taken(|it| it.contents.push(0)),
            ),
            (
                "one-less",
                Value::Plus(MAX),
                Fate::Taken(|it| it.contents.truncate(it.contents.len() - 1)),
            ),
        ],
    );
    let place = word(File::Empty, record::SIZE);
    table.memfd(
        "size-of-empty",
        File::Empty,
        place,
        Value::Number(1),
        of_count,
    );

    table.few(
        "seals",
        word(File::Few, record::SEALS),
        &[
            ("unknown", Value::Plus(1 << 6), Fate::Refused(SEALS)),
            (
                "another",
                Value::Plus(2),
                Fate::Taken(|it| it.seals |= SealFlag::F_SEAL_SHRINK),
            ),
        ],
    );
    for bit in [0, 31] {
        table.memfd(
            &format!("flags-{bit}"),
            File::Few,
            word(File::Few, record::SEALS),
            Value::Plus(1 << (32 + bit)),
            Fate::Refused(RECORD_FLAGS),
        );
    }

    for (what, value) in [
        ("zero", Value::Number(0)),
        ("one-more", Value::Plus(1)),
        ("one-less", Value::Plus(MAX)),
        ("2-to-the-32", Value::Number(1 << 32)),
        ("2-to-the-60", Value::Number(1 << 60)),
        ("maximum", Value::Number(MAX)),
    ] {
        let place = word(File::Few, record::COUNT);
        table.memfd(
            &format!("nr_folios-{what}"),
            File::Few,
            place,
            value,
            of_count,
        );
    }
    let place = word(File::Empty, record::COUNT);
    table.memfd(
        "nr_folios-of-empty",
        File::Empty,
        place,
        Value::Number(1),
        of_count,
    );
}

/// Where the entries are.
fn areas(table: &mut Table) {
    let refused = Fate::Refused(AREA);
    table.memfd_address("folios-first", File::Few, first(File::Few), AREA);
    table.few(
        "folios-first",
        first(File::Few),
        &[
            ("zero", Value::Number(0), refused),
            ("record", Value::Copy(data(File::Few)), refused),
            (
                "entries",
                Value::Address(Page::Entries(File::Few, 0)),
                refused,
            ),
            ("contents", Value::Address(page(File::Few, 0)), refused),
            ("sessions", Value::Address(Page::Sessions(0)), refused),
        ],
    );
    let other = Value::Copy(first(File::Other));
    table.memfds(
        "folios-first-of-other",
        &[Wrong::Word(first(File::Few), other)],
        &[
            (
                File::Few,
                Fate::Taken(|it| it.contents = Memfd::sound(File::Other).contents),
            ),
            (File::Other, refused),
        ],
    );
    table.memfd(
        "folios-first-of-many",
        File::Few,
        first(File::Few),
        Value::Copy(first(File::Many)),
        refused,
    );
    let place = first(File::Empty);
    let value = Value::Copy(first(File::Few));
    table.memfd(
        "folios-first-of-empty",
        File::Empty,
        place,
        value,
        Fate::Refused(COUNT),
    );

    for (what, value, fate) in [
        ("total_pages-one-more", Value::Plus(1), refused),
        ("total_pages-one-less", Value::Plus(MAX), refused),
        (
            "total_pages-zero",
            Value::Plus((LIST as u64).wrapping_neg()),
            refused,
        ),
        (
            "total_pages-maximum",
            Value::Plus((MAX >> 32) - LIST as u64),
            refused,
        ),
        // They say how the area was mapped, which nobody does again.
        ("flags-unknown", Value::Plus(1 << 47), SOUND),
        ("order-1", Value::Plus(1 << 48), refused),
        ("order-9", Value::Plus(9 << 48), refused),
        ("order-51", Value::Plus(51 << 48), refused),
        ("order-64", Value::Plus(64 << 48), refused),
        ("order-maximum", Value::Plus(0xffff << 48), refused),
    ] {
        let place = word(File::Many, record::PAGES);
        table.memfd(&format!("folios-{what}"), File::Many, place, value, fate);
    }
}

/// The page that tells where the pages of entries are.
fn chunks(table: &mut Table) {
    let refused = Fate::Refused(AREA);
    let place = Place(Page::Chunk(File::Many), chunk::NEXT);
    for (what, value) in [
        ("itself", Value::Address(Page::Chunk(File::Many))),
        ("of-other", Value::Address(Page::Chunk(File::Other))),
        ("maximum", Value::Number(MAX)),
        ("mmio", Value::Number(MMIO)),
        ("unused-page", Value::FreePage),
    ] {
        table.memfd(
            &format!("chunk-next-{what}"),
            File::Many,
            place,
            value,
            refused,
        );
    }

    table.memfd_address("chunk-0", File::Many, address(File::Many, 0), AREA);
    let place = address(File::Many, LIST - 1);
    table.memfd(
        "chunk-last-mmio",
        File::Many,
        place,
        Value::Number(MMIO),
        refused,
    );
    let zero = Value::Number(0);
    for (what, place, value) in [
        ("0-zero", address(File::Many, 0), zero),
        ("1-zero", address(File::Many, 1), zero),
        (
            "0-twice",
            address(File::Many, 1),
            Value::Copy(address(File::Many, 0)),
        ),
        (
            "0-itself",
            address(File::Many, 0),
            Value::Address(Page::Chunk(File::Many)),
        ),
        (
            "0-record",
            address(File::Many, 0),
            Value::Copy(data(File::Many)),
        ),
        // It is taken by then.
        (
            "0-of-few",
            address(File::Many, 0),
            Value::Copy(address(File::Few, 0)),
        ),
        ("one-more", address(File::Many, LIST), Value::FreePage),
        (
            "contents-more",
            address(File::Many, LIST),
            Value::Address(page(File::Many, 0)),
        ),
    ] {
        table.memfd(&format!("chunk-{what}"), File::Many, place, value, refused);
    }

    // A page of entries that has others in it than it should, and then whatever was there.
    let refused = Fate::Refused(FOLIO);
    let other = Value::Copy(address(File::Other, 0));
    table.memfd(
        "chunk-0-of-other",
        File::Many,
        address(File::Many, 0),
        other,
        refused,
    );
    table.memfds(
        "chunk-swapped",
        &swapped(address(File::Many, 0), address(File::Many, 1)),
        &[(File::Many, Fate::Refused(INDEX))],
    );
    let contents = Value::Address(page(File::Many, 0));
    table.memfd(
        "chunk-0-contents",
        File::Many,
        address(File::Many, 0),
        contents,
        Fate::Refused(FOLIO_FLAGS),
    );
}

/// The numbers of page frames.
fn frames(table: &mut Table) {
    let refused = Fate::Refused(FRAME);
    let few = File::Few;
    let last = many() - 1;
    for (what, value, fate) in [
        ("zero", Value::Number(FLAGS), refused),
        // Some other memfd's page can be there.
        ("one-more", Value::Plus(1), Fate::Either),
        ("one-less", Value::Plus(MAX), Fate::Either),
        ("maximum", Value::Number(FLAGS | (DIRTY - 1)), refused),
        (
            "beyond-memory",
            Value::Number(FLAGS | BEYOND_MEMORY >> page_shift()),
            refused,
        ),
        ("mmio", Value::Number(FLAGS | MMIO >> page_shift()), refused),
        ("upper-half", Value::Plus(1 << 51), refused),
        ("unused-page", Value::FreeFrame(FLAGS), refused),
        ("twice", Value::Copy(folio(few, 0, folio::FRAME)), refused),
        ("record", Value::Frame(Page::Memfd(few), FLAGS), refused),
        ("chunk", Value::Frame(Page::Chunk(few), FLAGS), refused),
        (
            "entries",
            Value::Frame(Page::Entries(few, 0), FLAGS),
            refused,
        ),
        ("sessions", Value::Frame(Page::Sessions(0), FLAGS), refused),
        ("files", Value::Frame(Page::Files(0, 0), FLAGS), refused),
        // Memory of others that nobody has taken yet.
        (
            "record-of-other",
            Value::Frame(Page::Memfd(File::Other), FLAGS),
            Fate::Either,
        ),
        (
            "entries-of-other",
            Value::Frame(Page::Entries(File::Other, 0), FLAGS),
            Fate::Either,
        ),
    ] {
        let place = folio(few, 2, folio::FRAME);
        table.memfd(&format!("pfn-{what}"), few, place, value, fate);
    }
    for (what, value) in [
        ("of-few", Value::Copy(folio(few, 0, folio::FRAME))),
        (
            "last-twice",
            Value::Copy(folio(File::Many, 0, folio::FRAME)),
        ),
        ("last-mmio", Value::Number(FLAGS | MMIO >> page_shift())),
        (
            "last-entries",
            Value::Frame(Page::Entries(File::Many, 1), FLAGS),
        ),
        ("last-chunk", Value::Frame(Page::Chunk(File::Many), FLAGS)),
    ] {
        let place = folio(File::Many, last, folio::FRAME);
        table.memfd(&format!("pfn-{what}"), File::Many, place, value, refused);
    }
    let other = Value::Copy(folio(File::Other, 0, folio::FRAME));
    table.memfds(
        "pfn-of-other",
        &[Wrong::Word(folio(few, 0, folio::FRAME), other)],
        &[
            (
                few,
                Fate::Taken(|it| {
                    it.page(0)
                        .copy_from_slice(Memfd::sound(File::Other).page(0))
                }),
            ),
            (File::Other, refused),
        ],
    );
    table.memfds(
        "pfn-swapped",
        &swapped(folio(few, 0, folio::FRAME), folio(few, 2, folio::FRAME)),
        &[(
            few,
            Fate::Taken(|it| {
                let (head, tail) = it.contents.split_at_mut(2 * *PAGE);
                head[..*PAGE].swap_with_slice(&mut tail[..*PAGE]);
            }),
        )],
    );
}

/// Where in the file a folio is.
fn indices(table: &mut Table) {
    let refused = Fate::Refused(INDEX);
    let few = File::Few;
    for (what, number, value) in [
        ("of-first-one-more", 0, Value::Plus(1)),
        ("one-more", 2, Value::Plus(1)),
        ("one-less", 2, Value::Plus(MAX)),
        ("maximum", 2, Value::Number(MAX)),
        ("2-to-the-52", 2, Value::Number(1 << 52)),
        ("beyond-end", FEW - 1, Value::Number(FEW as u64)),
    ] {
        let place = folio(few, number, folio::INDEX);
        table.memfd(&format!("index-{what}"), few, place, value, refused);
    }
    table.memfds(
        "index-swapped",
        &swapped(folio(few, 0, folio::INDEX), folio(few, 2, folio::INDEX)),
        &[(few, refused)],
    );
    let place = folio(File::Many, many() - 1, folio::INDEX);
    table.memfd(
        "index-of-last-one-less",
        File::Many,
        place,
        Value::Plus(MAX),
        refused,
    );
}

/// What is known of a folio.
fn flags(table: &mut Table) {
    let refused = Fate::Refused(FOLIO_FLAGS);
    let zeroes = Fate::Taken(|it| it.page(2).fill(0));
    table.few(
        "folio-flags",
        folio(File::Few, 2, folio::FRAME),
        &[
            ("unknown", Value::Plus(1 << 54), refused),
            ("upper", Value::Plus(1 << 63), refused),
            ("not-dirty", Value::Plus(DIRTY.wrapping_neg()), SOUND),
            (
                "not-up-to-date",
                Value::Plus(UP_TO_DATE.wrapping_neg()),
                zeroes,
            ),
            ("none", Value::Plus(FLAGS.wrapping_neg()), zeroes),
        ],
    );
}

/// What is otherwise in the format of runs.
fn runs(table: &mut Table) {
    let begin = table.0.len();
    let few = File::Few;
    let last = few.pages().len() - 1;
    let frame = Fate::Refused(RUN_FRAME);
    let index = Fate::Refused(RUN_INDEX);
    let pages = Fate::Refused(RUN_PAGES);
    let order = Fate::Refused(RUN_ORDER);
    let area = Fate::Refused(AREA);
    let count = Fate::Refused(COUNT);
    let of_pages = |pages: u64| pages << run::PAGES_SHIFT;

    for (what, value, fate) in [
        ("zero", Value::Number(0), frame),
        ("maximum", Value::Number((1 << run::ORDER_SHIFT) - 1), frame),
        (
            "beyond-memory",
            Value::Number(BEYOND_MEMORY >> page_shift()),
            frame,
        ),
        ("mmio", Value::Number(MMIO >> page_shift()), frame),
        ("upper-half", Value::Plus(1 << 51), frame),
        ("unused-page", Value::FreeFrame(0), frame),
        ("twice", Value::Copy(run(few, 0, run::FRAME)), frame),
        ("record", Value::Frame(Page::Memfd(few), 0), frame),
        ("chunk", Value::Frame(Page::Chunk(few), 0), frame),
        ("entries", Value::Frame(Page::Entries(few, 0), 0), frame),
    ] {
        let place = run(few, 1, run::FRAME);
        table.memfd(&format!("frame-{what}"), few, place, value, fate);
    }
    for (what, number, value, fate) in [
        (
            "one-less",
            1,
            Value::Plus(MAX),
            Fate::Taken(|it| {
                let page = it.page(2).to_vec();
                it.page(2).fill(0);
                it.page(1).copy_from_slice(&page);
            }),
        ),
        ("before", 1, Value::Number(of_pages(1)), index),
        ("maximum", 1, Value::Number(MAX), index),
        (
            "beyond-end",
            last,
            Value::Number(of_pages(1) | FEW as u64),
            index,
        ),
    ] {
        let place = run(few, number, run::INDEX);
        table.memfd(&format!("index-{what}"), few, place, value, fate);
    }
    for (what, number, value, fate) in [
        ("zero", 1, Value::Plus(of_pages(1).wrapping_neg()), pages),
        ("maximum", 1, Value::Plus(of_pages((1 << 24) - 2)), frame),
        // Something else may be there, which is too much then.
        (
            "of-last-one-more",
            last,
            Value::Plus(of_pages(1)),
            Fate::Refused(RUN),
        ),
        ("2-to-the-23", 1, Value::Plus(of_pages(1 << 23)), frame),
    ] {
        let place = run(few, number, run::INDEX);
        table.memfd(&format!("pages-{what}"), few, place, value, fate);
    }
    for number in [1, 9, 63, 64, 4095] {
        let place = run(few, 1, run::FRAME);
        let value = Value::Plus(number << run::ORDER_SHIFT);
        table.memfd(&format!("order-{number}"), few, place, value, order);
    }
    for (what, value, fate) in [
        ("zero", Value::Number(0), count),
        ("one-more", Value::Plus(1), pages),
        ("one-less", Value::Plus(MAX), count),
        ("maximum", Value::Number(MAX), count),
    ] {
        let place = word(few, record::COUNT);
        table.memfd(&format!("nr_folios-{what}"), few, place, value, fate);
    }
    // Behind the last entry there is one of zeroes.
    let place = run(few, last + 1, run::INDEX);
    table.memfd("end-not-zero", few, place, Value::Number(1), count);
    for (what, value, fate) in [
        (
            "page-more",
            Value::Plus(*PAGE as u64),
            Fate::Taken(|it| it.contents.extend(iter::repeat_n(0, *PAGE))),
        ),
        (
            "page-less",
            Value::Plus((*PAGE as u64).wrapping_neg()),
            index,
        ),
    ] {
        let place = word(few, record::SIZE);
        table.memfd(&format!("size-{what}"), few, place, value, fate);
    }
    // A permission that there is not, and a way to open a file.
    for bit in [9, 31] {
        let value = Value::Plus(1 << (32 + bit));
        let place = word(few, record::SEALS);
        table.memfd(
            &format!("flags-{bit}"),
            few,
            place,
            value,
            Fate::Refused(RECORD_FLAGS),
        );
    }
    table.memfd(
        "data-mmio",
        few,
        data(few),
        Value::Number(MMIO),
        Fate::Refused(DATA),
    );
    for page in 0..2 {
        let place = address(File::Many, page);
        table.memfd(
            &format!("chunk-{page}-mmio"),
            File::Many,
            place,
            Value::Number(MMIO),
            area,
        );
    }
    let other = Value::Copy(run(File::Other, 0, run::FRAME));
    table.memfds(
        "frame-of-other",
        &[Wrong::Word(run(few, 0, run::FRAME), other)],
        &[
            (
                few,
                Fate::Taken(|it| {
                    it.page(0)
                        .copy_from_slice(Memfd::sound(File::Other).page(0))
                }),
            ),
            (File::Other, frame),
        ],
    );

    for damage in &mut table.0[begin..] {
        let name = damage.name.trim_start_matches(DAMAGED);
        let name = name.trim_start_matches("memfd-");
        damage.name = format!("{DAMAGED}memfd-runs-{name}");
        damage.params = RUNS;
    }
}

/// Random bits of up to three random words.
fn flips(table: &mut Table) {
    const VICTIMS: [File; 4] = [File::Few, File::Many, File::Empty, File::Other];

    for seed in 1..=16 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = || {
            let file = VICTIMS[random.usize(..VICTIMS.len())];
            let of_record = word(file, 8 * random.usize(..record::LENGTH / 8));
            let place = match (file, random.u32(..8)) {
                (_, 0) => data(file),
                (File::Empty, _) | (_, 1..=3) => of_record,
                (_, 4) => Place(Page::Chunk(file), 8 * random.usize(..2)),
                _ => {
                    let entries = file.size().div_ceil(*PAGE);
                    entry(file, 8 * random.usize(..entries * folio::LENGTH / 8))
                }
            };
            let wrong = Wrong::Word(place, Value::Plus(1 << random.u32(..64)));
            (wrong, (file, Fate::Either))
        };
        let (mut wrong, fates): (Vec<_>, Vec<_>) = (0..=seed % 3).map(|_| word()).unzip();
        // The way to each of them is still as it was.
        wrong.sort_by_key(|wrong| Reverse(wrong.depth()));
        table.memfds(&format!("flips-{seed}"), &wrong, &fates);
    }
}
