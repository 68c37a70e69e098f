// SPDX-License-Identifier: GPL-2.0

//! The Live Update Orchestrator (LUO): open files that survive a kexec into another kernel.
//!
//! This file is the root of the crate and owns what there is once: whether live update is enabled,
//! the root record that one kernel hands to the next, and `/dev/liveupdate`. Everything else hangs
//! on the sessions ([`luo_session`]), which hold preserved files ([`luo_file`]), which are written
//! into linked blocks ([`block`]) of preserved memory ([`kho`]).
//!
//! C source: `kernel/liveupdate/luo_core.c`.

mod abi;
mod block;
mod c_api;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/fault.rs"]
mod fault;
mod handover;
mod kho;
mod libfdt;
pub mod list_private;
mod luo_file;
mod luo_flb;
mod luo_session;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/mock.rs"]
mod mock;
mod siphash;
mod sync;
mod table;

use abi::format;
use abi::format::Format;
use abi::format::FORMATS;
use abi::uapi;
use abi::uapi::Request as _;
use c_api::Argument;
use handover::HandOver;
use kernel::ioctl::_IOC_NR;
use kernel::prelude::*;
use kernel::str::BStr;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::SetOnce;
use kernel::uaccess::UserPtr;
use luo_file::Registry;
use luo_session::Sessions;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/core.rs"]
mod tests;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/hostile.rs"]
mod hostile_tests;

/// What `pr_*!` print before each message.
const __LOG_PREFIX: &[u8] = b"luo\0";

/// `liveupdate=` on the command line, until something turns out to be missing.
static ENABLED: Atomic<bool> = Atomic::new(false);

/// `liveupdate.abi=` on the command line: the place in [`FORMATS`] of what this kernel writes.
static ABI: Atomic<usize> = Atomic::new(0);

/// Made at early init, never freed.
static LUO: SetOnce<Pin<KBox<Luo>>> = SetOnce::new();

/// The orchestrator. There is one if live update was enabled at early init.
#[pin_data]
struct Luo {
    /// All that can be changed.
    #[pin]
    sessions: Sessions,
    /// Whether somebody has `/dev/liveupdate` open.
    in_use: Atomic<bool>,
}

/// Whether live update is enabled.
pub(crate) fn enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// Enables or disables live update, before userspace runs.
pub(crate) fn set_enabled(enable: bool) {
    ENABLED.store(enable, Relaxed);
}

/// Chooses the format of what this kernel hands over by its name, before early init.
pub(crate) fn set_abi(name: &[u8]) {
    let known = FORMATS
        .iter()
        .position(|format| format.name().as_bytes() == name);

    if known.is_none() {
        pr_warn!(
            "liveupdate.abi={} is unknown, the default is used\n",
            BStr::from_bytes(name)
        );
    }
    ABI.store(known.unwrap_or_default(), Relaxed);
}

/// Chooses by its name what becomes of a hand-over that cannot be believed, before early init.
pub(crate) fn set_damaged(name: &[u8]) {
    if name != b"refuse" && name != b"panic" {
        pr_warn!(
            "liveupdate.damaged={} is unknown, the default is used\n",
            BStr::from_bytes(name)
        );
    }
    handover::panic_if_damaged(name == b"panic");
}

/// The format of what this kernel hands over.
fn outgoing_format() -> &'static dyn Format {
    FORMATS
        .into_iter()
        .nth(ABI.load(Relaxed))
        .unwrap_or(format::DEFAULT)
}

/// The orchestrator.
///
/// Returns `ENODEV` if there is none.
fn luo() -> Result<&'static Luo> {
    LUO.as_ref().map(|luo| luo.as_ref().get_ref()).ok_or(ENODEV)
}

/// The handlers and FLBs, if live update was enabled at early init.
pub(crate) fn registry() -> Option<&'static Registry> {
    luo().ok().map(|luo| &luo.sessions.registry)
}

/// The sessions, if live update is enabled.
///
/// Returns `EOPNOTSUPP` if it is not, or not yet.
pub(crate) fn sessions() -> Result<&'static Sessions> {
    match luo() {
        Ok(luo) if enabled() => Ok(&luo.sessions),
        _ => Err(EOPNOTSUPP),
    }
}

