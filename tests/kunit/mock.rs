// SPDX-License-Identifier: GPL-2.0

//! A world for the KUnit suites: file handlers, FLBs and files of their own, whose callbacks are
//! written down with what they were given, and fail when they are told to.
//!
//! A call is a word in the log:
//!
//! - `a.can_preserve(1)`: handler `a` was asked for file 1;
//! - `a.freeze(1,101,0)`: any other callback of a handler, with the number of the file (`-` if it
//!   was given none), the data, and the retrieve status. `preserve` makes the data 100 more than
//!   the number of the file, and each `freeze` adds another 1000;
//! - `x.preserve`: a callback of FLB `x`.
//!
//! A word ends in `!` if the callback was given something that no other callback gave out.

use crate::{
    abi::{
        luo_v5::LuoV5,
        name::Name,
        put,
        record as wire, //
    },
    block::ReadError,
    callbacks::{
        FileHandler,
        Flb, //
    },
    common::check,
    handover::{
        self,
        Contents,
        FlbRecord,
        HandOver, //
    },
    kho_tests::Preservations,
    list_private::EntryRef,
    luo_file::{
        Fellows,
        IncomingFiles,
        OutgoingFiles,
        Registry, //
    },
    luo_session::Sessions, //
};
use core::{
    fmt::Write,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    current,
    error::from_err_ptr,
    fmt,
    fs::{
        anon_inode::Ioctl,
        file::FileDescriptorReservation,
        File, //
    },
    kthread,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::BStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion,
        Mutex,
        SetOnce, //
    },
    task::Task,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque,
    workqueue, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_be_mortal();
}

/// A handler, as [`Registry`] knows it.
pub(crate) type HandlerPtr = *const FileHandler;

/// Numbers that look random, and are the same in each run (Marsaglia's xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number, less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}

/// The name of a session of which nothing but the files matters.
pub(crate) fn session_name() -> Result<Name> {
    let mut field = [0; _];

    put(&mut field, b"mock");
    Name::new(&field).ok_or(EINVAL)
}

/// How many files of a world go into a block.
pub(crate) const FILES_PER_BLOCK: usize = 63;

impl OutgoingFiles {
    /// No files, which are written as `luo-v5` wants it with pages of 4 KiB. On larger ones, these
    /// are blocks that are never full, and read as such. To fill them would take more descriptors
    /// than a task may have.
    pub(crate) fn none() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(Self::new(session_name()?, 4096), GFP_KERNEL)
    }

    /// Preserves the file behind a descriptor of the test.
    pub(crate) fn preserve_fd(&self, registry: &'static Registry, token: u64, fd: i32) -> Result {
        self.preserve(registry, token, || ioctl(0, 0).fget(fd))
    }
}

/// An ioctl, as a test makes it.
pub(crate) fn ioctl(cmd: u32, arg: usize) -> Ioctl {
    // SAFETY: The test is in no other system call that has a file.
    unsafe { Ioctl::new(cmd, arg) }
}

/// A call that is going to fail.
struct Refusal {
    call: &'static str,
    /// After how many other calls of that name.
    after: usize,
    err: Error,
}

/// What a handler does within a callback: it is given the name of that, the number of the file, and
/// the other files of the session.
pub(crate) type Part = dyn Fn(&str, u64, &Fellows<'_>) -> Result + Send + Sync;

/// What the callbacks of a world share.
struct Stage {
    /// Filled within its capacity: callbacks must not allocate where allocations are made to fail.
    calls: KVVec<u8>,
    refusal: Option<Refusal>,
    part: Option<Arc<Part>>,
    files: KVVec<(u64, ARef<File>)>,
    /// How many files and FLBs are preserved.
    preserved: isize,
    /// Whether a part of a callback that cannot refuse has failed.
    failed: bool,
}

impl Write for Stage {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for &byte in text.as_bytes() {
            self.calls
                .push_within_capacity(byte)
                .map_err(|_| core::fmt::Error)?;
        }
        Ok(())
    }
}

