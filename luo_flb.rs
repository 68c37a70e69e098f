// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound objects (FLBs): state that several files share.
//!
//! An FLB hangs on file handlers. It is preserved with the first file of any of them, handed over
//! with the number of files that depend on it, retrieved when somebody in the next kernel first
//! needs it, and finished with the last of the files. Who takes a reference to it counts like a
//! file.
//!
//! What an FLB is at the moment is an enum for each direction, [`OutgoingFlb`] and [`IncomingFlb`]; a
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

use crate::{
    abi::{
        record as wire,
        string_field, //
    },
    callbacks::{
        FileHandler,
        Flb,
        Object, //
    },
    handover::{
        Contents,
        FlbRecord, //
    },
    list_private::{
        impl_entry,
        Entry as _,
        EntryRef,
        Link,
        List, //
    },
    luo_file::Registry, //
};
use core::{
    mem,
    num::NonZeroU32,
    ptr, //
};
use kernel::{
    module_ref::ModuleRef,
    new_mutex,
    prelude::*,
    str::BStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/flb.rs"]
pub(crate) mod tests;

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
struct Count {
    all: NonZeroU32,
    references: u32,
}

impl Count {
    const ONE_FILE: Self = Self {
        all: NonZeroU32::MIN,
        references: 0,
    };

    fn files(&self) -> u32 {
        self.all.get() - self.references
    }

    fn add(&mut self, holder: Holder) {
        self.all = self.all.saturating_add(1);
        if let Holder::Reference = holder {
            self.references = self.references.saturating_add(1);
        }
    }

    /// One less, unless that is the last of all, or there is none. Returns whether there was.
    fn put_one_of_many(&mut self, holder: Holder) -> bool {
        let Some(all) = NonZeroU32::new(self.all.get() - 1).filter(|_| self.has(holder)) else {
            return false;
        };

        self.all = all;
        if let Holder::Reference = holder {
            self.references -= 1;
        }
        true
    }

    fn has(&self, holder: Holder) -> bool {
        match holder {
            Holder::File => self.files() > 0,
            Holder::Reference => self.references > 0,
        }
    }
}

/// What an FLB of this kernel is.
enum OutgoingFlb {
    /// No file depends on it.
    None,
    /// It is preserved.
    Live { count: Count, object: Object },
}

/// What an FLB of the previous kernel is.
enum IncomingFlb {
    /// Nobody has asked for it. If it was handed over, it stands in [`Contents`].
    Unasked,
    /// It is here.
    Live { count: Count, object: Object },
    /// It cannot be retrieved.
    Failed(Error),
    /// The last file is gone, and so is it.
    Finished,
}

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
pub(crate) struct State {
    #[pin]
    outgoing: Mutex<OutgoingFlb>,
    #[pin]
    incoming: Mutex<IncomingFlb>,
    /// The number of handlers that it hangs on. It only changes with the registry locked.
    handlers: Atomic<i32>,
}

impl State {
    /// Nobody depends on it, or has asked for it.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            handlers: Atomic::new(0),
            outgoing <- new_mutex!(OutgoingFlb::None, "luo_flb_outgoing"),
            incoming <- new_mutex!(IncomingFlb::Unasked, "luo_flb_incoming"),
        })
    }
}

