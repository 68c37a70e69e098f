// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound objects (FLBs): state that several files share.
//!
//! An FLB hangs on file handlers. It is preserved with the first file of any of them, handed over
//! with the number of files that depend on it, retrieved when somebody in the next kernel first
//! needs it, and finished with the last of the files. Who takes a reference to it counts like a
//! file.
//!
//! What an FLB is at the moment is an enum for each direction, [`Outgoing`] and [`Incoming`]; a
//! callback is made where the variant is at hand that it needs. The two enums live in the private
//! part of the C struct, which C code leaves zeroed: an FLB may be asked for before anybody has
//! registered it.
//!
//! # Callbacks
//!
//! All may sleep. They are made with the FLB locked in that direction, so a handler sees one at a
//! time, and those that come with a file also with the locks of the file's callbacks. The FLB's
//! module is pinned from `preserve` to `unpreserve`, and from `retrieve` to `finish`.
//!
//! C source: `kernel/liveupdate/luo_flb.c`.

use crate::abi::put;
use crate::abi::record as wire;
use crate::abi::until_nul;
use crate::c_api::ModuleRef;
use crate::handover::Contents;
use crate::handover::FlbRecord;
use crate::list_private::impl_entry;
use crate::list_private::Entry as _;
use crate::list_private::EntryRef;
use crate::list_private::Link;
use crate::list_private::List;
use crate::luo_file::callback_result;
use crate::luo_file::FileHandler;
use crate::luo_file::Registry;
use core::mem;
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::ptr;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::static_assert;
use kernel::str::BStr;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Mutex;
use kernel::types::Opaque;
use pin_init::raw_init;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/flb.rs"]
pub(crate) mod tests;

type Args = bindings::liveupdate_flb_op_args;

/// Who needs an FLB.
#[derive(Clone, Copy)]
pub(crate) enum Holder {
    /// A preserved file.
    File,
    /// Somebody who got a reference to the object.
    Reference,
}

/// How many need something that exists: at least one.
///
/// # Invariants
///
/// `references` is not more than `all`, and the rest are files.
// Something that cannot be 0 lets `Outgoing` do without a tag: there is no byte to spare in
// `Private`.
struct Count {
    all: NonZeroU32,
    references: u32,
}

impl Count {
    const ONE_FILE: Self = Self {
        all: NonZeroU32::MIN,
        references: 0,
    };

    fn new(files: u32, references: u32) -> Option<Self> {
        // INVARIANT: The sum is not less than either of them.
        NonZeroU32::new(files.saturating_add(references)).map(|all| Self { all, references })
    }

    fn files(&self) -> u32 {
        self.all.get() - self.references
    }

    fn add(&mut self, holder: Holder) {
        self.all = self.all.saturating_add(1);
        if let Holder::Reference = holder {
            self.references = self.references.saturating_add(1);
        }
    }

    fn has(&self, holder: Holder) -> bool {
        match holder {
            Holder::File => self.files() > 0,
            Holder::Reference => self.references > 0,
        }
    }

    /// One less, if there is one. Returns [`None`] if that was the last of all.
    fn without(self, holder: Holder) -> Option<Self> {
        match holder {
            Holder::File => Self::new(self.files().saturating_sub(1), self.references),
            Holder::Reference => Self::new(self.files(), self.references.saturating_sub(1)),
        }
    }
}

/// What an FLB of this kernel is.
enum Outgoing {
    /// No file depends on it.
    None,
    /// It is preserved.
    Live {
        count: Count,
        data: u64,
        obj: *mut c_void,
        module: ModuleRef,
    },
}

// SAFETY: The object belongs to the FLB, which may be called from any thread.
unsafe impl Send for Outgoing {}

/// What an FLB of the previous kernel is.
enum Incoming {
    /// Nobody has asked for it. If it was handed over, it stands in [`Contents`].
    Unasked,
    /// It is here.
    Live {
        count: Count,
        obj: *mut c_void,
        module: ModuleRef,
    },
    /// It cannot be retrieved.
    Failed(Error),
    /// The last file is gone, and so is it.
    Finished,
}

// SAFETY: As for `Outgoing`.
unsafe impl Send for Incoming {}

/// The FLBs of the previous kernel that nobody has asked for.
impl Contents {
    /// Returns the place of an FLB, `ENODATA` if there was no page, `ENOENT` if it is not there.
    fn find_flb(&mut self, flb: &Flb) -> Result<(&mut KVec<FlbRecord>, usize)> {
        let waiting = self.flbs().ok_or(ENODATA)?;
        let index = waiting
            .iter()
            .position(|it| it.compatible() == flb.compatible())
            .ok_or(ENOENT)?;

        Ok((waiting, index))
    }