impl Stage {
    /// Writes down a call. Returns what it is to answer.
    fn called(&mut self, call: fmt::Arguments<'_>) -> Result {
        let start = self.calls.len();

        // What finds no room is missed by `World::expect()`.
        let _ = write!(self, "{call} ");

        match &mut self.refusal {
            Some(it) if self.calls[start..].starts_with(it.call.as_bytes()) => {
                if it.after > 0 {
                    it.after -= 1;
                    return Ok(());
                }
                let err = it.err;
                self.refusal = None;
                Err(err)
            }
            _ => Ok(()),
        }
    }
}

/// The part of a mock that its callbacks use.
struct Actor {
    name: char,
    stage: NonNull<Mutex<Stage>>,
}

impl Actor {
    fn stage(&self) -> &Mutex<Stage> {
        // SAFETY: The world has both, and drops the stage last.
        unsafe { self.stage.as_ref() }
    }

    fn called(&self, call: fmt::Arguments<'_>) -> Result {
        self.stage().lock().called(fmt!("{}.{}", self.name, call))
    }
}

fn errno(result: Result) -> c_int {
    result.map_or_else(|err| err.to_errno(), |()| 0)
}

/// A file handler. `raw` comes first: LUO passes its address to the callbacks.
#[repr(C)]
struct Handler {
    raw: Opaque<bindings::liveupdate_file_handler>,
    ops: bindings::liveupdate_file_ops,
    actor: Actor,
    /// The files that it can preserve.
    files: Range<u64>,
}

/// The number of a mock file.
fn number(file: *mut bindings::file) -> u64 {
    // SAFETY: All files here were made by `World::file()`, which puts the number there for good.
    unsafe { (*file).private_data }.addr() as u64
}

/// How many references there are to a file but those of its world: one in the table of file
/// descriptors, and one in its [`Stage`].
fn references(file: &File) -> i64 {
    // SAFETY: Nobody changes it at this time, as all who do are called by the current thread. The
    // first reference is counted as 0.
    unsafe { (*file.as_ptr()).f_ref.refcnt.counter - 1 }
}

