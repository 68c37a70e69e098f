// SPDX-License-Identifier: GPL-2.0

//! Named sessions: groups of preserved files, each behind a file descriptor.
//!
//! A session of this kernel takes files to preserve; closing it undoes that. A session of the
//! previous kernel gives files back; closing it releases what is left. These are two types,
//! [`Session<Outgoing>`] and [`Session<Incoming>`], and what is senseless for one of them does not
//! exist there. Only the ioctls, which know nothing of types, answer it with `EINVAL`.
//!
//! # Locking
//!
//! Outermost first; lockdep knows each by the name given here.
//!
//! 1. `luo_gate`, a `rw_semaphore`. Whoever changes a session holds it to read. The reboot holds it
//!    to write, and keeps it for good if it succeeds.
//! 2. `luo_outgoing`, `luo_incoming`: mutexes, one for each table of sessions. Taken to add, find
//!    and remove a session, and for the whole of a reboot or a restore.
//! 3. `luo_session`, a mutex in each session, for the places of its files. It is held while handlers
//!    freeze, unfreeze and unpreserve, when nobody else can want it. While one preserves, retrieves
//!    or finishes a file, that is out of its place instead, others may be at work on other files,
//!    and who wants the same file waits until it is back.
//! 4. `luo_registry`, a `rw_semaphore`: the handlers and FLBs of the [`Registry`]. Held to read, it
//!    is around a handler's `can_preserve`, an FLB's `preserve`, and those of its callbacks that
//!    come with a file of the previous kernel.
//! 5. `luo_flb_outgoing`, `luo_flb_incoming`: mutexes, two in each FLB. Its callbacks are called
//!    under them.
//!
//! Only the gate is held to read while a handler preserves or retrieves: the reboot waits for it.
//!
//! The spinlocks `luo_ids` and the mutexes `luo_flb_once` and `luo_handed_over` of the [`Registry`]
//! are innermost: nothing is taken under them.
//!
//! None is held while user memory is read or written, which takes as long as whoever serves a page
//! of it likes.
//!
//! C source: `kernel/liveupdate/luo_session.c`.

