// SPDX-License-Identifier: GPL-2.0

//! Tests of everything that reads a hand-over, with one that is damaged in each field by each kind
//! of value, and by flipped bits: what breaks a rule is refused for that, the rest is taken for
//! what it says.
//!
//! The rules are stated here once more, as `Documentation/abi.rst` has them, over the bare words of
//! memory. They do not stop at the first that is broken: which one is found first is the reader's
//! business.

use super::*;
use crate::{
    abi::format::Field,
    block::tests::{
        Pages,
        FILES_PER_BLOCK,
        FLBS_ON_A_PAGE,
        SESSIONS_PER_BLOCK, //
    },
    handover::tests::contents_from_root,
    luo_file::tests::Meaning as Files,
    luo_session::tests::{
        logged,
        meaning,
        orchestrator, //
    },
    mock::Random, //
};
use kernel::{
    fmt,
    page::PAGE_SIZE,
    str::CString, //
};

/// How many words a page has.
const WORDS: usize = PAGE_SIZE / size_of::<u64>();

// The pages, and what is on them.
const ROOT: usize = 0;
const FLBS: usize = 1;
const SESSIONS: [usize; 3] = [2, 3, 4];
const FILES_OF_A: [usize; 3] = [5, 6, 7];
const FILES_OF_B: usize = 8;
const FILES_OF_E: usize = 9;
const PAGES: usize = 10;

// Sizes in words.
const HEADER: usize = 2;
const SESSION: usize = 10;
const FILE: usize = 8;
const FLB: usize = 8;

/// How many entries there is room for.
const SESSIONS_ROOM: u64 = SESSIONS_PER_BLOCK as u64;
const FILES_ROOM: u64 = FILES_PER_BLOCK as u64;
const FLBS_ROOM: u64 = FLBS_ON_A_PAGE as u64;

const VERSION: u64 = u64::from_le_bytes(*b"luo-v5\0\0");
const HANDLER: u64 = u64::from_le_bytes(*b"kunit\0\0\0");

const NEXT: Field = ("kho_block_header_ser", "next");
const COUNT: Field = ("kho_block_header_ser", "count");
const SET_FILES: Field = ("luo_file_set_ser", "files");
const SET_COUNT: Field = ("luo_file_set_ser", "count");
const NAME: Field = ("luo_session_ser", "name");
const COMPATIBLE: Field = ("luo_file_ser", "compatible");
const TOKEN: Field = ("luo_file_ser", "token");
const DATA: Field = ("luo_file_ser", "data");
const FLB_NAME: Field = ("luo_flb_ser", "name");
const FLB_DATA: Field = ("luo_flb_ser", "data");
const FLB_FILES: Field = ("luo_flb_ser", "count");

/// Where a field is: a page, and a word of it.
type At = (usize, usize);

/// A hand-over, word by word.
struct HandOver {
    words: KVVec<[u64; WORDS]>,
    /// What KHO says: where the root record is, and how large.
    entry: (u64, usize),
    /// All fields.
    fields: KVec<(Field, At)>,
}

impl HandOver {
    /// A sound one: sessions a and b, c and d, e; four files of a, two of b, one of e; three FLBs.
    fn sound() -> Result<Self> {
        let mut this = Self {
            // Not `from_elem()`: code that is not optimised would copy pages onto its stack.
            words: KVVec::zeroed(PAGES, GFP_KERNEL)?,
            entry: (Pages::phys(ROOT), 32),
            fields: KVec::new(),
        };

        this.set(("luo_ser", "compatible"), (ROOT, 0), VERSION)?;
        this.set(("luo_ser", "liveupdate_num"), (ROOT, 1), 1)?;
        this.set(
            ("luo_ser", "sessions_pa"),
            (ROOT, 2),
            Pages::phys(SESSIONS[0]),
        )?;
        this.set(("luo_ser", "flbs_pa"), (ROOT, 3), Pages::phys(FLBS))?;

        this.set(("luo_flb_header_ser", "pgcnt"), (FLBS, 0), 1)?;
        this.set(("luo_flb_header_ser", "count"), (FLBS, 1), 3)?;
        for (flb, name) in (0..3).zip(u64::from(b'x')..) {
            let at = HEADER + flb * FLB;

            this.set(FLB_NAME, (FLBS, at), name)?;
            this.set(FLB_DATA, (FLBS, at + 6), 7000 + name)?;
            this.set(FLB_FILES, (FLBS, at + 7), 1 + flb as u64)?;
        }

        this.link(&SESSIONS, &[2, 2, 1])?;
        for (session, files, count) in [
            (0, Some(FILES_OF_A[0]), 4),
            (1, Some(FILES_OF_B), 2),
            (2, None, 0),
            (3, None, 0),
            (4, Some(FILES_OF_E), 1),
        ] {
            let page = SESSIONS[session / 2];
            let at = HEADER + session % 2 * SESSION;

            this.set(NAME, (page, at), u64::from(b'a') + session as u64)?;
            this.set(SET_FILES, (page, at + 8), files.map_or(0, Pages::phys))?;
            this.set(SET_COUNT, (page, at + 9), count)?;
        }

        this.files(&FILES_OF_A, &[2, 1, 1])?;
        this.files(&[FILES_OF_B], &[2])?;
        this.files(&[FILES_OF_E], &[1])?;
        Ok(this)
    }

