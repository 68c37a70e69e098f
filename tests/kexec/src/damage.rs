// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a hand-over, and what is to become of it: a table of damages that the
//! test driver does to the records just before the kexec, and for each what the next kernel owes.
//!
//! The records are those of `Documentation/abi.rst`. What is refused there is refused here, by the
//! name of the record and the field; anything else is another valid value, and taken as such.

mod memfd;

pub use memfd::{Fate, Fates, File, Memfd, SEALS};

use crate::{abi::ABI, preserved};
use anyhow::{Context, Result};
use luo_guest::{DAMAGED, PAGE, PANICS};
use nix::errno::Errno::{self, ENODATA, ENOENT};
use std::{cmp::Reverse, collections::BTreeMap, ops::RangeInclusive};

/// How large the entries of blocks are.
const SESSION_SIZE: usize = 80;
const FILE_SIZE: usize = 64;
const FLB_SIZE: usize = 64;
const HEADER_SIZE: usize = 16;

/// `lib/tests/liveupdate.c` has FLBs of its own, on which all files depend.
const OTHER_FLBS: usize = 3;

/// Where the 64-bit words of each record are.
mod root {
    pub const COMPATIBLE: usize = 0;
    pub const LIVEUPDATE_NUM: usize = 8;
    pub const SESSIONS_PA: usize = 16;
    pub const FLBS_PA: usize = 24;
    pub const SIZE: u64 = 32;
}
mod header {
    pub const NEXT: usize = 0;
    pub const COUNT: usize = 8;
}
mod flb_header {
    pub const PGCNT: usize = 0;
    pub const COUNT: usize = 8;
}
mod session {
    pub const NAME: usize = 0;
    pub const FILES: usize = 64;
    pub const COUNT: usize = 72;
}
mod file {
    pub const COMPATIBLE: usize = 0;
    pub const DATA: usize = 48;
    pub const TOKEN: usize = 56;
}
mod flb {
    pub const NAME: usize = 0;
    pub const DATA: usize = 48;
    pub const COUNT: usize = 56;
}

/// A page of the hand-over.
#[derive(Clone, Copy)]
enum Page {
    Root,
    /// A block of sessions, by its place in the chain.
    Sessions(usize),
    /// A block of files of a session, both by their places.
    Files(usize, usize),
    Flbs,
    /// The record of a memfd.
    Memfd(File),
    /// Where the pages of its entries are.
    Chunk(File),
    /// A page of its entries, by its place.
    Entries(File, usize),
    /// A page of its contents, by where in the entries the frame's number is.
    Contents(File, usize),
}

/// A word of the hand-over.
#[derive(Clone, Copy)]
struct Place(Page, usize);

/// What a word becomes.
#[derive(Clone, Copy)]
enum Value {
    Number(u64),
    /// So much more than it is.
    Plus(u64),
    /// What another word is.
    Copy(Place),
    /// Where a page of the hand-over is.
    Address(Page),
    /// Where a page is that was not preserved.
    FreePage,
    /// The number of the page's frame, and so much more.
    Frame(Page, u64),
    /// The same of a page that was not preserved.
    FreeFrame(u64),
}

/// One wrong thing.
#[derive(Clone, Copy)]
enum Wrong {
    Word(Place, Value),
    /// KHO's entry leads here, and says that the record has so many bytes.
    Entry(Value, u64),
}

impl Wrong {
    /// In which order the pages are that lead to what is wrong.
    fn depth(self) -> (usize, usize) {
        match self {
            Self::Word(Place(Page::Contents(..), _), _) => (6, 0),
            Self::Word(Place(Page::Entries(..), _), _) => (5, 0),
            Self::Word(Place(Page::Chunk(_), _), _) => (4, 0),
            Self::Word(Place(Page::Memfd(_), _), _) => (3, 0),
            Self::Word(Place(Page::Files(_, block), _), _) => (2, block),
            Self::Word(Place(Page::Sessions(block), _), _) => (1, block),
            Self::Word(Place(Page::Flbs, _), _) => (1, 0),
            Self::Word(Place(Page::Root, _), _) | Self::Entry(..) => (0, 0),
        }
    }
}

/// The steps of the test driver.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Step {
    Set = 1,
    Add,
    Follow = 4,
    FreePage,
    Place,
    Write,
    Publish,
    Left,
    Right,
}