use crate::{
    abi::{
        block::C_MAX_BLOCKS,
        format::{
            self,
            Format, //
        },
        name::Name,
        put,
        record as wire,
        uapi::{
            self,
            Request as _, //
        },
        until_nul,
        Escaped, //
    },
    block::BlockSet,
    callbacks::trace,
    handover::{
        HandOver,
        Refused,
        SessionRecord,
        Standing, //
    },
    luo_file::{
        IncomingFiles,
        OutgoingFiles,
        Registry,
        SessionFiles, //
    },
    table::{
        Keyed,
        Table, //
    }, //
};
use kernel::{
    fmt,
    fs::{
        anon_inode::{
            AnonFile,
            Ioctl,
            Operations, //
        },
        file::{
            flags::{
                O_CLOEXEC,
                O_RDWR, //
            },
            FileDescriptorReservation, //
        }, //
    },
    ioctl::_IOC_NR,
    kho::{
        Preserved,
        Published, //
    },
    module_ref::BuiltIn,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::BStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        rw_semaphore::{
            new_rw_semaphore,
            RwSemaphore, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    types::ScopeGuard,
    uaccess::extensible::Argument, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/session.rs"]
pub(crate) mod tests;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/alloc.rs"]
mod alloc_tests;

/// What differs between sessions of this and of the previous kernel.
pub(crate) trait Direction: Sized + 'static {
    /// The files of a session.
    type Files: SessionFiles + Send + Sync;

    /// What else there is to know of a session.
    type State: Send + Sync;

    /// What it is called in what is shown.
    const NAME: &'static str;

    /// How far a session has come, in a word.
    fn state(session: &Session<Self>) -> &'static str;

    /// The first session at a position of `sessions` or behind it, and its own. Those of a session
    /// are in the order of creation, and stay what they are.
    ///
    /// Returns `EBUSY` while a reboot freezes them, which takes as long as their drivers like. May
    /// sleep.
    fn next(sessions: &Sessions, position: u64) -> Result<Option<(u64, Arc<Session<Self>>)>>;

    /// Answers an ioctl that exists in one direction only.
    fn ioctl(session: &Session<Self>, ioctl: &Ioctl, arg: &Argument) -> Result;

    /// The last file descriptor of the session was closed.
    fn close(session: &Arc<Session<Self>>);
}

/// Sessions of this kernel, to be handed over.
pub(crate) enum Outgoing {}

/// Sessions of the previous kernel.
pub(crate) enum Incoming {}

/// A session.
#[pin_data]
pub(crate) struct Session<D: Direction> {
    sessions: &'static Sessions,
    state: D::State,
    #[pin]
    files: D::Files,
}

impl<D: Direction> Session<D> {
    fn new(
        sessions: &'static Sessions,
        state: D::State,
        files: impl PinInit<D::Files>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                sessions,
                state,
                files <- files,
            }),
            GFP_KERNEL,
        )
    }

    /// Shows it in a line: its name, how far it has come, the number of its files. May sleep.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Escaped(self.name().as_bytes());
        let state = D::state(self);
        let count = self.files.len();

        f.write_fmt(fmt!("{name}\t{state}\t{count}\n"))
    }

    /// What it is called.
    fn name(&self) -> &Name {
        self.files.session()
    }

    /// Answers an ioctl of a session's file descriptor.
    ///
    /// Returns `EINVAL` if the number is not one of a session's, `EFAULT` if the argument cannot be
    /// read, `ENOTTY` if the command is not the one of that number, `EINVAL` if it is for sessions
    /// of the other direction, and else what the command returns.
    pub(crate) fn ioctl(&self, ioctl: &Ioctl) -> Result {
        if !uapi::SESSION_NUMBERS.contains(&_IOC_NR(ioctl.cmd())) {
            return Err(EINVAL);
        }

        let arg = Argument::new(ioctl.arg())?;

        match ioctl.cmd() {
            uapi::GetName::CMD => self.get_name(&arg),
            _ => D::ioctl(self, ioctl, &arg),
        }
    }

    /// Makes a file of it, which `/proc` shows under its name.
    ///
    /// Returns `ENOMEM` or `ENFILE`. May sleep.
    fn new_file(session: &Arc<Self>) -> Result<AnonFile<Self>> {
        const PREFIX: &[u8] = b"[luo_session] ";

        // The name has at most 63 bytes, so at least one NUL is left behind it.
        let mut name = [0; PREFIX.len() + uapi::NAME_LENGTH];
        let (prefix, rest) = name.split_at_mut(PREFIX.len());
        put(prefix, PREFIX);
        put(rest, session.name().as_bytes());

        AnonFile::new(&name, O_RDWR, session.clone())
    }

    fn get_name(&self, arg: &Argument) -> Result {
        let mut request: uapi::GetName = arg.read()?;

        if request.reserved != 0 {
            return Err(EINVAL);
        }
        request.name = self.name().to_field();

        arg.respond(&request)
    }
}

#[vtable]
impl<D: Direction> Operations for Session<D> {
    type Ptr = Arc<Self>;
    type OwnerModule = BuiltIn;

    fn ioctl(session: ArcBorrow<'_, Self>, ioctl: &Ioctl) -> Result<i32> {
        Session::ioctl(&session, ioctl).map(|()| 0)
    }

    fn release(session: Arc<Self>) {
        D::close(&session);
    }

    fn show_fdinfo(session: ArcBorrow<'_, Self>, seq: &SeqFile) {
        let name = Escaped(session.name().as_bytes());

        seq_print!(seq, "luo-session:\t{name}\n");
        seq_print!(seq, "luo-direction:\t{}\n", D::NAME);
        seq_print!(seq, "luo-state:\t{}\n", D::state(&session));
        seq_print!(seq, "luo-files:\t{}\n", session.files.len());
        session.files.show(seq);
    }
}

impl<D: Direction> Keyed for Arc<Session<D>> {
    type Key = Name;

    fn key(&self) -> &Name {
        self.name()
    }
}

impl Direction for Outgoing {
    type Files = OutgoingFiles;
    /// How many sessions were created before it.
    type State = u64;

    const NAME: &'static str = "outgoing";