    fn set(&mut self, field: Field, (page, word): At, value: u64) -> Result {
        self.words[page][word] = value;
        Ok(self.fields.push((field, (page, word)), GFP_KERNEL)?)
    }

    fn link(&mut self, pages: &[usize], counts: &[u64]) -> Result {
        for (block, (&page, &count)) in pages.iter().zip(counts).enumerate() {
            let next = pages.get(block + 1).map_or(0, |&page| Pages::phys(page));

            self.set(NEXT, (page, 0), next)?;
            self.set(COUNT, (page, 1), count)?;
        }
        Ok(())
    }

    fn files(&mut self, pages: &[usize], counts: &[u64]) -> Result {
        let mut token = 0;

        self.link(pages, counts)?;
        for (&page, &count) in pages.iter().zip(counts) {
            for file in 0..count as usize {
                let at = HEADER + file * FILE;

                token += 1;
                self.set(COMPATIBLE, (page, at), HANDLER)?;
                self.set(DATA, (page, at + 6), page as u64 * 1000 + token)?;
                self.set(TOKEN, (page, at + 7), token)?;
            }
        }
        Ok(())
    }

    /// All places of a field.
    fn all(&self, field: Field) -> impl Iterator<Item = At> + '_ {
        self.fields
            .iter()
            .filter_map(move |&(it, at)| (it == field).then_some(at))
    }
}

/// What a hand-over says.
#[derive(Default, PartialEq)]
struct Meaning {
    sessions: luo_session::tests::Meaning,
    flbs: luo_flb::tests::Meaning,
}

/// The rules, applied to a hand-over.
struct Rules<'a> {
    words: &'a [[u64; WORDS]],
    broken: KVec<Field>,
    blocks: KVec<u64>,
}

/// The bytes of a field of words, up to their NUL.
fn string(words: &[u64]) -> Result<Option<KVec<u8>>> {
    let mut text = KVec::new();

    for byte in words.iter().flat_map(|word| word.to_le_bytes()) {
        if byte == 0 {
            return Ok(Some(text));
        }
        text.push(byte, GFP_KERNEL)?;
    }
    Ok(None)
}

impl<'a> Rules<'a> {
    /// What the hand-over means, and which rules it breaks.
    fn apply(hand_over: &'a HandOver) -> Result<(Meaning, KVec<Field>)> {
        let mut rules = Self {
            words: &hand_over.words,
            broken: KVec::new(),
            blocks: KVec::new(),
        };
        let meaning = rules.root(hand_over.entry)?;

        Ok((meaning, rules.broken))
    }

    fn require(&mut self, ok: bool, field: Field) -> Result<bool> {
        if !ok {
            self.broken.push(field, GFP_KERNEL)?;
        }
        Ok(ok)
    }

    fn page(&self, phys: u64) -> Option<&'a [u64; WORDS]> {
        let index = (0..self.words.len()).find(|&index| Pages::phys(index) == phys)?;