impl Handler {
    const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: Some(Self::freeze),
        unfreeze: Some(Self::unfreeze),
        retrieve: Some(Self::retrieve),
        can_finish: Some(Self::can_finish),
        finish: Some(Self::finish),
        get_id: Some(Self::get_id),
        owner: ptr::null_mut(),
    };

    /// # Safety
    ///
    /// `raw` has to be that of a mock.
    unsafe fn of<'a>(raw: *mut bindings::liveupdate_file_handler) -> &'a Self {
        // SAFETY: It is the first field of a `Handler`, which lives longer than it is registered or
        // pinned.
        unsafe { &*raw.cast() }
    }

    /// Writes down a callback that takes `args`; `private` is what it has to find there.
    fn called(
        what: &str,
        args: &bindings::liveupdate_file_op_args,
        private: impl FnOnce(u64) -> u64,
    ) -> Result {
        let data = args.serialized_data;
        let status = args.retrieve_status;
        let odd = if args.private_data.addr() as u64 == private(data % 100) {
            ""
        } else {
            "!"
        };
        // SAFETY: LUO calls this for one of these handlers.
        let actor = &unsafe { Self::of(args.handler) }.actor;

        let number = if args.file.is_null() {
            actor.called(fmt!("{what}(-,{data},{status}){odd}"))?;
            data % 1000 - 100
        } else {
            let number = number(args.file);

            actor.called(fmt!("{what}({number},{data},{status}){odd}"))?;
            number
        };
        let part = actor.stage().lock().part.clone();

        match part {
            // SAFETY: This is called by the callback that was given the session.
            Some(part) => part(
                what,
                number,
                unsafe { Fellows::from_raw(args.session) }.ok_or(EINVAL)?,
            ),
            None => Ok(()),
        }
    }

    /// As [`Self::called`], of a callback that cannot refuse.
    fn told(
        what: &str,
        args: &bindings::liveupdate_file_op_args,
        private: impl FnOnce(u64) -> u64,
    ) {
        if Self::called(what, args, private).is_err() {
            // SAFETY: As in `called()`.
            unsafe { Self::of(args.handler) }
                .actor
                .stage()
                .lock()
                .failed = true;
        }
    }

    fn preserved(args: &bindings::liveupdate_file_op_args, change: isize) {
        // SAFETY: As in `called()`.
        unsafe { Self::of(args.handler) }
            .actor
            .stage()
            .lock()
            .preserved += change;
    }

    extern "C" fn can_preserve(
        raw: *mut bindings::liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        // SAFETY: LUO calls this for one of these handlers.
        let this = unsafe { Self::of(raw) };
        let number = number(file);

        this.actor.called(fmt!("can_preserve({number})")).is_ok() && this.files.contains(&number)
    }

    extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // Files 1 and 101 have the same.
        (number(file) % 100) as c_ulong
    }

    extern "C" fn preserve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &mut *args };
        let answer = Self::called("preserve", args, |_| 0);

        if answer.is_ok() {
            let number = number(args.file);

            Self::preserved(args, 1);
            args.serialized_data = 100 + number;
            args.private_data = ptr::without_provenance_mut(200 + (number % 100) as usize);
        }
        errno(answer)
    }

    extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &*args };

        Self::told("unpreserve", args, |id| 200 + id);
        Self::preserved(args, -1);
    }

    extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &mut *args };
        let answer = Self::called("freeze", args, |id| 200 + id);

        // That is for nobody to see if this fails.
        args.serialized_data += 1000;
        errno(answer)
    }

    extern "C" fn unfreeze(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO lends it for the time of the call.
        Self::told("unfreeze", unsafe { &*args }, |id| 200 + id);
    }

    extern "C" fn retrieve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &mut *args };
        let answer = Self::called("retrieve", args, |_| 0);

        if answer.is_ok() {
            // SAFETY: As in `called()`.
            let stage = unsafe { Self::of(args.handler) }.actor.stage().lock();
            let wanted = args.serialized_data % 1000 - 100;

            if let Some((_, file)) = stage.files.iter().find(|(number, _)| *number == wanted) {
                args.file = ARef::into_raw(file.clone()).as_ptr().cast();
            }
        }
        errno(answer)
    }

    extern "C" fn can_finish(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: LUO lends it for the time of the call.
        Self::called("can_finish", unsafe { &*args }, |_| 0).is_ok()
    }

    extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO lends it for the time of the call.
        Self::told("finish", unsafe { &*args }, |_| 0);
    }
}

/// An FLB. `raw` comes first: LUO passes its address to the callbacks.
#[repr(C)]
struct MockFlb {
    raw: Opaque<bindings::liveupdate_flb>,
    ops: bindings::liveupdate_flb_ops,
    actor: Actor,
}

/// What FLB `name` hands over.
pub(crate) fn flb_data(name: char) -> u64 {
    1000 + name as u64
}

/// The object of FLB `name` when it is preserved; `-` has none.
pub(crate) fn outgoing_obj(name: char) -> *mut c_void {
    match name {
        '-' => ptr::null_mut(),
        _ => ptr::without_provenance_mut(2000 + name as usize),
    }
}

/// The object of FLB `name` when it is retrieved.
pub(crate) fn incoming_obj(name: char) -> *mut c_void {
    ptr::without_provenance_mut(3000 + name as usize)
}

impl MockFlb {
    const OPS: bindings::liveupdate_flb_ops = bindings::liveupdate_flb_ops {
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        retrieve: Some(Self::retrieve),
        finish: Some(Self::finish),
        owner: ptr::null_mut(),
    };

    /// Writes down a callback; whether `expected` is true of the name, the data and the object.
    fn called(
        what: &str,
        args: &bindings::liveupdate_flb_op_args,
        expected: impl FnOnce(char, u64, *mut c_void) -> bool,
    ) -> (&'static Self, Result) {
        // SAFETY: LUO calls this for one of these FLBs, which lives longer than it is registered or
        // pinned.
        let this = unsafe { &*args.flb.cast::<Self>() };
        let odd = if expected(this.actor.name, args.data, args.obj) {
            ""
        } else {
            "!"
        };

        (this, this.actor.called(fmt!("{what}{odd}")))
    }

