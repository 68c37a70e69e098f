// SPDX-License-Identifier: GPL-2.0

//! Objects whose life is bound to that of files: file-lifecycle-bound (FLB) objects.
//!
//! One is preserved before the first file that depends on it, and taken back after the last. The
//! next kernel retrieves it when somebody asks for it, at the latest when the last of these files
//! is finished, and that finishes it. Which files depend on it is said where their
//! [`Handler`](super::Handler) is declared.
//!
//! Whoever asks for an object gets a [`Guard`], and the object stays until the guard is dropped.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     kho,
//!     liveupdate::{
//!         flb::{
//!             Flb,
//!             Object, //
//!         },
//!         Handle, //
//!     },
//!     module_ref::BuiltIn, //
//! };
//!
//! /// A number that all files share.
//! struct Total;
//!
//! #[vtable]
//! impl Object for Total {
//!     const COMPATIBLE: &'static CStr = c"doctest-total-v1";
//!
//!     type Preserved = kho::Preserved<u64>;
//!     type Restored = kho::Restored<u64>;
//!     // What `module!` defines, in a module.
//!     type OwnerModule = BuiltIn;
//!
//!     fn preserve() -> Result<kho::Preserved<u64>> {
//!         kho::Preserved::new()
//!     }
//!
//!     fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
//!         handle.restore()
//!     }
//! }
//!
//! static TOTAL: Flb<Total> = Flb::new();
//!
//! // No file depends on it, and none has come from the previous kernel.
//! assert!(TOTAL.outgoing().is_err());
//! assert!(TOTAL.incoming().is_err());
//! ```

use super::{
    compatible,
    HandOver, //
    Handle,
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Deref,
    ptr::NonNull, //
};

/// What an FLB is, in either kernel.
///
/// All of these may sleep, and neither may ask for the object itself.
#[vtable]
pub trait Object: Sized + 'static {
    /// The name and version of what is handed over, by which the next kernel knows who can read it.
    ///
    /// At most 47 bytes. No other FLB may have the same.
    const COMPATIBLE: &'static CStr;

    /// The object, when it is preserved. Dropped, it is no longer.
    type Preserved: HandOver + Sync;

    /// The object that the previous kernel handed over. Dropped, it is finished.
    type Restored: Send + Sync + 'static;

    /// Preserves it.
    ///
    /// What fails here fails the ioctl of who wanted a file preserved that depends on it.
    fn preserve() -> Result<Self::Preserved>;

    /// Takes over what the previous kernel handed over.
    ///
    /// Called at most once. What fails cannot be retried: all who ask get the same error.
    fn restore(handle: Handle) -> Result<Self::Restored>;
}

/// An FLB: what a driver declares, and live update holds on to.
///
/// It is `static`, as [`Handler`](super::Handler) is, for the same reason.
///
/// # Invariants
///
/// The C struct has the callbacks of `T`, and its private part was zeroes before it was left to LUO.
#[repr(transparent)]
pub struct Flb<T: Object> {
    inner: Opaque<bindings::liveupdate_flb>,
    _object: PhantomData<fn(T) -> T>,
}

// SAFETY: The C functions, which lock what they change, are called with it from any thread. Nothing
// else of it changes. The objects that it gives access to may be shared and dropped by any thread.
unsafe impl<T: Object> Sync for Flb<T> {}

// SAFETY: An FLB belongs to no thread.
unsafe impl<T: Object> Send for Flb<T> {}

/// An FLB that files can depend on.
///
/// This is [`Flb`] of any object, and nothing else.
pub trait Dependency: Sync + private::Sealed {
    /// The C struct, with all callbacks, and a private part that is left to LUO.
    fn as_raw(&self) -> *mut bindings::liveupdate_flb;
}

mod private {
    pub trait Sealed {}

    impl<T: super::Object> Sealed for super::Flb<T> {}
}

impl<T: Object> Dependency for Flb<T> {
    fn as_raw(&self) -> *mut bindings::liveupdate_flb {
        self.inner.get()
    }
}

impl<T: Object> Flb<T> {
    /// Makes an FLB.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        let mut inner = MaybeUninit::<bindings::liveupdate_flb>::zeroed();
        let flb = inner.as_mut_ptr();

        // SAFETY: Both are fields of the struct that was just made.
        unsafe {
            (&raw mut (*flb).ops).write(const { &Self::OPS });
            (&raw mut (*flb).compatible).write(const { compatible(T::COMPATIBLE) });
        }