/// Early init: looks at what the previous kernel handed over.
///
/// A hand-over that cannot be believed does not stop the kernel, nor the next live update: it is
/// left where it is, and `/dev/liveupdate` cannot be opened in this boot.
///
/// Returns `ENOMEM`.
pub(crate) fn early_init() -> Result {
    if !kho::is_enabled() {
        if enabled() {
            pr_warn!("kexec handover is off, so live update is off too\n");
        }
        set_enabled(false);
        return Ok(());
    }

    let Some(memory) = kho::HandedOver::take() else {
        return Ok(());
    };
    let mut handed_over = HandOver::new(memory);

    if !enabled() {
        handed_over.look();
        return Ok(());
    }

    let luo = KBox::try_pin_init(
        try_pin_init!(Luo {
            sessions <- Sessions::new(outgoing_format(), handed_over),
            in_use: Atomic::new(false),
        }),
        GFP_KERNEL,
    )
    .inspect_err(|err| {
        pr_err!("no memory ({err:?}), live update is off\n");
        set_enabled(false);
    })?;

    if let Err(ENOMEM) = luo.sessions.registry.handed_over.lock().contents() {
        pr_warn!("no memory to read what the previous kernel handed over, to be tried again\n");
    }
    LUO.populate(luo);

    Ok(())
}

/// Late init: publishes the root record for the next kernel, and the device for userspace.
///
/// Returns what KHO or the registration of the device answer.
pub(crate) fn late_init() -> Result {
    if !enabled() {
        return Ok(());
    }

    let luo = luo()?;
    let mut handed_over = luo.sessions.registry.handed_over.lock();

    // Now that all struct pages are there.
    handed_over.release();
    let next = handed_over.liveupdate_num().wrapping_add(1);
    drop(handed_over);

    luo.sessions.publish(next).inspect_err(|err| {
        pr_err!("cannot publish the root record ({err:?}), live update is off\n");
        set_enabled(false);
    })?;

    c_api::register_device()
}

/// When all drivers are there: tells the log what nobody knows of what was handed over.
pub(crate) fn report() {
    if let Ok(sessions) = sessions() {
        sessions.registry.report_unknown_flbs();
    }
}

/// The last act of this kernel before a kexec: writes down what it preserved.
///
/// On success nothing can be changed any more. On failure nothing has changed.
///
/// Returns `ENOEXEC` if the loaded image cannot carry the sessions that there are, or what the
/// handler of a file answered to its `freeze`. May sleep; the image must not change meanwhile.
pub(crate) fn reboot() -> Result {
    if !enabled() {
        return Ok(());
    }

    luo()?.sessions.serialize(c_api::is_image_for_kho())
}

/// Opens `/dev/liveupdate`. The first time, this restores the sessions of the previous kernel.
///
/// Returns `EBUSY` if it is open already, and what [`Sessions::restore`] returns.
pub(crate) fn open() -> Result {
    let luo = luo()?;

    if luo.in_use.xchg(true, Acquire) {
        return Err(EBUSY);
    }

    luo.sessions.restore().inspect_err(|_| release())
}

/// Closes `/dev/liveupdate`.
pub(crate) fn release() {
    if let Ok(luo) = luo() {
        luo.in_use.store(false, Release);
    }
}

/// Answers an ioctl of `/dev/liveupdate`.
///
/// Returns `EINVAL` if the number is not one of the device's, `EFAULT` if the argument cannot be
/// read, `ENOTTY` if the command is not the one of that number, and else what the command returns.
pub(crate) fn ioctl(cmd: u32, arg: UserPtr) -> Result {
    if !uapi::DEVICE_NUMBERS.contains(&_IOC_NR(cmd)) {
        return Err(EINVAL);
    }

    let arg = Argument::new(arg)?;
    let sessions = &luo()?.sessions;

    match cmd {
        uapi::CreateSession::CMD => sessions.create(&arg),
        uapi::RetrieveSession::CMD => sessions.retrieve(&arg),
        _ => Err(ENOIOCTLCMD),
    }
}
