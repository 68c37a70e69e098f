// SPDX-License-Identifier: GPL-2.0

//! Which errno each wrong call gets, and which of them where several would fit.

use crate::{
    argument::{self, ioctl, ioctl_nowhere},
    file::{content, expect_frozen, expect_thawed, memfd},
    Group, World,
};
use anyhow::Result;
use liveupdate::{raw, Device, ErrorKind, Session};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{E2BIG, EBADF, EBUSY, EEXIST, EFAULT, EFBIG, EINVAL, ENOENT, ENOTTY},
    libc::O_PATH,
    request_code_none, request_code_readwrite,
};
use std::{
    ffi::c_ulong,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    process,
};

pub const GROUP: Group = Group {
    name: "errors",
    stages: &[&[
        ("unknown-number", unknown_number),
        ("known-number-of-another-command", another_command),
        ("direction", direction),
        ("create-session", create_session),
        ("retrieve-session", retrieve_session),
        ("preserve-fd-token", preserve_token),
        ("preserve-fd-descriptor", preserve_descriptor),
        ("preserve-fd-twice", preserve_twice),
        ("preserve-fd-failing-handler", preserve_failing),
        ("get-name", get_name),
        ("words", words),
    ]],
};

/// The numbers that the device knows.
const DEVICE: [c_ulong; 2] = [raw::CREATE_SESSION, raw::RETRIEVE_SESSION];
/// The numbers that a session knows.
const SESSION: [c_ulong; 4] = [
    raw::PRESERVE_FD,
    raw::RETRIEVE_FD,
    raw::FINISH,
    raw::GET_NAME,
];

/// Numbers beyond the known ones are invalid before their argument is looked at.
fn unknown_number(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let check = |fd: BorrowedFd<'_>, number: u8| -> Result<()> {
        let command = request_code_none!(raw::TYPE, number);
        refused!(
            ioctl(fd, command, &argument::session(b"new"))?,
            EINVAL,
            number
        );
        refused!(ioctl_nowhere(fd, command, 0), EINVAL, number);
        Ok(())
    };
    for number in [0x02, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44, 0xff] {
        check(device.as_fd(), number)?;
    }
    for number in [0x00, 0x01, 0x3f, 0x44, 0x45, 0xff] {
        check(session.as_fd(), number)?;
    }
    Ok(())
}

/// A known number in another command is unknown as a whole, if the size can be read.
fn another_command(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let check = |fd: BorrowedFd<'_>, command: c_ulong| -> Result<()> {
        let number = command & 0xff;
        for command in [
            request_code_none!(raw::TYPE + 1, number),
            request_code_readwrite!(raw::TYPE, number, 72),
        ] {
            refused!(
                ioctl(fd, command, &argument::session(b"new"))?,
                ENOTTY,
                number
            );
            // Not even the right size helps.
            refused!(ioctl(fd, command, &0u32.to_ne_bytes())?, ENOTTY, number);
            refused!(ioctl_nowhere(fd, command, 0), EFAULT, number);
        }
        Ok(())
    };
    DEVICE
        .iter()
        .try_for_each(|&command| check(device.as_fd(), command))?;
    SESSION
        .iter()
        .try_for_each(|&command| check(session.as_fd(), command))
}

/// A created session neither retrieves nor finishes, and says so before it reads the argument.
fn direction(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    refused!(session.retrieve_fd(1), EINVAL);
    refused!(session.finish(), EINVAL);
    for command in [raw::RETRIEVE_FD, raw::FINISH] {
        let mut garbage = argument::resized(&argument::file(0, 1), 64)?;
        garbage[63] = 1;
        refused!(ioctl(&session, command, &garbage)?, EINVAL, command);
        refused!(ioctl(&session, command, &garbage[..4])?, EINVAL, command);
        refused!(ioctl(&session, command, &garbage[..3])?, EFAULT, command);
    }
    let file = memfd(b"file")?;
    done!(session.preserve_fd(file.as_fd(), 1));
    Ok(())
}

fn create_session(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let create = |bytes: &[u8]| ioctl(&device, raw::CREATE_SESSION, bytes);
    refused!(create(&argument::session(b""))?, EINVAL);
    refused!(create(&argument::session(b"\0hidden"))?, EINVAL);
    refused!(create(&argument::session(&[b'a'; 64]))?, EINVAL);

    // The size and what lies beyond come before the name.
    let mut garbage = argument::resized(&argument::session(b""), 80)?;
    garbage[79] = 1;
    refused!(create(&garbage)?, E2BIG);

    let session = done!(device.create_session(b"taken"));
    refused!(device.create_session(b"taken"), EEXIST);
    refused!(create(&argument::session(b"taken\0hidden"))?, EEXIST);
    same!(done!(session.name()), b"taken");
    done!(device.create_session(b"taken, but not quite"));
    drop(session);
    done!(device.create_session(b"taken"));
    Ok(())
}

