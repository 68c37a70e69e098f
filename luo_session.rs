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
//! 1. `luo_gate`, a `rw_semaphore`. Whoever changes a session holds it to read, from before the
//!    change until userspace knows of it. The reboot holds it to write, and keeps it for good if it
//!    succeeds.
//! 2. `luo_outgoing`, `luo_incoming`: mutexes, one for each table of sessions. Taken to add, find
//!    and remove a session, and for the whole of a reboot or a restore.
//! 3. `luo_session`, a mutex in each session, for its files. Handlers are called under it.
//! 4. `luo_registry`, a `rw_semaphore`: the handlers and FLBs of the [`Registry`]. Held to read, it
//!    is around a handler's `can_preserve`, an FLB's `preserve`, and those of its callbacks that
//!    come with a file of the previous kernel.
//! 5. `luo_flb_outgoing`, `luo_flb_incoming`: mutexes, two in each FLB. Its callbacks are called
//!    under them.
//!
//! The spinlocks `luo_ids` and the mutexes `luo_flb_once` and `luo_handed_over_flbs` of the
//! [`Registry`] are held for a moment only, and nothing is taken under them.
//!
//! C source: `kernel/liveupdate/luo_session.c`.

use crate::abi::block::C_MAX_BLOCKS;
use crate::abi::format;
use crate::abi::format::Format;
use crate::abi::put;
use crate::abi::record as wire;
use crate::abi::uapi;
use crate::abi::uapi::Request as _;
use crate::abi::until_nul;
use crate::abi::Found;
use crate::block::damaged;
use crate::block::BlockSet;
use crate::block::Chain;
use crate::block::Claimed;
use crate::block::ReadError;
use crate::c_api::Argument;
use crate::c_api::SessionFile;
use crate::kho;
use crate::kho::Memory;
use crate::kho::Preserved;
use crate::kho::Published;
use crate::luo_file::IncomingFiles;
use crate::luo_file::OutgoingFiles;
use crate::luo_file::Registry;
use crate::luo_flb::HandedOver;
use crate::sync::new_rwsem;
use crate::sync::RwSemaphore;
use crate::table::Key;
use crate::table::Keyed;
use crate::table::Table;
use core::mem;
use kernel::fs::file::flags::O_CLOEXEC;
use kernel::fs::file::FileDescriptorReservation;
use kernel::ioctl::_IOC_NR;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::str::BStr;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::types::ScopeGuard;
use kernel::uaccess::UserPtr;
use zerocopy_derive::Immutable;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/session.rs"]
pub(crate) mod tests;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/alloc.rs"]
mod alloc_tests;

/// The sessions that the previous kernel handed over, as they stand in its memory.
pub(crate) type Blocks = Chain<wire::Session>;

/// The name of a session: 1 to 63 bytes, none of them NUL.
///
/// Names are compared and hashed by the words that their bytes make up, which is faster than by
/// bytes.
///
/// # Invariants
///
/// The first byte is not NUL, the last one is, and so are all after the first NUL.
#[derive(Clone, Copy, Eq, IntoBytes, Immutable)]
#[repr(transparent)]
pub(crate) struct Name([u64; uapi::NAME_LENGTH / size_of::<u64>()]);

impl Name {
    /// Takes what stands before the first NUL. Returns [`None`] if there is none, or nothing
    /// before it.
    fn new(field: &[u8; uapi::NAME_LENGTH]) -> Option<Self> {
        let bytes = until_nul(field).filter(|bytes| !bytes.is_empty())?;
        let mut name = Self([0; _]);

        // INVARIANT: There was a NUL after them, so at least one of the name's is left.
        put(name.0.as_mut_bytes(), bytes);
        Some(name)
    }

    /// The name as a field, with all NULs at its end.
    fn to_field(self) -> [u8; uapi::NAME_LENGTH] {
        zerocopy::transmute!(self)
    }

    /// The bytes of the name.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        until_nul(IntoBytes::as_bytes(self)).unwrap_or_default()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // After a word of NULs there are only NULs.
        let mut words = self.0.iter().zip(&other.0);

        words
            .find(|(a, b)| a != b || **a == 0)
            .is_none_or(|(a, b)| a == b)
    }
}

impl Key for Name {
    fn mix_into(&self, hash: u64) -> u64 {
        let words = self.0.iter().take_while(|&&word| word != 0);

        words.fold(hash, |hash, word| word.mix_into(hash))
    }
}

