// SPDX-License-Identifier: GPL-2.0

//! A caller whose memory keeps the kernel waiting, as that of a stalled FUSE daemon or userfaultfd
//! does, holds up nobody but itself: neither a reboot, nor whoever comes after that.

use crate::{
    argument,
    differences::{Luo, REBOOT_WAITS_FOR_MEMORY},
    driver::{self, B, C},
    file::{content, memfd},
    stalled::Stalled,
    Group, World,
};
use anyhow::{bail, ensure, Context, Result};
use liveupdate::{raw, Device, Session};
use luo_guest::OUTPUT;
use nix::{
    errno::Errno::{EEXIST, ENODATA, ENOENT},
    sys::reboot::{reboot, RebootMode},
    unistd::{fork, pause, ForkResult},
};
use std::{
    ffi::c_ulong,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

pub const GROUP: Group = Group {
    name: "stalled",
    stages: &[
        &[
            ("create", create),
            ("preserve", preserve),
            ("hand-over", hand_over),
            ("jump", jump),
        ],
        &[
            ("not-told-not-there", not_told_not_there),
            ("retrieve-session", retrieve_session),
            ("retrieve-fd", retrieve_fd),
            ("finish", finish),
        ],
    ],
};

/// How long a reboot may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long, one that waits does so for something else than the processor.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Does an ioctl whose answer is stalled, has a reboot refused meanwhile, and lets the answer be
/// written then.
fn beside(device: &Device, fd: BorrowedFd<'_>, command: c_ulong, bytes: &[u8]) -> Result<Stalled> {
    meanwhile(device, fd, command, bytes, false)
}

/// The same; whether the reboot is to wait for that answer.
fn meanwhile(
    device: &Device,
    fd: BorrowedFd<'_>,
    command: c_ulong,
    bytes: &[u8],
    waits: bool,
) -> Result<Stalled> {
    driver::reset()?;
    let refusing = done!(device.create_session(b"refusing"));
    done!(B.preserve(&refusing, 1)?);
    B.fail("freeze", 0, 1, Some(ENODATA as i32))?;

    let argument = Stalled::new(bytes)?;
    let (call, kexec) = thread::scope(|scope| -> Result<_> {
        let (tell, told) = mpsc::channel();
        let call = scope.spawn(|| argument.ioctl(fd, command));
        let stalled = argument.wait();
        scope.spawn(move || tell.send(reboot(RebootMode::RB_KEXEC)));
        let early = told.recv_timeout(if waits { IMPATIENCE } else { PATIENCE });
        argument.release()?;
        stalled?;
        ensure!(early.is_err() == waits, "the reboot: {early:?}");
        let kexec = early.or_else(|_| told.recv_timeout(PATIENCE));
        match call.join() {
            Ok(call) => Ok((call, kexec)),
            Err(_) => bail!("a thread panicked"),
        }
    })?;
    let kexec = kexec.context("the reboot does not end")?;
    refused!(kexec.map_err(io::Error::from), ENODATA);
    done!(call);
    Ok(argument)
}

/// The same of an ioctl on a session.
fn beside_session(
    world: &World,
    device: &Device,
    session: &Session,
    command: c_ulong,
    bytes: &[u8],
) -> Result<Stalled> {
    let waits = *REBOOT_WAITS_FOR_MEMORY.on(world.luo);
    meanwhile(device, session.as_fd(), command, bytes, waits)
}

/// The descriptor that an ioctl answered.
///
/// # Safety
///
/// The ioctl was one that makes a descriptor, and this is called once after it.
unsafe fn descriptor(argument: &Stalled) -> Result<OwnedFd> {
    let fd = i32::from_ne_bytes(argument.bytes()[4..8].try_into()?);
    same!(fd >= 0, true);
    // SAFETY: The kernel made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn create(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let bytes = argument::session(b"slow");
    let answer = beside(&device, device.as_fd(), raw::CREATE_SESSION, &bytes)?;
    refused!(device.create_session(b"slow"), EEXIST);
    // SAFETY: It makes a descriptor, and succeeded.
    drop(unsafe { descriptor(&answer) }?);
    done!(device.create_session(b"slow"));
    Ok(())
}

fn preserve(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.create_session(b"session"));
    let file = memfd(b"file")?;
    let bytes = argument::file(file.as_raw_fd(), 1);
    beside_session(world, &device, &session, raw::PRESERVE_FD, &bytes)?;
    refused!(session.preserve_fd(file.as_fd(), 1), EEXIST);
    Ok(())
}

const NAMES: [&[u8]; 3] = [b"session", b"file", b"finished"];

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in NAMES {
        let session = done!(device.create_session(name));
        done!(session.preserve_fd(memfd(name)?.as_fd(), 1));
        done!(C.preserve(&session, 2)?);
        world.keep(session);
    }
    Ok(())
}

/// Leaves a process behind that waits to be told of its session when the kexec comes.
fn jump(world: &mut World) -> Result<()> {
    let (mut ready, mut tell) = io::pipe()?;
    // SAFETY: This program has one thread again.
    if let ForkResult::Child = unsafe { fork() }? {
        let mut never = || -> Result<()> {
            let device = Device::open()?;
            let argument = Stalled::new(&argument::session(b"untold"))?;
            thread::scope(|scope| -> Result<()> {
                let call = scope.spawn(|| argument.ioctl(device.as_fd(), raw::CREATE_SESSION));
                argument.wait()?;
                tell.write_all(b"!")?;
                pause();
                let _ = call.join();
                Ok(())
            })
        };
        let ended = never();
        let _ = luo_guest::log(OUTPUT, format!("{ended:?}").as_bytes());
        process::exit(1);
    }
    drop(tell);
    ready.read_exact(&mut [0]).context("nobody waits")?;
    world.keep(ready);
    Ok(())
}

fn not_told_not_there(world: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"untold");
    // In C it is there before its owner is told.
    if world.previous == Luo::Rust {
        refused!(session, ENOENT);
    }
    Ok(())
}

fn retrieve_session(world: &mut World) -> Result<()> {
    // Without a kernel to go to, a reboot is refused before it comes to the sessions.
    luo_guest::load_next(world.stage.try_into()?)?;
    let device = Device::open()?;
    let bytes = argument::session(b"session");
    let answer = beside(&device, device.as_fd(), raw::RETRIEVE_SESSION, &bytes)?;
    // SAFETY: It makes a descriptor, and succeeded.
    let session = Session::from(unsafe { descriptor(&answer) }?);
    same!(
        content(&File::from(done!(session.retrieve_fd(1))))?,
        b"session"
    );
    Ok(())
}

fn retrieve_fd(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"file"));
    let bytes = argument::file(-1, 1);
    let answer = beside_session(world, &device, &session, raw::RETRIEVE_FD, &bytes)?;
    // SAFETY: It makes a descriptor, and succeeded.
    let file = unsafe { descriptor(&answer) }?;
    same!(content(&File::from(file))?, b"file");
    Ok(())
}

fn finish(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"finished"));
    let bytes = argument::finish(0);
    beside_session(world, &device, &session, raw::FINISH, &bytes)?;
    refused!(session.retrieve_fd(1), ENOENT);
    Ok(())
}