    fn state(_session: &Session<Self>) -> &'static str {
        "created"
    }

    fn next(sessions: &Sessions, position: u64) -> Result<Option<(u64, Arc<Session<Self>>)>> {
        let outgoing = match sessions.gate.try_read() {
            Some(_gate) => sessions.outgoing.lock(),
            // A reboot that has frozen them keeps the gate for good.
            None => sessions.outgoing.try_lock().ok_or(EBUSY)?,
        };
        let found = outgoing.sessions.first_not(|it| it.state < position);

        Ok(found.map(|session| (session.state, session.clone())))
    }

    #[inline]
    fn ioctl(session: &Session<Self>, ioctl: &Ioctl, arg: &Argument) -> Result {
        match ioctl.cmd() {
            uapi::PreserveFd::CMD => session.preserve(ioctl, arg),
            uapi::RetrieveFd::CMD | uapi::Finish::CMD => Err(EINVAL),
            _ => Err(ENOIOCTLCMD),
        }
    }

    fn close(session: &Arc<Session<Self>>) {
        let _gate = session.sessions.gate.read();

        // The name stays taken until everything is undone.
        session.files.clear();
        trace::luo_session_close(session.name(), &Ok(()));
        session.sessions.outgoing.lock().remove(session);
    }
}

impl Session<Outgoing> {
    fn preserve(&self, ioctl: &Ioctl, arg: &Argument) -> Result {
        let request: uapi::PreserveFd = arg.read()?;
        let gate = self.sessions.gate.read();

        self.files
            .preserve(&self.sessions.registry, request.token, || {
                ioctl.fget(request.fd)
            })?;
        drop(gate);

        arg.respond(&request).inspect_err(|_| {
            pr_warn!(
                "token {:#x} is preserved, but its owner could not be told\n",
                request.token
            )
        })
    }
}

impl Direction for Incoming {
    type Files = IncomingFiles;
    /// Whether somebody has a file descriptor of it.
    type State = Atomic<bool>;

    const NAME: &'static str = "incoming";

    fn state(session: &Session<Self>) -> &'static str {
        if session.files.is_finished() {
            "finished"
        } else if session.state.load(Acquire) {
            "retrieved"
        } else {
            "waiting"
        }
    }

    fn next(sessions: &Sessions, position: u64) -> Result<Option<(u64, Arc<Session<Self>>)>> {
        let incoming = sessions.incoming.lock();
        // None is ever added, so their places stay what they are.
        let found = incoming.sessions.next(position as usize);

        Ok(found.map(|(place, session)| (place as u64, session.clone())))
    }

    #[inline]
    fn ioctl(session: &Session<Self>, ioctl: &Ioctl, arg: &Argument) -> Result {
        match ioctl.cmd() {
            uapi::RetrieveFd::CMD => session.retrieve(arg),
            uapi::Finish::CMD => session.finish(arg),
            uapi::PreserveFd::CMD => Err(EINVAL),
            _ => Err(ENOIOCTLCMD),
        }
    }

    fn close(session: &Arc<Session<Self>>) {
        let sessions = session.sessions;
        let _gate = sessions.gate.read();
        let finished = session.files.finish(&sessions.registry);

        trace::luo_session_close(session.name(), &finished);
        if finished.is_ok() {
            sessions.incoming.lock().remove(session);
        } else {
            pr_warn!(
                "session '{}' cannot finish yet, it can be retrieved again\n",
                BStr::from_bytes(session.name().as_bytes())
            );
            session.state.store(false, Release);
        }
    }
}

impl Session<Incoming> {
    /// Makes a session of what was handed over.
    ///
    /// Returns `ENOENT` if the handler of a file is not there, `ENOMEM`. May sleep.
    fn adopt(sessions: &'static Sessions, record: &SessionRecord) -> Result<Arc<Self>> {
        let files = IncomingFiles::adopt(&sessions.registry, record.name, &record.files)?;

        Session::new(sessions, Atomic::new(false), files)
    }

    fn retrieve(&self, arg: &Argument) -> Result {
        let mut request: uapi::RetrieveFd = arg.read()?;
        let gate = self.sessions.gate.read();
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let file = self
            .files
            .retrieve(&self.sessions.registry, request.token)?;
        drop(gate);

        request.fd = fd.reserved_fd() as i32;
        arg.respond(&request)?;
        fd.fd_install(file);

        Ok(())
    }

    fn finish(&self, arg: &Argument) -> Result {
        let request: uapi::Finish = arg.read()?;
        let gate = self.sessions.gate.read();

        if request.reserved != 0 {
            return Err(EINVAL);
        }
        let finished = self.files.finish(&self.sessions.registry);
        drop(gate);

        trace::luo_session_finish(self.name(), &finished);
        finished?;

        arg.respond(&request)
    }
}