        self.words.get(index)
    }

    fn root(&mut self, (phys, size): (u64, usize)) -> Result<Meaning> {
        let mut meaning = Meaning::default();

        self.require(size >= 32, ("LUO", "blob-size"))?;
        let Some(root) = self.page(phys) else {
            self.require(false, ("LUO", "preserved-data"))?;
            return Ok(meaning);
        };
        if self.require(root[0] == VERSION, ("luo_ser", "compatible"))? {
            meaning.flbs = self.flbs(root[3])?;
            meaning.sessions = self.sessions(root[2])?;
        }
        Ok(meaning)
    }

    fn flbs(&mut self, phys: u64) -> Result<luo_flb::tests::Meaning> {
        let mut flbs = luo_flb::tests::Meaning::new();

        if phys == 0 {
            return Ok(flbs);
        }
        let Some(page) = self.page(phys) else {
            self.require(false, ("luo_ser", "flbs_pa"))?;
            return Ok(flbs);
        };
        self.require(page[0] == 1, ("luo_flb_header_ser", "pgcnt"))?;
        if !self.require(page[1] <= FLBS_ROOM, ("luo_flb_header_ser", "count"))? {
            return Ok(flbs);
        }
        for entry in page[HEADER..].chunks_exact(FLB).take(page[1] as usize) {
            let name = string(&entry[..6])?.unwrap_or_default();
            let known = flbs.iter().any(|(it, _, _)| *it == name);

            self.require(!name.is_empty() && !known, FLB_NAME)?;
            self.require((1..1 << 32).contains(&entry[7]), FLB_FILES)?;
            flbs.push((name, entry[6], entry[7]), GFP_KERNEL)?;
        }
        Ok(flbs)
    }

    /// The entries of a chain of blocks, if that is sound.
    fn linked<const SIZE: usize>(
        &mut self,
        mut link: Field,
        mut phys: u64,
        room: u64,
    ) -> Result<Option<KVec<&'a [u64]>>> {
        let first = self.blocks.len();
        let broken = self.broken.len();
        let mut entries = KVec::new();

        while phys != 0 {
            let circle = self.blocks[first..].contains(&phys);
            let Some(block) = self.page(phys).filter(|_| !circle) else {
                self.require(false, link)?;
                break;
            };
            let [next, count, ..] = *block;
            let may_be_empty = next == 0 && self.blocks.len() > first;

            if !self.require(count <= room && (count > 0 || may_be_empty), COUNT)? {
                break;
            }
            self.require(!self.blocks[..first].contains(&phys), link)?;
            for entry in block[HEADER..].chunks_exact(SIZE).take(count as usize) {
                entries.push(entry, GFP_KERNEL)?;
            }
            self.blocks.push(phys, GFP_KERNEL)?;
            link = NEXT;
            phys = next;
        }
        Ok((self.broken.len() == broken).then_some(entries))
    }

    fn sessions(&mut self, phys: u64) -> Result<luo_session::tests::Meaning> {
        let mut sessions = luo_session::tests::Meaning::new();
        let head = ("luo_ser", "sessions_pa");

        for entry in self
            .linked::<SESSION>(head, phys, SESSIONS_ROOM)?
            .unwrap_or_default()
        {
            let name = string(&entry[..8])?.unwrap_or_default();
            let known = sessions.iter().any(|(it, _)| *it == name);

            self.require(!name.is_empty() && !known, NAME)?;
            let files = self.file_set(entry[8], entry[9])?;
            sessions.push((name, files), GFP_KERNEL)?;
        }
        Ok(sessions)
    }

    fn file_set(&mut self, phys: u64, count: u64) -> Result<Files> {
        let mut files = Files::new();
        let Some(entries) = self.linked::<FILE>(SET_FILES, phys, FILES_ROOM)? else {
            return Ok(files);
        };

        self.require(entries.len() as u64 == count, SET_COUNT)?;
        for entry in entries {
            let compatible = string(&entry[..6])?;
            let known = files.iter().any(|&(token, _)| token == entry[7]);

            if self.require(compatible.is_some(), COMPATIBLE)? {
                let handler = string(&[HANDLER])? == compatible;

                self.require(handler, ("no file handler", ""))?;
            }
            self.require(!known, TOKEN)?;
            files.push((entry[7], entry[6]), GFP_KERNEL)?;
        }
        Ok(files)
    }
}

/// What reads hand-overs.
struct Reader {
    sessions: &'static Sessions,
    cases: usize,
    refused: usize,
}

