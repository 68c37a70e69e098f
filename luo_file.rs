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
//! All callbacks may sleep. Those about a file that is preserved, here or by the previous kernel,
//! are made with its session locked, so a handler never sees two at once for one such file, and
//! with the handler's module pinned from `preserve`, or from the restore of the session, on. Only
//! `can_preserve` comes before that: several tasks may ask for one file at a time, and what keeps
//! the module is that the handler cannot be unregistered meanwhile.
//!
//! C source: `kernel/liveupdate/luo_file.c`.

use crate::{
    abi::{
        put,
        record as wire,
        until_nul, //
    },
    block::BlockSet,
    callbacks::{
        FileHandler,
        HandedOverFile,
        Handler,
        Handlers,
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
    table::{
        hash_key,
        Table, //
    }, //
};
use core::ptr;
use kernel::{
    fs::File,
    new_mutex,
    new_spinlock,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    str::BStr,
    sync::{
        aref::ARef,
        rw_semaphore::{
            new_rw_semaphore,
            RwSemaphore, //
        },
        Mutex,
        SpinLock, //
    }, //
};
use pin_init::pin_init_array_from_fn;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/file.rs"]
pub(crate) mod tests;

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
}

impl Registry {
    /// Starts without handlers.
    pub(crate) fn new(handed_over: HandOver) -> impl PinInit<Self> {
        pin_init!(Self {
            registrations <- new_rw_semaphore!(Registrations::new(), "luo_registry"),
            ids <- Ids::new(),
            flb_once <- new_mutex!((), "luo_flb_once"),
            handed_over <- new_mutex!(handed_over, "luo_handed_over"),
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

    /// Whether the handler of a file that was handed over is there. May sleep.
    pub(crate) fn has_handler_of(&self, file: &wire::File) -> bool {
        self.handler_of(file).is_some()
    }

    /// The handler of a file that was handed over.
    fn handler_of(&self, file: &wire::File) -> Option<Handler> {
        let compatible = until_nul(&file.compatible)?;

        self.registrations
            .read()
            .handlers
            .iter()
            .find(|handler| handler.compatible() == compatible)
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
        let hash = hash_key().hash_u64(id as u64);

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

/// A preserved file of this kernel. While it is preserved it depends on FLBs, and is spoken for.
///
/// Dropping it makes it an ordinary file again.
type OutgoingFile = PreservedFile<(HeldFlbs, FileId)>;

impl OutgoingFile {
    fn new(registry: &'static Registry, file: ARef<File>) -> Result<Self> {
        let node = FileId::reserve()?;
        let registrations = registry.registrations.read();
        let (handler, dependencies) = registrations.handler_for(&file)?;
        let id = FileId::claim(registry, handler.id(&file), node)?;
        let flbs = HeldFlbs::preserve(dependencies)?;
        drop(registrations);

        handler.preserve(file, (flbs, id))
    }

    fn to_wire(&self, token: u64) -> wire::File {
        let mut compatible = [0; 48];
        put(&mut compatible, self.handler().compatible());

        wire::File {
            compatible,
            data: self.data(),
            token,
        }
    }
}

/// The files that a session of this kernel preserves.
///
/// # Invariants
///
/// `blocks` has room for all files and no block to spare.
pub(crate) struct OutgoingFiles {
    /// By token, in the order in which they were preserved.
    files: Table<(u64, OutgoingFile)>,
    blocks: BlockSet<wire::File>,
}

impl OutgoingFiles {
    /// Starts without files; they will be written into blocks of `block_size` bytes.
    pub(crate) fn new(block_size: usize) -> Self {
        Self {
            files: Table::new(),
            blocks: BlockSet::new(block_size),
        }
    }

    /// Makes all files ordinary ones again, last to first. May sleep.
    pub(crate) fn clear(&mut self) {
        self.files.drain_back().for_each(drop);
        self.blocks.shrink(0);
    }

    /// Preserves the file that `fget` gets as `token`.
    ///
    /// Returns `EEXIST` if there is a file of that token in this session, what `fget` returns,
    /// `ENOENT` if no handler can preserve it, `EBUSY` if it is preserved already,
    /// here or in another session, `ENOMEM`, or what the handler answers. May sleep.
    pub(crate) fn preserve(
        &mut self,
        registry: &'static Registry,
        token: u64,
        fget: impl FnOnce() -> Result<ARef<File>>,
    ) -> Result {
        let count = self.files.len();
        let vacant = self.files.vacant(&token)?.ok_or(EEXIST)?;

        self.blocks.reserve(count + 1)?;
        fget()
            .and_then(|file| OutgoingFile::new(registry, file))
            .and_then(|file| vacant.insert((token, file)))
            .inspect_err(|_| self.blocks.shrink(count))
    }

    /// Freezes all files, in order, and writes them down; returns where.
    ///
    /// On failure those that were frozen are unfrozen, last to first, and nothing is written.
    ///
    /// Returns what a handler answers. May sleep.
    pub(crate) fn freeze(&mut self) -> Result<wire::FileSet> {
        let mut frozen = 0;
        let result = self.files.iter_mut().try_for_each(|(token, file)| {
            file.freeze().inspect_err(|err| {
                pr_warn!(
                    "the '{}' of token {:#x} refused to freeze: {:?}\n",
                    BStr::from_bytes(file.handler().compatible()),
                    token,
                    err
                )
            })?;
            frozen += 1;

            self.blocks.write(frozen - 1, file.to_wire(*token))
        });

        if let Err(err) = result {
            self.unfreeze_first(frozen);
            return Err(err);
        }

        Ok(wire::FileSet {
            files: self.blocks.head(),
            count: self.files.len() as u64,
        })
    }

    /// Undoes [`Self::freeze`], last to first. May sleep.
    pub(crate) fn unfreeze(&mut self) {
        self.unfreeze_first(self.files.len());
    }

    fn unfreeze_first(&mut self, count: usize) {
        let others = self.files.len() - count;

        for (_, file) in self.files.iter().rev().skip(others) {
            file.unfreeze();
        }
        self.blocks.clear();
    }

    /// Whether a C kernel would refuse so many files.
    pub(crate) fn exceeds_c(&self) -> bool {
        self.blocks.exceeds_c()
    }
}

impl Drop for OutgoingFiles {
    fn drop(&mut self) {
        self.clear();
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

    fn retrieve(&mut self, registry: &'static Registry) -> Result<ARef<File>> {
        if !self.file.is_waiting() {
            return self.file.retrieve();
        }

        let node = FileId::reserve()?;
        let file = self.file.retrieve()?;
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

    fn finish(self, registry: &Registry) {
        let Self { id, file } = self;
        let finished = file.finish();

        registry.finish_flbs(finished.handler());
        drop(id);
    }
}

/// The files of a session of the previous kernel, by token.
pub(crate) struct IncomingFiles {
    files: Table<(u64, IncomingFile)>,
}

impl IncomingFiles {
    /// Finds and pins the handlers of the files that were handed over.
    ///
    /// Returns `ENOENT` if one is not there, `ENOMEM`. May sleep.
    pub(crate) fn adopt(registry: &Registry, files: &Table<wire::File>) -> Result<Self> {
        let adopt = |file: &wire::File| -> Result<_> {
            Ok((file.token, IncomingFile::adopt(registry, file)?))
        };

        Ok(Self {
            files: files.try_map(adopt)?,
        })
    }

    /// Returns the file of `token`. Its handler makes it the first time; asked again, this returns
    /// the same file.
    ///
    /// Returns `ENOENT` if there is no such file, what the handler answered, then and whenever
    /// asked again, or `ENOMEM`. May sleep.
    pub(crate) fn retrieve(
        &mut self,
        registry: &'static Registry,
        token: u64,
    ) -> Result<ARef<File>> {
        let (_, file) = self.files.get_mut(&token).ok_or(ENOENT)?;

        file.retrieve(registry)
    }

    /// Lets go of all files, last to first, once all handlers say that this is possible. Those
    /// that nobody asked for are lost.
    ///
    /// Returns `EBUSY` if a handler says that it is not, and then nothing has changed. May sleep.
    pub(crate) fn finish(&mut self, registry: &Registry) -> Result {
        if !self.files.iter().all(|(_, it)| it.file.can_finish()) {
            return Err(EBUSY);
        }
        for (_, file) in self.files.drain_back() {
            file.finish(registry);
        }

        Ok(())
    }
}
