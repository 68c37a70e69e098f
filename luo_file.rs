// SPDX-License-Identifier: GPL-2.0

//! Preserved files, and the handlers that know how to preserve them.
//!
//! A handler knows one kind of file: it can save what such a file is, and make one anew in the next
//! kernel. Here is when it is asked to. A file of this kernel is an [`OutgoingFile`] as long as it
//! is preserved: the value is made by the handler's `preserve` and dropping it is `unpreserve`. A
//! file of the previous kernel is an [`IncomingFile`] until its session finishes.
//!
//! # Callbacks
//!
//! All callbacks may sleep. A handler never sees two at once for one file that is preserved, here or
//! by the previous kernel. Files of one session are preserved, and retrieved, side by side: they are
//! in no place of their session meanwhile, which is kept for them, and the session is not locked. In
//! all other callbacks the whole session waits. A callback may ask for [`Fellows`] of its file.
//!
//! The handler's module is pinned from `preserve`, or from the restore of the session, on. Only
//! `can_preserve` comes before that: several tasks may ask for one file at a time, and what keeps
//! the module is that the handler cannot be unregistered meanwhile.
//!
//! C source: `kernel/liveupdate/luo_file.c`.

use crate::{
    abi::{
        is_same_string,
        name::Name,
        record as wire,
        string_field,
        Escaped, //
    },
    block::BlockSet,
    callbacks::{
        FileHandler,
        HandedOverFile,
        Handler,
        Handlers,
        PinnedHandler,
        PreservedFile,
        Registered, //
    },
    handover::HandOver,
    list_private::{
        EntryRef,
        List, //
    },
    luo_flb::{
        Dependencies,
        Flbs,
        HeldFlbs, //
    },
    table::Table, //
};
use core::{
    mem,
    ptr, //
};
use kernel::{
    fmt,
    fs::File,
    kthread,
    new_condvar,
    new_mutex,
    new_spinlock,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    seq_file::SeqFile,
    seq_print,
    str::BStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rw_semaphore::{
            new_rw_semaphore,
            RwSemaphore, //
        },
        CondVar,
        Mutex,
        MutexGuard,
        SpinLock, //
    },
    time::{
        self,
        Jiffies, //
    }, //
};
use pin_init::pin_init_array_from_fn;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/file.rs"]
pub(crate) mod tests;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/fellows.rs"]
mod fellows_tests;

/// The registered handlers, and their FLBs, each once. Both are in the order of registration.
#[pin_data]
pub(crate) struct Registrations {
    #[pin]
    handlers: Handlers,
    #[pin]
    flbs: Flbs,
}

impl Registrations {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            handlers <- Handlers::new(),
            flbs <- List::new(),
        })
    }

    /// The handler for `file`, the first to be registered of those that can preserve it; and on
    /// which FLBs its files depend.
    fn handler_for(&self, file: &File) -> Result<(Handler, &Dependencies)> {
        let handler = self.handlers.iter().find(|it| it.can_preserve(file));
        let handler = handler.ok_or(ENOENT)?;

        Ok((handler.pin().ok_or(ENOENT)?, handler.dependencies()))
    }

    /// All handlers.
    pub(crate) fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// All FLBs.
    pub(crate) fn flbs(&self) -> &Flbs {
        &self.flbs
    }

    /// On which FLBs the files of a handler depend; [`None`] if it is not registered.
    pub(crate) fn dependencies(&self, handler: *const FileHandler) -> Option<&Dependencies> {
        self.handlers
            .iter()
            .find(|it| ptr::eq(it.handler(), handler))
            .map(Registered::dependencies)
    }

    /// On which FLBs the files of a handler depend, and all FLBs, to change them; [`None`] if the
    /// handler is not registered.
    pub(crate) fn dependencies_mut(
        self: Pin<&mut Self>,
        handler: *const FileHandler,
    ) -> Option<(Pin<&mut Dependencies>, Pin<&mut Flbs>)> {
        let this = self.project();

        Some((this.handlers.dependencies_mut(handler)?, this.flbs))
    }
}

/// What all sessions share: the registered handlers and FLBs, and which files are spoken for.
#[pin_data]
pub(crate) struct Registry {
    /// The handlers and FLBs.
    #[pin]
    pub(crate) registrations: RwSemaphore<Registrations>,
    #[pin]
    ids: Ids,
    /// Held while an FLB is used for the first time.
    #[pin]
    pub(crate) flb_once: Mutex<()>,
    /// What the previous kernel handed over.
    #[pin]
    pub(crate) handed_over: Mutex<HandOver>,
    /// In a session where somebody waits, a file of the previous kernel is no longer at work, or
    /// nobody finishes it any more.
    #[pin]
    changed: CondVar,
}