/// A session that somebody has from now on; nobody, once this is dropped.
type Retrieved = ScopeGuard<Arc<Session<Incoming>>, fn(Arc<Session<Incoming>>)>;

/// Sessions in the order of their creation, by name.
type ByName<D> = Table<Arc<Session<D>>>;

/// The root blob, what stands in it without sessions, and what it points to from the beginning.
struct Root {
    blob: Published<[u8]>,
    content: format::Root,
    flbs: Preserved<wire::FlbPage>,
}

/// The sessions of this kernel.
///
/// # Invariants
///
/// `blocks` has room for all sessions and no block to spare.
struct OutgoingTable {
    format: &'static dyn Format,
    sessions: ByName<Outgoing>,
    blocks: BlockSet<wire::Session>,
    root: Option<Root>,
    /// How many sessions were created.
    created: u64,
}

impl OutgoingTable {
    fn new(format: &'static dyn Format) -> Self {
        Self {
            format,
            sessions: Table::new(),
            blocks: BlockSet::new(format.session_block_size()),
            root: None,
            created: 0,
        }
    }

    fn add(&mut self, sessions: &'static Sessions, name: &Name) -> Result<Arc<Session<Outgoing>>> {
        let count = self.sessions.len();

        // The arrays are kept when there are fewer again.
        self.sessions.reserve(1)?;
        self.blocks.reserve(count + 1)?;
        self.sessions
            .vacant(name)
            .and_then(|vacant| {
                let vacant = vacant.ok_or(EEXIST)?;
                let files = OutgoingFiles::new(*name, self.format.file_block_size());
                let session = Session::new(sessions, self.created, files)?;

                vacant.insert(session.clone())?;
                self.created += 1;
                Ok(session)
            })
            .inspect_err(|_| self.blocks.shrink(count))
    }

    fn remove(&mut self, session: &Session<Outgoing>) {
        if self.sessions.remove(session.name()).is_some() {
            self.blocks.shrink(self.sessions.len());
        }
    }

    /// Freezes and writes all sessions in the order of their creation, or none.
    fn serialize(&mut self, registry: &Registry) -> Result {
        let root = self.root.as_mut().ok_or(ENODEV)?;
        let mut frozen = 0;
        let mut too_long = false;

        let frozen_all = self.sessions.iter().try_for_each(|session| {
            let name = session.name().to_field();
            let file_set = session.files.freeze()?;

            frozen += 1;
            // A block has one file at least.
            too_long |= file_set.count > C_MAX_BLOCKS as u64 && session.files.exceeds_c();
            self.blocks
                .write(frozen - 1, wire::Session { name, file_set })
        });
        let written = frozen_all.and_then(|()| {
            let sessions_pa = self.blocks.head();
            let content = format::Root {
                sessions_pa,
                ..root.content
            };

            self.format.write(&mut root.blob, &content)
        });

        if let Err(err) = written {
            let others = self.sessions.len() - frozen;

            for session in self.sessions.iter().rev().skip(others) {
                session.files.unfreeze();
            }
            self.blocks.clear();
            return Err(err);
        }

        if too_long || self.blocks.exceeds_c() {
            pr_warn!("more than {C_MAX_BLOCKS} blocks in a chain: the next kernel must not be C\n");
        }
        registry.serialize_flbs(&mut root.flbs);

        Ok(())
    }
}

/// What has become of the sessions that the previous kernel handed over.
enum Stage {
    /// Nobody has opened the device.
    HandedOver,
    /// They could not be restored so far.
    Waiting(Table<SessionRecord>),
    /// They are here.
    Restored,
}

/// The sessions of the previous kernel.
struct IncomingTable {
    stage: Stage,
    sessions: ByName<Incoming>,
    /// The compatible strings without a handler that the log was told of.
    told: KVec<[u8; 48]>,
}

impl IncomingTable {
    /// How many compatible strings without a handler the log is told of, at most.
    const TOLD: usize = 16;

