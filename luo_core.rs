// SPDX-License-Identifier: GPL-2.0

//! The Live Update Orchestrator (LUO): open files that survive a kexec into another kernel.
//!
//! This file is the root of the crate and owns what there is once: whether live update is enabled,
//! the root record that one kernel hands to the next, and `/dev/liveupdate`. Everything else hangs
//! on the sessions ([`luo_session`]), which hold preserved files ([`luo_file`]), which are written
//! into linked blocks ([`block`]) of preserved memory ([`kernel::kho`]).
//!
//! C source: `kernel/liveupdate/luo_core.c`.

mod abi;
mod block;
mod c_api;
mod callbacks;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/claim.rs"]
mod claim_tests;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/common.rs"]
mod common;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST_FAULTS)]
#[path = "tests/kunit/fault.rs"]
mod fault;
mod handover;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/kho.rs"]
mod kho_tests;
mod list_private;
mod luo_debugfs;
mod luo_file;
mod luo_flb;
mod luo_session;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/mock.rs"]
mod mock;
mod table;

use crate::{
    abi::{
        format::{
            self,
            Format,
            FORMATS, //
        },
        uapi::{
            self,
            Request as _, //
        }, //
    },
    handover::HandOver,
    luo_file::Registry,
    luo_session::Sessions, //
};
use kernel::{
    fs::File,
    ioctl::_IOC_NR,
    kho,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    module_ref::BuiltIn,
    prelude::*,
    str::BStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        SetOnce, //
    },
    uaccess::{
        extensible::Argument,
        UserPtr, //
    }, //
};

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

/// `/dev/liveupdate`, registered at late init for good.
static DEVICE: SetOnce<Pin<KBox<MiscDeviceRegistration<Device>>>> = SetOnce::new();

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
    luo_debugfs::init(luo().ok());
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

    let options = MiscDeviceOptions {
        name: c"liveupdate",
    };
    DEVICE.populate(KBox::pin_init(
        MiscDeviceRegistration::register(options),
        GFP_KERNEL,
    )?);

    Ok(())
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
/// `carried` is whether the image of the next kernel will get to see it.
///
/// Returns `ENOEXEC` if there are sessions and they are not carried, or what the handler of a file
/// answered to its `freeze`. May sleep.
pub(crate) fn reboot(carried: bool) -> Result {
    if !enabled() {
        return Ok(());
    }

    luo()?.sessions.serialize(carried)
}

/// `/dev/liveupdate`.
struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = ();
    type OwnerModule = BuiltIn;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result {
        open()
    }

    fn release((): (), _file: &File) {
        release();
    }

    fn ioctl((): (), _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        ioctl(cmd, UserPtr::from_addr(arg)).map(|()| 0)
    }

    // The device has no ioctl for 32-bit programs, but one that says so: without it, the vtable
    // would give them the one above.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl((): (), _file: &File, _cmd: u32, _arg: usize) -> Result<isize> {
        Err(ENOTTY)
    }
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