impl Registry {
    /// Starts without handlers.
    pub(crate) fn new(handed_over: HandOver) -> impl PinInit<Self> {
        pin_init!(Self {
            registrations <- new_rw_semaphore!(Registrations::new(), "luo_registry"),
            ids <- Ids::new(),
            flb_once <- new_mutex!((), "luo_flb_once"),
            handed_over <- new_mutex!(handed_over, "luo_handed_over"),
            changed <- new_condvar!("luo_changed"),
        })
    }

    /// Registers a handler.
    ///
    /// Returns `EINVAL` if a callback that it has to have or the compatible string is missing,
    /// `EEXIST` if there is one with the same compatible string. May sleep; takes the registry to
    /// write.
    pub(crate) fn register(&self, handler: EntryRef<FileHandler>) -> Result {
        if !handler.is_complete() {
            return Err(EINVAL);
        }

        let mut registrations = self.registrations.write();
        let handlers = registrations.as_mut().project().handlers;
        let added = handlers.add(handler.clone());

        if added == Err(EEXIST) {
            pr_err!(
                "a file handler '{}' is registered already\n",
                BStr::from_bytes(handler.compatible())
            );
        }
        added
    }

    /// Unregisters a handler, and its FLBs with it. May sleep; takes the registry to write.
    pub(crate) fn unregister(&self, handler: *const FileHandler) {
        let mut registrations = self.registrations.write();

        let Some((mut dependencies, mut flbs)) = registrations.as_mut().dependencies_mut(handler)
        else {
            return;
        };

        while let Some(dependency) = dependencies.as_mut().pop_front() {
            dependency.release(flbs.as_mut());
        }
        let _ = registrations.as_mut().project().handlers.remove(handler);
    }

    /// Something has changed in a session of the previous kernel. It is told only if somebody waits.
    fn tell(&self, set: &IncomingSet) {
        if set.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits for a change in a session of the previous kernel.
    fn wait(&self, set: &mut MutexGuard<'_, IncomingSet>) {
        set.waiting += 1;
        self.changed.wait(set);
        set.waiting -= 1;
    }

    /// As [`Self::wait`], unless the task is killed, which returns `EINTR`.
    fn wait_killable(&self, set: &mut MutexGuard<'_, IncomingSet>) -> Result {
        set.waiting += 1;
        let killed = self.changed.wait_killable(set);
        set.waiting -= 1;

        if killed {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Whether the handler of a file that was handed over is there. May sleep.
    pub(crate) fn has_handler_of(&self, file: &wire::File) -> bool {
        self.handler_of(file).is_some()
    }

    /// The handler of a file that was handed over.
    fn handler_of(&self, file: &wire::File) -> Option<Handler> {
        self.registrations
            .read()
            .handlers
            .iter()
            .find(|handler| is_same_string(handler.compatible_field(), &file.compatible))
            .and_then(|handler| handler.pin())
    }
}

/// The files that are spoken for. They are spread over many trees, so that those who preserve into
/// different sessions rarely wait for each other.
#[pin_data]
struct Ids {
    #[pin]
    trees: [SpinLock<RBTree<usize, ()>>; Self::TREES],
}

impl Ids {
    const TREES: usize = 256;

    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            trees <- pin_init_array_from_fn(|_| new_spinlock!(RBTree::new(), "luo_ids")),
        })
    }

    fn tree(&self, id: usize) -> Option<&SpinLock<RBTree<usize, ()>>> {
        // As in include/linux/hash.h. Ids are not for userspace to choose, and many of them in one
        // tree are no harm.
        let hash = (id as u64).wrapping_mul(0x61c8_8646_80b5_83eb) >> 32;

        self.trees.get(hash as usize % Self::TREES)
    }
}

/// A file is spoken for, as long as this exists: nobody else can preserve it.
struct FileId {
    registry: &'static Registry,
    id: usize,
}

impl FileId {
    fn reserve() -> Result<RBTreeNodeReservation<usize, ()>> {
        RBTreeNodeReservation::new(GFP_KERNEL)
    }

    /// Returns `EBUSY` if the file is spoken for.
    fn claim(
        registry: &'static Registry,
        id: usize,
        node: RBTreeNodeReservation<usize, ()>,
    ) -> Result<Self> {
        let mut tree = registry.ids.tree(id).ok_or(EBUSY)?.lock();

        match tree.entry(id) {
            Entry::Occupied(_) => Err(EBUSY),
            Entry::Vacant(entry) => {
                entry.insert((), node);
                Ok(Self { registry, id })
            }
        }
    }
}

impl Drop for FileId {
    fn drop(&mut self) {
        if let Some(tree) = self.registry.ids.tree(self.id) {
            tree.lock().remove(&self.id);
        }
    }
}

