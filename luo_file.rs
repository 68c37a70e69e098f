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

use crate::abi::put;
use crate::abi::record as wire;
use crate::abi::until_nul;
use crate::block::BlockSet;
use crate::c_api;
use crate::c_api::ModuleRef;
use crate::handover::HandOver;
use crate::list_private::impl_entry;
use crate::list_private::EntryRef;
use crate::list_private::List;
use crate::luo_flb::Dependencies;
use crate::luo_flb::Flbs;
use crate::luo_flb::HeldFlbs;
use crate::siphash::HashKey;
use crate::sync::new_rwsem;
use crate::sync::RwSemaphore;
use crate::table::Table;
use core::ops::Deref;
use core::ptr;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::fs::File;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::rbtree::Entry;
use kernel::rbtree::RBTree;
use kernel::rbtree::RBTreeNodeReservation;
use kernel::str::BStr;
use kernel::sync::aref::ARef;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;
use kernel::types::Opaque;
use pin_init::pin_init_array_from_fn;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/file.rs"]
pub(crate) mod tests;

type Args = bindings::liveupdate_file_op_args;
type Blocks = BlockSet<wire::File>;

/// Turns what a callback returned into a [`Result`].
pub(crate) fn callback_result(ret: c_int) -> Result {
    match ret {
        0 => Ok(()),
        err => Err(Error::from_errno(err)),
    }
}

/// A file handler of C code.
///
/// # Invariants
///
/// The struct is valid, while it is registered and after that for as long as its module is pinned.
/// All but its private part stays as it is.
#[repr(transparent)]
pub(crate) struct FileHandler(Opaque<bindings::liveupdate_file_handler>);

// SAFETY: Drivers leave `list` alone. The registry, which initialises it, is its only user.
impl_entry! { unsafe impl Entry for FileHandler as bindings::liveupdate_file_handler { list } }

// SAFETY: A handler may be called from any thread. Its lists are part of the registry, which is
// locked, and nothing else of it changes.
unsafe impl Sync for FileHandler {}

impl FileHandler {
    /// Takes a handler of C code.
    ///
    /// # Safety
    ///
    /// It has to be valid, and to stay so and as it is, for as long as the result or a clone of it
    /// is there, and its module is pinned.
    unsafe fn new(handler: NonNull<bindings::liveupdate_file_handler>) -> EntryRef<Self> {
        // INVARIANT: The caller guarantees that it is valid.
        // SAFETY: As above; all access through the reference is that of `Opaque`.
        unsafe { EntryRef::new(handler.cast()) }
    }

    fn ops(&self) -> &bindings::liveupdate_file_ops {
        // SAFETY: By the type invariants the handler is valid, and so are its callbacks.
        unsafe { &*(*self.0.get()).ops }
    }

    /// The compatible string, up to its NUL; nothing if it has none.
    fn compatible(&self) -> &[u8] {
        // SAFETY: By the type invariants the handler is valid, and the string is constant.
        let field = unsafe { &(*self.0.get()).compatible };

        until_nul(field).unwrap_or_default()
    }

    /// The head of the list of its FLBs.
    fn flb_list(&self) -> *mut bindings::list_head {
        // SAFETY: By the type invariants the handler is valid.
        unsafe { &raw mut (*self.0.get()).flb_list }
    }

    fn can_preserve(&self, file: &File) -> bool {
        // SAFETY: The callback was there when the handler was registered, the handler is valid, and
        // the file is borrowed for the time of the call.
        self.ops()
            .can_preserve
            .is_some_and(|callback| unsafe { callback(self.0.get(), file.as_ptr()) })
    }

    /// What tells a file from all other files.
    fn id(&self, file: &File) -> usize {
        match self.ops().get_id {
            // SAFETY: The file is borrowed for the time of the call.
            Some(callback) => unsafe { callback(file.as_ptr()) },
            None => file.as_ptr().addr(),
        }
    }

