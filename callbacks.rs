// SPDX-License-Identifier: GPL-2.0

//! What C drivers register, file handlers and FLBs, and their callbacks as safe methods.
//!
//! A callback is passed what an earlier one gave out, so that is kept here, in values that only the
//! driver who knows what it means gets to see: a [`PreservedFile`], a [`HandedOverFile`], an
//! [`Object`]. When a callback is due, and what it means that it fails, is decided by those who have
//! such a value.
//!
//! Each callback is watched: whoever traces it is told how long it took, and the log is if that was
//! more than a second, without what it waited for other files of its session. All
//! [tracepoints](trace) of LUO are called from here, as what is behind them is C code too that
//! somebody has registered.
//!
//! The private part of the C structs belongs to LUO. What it holds of the links is said here, and the
//! lists are used by [`List`] alone; the rest is the room for the [`State`] of an FLB.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h).

use crate::{
    abi::{
        name::Name,
        until_nul, //
    },
    list_private::{
        impl_entry,
        EntryRef,
        List, //
    },
    luo_file::Fellows,
    luo_flb::{
        Dependencies,
        State, //
    }, //
};
use core::{
    mem::offset_of,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    fmt,
    fs::File,
    module_ref::ModuleRef,
    prelude::*,
    static_assert,
    str::BStr,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Mutex, //
    },
    time::{
        self,
        Instant,
        Jiffies,
        Monotonic, //
    },
    tracepoint::{
        declare_trace,
        trace_enabled, //
    },
    types::Opaque, //
};
use pin_init::raw_init;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/callbacks.rs"]
mod tests;

type FileArgs = bindings::liveupdate_file_op_args;
type FlbArgs = bindings::liveupdate_flb_op_args;

/// What a callback answers.
trait Answer {
    /// The same as an error number; 0 or a positive one if it is none.
    fn errno(&self) -> c_int;
}

impl Answer for c_int {
    fn errno(&self) -> c_int {
        *self
    }
}

impl Answer for bool {
    fn errno(&self) -> c_int {
        (*self).into()
    }
}

impl Answer for () {
    fn errno(&self) -> c_int {
        0
    }
}

/// What callbacks are about.
trait Subject: Copy + fmt::Display {
    /// Where they stand.
    type Ops;
    /// What they are passed.
    type Args;

    /// For how many jiffies one has waited for what other callbacks do.
    fn waited(self) -> Jiffies {
        0
    }
}

/// One of the callbacks of a driver.
trait Callback<S: Subject> {
    type Answer: Answer;
    const NAME: &'static str;

    fn of(ops: &S::Ops) -> Option<unsafe extern "C" fn(*mut S::Args) -> Self::Answer>;

    /// Whether anybody wants to be told of it.
    fn is_traced() -> bool;

    /// Tells who wants to know what it answered, and after how many nanoseconds.
    fn trace(subject: S, ret: c_int, ns: u64);

    /// Makes it.
    #[inline(always)]
    fn watch(subject: S, make: impl FnOnce() -> Self::Answer) -> Self::Answer {
        let began = time::jiffies();
        let answer = if Self::is_traced() {
            Self::traced(subject, make)
        } else {
            make()
        };

        if time::jiffies() != began {
            Self::took(subject, time::jiffies().wrapping_sub(began));
        }
        answer
    }

    /// Makes it, and tells who traces it.
    #[cold]
    #[inline(never)]
    fn traced(subject: S, make: impl FnOnce() -> Self::Answer) -> Self::Answer {
        let began: Instant<Monotonic> = Instant::now();
        let answer = make();

        Self::trace(subject, answer.errno(), began.elapsed().as_nanos() as u64);
        answer
    }

    /// Tells the log of it if it took more than a second by itself: of many that wait for one, that
    /// one is named.
    #[cold]
    #[inline(never)]
    fn took(subject: S, jiffies: Jiffies) {
        let jiffies = jiffies.saturating_sub(subject.waited());
        let second = time::msecs_to_jiffies(1000);

        if jiffies > second {
            let ms = jiffies * 1000 / second;

            pr_notice!("{subject} took {ms} ms to {}\n", Self::NAME);
        }
    }
}

