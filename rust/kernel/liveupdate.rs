// SPDX-License-Identifier: GPL-2.0

//! Live update: open files that survive a kexec.
//!
//! A driver whose files are to be preserved implements [`FileHandler`] for them, and declares a
//! `static` [`Handler`]. What several files share, and the next kernel needs as long as one of
//! them is left, is an FLB, a file-lifecycle-bound object: see [`flb`].
//!
//! Both work in pairs of owned values. Before the kexec there is a *preserved* value, whose drop
//! takes back what was preserved; across it goes a number, [`HandOver::data`]; behind it the number
//! becomes a [`Handle`], and that a *restored* value, whose drop gives to the system what nobody
//! wants any more. So an update that is called off, a file that nobody asks for, and an error half
//! way through leave nothing behind, without a line about any of them. Only where the machine
//! jumps, nothing is dropped: what is preserved at that time is what the next kernel gets.
//!
//! ```text
//! this kernel                                      the next kernel
//!
//! preserve() -> Preserved ---- HandOver::data() -> Handle -> restore() -> Restored
//!                   |                                                        |
//!      drop: called off                          retrieve() -> File, or drop: nobody asked
//! ```
//!
//! The numbers that arrive are those that another kernel wrote, or something scribbled over: what
//! becomes of a [`Handle`] is checked. [`Handle::restore`] checks that there is preserved memory at
//! that address, that it is as large as it has to be, and that nobody else took it. What is in it is
//! for the driver to check.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)
//!
//! # Examples
//!
//! Files that have nothing but a number, which goes through preserved memory:
//!
//! ```
//! use kernel::{
//!     fs::File,
//!     kho,
//!     liveupdate::{
//!         self,
//!         FileHandler,
//!         Handle,
//!         Handler,
//!         Session, //
//!     },
//!     module_ref::BuiltIn,
//!     sync::aref::ARef, //
//! };
//!
//! struct Numbered;
//!
//! #[vtable]
//! impl FileHandler for Numbered {
//!     const COMPATIBLE: &'static CStr = c"doctest-numbered-v1";
//!
//!     type Preserved = kho::Preserved<u64>;
//!     type Restored = kho::Restored<u64>;
//!     // What `module!` defines, in a module.
//!     type OwnerModule = BuiltIn;
//!
//!     fn can_preserve(_file: &File) -> bool {
//!         false
//!     }
//!
//!     fn preserve(_file: &File, _session: &Session<'_>) -> Result<kho::Preserved<u64>> {
//!         let mut number = kho::Preserved::new()?;
//!         *number = 17;
//!         Ok(number)
//!     }
//!
//!     fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
//!         handle.restore()
//!     }
//!
//!     fn retrieve(number: kho::Restored<u64>, _session: &Session<'_>) -> Result<ARef<File>> {
//!         pr_info!("a file with number {}\n", *number);
//!         Err(ENODEV)
//!     }
//! }
//!
//! static NUMBERED: Handler<Numbered> = Handler::new(&[]);
//!
//! if liveupdate::is_enabled() {
//!     let registration = NUMBERED.register()?;
//!
//!     // The name is taken.
//!     assert_eq!(NUMBERED.register().err(), Some(EEXIST));
//!
//!     drop(registration);
//!     drop(NUMBERED.register()?);
//! } else {
//!     assert_eq!(NUMBERED.register().err(), Some(EOPNOTSUPP));
//! }
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    error::to_result,
    fs::File,
    kho,
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

mod file;
pub mod flb;

pub use self::file::{
    FileHandler,
    Handler,
    Registration,
    Retrieval, //
};

/// Whether live update is enabled (`liveupdate=`). If it is not, nothing can be registered.
#[inline]
pub fn is_enabled() -> bool {
    // SAFETY: May be called from anywhere.
    unsafe { bindings::liveupdate_enabled() }
}

/// The compatible string as a field of the C structs.
///
/// Refuses to compile if it is empty, or does not fit.
const fn compatible<const N: usize>(string: &CStr) -> [u8; N] {
    let bytes = string.to_bytes_with_nul();
    let mut field = [0; N];
    let mut i = 0;

    assert!(bytes.len() > 1, "the compatible string is empty");
    assert!(bytes.len() <= N, "the compatible string is too long");

    while i < bytes.len() {
        field[i] = bytes[i];
        i += 1;
    }
    field
}