impl Reader {
    fn new() -> Result<Self> {
        Ok(Self {
            sessions: orchestrator(crate::handover::HandOver::nothing())?.0,
            cases: 0,
            refused: 0,
        })
    }

    /// Reads a hand-over from its root record on, as a kernel that boots, and that opens the
    /// device. Nothing can be released: that takes more than a shared reference.
    fn read(&self, memory: &Pages, (phys, size): (u64, usize)) -> Result<Meaning> {
        let mut contents = contents_from_root(memory, phys, size)?;
        let sessions = meaning(self.sessions, contents.take_sessions())?;
        let flbs = luo_flb::tests::meaning(contents.flbs())?;

        Ok(Meaning { sessions, flbs })
    }

    /// Reads a hand-over, and expects it to be refused for a rule that it breaks, in one line, or
    /// to be taken for what it says. Returns whether that is so.
    fn reads(&mut self, hand_over: &HandOver) -> Result<bool> {
        let (due, broken) = Rules::apply(hand_over)?;
        let mut memory = Pages::chain(&[0; PAGES])?;
        let mut meaning = Err(ECANCELED);

        for (page, words) in hand_over.words.iter().enumerate() {
            memory.words(page, words);
        }
        let log = logged(|| meaning = self.read(&memory, hand_over.entry))?;

        self.cases += 1;
        match meaning {
            Ok(mut meaning) => {
                let sessions = &mut meaning.sessions;
                let same = sessions.len() == due.sessions.len()
                    && due.sessions.iter().all(|it| sessions.contains(it))
                    && meaning.flbs == due.flbs;

                Ok(broken.is_empty() && same && log.is_empty())
            }
            Err(err) => {
                self.refused += 1;
                let count = |text: &[u8]| log.windows(text.len()).filter(|it| *it == text).count();
                // Each of the handlers that are missing has a line of its own.
                let lines = count(b"\n") - count(b"no file handler").saturating_sub(1);
                let mut told = false;

                for (record, field) in broken {
                    let dot = if field.is_empty() { "" } else { "." };
                    let why = CString::try_from_fmt(fmt!("): {record}{dot}{field}"))?;
                    let why = why.to_bytes();

                    told |= log.windows(why.len()).any(|text| text == why);
                }
                Ok(err == EIO && lines == 1 && told)
            }
        }
    }

    /// As [`Self::reads`], and names the case in the log if it fails.
    fn check(&mut self, case: fmt::Arguments<'_>, hand_over: &HandOver) -> Result<bool> {
        let ok = self.reads(hand_over)?;

        if !ok {
            pr_err!("failed: {case}\n");
        }
        Ok(ok)
    }
}