/// What differs between sessions of this and of the previous kernel.
pub(crate) trait Direction: Sized + 'static {
    /// The files of a session.
    type Files: Send + Unpin;

    /// What else there is to know of a session.
    type State: Send + Sync;

    /// Answers an ioctl that exists in one direction only.
    fn ioctl(session: &Session<Self>, cmd: u32, arg: &Argument) -> Result;

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
    name: Name,
    state: D::State,
    #[pin]
    files: Mutex<D::Files>,
}

impl<D: Direction> Session<D> {
    fn new(
        sessions: &'static Sessions,
        name: Name,
        state: D::State,
        files: D::Files,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                sessions,
                name,
                state,
                files <- new_mutex!(files, "luo_session"),
            }),
            GFP_KERNEL,
        )
    }

    /// What the session is called.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Answers an ioctl of a session's file descriptor.
    ///
    /// Returns `EINVAL` if the number is not one of a session's, `EFAULT` if the argument cannot be
    /// read, `ENOTTY` if the command is not the one of that number, `EINVAL` if it is for sessions
    /// of the other direction, and else what the command returns.
    pub(crate) fn ioctl(&self, cmd: u32, arg: UserPtr) -> Result {
        if !uapi::SESSION_NUMBERS.contains(&_IOC_NR(cmd)) {
            return Err(EINVAL);
        }

        let arg = Argument::new(arg)?;

        match cmd {
            uapi::GetName::CMD => self.get_name(&arg),
            _ => D::ioctl(self, cmd, &arg),
        }
    }

    fn get_name(&self, arg: &Argument) -> Result {
        let mut request: uapi::GetName = arg.read()?;

        if request.reserved != 0 {
            return Err(EINVAL);
        }
        request.name = self.name.to_field();

        arg.respond(&request)
    }
}

impl<D: Direction> Keyed for Arc<Session<D>> {
    type Key = Name;

    fn key(&self) -> &Name {
        &self.name
    }
}

impl Direction for Outgoing {
    type Files = OutgoingFiles;
    type State = ();

    #[inline]
    fn ioctl(session: &Session<Self>, cmd: u32, arg: &Argument) -> Result {
        match cmd {
            uapi::PreserveFd::CMD => session.preserve(arg),
            uapi::RetrieveFd::CMD | uapi::Finish::CMD => Err(EINVAL),
            _ => Err(ENOIOCTLCMD),
        }
    }

    fn close(session: &Arc<Session<Self>>) {
        let _gate = session.sessions.gate.read();

        // The name stays taken until everything is undone.
        session.files.lock().clear();
        session.sessions.outgoing.lock().remove(session);
    }
}

impl Session<Outgoing> {
    fn preserve(&self, arg: &Argument) -> Result {
        let request: uapi::PreserveFd = arg.read()?;
        let _gate = self.sessions.gate.read();

        self.files
            .lock()
            .preserve(&self.sessions.registry, request.token, request.fd)?;

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

    #[inline]
    fn ioctl(session: &Session<Self>, cmd: u32, arg: &Argument) -> Result {
        match cmd {
            uapi::RetrieveFd::CMD => session.retrieve(arg),
            uapi::Finish::CMD => session.finish(arg),
            uapi::PreserveFd::CMD => Err(EINVAL),
            _ => Err(ENOIOCTLCMD),
        }
    }

    fn close(session: &Arc<Session<Self>>) {
        let sessions = session.sessions;
        let _gate = sessions.gate.read();
        let finished = session.files.lock().finish(&sessions.registry);

        if finished.is_ok() {
            sessions.incoming.lock().remove(session);
        } else {
            pr_warn!(
                "session '{}' cannot finish yet, it can be retrieved again\n",
                BStr::from_bytes(session.name.as_bytes())
            );
            session.state.store(false, Release);
        }
    }
}

impl Session<Incoming> {
    fn retrieve(&self, arg: &Argument) -> Result {
        let mut request: uapi::RetrieveFd = arg.read()?;
        let _gate = self.sessions.gate.read();
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let file = self
            .files
            .lock()
            .retrieve(&self.sessions.registry, request.token)?;

        request.fd = fd.reserved_fd() as i32;
        arg.respond(&request)?;
        fd.fd_install(file);

        Ok(())
    }