    /// Takes an FLB out, with its module pinned.
    ///
    /// Returns what [`Self::find_flb`] does, and `ENODEV` if its module is going.
    fn take_flb(&mut self, flb: &Flb) -> Result<(FlbRecord, ModuleRef)> {
        let (waiting, index) = self.find_flb(flb)?;
        let module = flb.pin_module()?;

        Ok((waiting.remove(index).map_err(|_| ENOENT)?, module))
    }

    /// A file less depends on an FLB. Takes it out, with its module pinned, if that was the last.
    fn put_flb(&mut self, flb: &Flb) -> Result<Option<(FlbRecord, ModuleRef)>> {
        let (waiting, index) = self.find_flb(flb)?;
        let it = waiting.get_mut(index).ok_or(ENOENT)?;
        let module = flb.pin_module()?;

        match it.files.get().checked_sub(1).and_then(NonZeroU32::new) {
            Some(files) => {
                it.files = files;
                Ok(None)
            }
            None => Ok(Some((waiting.remove(index).map_err(|_| ENOENT)?, module))),
        }
    }
}

/// What an FLB is, in either direction.
#[pin_data]
struct State {
    #[pin]
    outgoing: Mutex<Outgoing>,
    #[pin]
    incoming: Mutex<Incoming>,
}

impl State {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            outgoing <- new_mutex!(Outgoing::None, "luo_flb_outgoing"),
            incoming <- new_mutex!(Incoming::Unasked, "luo_flb_incoming"),
        })
    }
}

/// What overlays `struct luo_flb_private`. It begins as zeroes.
///
/// # Invariants
///
/// If `ready` is set, `state` is initialised.
#[repr(C)]
struct Private {
    list: Opaque<bindings::list_head>,
    state: Opaque<State>,
    ready: Atomic<bool>,
    /// The number of handlers that it hangs on. It only changes with the registry locked.
    handlers: Atomic<i32>,
}

static_assert!(size_of::<Private>() <= size_of::<bindings::luo_flb_private>());
static_assert!(align_of::<Private>() <= align_of::<bindings::luo_flb_private>());
static_assert!(offset_of!(Private, list) == offset_of!(bindings::luo_flb_private, list));

impl Private {
    /// Initialises what C left zeroed, once.
    fn prepare(&self, once: &Mutex<()>) {
        if self.ready.load(Acquire) {
            return;
        }

        let _once = once.lock();

        if !self.ready.load(Acquire) {
            // SAFETY: Nobody uses the state before `ready` is set, and nobody else initialises it,
            // as `once` is held. It stays where it is, in an FLB, which C code does not move.
            unsafe { raw_init(self.state.get(), State::new()) };
            // INVARIANT: It is initialised now.
            self.ready.store(true, Release);
        }
    }
}

/// An FLB of C code.
///
/// # Invariants
///
/// The struct is valid. All but its private part stays as it is; the private part is a [`Private`]
/// that is ready.
#[repr(transparent)]
pub(crate) struct Flb(Opaque<bindings::liveupdate_flb>);

// SAFETY: Drivers start with the private part zeroed and leave it alone. [`Private`] does not touch
// its list.
impl_entry! { unsafe impl Entry for Flb as bindings::liveupdate_flb { private.list } }

// SAFETY: An FLB may be called from any thread; its state is locked, and what else is used of it
// does not change.
unsafe impl Sync for Flb {}

impl Flb {
    /// Takes an FLB of C code.
    ///
    /// # Safety
    ///
    /// It has to be valid, its private part zeroed or used by nobody but this function, and to stay
    /// so for as long as the result or a clone of it is there.
    pub(crate) unsafe fn new(
        registry: &Registry,
        flb: NonNull<bindings::liveupdate_flb>,
    ) -> EntryRef<Self> {
        // INVARIANT: The caller guarantees that it is valid, and below it becomes ready.
        // SAFETY: As above; all access through the reference is that of `Opaque` and `Private`.
        let flb: EntryRef<Self> = unsafe { EntryRef::new(flb.cast()) };

        flb.private().prepare(&registry.flb_once);
        flb
    }

    fn private(&self) -> &Private {
        // SAFETY: By the type invariants the FLB is valid. Its private part is large enough and
        // aligned for a `Private`, which all zeroes are as well, and accessed as such only.
        unsafe { &*(&raw const (*self.0.get()).private).cast() }
    }

    fn state(&self) -> &State {
        // SAFETY: By the type invariants the state is initialised.
        unsafe { &*self.private().state.get() }
    }