/// There is nothing to retrieve in a kernel that no live update led to.
fn retrieve_session(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let _created = device.create_session(b"created")?;
    refused!(device.retrieve_session(b"created"), ENOENT);
    refused!(device.retrieve_session(b""), ENOENT);
    let unending = argument::session(&[b'a'; 64]);
    refused!(ioctl(&device, raw::RETRIEVE_SESSION, &unending)?, ENOENT);
    Ok(())
}

/// A token is taken once in a session; that is found out before the descriptor is looked at.
fn preserve_token(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let (first, second) = (memfd(b"first")?, memfd(b"second")?);
    for token in [0, 1, u64::MAX] {
        done!(session.preserve_fd(memfd(b"file")?.as_fd(), token), token);
        refused!(session.preserve_fd(first.as_fd(), token), EEXIST, token);
        let nothing = argument::file(-1, token);
        refused!(ioctl(&session, raw::PRESERVE_FD, &nothing)?, EEXIST, token);
    }
    done!(session.preserve_fd(first.as_fd(), 2));
    // Each session has its own.
    let other = device.create_session(b"other")?;
    done!(other.preserve_fd(second.as_fd(), 2));
    Ok(())
}

fn preserve_descriptor(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let file = memfd(b"file")?;
    let preserve = |fd: i32| ioctl(&session, raw::PRESERVE_FD, &argument::file(fd, 1));

    let closed = OwnedFd::from(memfd(b"closed")?).as_raw_fd();
    for fd in [-1, i32::MIN, i32::MAX, closed] {
        refused!(preserve(fd)?, EBADF, fd);
    }
    let place = File::options()
        .read(true)
        .custom_flags(O_PATH)
        .open("/proc")?;
    refused!(preserve(place.as_raw_fd())?, EBADF);

    let (pipe, _) = io::pipe()?;
    let zero = File::open("/dev/zero")?;
    let directory = File::open("/proc")?;
    for (fd, what) in [
        (pipe.as_raw_fd(), "pipe"),
        (zero.as_raw_fd(), "/dev/zero"),
        (directory.as_raw_fd(), "/proc"),
        (device.as_fd().as_raw_fd(), "device"),
        (session.as_fd().as_raw_fd(), "session"),
    ] {
        refused!(preserve(fd)?, ENOENT, what);
    }

    // None of them took the token.
    done!(session.preserve_fd(file.as_fd(), 1));
    Ok(())
}

/// A file is preserved once in all sessions, whichever descriptor it is named by.
fn preserve_twice(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let other = device.create_session(b"other")?;
    let file = memfd(b"file")?;
    let duplicate = file.try_clone()?;
    let reopened = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;

    done!(session.preserve_fd(file.as_fd(), 1));
    for fd in [file.as_fd(), duplicate.as_fd(), reopened.as_fd()] {
        refused!(session.preserve_fd(fd, 2), EBUSY, fd.as_raw_fd());
        refused!(other.preserve_fd(fd, 2), EBUSY, fd.as_raw_fd());
    }
    expect_frozen(&file)?;

    // The refusals took nothing from the one session and gave nothing to the other.
    drop(other);
    expect_frozen(&file)?;
    let other = device.create_session(b"other")?;
    refused!(other.preserve_fd(file.as_fd(), 1), EBUSY);
    drop(session);
    done!(other.preserve_fd(duplicate.as_fd(), 1));
    Ok(())
}

/// What the handler says is what the caller gets, and nothing stays behind.
fn preserve_failing(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let file = memfd(b"file")?;
    // More pages than the handler for memory files can count.
    file.set_len((u64::from(u32::MAX) + 1) * *PAGE as u64)?;
    refused!(session.preserve_fd(file.as_fd(), 1), EFBIG);
    file.set_len(4)?;
    expect_thawed(&file)?;
    done!(session.preserve_fd(file.as_fd(), 1));
    same!(content(&file)?, b"file");
    Ok(())
}

fn get_name(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    refused!(
        ioctl(&session, raw::GET_NAME, &argument::get_name(1))?,
        EINVAL
    );
    same!(done!(session.name()), b"session");
    Ok(())
}

/// What the crate says of an errno, and who has what is taken.
fn words(_: &mut World) -> Result<()> {
    fn said<T>(result: liveupdate::Result<T>) -> Option<String> {
        result.err().map(|error| error.to_string())
    }
    let by = format!("in luo-kexec-tests({})", process::id());
    let device = Device::open()?;
    let busy = "there is one at a time: try again when that is closed";
    same!(
        said(Device::open()),
        Some(format!("{} is open {by}; {busy}", liveupdate::DEVICE))
    );
    let session = device.create_session("vm")?;
    same!(
        said(device.create_session("vm")),
        Some(format!("there is a session 'vm' already, {by}"))
    );
    let none = said(device.retrieve_session("vm")).unwrap_or_default();
    let due = "there is no session 'vm' of the previous kernel";
    same!(none.starts_with(due), true, none);
    same!(
        said(session.preserve_fd(File::open("/dev/null")?, 31)),
        Some("file 0x1f: no file handler preserves such a file".to_owned())
    );
    let taken = Session::from_fd(memfd(b"memory")?.into());
    same!(
        taken.map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::NotASession)
    );
    Ok(())
}