    extern "C" fn preserve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &mut *args };
        let (this, answer) =
            Self::called("preserve", args, |_, data, obj| data == 0 && obj.is_null());

        if answer.is_ok() {
            this.actor.stage().lock().preserved += 1;
            args.data = flb_data(this.actor.name);
            args.obj = outgoing_obj(this.actor.name);
        }
        errno(answer)
    }

    extern "C" fn unpreserve(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &*args };
        let (this, _) = Self::called("unpreserve", args, |name, data, obj| {
            data == flb_data(name) && obj == outgoing_obj(name)
        });

        this.actor.stage().lock().preserved -= 1;
    }

    extern "C" fn retrieve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &mut *args };
        let (this, answer) = Self::called("retrieve", args, |name, data, obj| {
            data == flb_data(name) && obj.is_null()
        });

        if answer.is_ok() {
            args.obj = incoming_obj(this.actor.name);
        }
        errno(answer)
    }

    extern "C" fn finish(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: LUO lends it for the time of the call.
        let args = unsafe { &*args };
        let _ = Self::called("finish", args, |name, _, obj| obj == incoming_obj(name));
    }
}

/// A module that nothing was loaded from.
struct Module(KBox<Opaque<bindings::module>>);

impl Module {
    fn new() -> Result<Self> {
        let module = KBox::init(
            pin_init::init_zeroed::<Opaque<bindings::module>>(),
            GFP_KERNEL,
        )?;

        // SAFETY: The module is ours alone. Of what it was loaded, it has one reference.
        #[cfg(CONFIG_MODULE_UNLOAD)]
        unsafe {
            (*module.get()).refcnt.counter = 1
        };
        Ok(Self(module))
    }

    /// The references but its own.
    fn references(&self) -> c_int {
        // SAFETY: Nobody changes it at this time, as all who do are called by the current thread.
        #[cfg(CONFIG_MODULE_UNLOAD)]
        return unsafe { (*self.0.get()).refcnt.counter } - 1;
        #[cfg(not(CONFIG_MODULE_UNLOAD))]
        0
    }
}

/// A LUO of a test's own, with handlers, FLBs and files.
///
/// What is made of it has to be dropped before it.
pub(crate) struct World {
    sessions: Pin<KBox<Sessions>>,
    handlers: KVec<KBox<Opaque<Handler>>>,
    flbs: KVec<KBox<Opaque<MockFlb>>>,
    fds: KVVec<u32>,
    module: Module,
    stage: Pin<KBox<Mutex<Stage>>>,
}

impl World {
    /// One to which nothing was handed over.
    pub(crate) fn new() -> Result<Self> {
        Self::with(None)
    }

    /// One to which FLBs were handed over.
    pub(crate) fn with(flbs: Option<KVec<FlbRecord>>) -> Result<Self> {
        Self::after(HandOver::sound(Contents::of_flbs(flbs)))
    }

    /// One with such a hand-over.
    pub(crate) fn after(handed_over: HandOver) -> Result<Self> {
        let stage = Stage {
            calls: KVVec::with_capacity(16 * PAGE_SIZE, GFP_KERNEL)?,
            refusal: None,
            part: None,
            files: KVVec::new(),
            preserved: 0,
            failed: false,
        };

        Ok(Self {
            sessions: KBox::pin_init(Sessions::new(&LuoV5, handed_over), GFP_KERNEL)?,
            handlers: KVec::new(),
            flbs: KVec::new(),
            fds: KVVec::new(),
            module: Module::new()?,
            stage: KBox::pin_init(new_mutex!(stage, "luo_kunit_stage"), GFP_KERNEL)?,
        })
    }

    /// Its sessions.
    pub(crate) fn sessions(&self) -> &'static Sessions {
        let sessions: *const Sessions = &*self.sessions;