    fn ops(&self) -> &bindings::liveupdate_flb_ops {
        // SAFETY: By the type invariants the FLB is valid, and so are its callbacks.
        unsafe { &*(*self.0.get()).ops }
    }

    /// The compatible string, up to its NUL; nothing if it has none.
    fn compatible(&self) -> &[u8] {
        // SAFETY: By the type invariants the FLB is valid, and the string is constant.
        let field = unsafe { &(*self.0.get()).compatible };

        until_nul(field).unwrap_or_default()
    }

    fn pin_module(&self) -> Result<ModuleRef> {
        ModuleRef::get(self.ops().owner).ok_or(ENODEV)
    }

    /// Makes the callback that `select` picks.
    fn call<R>(
        &self,
        select: fn(&bindings::liveupdate_flb_ops) -> Option<unsafe extern "C" fn(*mut Args) -> R>,
        data: u64,
        obj: *mut c_void,
    ) -> Option<(R, Args)> {
        let mut args = Args {
            flb: self.0.get(),
            data,
            obj,
        };

        // SAFETY: The callback is one of this FLB, which is valid. The callers pass on unchanged
        // what earlier callbacks gave out.
        select(self.ops()).map(|callback| (unsafe { callback(&mut args) }, args))
    }

    /// A file depends on it from now on. The first one makes it preserve itself.
    ///
    /// Returns `ENODEV` if its module is going, or what its `preserve` returns.
    fn preserve(&self) -> Result {
        let mut state = self.state().outgoing.lock();

        match &mut *state {
            Outgoing::Live { count, .. } => count.add(Holder::File),
            Outgoing::None => {
                let module = self.pin_module()?;
                let (ret, args) = self
                    .call(|ops| ops.preserve, 0, ptr::null_mut())
                    .ok_or(EINVAL)?;

                callback_result(ret)?;
                *state = Outgoing::Live {
                    count: Count::ONE_FILE,
                    data: args.data,
                    obj: args.obj,
                    module,
                };
            }
        }

        Ok(())
    }

    /// Takes a reference to the preserved object.
    ///
    /// Returns `ENOENT` if there is none. May sleep.
    pub(crate) fn get_outgoing(&self) -> Result<*mut c_void> {
        match &mut *self.state().outgoing.lock() {
            Outgoing::Live { count, obj, .. } if !obj.is_null() => {
                count.add(Holder::Reference);
                Ok(*obj)
            }
            _ => Err(ENOENT),
        }
    }

    /// Somebody puts what nobody holds. It is no news of a file: those of the previous kernel may
    /// have been preserved without this FLB, or counted wrong.
    fn warn_unbalanced(&self, holder: Holder) {
        if let Holder::Reference = holder {
            pr_warn!(
                "a reference to FLB '{}' is put that nobody has\n",
                BStr::from_bytes(self.compatible())
            );
        }
    }

    /// A holder less. With the last, it is no longer preserved. May sleep.
    pub(crate) fn put_outgoing(&self, holder: Holder) {
        // The lock lies in the module's memory, so the module goes after it.
        let _last;
        let mut state = self.state().outgoing.lock();

        *state = match mem::replace(&mut *state, Outgoing::None) {
            Outgoing::Live {
                count,
                data,
                obj,
                module,
            } if count.has(holder) => match count.without(holder) {
                Some(count) => Outgoing::Live {
                    count,
                    data,
                    obj,
                    module,
                },
                None => {
                    self.call(|ops| ops.unpreserve, data, obj);
                    _last = module;
                    Outgoing::None
                }
            },
            other => {
                self.warn_unbalanced(holder);
                other
            }
        };
    }

    /// Makes the object of what was handed over.
    fn retrieve(&self, data: u64) -> Result<*mut c_void> {
        self.call(|ops| ops.retrieve, data, ptr::null_mut())
            .ok_or(EINVAL)
            .and_then(|(ret, args)| callback_result(ret).map(|()| args.obj))
            .inspect_err(|err| {
                pr_warn!(
                    "FLB '{}' is lost, it cannot be retrieved: {:?}\n",
                    BStr::from_bytes(self.compatible()),
                    err
                )
            })
    }