/// The steps that one damage takes.
struct Steps {
    root: u64,
    bytes: Vec<u8>,
}

impl Steps {
    fn push(&mut self, step: Step, operand: u64) {
        for word in [step as u64, operand] {
            self.bytes.extend(word.to_ne_bytes());
        }
    }

    fn page(&mut self, page: Page) {
        let further = match page {
            Page::Root => return self.push(Step::Set, self.root),
            Page::Sessions(block) => {
                self.place(Place(Page::Root, root::SESSIONS_PA));
                block
            }
            Page::Files(session, block) => {
                self.place(session_word(session, session::FILES));
                block
            }
            Page::Flbs => {
                self.place(Place(Page::Root, root::FLBS_PA));
                0
            }
            Page::Memfd(file) => {
                self.place(memfd::data(file));
                0
            }
            Page::Chunk(file) => {
                self.place(memfd::first(file));
                0
            }
            Page::Entries(file, page) => {
                self.place(memfd::address(file, page));
                0
            }
            Page::Contents(file, offset) => {
                self.place(memfd::entry(file, offset));
                self.push(Step::Follow, 0);
                // Flags are in the upper bits, which go.
                return self.push(Step::Left, page_shift());
            }
        };
        for _ in 0..=further {
            self.push(Step::Follow, 0);
        }
    }

    fn place(&mut self, Place(page, offset): Place) {
        self.page(page);
        self.push(Step::Add, offset as u64);
    }

    /// From the address of a page to the number of its frame, and so much more.
    fn frame(&mut self, more: u64) {
        self.push(Step::Right, page_shift());
        self.push(Step::Add, more);
    }

    fn wrong(&mut self, wrong: Wrong) {
        let (place, value) = match wrong {
            Wrong::Word(place, value) => (place, value),
            Wrong::Entry(value, _) => (Place(Page::Root, 0), value),
        };
        self.place(place);
        self.push(Step::Place, 0);
        match value {
            Value::Number(number) => self.push(Step::Set, number),
            Value::Plus(number) => {
                self.push(Step::Follow, 0);
                self.push(Step::Add, number);
            }
            Value::Copy(place) => {
                self.place(place);
                self.push(Step::Follow, 0);
            }
            Value::Address(page) => self.page(page),
            Value::FreePage => self.push(Step::FreePage, 0),
            Value::Frame(page, more) => {
                self.page(page);
                self.frame(more);
            }
            Value::FreeFrame(more) => {
                self.push(Step::FreePage, 0);
                self.frame(more);
            }
        }
        match wrong {
            Wrong::Word(..) => self.push(Step::Write, 0),
            Wrong::Entry(_, size) => self.push(Step::Publish, size),
        }
    }
}