/// Names the callbacks that are about a [`Subject`], each with its tracepoint.
macro_rules! callbacks {
    ($subject:ty: $($name:ident = $callback:ident -> $answer:ty, $trace:ident;)*) => { $(
        enum $name {}

        impl<'a> Callback<$subject> for $name {
            type Answer = $answer;
            const NAME: &'static str = stringify!($callback);

            #[inline(always)]
            fn of(
                ops: &<$subject as Subject>::Ops,
            ) -> Option<unsafe extern "C" fn(*mut <$subject as Subject>::Args) -> $answer> {
                ops.$callback
            }

            #[inline(always)]
            fn is_traced() -> bool {
                trace_enabled!($trace)
            }

            fn trace(subject: $subject, ret: c_int, ns: u64) {
                trace::$trace(subject, ret, ns);
            }
        }
    )* };
}

callbacks! { AboutFile<'a>:
    FilePreserve = preserve -> c_int, luo_file_preserve;
    FileUnpreserve = unpreserve -> (), luo_file_unpreserve;
    FileFreeze = freeze -> c_int, luo_file_freeze;
    FileUnfreeze = unfreeze -> (), luo_file_unfreeze;
    FileRetrieve = retrieve -> c_int, luo_file_retrieve;
    FileCanFinish = can_finish -> bool, luo_file_can_finish;
    FileFinish = finish -> (), luo_file_finish;
}

callbacks! { &'a Flb:
    FlbPreserve = preserve -> c_int, luo_flb_preserve;
    FlbUnpreserve = unpreserve -> (), luo_flb_unpreserve;
    FlbRetrieve = retrieve -> c_int, luo_flb_retrieve;
    FlbFinish = finish -> (), luo_flb_finish;
}

/// What the callback of a file handler is about.
#[derive(Clone, Copy)]
struct AboutFile<'a> {
    handler: &'a FileHandler,
    fellows: &'a Fellows<'a>,
}

impl AboutFile<'_> {
    /// Tells the log why the reboot fails.
    #[cold]
    #[inline(never)]
    fn refused_to_freeze(self, err: Error) {
        pr_warn!("{self} refused to freeze: {err:?}\n");
    }
}

impl Subject for AboutFile<'_> {
    type Ops = bindings::liveupdate_file_ops;
    type Args = FileArgs;

    fn waited(self) -> Jiffies {
        self.fellows.waited()
    }
}

impl fmt::Display for AboutFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self
            .fellows
            .session()
            .map_or(b"-".as_slice(), Name::as_bytes);
        let session = BStr::from_bytes(session);
        let handler = BStr::from_bytes(self.handler.compatible());
        let token = self.fellows.token();

        f.write_fmt(fmt!(
            "session '{session}', token {token:#x}: the '{handler}'"
        ))
    }
}

impl Subject for &Flb {
    type Ops = bindings::liveupdate_flb_ops;
    type Args = FlbArgs;
}

impl fmt::Display for Flb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("FLB '{}'", BStr::from_bytes(self.compatible())))
    }
}

/// The tracepoints of LUO, which cost next to nothing as long as nobody traces.
///
/// C header: `luo_trace.h`.
pub(crate) mod trace {
    use super::*;

    /// What a tracepoint takes for the name of a session, if there is one: it ends with a NUL.
    fn string(session: Option<&Name>) -> *const c_char {
        session.map_or(c"-".as_char_ptr(), |name| name.as_field().as_ptr().cast())
    }

    /// What a tracepoint takes for a result.
    fn errno(result: &Result) -> c_int {
        result.map_or_else(Error::to_errno, |()| 0)
    }

    macro_rules! of_sessions {
        ($($(#[$doc:meta])* $name:ident;)*) => { $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name(session: &Name, result: &Result) {
                declare_trace! { unsafe fn $name(session: *const c_char, ret: c_int); }

                // What it is passed is not looked for otherwise.
                if trace_enabled!($name) {
                    // SAFETY: The name is a string that ends with a NUL.
                    unsafe { $name(string(Some(session)), errno(result)) };
                }
            }
        )* };
    }

    of_sessions! {
        /// A session was to be created.
        luo_session_create;
        /// A session was to be retrieved.
        luo_session_retrieve;
        /// The files of a session were to be let go.
        luo_session_finish;
        /// The last descriptor of a session was closed.
        luo_session_close;
    }

    macro_rules! of_files {
        ($($name:ident)*) => { $(
            pub(super) fn $name(about: AboutFile<'_>, ret: c_int, ns: u64) {
                declare_trace! {
                    unsafe fn $name(
                        session: *const c_char,
                        token: u64,
                        handler: *const bindings::liveupdate_file_handler,
                        ret: c_int,
                        ns: u64,
                    );
                }
                let AboutFile { handler, fellows } = about;

                // SAFETY: The name is a string that ends with a NUL, and the handler is valid.
                unsafe {
                    $name(string(fellows.session()), fellows.token(), handler.0.get(), ret, ns)
                };
            }
        )* };
    }