    fn finish(&self, arg: &Argument) -> Result {
        let request: uapi::Finish = arg.read()?;
        let _gate = self.sessions.gate.read();

        if request.reserved != 0 {
            return Err(EINVAL);
        }
        self.files.lock().finish(&self.sessions.registry)?;

        arg.respond(&request)
    }
}

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
}

impl OutgoingTable {
    fn new(format: &'static dyn Format) -> Self {
        Self {
            format,
            sessions: Table::new(),
            blocks: BlockSet::new(format.session_block_size()),
            root: None,
        }
    }

    fn add(&mut self, sessions: &'static Sessions, name: Name) -> Result<Arc<Session<Outgoing>>> {
        let count = self.sessions.len();

        self.make_room()?;
        self.sessions
            .vacant(&name)
            .and_then(|vacant| {
                let vacant = vacant.ok_or(EEXIST)?;
                let files = OutgoingFiles::new(self.format.file_block_size());
                let session = Session::new(sessions, name, (), files)?;

                vacant.insert(session.clone())?;
                Ok(session)
            })
            .inspect_err(|_| self.blocks.shrink(count))
    }

    /// Makes room for one more session. The arrays are kept when there are fewer again. Tests see
    /// who allocated what, and know them by the name of this function.
    #[inline(never)]
    fn make_room(&mut self) -> Result {
        self.sessions.reserve(1)?;
        self.blocks.reserve(self.sessions.len() + 1)
    }

    fn remove(&mut self, session: &Session<Outgoing>) {
        if self.sessions.remove(&session.name).is_some() {
            self.blocks.shrink(self.sessions.len());
        }
    }