/// The other files of a session, for a callback about one of them: what C code knows as
/// `struct liveupdate_session`.
///
/// It is there as long as the callback runs, which may pass it on to other threads.
pub(crate) enum Fellows<'a> {
    /// Those of the file of a token of this kernel that is being preserved, as others may be.
    Outgoing(&'a OutgoingFiles, u64),
    /// Those of a file of this kernel, none of which is.
    Locked(LockedFellows<'a>),
    /// Those of a file of the previous kernel, and for how many jiffies its callback has waited.
    Incoming(Asker<'a>, Atomic<Jiffies>),
}

/// See [`Fellows::Locked`].
pub(crate) struct LockedFellows<'a> {
    /// [`None`] if the session has gone without being closed.
    session: Option<&'a Name>,
    places: &'a OutgoingPlaces,
    token: u64,
    /// The address of the file of `token`, if that has lost its place.
    own: Option<u64>,
}

impl Fellows<'_> {
    /// Whose files they are.
    pub(crate) fn session(&self) -> Option<&Name> {
        match self {
            Self::Outgoing(files, _) => Some(&files.session),
            Self::Locked(fellows) => fellows.session,
            Self::Incoming(asker, _) => Some(&asker.files.session),
        }
    }

    /// The token of the file that the callback is about.
    pub(crate) fn token(&self) -> u64 {
        match self {
            Self::Outgoing(_, token) => *token,
            Self::Locked(fellows) => fellows.token,
            Self::Incoming(asker, _) => asker.token,
        }
    }

    /// For how many jiffies the callback has waited for [files](Self::file): all threads together
    /// that it let ask for some.
    pub(crate) fn waited(&self) -> Jiffies {
        match self {
            Self::Incoming(_, waited) => waited.load(Relaxed),
            _ => 0,
        }
    }

    /// The file of `token`, which is retrieved now if nobody has.
    ///
    /// Returns `EINVAL` if the session is one of this kernel, `ENOENT` if it has no such file,
    /// `ELOOP` if that one waits for the file that asks, what its handler answered, or what
    /// [`kthread::call`] returns, `ENOMEM`. May sleep.
    pub(crate) fn file(&self, token: u64) -> Result<ARef<File>> {
        match self {
            Self::Incoming(asker, waited) => {
                let began = time::jiffies();
                let file = asker.ask(token);

                waited.fetch_add(time::jiffies().wrapping_sub(began), Relaxed);
                file
            }
            _ => Err(EINVAL),
        }
    }

    /// The token under which the session preserves a file.
    ///
    /// Returns `EINVAL` if the session is one of the previous kernel, `ENOENT` if it does not
    /// preserve that file, or does not yet, `ENOMEM`. May sleep.
    pub(crate) fn token_of(&self, file: &File) -> Result<u64> {
        match self {
            Self::Outgoing(files, _) => files.set.lock().places.know_token_of(file),
            Self::Locked(it) if it.own == Some(address(file)) => Ok(it.token),
            Self::Locked(it) => it.places.token_of(file),
            Self::Incoming(..) => Err(EINVAL),
        }
    }
}

/// A preserved file of this kernel. While it is preserved it depends on FLBs, and is spoken for.
type OutgoingFile = PreservedFile<(HeldFlbs, FileId)>;

impl OutgoingFile {
    fn new(registry: &'static Registry, file: ARef<File>, fellows: &Fellows<'_>) -> Result<Self> {
        let node = FileId::reserve()?;
        let registrations = registry.registrations.read();
        let (handler, dependencies) = registrations.handler_for(&file)?;
        let id = FileId::claim(registry, handler.id(&file), node)?;
        let flbs = HeldFlbs::preserve(dependencies)?;
        drop(registrations);

        handler.preserve(file, fellows, (flbs, id))
    }

    fn to_wire(&self, token: u64) -> wire::File {
        wire::File {
            compatible: string_field(self.handler().compatible_field()),
            data: self.data(),
            token,
        }
    }
}

/// What tells an open file from all other open files.
fn address(file: &File) -> u64 {
    file.as_ptr().addr() as u64
}

/// The places of the files of a session of this kernel.
pub(crate) struct OutgoingPlaces {
    /// By token, in the order in which these were taken. A token whose file is being preserved has
    /// none.
    files: Table<(u64, Option<OutgoingFile>)>,
    /// The token of each file, by its address, since somebody has asked for one.
    tokens: Option<KBox<Table<(u64, u64)>>>,
}