    /// Makes the callback that `select` picks of those that take [`Args`], if the handler has it.
    fn call<R>(
        &self,
        select: fn(&bindings::liveupdate_file_ops) -> Option<unsafe extern "C" fn(*mut Args) -> R>,
        file: Option<&File>,
        mut args: Args,
    ) -> Option<(R, Args)> {
        args.handler = self.0.get();
        args.file = file.map_or(ptr::null_mut(), |file| file.as_ptr());

        // SAFETY: The callback is one of this handler, which is valid, and the file is borrowed for
        // the time of the call. The callers pass on unchanged what earlier callbacks gave out.
        select(self.ops()).map(|callback| (unsafe { callback(&mut args) }, args))
    }
}

/// A handler with its module pinned.
struct Handler {
    handler: EntryRef<FileHandler>,
    _module: ModuleRef,
}

impl Handler {
    fn pin(handler: &FileHandler) -> Option<Self> {
        let module = ModuleRef::get(handler.ops().owner)?;

        Some(Self {
            // SAFETY: A handler stays valid, even unregistered, for as long as its module is
            // pinned, and `_module` goes after this.
            handler: unsafe { EntryRef::new(NonNull::from(handler)) },
            _module: module,
        })
    }
}

impl Deref for Handler {
    type Target = FileHandler;

    fn deref(&self) -> &FileHandler {
        &self.handler
    }
}

/// The registered handlers, and their FLBs, each once. Both are in the order of registration.
#[pin_data]
pub(crate) struct Registrations {
    #[pin]
    handlers: List<EntryRef<FileHandler>>,
    #[pin]
    flbs: Flbs,
}