    /// Takes a reference to the object that the previous kernel handed over, which is retrieved if
    /// it was not.
    ///
    /// Returns `EIO` if the hand-over was refused, `ENODATA` if no FLB was handed over or this one
    /// is finished, `ENOENT` if others were, `ENODEV` if its module is going, `ENOMEM` if there is
    /// no memory to read the hand-over, or what its `retrieve` returned, the first time and ever
    /// after. May sleep.
    pub(crate) fn get_incoming(&self, registry: &Registry) -> Result<*mut c_void> {
        let mut state = self.state().incoming.lock();

        if let Incoming::Unasked = &*state {
            let (it, module) = registry.handed_over.lock().contents()?.take_flb(self)?;

            *state = match self.retrieve(it.data) {
                Ok(obj) => Incoming::Live {
                    count: Count {
                        all: it.files,
                        references: 0,
                    },
                    obj,
                    module,
                },
                Err(err) => Incoming::Failed(err),
            };
        }

        match &mut *state {
            Incoming::Live { count, obj, .. } => {
                count.add(Holder::Reference);
                Ok(*obj)
            }
            Incoming::Failed(err) => Err(*err),
            Incoming::Unasked | Incoming::Finished => Err(ENODATA),
        }
    }

    /// A holder less. With the last it is finished, and retrieved before that if nobody has. May
    /// sleep.
    pub(crate) fn put_incoming(&self, registry: &Registry, holder: Holder) {
        // The lock lies in the module's memory, so the module goes after it.
        let _last;
        let mut state = self.state().incoming.lock();

        *state = match mem::replace(&mut *state, Incoming::Finished) {
            Incoming::Live { count, obj, module } if count.has(holder) => {
                match count.without(holder) {
                    Some(count) => Incoming::Live { count, obj, module },
                    None => {
                        self.call(|ops| ops.finish, 0, obj);
                        _last = module;
                        Incoming::Finished
                    }
                }
            }
            Incoming::Unasked if matches!(holder, Holder::File) => {
                let mut handed_over = registry.handed_over.lock();
                let last = handed_over.contents().and_then(|it| it.put_flb(self));
                drop(handed_over);

                if let Ok(Some((it, module))) = last {
                    _last = module;
                    self.retrieve(it.data).map_or_else(Incoming::Failed, |obj| {
                        self.call(|ops| ops.finish, 0, obj);
                        Incoming::Finished
                    })
                } else {
                    Incoming::Unasked
                }
            }
            other => {
                self.warn_unbalanced(holder);
                other
            }
        };
    }

    /// What to hand over, if files depend on it. From then on it stays preserved, whatever is put.
    /// What only references hold is of no use to the next kernel, which has none of these.
    fn hand_over(&self) -> Option<wire::Flb> {
        let mut state = self.state().outgoing.lock();
        let Outgoing::Live { count, data, .. } = &mut *state else {
            return None;
        };
        let files = count.files();
        let mut name = [0; 48];

        if files == 0 {
            return None;
        }
        put(&mut name, self.compatible());
        let flb = wire::Flb {
            name,
            data: *data,
            count: files.into(),
        };

        count.add(Holder::File);
        Some(flb)
    }
}

/// All registered FLBs.
pub(crate) type Flbs = List<EntryRef<Flb>>;

/// The FLBs that the files of a handler depend on.
pub(crate) type Dependencies = List<Pin<KBox<Dependency>>>;

/// The files of a handler depend on an FLB.
#[pin_data]
pub(crate) struct Dependency {
    flb: EntryRef<Flb>,
    #[pin]
    link: Link,
}

impl_entry! { impl Entry for Dependency { link } }

impl Dependency {
    fn new(flb: EntryRef<Flb>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                flb,
                link <- Link::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn is_on(&self, flb: &Flb) -> bool {
        ptr::eq(&*self.flb, flb)
    }

    /// They do so no longer. An FLB on which no handler depends is none of `flbs` any more.
    pub(crate) fn release(&self, flbs: Pin<&mut Flbs>) {
        if self.flb.private().handlers.fetch_sub(1, Relaxed) == 1 {
            // It was put there with its first handler.
            let _ = flbs.remove(&*self.flb);
        }
    }
}

/// The FLBs on which a preserved file depends: those that its handler had when it was preserved.
///
/// Dropping it gives them up, last to first.
pub(crate) enum HeldFlbs {
    /// As many as need no allocation.
    Few([Option<EntryRef<Flb>>; Self::FEW]),
    /// Any number.
    Many(KVec<Option<EntryRef<Flb>>>),
}

impl HeldFlbs {
    const FEW: usize = 4;

    fn with_room_for(count: usize) -> Result<Self> {
        if count <= Self::FEW {
            Ok(Self::Few([const { None }; _]))
        } else {
            Ok(Self::Many(KVec::from_elem(None, count, GFP_KERNEL)?))
        }
    }

    fn slots(&mut self) -> &mut [Option<EntryRef<Flb>>] {
        match self {
            Self::Few(slots) => slots,
            Self::Many(slots) => slots,
        }
    }