impl OutgoingPlaces {
    /// The files that are preserved, with their tokens, in order.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &OutgoingFile)> {
        self.files
            .iter()
            .filter_map(|(token, file)| Some((*token, file.as_ref()?)))
    }

    /// The token of a file; for who does not ask often.
    fn token_of(&self, file: &File) -> Result<u64> {
        let found = match &self.tokens {
            Some(tokens) => tokens.get(&address(file)).map(|(_, token)| *token),
            None => self
                .iter()
                .find(|(_, it)| ptr::eq(it.file(), file))
                .map(|(token, _)| token),
        };

        found.ok_or(ENOENT)
    }

    /// The same for who may ask again.
    fn know_token_of(&mut self, file: &File) -> Result<u64> {
        if self.tokens.is_none() {
            let mut tokens = KBox::new(Table::new(), GFP_KERNEL)?;

            tokens.reserve(self.files.len())?;
            for (token, file) in self.iter() {
                enter(&mut tokens, file, token)?;
            }
            self.tokens = Some(tokens);
        }
        self.token_of(file)
    }

    /// The fellows of a file that has its place.
    #[inline]
    fn fellows<'a>(&'a self, session: &'a Name, token: u64) -> Fellows<'a> {
        Fellows::Locked(LockedFellows {
            session: Some(session),
            places: self,
            token,
            own: None,
        })
    }

    /// Takes the last file. Nobody may be preserving one.
    fn pop(&mut self) -> Option<(u64, OutgoingFile)> {
        let (token, file) = self.files.pop()?;
        let file = file?;

        if let Some(tokens) = &mut self.tokens {
            let address = address(file.file());

            // A file may have two tokens, if its handler cannot tell; the first one is known.
            if tokens.get(&address).is_some_and(|it| it.1 == token) {
                tokens.remove(&address);
            }
        }
        Some((token, file))
    }
}

/// Notes down the token of a file, unless the file has one.
fn enter(tokens: &mut Table<(u64, u64)>, file: &OutgoingFile, token: u64) -> Result {
    let address = address(file.file());

    match tokens.vacant(&address)? {
        Some(vacant) => vacant.insert((address, token)),
        None => Ok(()),
    }
}

/// What a session of this kernel preserves.
///
/// # Invariants
///
/// `blocks` has room for all places and no block to spare.
struct OutgoingSet {
    places: OutgoingPlaces,
    blocks: BlockSet<wire::File>,
    /// What the last reboot came to.
    reboot: Reboot,
}

/// What a reboot came to, for the files of a session.
enum Reboot {
    /// There was none, or all are as before.
    Undone,
    /// They are frozen.
    Frozen,
    /// The file of a token refused, and all are as before.
    Refused(u64, Error),
}

impl OutgoingSet {
    /// Takes a token, and with it the place of its file, which this returns.
    ///
    /// Returns `EEXIST` if it is taken, `ENOMEM`. May sleep.
    fn claim(&mut self, token: u64) -> Result<usize> {
        let Self { places, blocks, .. } = self;
        let count = places.files.len();
        let vacant = places.files.vacant(&token)?.ok_or(EEXIST)?;

        blocks.reserve(count + 1)?;
        vacant
            .insert((token, None))
            .inspect_err(|_| blocks.shrink(count))?;
        Ok(places.files.places() - 1)
    }

    /// Gives the file of a token that was taken its place: the one where that was, mostly.
    fn preserved(&mut self, token: u64, place: usize, file: OutgoingFile) {
        let OutgoingPlaces { files, tokens } = &mut self.places;

        if let Some(known) = tokens {
            // Without memory, they are gathered again when somebody asks.
            if enter(known, &file, token).is_err() {
                *tokens = None;
            }
        }

        let there = files.nth(place).is_some_and(|it| it.0 == token);
        let place = match there {
            true => Some(place),
            false => files.place(&token),
        };
        if let Some((_, it)) = place.and_then(|place| files.nth_mut(place)) {
            *it = Some(file);
        }
    }

    /// A file of a token that was taken could not be preserved.
    fn give_up(&mut self, token: u64) {
        self.places.files.remove(&token);
        self.blocks.shrink(self.places.files.len());
    }

    /// Unfreezes so many files, last to first; nothing is written any more.
    fn unfreeze(&mut self, session: &Name, count: usize) {
        let others = self.places.files.len() - count;

        for (token, file) in self.places.iter().rev().skip(others) {
            file.unfreeze(&self.places.fellows(session, token));
        }
        self.blocks.clear();
        self.reboot = Reboot::Undone;
    }

    /// Makes all files ordinary ones again, last to first.
    fn clear(&mut self, session: Option<&Name>) {
        while let Some((token, file)) = self.places.pop() {
            let fellows = Fellows::Locked(LockedFellows {
                session,
                places: &self.places,
                token,
                own: Some(address(file.file())),
            });

            file.unpreserve(&fellows);
        }
        self.blocks.shrink(0);
    }

    /// How far a file has come.
    fn state_of(&self, token: u64, file: &Option<OutgoingFile>) -> FileState {
        match (file, &self.reboot) {
            (None, _) => FileState::Preserving,
            (_, Reboot::Frozen) => FileState::Frozen,
            (_, Reboot::Refused(refused, err)) if *refused == token => FileState::Failed(*err),
            _ => FileState::Preserved,
        }
    }
}

impl Drop for OutgoingSet {
    fn drop(&mut self) {
        self.clear(None);
    }
}

/// What there is to see of the files of a session.
pub(crate) trait SessionFiles {
    /// The name of the session.
    fn session(&self) -> &Name;

    /// The number of files, also of those that a handler is at work on. May sleep.
    fn len(&self) -> usize;