        // INVARIANT: Just made so.
        Self {
            // SAFETY: All that is not initialised is the private part, which is to be zeroes.
            inner: Opaque::new(unsafe { inner.assume_init() }),
            _object: PhantomData,
        }
    }

    /// The object that is preserved.
    ///
    /// Returns `ENOENT` if no file that depends on it is. May sleep.
    pub fn outgoing(&'static self) -> Result<Guard<T::Preserved>> {
        let get = bindings::liveupdate_flb_get_outgoing;
        let put = bindings::liveupdate_flb_put_outgoing;

        // SAFETY: These belong together. What is preserved is made by `preserve()`, so it is a
        // `T::Preserved`.
        unsafe { Guard::new(&self.inner, get, put) }
    }

    /// The object that the previous kernel handed over.
    ///
    /// Returns `ENODATA` if nothing was handed over, or this is finished; `ENOENT` if other objects
    /// were; `EIO` if the hand-over is damaged; or what [`Object::restore`] returned. May sleep.
    pub fn incoming(&'static self) -> Result<Guard<T::Restored>> {
        let get = bindings::liveupdate_flb_get_incoming;
        let put = bindings::liveupdate_flb_put_incoming;

        // SAFETY: These belong together. What is retrieved is made by `retrieve()`, so it is a
        // `T::Restored`.
        unsafe { Guard::new(&self.inner, get, put) }
    }

    const OPS: bindings::liveupdate_flb_ops = bindings::liveupdate_flb_ops {
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        retrieve: Some(Self::retrieve),
        finish: Some(Self::finish),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// # Safety
    ///
    /// `args` has to be valid, for this call alone.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller guarantees that nobody else uses the arguments.
            let args = unsafe { &mut *args };
            let preserved = KBox::new(T::preserve()?, GFP_KERNEL)?;

            args.data = preserved.data();
            args.obj = preserved.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` has to be valid, with what [`Self::preserve`] left there, which is used nowhere again.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: By the caller's guarantee, this is what `preserve()` made of a box.
        drop(unsafe { KBox::<T::Preserved>::from_foreign((*args).obj) });
    }

    /// # Safety
    ///
    /// `args` has to be valid, for this call alone.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller guarantees that nobody else uses the arguments.
            let args = unsafe { &mut *args };
            let restored = KBox::new(T::restore(Handle(args.data))?, GFP_KERNEL)?;

            args.obj = restored.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` has to be valid, with what [`Self::retrieve`] left there, which is used nowhere again.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: By the caller's guarantee, this is what `retrieve()` made of a box.
        drop(unsafe { KBox::<T::Restored>::from_foreign((*args).obj) });
    }
}

/// A reference to the object of an FLB, which stays until this is dropped. That may sleep.
///
/// # Invariants
///
/// `obj` is the object of `flb`, and LUO has counted a reference to it, which `put` gives back.
pub struct Guard<O> {
    obj: NonNull<O>,
    flb: &'static Opaque<bindings::liveupdate_flb>,
    put: unsafe extern "C" fn(*mut bindings::liveupdate_flb),
}

// SAFETY: A reference that LUO counts belongs to no thread. If it is the last, the object goes with it.
unsafe impl<O: Send + Sync> Send for Guard<O> {}

// SAFETY: A shared guard gives shared access to the object only.
unsafe impl<O: Sync> Sync for Guard<O> {}

impl<O> Guard<O> {
    /// Takes a reference with `get`.
    ///
    /// # Safety
    ///
    /// `get` and `put` have to be the functions of LUO for one direction, in which the object of
    /// `flb`, which is complete, has to be an `O` in a box.
    unsafe fn new(
        flb: &'static Opaque<bindings::liveupdate_flb>,
        get: unsafe extern "C" fn(*mut bindings::liveupdate_flb, *mut *mut c_void) -> c_int,
        put: unsafe extern "C" fn(*mut bindings::liveupdate_flb),
    ) -> Result<Self> {
        let mut obj = core::ptr::null_mut();

        // SAFETY: The FLB is complete, as the caller guarantees, and static, so it is there for as
        // long as its module. The result may be written.
        to_result(unsafe { get(flb.get(), &mut obj) })?;

        // INVARIANT: There is a reference now, which is ours.
        Ok(Self {
            obj: NonNull::new(obj.cast()).ok_or(ENOENT)?,
            flb,
            put,
        })
    }
}

impl<O> Deref for Guard<O> {
    type Target = O;

    fn deref(&self) -> &O {
        // SAFETY: By the type invariants, LUO keeps the object for as long as the guard exists.
        // Others have shared references to it only.
        unsafe { self.obj.as_ref() }
    }
}

impl<O> Drop for Guard<O> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give back. The module that has the
        // FLB was pinned when the object was made, and is so at least until this.
        unsafe { (self.put)(self.flb.get()) };
    }
}