        // SAFETY: It is pinned, and lives longer than what is made of it.
        unsafe { &*sessions }
    }

    /// Its registry.
    pub(crate) fn registry(&self) -> &'static Registry {
        &self.sessions().registry
    }

    fn actor(&self, name: char) -> Actor {
        Actor {
            name,
            stage: NonNull::from(&*self.stage),
        }
    }

    /// Makes a handler that can preserve `files`. It may be changed as long as it is not
    /// registered.
    pub(crate) fn handler(&mut self, name: char, files: Range<u64>) -> Result<HandlerPtr> {
        let mut compatible = [0; 48];
        put(&mut compatible, &[name as u8]);

        let handler = KBox::new(
            Opaque::new(Handler {
                raw: Opaque::new(bindings::liveupdate_file_handler {
                    compatible,
                    ..pin_init::zeroed()
                }),
                ops: bindings::liveupdate_file_ops {
                    owner: self.module.0.get(),
                    ..Handler::OPS
                },
                actor: self.actor(name),
                files,
            }),
            GFP_KERNEL,
        )?;
        let it = handler.get();

        // SAFETY: It is ours alone.
        unsafe { (*(*it).raw.get()).ops = &raw const (*it).ops };
        self.handlers.push(handler, GFP_KERNEL)?;
        Ok(it.cast_const().cast())
    }

    /// Changes the callbacks of a handler that is not registered.
    pub(crate) fn edit(
        &mut self,
        handler: HandlerPtr,
        edit: impl FnOnce(&mut bindings::liveupdate_file_ops),
    ) {
        // SAFETY: It is one of these handlers, and nobody else uses it.
        edit(unsafe { &mut (*handler.cast_mut().cast::<Handler>()).ops });
    }

    /// Registers a handler.
    pub(crate) fn register(&self, handler: HandlerPtr) -> Result {
        let handler = NonNull::new(handler.cast_mut().cast()).ok_or(EINVAL)?;

        // SAFETY: It stays as it is until the world ends.
        self.registry()
            .register(unsafe { FileHandler::new(handler) })
    }

    /// Makes a handler, and registers it.
    pub(crate) fn registered(&mut self, name: char, files: Range<u64>) -> Result<HandlerPtr> {
        let handler = self.handler(name, files)?;

        self.register(handler)?;
        Ok(handler)
    }

    /// Makes an FLB whose callbacks were changed by `edit`.
    pub(crate) fn edited_flb(
        &mut self,
        name: char,
        edit: impl FnOnce(&mut bindings::liveupdate_flb_ops),
    ) -> Result<EntryRef<Flb>> {
        let mut compatible = [0; 48];
        if name != '\0' {
            put(&mut compatible, b"flb ");
            name.encode_utf8(&mut compatible[4..]);
        }

        let flb = KBox::new(
            Opaque::new(MockFlb {
                raw: Opaque::new(bindings::liveupdate_flb {
                    compatible,
                    ..pin_init::zeroed()
                }),
                ops: bindings::liveupdate_flb_ops {
                    owner: self.module.0.get(),
                    ..MockFlb::OPS
                },
                actor: self.actor(name),
            }),
            GFP_KERNEL,
        )?;
        let it = flb.get();

        // SAFETY: It is ours alone.
        unsafe {
            (*(*it).raw.get()).ops = &raw const (*it).ops;
            edit(&mut (*it).ops);
        }
        self.flbs.push(flb, GFP_KERNEL)?;
        // SAFETY: Its private part is zeroed, and it stays until the world ends.
        Ok(unsafe {
            Flb::new(
                &self.registry().flb_once,
                NonNull::new(it.cast()).ok_or(EINVAL)?,
            )
        })
    }

    /// Makes an FLB.
    pub(crate) fn flb(&mut self, name: char) -> Result<EntryRef<Flb>> {
        self.edited_flb(name, |_| {})
    }

    /// Makes FLBs, one for each character of `names`, for the files of `handler`.
    pub(crate) fn flbs(&mut self, handler: HandlerPtr, names: &str) -> Result {
        for name in names.chars() {
            let flb = self.flb(name)?;

            self.registry().register_flb(handler, flb)?;
        }
        Ok(())
    }

    /// Opens a file. Returns its file descriptor.
    pub(crate) fn file(&mut self, number: u64) -> Result<i32> {
        let fd = FileDescriptorReservation::get_unused_fd_flags(0)?;
        let file = new_file(number)?;

        self.fds.push(fd.reserved_fd(), GFP_KERNEL)?;
        self.stage
            .lock()
            .files
            .push((number, ARef::clone(&file)), GFP_KERNEL)?;

        let number = fd.reserved_fd() as i32;
        fd.fd_install(file);
        Ok(number)
    }

    /// Opens the files of `numbers` and preserves them, each under its number.
    pub(crate) fn preserved(&mut self, numbers: Range<u64>) -> Result<Pin<KBox<OutgoingFiles>>> {
        let files = OutgoingFiles::none()?;

        for number in numbers {
            let fd = self.file(number)?;

            files.preserve_fd(self.registry(), number, fd)?;
        }
        Ok(files)
    }

    /// Reads back what this kernel has written, into this world. Returns the number of blocks too.
    pub(crate) fn read(
        &self,
        set: &wire::FileSet,
    ) -> Result<(Pin<KBox<IncomingFiles>>, usize), ReadError> {
        let (files, blocks) = handover::tests::files_of(&Preservations, set)?;
        let files = IncomingFiles::adopt(self.registry(), session_name()?, &files)?;

        Ok((KBox::pin_init(files, GFP_KERNEL)?, blocks))
    }

    /// The call that is going to fail: the one after `after` others that begin like it.
    pub(crate) fn refuse(&self, call: &'static str, after: usize, err: Error) {
        self.stage.lock().refusal = Some(Refusal { call, after, err });
    }

    /// What handlers do within their callbacks from now on.
    pub(crate) fn play(
        &self,
        part: impl Fn(&str, u64, &Fellows<'_>) -> Result + Send + Sync + 'static,
    ) -> Result {
        let part: Arc<Part> = Arc::new(part, GFP_KERNEL)?;

        self.stage.lock().part = Some(part);
        Ok(())
    }

    /// Forgets the calls that were made.
    pub(crate) fn forget(&self) {
        self.stage.lock().calls.clear();
    }

    /// Fails unless exactly these calls were made since the last time, in this order.
    #[track_caller]
    pub(crate) fn expect(&self, calls: &str) -> Result {
        let mut stage = self.stage.lock();
        let found = stage.calls.trim_ascii();
        let same = found == calls.as_bytes();

        if !same {
            pr_err!("expected '{calls}'\n");
            pr_err!("found    '{}'\n", BStr::from_bytes(found));
        }
        stage.calls.clear();
        check(same)
    }

    /// How many files and FLBs are preserved.
    pub(crate) fn count_preserved(&self) -> isize {
        self.stage.lock().preserved
    }

    /// How many references to the module are held.
    pub(crate) fn pins(&self) -> c_int {
        self.module.references()
    }

    /// The module begins to go, or is back.
    pub(crate) fn going(&self, going: bool) {
        let state = if going {
            bindings::module_state_MODULE_STATE_GOING
        } else {
            bindings::module_state_MODULE_STATE_LIVE
        };

        // SAFETY: Nobody reads it at this time, as all who do are called by the current thread.
        unsafe { (*self.module.0.get()).state = state };
    }

    /// How many references there are to a file but those of this world.
    pub(crate) fn references(&self, number: u64) -> Result<i64> {
        // The one that this takes counts.
        Ok(references(&*self.file_of(number)?) - 1)
    }

    /// A file that is open.
    pub(crate) fn file_of(&self, number: u64) -> Result<ARef<File>> {
        let stage = self.stage.lock();
        let mut files = stage.files.iter();
        let (_, file) = files.find(|(it, _)| *it == number).ok_or(ENOENT)?;

        Ok(file.clone())
    }

    /// Fails if anything is held: a preserved file or FLB, the module, or a file; or if a callback
    /// had no other way to say that its part failed.
    #[track_caller]
    pub(crate) fn settled(&self) -> Result {
        check(self.count_preserved() == 0)?;
        check(self.pins() == 0)?;

        let stage = self.stage.lock();
        check(!stage.failed)?;
        for (_, file) in &stage.files {
            check(references(file) == 0)?;
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for handler in &self.handlers {
            if let Some(handler) = NonNull::new(handler.get()) {
                self.registry().unregister(handler.as_ptr().cast());
            }
        }
        for &fd in &self.fds {
            // SAFETY: The descriptor is ours.
            unsafe { bindings::close_fd(fd) };
        }
    }
}

/// A reference to what a test keeps for longer than anybody uses this.
pub(crate) fn lasting<T>(it: &Pin<KBox<T>>) -> &'static T {
    let it: *const T = &**it;

    // SAFETY: It is pinned, and the test keeps it.
    unsafe { &*it }
}