    /// Shows the files, each in a line, in the order in which they were preserved. Others may change
    /// the session meanwhile, as it is not locked for longer than it takes to show a few. May sleep.
    fn show(&self, seq: &SeqFile);
}

/// How far a file has come, as it is shown.
enum FileState {
    /// Its handler is at work.
    Preserving,
    Preserved,
    Frozen,
    /// Nobody has asked for it.
    Waiting,
    /// Its handler is at work.
    Retrieving,
    Retrieved,
    /// Its handler lets go of it, or is asked whether it can.
    Finishing,
    /// Its handler could not make it, or freeze it for the last reboot.
    Failed(Error),
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preserving => "preserving",
            Self::Preserved => "preserved",
            Self::Frozen => "frozen",
            Self::Waiting => "waiting",
            Self::Retrieving => "retrieving",
            Self::Retrieved => "retrieved",
            Self::Finishing => "finishing",
            Self::Failed(err) => return write!(f, "failed {}", -err.to_errno()),
        })
    }
}

/// Shows a file in a line.
fn show_file(seq: &SeqFile, token: u64, handler: Option<&FileHandler>, state: FileState) {
    let handler = handler.map_or(b"-".as_slice(), FileHandler::compatible);

    seq_print!(seq, "luo-file:\t{token:#x} {} {state}\n", Escaped(handler));
}

/// The files that a session of this kernel preserves.
#[pin_data]
pub(crate) struct OutgoingFiles {
    session: Name,
    #[pin]
    set: Mutex<OutgoingSet>,
}

impl OutgoingFiles {
    /// Starts without files of the session of this name; they will be written into blocks of
    /// `block_size` bytes.
    pub(crate) fn new(session: Name, block_size: usize) -> impl PinInit<Self> {
        let set = OutgoingSet {
            places: OutgoingPlaces {
                files: Table::new(),
                tokens: None,
            },
            blocks: BlockSet::new(block_size),
            reboot: Reboot::Undone,
        };

        pin_init!(Self {
            session,
            set <- new_mutex!(set, "luo_session"),
        })
    }

    /// Makes all files ordinary ones again, last to first. Nobody may be preserving one. May sleep.
    pub(crate) fn clear(&self) {
        self.set.lock().clear(Some(&self.session));
    }

    /// Preserves the file that `fget` gets as `token`.
    ///
    /// Returns `EEXIST` if the token is taken in this session, what `fget` returns, `ENOENT` if no
    /// handler can preserve it, `EBUSY` if it is preserved already, here or in another session,
    /// `ENOMEM`, or what the handler answers. May sleep.
    pub(crate) fn preserve(
        &self,
        registry: &'static Registry,
        token: u64,
        fget: impl FnOnce() -> Result<ARef<File>>,
    ) -> Result {
        let place = self.set.lock().claim(token)?;

        fget()
            .and_then(|file| OutgoingFile::new(registry, file, &Fellows::Outgoing(self, token)))
            .map(|file| self.set.lock().preserved(token, place, file))
            .inspect_err(|_| self.set.lock().give_up(token))
    }

    /// Freezes all files, in order, and writes them down; returns where. Nobody may be preserving
    /// one.
    ///
    /// On failure those that were frozen are unfrozen, last to first, and nothing is written.
    ///
    /// Returns what a handler answers. May sleep.
    pub(crate) fn freeze(&self) -> Result<wire::FileSet> {
        let mut set = self.set.lock();
        let OutgoingSet { places, blocks, .. } = &mut *set;
        let mut refused = None;
        let mut frozen = 0;

        let result = places.iter().try_for_each(|(token, file)| {
            file.freeze(&places.fellows(&self.session, token))
                .inspect_err(|err| refused = Some((token, *err)))?;
            frozen += 1;

            blocks.write(frozen - 1, file.to_wire(token))
        });

        if let Err(err) = result {
            set.unfreeze(&self.session, frozen);
            if let Some((token, err)) = refused {
                set.reboot = Reboot::Refused(token, err);
            }
            return Err(err);
        }
        set.reboot = Reboot::Frozen;

        Ok(wire::FileSet {
            files: set.blocks.head(),
            count: frozen as u64,
        })
    }

    /// Undoes [`Self::freeze`], last to first. May sleep.
    pub(crate) fn unfreeze(&self) {
        let mut set = self.set.lock();
        let count = set.places.files.len();

        set.unfreeze(&self.session, count);
    }

    /// Whether a C kernel would refuse so many files.
    pub(crate) fn exceeds_c(&self) -> bool {
        self.set.lock().blocks.exceeds_c()
    }
}

impl SessionFiles for OutgoingFiles {
    fn session(&self) -> &Name {
        &self.session
    }

    fn len(&self) -> usize {
        self.set.lock().places.files.len()
    }