impl Flb {
    /// A file depends on it from now on. The first one makes it preserve itself.
    ///
    /// Returns `ENODEV` if its module is going, or what its `preserve` returns.
    fn hold(&self) -> Result {
        let mut state = self.state().outgoing.lock();

        match &mut *state {
            OutgoingFlb::Live { count, .. } => count.add(Holder::File),
            OutgoingFlb::None => {
                *state = OutgoingFlb::Live {
                    count: Count::ONE_FILE,
                    object: self.preserve()?,
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
            OutgoingFlb::Live { count, object } if !object.as_ptr().is_null() => {
                count.add(Holder::Reference);
                Ok(object.as_ptr())
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

        if let OutgoingFlb::Live { count, .. } = &mut *state {
            if count.put_one_of_many(holder) {
                return;
            }
        }
        *state = match mem::replace(&mut *state, OutgoingFlb::None) {
            OutgoingFlb::Live { count, object } if count.has(holder) => {
                _last = object.unpreserve();
                OutgoingFlb::None
            }
            other => {
                self.warn_unbalanced(holder);
                other
            }
        };
    }

    /// Makes the object of what was handed over.
    ///
    /// Returns what its `retrieve` returned, after a warning, and its module.
    fn make_object(&self, it: &FlbRecord, module: ModuleRef) -> Result<Object, (Error, ModuleRef)> {
        self.retrieve(it.data, module).inspect_err(|(err, _)| {
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

        if let IncomingFlb::Unasked = &*state {
            let (it, module) = registry.handed_over.lock().contents()?.take_flb(self)?;

            *state = match self.make_object(&it, module) {
                Ok(object) => IncomingFlb::Live {
                    count: Count {
                        all: it.files,
                        references: 0,
                    },
                    object,
                },
                Err((err, _)) => IncomingFlb::Failed(err),
            };
        }

        match &mut *state {
            IncomingFlb::Live { count, object } => {
                count.add(Holder::Reference);
                Ok(object.as_ptr())
            }
            IncomingFlb::Failed(err) => Err(*err),
            IncomingFlb::Unasked | IncomingFlb::Finished => Err(ENODATA),
        }
    }

    /// A holder less. With the last it is finished, and retrieved before that if nobody has. May
    /// sleep.
    pub(crate) fn put_incoming(&self, registry: &Registry, holder: Holder) {
        // The lock lies in the module's memory, so the module goes after it.
        let _last;
        let mut state = self.state().incoming.lock();

        if let IncomingFlb::Live { count, .. } = &mut *state {
            if count.put_one_of_many(holder) {
                return;
            }
        }
        *state = match mem::replace(&mut *state, IncomingFlb::Finished) {
            IncomingFlb::Live { count, object } if count.has(holder) => {
                _last = object.finish();
                IncomingFlb::Finished
            }
            IncomingFlb::Unasked if matches!(holder, Holder::File) => {
                let mut handed_over = registry.handed_over.lock();
                let last = handed_over.contents().and_then(|it| it.put_flb(self));
                drop(handed_over);

                if let Ok(Some((it, module))) = last {
                    match self.make_object(&it, module) {
                        Ok(object) => {
                            _last = object.finish();
                            IncomingFlb::Finished
                        }
                        Err((err, module)) => {
                            _last = module;
                            IncomingFlb::Failed(err)
                        }
                    }
                } else {
                    IncomingFlb::Unasked
                }
            }
            other => {
                self.warn_unbalanced(holder);
                other
            }
        };
    }

    /// How many files that are preserved depend on it. May sleep.
    pub(crate) fn outgoing_files(&self) -> u32 {
        match &*self.state().outgoing.lock() {
            OutgoingFlb::None => 0,
            OutgoingFlb::Live { count, .. } => count.files(),
        }
    }

    /// How many files of the previous kernel depend on it still. May sleep.
    pub(crate) fn incoming_files(&self, registry: &Registry) -> u32 {
        match &*self.state().incoming.lock() {
            IncomingFlb::Live { count, .. } => count.files(),
            IncomingFlb::Unasked => {
                let mut handed_over = registry.handed_over.lock();
                let found = handed_over.contents().and_then(|it| it.find_flb(self));

                found.map_or(0, |(waiting, index)| {
                    waiting.get(index).map_or(0, |it| it.files.get())
                })
            }
            IncomingFlb::Failed(_) | IncomingFlb::Finished => 0,
        }
    }

    /// What to hand over, if files depend on it. From then on it stays preserved, whatever is put.
    /// What only references hold is of no use to the next kernel, which has none of these.
    fn hand_over(&self) -> Option<wire::Flb> {
        let mut state = self.state().outgoing.lock();
        let OutgoingFlb::Live { count, object } = &mut *state else {
            return None;
        };
        let files = count.files();

        if files == 0 {
            return None;
        }
        let flb = wire::Flb {
            name: string_field(self.compatible_field()),
            data: object.data(),
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
        if self.flb.state().handlers.fetch_sub(1, Relaxed) == 1 {
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
            flb.hold()?;
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
    pub(crate) fn register_flb(&self, handler: *const FileHandler, flb: EntryRef<Flb>) -> Result {
        if !flb.is_complete() {
            return Err(EINVAL);
        }

        let mut registrations = self.registrations.write();
        let (dependencies, flbs) = registrations
            .as_mut()
            .dependencies_mut(handler)
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
        flb.state().handlers.add(1, Relaxed);

        Ok(dependencies.push_back(dependency)?)
    }

    /// Makes the files of a handler that are preserved from now on depend on an FLB no longer.
    ///
    /// Returns `ENOENT` if they did not. May sleep; takes the registry to write.
    pub(crate) fn unregister_flb(&self, handler: *const FileHandler, flb: &Flb) -> Result {
        let mut registrations = self.registrations.write();
        let (dependencies, flbs) = registrations
            .as_mut()
            .dependencies_mut(handler)
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