    /// Freezes and writes all sessions in the order of their creation, or none.
    fn serialize(&mut self, registry: &Registry) -> Result {
        let root = self.root.as_mut().ok_or(ENODEV)?;
        let mut frozen = 0;
        let mut too_long = false;

        let frozen_all = self.sessions.iter().try_for_each(|session| {
            let mut files = session.files.lock();
            let name = session.name.to_field();
            let file_set = files.freeze()?;

            frozen += 1;
            too_long |= files.exceeds_c();
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
                session.files.lock().unfreeze();
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

/// What has become of the previous kernel's sessions.
pub(crate) enum Handover {
    /// They are still in its memory.
    Pending {
        /// That memory.
        memory: kho::HandedOver,
        /// In which format they are there.
        format: &'static dyn Format,
        /// The blocks that they are in.
        claimed: Claimed,
        /// Which of these are in the chain of sessions.
        sessions: Blocks,
    },
    /// They are here, or there were none.
    Restored,
    /// They cannot be believed, or could not be read; they stay where they are.
    Refused,
}

/// Tells the log why a hand-over is refused, and in which session that was found.
///
/// Returns the `EIO` that userspace gets to see.
pub(crate) fn refuse(reason: ReadError, session: Option<Name>) -> Error {
    const WHAT: &str = "refused what the previous kernel handed over";

    let name = session.as_ref().map_or(b"-".as_slice(), Name::as_bytes);
    let name = BStr::from_bytes(name);

    match reason {
        ReadError::Damaged(damage) => pr_err!("{WHAT} (session '{name}'): {damage}\n"),
        ReadError::NoHandler(file) => pr_err!(
            "{WHAT} (session '{name}'): no file handler '{}' for token {:#x}\n",
            BStr::from_bytes(until_nul(&file.compatible).unwrap_or(&file.compatible)),
            file.token
        ),
        ReadError::Kernel(err) => pr_err!("{WHAT} (session '{name}'): {err:?}\n"),
    }

    EIO
}

/// The sessions of the previous kernel.
struct IncomingTable {
    handover: Handover,
    sessions: ByName<Incoming>,
}

impl IncomingTable {
    /// Makes sessions of what the previous kernel wrote. Until all of it has been checked, nothing
    /// is released.
    fn restore(&mut self, sessions: &'static Sessions) -> Result {
        match mem::replace(&mut self.handover, Handover::Refused) {
            Handover::Refused => Err(EIO),
            Handover::Restored => {
                self.handover = Handover::Restored;
                Ok(())
            }
            Handover::Pending {
                mut memory,
                format,
                mut claimed,
                sessions: chain,
            } => {
                self.sessions = Self::read(sessions, &memory, format, &mut claimed, &chain)?;
                memory.release(claimed.iter().copied());
                self.handover = Handover::Restored;
                Ok(())
            }
        }
    }

    fn remove(&mut self, session: &Session<Incoming>) {
        self.sessions.remove(&session.name);
        if self.sessions.len() == 0 {
            // There will be none again.
            self.sessions = Table::new();
        }
    }

    fn read(
        sessions: &'static Sessions,
        memory: &impl Memory,
        format: &dyn Format,
        claimed: &mut Claimed,
        chain: &Blocks,
    ) -> Result<ByName<Incoming>> {
        let mut table = Table::new();

        table
            .reserve(chain.len() as usize)
            .map_err(|err| refuse(err.into(), None))?;

        for place in chain.places() {
            for record in Blocks::entries(memory, claimed, place) {
                Self::read_session(&mut table, sessions, memory, format, claimed, record)
                    .map_err(|reason| refuse(reason, Name::new(&record.name)))?;
            }
        }

        Ok(table)
    }

    fn read_session(
        table: &mut ByName<Incoming>,
        sessions: &'static Sessions,
        memory: &impl Memory,
        format: &dyn Format,
        claimed: &mut Claimed,
        record: &wire::Session,
    ) -> Result<(), ReadError> {
        let bad_name = |why| damaged("luo_session_ser", "name", Found::Nothing, why);
        let Some(name) = Name::new(&record.name) else {
            return bad_name("empty, or without a NUL");
        };
        let Some(vacant) = table.vacant(&name)? else {
            return bad_name("a second session of this name");
        };
        let size = format.file_block_size();
        let set = &record.file_set;
        let files = IncomingFiles::read(&sessions.registry, memory, size, set, claimed)?;
        let session = Session::new(sessions, name, Atomic::new(false), files)?;

        Ok(vacant.insert(session)?)
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
    /// Starts without sessions but those in `handover`, and with the FLBs that came with them. Its
    /// own sessions will be handed over in `format`.
    pub(crate) fn new(
        format: &'static dyn Format,
        handover: Handover,
        flbs: HandedOver,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            gate <- new_rwsem!((), c"luo_gate"),
            outgoing <- new_mutex!(OutgoingTable::new(format), "luo_outgoing"),
            incoming <- new_mutex!(
                IncomingTable {
                    handover,
                    sessions: Table::new(),
                },
                "luo_incoming"
            ),
            registry <- Registry::new(flbs),
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
    /// Returns `EIO`, then and ever after, if they cannot be believed or read. May sleep.
    pub(crate) fn restore(&'static self) -> Result {
        self.incoming.lock().restore(self)
    }

    /// Creates a session: `LIVEUPDATE_IOCTL_CREATE_SESSION`.
    ///
    /// Returns `EMFILE` without room for its file descriptor, `ENFILE` without room for its file,
    /// `EINVAL` if the name is empty or too long, `EEXIST` if it is taken, `ENOMEM`, and what
    /// [`Argument`] returns; then there is no session. May sleep.
    pub(crate) fn create(&'static self, arg: &Argument) -> Result {
        let mut request: uapi::CreateSession = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let name = Name::new(&request.name).ok_or(EINVAL)?;
        let _gate = self.gate.read();
        let session = self.outgoing.lock().add(self, name)?;
        let session = ScopeGuard::new_with_data(session, |session| {
            self.outgoing.lock().remove(&session);
        });
        let file = SessionFile::new(session.clone())?;

        request.fd = fd.reserved_fd() as i32;
        arg.respond(&request)?;
        file.install(fd);
        session.dismiss();

        Ok(())
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
        let _gate = self.gate.read();
        let session = self
            .incoming
            .lock()
            .sessions
            .get(&name)
            .cloned()
            .ok_or(ENOENT)?;

        if session.state.xchg(true, Acquire) {
            return Err(EINVAL);
        }

        let session = ScopeGuard::new_with_data(session, |session| {
            session.state.store(false, Release);
        });
        let file = SessionFile::new(session.clone())?;

        request.fd = fd.reserved_fd() as i32;
        arg.respond(&request)?;
        file.install(fd);
        session.dismiss();

        Ok(())
    }

    /// Writes down all sessions of this kernel, for the next one to read.
    ///
    /// On success no session can be changed any more. On failure all can, and nothing is written.
    ///
    /// Returns what the handler of a file answered to its `freeze`. May sleep.
    pub(crate) fn serialize(&self) -> Result {
        let gate = self.gate.write();

        self.outgoing.lock().serialize(&self.registry)?;
        gate.keep();

        Ok(())
    }
}