    /// Makes sessions of what was handed over, all or none.
    fn restore(&mut self, sessions: &'static Sessions) -> Result {
        if let Stage::HandedOver = self.stage {
            let mut handed_over = sessions.registry.handed_over.lock();

            self.stage = Stage::Waiting(handed_over.contents()?.take_sessions());
            // If there was no memory to read them before.
            handed_over.release();
        }
        let Stage::Waiting(records) = &self.stage else {
            return Ok(());
        };

        trace::luo_restore_begin(records.len());
        let restored = records.try_map(|record| Session::adopt(sessions, record));
        let result = restored.as_ref().map(|_| ()).map_err(|err| *err);
        trace::luo_restore_end(records.len(), &result);

        match restored {
            Ok(table) => {
                self.sessions = table;
                self.stage = Stage::Restored;
                self.told = KVec::new();
                Ok(())
            }
            Err(ENOENT) => {
                Self::tell(&mut self.told, records, &sessions.registry)?;
                Err(EIO)
            }
            Err(err) => Err(err),
        }
    }

    /// Tells the log, once, which compatible strings of files nobody here knows.
    fn tell(
        told: &mut KVec<[u8; 48]>,
        records: &Table<SessionRecord>,
        registry: &Registry,
    ) -> Result {
        let files = records
            .iter()
            .flat_map(|record| record.files.iter().map(move |file| (&record.name, file)));

        for (session, file) in files.filter(|(_, file)| !registry.has_handler_of(file)) {
            let compatible = until_nul(&file.compatible).unwrap_or_default();

            // What stands behind the NUL is of no meaning.
            if told.len() >= Self::TOLD || told.iter().any(|it| until_nul(it) == Some(compatible)) {
                continue;
            }
            told.push(file.compatible, GFP_KERNEL)?;

            let handler = BStr::from_bytes(compatible);
            let token = file.token;
            let refused = Refused {
                session: Some(session),
                why: fmt!("no file handler '{handler}' for token {token:#x}"),
            };

            refused.tell("luo_file_ser", "compatible");
        }

        Ok(())
    }

    fn remove(&mut self, session: &Session<Incoming>) {
        self.sessions.remove(session.name());
        if self.sessions.len() == 0 {
            // There will be none again.
            self.sessions = Table::new();
        }
    }
}

/// All sessions, and what they share.
#[pin_data]
pub(crate) struct Sessions {
    #[pin]
    gate: RwSemaphore<()>,
    #[pin]
    outgoing: Mutex<OutgoingTable>,
    #[pin]
    incoming: Mutex<IncomingTable>,
    /// The handlers of their files.
    #[pin]
    pub(crate) registry: Registry,
}

impl Sessions {
    /// Starts without sessions but those in `handed_over`. Its own will be handed over in `format`.
    pub(crate) fn new(format: &'static dyn Format, handed_over: HandOver) -> impl PinInit<Self> {
        pin_init!(Self {
            gate <- new_rw_semaphore!((), "luo_gate"),
            outgoing <- new_mutex!(OutgoingTable::new(format), "luo_outgoing"),
            incoming <- new_mutex!(
                IncomingTable {
                    stage: Stage::HandedOver,
                    sessions: Table::new(),
                    told: KVec::new(),
                },
                "luo_incoming"
            ),
            registry <- Registry::new(handed_over),
        })
    }

    /// Publishes where the next kernel begins to read: `liveupdate_num`, and no sessions so far.
    ///
    /// Returns `ENOMEM`, or what KHO answers. May sleep.
    pub(crate) fn publish(&self, liveupdate_num: u64) -> Result {
        let mut table = self.outgoing.lock();
        let mut flbs: Preserved<wire::FlbPage> = Preserved::new()?;
        let mut blob = Preserved::zeroed(table.format.blob_size())?;
        let content = format::Root {
            liveupdate_num,
            sessions_pa: 0,
            flbs_pa: flbs.phys(),
        };

        // Room for the first sessions, so that to create one takes no memory for these.
        table.sessions.reserve(256)?;
        table.blocks.expect_blocks(16)?;

        flbs.header.pgcnt = 1;
        table.format.write(&mut blob, &content)?;
        table.root = Some(Root {
            blob: blob.publish(format::KHO_ENTRY)?,
            content,
            flbs,
        });
        Ok(())
    }

    /// Restores the sessions of the previous kernel, if that has not been done.
    ///
    /// Returns `EIO`, ever after, if they cannot be believed; `EIO` if the handler of a file is not
    /// there, `ENOMEM`: then they wait for the next try. May sleep.
    pub(crate) fn restore(&'static self) -> Result {
        self.incoming.lock().restore(self)
    }

