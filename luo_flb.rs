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

use crate::abi::luo_v5 as wire;
use crate::abi::put;
use crate::abi::until_nul;
use crate::abi::Found;
use crate::block::damaged;
use crate::block::ReadError;
use crate::c_api::ModuleRef;
use crate::kho::Memory;
use crate::luo_file::callback_result;
use crate::luo_file::RawHandler;
use crate::luo_file::Registrations;
use crate::luo_file::Registry;
use core::mem;
use core::num::NonZeroU64;
use core::ptr;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::static_assert;
use kernel::str::BStr;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Mutex;
use kernel::types::Opaque;
use pin_init::raw_init;

type Args = bindings::liveupdate_flb_op_args;

/// How many depend on something that exists: at least one.
struct Count(NonZeroU64);

impl Count {
    const ONE: Self = Self(NonZeroU64::MIN);

    fn add_one(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// One less. Returns [`None`] if that was the last.
    fn without_one(self) -> Option<Self> {
        NonZeroU64::new(self.0.get() - 1).map(Self)
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
    /// Nobody has asked for it. If it was handed over, it stands in [`HandedOver`].
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

/// The FLBs of the previous kernel that nobody has asked for, each with the number of files that
/// still depend on it; [`None`] if there was no page of them.
pub(crate) struct HandedOver(Option<KVec<wire::Flb>>);

impl HandedOver {
    /// Nothing was handed over.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Returns the place of an FLB, `ENODATA` if there was no page, `ENOENT` if it is not there.
    fn find(&mut self, flb: &Flb) -> Result<(&mut KVec<wire::Flb>, usize)> {
        let entries = self.0.as_mut().ok_or(ENODATA)?;
        let index = entries
            .iter()
            .position(|entry| until_nul(&entry.name) == Some(flb.compatible()))
            .ok_or(ENOENT)?;

        Ok((entries, index))
    }

    /// Takes an FLB out.
    fn take(&mut self, flb: &Flb) -> Result<(Count, u64)> {
        let (entries, index) = self.find(flb)?;
        let entry = entries.remove(index).map_err(|_| ENOENT)?;
        let count = NonZeroU64::new(entry.count).ok_or(ENOENT)?;

        Ok((Count(count), entry.data))
    }

    /// A file less depends on an FLB. Returns its data if that was the last one.
    fn put(&mut self, flb: &Flb) -> Option<u64> {
        let (entries, index) = self.find(flb).ok()?;
        let entry = entries.get_mut(index)?;

        entry.count -= 1;
        if entry.count > 0 {
            return None;
        }
        entries.remove(index).ok().map(|entry| entry.data)
    }
}

/// What overlays `struct luo_flb_private`. All zeroes, nothing is initialised.
///
/// # Invariants
///
/// If `ready` is set, the mutexes are initialised.
#[repr(C)]
struct State {
    outgoing: Opaque<Mutex<Outgoing>>,
    incoming: Opaque<Mutex<Incoming>>,
    ready: Atomic<bool>,
}

static_assert!(size_of::<State>() <= size_of::<bindings::luo_flb_private>());
static_assert!(align_of::<State>() <= align_of::<bindings::luo_flb_private>());

impl State {
    /// Initialises what C left zeroed, once.
    fn prepare(&self, once: &Mutex<()>) {
        if self.ready.load(Acquire) {
            return;
        }

        let _once = once.lock();

        if !self.ready.load(Acquire) {
            let outgoing = new_mutex!(Outgoing::None, "luo_flb_outgoing");
            let incoming = new_mutex!(Incoming::Unasked, "luo_flb_incoming");

            // SAFETY: Nobody uses the mutexes before `ready` is set, and nobody else initialises
            // them, as `once` is held. They stay where they are, in an FLB, which C code does not
            // move.
            unsafe {
                raw_init(self.outgoing.get(), outgoing);
                raw_init(self.incoming.get(), incoming);
            }
            // INVARIANT: They are initialised now.
            self.ready.store(true, Release);
        }
    }
}

/// An FLB.
///
/// # Invariants
///
/// The FLB is valid, and its [`State`] is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flb(NonNull<bindings::liveupdate_flb>);

// SAFETY: An FLB may be called from any thread; its state is locked, and what else is used of it
// does not change.
unsafe impl Send for Flb {}

// SAFETY: As above.
unsafe impl Sync for Flb {}

impl Flb {
    /// Takes an FLB of C code.
    ///
    /// # Safety
    ///
    /// It has to be valid, its private part zeroed or used by nobody but this function, and to stay
    /// so for as long as the result is used.
    pub(crate) unsafe fn new(registry: &Registry, flb: NonNull<bindings::liveupdate_flb>) -> Self {
        // INVARIANT: The caller guarantees that it is valid.
        let flb = Self(flb);

        flb.raw_state().prepare(&registry.flb_once);
        flb
    }

    fn raw_state(&self) -> &State {
        // SAFETY: By the type invariants the FLB is valid. Its private part is large enough and
        // aligned for a `State`, which all zeroes are as well, and accessed as a `State` only.
        unsafe { &*(&raw const (*self.0.as_ptr()).private).cast() }
    }

    fn outgoing(&self) -> &Mutex<Outgoing> {
        // SAFETY: By the type invariants the state is ready, so the mutex is initialised.
        unsafe { &*self.raw_state().outgoing.get() }
    }

    fn incoming(&self) -> &Mutex<Incoming> {
        // SAFETY: As above.
        unsafe { &*self.raw_state().incoming.get() }
    }

    fn ops(&self) -> &bindings::liveupdate_flb_ops {
        // SAFETY: By the type invariants the FLB is valid, and so are its callbacks.
        unsafe { &*(*self.0.as_ptr()).ops }
    }

    /// The compatible string, up to its NUL; nothing if it has none.
    fn compatible(&self) -> &[u8] {
        // SAFETY: By the type invariants the FLB is valid, and the string is constant.
        let field = unsafe { &(*self.0.as_ptr()).compatible };

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
            flb: self.0.as_ptr(),
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
        let module = self.pin_module()?;
        let mut state = self.outgoing().lock();

        match &mut *state {
            Outgoing::Live { count, .. } => count.add_one(),
            Outgoing::None => {
                let (ret, args) = self
                    .call(|ops| ops.preserve, 0, ptr::null_mut())
                    .ok_or(EINVAL)?;

                callback_result(ret)?;
                *state = Outgoing::Live {
                    count: Count::ONE,
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
        match &mut *self.outgoing().lock() {
            Outgoing::Live { count, obj, .. } if !obj.is_null() => {
                count.add_one();
                Ok(*obj)
            }
            _ => Err(ENOENT),
        }
    }

    /// A file or a reference less. With the last, it is no longer preserved. May sleep.
    pub(crate) fn put_outgoing(&self) {
        // The lock lies in the module's memory, so the module goes after it.
        let _last;
        let mut state = self.outgoing().lock();

        match mem::replace(&mut *state, Outgoing::None) {
            Outgoing::None => pr_warn!(
                "a reference to FLB '{}' is put that nobody has\n",
                BStr::from_bytes(self.compatible())
            ),
            Outgoing::Live {
                count,
                data,
                obj,
                module,
            } => match count.without_one() {
                Some(count) => {
                    *state = Outgoing::Live {
                        count,
                        data,
                        obj,
                        module,
                    }
                }
                None => {
                    self.call(|ops| ops.unpreserve, data, obj);
                    _last = module;
                }
            },
        }
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
    /// Returns `ENODATA` if no FLB was handed over or this one is finished, `ENOENT` if others
    /// were, `ENODEV` if its module is going, or what its `retrieve` returned, the first time and
    /// ever after. May sleep.
    pub(crate) fn get_incoming(&self, registry: &Registry) -> Result<*mut c_void> {
        let module = self.pin_module();
        let mut state = self.incoming().lock();

        if let Incoming::Unasked = &*state {
            // ENODATA and ENOENT come before ENODEV.
            let mut handed_over = registry.handed_over_flbs.lock();
            handed_over.find(self)?;
            let module = module?;
            let (count, data) = handed_over.take(self)?;
            drop(handed_over);

            *state = match self.retrieve(data) {
                Ok(obj) => Incoming::Live { count, obj, module },
                Err(err) => Incoming::Failed(err),
            };
        }

        match &mut *state {
            Incoming::Live { count, obj, .. } => {
                count.add_one();
                Ok(*obj)
            }
            Incoming::Failed(err) => Err(*err),
            Incoming::Unasked | Incoming::Finished => Err(ENODATA),
        }
    }

    /// A file or a reference less. With the last it is finished, and retrieved before that if
    /// nobody has. May sleep.
    pub(crate) fn put_incoming(&self, registry: &Registry) {
        // The lock lies in the module's memory, so the module goes after it.
        let _last;
        let mut state = self.incoming().lock();

        *state = match mem::replace(&mut *state, Incoming::Finished) {
            Incoming::Live { count, obj, module } => match count.without_one() {
                Some(count) => Incoming::Live { count, obj, module },
                None => {
                    self.call(|ops| ops.finish, 0, obj);
                    _last = module;
                    Incoming::Finished
                }
            },
            Incoming::Unasked => {
                let last = registry.handed_over_flbs.lock().put(self);

                match last.map(|data| self.retrieve(data)) {
                    None => Incoming::Unasked,
                    Some(Err(err)) => Incoming::Failed(err),
                    Some(Ok(obj)) => {
                        self.call(|ops| ops.finish, 0, obj);
                        Incoming::Finished
                    }
                }
            }
            other => other,
        };
    }

    /// What to hand over, if it is preserved. From then on it stays preserved, whatever is put.
    fn hand_over(&self) -> Option<wire::Flb> {
        let mut state = self.outgoing().lock();
        let Outgoing::Live { count, data, .. } = &mut *state else {
            return None;
        };
        let mut name = [0; 48];
        put(&mut name, self.compatible());
        let flb = wire::Flb {
            name,
            data: *data,
            count: count.0.get(),
        };

        count.add_one();
        Some(flb)
    }
}

/// The FLBs on which a preserved file depends: those that its handler had when it was preserved.
///
/// Dropping it gives them up, last to first.
pub(crate) struct Dependencies(KVec<Flb>);

impl Drop for Dependencies {
    fn drop(&mut self) {
        for flb in self.0.iter().rev() {
            flb.put_outgoing();
        }
    }
}

/// An FLB that hangs on at least one handler.
pub(crate) struct Registered {
    flb: Flb,
    handlers: usize,
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
        flb: Flb,
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

        let mut registry = self.registrations.write();
        let Registrations { handlers, flbs } = &mut *registry;
        let its_flbs = Registrations::flbs_of(handlers, handler).ok_or(EINVAL)?;

        if its_flbs.contains(&flb) {
            return Err(EEXIST);
        }
        its_flbs.reserve(1, GFP_KERNEL)?;

        match flbs.iter_mut().find(|it| it.flb == flb) {
            Some(it) => it.handlers += 1,
            None => {
                if flbs.len() >= wire::FLBS_PER_PAGE {
                    return Err(ENOSPC);
                }
                if flbs
                    .iter()
                    .any(|it| it.flb.compatible() == flb.compatible())
                {
                    return Err(EEXIST);
                }
                flbs.push(Registered { flb, handlers: 1 }, GFP_KERNEL)?;
            }
        }
        its_flbs.push(flb, GFP_KERNEL)?;

        Ok(())
    }

    /// Makes the files of a handler that are preserved from now on depend on an FLB no longer.
    ///
    /// Returns `ENOENT` if they did not. May sleep; takes the registry to write.
    pub(crate) fn unregister_flb(
        &self,
        handler: NonNull<bindings::liveupdate_file_handler>,
        flb: Flb,
    ) -> Result {
        let mut registry = self.registrations.write();
        let Registrations { handlers, flbs } = &mut *registry;
        let its_flbs = Registrations::flbs_of(handlers, handler)
            .filter(|its_flbs| its_flbs.contains(&flb))
            .ok_or(ENOENT)?;

        its_flbs.retain(|it| *it != flb);
        release(flbs, flb);

        Ok(())
    }

    /// A file of `handler` is about to be preserved.
    ///
    /// Returns what the `preserve` of an FLB returns, or `ENODEV`; the FLBs before that one have
    /// lost the file again, last to first. Returns `ENOENT` if the handler was unregistered, and
    /// `ENOMEM`.
    pub(crate) fn preserve_flbs(&self, handler: RawHandler) -> Result<Dependencies> {
        let registry = self.registrations.read();
        let flbs = registry.flbs(handler).ok_or(ENOENT)?;
        let mut dependencies = Dependencies(KVec::new());

        dependencies.0.reserve(flbs.len(), GFP_KERNEL)?;
        for &flb in flbs {
            flb.preserve()?;
            dependencies.0.push(flb, GFP_KERNEL)?;
        }

        Ok(dependencies)
    }

    /// A file of `handler`, of the previous kernel, is finished.
    pub(crate) fn finish_flbs(&self, handler: RawHandler) {
        let registry = self.registrations.read();

        for flb in registry.flbs(handler).unwrap_or_default().iter().rev() {
            flb.put_incoming(self);
        }
    }

    /// Writes down the FLBs that are preserved, in the order of their registration.
    pub(crate) fn serialize_flbs(&self, page: &mut wire::FlbPage) {
        let registry = self.registrations.read();
        let preserved = registry.flbs.iter().filter_map(|it| it.flb.hand_over());
        let mut count = 0;

        for (slot, entry) in page.entries.iter_mut().zip(preserved) {
            *slot = entry;
            count += 1;
        }
        page.header.count = count;
    }
}

/// One handler of `flb` less.
pub(crate) fn release(flbs: &mut KVec<Registered>, flb: Flb) {
    flbs.retain(|it| {
        if it.flb == flb {
            it.handlers -= 1;
        }
        it.handlers > 0
    });
}

/// Copies the FLBs that the previous kernel handed over; `phys` is the physical address of their
/// page, 0 if there is none.
pub(crate) fn read(memory: &impl Memory, phys: u64) -> Result<HandedOver, ReadError> {
    if phys == 0 {
        return Ok(HandedOver::nothing());
    }
    let Some(page) = memory.page::<wire::FlbPage>(phys) else {
        let why = "not a page that was handed over";
        return damaged("luo_ser", "flbs_pa", Found::Number(phys), why);
    };
    let wire::FlbHeader { pgcnt, count } = page.header;

    if pgcnt != 1 {
        let found = Found::Number(pgcnt);
        return damaged("luo_flb_header_ser", "pgcnt", found, "not one page");
    }
    if count > wire::FLBS_PER_PAGE as u64 {
        let found = Found::Number(count);
        return damaged(
            "luo_flb_header_ser",
            "count",
            found,
            "more than a page holds",
        );
    }

    let mut flbs: KVec<wire::Flb> = KVec::with_capacity(count as usize, GFP_KERNEL)?;
    for entry in page.entries.iter().take(count as usize) {
        let name = until_nul(&entry.name);

        if name.is_none_or(<[u8]>::is_empty) {
            let why = "empty, or without a NUL";
            return damaged("luo_flb_ser", "name", Found::Nothing, why);
        }
        if flbs.iter().any(|flb| until_nul(&flb.name) == name) {
            let why = "a second FLB of this name";
            return damaged("luo_flb_ser", "name", Found::Nothing, why);
        }
        if entry.count == 0 {
            let why = "an FLB on which nothing depends";
            return damaged("luo_flb_ser", "count", Found::Number(0), why);
        }
        flbs.push(*entry, GFP_KERNEL)?;
    }

    Ok(HandedOver(Some(flbs)))
}
