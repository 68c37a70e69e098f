// SPDX-License-Identifier: GPL-2.0

//! File handlers.

use super::{
    compatible,
    flb,
    HandOver,
    Handle,
    Session, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fs::File,
    module::this_module,
    prelude::*,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::marker::PhantomData;

/// What became of a file of the previous kernel.
#[derive(Clone, Copy)]
pub enum Retrieval<'a> {
    /// Nobody asked for it.
    Unasked,
    /// It was retrieved. It may still be open, and stay so.
    Done(&'a File),
    /// [`FileHandler::restore`] or [`FileHandler::retrieve`] returned an error.
    Failed(Error),
}

/// Preserves files of one kind.
///
/// All of these may sleep, and be called for several files at a time. For one file they are called
/// one after another.
#[vtable]
pub trait FileHandler: Sized + 'static {
    /// The name and version of what is handed over, by which the next kernel knows who can read it.
    ///
    /// At most 47 bytes. No other handler may have the same.
    const COMPATIBLE: &'static CStr;

    /// A file that is preserved. Dropped, it is no longer.
    type Preserved: HandOver;

    /// What the previous kernel handed over of a file. Dropped, it is released.
    type Restored;

    /// Whether this is a file of that kind. The first handler that says so gets it.
    fn can_preserve(file: &File) -> bool;

    /// Preserves a file, which stays open as long as it is preserved, and usable.
    ///
    /// What fails here fails the ioctl of who wanted the file preserved. What does not, and needs
    /// time or memory, had better be done here too, and not in [`Self::freeze`].
    fn preserve(file: &File, session: &Session<'_>) -> Result<Self::Preserved>;

    /// The kernel is about to end, and no program runs any more: puts down what has changed since.
    ///
    /// What fails here fails the reboot. Has to be undone by [`Self::unfreeze`].
    fn freeze(_file: &File, _preserved: &mut Self::Preserved, _session: &Session<'_>) -> Result {
        Ok(())
    }

    /// The kernel does not end after all. The file is still preserved.
    fn unfreeze(_file: &File, _preserved: &mut Self::Preserved, _session: &Session<'_>) {}

    /// Takes over what the previous kernel handed over of a file.
    ///
    /// Called once for a file, when it is asked for, or finished and nobody has asked for it. What
    /// fails cannot be retried, so nothing should but for a bad hand-over.
    fn restore(handle: Handle) -> Result<Self::Restored>;

    /// Makes the file again.
    ///
    /// Called at most once for a file. It is released, and never again to be had, if this fails.
    fn retrieve(restored: Self::Restored, session: &Session<'_>) -> Result<ARef<File>>;

    /// Whether a file can be finished now. As long as one cannot, neither can all files of its
    /// session.
    fn can_finish(_retrieval: Retrieval<'_>, _session: &Session<'_>) -> bool {
        true
    }

    /// The session, and all files of it, are finished: this one belongs to those that have it open.
    ///
    /// What nobody has asked for was released before this.
    fn finish(_retrieval: Retrieval<'_>, _session: &Session<'_>) {}

    /// What tells this file from all others of any kind, to preserve nothing twice: the address of
    /// what several open files may share.
    ///
    /// If this is not there, it is the open file itself.
    fn get_id(file: &File) -> usize {
        file.as_ptr().addr()
    }
}

/// Who preserves files of one kind: what a driver declares, and live update holds on to.
///
/// It is `static`, as live update may call a handler that is no longer registered: a file that is
/// preserved stays so until its session is closed. It pins the module that has the handler for that
/// time, so as long as the module is loaded is just long enough.
///
/// # Invariants
///
/// The C struct has the callbacks of `T`, and its private part is left to LUO.
pub struct Handler<T: FileHandler> {
    inner: Opaque<bindings::liveupdate_file_handler>,
    flbs: &'static [&'static dyn flb::Dependency],
    _files: PhantomData<fn(T) -> T>,
}

// SAFETY: The C functions, which lock what they change, are called with it from any thread. Nothing
// else of it changes.
unsafe impl<T: FileHandler> Sync for Handler<T> {}

// SAFETY: A handler belongs to no thread.
unsafe impl<T: FileHandler> Send for Handler<T> {}

impl<T: FileHandler> Handler<T> {
    /// Makes a handler whose files depend on `flbs`: these are preserved before the first of its
    /// files is, in this order, and finished after the last.
    pub const fn new(flbs: &'static [&'static dyn flb::Dependency]) -> Self {
        let mut inner: bindings::liveupdate_file_handler = pin_init::zeroed();

        inner.ops = const { &Self::OPS };
        inner.compatible = const { compatible(T::COMPATIBLE) };

        // INVARIANT: Just made so.
        Self {
            inner: Opaque::new(inner),
            flbs,
            _files: PhantomData,
        }
    }

    /// Registers it, and that its files depend on its FLBs.
    ///
    /// Files can be preserved from now on: so this had better come before programs can open one,
    /// and after everything that the callbacks need. What a previous kernel handed over can be
    /// retrieved only if this is done before `/dev/liveupdate` is opened.
    ///
    /// Returns `EOPNOTSUPP` if live update is not enabled, `EEXIST` if there is such a handler, or
    /// such an FLB, `ENOSPC` if there are too many FLBs, `ENOMEM`. May sleep.
    pub fn register(&'static self) -> Result<Registration<T>> {
        // SAFETY: By the type invariants the struct is complete, and it is there for as long as the
        // module that LUO pins when it uses it. If it is registered, this is refused.
        to_result(unsafe { bindings::liveupdate_register_file_handler(self.inner.get()) })?;

        let registration = Registration { handler: self };

        for flb in self.flbs {
            // SAFETY: The handler was just registered. By the promise of `Dependency`, the FLB is
            // complete; it is static, too.
            to_result(unsafe {
                bindings::liveupdate_register_flb(self.inner.get(), flb.as_raw())
            })?;
        }

        // What is dropped on the way here takes the handler and all its FLBs out again.
        Ok(registration)
    }

    /// The callbacks, of which C code has those only that `T` has.
    const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: if T::HAS_FREEZE {
            Some(Self::freeze)
        } else {
            None
        },
        unfreeze: if T::HAS_UNFREEZE {
            Some(Self::unfreeze)
        } else {
            None
        },
        retrieve: Some(Self::retrieve),
        can_finish: if T::HAS_CAN_FINISH {
            Some(Self::can_finish)
        } else {
            None
        },
        finish: Some(Self::finish),
        get_id: if T::HAS_GET_ID {
            Some(Self::get_id)
        } else {
            None
        },
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// # Safety
    ///
    /// `file` has to be an open file, for as long as this takes.
    unsafe extern "C" fn can_preserve(
        _handler: *mut bindings::liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        // SAFETY: The caller guarantees that the file is open. LUO has its own reference to it, and
        // is not asked through it.
        T::can_preserve(unsafe { File::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// `args` has to be valid, for this call alone, with an open file in it.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller guarantees that nobody else uses the arguments.
            let args = unsafe { &mut *args };
            // SAFETY: The caller guarantees that the file is open. LUO has its own reference to it,
            // and is not asked through it.
            let file = unsafe { File::from_raw_file(args.file) };
            // SAFETY: This is the session of a callback that returns after this.
            let session = unsafe { Session::from_raw(args.session) };
            let preserved = KBox::new(T::preserve(file, &session)?, GFP_KERNEL)?;

            args.serialized_data = preserved.data();
            args.private_data = preserved.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` has to be valid, with what [`Self::preserve`] left there, which is used nowhere again.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: By the caller's guarantee, this is what `preserve()` made of a box.
        drop(unsafe { KBox::<T::Preserved>::from_foreign((*args).private_data) });
    }

    /// # Safety
    ///
    /// `args` has to be valid, for this call alone, with what [`Self::preserve`] left there, which
    /// nobody else uses meanwhile, and the open file it was called with.
    unsafe extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller guarantees that nobody else uses the arguments.
            let args = unsafe { &mut *args };
            // SAFETY: The caller guarantees that the file is open. Nothing is asked through it: all
            // programs wait for the reboot.
            let file = unsafe { File::from_raw_file(args.file) };
            // SAFETY: By the caller's guarantee, this is what `preserve()` made of a box, and ours
            // for the time of the call.
            let preserved = unsafe { KBox::<T::Preserved>::borrow_mut(args.private_data.cast()) };

            // SAFETY: This is the session of a callback that returns after this.
            let session = unsafe { Session::from_raw(args.session) };

            T::freeze(file, preserved, &session)?;
            args.serialized_data = preserved.data();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As [`Self::freeze`].
    unsafe extern "C" fn unfreeze(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller guarantees that nobody else uses the arguments.
        let args = unsafe { &mut *args };
        // SAFETY: The caller guarantees that the file is open, and nothing is asked through it.
        let file = unsafe { File::from_raw_file(args.file) };
        // SAFETY: By the caller's guarantee, this is what `preserve()` made of a box, and ours for
        // the time of the call.
        let preserved = unsafe { KBox::<T::Preserved>::borrow_mut(args.private_data.cast()) };

        // SAFETY: This is the session of a callback that returns after this.
        let session = unsafe { Session::from_raw(args.session) };

        T::unfreeze(file, preserved, &session);
    }

    /// # Safety
    ///
    /// `args` has to be valid, for this call alone.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller guarantees that nobody else uses the arguments.
            let args = unsafe { &mut *args };
            // SAFETY: This is the session of a callback that returns after this.
            let session = unsafe { Session::from_raw(args.session) };
            let restored = T::restore(Handle(args.serialized_data))?;
            let file = T::retrieve(restored, &session)?;

            // The reference goes to LUO.
            args.file = ARef::into_raw(file).as_ptr().cast();
            Ok(0)
        })
    }

    /// How far a file has come.
    ///
    /// # Safety
    ///
    /// If the arguments say that it was retrieved, `file` has to be that file, open for `'a`.
    unsafe fn retrieval<'a>(args: &bindings::liveupdate_file_op_args) -> Retrieval<'a> {
        match args.retrieve_status {
            0 => Retrieval::Unasked,
            // SAFETY: The caller guarantees that the file is open. LUO has its own reference to it,
            // and is not asked through it.
            1.. => Retrieval::Done(unsafe { File::from_raw_file(args.file) }),
            err => Retrieval::Failed(Error::from_errno(err)),
        }
    }

    /// # Safety
    ///
    /// `args` has to be valid, and if they say that the file was retrieved, it has to be in them.
    unsafe extern "C" fn can_finish(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: The caller guarantees that the arguments are valid.
        let args = unsafe { &*args };
        // SAFETY: The caller guarantees that the file, if any, is open until this returns.
        let retrieval = unsafe { Self::retrieval(args) };
        // SAFETY: This is the session of a callback that returns after this.
        let session = unsafe { Session::from_raw(args.session) };

        T::can_finish(retrieval, &session)
    }

    /// # Safety
    ///
    /// As [`Self::can_finish`].
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller guarantees that the arguments are valid.
        let args = unsafe { &*args };
        // SAFETY: The caller guarantees that the file, if any, is open until this returns.
        let retrieval = unsafe { Self::retrieval(args) };

        // A retrieve, if there was one, has used the number up: it is restored or, where that went
        // wrong, cannot be.
        if let Retrieval::Unasked = retrieval {
            match T::restore(Handle(args.serialized_data)) {
                Ok(restored) => drop(restored),
                Err(err) => pr_warn!(
                    "live update: a file of '{}' cannot be released: {err:?}\n",
                    T::COMPATIBLE
                ),
            }
        }
        // SAFETY: This is the session of a callback that returns after this.
        let session = unsafe { Session::from_raw(args.session) };

        T::finish(retrieval, &session);
    }

    /// # Safety
    ///
    /// `file` has to be an open file, for as long as this takes.
    unsafe extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // SAFETY: The caller guarantees that the file is open. LUO has its own reference to it, and
        // is not asked through it.
        T::get_id(unsafe { File::from_raw_file(file) })
    }
}

/// A handler is registered for as long as this exists.
///
/// Files that are preserved when it is dropped stay so, but nobody can preserve another, and their
/// FLBs are not handed over.
///
/// # Invariants
///
/// The handler is registered, and nobody else unregisters it.
#[must_use = "the handler is unregistered when this is dropped"]
pub struct Registration<T: FileHandler> {
    handler: &'static Handler<T>,
}

impl<T: FileHandler> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the handler is registered. All FLBs go with it.
        unsafe { bindings::liveupdate_unregister_file_handler(self.handler.inner.get()) };
    }
}
