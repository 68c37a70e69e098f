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
mod kho;
mod libfdt;
pub mod list_private;
mod luo_file;
mod luo_flb;
mod luo_session;
#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/mock.rs"]
mod mock;
mod sync;
mod table;

use abi::format;
use abi::format::Format;
use abi::format::FORMATS;
use abi::uapi;
use abi::uapi::Request as _;
use abi::Found;
use block::damaged;
use block::Claimed;
use block::ReadError;
use c_api::Argument;
use kernel::ioctl::_IOC_NR;
use kernel::prelude::*;
use kernel::str::BStr;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::SetOnce;
use kernel::uaccess::UserPtr;
use kho::Extent;
use kho::Memory;
use luo_file::Registry;
use luo_flb::HandedOver;
use luo_session::refuse;
use luo_session::Handover;
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
    /// How many live updates led to this kernel.
    liveupdate_num: u64,
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

    let mut liveupdate_num = 0;
    let (handover, flbs) = receive(&mut liveupdate_num).unwrap_or_else(|reason| {
        refuse(reason, None);
        (Handover::Refused, HandedOver::nothing())
    });

    if enabled() {
        let luo = KBox::try_pin_init(
            try_pin_init!(Luo {
                sessions <- Sessions::new(outgoing_format(), handover, flbs),
                liveupdate_num,
                in_use: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|err| {
            pr_err!("no memory ({err:?}), live update is off\n");
            set_enabled(false);
        })?;
        LUO.populate(luo);
    }

    Ok(())
}

/// Sessions and FLBs that a previous kernel handed over.
type Received = (Handover, HandedOver);

/// Reads the root record of the previous kernel, if there is one, and copies the FLBs.
fn receive(liveupdate_num: &mut u64) -> Result<Received, ReadError> {
    let Some(mut memory) = kho::HandedOver::take() else {
        return Ok((Handover::Restored, HandedOver::nothing()));
    };
    let (phys, size) = match memory.find(format::KHO_ENTRY) {
        Ok(found) => found,
        Err(ENOENT) => return Ok((Handover::Restored, HandedOver::nothing())),
        Err(_) => {
            let why = "a malformed entry of KHO";
            return damaged("LUO", "preserved-data", Found::Nothing, why);
        }
    };
    let (format, root) = read_root(&memory, phys, size)?;

    *liveupdate_num = root.liveupdate_num;
    pr_info!(
        "found the data of a live update, liveupdate number: {}\n",
        root.liveupdate_num
    );

    let mut claimed = Claimed::new();
    let sessions = luo_session::Blocks::follow(
        &memory,
        &mut claimed,
        format.session_block_size(),
        format.sessions_field(),
        root.sessions_pa,
    )?;
    let flbs = luo_flb::read(&memory, format.flbs_field(), root.flbs_pa)?;

    memory.release([phys, root.flbs_pa].map(Extent::page));
    let handover = Handover::Pending {
        memory,
        format,
        claimed,
        sessions,
    };
    Ok((handover, flbs))
}

/// Reads the root blob from the `size` bytes at the physical address `phys`, in whichever format it
/// is.
fn read_root(
    memory: &impl Memory,
    phys: u64,
    size: usize,
) -> Result<(&'static dyn Format, format::Root), ReadError> {
    let Some(page) = memory.bytes(Extent::page(phys)) else {
        let why = "not a page that was handed over";
        return damaged("LUO", "preserved-data", Found::Number(phys), why);
    };
    let blob = page.get(..size).unwrap_or(page);
    let format = format::format_of(blob);

    format
        .read(blob)
        .map(|root| (format, root))
        .map_err(ReadError::Damaged)
}

/// Late init: publishes the root record for the next kernel, and the device for userspace.
///
/// Returns what KHO or the registration of the device answer.
pub(crate) fn late_init() -> Result {
    if !enabled() {
        return Ok(());
    }

    let luo = luo()?;
    let next = luo.liveupdate_num.wrapping_add(1);

    luo.sessions.publish(next).inspect_err(|err| {
        pr_err!("cannot publish the root record ({err:?}), live update is off\n");
        set_enabled(false);
    })?;

    c_api::register_device()
}

/// The last act of this kernel before a kexec: writes down what it preserved.
///
/// On success nothing can be changed any more. On failure nothing has changed.
///
/// Returns what the handler of a file answered to its `freeze`. May sleep.
pub(crate) fn reboot() -> Result {
    if !enabled() {
        return Ok(());
    }

    luo()?.sessions.serialize()
}

/// Opens `/dev/liveupdate`. The first time, this restores the sessions of the previous kernel.
///
/// Returns `EBUSY` if it is open already, `EIO` if the previous kernel's sessions are lost.
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
