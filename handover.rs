// SPDX-License-Identifier: GPL-2.0

//! What the previous kernel handed over: found, checked and copied as a whole, or refused as a
//! whole.
//!
//! All records are read at early init, once, and nobody looks at their memory again: what others
//! get from here can be believed, and cannot change. So whoever asks, from the first driver on,
//! gets to hear one and the same verdict. There is none as long as there is no memory for the
//! copies; then whoever asks tries again.
//!
//! The memory of a hand-over that is refused is never released: nobody knows whose it is.

use crate::{
    abi::{
        format::{
            self,
            Field,
            Format, //
        },
        name::Name,
        record as wire,
        until_nul,
        Damage,
        Found, //
    },
    block::{
        damaged,
        Claimed,
        ReadError,
        Reader, //
    },
    callbacks::trace,
    table::{
        Keyed,
        Table, //
    }, //
};
use core::{
    mem,
    num::NonZeroU32, //
};
use kernel::{
    fmt,
    kho::{
        self,
        Extent,
        Memory, //
    },
    page::PAGE_SIZE,
    panic::panic,
    prelude::*,
    str::BStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/handover.rs"]
pub(crate) mod tests;

/// `liveupdate.damaged=panic` on the command line.
static PANIC: Atomic<bool> = Atomic::new(false);

/// Chooses whether a hand-over that is refused ends this kernel, before early init.
pub(crate) fn panic_if_damaged(panic: bool) {
    PANIC.store(panic, Relaxed);
}

/// A session, as it was handed over.
pub(crate) struct SessionRecord {
    /// What it is called.
    pub(crate) name: Name,
    /// Its files, by token, in the order in which they were preserved.
    pub(crate) files: Table<wire::File>,
}

impl Keyed for SessionRecord {
    type Key = Name;

    fn key(&self) -> &Name {
        &self.name
    }
}

impl Keyed for wire::File {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.token
    }
}

/// An FLB, as it was handed over.
pub(crate) struct FlbRecord {
    name: [u8; 48],
    /// What it wants to know again.
    pub(crate) data: u64,
    /// How many files still depend on it.
    pub(crate) files: NonZeroU32,
}

impl FlbRecord {
    /// Its compatible string.
    pub(crate) fn compatible(&self) -> &[u8] {
        until_nul(&self.name).unwrap_or_default()
    }
}

/// What stands in a hand-over, as far as nobody has asked for it.
pub(crate) struct Contents {
    sessions: Table<SessionRecord>,
    /// [`None`] if there was no page of FLBs.
    flbs: Option<KVec<FlbRecord>>,
    /// Where all this was, until it is released.
    pages: Claimed,
}

impl Contents {
    /// What stands in no hand-over.
    fn nothing() -> Self {
        Self {
            sessions: Table::new(),
            flbs: None,
            pages: Claimed::new(),
        }
    }

    /// Returns the sessions, once.
    pub(crate) fn take_sessions(&mut self) -> Table<SessionRecord> {
        mem::replace(&mut self.sessions, Table::new())
    }

    /// The FLBs; [`None`] if there was no page of FLBs.
    pub(crate) fn flbs(&mut self) -> Option<&mut KVec<FlbRecord>> {
        self.flbs.as_mut()
    }
}

/// What is refused and why, in a line: for the log, and for whoever asks later.
pub(crate) struct Refused<'a, T> {
    /// Where that was found, if in a session.
    pub(crate) session: Option<&'a Name>,
    /// The reason.
    pub(crate) why: T,
}

impl<T: fmt::Display> fmt::Display for Refused<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = BStr::from_bytes(self.session.map_or(b"-".as_slice(), Name::as_bytes));
        let why = &self.why;

        f.write_fmt(fmt!(
            "refused what the previous kernel handed over (session '{name}'): {why}"
        ))
    }
}

impl<T: fmt::Display> Refused<'_, T> {
    /// Tells the log, and who traces it that `field` of `record` is the reason.
    pub(crate) fn tell(&self, record: &str, field: &str) {
        pr_err!("{self}\n");
        trace::luo_refuse(self.session, record, field);
    }
}

/// Tells the log why there are no contents, if that is a verdict, and returns it; or else what this
/// kernel failed with. `session` is where that was found, if in one.
fn verdict(reason: ReadError, session: Option<Name>) -> Result<Verdict> {
    let damage = match reason {
        ReadError::Damaged(damage) => damage,
        ReadError::Kernel(err) => return Err(err),
    };
    let refused = Refused {
        session: session.as_ref(),
        why: &damage,
    };

    refused.tell(damage.record, damage.field);
    if PANIC.load(Relaxed) {
        panic(c"LUO: what the previous kernel handed over is damaged");
    }
    Ok(Verdict::Damaged(session, damage))
}

/// What has become of a hand-over.
enum Verdict {
    /// There was no memory to read it.
    None,
    /// It is sound.
    Sound(Contents),
    /// It cannot be believed, for what was found in a session, or in none.
    Damaged(Option<Name>, Damage),
}