    fn show(&self, seq: &SeqFile) {
        let mut last = None;

        while !seq.has_overflowed() {
            let set = self.set.lock();
            let files = &set.places.files;
            // The last one that was shown was preserved: that does not go as long as there is a
            // descriptor of the session.
            let next = last.map_or(Some(0), |token| Some(files.place(&token)? + 1));
            let places = next.into_iter().flat_map(|next| next..files.places());
            let shown = places.filter_map(|place| files.nth(place)).zip(1..);

            last = None;
            for ((token, file), count) in shown {
                let handler = file.as_ref().map(OutgoingFile::handler);

                show_file(seq, *token, handler, set.state_of(*token, file));
                if count >= SHOWN_AT_ONCE && file.is_some() {
                    last = Some(*token);
                    break;
                }
            }
            if last.is_none() {
                break;
            }
        }
    }
}

/// A preserved file of the previous kernel.
///
/// Dropping it forgets it.
struct IncomingFile {
    /// It is spoken for when it was retrieved, unless its handler gave two files one id.
    id: Option<FileId>,
    file: HandedOverFile,
}

impl IncomingFile {
    /// Returns `ENOENT` if its handler is not there.
    fn adopt(registry: &Registry, file: &wire::File) -> Result<Self> {
        let handler = registry.handler_of(file).ok_or(ENOENT)?;

        Ok(Self {
            id: None,
            file: HandedOverFile::new(handler, file.data),
        })
    }

    fn retrieve(
        &mut self,
        registry: &'static Registry,
        fellows: &Fellows<'_>,
    ) -> Result<ARef<File>> {
        let node = FileId::reserve()?;
        let file = self.file.retrieve(fellows)?;
        let handler = self.file.handler();

        self.id = FileId::claim(registry, handler.id(&file), node)
            .inspect_err(|_| {
                pr_warn!(
                    "the '{}' made a file that is preserved already\n",
                    BStr::from_bytes(handler.compatible())
                )
            })
            .ok();

        Ok(file)
    }

    fn finish(self, registry: &Registry, fellows: &Fellows<'_>) {
        let Self { id, file } = self;
        let finished = file.finish(fellows);

        registry.finish_flbs(finished.handler());
        drop(id);
    }
}

/// What has a place in a session of the previous kernel.
enum IncomingPlace {
    /// A file.
    Here(IncomingFile),
    /// A file that its handler is at work on, and the tokens that this asks for at this time.
    Away(PinnedHandler, KVec<u64>),
    /// A file that its handler lets go of.
    Going(PinnedHandler),
}

/// How a file was found.
enum Found {
    /// With the answer to who asks for it.
    Answered(Result<ARef<File>>),
    /// At this place, and nobody has asked for it.
    Waiting(usize),
    /// At work.
    Away,
}

/// How many files are shown at once, at least, before others may change the session.
const SHOWN_AT_ONCE: usize = 32;

/// The places of a session of the previous kernel.
struct IncomingSet {
    /// By token.
    files: Table<(u64, IncomingPlace)>,
    /// How many files are being retrieved.
    retrieving: u32,
    /// How many threads wait for a change.
    waiting: u32,
    /// Whether somebody lets go of all files.
    finishing: bool,
    /// Whether all were let go of.
    finished: bool,
}

impl IncomingSet {
    /// Takes the file at a place, where its handler is left: it is at work, or letting it go.
    fn take(
        &mut self,
        place: usize,
        left: impl FnOnce(PinnedHandler) -> IncomingPlace,
    ) -> Option<IncomingFile> {
        let (_, it) = self.files.nth_mut(place)?;
        let left = match it {
            IncomingPlace::Here(file) => left(file.file.pinned_handler()),
            _ => return None,
        };

        match mem::replace(it, left) {
            IncomingPlace::Here(file) => Some(file),
            _ => None,
        }
    }

    /// Takes the file at a place for its handler to work on.
    fn take_away(&mut self, place: usize) -> Option<IncomingFile> {
        self.take(place, |handler| IncomingPlace::Away(handler, KVec::new()))
    }

    /// Puts a file back.
    fn put(&mut self, place: usize, file: IncomingFile) {
        if let Some((_, it)) = self.files.nth_mut(place) {
            *it = IncomingPlace::Here(file);
        }
    }

    /// Finds the file of `token`.
    ///
    /// Returns `ENOENT` if there is no such file.
    fn find(&self, token: u64) -> Result<Found> {
        let place = self.files.place(&token).ok_or(ENOENT)?;
        let (_, found) = self.files.nth(place).ok_or(ENOENT)?;

        Ok(match found {
            IncomingPlace::Here(it) => match it.file.retrieved() {
                Some(answer) => Found::Answered(answer),
                None => Found::Waiting(place),
            },
            IncomingPlace::Away(..) => Found::Away,
            IncomingPlace::Going(_) => return Err(ENOENT),
        })
    }