/// The session of a file, for a callback about that file: a way to its fellows, the other files of
/// the session.
///
/// A file that needs another one hands over under which token that is preserved, which
/// [`Self::token_of`] tells while it is preserved or frozen itself. In the next kernel, while it is
/// retrieved, [`Self::file`] gets that one. Whoever is preserved later is undone, and in the next
/// kernel finished, earlier: so what a file needs has to be preserved before it.
///
/// Not every LUO has such look-ups: without, all of them return `EOPNOTSUPP`.
///
/// # Invariants
///
/// The pointer is null, or what a callback was given that returns after `'a`.
pub struct Session<'a> {
    inner: *mut bindings::liveupdate_session,
    _callback: PhantomData<&'a ()>,
}

impl Session<'_> {
    /// # Safety
    ///
    /// `session` has to be null, or what a callback was given that does not return as long as the
    /// result is there.
    unsafe fn from_raw(session: *mut bindings::liveupdate_session) -> Self {
        // INVARIANT: By the caller's guarantee.
        Self {
            inner: session,
            _callback: PhantomData,
        }
    }

    /// The file of `token` in this session, which the previous kernel preserved. It is retrieved now
    /// if nobody has.
    ///
    /// Returns `EINVAL` if this is a session of this kernel, `ENOENT` if it has no file of that
    /// token, `ELOOP` if that one waits for the file that asks, what the handler of that file
    /// returned when it was retrieved, now or before, `ENOMEM`, `EOPNOTSUPP` if this LUO has no
    /// look-ups. May sleep.
    pub fn file(&self, token: u64) -> Result<ARef<File>> {
        let mut file = ptr::null_mut();

        // SAFETY: By the type invariants the callback has not returned.
        to_result(unsafe { bindings::liveupdate_get_file_incoming(self.inner, token, &mut file) })?;
        let file = NonNull::new(file).ok_or(ENOENT)?;

        // SAFETY: The file comes with a reference for the caller. There is another one, so nobody
        // uses its position without a lock.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }

    /// The token under which this session preserves a file.
    ///
    /// Returns `EINVAL` if this is a session of the previous kernel, `ENOENT` if it does not preserve
    /// that file, or does not yet, `ENOMEM`, `EOPNOTSUPP` if this LUO has no look-ups. May sleep.
    pub fn token_of(&self, file: &File) -> Result<u64> {
        let mut token = 0;

        // SAFETY: By the type invariants the callback has not returned, and the file is open.
        to_result(unsafe {
            bindings::liveupdate_get_token_outgoing(self.inner, file.as_ptr(), &mut token)
        })?;
        Ok(token)
    }
}

/// A value that is preserved for as long as it exists.
///
/// Its drop takes back everything that was preserved. It belongs to no thread: whichever calls the
/// update off drops it.
pub trait HandOver: Send + 'static {
    /// The number by which the next kernel finds what is preserved: mostly, the physical address of
    /// preserved memory.
    ///
    /// It may only change with [`FileHandler::freeze`].
    fn data(&self) -> u64;
}

impl<T: ?Sized + Send + 'static> HandOver for kho::Preserved<T> {
    fn data(&self) -> u64 {
        self.phys()
    }
}

/// The number that the previous kernel left, see [`HandOver::data`].
///
/// There is one for each time that it may be used, and using it takes it away.
#[must_use = "what was handed over is lost without it"]
pub struct Handle(u64);

impl Handle {
    /// Takes over the memory at this address, which has to be that of a [`kho::Preserved<T>`].
    ///
    /// Returns `EIO` if it is not. May sleep.
    pub fn restore<T: FromBytes>(self) -> Result<kho::Restored<T>> {
        kho::Restored::new(self.0)
    }

    /// Takes over `size` bytes of memory at this address, as [`Self::restore`] does.
    pub fn restore_bytes(self, size: usize) -> Result<kho::Restored<[u8]>> {
        kho::Restored::bytes(self.0, size)
    }

    /// The number, for who handed over something else than an address.
    pub fn into_data(self) -> u64 {
        self.0
    }
}
