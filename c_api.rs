// SPDX-License-Identifier: GPL-2.0

//! The boundary with C: the functions that C links against.
//!
//! C headers: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h) for the functions
//! of LUO, and `luo_glue.h` for those between here and `luo_glue.c`.

use crate::{
    callbacks::{
        FileHandler,
        Flb, //
    },
    luo_file::Fellows,
    luo_flb::Holder, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_result,
    fs::File,
    kexec::{
        Image,
        Lock, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// `liveupdate=` was seen on the command line.
///
/// # Safety
///
/// May be called before userspace runs.
#[export]
unsafe extern "C" fn luo_set_enabled(enable: bool) {
    crate::set_enabled(enable);
}

/// `liveupdate.abi=` was seen on the command line.
///
/// # Safety
///
/// `name` has to end with a NUL.
#[export]
unsafe extern "C" fn luo_set_abi(name: *const c_char) {
    // SAFETY: The caller guarantees that it ends with a NUL.
    crate::set_abi(unsafe { CStr::from_char_ptr(name) }.to_bytes());
}

/// `liveupdate.damaged=` was seen on the command line.
///
/// # Safety
///
/// `name` has to end with a NUL.
#[export]
unsafe extern "C" fn luo_set_damaged(name: *const c_char) {
    // SAFETY: The caller guarantees that it ends with a NUL.
    crate::set_damaged(unsafe { CStr::from_char_ptr(name) }.to_bytes());
}

/// See [`crate::early_init`].
///
/// # Safety
///
/// Is called once, as an initcall.
#[export]
unsafe extern "C" fn luo_early_init() -> c_int {
    from_result(|| crate::early_init().map(|()| 0))
}

/// See [`crate::late_init`].
///
/// # Safety
///
/// Is called once, as an initcall.
#[export]
unsafe extern "C" fn luo_late_init() -> c_int {
    from_result(|| crate::late_init().map(|()| 0))
}

/// See [`crate::report`].
///
/// # Safety
///
/// Is called once, as an initcall.
#[export]
unsafe extern "C" fn luo_report() -> c_int {
    crate::report();
    0
}

/// Whether live update is enabled.
///
/// # Safety
///
/// May be called from anywhere.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_enabled() -> bool {
    crate::enabled()
}

/// Called by `kernel_kexec()` before it jumps; see [`crate::reboot`].
///
/// # Safety
///
/// Has to be called from where sleeping is allowed, with kexec locked.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_reboot() -> c_int {
    from_result(|| {
        // SAFETY: The caller has kexec locked.
        let kexec = unsafe { Lock::held() };

        crate::reboot(matches!(kexec.image(), Image::Carries)).map(|()| 0)
    })
}

/// Registers a file handler.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as [`Registry::register`](crate::luo_file::Registry::register).
///
/// # Safety
///
/// `fh` has to be valid, with a NUL in its compatible string, and to stay so until it is
/// unregistered and its module is not in use. Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_file_handler(
    fh: *mut bindings::liveupdate_file_handler,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;

        // SAFETY: The caller promises what is asked for.
        let handler = unsafe { FileHandler::new(NonNull::new(fh).ok_or(EINVAL)?) };

        registry.register(handler)?;

        // SAFETY: The handler was just registered.
        #[cfg(CONFIG_LIVEUPDATE_TEST)]
        unsafe {
            bindings::liveupdate_test_register(fh)
        };

        Ok(0)
    })
}

/// Unregisters a file handler. Nothing happens if it is not registered.
///
/// # Safety
///
/// Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_file_handler(
    fh: *mut bindings::liveupdate_file_handler,
) {
    if let Ok(sessions) = crate::sessions() {
        sessions.registry.unregister(fh.cast());
    }
}

/// Makes the files of handler `fh` depend on `flb`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as
/// [`Registry::register_flb`](crate::luo_file::Registry::register_flb).
///
/// # Safety
///
/// `flb` has to be valid, with a NUL in its compatible string and a private part that was zeroed
/// and left to LUO since, and to stay so until it hangs on no handler and its module is not in use.
/// Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_flb(
    fh: *mut bindings::liveupdate_file_handler,
    flb: *mut bindings::liveupdate_flb,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(&registry.flb_once, NonNull::new(flb).ok_or(EINVAL)?) };

        registry.register_flb(fh.cast(), flb)?;
        Ok(0)
    })
}