/// What a hand-over is, as far as that is known.
pub(crate) enum Standing<'a> {
    /// There is none.
    Nothing,
    /// It is sound, or there was no memory to read it.
    Something,
    /// It cannot be believed.
    Refused(Refused<'a, &'a Damage>),
}

/// The hand-over to this kernel.
pub(crate) struct HandOver {
    memory: kho::HandedOver,
    liveupdate_num: u64,
    /// The format of the root record, if there is one that can be read.
    format: Option<&'static dyn Format>,
    verdict: Verdict,
}

impl HandOver {
    /// What KHO brought, which is still to be read.
    pub(crate) fn new(memory: kho::HandedOver) -> Self {
        Self {
            memory,
            liveupdate_num: 0,
            format: None,
            verdict: Verdict::None,
        }
    }

    /// How many live updates led to this kernel, as far as the root record could be read.
    pub(crate) fn liveupdate_num(&self) -> u64 {
        self.liveupdate_num
    }

    /// The format of what was handed over, if there is something whose root record can be read.
    pub(crate) fn format(&self) -> Option<&'static dyn Format> {
        self.format
    }

    /// What it is.
    pub(crate) fn standing(&self) -> Standing<'_> {
        match &self.verdict {
            Verdict::Damaged(session, damage) => Standing::Refused(Refused {
                session: session.as_ref(),
                why: damage,
            }),
            Verdict::Sound(_) if self.format.is_none() => Standing::Nothing,
            _ => Standing::Something,
        }
    }

    /// The contents, which are read if they were not.
    ///
    /// Returns `EIO` if they cannot be believed, `ENOMEM` if there is no memory for them: then the
    /// next one who asks may get them. May sleep.
    pub(crate) fn contents(&mut self) -> Result<&mut Contents> {
        if let Verdict::None = self.verdict {
            self.verdict = self.judge(true)?;
        }

        match &mut self.verdict {
            Verdict::Sound(contents) => Ok(contents),
            Verdict::Damaged(..) => Err(EIO),
            Verdict::None => Err(ENOMEM),
        }
    }

    /// Where live update is off: looks at the root record, the chain of sessions and the FLBs, and
    /// tells if these cannot be believed. May sleep.
    pub(crate) fn look(&mut self) {
        // Nobody will ask, so nobody misses what could not be read.
        let _ = self.judge(false);
    }

    /// Gives the memory of a sound hand-over back to the system. To be called when all struct pages
    /// are initialised.
    pub(crate) fn release(&mut self) {
        if let Verdict::Sound(contents) = &mut self.verdict {
            self.memory.release(contents.pages.iter().copied());
            contents.pages = Claimed::new();
        }
    }

    fn judge(&mut self, with_files: bool) -> Result<Verdict> {
        let mut session = None;

        self.read(with_files, &mut session)
            .map(Verdict::Sound)
            .or_else(|reason| verdict(reason, session))
    }

    fn read(
        &mut self,
        with_files: bool,
        session: &mut Option<Name>,
    ) -> Result<Contents, ReadError> {
        let memory = &self.memory;
        let (phys, size) = match memory.find(format::KHO_ENTRY) {
            Ok(found) => found,
            Err(ENOENT) => return Ok(Contents::nothing()),
            Err(_) => {
                let why = "a malformed entry of KHO";
                return damaged("LUO", "preserved-data", Found::Nothing, why);
            }
        };
        let (format, root) = read_root(memory, phys, size)?;

        self.format = Some(format);

        self.liveupdate_num = root.liveupdate_num;
        pr_info!(
            "Retrieved live update data, liveupdate number: {}\n",
            root.liveupdate_num
        );

        let mut contents = read_records(memory, format, &root, with_files, session)?;
        for page in [phys, root.flbs_pa].map(Extent::page) {
            // There may be no page of FLBs.
            if page.phys == 0 {
                continue;
            }
            if let Some(vacant) = contents.pages.vacant(&page.phys)? {
                vacant.insert(page)?;
            }
        }
        Ok(contents)
    }
}

/// Reads the root blob from the `size` bytes at the physical address `phys`, in whichever format it
/// is.
fn read_root(
    memory: &impl Memory,
    phys: u64,
    size: usize,
) -> Result<(&'static dyn Format, format::Root), ReadError> {
    // Aligned as a page is, as far as any format cares.
    let mut words = KVec::from_elem(0u64, PAGE_SIZE / size_of::<u64>(), GFP_KERNEL)?;
    let page = words.as_mut_bytes();

    if memory.copy(Extent::page(phys), 0, page).is_none() {
        let why = "not a page that was handed over";
        return damaged("LUO", "preserved-data", Found::Number(phys), why);
    }
    let blob = page.get(..size).unwrap_or(page);
    let format = format::format_of(blob);
    format
        .read(blob)
        .map(|root| (format, root))
        .map_err(ReadError::Damaged)
}