    of_files! {
        luo_file_preserve
        luo_file_unpreserve
        luo_file_freeze
        luo_file_unfreeze
        luo_file_retrieve
        luo_file_can_finish
        luo_file_finish
    }

    macro_rules! of_flbs {
        ($($name:ident)*) => { $(
            pub(super) fn $name(flb: &Flb, ret: c_int, ns: u64) {
                declare_trace! {
                    unsafe fn $name(flb: *const bindings::liveupdate_flb, ret: c_int, ns: u64);
                }

                // SAFETY: By its type invariants the FLB is valid.
                unsafe { $name(flb.0.get(), ret, ns) };
            }
        )* };
    }

    of_flbs! {
        luo_flb_preserve
        luo_flb_unpreserve
        luo_flb_retrieve
        luo_flb_finish
    }

    macro_rules! of_all_sessions {
        ($($(#[$doc:meta])* $begin:ident, $end:ident;)*) => { $(
            $(#[$doc])*
            pub(crate) fn $begin(sessions: usize) {
                declare_trace! { unsafe fn $begin(sessions: c_ulong); }

                // SAFETY: A number is always valid.
                unsafe { $begin(sessions) };
            }

            $(#[$doc])*
            pub(crate) fn $end(sessions: usize, result: &Result) {
                declare_trace! { unsafe fn $end(sessions: c_ulong, ret: c_int); }

                // SAFETY: Numbers are always valid.
                unsafe { $end(sessions, errno(result)) };
            }
        )* };
    }

    of_all_sessions! {
        /// The sessions of this kernel are written down.
        luo_serialize_begin, luo_serialize_end;
        /// Sessions are made of those that the previous kernel handed over.
        luo_restore_begin, luo_restore_end;
    }

    /// What the previous kernel handed over is refused for a field of a record; `session` is where
    /// that was found, if in one.
    pub(crate) fn luo_refuse(session: Option<&Name>, record: &str, field: &str) {
        declare_trace! {
            unsafe fn luo_refuse(
                session: *const c_char,
                record: *const c_char,
                record_len: usize,
                field: *const c_char,
                field_len: usize,
            );
        }
        let text = |text: &str| (text.as_ptr().cast(), text.len());
        let ((record, record_len), (field, field_len)) = (text(record), text(field));

        // SAFETY: The session is a string that ends with a NUL, the others have these lengths.
        unsafe { luo_refuse(string(session), record, record_len, field, field_len) };
    }
}

/// Turns what a callback returned into a [`Result`].
fn callback_result(ret: c_int) -> Result {
    match ret {
        0 => Ok(()),
        err => Err(Error::from_errno(err)),
    }
}

impl<'a> Fellows<'a> {
    /// What a callback is given to ask for them.
    fn as_raw(&self) -> *mut bindings::liveupdate_session {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The fellows that a callback asks for.
    ///
    /// # Safety
    ///
    /// `session` has to be null, or what a callback was given that does not return for as long as
    /// the result is there.
    pub(crate) unsafe fn from_raw(session: *mut bindings::liveupdate_session) -> Option<&'a Self> {
        // SAFETY: By the caller's guarantee this is null or what `as_raw()` made of a reference
        // that is borrowed until the callback returns.
        unsafe { session.cast::<Self>().as_ref() }
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

// SAFETY: Drivers leave `list` alone. [`Handlers`], which initialises it, is its only user.
impl_entry! { unsafe impl Entry for FileHandler as bindings::liveupdate_file_handler { list } }

// SAFETY: A handler may be called from any thread. Its lists are part of the registry, which is
// locked, and nothing else of it changes.
unsafe impl Sync for FileHandler {}

impl FileHandler {
    /// Takes a handler of C code.
    ///
    /// # Safety
    ///
    /// It has to be valid, and to stay so and as it is until it is unregistered, and after that for
    /// as long as its module is pinned. It may be registered once at a time. What is private in it
    /// may hold anything before.
    pub(crate) unsafe fn new(
        handler: NonNull<bindings::liveupdate_file_handler>,
    ) -> EntryRef<Self> {
        // INVARIANT: The caller guarantees that it is valid.
        // SAFETY: The caller guarantees that it stays valid for as long as a list holds it; all
        // access through the reference is that of `Opaque`.
        unsafe { EntryRef::new(handler.cast()) }
    }

    fn ops(&self) -> &bindings::liveupdate_file_ops {
        // SAFETY: By the type invariants the handler is valid, and so are its callbacks.
        unsafe { &*(*self.0.get()).ops }
    }

    /// Whether it has a compatible string and all callbacks that it has to have.
    pub(crate) fn is_complete(&self) -> bool {
        let ops = self.ops();

        ops.can_preserve.is_some()
            && ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some()
            && !self.compatible().is_empty()
    }

    /// The compatible string, with whatever stands behind its NUL.
    pub(crate) fn compatible_field(&self) -> &[u8; 48] {
        // SAFETY: By the type invariants the handler is valid, and the string is constant.
        unsafe { &(*self.0.get()).compatible }
    }

    /// The compatible string, up to its NUL; nothing if it has none.
    pub(crate) fn compatible(&self) -> &[u8] {
        until_nul(self.compatible_field()).unwrap_or_default()
    }

    /// The head of the list of its FLBs.
    fn flb_list(&self) -> *mut bindings::list_head {
        // SAFETY: By the type invariants the handler is valid.
        unsafe { &raw mut (*self.0.get()).flb_list }
    }

    fn counter(&self) -> &Atomic<i64> {
        // SAFETY: By the type invariants the handler is valid, and this is used as an atomic alone.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).files.counter) }
    }

    /// How many files it has: preserved ones, and those of the previous kernel.
    pub(crate) fn files(&self) -> u64 {
        // There are fewer than none if it was registered again while it had some.
        self.counter().load(Relaxed).try_into().unwrap_or_default()
    }

    /// Pins its module; [`None`] if that is going.
    pub(crate) fn pin_module(&self) -> Option<ModuleRef> {
        // SAFETY: The handler is registered or its module is pinned, so the module is there.
        unsafe { ModuleRef::try_get_raw(self.ops().owner) }
    }

    /// Pins its module, for a file; [`None`] if that is going.
    pub(crate) fn pin(&self) -> Option<Handler> {
        let module = self.pin_module()?;

        self.counter().fetch_add(1, Relaxed);
        Some(Handler(PinnedHandler {
            // SAFETY: A handler stays valid, even unregistered, for as long as its module is
            // pinned, and `_module` goes after this.
            handler: unsafe { EntryRef::new(NonNull::from(self)) },
            _module: module,
        }))
    }

    /// Whether it can preserve `file`. May sleep.
    pub(crate) fn can_preserve(&self, file: &File) -> bool {
        self.ops()
            .can_preserve
            // SAFETY: The handler is valid, and the file is borrowed for the time of the call.
            .is_some_and(|callback| unsafe { callback(self.0.get(), file.as_ptr()) })
    }

    /// What tells a file from all other files. May sleep.
    pub(crate) fn id(&self, file: &File) -> usize {
        match self.ops().get_id {
            // SAFETY: The file is borrowed for the time of the call.
            Some(callback) => unsafe { callback(file.as_ptr()) },
            None => file.as_ptr().addr(),
        }
    }

    /// Makes a callback, if the handler has it.
    ///
    /// # Safety
    ///
    /// What is in `args` has to be 0, or from earlier callbacks of this handler for this file; but
    /// for `serialized_data`, which the handler has to check if it comes from a previous kernel.
    unsafe fn call<'a, C: Callback<AboutFile<'a>>>(
        &'a self,
        file: Option<&File>,
        fellows: &'a Fellows<'a>,
        mut args: FileArgs,
    ) -> Option<(C::Answer, FileArgs)> {
        args.handler = self.0.get();
        args.session = fellows.as_raw();
        args.file = file.map_or(ptr::null_mut(), |file| file.as_ptr());

        let callback = C::of(self.ops())?;
        let about = AboutFile {
            handler: self,
            fellows,
        };

        let raw = &raw mut args;
        // SAFETY: The callback is one of this handler, which is valid, and the file is borrowed for
        // the time of the call. The caller guarantees the rest.
        let answer = C::watch(about, move || unsafe { callback(raw) });
        Some((answer, args))
    }
}

/// A handler with its module pinned.
#[derive(Clone)]
pub(crate) struct PinnedHandler {
    handler: EntryRef<FileHandler>,
    _module: ModuleRef,
}

impl Deref for PinnedHandler {
    type Target = FileHandler;

    fn deref(&self) -> &FileHandler {
        &self.handler
    }
}

/// The handler of a file, with its module pinned.
pub(crate) struct Handler(PinnedHandler);

impl Handler {
    /// Preserves a file that it can preserve, and keeps what it needs for as long.
    ///
    /// Returns what the handler answers. May sleep.
    pub(crate) fn preserve<T>(
        self,
        file: ARef<File>,
        fellows: &Fellows<'_>,
        needs: T,
    ) -> Result<PreservedFile<T>> {
        // SAFETY: The arguments are 0.
        let answer =
            unsafe { self.call::<FilePreserve>(Some(&file), fellows, FileArgs::default()) };
        let (ret, args) = answer.ok_or(EINVAL)?;

        callback_result(ret)?;
        Ok(PreservedFile {
            _needs: needs,
            handler: self,
            file,
            data: Atomic::new(args.serialized_data),
            private: args.private_data,
        })
    }
}

impl Deref for Handler {
    type Target = FileHandler;

    fn deref(&self) -> &FileHandler {
        &self.0
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Relaxed);
    }
}

/// A file that a handler preserves, until [`Self::unpreserve`].
///
/// The fields are in the order in which they go after that: what the file needed, the handler, whose
/// module may be unloaded when nothing refers to it any more, and the file, which may be closed.
#[must_use = "a file stays preserved unless this is unpreserved"]
pub(crate) struct PreservedFile<T> {
    _needs: T,
    handler: Handler,
    file: ARef<File>,
    /// Changes while others look at this file.
    data: Atomic<u64>,
    private: *mut c_void,
}

// SAFETY: `private` belongs to the handler, which may be called from any thread.
unsafe impl<T: Send> Send for PreservedFile<T> {}

impl<T> PreservedFile<T> {
    /// Who preserves it.
    pub(crate) fn handler(&self) -> &FileHandler {
        &self.handler
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What the handler wants to know again in the next kernel.
    pub(crate) fn data(&self) -> u64 {
        self.data.load(Relaxed)
    }

    fn call<'a, C: Callback<AboutFile<'a>>>(
        &'a self,
        fellows: &'a Fellows<'a>,
    ) -> Option<(C::Answer, FileArgs)> {
        let args = FileArgs {
            serialized_data: self.data(),
            private_data: self.private,
            ..FileArgs::default()
        };

        // SAFETY: The arguments are what `preserve` and `freeze` gave out for this file.
        unsafe { self.handler.call::<C>(Some(&self.file), fellows, args) }
    }

    /// This kernel is about to end.
    ///
    /// Returns what the handler answers. May sleep.
    pub(crate) fn freeze(&self, fellows: &Fellows<'_>) -> Result {
        if let Some((ret, args)) = self.call::<FileFreeze>(fellows) {
            callback_result(ret).inspect_err(|err| {
                AboutFile {
                    handler: &self.handler,
                    fellows,
                }
                .refused_to_freeze(*err)
            })?;
            self.data.store(args.serialized_data, Relaxed);
        }

        Ok(())
    }

    /// This kernel goes on after all. May sleep.
    pub(crate) fn unfreeze(&self, fellows: &Fellows<'_>) {
        self.call::<FileUnfreeze>(fellows);
    }

    /// Makes it an ordinary file again. May sleep.
    pub(crate) fn unpreserve(self, fellows: &Fellows<'_>) {
        self.call::<FileUnpreserve>(fellows);
    }
}

/// How far a file of the previous kernel has come.
enum Retrieval {
    /// Nobody has asked for it.
    Waiting,
    /// It is here.
    Done(ARef<File>),
    /// Its handler cannot make it.
    Failed(Error),
}

/// A preserved file of the previous kernel. Dropping it forgets it.
///
/// The fields are in the order in which they have to go, see [`PreservedFile`].
pub(crate) struct HandedOverFile {
    retrieval: Retrieval,
    handler: Handler,
    data: u64,
}

impl HandedOverFile {
    /// A file of which the handler of the previous kernel wanted to know `data` again.
    pub(crate) fn new(handler: Handler, data: u64) -> Self {
        Self {
            retrieval: Retrieval::Waiting,
            handler,
            data,
        }
    }

    /// Who makes it.
    pub(crate) fn handler(&self) -> &FileHandler {
        &self.handler
    }

    /// The same, for who looks at it while others have the file.
    pub(crate) fn pinned_handler(&self) -> PinnedHandler {
        self.handler.0.clone()
    }

    fn call<'a, C: Callback<AboutFile<'a>>>(
        &'a self,
        fellows: &'a Fellows<'a>,
    ) -> Option<(C::Answer, FileArgs)> {
        let (file, retrieve_status) = match &self.retrieval {
            Retrieval::Waiting => (None, 0),
            Retrieval::Done(file) => (Some(&**file), 1),
            Retrieval::Failed(err) => (None, err.to_errno()),
        };
        let args = FileArgs {
            serialized_data: self.data,
            retrieve_status,
            ..FileArgs::default()
        };

        // SAFETY: The file is what `retrieve` gave out, and its status what it returned. The rest is
        // 0, or for the handler to check.
        unsafe { self.handler.call::<C>(file, fellows, args) }
    }

    /// The file, or what the handler answered instead; [`None`] if nobody has asked for it.
    pub(crate) fn retrieved(&self) -> Option<Result<ARef<File>>> {
        match &self.retrieval {
            Retrieval::Waiting => None,
            Retrieval::Done(file) => Some(Ok(file.clone())),
            Retrieval::Failed(err) => Some(Err(*err)),
        }
    }

    /// Has the handler make the file, if nobody has asked for it.
    ///
    /// Returns what the handler answered, then and whenever asked again. May sleep.
    pub(crate) fn retrieve(&mut self, fellows: &Fellows<'_>) -> Result<ARef<File>> {
        if let Some(answer) = self.retrieved() {
            return answer;
        }

        let made = self.make(fellows);
        self.retrieval = match &made {
            Ok(file) => Retrieval::Done(file.clone()),
            Err(err) => Retrieval::Failed(*err),
        };
        made
    }

    fn make(&self, fellows: &Fellows<'_>) -> Result<ARef<File>> {
        let (ret, args) = self.call::<FileRetrieve>(fellows).ok_or(EINVAL)?;

        callback_result(ret)?;
        let file = NonNull::new(args.file).ok_or(EINVAL)?;

        // SAFETY: `retrieve` returns a file with a reference for its caller. It is new, so nobody
        // uses its position.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }

    /// Whether the handler wants to be asked before it has to let go of it.
    pub(crate) fn is_asked_to_finish(&self) -> bool {
        self.handler.ops().can_finish.is_some()
    }

    /// Whether the handler can let go of it. May sleep.
    pub(crate) fn can_finish(&self, fellows: &Fellows<'_>) -> bool {
        self.call::<FileCanFinish>(fellows)
            .is_none_or(|(can_finish, _)| can_finish)
    }

    /// The handler lets go of it, and of what the previous kernel left of it. May sleep.
    pub(crate) fn finish(self, fellows: &Fellows<'_>) -> FinishedFile {
        self.call::<FileFinish>(fellows);
        FinishedFile(self)
    }
}

/// A file of the previous kernel that its handler has let go of. Others may still have it open.
pub(crate) struct FinishedFile(HandedOverFile);

impl FinishedFile {
    /// Who made it.
    pub(crate) fn handler(&self) -> &FileHandler {
        self.0.handler()
    }
}

/// The registered handlers in the order of registration, each with the FLBs that its files depend
/// on.
#[pin_data]
pub(crate) struct Handlers {
    #[pin]
    list: List<EntryRef<FileHandler>>,
}

impl Handlers {
    /// Starts without handlers.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { list <- List::new() })
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Registered<'_>> {
        self.list.iter().map(Registered)
    }

    /// Adds a handler, of which no file depends on an FLB.
    ///
    /// Returns `EEXIST` if there is one with the same compatible string.
    pub(crate) fn add(self: Pin<&mut Self>, handler: EntryRef<FileHandler>) -> Result {
        let this = self.project();

        if this
            .list
            .iter()
            .any(|it| it.compatible() == handler.compatible())
        {
            return Err(EEXIST);
        }

        // SAFETY: The handler is not on this list, as none of its name is. By what its maker promised
        // it is on no other one, and nobody knows of the list in it.
        unsafe {
            handler.init_link();
            Dependencies::init_raw(handler.flb_list());
        }
        handler.counter().store(0, Relaxed);

        Ok(this.list.push_back(handler)?)
    }

    /// On which FLBs the files of a handler depend, to change it; [`None`] if it is not there.
    pub(crate) fn dependencies_mut(
        self: Pin<&mut Self>,
        handler: *const FileHandler,
    ) -> Option<Pin<&mut Dependencies>> {
        let handler = self.list.iter().find(|it| ptr::eq(*it, handler))?;

        // SAFETY: The list was made when the handler was added, and belongs to this list, which is
        // borrowed exclusively.
        Some(unsafe { List::from_raw(handler.flb_list()) })
    }

    /// Removes a handler.
    ///
    /// Returns `ENOENT` if it is not there.
    pub(crate) fn remove(
        self: Pin<&mut Self>,
        handler: *const FileHandler,
    ) -> Result<EntryRef<FileHandler>> {
        self.project().list.remove(handler)
    }
}

/// A handler that is registered, as long as [`Handlers`] are borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Registered<'a>(&'a FileHandler);

impl<'a> Registered<'a> {
    /// The handler.
    pub(crate) fn handler(self) -> &'a FileHandler {
        self.0
    }

    /// On which FLBs its files depend.
    pub(crate) fn dependencies(self) -> &'a Dependencies {
        // SAFETY: The list was made when the handler was added, and belongs to `Handlers`, which are
        // borrowed.
        unsafe { List::from_raw_ref(self.0.flb_list()) }
    }
}

impl Deref for Registered<'_> {
    type Target = FileHandler;

    fn deref(&self) -> &FileHandler {
        self.0
    }
}

/// An FLB of C code.
///
/// # Invariants
///
/// The struct is valid. All but its private part stays as it is; the private part is initialised,
/// with a [`State`] in it.
#[repr(transparent)]
pub(crate) struct Flb(Opaque<bindings::liveupdate_flb>);

/// How many bytes into the private part of an FLB its state is.
const STATE: usize = offset_of!(bindings::luo_flb_private, state);

static_assert!(STATE + size_of::<State>() <= size_of::<bindings::luo_flb_private>());
static_assert!(STATE.is_multiple_of(align_of::<State>()));
static_assert!(align_of::<State>() <= align_of::<bindings::luo_flb_private>());

// SAFETY: Drivers start with the private part zeroed and leave it alone, and here nobody touches its
// list.
impl_entry! { unsafe impl Entry for Flb as bindings::liveupdate_flb { private.list } }

// SAFETY: An FLB may be called from any thread; its state is locked, and what else is used of it
// does not change.
unsafe impl Sync for Flb {}

impl Flb {
    /// Takes an FLB of C code. If it is used for the first time, its state is made with `once`
    /// locked, which has to be the same for all.
    ///
    /// # Safety
    ///
    /// It has to be valid, its private part zeroed or used by nobody but this function, and to stay
    /// so for as long as the result or a clone of it is there, and as long as its module is pinned.
    pub(crate) unsafe fn new(
        once: &Mutex<()>,
        flb: NonNull<bindings::liveupdate_flb>,
    ) -> EntryRef<Self> {
        // SAFETY: The caller guarantees that it is valid, and a flag may be used as an atomic one.
        let ready = unsafe { &*(&raw const (*flb.as_ptr()).private.initialized).cast() };
        let ready: &Atomic<bool> = ready;

        if !ready.load(Acquire) {
            let _once = once.lock();

            if !ready.load(Acquire) {
                // SAFETY: There is room for a state, which nobody uses before `ready` is set, and
                // nobody else initialises it, as `once` is held. It stays where it is, in an FLB,
                // which C code does not move.
                unsafe {
                    let state = (&raw mut (*flb.as_ptr()).private.state).cast();

                    raw_init(state, State::new());
                }
                ready.store(true, Release);
            }
        }

        // INVARIANT: The caller guarantees that it is valid, and now it has a state.
        // SAFETY: The caller guarantees that it stays valid; all access through the reference is that
        // of `Opaque`, or to the state.
        unsafe { EntryRef::new(flb.cast()) }
    }

    /// What it is at the moment.
    pub(crate) fn state(&self) -> &State {
        // SAFETY: By the type invariants the FLB is valid, and there is a state in it.
        unsafe { &*(&raw const (*self.0.get()).private.state).cast() }
    }

    fn ops(&self) -> &bindings::liveupdate_flb_ops {
        // SAFETY: By the type invariants the FLB is valid, and so are its callbacks.
        unsafe { &*(*self.0.get()).ops }
    }

    /// Whether it has a compatible string and all callbacks.
    pub(crate) fn is_complete(&self) -> bool {
        let ops = self.ops();

        ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some()
            && !self.compatible().is_empty()
    }

    /// The compatible string, with whatever stands behind its NUL.
    pub(crate) fn compatible_field(&self) -> &[u8; 48] {
        // SAFETY: By the type invariants the FLB is valid, and the string is constant.
        unsafe { &(*self.0.get()).compatible }
    }

    /// The compatible string, up to its NUL; nothing if it has none.
    pub(crate) fn compatible(&self) -> &[u8] {
        until_nul(self.compatible_field()).unwrap_or_default()
    }

    /// Pins its module.
    ///
    /// Returns `ENODEV` if that is going.
    pub(crate) fn pin_module(&self) -> Result<ModuleRef> {
        // SAFETY: The FLB is valid, so its module is there.
        unsafe { ModuleRef::try_get_raw(self.ops().owner) }.ok_or(ENODEV)
    }

    /// Makes a callback, if the FLB has it.
    ///
    /// # Safety
    ///
    /// `data` and `obj` have to be 0, or from earlier callbacks of this FLB; `data` may be from the
    /// previous kernel, if the callback has to check it.
    unsafe fn call<'a, C: Callback<&'a Self>>(
        &'a self,
        data: u64,
        obj: *mut c_void,
    ) -> Option<(C::Answer, FlbArgs)> {
        let mut args = FlbArgs {
            flb: self.0.get(),
            data,
            obj,
        };

        let callback = C::of(self.ops())?;

        let raw = &raw mut args;
        // SAFETY: The callback is one of this FLB, which is valid. The caller guarantees the rest.
        let answer = C::watch(self, move || unsafe { callback(raw) });
        Some((answer, args))
    }

    /// Preserves it.
    ///
    /// Returns `ENODEV` if its module is going, or what its `preserve` returns. May sleep.
    pub(crate) fn preserve(&self) -> Result<Object> {
        let module = self.pin_module()?;
        // SAFETY: The arguments are 0.
        let (ret, args) = unsafe { self.call::<FlbPreserve>(0, ptr::null_mut()) }.ok_or(EINVAL)?;

        callback_result(ret)?;
        Ok(Object {
            flb: NonNull::from(self),
            data: args.data,
            obj: args.obj,
            module,
        })
    }

    /// Makes the object of what was handed over: the `data` that it wanted to know again. `module`
    /// is its module.
    ///
    /// Returns what its `retrieve` returns. May sleep.
    pub(crate) fn retrieve(
        &self,
        data: u64,
        module: ModuleRef,
    ) -> Result<Object, (Error, ModuleRef)> {
        // SAFETY: It has to check what was handed over, and the rest is 0.
        let answer = unsafe { self.call::<FlbRetrieve>(data, ptr::null_mut()) };

        match answer
            .ok_or(EINVAL)
            .and_then(|(ret, args)| callback_result(ret).map(|()| args))
        {
            Ok(args) => Ok(Object {
                flb: NonNull::from(self),
                data,
                obj: args.obj,
                module,
            }),
            Err(err) => Err((err, module)),
        }
    }
}

/// The object of an FLB that is preserved or was retrieved, with the FLB's module pinned.
///
/// # Invariants
///
/// `obj` and `data` are what an FLB gave out, which is valid as long as its module is pinned.
pub(crate) struct Object {
    flb: NonNull<Flb>,
    data: u64,
    obj: *mut c_void,
    module: ModuleRef,
}

// SAFETY: The object belongs to the FLB, which may be called from any thread.
unsafe impl Send for Object {}

impl Object {
    /// The object, for who knows what it is.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.obj
    }

    /// What the FLB wants to know again in the next kernel.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// Takes a preserved object back. The module, in whose memory the FLB and its locks are, may go
    /// with the result. May sleep.
    pub(crate) fn unpreserve(self) -> ModuleRef {
        let Self {
            flb,
            data,
            obj,
            module,
        } = self;

        // SAFETY: By the type invariants the FLB is valid, and gave out the arguments.
        unsafe { flb.as_ref().call::<FlbUnpreserve>(data, obj) };
        module
    }

    /// Lets go of a retrieved object. The module may go with the result, as with
    /// [`Self::unpreserve`]. May sleep.
    pub(crate) fn finish(self) -> ModuleRef {
        let Self {
            flb, obj, module, ..
        } = self;

        // SAFETY: By the type invariants the FLB is valid, and gave out the object.
        unsafe { flb.as_ref().call::<FlbFinish>(0, obj) };
        module
    }
}