/// Undoes [`liveupdate_register_flb`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
    flb: *mut bindings::liveupdate_flb,
) {
    let (Ok(sessions), Some(flb)) = (crate::sessions(), NonNull::new(flb)) else {
        return;
    };
    let registry = &sessions.registry;

    // SAFETY: The caller promises what is asked for.
    let flb = unsafe { Flb::new(&registry.flb_once, flb) };

    if let Err(err) = registry.unregister_flb(fh.cast(), &flb) {
        pr_warn!("cannot take an FLB from its file handler: {err:?}\n");
    }
}

/// Takes a reference to what `flb` was in the previous kernel, and stores the object in `objp`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, `-ENODATA` before early init, and otherwise
/// as [`Flb::get_incoming`]; `-EIO` is that for a hand-over that was refused.
///
/// # Safety
///
/// As [`liveupdate_register_flb`], except that `flb` need not be registered; `objp` has to be valid
/// for a write.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_incoming(
    flb: *mut bindings::liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let registry = match crate::sessions() {
            Ok(sessions) => &sessions.registry,
            Err(_) if crate::enabled() => return Err(ENODATA),
            Err(err) => return Err(err),
        };
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(&registry.flb_once, NonNull::new(flb).ok_or(EINVAL)?) };
        let obj = flb.get_incoming(registry)?;

        // SAFETY: The caller promises that this is valid.
        unsafe { *objp = obj };
        Ok(0)
    })
}

/// Puts a reference of [`liveupdate_flb_get_incoming`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_incoming(flb: *mut bindings::liveupdate_flb) {
    if let (Some(registry), Some(flb)) = (crate::registry(), NonNull::new(flb)) {
        // SAFETY: The caller promises what is asked for.
        unsafe { Flb::new(&registry.flb_once, flb) }.put_incoming(registry, Holder::Reference);
    }
}

/// Takes a reference to what `flb` preserves, and stores the object in `objp`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as [`Flb::get_outgoing`].
///
/// # Safety
///
/// As [`liveupdate_flb_get_incoming`].
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_outgoing(
    flb: *mut bindings::liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(&registry.flb_once, NonNull::new(flb).ok_or(EINVAL)?) };
        let obj = flb.get_outgoing()?;

        // SAFETY: The caller promises that this is valid.
        unsafe { *objp = obj };
        Ok(0)
    })
}

/// Puts a reference of [`liveupdate_flb_get_outgoing`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_outgoing(flb: *mut bindings::liveupdate_flb) {
    if let (Some(registry), Some(flb)) = (crate::registry(), NonNull::new(flb)) {
        // SAFETY: The caller promises what is asked for.
        unsafe { Flb::new(&registry.flb_once, flb) }.put_outgoing(Holder::Reference);
    }
}

/// Stores the file of `token` in `filep`, with a reference for the caller. It is one of the session
/// whose file a callback is about, and is retrieved now if nobody has.
///
/// Returns `-EINVAL` if there is no session, and otherwise as [`Fellows::file`].
///
/// # Safety
///
/// `session` has to be null, or what a callback was given that has not returned; `filep` has to be
/// valid for a write.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_get_file_incoming(
    session: *mut bindings::liveupdate_session,
    token: u64,
    filep: *mut *mut bindings::file,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller promises what is asked for.
        let fellows = unsafe { Fellows::from_raw(session) }.ok_or(EINVAL)?;
        let file = fellows.file(token)?;

        // SAFETY: The caller promises that this is valid.
        unsafe { *filep = ARef::into_raw(file).as_ptr().cast() };
        Ok(0)
    })
}

/// Stores in `tokenp`, if that is not null, the token under which the session whose file a callback
/// is about preserves `file`.
///
/// Returns `-EINVAL` if there is no session or no file, and otherwise as [`Fellows::token_of`].
///
/// # Safety
///
/// `session` has to be null, or what a callback was given that has not returned; `file` has to be
/// null, or an open file for the time of the call; `tokenp` has to be null, or valid for a write.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_get_token_outgoing(
    session: *mut bindings::liveupdate_session,
    file: *mut bindings::file,
    tokenp: *mut u64,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller promises what is asked for.
        let fellows = unsafe { Fellows::from_raw(session) }.ok_or(EINVAL)?;
        let file = NonNull::new(file).ok_or(EINVAL)?;
        // SAFETY: The caller promises that the file is open. It is only looked for.
        let token = fellows.token_of(unsafe { File::from_raw_file(file.as_ptr()) })?;

        if let Some(tokenp) = NonNull::new(tokenp) {
            // SAFETY: The caller promises that this is valid.
            unsafe { tokenp.write(token) };
        }
        Ok(0)
    })
}