/// What the next kernel is to make of a hand-over.
#[derive(Clone, Copy)]
pub enum Due {
    /// It is refused, and the log says what for.
    Refused(&'static str),
    /// It is taken for what it says.
    Taken(fn(&mut HandOver)),
    /// One or the other.
    Either,
    /// Live update is off there. The log says what early init refuses all the same.
    Off(Option<&'static str>),
}

/// What is handed over before the damage, or what a damage has made of it.
#[derive(Clone)]
pub struct HandOver {
    /// The names of the sessions, and the numbers of their files by token.
    pub sessions: BTreeMap<Vec<u8>, BTreeMap<u64, u32>>,
    /// What asking for each FLB of the driver comes to.
    pub flbs: [Result<u32, Errno>; 3],
    /// Which of them are still there when all files have finished.
    pub left: [bool; 3],
}

/// The sessions fill two blocks and begin a third.
pub fn last_session() -> usize {
    2 * ABI.sessions
}

/// The files of the first session do the same.
fn last_file() -> usize {
    2 * ABI.files
}

/// The second session has a file that needs all FLBs, and two that need the second one.
pub const SHARING: usize = 3;

/// The name of a session.
pub fn name(session: usize) -> Vec<u8> {
    format!("s{session}").into_bytes()
}

impl HandOver {
    /// The sound one.
    pub fn sound() -> Self {
        let mut sessions: BTreeMap<_, _> = (0..=last_session())
            .map(|session| (name(session), BTreeMap::new()))
            .collect();
        // A file's number is its token, and one more than its place.
        sessions.insert(name(0), (1..).zip(1..).take(last_file() + 1).collect());
        sessions.insert(name(1), (1..).zip(1001..).take(SHARING).collect());
        Self {
            sessions,
            flbs: [Ok(1); 3],
            left: [false; 3],
        }
    }

    /// Without these sessions. If one of them is the second, nobody finishes the FLBs.
    fn without(&mut self, sessions: RangeInclusive<usize>) {
        for session in sessions {
            self.sessions.remove(&name(session));
        }
        if !self.sessions.contains_key(&name(1)) {
            self.left = [true; 3];
        }
    }
}

/// A damage.
#[derive(Clone)]
pub struct Damage {
    /// What it is called.
    pub name: String,
    wrong: Vec<Wrong>,
    /// What has to become of it.
    pub due: Due,
    /// What has to become of the files, if it is one to memfds; then there is nothing else.
    pub files: Option<Fates>,
    /// Parameters of the virtual machine.
    pub params: &'static str,
    /// Whether it is one of those that tell most.
    pub telling: bool,
}

impl Damage {
    /// The steps that the test driver has to take, with the root record at the address `root`.
    pub fn steps(&self, root: u64) -> Vec<u8> {
        let bytes = vec![];
        let mut steps = Steps { root, bytes };
        for &wrong in &self.wrong {
            steps.wrong(wrong);
        }
        steps.bytes
    }
}

fn session_word(session: usize, offset: usize) -> Place {
    let at = HEADER_SIZE + session % ABI.sessions * SESSION_SIZE;
    Place(Page::Sessions(session / ABI.sessions), at + offset)
}

fn file_word(session: usize, file: usize, offset: usize) -> Place {
    let at = HEADER_SIZE + file % ABI.files * FILE_SIZE;
    Place(Page::Files(session, file / ABI.files), at + offset)
}

/// A word of one of the driver's FLBs. Those of the kernel tree's own test come first.
const fn flb_word(flb: usize, offset: usize) -> Place {
    Place(
        Page::Flbs,
        HEADER_SIZE + (OTHER_FLBS + flb) * FLB_SIZE + offset,
    )
}

const MAX: u64 = u64::MAX;
const BEYOND_MEMORY: u64 = 1 << 40;
/// The registers of a device: the processor's interrupt controller, or a serial line.
const MMIO: u64 = if cfg!(target_arch = "aarch64") {
    0x0900_0000
} else {
    0xfee0_0000
};

fn page_shift() -> u64 {
    PAGE.ilog2().into()
}

/// Values that are no address of a page that was handed over, whatever stood there before.
const NO_PAGES: [(&str, Value); 8] = [
    ("one-more", Value::Plus(1)),
    ("one-less", Value::Plus(MAX)),
    ("unaligned", Value::Plus(8)),
    ("maximum", Value::Number(MAX)),
    ("unused-page", Value::FreePage),
    ("beyond-memory", Value::Number(BEYOND_MEMORY)),
    ("mmio", Value::Number(MMIO)),
    ("upper-half", Value::Plus(1 << 63)),
];

/// The table, as it grows.
#[derive(Default)]
struct Table(Vec<Damage>);

impl Table {
    fn add(&mut self, name: impl Into<String>, wrong: &[Wrong], due: Due) -> &mut Damage {
        self.0.push(Damage {
            name: format!("{DAMAGED}{}", name.into()),
            wrong: wrong.to_vec(),
            due,
            files: None,
            params: "",
            telling: false,
        });
        self.0.last_mut().expect("one was just added")
    }

    fn word(&mut self, name: &str, place: Place, value: Value, due: Due) -> &mut Damage {
        self.add(name, &[Wrong::Word(place, value)], due)
    }

    /// A string of so many words without a NUL.
    fn endless(&mut self, name: &str, place: Place, words: usize, due: Due) -> &mut Damage {
        let Place(page, offset) = place;
        let wrong: Vec<_> = (0..words)
            .map(|word| Wrong::Word(Place(page, offset + 8 * word), Value::Number(MAX)))
            .collect();
        self.add(name, &wrong, due)
    }

    /// A field that has to hold the address of a page that was handed over.
    fn address(&mut self, name: &str, place: Place, field: &'static str) {
        for (what, value) in NO_PAGES {
            self.word(&format!("{name}-{what}"), place, value, Due::Refused(field));
        }
    }

    /// All circles that can be made of a chain of three blocks.
    fn circles(&mut self, name: &str, block: fn(usize) -> Page) {
        for from in 0..3 {
            for to in 0..=from {
                self.word(
                    &format!("{name}-circle-{from}-{to}"),
                    Place(block(from), header::NEXT),
                    Value::Address(block(to)),
                    Due::Refused(NEXT),
                );
            }
        }
    }
}

const NEXT: &str = "kho_block_header_ser.next";
const COUNT: &str = "kho_block_header_ser.count";
const SET_FILES: &str = "luo_file_set_ser.files";
const SET_COUNT: &str = "luo_file_set_ser.count";
const NAME: &str = "luo_session_ser.name";
const FLB_NAME: &str = "luo_flb_ser.name";
const FLB_COUNT: &str = "luo_flb_ser.count";

/// Those that `make selftest` has a machine for.
const TELLING: &[&str] = &[
    "entry-beyond-memory",
    "entry-size-31",
    "compatible-version",
    "sessions_pa-mmio",
    "sessions_pa-root",
    "sessions_pa-second-block",
    "sessions-circle-2-0",
    "sessions-count-0-maximum",
    "name-endless",
    "name-twice",
    "files-unused-page",
    "files-circle-1-0",
    "files-of-another-session",
    "file-count-one-more",
    "token-twice",
    "flbs_pa-one-more",
    "flb-count-beyond-table",
    "flb-files-one-more",
    "liveupdate-off",
    "sessions_pa-mmio-liveupdate-off",
    "sessions_pa-mmio-kho-off",
    "compatible-version-panic",
    "files-unused-page-panic",
    "memfd-data-of-other",
    "memfd-chunk-0-mmio",
    "memfd-pfn-of-other",
    "memfd-runs-pages-of-last-one-more",
];

/// All damages.
pub fn all() -> Vec<Damage> {
    let mut table = Table::default();
    entry(&mut table);
    root_record(&mut table);
    blocks(&mut table);
    sessions(&mut table);
    files(&mut table);
    flbs(&mut table);
    switched_off(&mut table);
    panics(&mut table);
    flips(&mut table);
    memfd::all(&mut table);

    for damage in &mut table.0 {
        let name = damage.name.trim_start_matches(DAMAGED);
        damage.telling = TELLING.contains(&name);
    }
    table.0
}

/// KHO's entry.
fn entry(table: &mut Table) {
    let field = Due::Refused("LUO.preserved-data");
    let root = Value::Address(Page::Root);
    for (what, value) in [
        ("zero", Value::Number(0)),
        ("maximum", Value::Number(MAX)),
        ("unused-page", Value::FreePage),
        ("beyond-memory", Value::Number(BEYOND_MEMORY)),
        ("mmio", Value::Number(MMIO)),
    ] {
        let wrong = [Wrong::Entry(value, root::SIZE)];
        table.add(format!("entry-{what}"), &wrong, field);
    }
    let sessions = Value::Address(Page::Sessions(0));
    let wrong = [Wrong::Entry(sessions, root::SIZE)];
    table.add("entry-sessions", &wrong, Due::Refused("luo_ser.compatible"));

    for size in [0, 8, 31] {
        let due = Due::Refused("LUO.blob-size");
        let wrong = [Wrong::Entry(root, size)];
        table.add(format!("entry-size-{size}"), &wrong, due);
    }
    let wrong = [Wrong::Entry(root, MAX)];
    table.add("entry-size-maximum", &wrong, Due::Taken(|_| ()));
}

fn root_record(table: &mut Table) {
    let compatible = Place(Page::Root, root::COMPATIBLE);
    for (what, value) in [
        ("zero", Value::Number(0)),
        ("endless", Value::Number(MAX)),
        // The digit, and what comes after it.
        ("version", Value::Plus(1 << 40)),
        ("longer", Value::Plus(u64::from(b'0') << 48)),
    ] {
        let due = Due::Refused("luo_ser.compatible");
        table.word(&format!("compatible-{what}"), compatible, value, due);
    }

    let number = Place(Page::Root, root::LIVEUPDATE_NUM);
    for (what, value) in [("zero", 0), ("maximum", MAX)] {
        let value = Value::Number(value);
        table.word(
            &format!("liveupdate_num-{what}"),
            number,
            value,
            Due::Taken(|_| ()),
        );
    }

    let place = Place(Page::Root, root::SESSIONS_PA);
    table.address("sessions_pa", place, "luo_ser.sessions_pa");
    for (what, value, due) in [
        (
            "zero",
            Value::Number(0),
            Due::Taken(|it| it.without(0..=last_session())),
        ),
        // Its version is no address, nor is the number of pages of FLBs.
        ("root", Value::Address(Page::Root), Due::Refused(NEXT)),
        ("flbs", Value::Address(Page::Flbs), Due::Refused(NEXT)),
        (
            "files",
            Value::Address(Page::Files(0, 0)),
            Due::Refused(COUNT),
        ),
        (
            "second-block",
            Value::Address(Page::Sessions(1)),
            Due::Taken(|it| it.without(0..=ABI.sessions - 1)),
        ),
    ] {
        table.word(&format!("sessions_pa-{what}"), place, value, due);
    }

    let place = Place(Page::Root, root::FLBS_PA);
    table.address("flbs_pa", place, "luo_ser.flbs_pa");
    for (what, value, due) in [
        (
            "zero",
            Value::Number(0),
            Due::Taken(|it| it.flbs = [Err(ENODATA); 3]),
        ),
        (
            "root",
            Value::Address(Page::Root),
            Due::Refused("luo_flb_header_ser.pgcnt"),
        ),
        (
            "sessions",
            Value::Address(Page::Sessions(0)),
            Due::Refused("luo_flb_header_ser.pgcnt"),
        ),
    ] {
        table.word(&format!("flbs_pa-{what}"), place, value, due);
    }
}

/// The links and the counts of blocks.
fn blocks(table: &mut Table) {
    table.circles("sessions", Page::Sessions);
    table.circles("files", |block| Page::Files(0, block));
    for block in [0, 2] {
        let place = Place(Page::Sessions(block), header::NEXT);
        table.address(&format!("sessions-next-{block}"), place, NEXT);
        let place = Place(Page::Files(0, block), header::NEXT);
        table.address(&format!("files-next-{block}"), place, NEXT);
    }

    let next = Place(Page::Sessions(0), header::NEXT);
    let only_first = Due::Taken(|it| it.without(ABI.sessions..=last_session()));
    let no_middle = Due::Taken(|it| it.without(ABI.sessions..=2 * ABI.sessions - 1));
    table.word("sessions-next-0-zero", next, Value::Number(0), only_first);
    let third = Value::Address(Page::Sessions(2));
    table.word("sessions-next-0-third", next, third, no_middle);
    let files = Value::Address(Page::Files(0, 0));
    table.word("sessions-next-0-files", next, files, Due::Refused(COUNT));

    // The number of files is there twice.
    let next = Place(Page::Files(0, 0), header::NEXT);
    for (what, value, due) in [
        ("zero", Value::Number(0), SET_COUNT),
        ("third", Value::Address(Page::Files(0, 2)), SET_COUNT),
        ("other-files", Value::Address(Page::Files(1, 0)), SET_COUNT),
        ("sessions", Value::Address(Page::Sessions(0)), NEXT),
    ] {
        let due = Due::Refused(due);
        table.word(&format!("files-next-0-{what}"), next, value, due);
    }

    let count = Place(Page::Sessions(0), header::COUNT);
    for (what, value, due) in [
        ("zero", Value::Number(0), Due::Refused(COUNT)),
        (
            "one-less",
            Value::Plus(MAX),
            Due::Taken(|it| it.without(ABI.sessions - 1..=ABI.sessions - 1)),
        ),
        ("one-more", Value::Plus(1), Due::Refused(COUNT)),
        ("maximum", Value::Number(MAX), Due::Refused(COUNT)),
    ] {
        table.word(&format!("sessions-count-0-{what}"), count, value, due);
    }
    let count = Place(Page::Sessions(2), header::COUNT);
    for (what, value, due) in [
        (
            "zero",
            Value::Number(0),
            Due::Taken(|it| it.without(last_session()..=last_session())),
        ),
        ("one-more", Value::Plus(1), Due::Refused(NAME)),
        ("maximum", Value::Number(MAX), Due::Refused(COUNT)),
    ] {
        table.word(&format!("sessions-count-2-{what}"), count, value, due);
    }

    for (block, what, value, due) in [
        (0, "zero", Value::Number(0), COUNT),
        (0, "one-less", Value::Plus(MAX), SET_COUNT),
        (0, "one-more", Value::Plus(1), COUNT),
        (0, "maximum", Value::Number(MAX), COUNT),
        (2, "zero", Value::Number(0), SET_COUNT),
        (2, "one-more", Value::Plus(1), SET_COUNT),
        (2, "maximum", Value::Number(MAX), COUNT),
    ] {
        let place = Place(Page::Files(0, block), header::COUNT);
        let due = Due::Refused(due);
        table.word(&format!("files-count-{block}-{what}"), place, value, due);
    }
}

fn sessions(table: &mut Table) {
    let place = session_word(1, session::NAME);
    let first = Value::Copy(session_word(0, session::NAME));
    table.word("name-empty", place, Value::Number(0), Due::Refused(NAME));
    table.word("name-twice", place, first, Due::Refused(NAME));
    table.endless("name-endless", place, 8, Due::Refused(NAME));
    let place = session_word(last_session(), session::NAME);
    table.word("name-of-last-twice", place, first, Due::Refused(NAME));
    // From "s102" to "t102", say.
    table.word(
        "name-another",
        place,
        Value::Plus(1),
        Due::Taken(|it| {
            it.without(last_session()..=last_session());
            let name = format!("t{}", last_session()).into_bytes();
            it.sessions.insert(name, BTreeMap::new());
        }),
    );

    let place = session_word(0, session::FILES);
    table.address("files", place, SET_FILES);
    // Session 2 has none.
    let empty = session_word(2, session::FILES);
    table.address("no-files", empty, SET_FILES);
    for (what, place, value, due) in [
        ("files-zero", place, Value::Number(0), SET_COUNT),
        (
            "files-sessions",
            place,
            Value::Address(Page::Sessions(0)),
            SET_FILES,
        ),
        (
            "files-second-block",
            place,
            Value::Address(Page::Files(0, 1)),
            SET_COUNT,
        ),
        (
            "no-files-files",
            empty,
            Value::Address(Page::Files(1, 0)),
            SET_FILES,
        ),
    ] {
        table.word(what, place, value, Due::Refused(due));
    }
    let both = [
        Wrong::Word(empty, Value::Address(Page::Files(1, 0))),
        Wrong::Word(
            session_word(2, session::COUNT),
            Value::Number(SHARING as u64),
        ),
    ];
    table.add("files-of-another-session", &both, Due::Refused(SET_FILES));

    for (session, what, value) in [
        (0, "zero", Value::Number(0)),
        (0, "one-less", Value::Plus(MAX)),
        (0, "one-more", Value::Plus(1)),
        (0, "maximum", Value::Number(MAX)),
        (2, "without-files", Value::Number(1)),
    ] {
        let place = session_word(session, session::COUNT);
        let due = Due::Refused(SET_COUNT);
        table.word(&format!("file-count-{what}"), place, value, due);
    }
    let both = [
        Wrong::Word(session_word(0, session::COUNT), Value::Plus(1)),
        Wrong::Word(Place(Page::Files(0, 2), header::COUNT), Value::Plus(1)),
    ];
    table.add(
        "file-counts-one-more",
        &both,
        Due::Refused("no file handler ''"),
    );
}

fn files(table: &mut Table) {
    let place = file_word(0, last_file(), file::COMPATIBLE);
    let due = Due::Refused("luo_file_ser.compatible");
    table.endless("compatible-of-file-endless", place, 6, due);
    for (what, value, due) in [
        ("empty", Value::Number(0), "no file handler ''"),
        // "luo-test" becomes "muo-test".
        ("unknown", Value::Plus(1), "no file handler 'muo-test-c'"),
    ] {
        let name = format!("compatible-of-file-{what}");
        table.word(&name, place, value, Due::Refused(due));
    }

    let place = file_word(0, last_file(), file::TOKEN);
    for file in [0, last_file() - 1] {
        let value = Value::Copy(file_word(0, file, file::TOKEN));
        let due = Due::Refused("luo_file_ser.token");
        let name = if file == 0 {
            "token-twice"
        } else {
            "token-one-less"
        };
        table.word(name, place, value, due);
    }
    fn retoken(it: &mut HandOver, token: u64) {
        let files = it.sessions.get_mut(&name(0)).expect("the first session");
        let number = files.remove(&(last_file() as u64 + 1));
        files.insert(token, number.expect("its last file"));
    }
    let due = Due::Taken(|it| retoken(it, MAX));
    table.word("token-maximum", place, Value::Number(MAX), due);
    let due = Due::Taken(|it| retoken(it, 0));
    table.word("token-zero", place, Value::Number(0), due);

    // The driver keeps a number there, up to 32 bits.
    let due = Due::Taken(|it| {
        let files = it.sessions.get_mut(&name(0)).expect("the first session");
        files.insert(last_file() as u64 + 1, last_file() as u32 + 1001);
    });
    let place = file_word(0, last_file(), file::DATA);
    table.word("data-of-file-another", place, Value::Plus(1000), due);
}

fn flbs(table: &mut Table) {
    let place = Place(Page::Flbs, flb_header::PGCNT);
    for (what, value) in [("zero", 0), ("two", 2), ("maximum", MAX)] {
        let due = Due::Refused("luo_flb_header_ser.pgcnt");
        table.word(
            &format!("flb-pages-{what}"),
            place,
            Value::Number(value),
            due,
        );
    }
    let place = Place(Page::Flbs, flb_header::COUNT);
    let too_many = Due::Refused("luo_flb_header_ser.count");
    for (what, value, due) in [
        (
            "zero",
            Value::Number(0),
            Due::Taken(|it| it.flbs = [Err(ENOENT); 3]),
        ),
        (
            "one-less",
            Value::Plus(MAX),
            Due::Taken(|it| it.flbs[2] = Err(ENOENT)),
        ),
        ("one-more", Value::Plus(1), Due::Refused(FLB_NAME)),
        ("beyond-table", Value::Number(ABI.flbs as u64 + 1), too_many),
        ("maximum", Value::Number(MAX), too_many),
    ] {
        table.word(&format!("flb-count-{what}"), place, value, due);
    }

    let place = flb_word(2, flb::NAME);
    table.word(
        "flb-name-empty",
        place,
        Value::Number(0),
        Due::Refused(FLB_NAME),
    );
    table.endless("flb-name-endless", place, 6, Due::Refused(FLB_NAME));
    let due = Due::Taken(|it| it.flbs[2] = Err(ENOENT));
    table.word("flb-name-another", place, Value::Plus(1), due);
    let twice = [0, 8].map(|word| {
        let another = Value::Copy(flb_word(0, flb::NAME + word));
        Wrong::Word(flb_word(2, flb::NAME + word), another)
    });
    table.add("flb-name-twice", &twice, Due::Refused(FLB_NAME));

    // Three files need it.
    let place = flb_word(1, flb::COUNT);
    for (what, value, due) in [
        ("zero", Value::Number(0), Due::Refused(FLB_COUNT)),
        (
            "2-to-the-32",
            Value::Number(1 << 32),
            Due::Refused(FLB_COUNT),
        ),
        ("maximum", Value::Number(MAX), Due::Refused(FLB_COUNT)),
        ("one-less", Value::Plus(MAX), Due::Taken(|_| ())),
        (
            "one-more",
            Value::Plus(1),
            Due::Taken(|it| it.left[1] = true),
        ),
    ] {
        table.word(&format!("flb-files-{what}"), place, value, due);
    }
    let due = Due::Taken(|it| it.flbs[1] = Ok(2));
    let place = flb_word(1, flb::DATA);
    table.word("flb-data-another", place, Value::Plus(1), due);
}

/// Random bits of up to three random words, and what the carry makes of them. Data is left out, as
/// drivers may think of theirs what they like.
fn flips(table: &mut Table) {
    const { assert!(file::DATA == flb::DATA && FILE_SIZE == FLB_SIZE) };
    let words: Vec<_> = (0..FILE_SIZE)
        .step_by(8)
        .filter(|&word| word != file::DATA)
        .collect();

    for seed in 1..=32 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = || {
            let any_of = [
                Place(Page::Root, 8 * random.usize(..root::SIZE as usize / 8)),
                Place(Page::Sessions(random.usize(..3)), 8 * random.usize(..2)),
                Place(Page::Files(0, random.usize(..3)), 8 * random.usize(..2)),
                Place(Page::Flbs, 8 * random.usize(..2)),
                session_word(
                    random.usize(..=last_session()),
                    8 * random.usize(..SESSION_SIZE / 8),
                ),
                file_word(
                    0,
                    random.usize(..=last_file()),
                    words[random.usize(..words.len())],
                ),
                flb_word(random.usize(..3), words[random.usize(..words.len())]),
            ];
            let place = any_of[random.usize(..any_of.len())];
            Wrong::Word(place, Value::Plus(1 << random.u32(..64)))
        };
        let mut wrong: Vec<_> = (0..=seed % 3).map(|_| word()).collect();
        // The way to each of them is still as it was.
        wrong.sort_by_key(|wrong| Reverse(wrong.depth()));
        table.add(format!("flips-{seed}"), &wrong, Due::Either);
    }
}

/// The same, and nothing wrong at all, into a kernel without live update.
fn switched_off(table: &mut Table) {
    const OFF: &str = "stage2:liveupdate=off stage3:liveupdate=on";
    const KHO_OFF: &str = "stage2:kho=off stage3:kho=on";

    for (what, params) in [("liveupdate-off", OFF), ("kho-off", KHO_OFF)] {
        let damage = table.add("", &[], Due::Off(None));
        damage.name = what.to_owned();
        damage.params = params;
    }
    for (what, place, value, field) in [
        (
            "compatible-version",
            Place(Page::Root, root::COMPATIBLE),
            Value::Plus(1 << 40),
            Some("luo_ser.compatible"),
        ),
        (
            "sessions_pa-mmio",
            Place(Page::Root, root::SESSIONS_PA),
            Value::Number(MMIO),
            Some("luo_ser.sessions_pa"),
        ),
        (
            "sessions-circle-2-0",
            Place(Page::Sessions(2), header::NEXT),
            Value::Address(Page::Sessions(0)),
            Some(NEXT),
        ),
        (
            "flbs_pa-maximum",
            Place(Page::Root, root::FLBS_PA),
            Value::Number(MAX),
            Some("luo_ser.flbs_pa"),
        ),
        // Nobody opens the device.
        (
            "files-maximum",
            session_word(0, session::FILES),
            Value::Number(MAX),
            None,
        ),
    ] {
        let name = format!("{what}-liveupdate-off");
        table.word(&name, place, value, Due::Off(field)).params = OFF;
    }
    let place = Place(Page::Root, root::SESSIONS_PA);
    let value = Value::Number(MMIO);
    let damage = table.word("sessions_pa-mmio-kho-off", place, value, Due::Off(None));
    damage.params = KHO_OFF;
}

/// What ends the next kernel before there is a program in it, if that is what is wanted. The
/// harness knows them by the ends of their names.
fn panics(table: &mut Table) {
    for (what, place, value) in [
        (
            "compatible-version",
            Place(Page::Root, root::COMPATIBLE),
            Value::Plus(1 << 40),
        ),
        (
            "files-unused-page",
            session_word(0, session::FILES),
            Value::FreePage,
        ),
    ] {
        let name = format!("{what}{PANICS}");
        table.word(&name, place, value, Due::Either).params = "stage2:liveupdate.damaged=panic";
    }
}

/// Where KHO says that the root record is; known in a kernel that did not come with a kexec.
pub fn root_record_address() -> Result<u64> {
    let fdt = preserved::tree()?;
    // A node called LUO, and two properties of 8 bytes each, behind 12 of their own: the address,
    // and the size.
    let node = b"\0\0\0\x01LUO\0";
    let at = fdt.windows(node.len()).position(|it| it == node);
    let values = at.and_then(|at| fdt.get(at + node.len()..)).into_iter();
    values
        .flat_map(|properties| properties.chunks_exact(20).take(2))
        .filter_map(|property| Some(u64::from_ne_bytes(*property.last_chunk()?)))
        .find(|value| value % *PAGE as u64 == 0)
        .context("KHO preserves no LUO")
}