/// Something that is done by another thread, and its result. Dropping it waits for the end.
pub(crate) struct Elsewhere {
    done: Pin<KBox<Completion>>,
    result: Pin<KBox<Mutex<Result>>>,
}

impl Elsewhere {
    /// Begins.
    pub(crate) fn begin(work: impl FnOnce() -> Result + Send + 'static) -> Result<Self> {
        let this = Self {
            done: KBox::pin_init(Completion::new(), GFP_KERNEL)?,
            result: KBox::pin_init(new_mutex!(Ok(()), "luo_kunit_result"), GFP_KERNEL)?,
        };
        let (done, result) = (lasting(&this.done), lasting(&this.result));

        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            let came = work();

            *result.lock() = came;
            done.complete_all();
        })?;
        Ok(this)
    }

    /// Waits for the end, and returns the result.
    pub(crate) fn end(&self) -> Result {
        self.done.wait_for_completion();
        *self.result.lock()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.done.wait_for_completion();
    }
}

/// Something that is done by a thread which can be killed, as tasks of userspace can be. Dropping it
/// waits for the end.
pub(crate) struct Mortal {
    elsewhere: Elsewhere,
    task: Pin<KBox<SetOnce<ARef<Task>>>>,
}

impl Mortal {
    /// Begins.
    pub(crate) fn begin(work: impl FnOnce() -> Result + Send + 'static) -> Result<Self> {
        let task = KBox::pin(SetOnce::new(), GFP_KERNEL)?;
        let known = lasting(&task);
        let elsewhere = Elsewhere::begin(move || {
            kthread::call(c"luo_kunit_mortal", move || {
                // SAFETY: This is a kernel thread, whose signal handlers are its own.
                unsafe { luo_kunit_be_mortal() };
                known.populate(ARef::from(&**current!()));
                work()
            })?
        })?;

        Ok(Self { elsewhere, task })
    }