/// Reads what a root record leads to; or of that, without the files, the chain of sessions and the
/// FLBs. If it fails in a session, its name is in `session`.
fn read_records(
    memory: &impl Memory,
    format: &dyn Format,
    root: &format::Root,
    with_files: bool,
    session: &mut Option<Name>,
) -> Result<Contents, ReadError> {
    let mut reader = Reader::new(memory);
    let mut records: KVVec<wire::Session> = KVVec::new();
    let mut files = KVVec::new();
    let mut sessions = Table::new();

    reader.read_chain(
        format.session_block_size(),
        format.sessions_field(),
        root.sessions_pa,
        &mut records,
    )?;
    let flbs = read_flbs(memory, format.flbs_field(), root.flbs_pa)?;

    if with_files {
        let block_size = format.file_block_size();

        // Not more than stand on the pages that were handed over.
        sessions.reserve(records.len())?;
        for record in &records {
            *session = Name::new(&record.name);
            let set = &record.file_set;
            read_session(
                &mut reader,
                block_size,
                *session,
                set,
                &mut files,
                &mut sessions,
            )?;
        }
        *session = None;
    }

    Ok(Contents {
        sessions,
        flbs,
        pages: reader.claimed,
    })
}

/// Reads the files of a session, by way of `files`, and adds it to `sessions`; `name` is [`None`] if
/// its record has none.
fn read_session(
    reader: &mut Reader<'_, impl Memory>,
    block_size: usize,
    name: Option<Name>,
    set: &wire::FileSet,
    files: &mut KVVec<wire::File>,
    sessions: &mut Table<SessionRecord>,
) -> Result<(), ReadError> {
    let bad_name = |why| damaged("luo_session_ser", "name", Found::Nothing, why);
    let Some(name) = name else {
        return bad_name("empty, or without a NUL");
    };
    let Some(vacant) = sessions.vacant(&name)? else {
        return bad_name("a second session of this name");
    };

    reader.read_chain(block_size, ("luo_file_set_ser", "files"), set.files, files)?;
    if files.len() as u64 != set.count {
        let why = "not the number of files in the blocks";
        return damaged("luo_file_set_ser", "count", Found::Number(set.count), why);
    }

    let files = read_files(files)?;

    Ok(vacant.insert(SessionRecord { name, files })?)
}

/// Makes a table of the files of a session.
fn read_files(records: &[wire::File]) -> Result<Table<wire::File>, ReadError> {
    let mut files = Table::new();

    if !records.is_empty() {
        files.reserve(records.len())?;
    }
    for record in records {
        if until_nul(&record.compatible).is_none() {
            let why = "no NUL at its end";
            return damaged("luo_file_ser", "compatible", Found::Nothing, why);
        }
        let Some(vacant) = files.vacant(&record.token)? else {
            let why = "a second file of this token";
            return damaged("luo_file_ser", "token", Found::Number(record.token), why);
        };

        vacant.insert(*record)?;
    }

    Ok(files)
}

/// Reads the FLBs; `phys`, found in `field`, is the physical address of their page, 0 if there is
/// none.
fn read_flbs(
    memory: &impl Memory,
    field: Field,
    phys: u64,
) -> Result<Option<KVec<FlbRecord>>, ReadError> {
    const HEADER: &str = "luo_flb_header_ser";
    const FLB: &str = "luo_flb_ser";

    if phys == 0 {
        return Ok(None);
    }
    let page = Extent::page(phys);
    let not_there = || {
        let (record, field) = field;
        let why = "not a page that was handed over";

        damaged(record, field, Found::Number(phys), why)
    };
    let Some(wire::FlbHeader { pgcnt, count }) = memory.read(page) else {
        return not_there();
    };

    if pgcnt != 1 {
        return damaged(HEADER, "pgcnt", Found::Number(pgcnt), "not one page");
    }
    if count > wire::FLBS_PER_PAGE as u64 {
        let why = "more than a page holds";
        return damaged(HEADER, "count", Found::Number(count), why);
    }

    let mut flbs: KVec<FlbRecord> = KVec::with_capacity(count as usize, GFP_KERNEL)?;
    let nothing = wire::Flb {
        name: [0; 48],
        data: 0,
        count: 0,
    };
    let mut entries = KVec::from_elem(nothing, count as usize, GFP_KERNEL)?;
    let copied = memory.copy(page, size_of::<wire::FlbHeader>(), entries.as_mut_bytes());
    if copied.is_none() {
        return not_there();
    }

    for wire::Flb { name, data, count } in entries {
        if until_nul(&name).is_none_or(<[u8]>::is_empty) {
            return damaged(FLB, "name", Found::Nothing, "empty, or without a NUL");
        }
        if flbs
            .iter()
            .any(|it| Some(it.compatible()) == until_nul(&name))
        {
            return damaged(FLB, "name", Found::Nothing, "a second FLB of this name");
        }
        let Some(files) = u32::try_from(count).ok().and_then(NonZeroU32::new) else {
            let why = "nothing depends on it, or more than there can be";
            return damaged(FLB, "count", Found::Number(count), why);
        };

        flbs.push(FlbRecord { name, data, files }, GFP_KERNEL)?;
    }

    Ok(Some(flbs))
}