    /// A file with these dependencies is about to be preserved.
    ///
    /// Returns what the `preserve` of an FLB returns, or `ENODEV`; the FLBs before that one have
    /// lost the file again, last to first. Returns `ENOMEM`.
    pub(crate) fn preserve(dependencies: &Dependencies) -> Result<Self> {
        let mut held = Self::with_room_for(dependencies.iter().count())?;

        for (slot, Dependency { flb, .. }) in held.slots().iter_mut().zip(dependencies) {
            flb.preserve()?;
            *slot = Some(flb.clone());
        }

        Ok(held)
    }
}

impl Drop for HeldFlbs {
    fn drop(&mut self) {
        for flb in self.slots().iter().rev().flatten() {
            flb.put_outgoing(Holder::File);
        }
    }
}

impl Registry {
    /// Makes the files of a handler depend on an FLB.
    ///
    /// Returns `EINVAL` if a callback or the compatible string is missing or the handler is not
    /// registered, `EEXIST` if the two belong together already or another FLB has the same
    /// compatible string, `ENOSPC` if there are as many FLBs as their page has room for, `ENOMEM`.
    /// May sleep; takes the registry to write.
    pub(crate) fn register_flb(
        &self,
        handler: NonNull<bindings::liveupdate_file_handler>,
        flb: EntryRef<Flb>,
    ) -> Result {
        let ops = flb.ops();

        if ops.preserve.is_none()
            || ops.unpreserve.is_none()
            || ops.retrieve.is_none()
            || ops.finish.is_none()
            || flb.compatible().is_empty()
        {
            return Err(EINVAL);
        }

        let mut registrations = self.registrations.write();
        let (dependencies, flbs) = registrations
            .as_mut()
            .dependencies_mut(handler.as_ptr().cast())
            .ok_or(EINVAL)?;

        if dependencies.iter().any(|it| it.is_on(&flb)) {
            return Err(EEXIST);
        }

        let dependency = Dependency::new(flb.clone())?;

        if !flb.is_linked() {
            if flbs.iter().count() >= wire::FLBS_PER_PAGE {
                return Err(ENOSPC);
            }
            if flbs.iter().any(|it| it.compatible() == flb.compatible()) {
                return Err(EEXIST);
            }
            flbs.push_back(flb.clone())?;
        }
        flb.private().handlers.add(1, Relaxed);

        Ok(dependencies.push_back(dependency)?)
    }

    /// Makes the files of a handler that are preserved from now on depend on an FLB no longer.
    ///
    /// Returns `ENOENT` if they did not. May sleep; takes the registry to write.
    pub(crate) fn unregister_flb(
        &self,
        handler: NonNull<bindings::liveupdate_file_handler>,
        flb: &Flb,
    ) -> Result {
        let mut registrations = self.registrations.write();
        let (dependencies, flbs) = registrations
            .as_mut()
            .dependencies_mut(handler.as_ptr().cast())
            .ok_or(ENOENT)?;
        let dependency = ptr::from_ref(dependencies.iter().find(|it| it.is_on(flb)).ok_or(ENOENT)?);

        dependencies.remove(dependency)?.release(flbs);
        Ok(())
    }

    /// A file of `handler`, of the previous kernel, is finished.
    pub(crate) fn finish_flbs(&self, handler: &FileHandler) {
        let registrations = self.registrations.read();

        for Dependency { flb, .. } in registrations
            .dependencies(handler)
            .into_iter()
            .flat_map(|dependencies| dependencies.iter().rev())
        {
            flb.put_incoming(self, Holder::File);
        }
    }

    /// Tells the log which FLBs of the previous kernel nobody here knows. May sleep.
    pub(crate) fn report_unknown_flbs(&self) {
        let registrations = self.registrations.read();
        let mut handed_over = self.handed_over.lock();

        for flb in handed_over
            .contents()
            .ok()
            .and_then(Contents::flbs)
            .into_iter()
            .flatten()
        {
            let mut known = registrations.flbs().iter();

            if !known.any(|it| it.compatible() == flb.compatible()) {
                pr_warn!(
                    "the previous kernel handed over an FLB '{}' that nobody here knows\n",
                    BStr::from_bytes(flb.compatible())
                );
            }
        }
    }

    /// Writes down the FLBs that files depend on, in the order of their registration.
    pub(crate) fn serialize_flbs(&self, page: &mut wire::FlbPage) {
        let registrations = self.registrations.read();
        let preserved = registrations
            .flbs()
            .iter()
            .filter_map(|flb| flb.hand_over());
        let mut count = 0;

        for (slot, entry) in page.entries.iter_mut().zip(preserved) {
            *slot = entry;
            count += 1;
        }
        page.header.count = count;
    }
}