    /// Who makes a file, and how far it has come.
    fn state_of<'a>(&self, place: &'a IncomingPlace) -> (&'a FileHandler, FileState) {
        match place {
            IncomingPlace::Away(handler, _) if self.finishing => (handler, FileState::Finishing),
            IncomingPlace::Away(handler, _) => (handler, FileState::Retrieving),
            IncomingPlace::Going(handler) => (handler, FileState::Finishing),
            IncomingPlace::Here(it) => {
                let state = match it.file.retrieved() {
                    None => FileState::Waiting,
                    Some(Ok(_)) => FileState::Retrieved,
                    Some(Err(err)) => FileState::Failed(err),
                };

                (it.file.handler(), state)
            }
        }
    }

    /// Whom the file of `token` asks for at this time.
    fn asked_by(&mut self, token: u64) -> Option<&mut KVec<u64>> {
        match self.files.get_mut(&token)? {
            (_, IncomingPlace::Away(_, asked)) => Some(asked),
            _ => None,
        }
    }

    /// Whether the file of `asker` waits for itself if it waits for that of `token`.
    ///
    /// Returns `ENOMEM`.
    fn is_circle(&mut self, asker: u64, token: u64) -> Result<bool> {
        let mut reached = KVec::new();
        let mut next = 0;

        reached.push(token, GFP_KERNEL)?;
        while let Some(&it) = reached.get(next) {
            if it == asker {
                return Ok(true);
            }
            for &mut asked in self.asked_by(it).into_iter().flatten() {
                if !reached.contains(&asked) {
                    reached.push(asked, GFP_KERNEL)?;
                }
            }
            next += 1;
        }
        Ok(false)
    }
}

/// A file of the previous kernel whose handler is at work, and may ask for others.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    files: &'a IncomingFiles,
    registry: &'static Registry,
    token: u64,
    /// How many handlers are at work on this stack, one for another, but for this one.
    depth: u32,
}

impl<'a> Asker<'a> {
    /// So many handlers have room on one stack.
    const MAX_DEPTH: u32 = 2;

    /// What a callback about the file is passed.
    fn fellows(self) -> Fellows<'a> {
        Fellows::Incoming(self, Atomic::new(0))
    }

    /// See [`Fellows::file`].
    fn ask(&self, token: u64) -> Result<ARef<File>> {
        let mut set = self.files.set.lock();

        loop {
            let place = match set.find(token)? {
                Found::Answered(answer) => return answer,
                Found::Waiting(place) => Some(place),
                Found::Away if set.is_circle(self.token, token)? => return Err(ELOOP),
                Found::Away => None,
            };

            self.note(&mut set, token)?;
            let mut answer = None;
            match place {
                Some(place) => {
                    let file = Retrieving::begin(self.fellow(token), &mut set, place);

                    drop(set);
                    answer = Some(file.and_then(Retrieving::retrieve_for_another));
                    set = self.files.set.lock();
                }
                None => self.registry.wait(&mut set),
            }
            self.answered(&mut set, token);

            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Notes that this one asks for a file, so that a circle is seen.
    fn note(&self, set: &mut IncomingSet, token: u64) -> Result {
        match set.asked_by(self.token) {
            Some(asked) => Ok(asked.push(token, GFP_KERNEL)?),
            None => Ok(()),
        }
    }

    /// Undoes [`Self::note`].
    fn answered(&self, set: &mut IncomingSet, token: u64) {
        if let Some(asked) = set.asked_by(self.token) {
            if let Some(at) = asked.iter().rposition(|it| *it == token) {
                let _ = asked.remove(at);
            }
        }
    }

    /// A file that is retrieved for this one. How many ask for each other is up to userspace, so not
    /// all of them find room on one stack.
    fn fellow(&self, token: u64) -> Self {
        Self {
            token,
            depth: (self.depth + 1) % Self::MAX_DEPTH,
            ..*self
        }
    }
}

/// A file that is being retrieved. It is put back when this is dropped.
struct Retrieving<'a> {
    asker: Asker<'a>,
    place: usize,
    file: Option<IncomingFile>,
}

impl<'a> Retrieving<'a> {
    /// Takes the file that was found at a place.
    ///
    /// Returns `ENOENT` if there is none.
    fn begin(asker: Asker<'a>, set: &mut IncomingSet, place: usize) -> Result<Self> {
        let file = Some(set.take_away(place).ok_or(ENOENT)?);

        set.retrieving += 1;
        Ok(Self { asker, place, file })
    }

    fn retrieve(mut self) -> Result<ARef<File>> {
        let file = self.file.as_mut().ok_or(ENOENT)?;

        file.retrieve(self.asker.registry, &self.asker.fellows())
    }

    /// As [`Self::retrieve`], on a stack where there is room.
    fn retrieve_for_another(self) -> Result<ARef<File>> {
        match self.asker.depth {
            0 => kthread::call(c"luo_retrieve", move || self.retrieve())?,
            _ => self.retrieve(),
        }
    }
}

impl Drop for Retrieving<'_> {
    fn drop(&mut self) {
        let mut set = self.asker.files.set.lock();

        if let Some(file) = self.file.take() {
            set.put(self.place, file);
        }
        set.retrieving -= 1;
        self.asker.registry.tell(&set);
    }
}