impl Registrations {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            handlers <- List::new(),
            flbs <- List::new(),
        })
    }

    /// The handler for `file`, the first to be registered of those that can preserve it; and on
    /// which FLBs its files depend.
    fn handler_for(&self, file: &File) -> Result<(Handler, &Dependencies)> {
        let handler = self.handlers.iter().find(|it| it.can_preserve(file));
        let handler = handler.ok_or(ENOENT)?;

        Ok((Handler::pin(handler).ok_or(ENOENT)?, self.flbs_of(handler)))
    }

    /// All FLBs.
    pub(crate) fn flbs(&self) -> &Flbs {
        &self.flbs
    }

    /// On which FLBs the files of one of `handlers` depend.
    fn flbs_of(&self, handler: &FileHandler) -> &Dependencies {
        // SAFETY: The list was made when the handler was registered, and belongs to the
        // registrations, which are borrowed.
        unsafe { List::from_raw_ref(handler.flb_list()) }
    }

    /// On which FLBs the files of a handler depend; [`None`] if it is not registered.
    pub(crate) fn dependencies(&self, handler: *const FileHandler) -> Option<&Dependencies> {
        let handler = self.handlers.iter().find(|it| ptr::eq(*it, handler))?;

        Some(self.flbs_of(handler))
    }

    /// On which FLBs the files of a handler depend, and all FLBs, to change them; [`None`] if the
    /// handler is not registered.
    pub(crate) fn dependencies_mut(
        self: Pin<&mut Self>,
        handler: *const FileHandler,
    ) -> Option<(Pin<&mut Dependencies>, Pin<&mut Flbs>)> {
        let this = self.project();
        let handler = this.handlers.iter().find(|it| ptr::eq(*it, handler))?;

        // SAFETY: As above, and the registrations are borrowed exclusively.
        Some((unsafe { List::from_raw(handler.flb_list()) }, this.flbs))
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
            registrations <- new_rwsem!(Registrations::new(), c"luo_registry"),
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
    ///
    /// # Safety
    ///
    /// The handler has to stay valid and as it is until it is unregistered, and after that for as
    /// long as its module is pinned. What is private in it may hold anything.
    pub(crate) unsafe fn register(
        &self,
        handler: NonNull<bindings::liveupdate_file_handler>,
    ) -> Result {
        // SAFETY: The caller guarantees that it is valid.
        let handler = unsafe { FileHandler::new(handler) };
        let ops = handler.ops();

        if ops.can_preserve.is_none()
            || ops.preserve.is_none()
            || ops.unpreserve.is_none()
            || ops.retrieve.is_none()
            || ops.finish.is_none()
            || handler.compatible().is_empty()
        {
            return Err(EINVAL);
        }

        let mut registrations = self.registrations.write();
        let handlers = registrations.as_mut().project().handlers;

        if handlers
            .iter()
            .any(|it| it.compatible() == handler.compatible())
        {
            pr_err!(
                "a file handler '{}' is registered already\n",
                BStr::from_bytes(handler.compatible())
            );
            return Err(EEXIST);
        }

        // SAFETY: The handler is not registered, as none of its name is, so it is on no list, and
        // nobody but the caller knows of the list in it.
        unsafe {
            handler.init_link();
            Dependencies::init_raw(handler.flb_list());
        }

        Ok(handlers.push_back(handler)?)
    }

    /// Unregisters a handler, and its FLBs with it. May sleep; takes the registry to write.
    pub(crate) fn unregister(&self, handler: NonNull<bindings::liveupdate_file_handler>) {
        let handler = handler.as_ptr().cast();
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
            .and_then(Handler::pin)
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
        let hash = HashKey::of_this_boot().hash_u64(id as u64);

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

/// A preserved file of this kernel.
///
/// Dropping it makes it an ordinary file again. The fields are in the order in which they have to
/// go: the module may be unloaded, and the file closed, when nothing refers to them any more.
struct OutgoingFile {
    _flbs: HeldFlbs,
    _id: FileId,
    handler: Handler,
    file: ARef<File>,
    data: u64,
    private: *mut c_void,
}

// SAFETY: `private` belongs to the handler, which may be called from any thread.
unsafe impl Send for OutgoingFile {}

impl OutgoingFile {
    fn preserve(registry: &'static Registry, file: ARef<File>) -> Result<Self> {
        let node = FileId::reserve()?;
        let registrations = registry.registrations.read();
        let (handler, dependencies) = registrations.handler_for(&file)?;
        let id = FileId::claim(registry, handler.id(&file), node)?;
        let flbs = HeldFlbs::preserve(dependencies)?;
        drop(registrations);

        let (ret, args) = handler
            .call(|ops| ops.preserve, Some(&file), Args::default())
            .ok_or(EINVAL)?;
        callback_result(ret)?;

        Ok(Self {
            _flbs: flbs,
            _id: id,
            handler,
            file,
            data: args.serialized_data,
            private: args.private_data,
        })
    }

    fn args(&self) -> Args {
        Args {
            serialized_data: self.data,
            private_data: self.private,
            ..Args::default()
        }
    }

    fn freeze(&mut self) -> Result {
        if let Some((ret, args)) =
            self.handler
                .call(|ops| ops.freeze, Some(&self.file), self.args())
        {
            callback_result(ret)?;
            self.data = args.serialized_data;
        }

        Ok(())
    }

    fn unfreeze(&self) {
        self.handler
            .call(|ops| ops.unfreeze, Some(&self.file), self.args());
    }

    fn to_wire(&self, token: u64) -> wire::File {
        let mut compatible = [0; 48];
        put(&mut compatible, self.handler.compatible());

        wire::File {
            compatible,
            data: self.data,
            token,
        }
    }
}

impl Drop for OutgoingFile {
    fn drop(&mut self) {
        self.handler
            .call(|ops| ops.unpreserve, Some(&self.file), self.args());
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
    blocks: Blocks,
}

impl OutgoingFiles {
    /// Starts without files; they will be written into blocks of `block_size` bytes.
    pub(crate) fn new(block_size: usize) -> Self {
        Self {
            files: Table::new(),
            blocks: Blocks::new(block_size),
        }
    }

    /// Makes all files ordinary ones again, last to first. May sleep.
    pub(crate) fn clear(&mut self) {
        self.files.drain_back().for_each(drop);
        self.blocks.shrink(0);
    }

    /// Preserves the file behind `fd`, a file descriptor of the current task, as `token`.
    ///
    /// Returns `EEXIST` if there is a file of that token in this session, `EBADF` if there is none
    /// behind `fd`, `ENOENT` if no handler can preserve it, `EBUSY` if it is preserved already,
    /// here or in another session, `ENOMEM`, or what the handler answers. May sleep.
    pub(crate) fn preserve(&mut self, registry: &'static Registry, token: u64, fd: i32) -> Result {
        let count = self.files.len();
        let vacant = self.files.vacant(&token)?.ok_or(EEXIST)?;

        self.blocks.reserve(count + 1)?;
        c_api::fget(fd)
            .and_then(|file| OutgoingFile::preserve(registry, file))
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
                    BStr::from_bytes(file.handler.compatible()),
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

/// How far a file of the previous kernel has come.
enum Retrieval {
    /// Nobody has asked for it.
    Waiting,
    /// It is here. It is spoken for, unless its handler gave two files one id.
    Done(#[expect(dead_code)] Option<FileId>, ARef<File>),
    /// Its handler cannot make it.
    Failed(Error),
}

/// A preserved file of the previous kernel.
///
/// Dropping it forgets it. As with [`OutgoingFile`], the order of the fields counts.
struct IncomingFile {
    retrieval: Retrieval,
    handler: Handler,
    data: u64,
}

impl IncomingFile {
    /// Returns `ENOENT` if its handler is not there.
    fn adopt(registry: &Registry, file: &wire::File) -> Result<Self> {
        Ok(Self {
            retrieval: Retrieval::Waiting,
            handler: registry.handler_of(file).ok_or(ENOENT)?,
            data: file.data,
        })
    }

    fn file(&self) -> Option<&File> {
        match &self.retrieval {
            Retrieval::Done(_, file) => Some(file),
            _ => None,
        }
    }

    fn args(&self) -> Args {
        Args {
            serialized_data: self.data,
            retrieve_status: match self.retrieval {
                Retrieval::Waiting => 0,
                Retrieval::Done(..) => 1,
                Retrieval::Failed(err) => err.to_errno(),
            },
            ..Args::default()
        }
    }

    fn retrieve(&mut self, registry: &'static Registry) -> Result<ARef<File>> {
        match &self.retrieval {
            Retrieval::Done(_, file) => return Ok(file.clone()),
            Retrieval::Failed(err) => return Err(*err),
            Retrieval::Waiting => {}
        }

        let node = FileId::reserve()?;

        match self.make_file() {
            Ok(file) => {
                let id = FileId::claim(registry, self.handler.id(&file), node);

                if id.is_err() {
                    pr_warn!(
                        "the '{}' made a file that is preserved already\n",
                        BStr::from_bytes(self.handler.compatible())
                    );
                }
                self.retrieval = Retrieval::Done(id.ok(), file.clone());
                Ok(file)
            }
            Err(err) => {
                self.retrieval = Retrieval::Failed(err);
                Err(err)
            }
        }
    }

    fn make_file(&self) -> Result<ARef<File>> {
        let (ret, args) = self
            .handler
            .call(|ops| ops.retrieve, None, self.args())
            .ok_or(EINVAL)?;

        callback_result(ret)?;
        let file = NonNull::new(args.file).ok_or(EINVAL)?;

        // SAFETY: `retrieve` returns a file with a reference for its caller. It is new, so nobody
        // uses its position.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }

    fn can_finish(&self) -> bool {
        self.handler
            .call(|ops| ops.can_finish, self.file(), self.args())
            .is_none_or(|(can_finish, _)| can_finish)
    }

    fn finish(self, registry: &Registry) {
        self.handler
            .call(|ops| ops.finish, self.file(), self.args());
        registry.finish_flbs(&self.handler);
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
        if !self.files.iter().all(|(_, file)| file.can_finish()) {
            return Err(EBUSY);
        }
        for (_, file) in self.files.drain_back() {
            file.finish(registry);
        }

        Ok(())
    }
}