/// Values for a word that was `old`.
fn values(old: u64) -> [(&'static str, u64); 12] {
    [
        ("zero", 0),
        ("one", 1),
        ("one more", old.wrapping_add(1)),
        ("one less", old.wrapping_sub(1)),
        ("twice", old.wrapping_mul(2)),
        ("unaligned", old.wrapping_add(8)),
        ("the next page", old.wrapping_add(Pages::APART)),
        ("maximum", u64::MAX),
        ("upper half", old ^ 1 << 63),
        ("an unused page", Pages::phys(PAGES)),
        ("beyond memory", 1 << 52),
        ("MMIO", 0xfee0_0000),
    ]
}

#[kunit_tests(luo_hostile)]
mod suite {
    use super::*;

    #[test]
    fn a_sound_hand_over_is_taken() -> Result {
        let mut reader = Reader::new()?;
        let sound = HandOver::sound()?;
        let (meaning, broken) = Rules::apply(&sound)?;

        assert!(broken.is_empty());
        assert_eq!((meaning.sessions.len(), meaning.flbs.len()), (5, 3));
        let files = meaning.sessions.iter().map(|(_, files)| files.len());
        assert!(files.eq([4, 2, 0, 0, 1]));
        assert!(reader.reads(&sound)?);
        assert_eq!(reader.refused, 0);
        Ok(())
    }

    #[test]
    fn every_field_with_every_value() -> Result {
        let mut reader = Reader::new()?;
        let mut damaged = HandOver::sound()?;
        let mut ok = true;

        for ((record, field), (page, at)) in HandOver::sound()?.fields {
            let old = damaged.words[page][at];

            for (what, value) in values(old) {
                damaged.words[page][at] = value;
                let case = fmt!("{record}.{field} at {page}/{at}: {what}, {value:#x}");
                ok &= reader.check(case, &damaged)?;
            }
            for target in 0..PAGES {
                damaged.words[page][at] = Pages::phys(target);
                let case = fmt!("{record}.{field} at {page}/{at}: page {target}");
                ok &= reader.check(case, &damaged)?;
            }
            damaged.words[page][at] = old;
        }
        assert!(ok);
        assert!(reader.cases > 1000 && reader.refused > 500);
        Ok(())
    }

    #[test]
    fn every_string_without_its_end() -> Result {
        let mut reader = Reader::new()?;
        let mut ok = true;

        for (field, words) in [(NAME, 8), (COMPATIBLE, 6), (FLB_NAME, 6)] {
            for (page, at) in HandOver::sound()?.all(field) {
                // Each byte but the last, and then the last one, too.
                for last in [0x00ff_ffff_ffff_ffff, u64::MAX] {
                    let mut damaged = HandOver::sound()?;

                    damaged.words[page][at..at + words].fill(u64::MAX);
                    damaged.words[page][at + words - 1] = last;
                    let case = fmt!("{}.{} at {page}/{at}: {last:#x}", field.0, field.1);
                    ok &= reader.check(case, &damaged)?;
                }
            }
        }
        assert!(ok);
        Ok(())
    }

    #[test]
    fn every_pair_of_equal_words() -> Result {
        let mut reader = Reader::new()?;
        let sound = HandOver::sound()?;
        let mut ok = true;

        for field in [NAME, TOKEN, FLB_NAME, SET_FILES, SET_COUNT, DATA] {
            for (from, word) in sound.all(field) {
                for (page, at) in sound.all(field) {
                    let mut damaged = HandOver::sound()?;

                    damaged.words[page][at] = sound.words[from][word];
                    let case = fmt!("{}.{} at {page}/{at} as at {from}", field.0, field.1);
                    ok &= reader.check(case, &damaged)?;
                }
            }
        }
        // Two sessions with the same files, down to their number.
        for (from, word) in sound.all(SET_FILES) {
            for (page, at) in sound.all(SET_FILES) {
                let mut damaged = HandOver::sound()?;

                for word_of in 0..2 {
                    damaged.words[page][at + word_of] = sound.words[from][word + word_of];
                }
                let case = fmt!("files at {page}/{at} as at {from}/{word}");
                ok &= reader.check(case, &damaged)?;
            }
        }
        assert!(ok);
        Ok(())
    }

    #[test]
    fn every_entry_of_kho() -> Result {
        let mut reader = Reader::new()?;
        let mut damaged = HandOver::sound()?;
        let entry = damaged.entry;
        let mut ok = true;

        for size in (0..=64).flat_map(|size| [size, size << 6, usize::MAX - size]) {
            damaged.entry = (entry.0, size);
            ok &= reader.check(fmt!("blob-size {size}"), &damaged)?;
        }
        for (what, phys) in values(entry.0) {
            damaged.entry = (phys, entry.1);
            ok &= reader.check(fmt!("preserved-data: {what}"), &damaged)?;
        }
        for page in 0..PAGES {
            damaged.entry = (Pages::phys(page), entry.1);
            ok &= reader.check(fmt!("preserved-data: page {page}"), &damaged)?;
        }
        assert!(ok);
        Ok(())
    }

    #[test]
    fn flipped_bits() -> Result {
        let mut reader = Reader::new()?;
        let fields = HandOver::sound()?.fields;
        let mut ok = true;

        for seed in 1..=700 {
            let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
            let mut damaged = HandOver::sound()?;

            for _ in 0..=random.below(3) {
                let (_, (page, at)) = fields[random.below(fields.len())];

                damaged.words[page][at] ^= 1 << random.below(64);
            }
            ok &= reader.check(fmt!("seed {seed}"), &damaged)?;
        }
        assert!(ok);
        assert_eq!(reader.cases, 700);
        assert!(reader.refused > 100 && reader.refused < 700);
        Ok(())
    }
}