/// The files of a session of the previous kernel, by token.
#[pin_data]
pub(crate) struct IncomingFiles {
    session: Name,
    #[pin]
    set: Mutex<IncomingSet>,
}

impl IncomingFiles {
    /// Finds and pins the handlers of the files of a session that were handed over.
    ///
    /// Returns `ENOENT` if one is not there, `ENOMEM`. May sleep.
    pub(crate) fn adopt(
        registry: &Registry,
        session: Name,
        files: &Table<wire::File>,
    ) -> Result<impl PinInit<Self>> {
        let adopt = |file: &wire::File| -> Result<_> {
            let adopted = IncomingFile::adopt(registry, file)?;

            Ok((file.token, IncomingPlace::Here(adopted)))
        };
        let set = IncomingSet {
            files: files.try_map(adopt)?,
            retrieving: 0,
            waiting: 0,
            finishing: false,
            finished: false,
        };

        Ok(pin_init!(Self {
            session,
            set <- new_mutex!(set, "luo_session"),
        }))
    }

    /// Whether all files were let go of. May sleep.
    pub(crate) fn is_finished(&self) -> bool {
        self.set.lock().finished
    }

    /// Returns the file of `token`. Its handler makes it the first time; asked again, this returns
    /// the same file. Waits for those who retrieve it already, or finish.
    ///
    /// Returns `ENOENT` if there is no such file, what the handler answered, then and whenever
    /// asked again, `EINTR` if the task is killed while it waits, or `ENOMEM`. May sleep.
    pub(crate) fn retrieve(&self, registry: &'static Registry, token: u64) -> Result<ARef<File>> {
        let mut set = self.set.lock();

        loop {
            if !set.finishing {
                match set.find(token)? {
                    Found::Answered(answer) => return answer,
                    Found::Waiting(place) => {
                        let asker = self.asker(registry, token);
                        let file = Retrieving::begin(asker, &mut set, place)?;

                        drop(set);
                        return file.retrieve();
                    }
                    Found::Away => {}
                }
            }
            registry.wait_killable(&mut set)?;
        }
    }

    /// A file whose handler is at work, the first one on its stack.
    fn asker(&self, registry: &'static Registry, token: u64) -> Asker<'_> {
        Asker {
            files: self,
            registry,
            token,
            depth: 0,
        }
    }

    /// Lets go of all files, last to first, once all handlers say that this is possible. Those
    /// that nobody asked for are lost. Waits for those who retrieve one, or finish.
    ///
    /// Returns `EBUSY` if a handler says that it is not, `EINTR` if the task is killed while it
    /// waits, and then nothing has changed. May sleep.
    pub(crate) fn finish(&self, registry: &'static Registry) -> Result {
        let mut set = self.set.lock();

        while set.finishing || set.retrieving > 0 {
            registry.wait_killable(&mut set)?;
        }
        if set.files.len() == 0 {
            set.finished = true;
            return Ok(());
        }
        set.finishing = true;
        drop(set);

        let result = self.finish_all(registry);
        let mut set = self.set.lock();

        set.finishing = false;
        set.finished = result.is_ok();
        registry.tell(&set);
        result
    }

    fn finish_all(&self, registry: &'static Registry) -> Result {
        let mut set = self.set.lock();

        for place in 0..set.files.places() {
            let token = match set.files.nth(place) {
                Some((token, IncomingPlace::Here(it))) if it.file.is_asked_to_finish() => *token,
                _ => continue,
            };
            let Some(file) = set.take_away(place) else {
                continue;
            };

            drop(set);
            let fellows = self.asker(registry, token).fellows();
            let can_finish = file.file.can_finish(&fellows);
            set = self.set.lock();
            set.put(place, file);
            if !can_finish {
                return Err(EBUSY);
            }
        }
        // The last place is no gap.
        while let Some(place) = set.files.places().checked_sub(1) {
            let token = set.files.nth(place).map_or(0, |it| it.0);
            let file = set.take(place, IncomingPlace::Going);

            drop(set);
            if let Some(file) = file {
                file.finish(registry, &self.asker(registry, token).fellows());
            }
            set = self.set.lock();
            set.files.pop();
        }

        Ok(())
    }
}

impl SessionFiles for IncomingFiles {
    fn session(&self) -> &Name {
        &self.session
    }

    fn len(&self) -> usize {
        self.set.lock().files.len()
    }

    fn show(&self, seq: &SeqFile) {
        let mut next = 0;

        // No file is ever added, so their places stay what they are.
        while !seq.has_overflowed() {
            let set = self.set.lock();
            let end = set.files.places().min(next + SHOWN_AT_ONCE);

            if next >= end {
                break;
            }
            for (token, place) in (next..end).filter_map(|place| set.files.nth(place)) {
                let (handler, state) = set.state_of(place);

                show_file(seq, *token, Some(handler), state);
            }
            next = end;
        }
    }
}