    /// Kills it when it has begun. Waits for the end, and returns the result.
    pub(crate) fn kill(&self) -> Result {
        let task = || SetOnce::as_ref(&self.task);

        until(|| task().is_some());
        if let Some(task) = task() {
            // SAFETY: There is a reference to the task, which may have ended.
            unsafe { bindings::send_sig(bindings::SIGKILL as c_int, task.as_ptr(), 1) };
        }
        self.elsewhere.end()
    }
}

/// Waits until something is so.
pub(crate) fn until(so: impl Fn() -> bool) {
    while !so() {
        fsleep(Delta::from_micros(100));
    }
}

/// A `get_id` for which a file is another one each time.
pub(crate) extern "C" fn another_id(_file: *mut bindings::file) -> c_ulong {
    static NEXT: Atomic<usize> = Atomic::new(1000);

    NEXT.fetch_add(1, Relaxed)
}

/// Makes a file.
pub(crate) fn new_file(number: u64) -> Result<ARef<File>> {
    const FOPS: &bindings::file_operations = &pin_init::zeroed();

    // SAFETY: The name and the file operations are static, and the private data is a number.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(
            c"[luo_kunit]".as_char_ptr(),
            FOPS,
            ptr::without_provenance_mut(number as usize),
            0,
        )
    })?;

    // SAFETY: The file is new, and its reference ours.
    Ok(unsafe { ARef::from_raw(NonNull::new(file).ok_or(EINVAL)?.cast()) })
}

/// The `struct file` that LUO returned is this one.
pub(crate) fn number_of(file: &File) -> u64 {
    number(file.as_ptr())
}