    /// Creates a session: `LIVEUPDATE_IOCTL_CREATE_SESSION`.
    ///
    /// Returns `EMFILE` without room for its file descriptor, `ENFILE` without room for its file,
    /// `EINVAL` if the name is empty or too long, what [`Argument`] returns, `EEXIST` if the name is
    /// taken, `ENOMEM`; then there is no session. May sleep.
    pub(crate) fn create(&'static self, arg: &Argument) -> Result {
        let mut request: uapi::CreateSession = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let name = Name::new(&request.name).ok_or(EINVAL)?;

        // The answer comes first, so that no session is handed over whose owner was not told.
        request.fd = fd.reserved_fd() as i32;
        arg.respond(&request)?;

        let _gate = self.gate.read();
        let created = self.create_file(&name).map(|file| file.install(fd));

        trace::luo_session_create(&name, &created);
        created
    }

    /// Creates a session, and a file of it. Without the file, there is no session.
    fn create_file(&'static self, name: &Name) -> Result<AnonFile<Session<Outgoing>>> {
        let session = self.outgoing.lock().add(self, name)?;

        Session::new_file(&session).inspect_err(|_| self.outgoing.lock().remove(&session))
    }

    /// Retrieves a session of the previous kernel: `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
    ///
    /// Returns `EMFILE` without room for its file descriptor, `ENFILE` without room for its file,
    /// `ENOENT` if there is no session of that name, `EINVAL` if somebody has it already, `ENOMEM`,
    /// and what [`Argument`] returns; then it can be retrieved still. May sleep.
    pub(crate) fn retrieve(&self, arg: &Argument) -> Result {
        let mut request: uapi::RetrieveSession = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let name = Name::new(&request.name).ok_or(ENOENT)?;

        request.fd = fd.reserved_fd() as i32;
        let retrieved = self.retrieve_file(&name).and_then(|(session, file)| {
            arg.respond(&request)?;
            file.install(fd);
            session.dismiss();
            Ok(())
        });

        trace::luo_session_retrieve(&name, &retrieved);
        retrieved
    }

    /// Makes a file of a session that nobody has.
    fn retrieve_file(&self, name: &Name) -> Result<(Retrieved, AnonFile<Session<Incoming>>)> {
        let _gate = self.gate.read();
        let session = self
            .incoming
            .lock()
            .sessions
            .get(name)
            .cloned()
            .ok_or(ENOENT)?;

        if session.state.xchg(true, Acquire) {
            return Err(EINVAL);
        }

        let session: Retrieved = ScopeGuard::new_with_data(session, |session| {
            session.state.store(false, Release);
        });
        let file = Session::new_file(&session)?;

        Ok((session, file))
    }

    /// Writes down all sessions of this kernel, for the next one to read; `carried` is whether the
    /// image of the next kernel will get to see them.
    ///
    /// On success no session can be changed any more. On failure all can, and nothing is written.
    ///
    /// Returns `ENOEXEC` if there are sessions and they are not carried, or what the handler of a
    /// file answered to its `freeze`. May sleep.
    pub(crate) fn serialize(&self, carried: bool) -> Result {
        let gate = self.gate.write();
        let mut outgoing = self.outgoing.lock();

        if !carried && outgoing.sessions.len() > 0 {
            pr_err!(
                "the loaded image cannot carry {} sessions: load it by kexec_file_load() (kexec -s), for pages of {} KiB\n",
                outgoing.sessions.len(),
                PAGE_SIZE >> 10
            );
            return Err(ENOEXEC);
        }
        trace::luo_serialize_begin(outgoing.sessions.len());
        let serialized = outgoing.serialize(&self.registry);
        trace::luo_serialize_end(outgoing.sessions.len(), &serialized);
        serialized?;

        drop(outgoing);
        gate.keep();

        Ok(())
    }

    /// Writes what has become of what the previous kernel handed over. May sleep.
    pub(crate) fn write_handed_over(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let incoming = self.incoming.lock();

        match (self.registry.handed_over.lock().standing(), &incoming.stage) {
            (Standing::Nothing, _) => f.write_str("none"),
            (Standing::Refused(refused), _) => f.write_fmt(fmt!("{refused}")),
            (Standing::Something, Stage::Restored) => f.write_str("restored"),
            (Standing::Something, _) => f.write_str("pending"),
        }
    }
}
