// SPDX-License-Identifier: GPL-2.0

//! The argument structures of all ioctls: their sizes, now and as they may grow, and memory that
//! the kernel cannot read or write.

use crate::{
    argument::{self, ioctl, ioctl_nowhere, resized, Guarded},
    check::outcome,
    differences::RETRIEVE_AFTER_FAULT,
    file::{content, expect_frozen, memfd},
    process::next_descriptor,
    Group, World,
};
use anyhow::{Context, Result};
use liveupdate::{raw, Device};
use nix::errno::Errno::{E2BIG, EEXIST, EFAULT, EINVAL, ENOENT};
use std::{
    ffi::c_ulong,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

pub const GROUP: Group = Group {
    name: "arguments",
    stages: &[
        &[
            ("create-session", create_session),
            ("create-session-answer", create_session_answer),
            ("preserve-fd", preserve_fd),
            ("preserve-fd-answer", preserve_fd_answer),
            ("get-name-created", get_name_created),
            ("hand-over", hand_over),
        ],
        &[
            ("retrieve-session", retrieve_session),
            ("retrieve-session-answer", retrieve_session_answer),
            ("retrieve-fd", retrieve_fd),
            ("get-name-retrieved", get_name_retrieved),
            ("finish", finish),
            ("finish-answer", finish_answer),
        ],
    ],
};

/// Tries all sizes and bad pointers on one ioctl.
///
/// `fresh` makes an argument of the structure's size that is good for one success.
/// `makes_descriptor` tells that a success is a descriptor, to be closed again.
fn try_argument(
    fd: BorrowedFd<'_>,
    command: c_ulong,
    makes_descriptor: bool,
    mut fresh: impl FnMut() -> Result<Vec<u8>>,
) -> Result<()> {
    let exact = fresh()?;
    let size = exact.len();
    let next = next_descriptor()?;

    // No memory, not ours, too little for the size, for the structure, for what it says is more.
    for address in [0, 1, 0xffff_8000_0000_0000, usize::MAX - 3] {
        refused!(ioctl_nowhere(fd, command, address), EFAULT, address);
    }
    for length in 0..size {
        refused!(ioctl(fd, command, &exact[..length])?, EFAULT, length);
    }
    let longer = resized(&exact, size + 64)?;
    for length in [size, size + 1, size + 63] {
        refused!(ioctl(fd, command, &longer[..length])?, EFAULT, length);
    }
    let unending = [&u32::MAX.to_ne_bytes(), &exact[4..]].concat();
    refused!(ioctl(fd, command, &unending)?, EFAULT);

    // Too short, or longer with something in it.
    for length in [0, 1, 4, 7, 8, size - 8, size - 1] {
        if length < size {
            let mut short = exact.clone();
            short[..4].copy_from_slice(&u32::try_from(length)?.to_ne_bytes());
            refused!(ioctl(fd, command, &short)?, EINVAL, length);
        }
    }
    for (length, set) in [
        (1, 0),
        (8, 0),
        (64, 0),
        (64, 63),
        (8192, 4095),
        (8192, 8191),
    ] {
        let mut garbage = resized(&exact, size + length)?;
        garbage[size + set] = 0x80;
        refused!(ioctl(fd, command, &garbage)?, E2BIG, length, set);
    }
    same!(next_descriptor()?, next);

    // None of that had an effect: the argument is still good.
    let mut good = exact;
    for length in [0, 1, 8, 64, 8192] {
        let mut argument = Guarded::new(&resized(&good, size + length)?)?;
        done!(argument.ioctl(fd, command), length);
        same!(
            argument.bytes()[size..].iter().all(|&byte| byte == 0),
            true,
            length
        );
        if makes_descriptor {
            // SAFETY: That is what this ioctl does when it succeeds.
            drop(unsafe { argument.descriptor() }?);
            same!(next_descriptor()?, next);
        }
        good = fresh()?;
    }
    Ok(())
}

/// Expects an ioctl whose answer cannot be copied out to say so and to leave no descriptor.
fn fail_answer(fd: impl AsFd, command: c_ulong, argument: &[u8]) -> Result<()> {
    let mut argument = Guarded::new(argument)?.read_only()?;
    let next = next_descriptor()?;
    refused!(argument.ioctl(fd, command), EFAULT);
    same!(next_descriptor()?, next);
    Ok(())
}

fn create_session(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    // A session that is closed leaves its name free.
    try_argument(device.as_fd(), raw::CREATE_SESSION, true, || {
        Ok(argument::session(b"session"))
    })
}

/// A session whose descriptor nobody got is gone.
fn create_session_answer(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    fail_answer(&device, raw::CREATE_SESSION, &argument::session(b"session"))?;
    done!(device.create_session(b"session"));
    Ok(())
}

fn preserve_fd(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let mut files = vec![];
    try_argument(session.as_fd(), raw::PRESERVE_FD, false, || {
        let file = memfd(b"file")?;
        let argument = argument::file(file.as_raw_fd(), u64::try_from(files.len())?);
        files.push(file);
        Ok(argument)
    })
}

/// The file is preserved, though the caller is not told.
fn preserve_fd_answer(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let file = memfd(b"file")?;
    let argument = argument::file(file.as_raw_fd(), 1);
    fail_answer(&session, raw::PRESERVE_FD, &argument)?;
    expect_frozen(&file)?;
    refused!(session.preserve_fd(file.as_fd(), 1), EEXIST);
    Ok(())
}

fn get_name_created(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    try_argument(session.as_fd(), raw::GET_NAME, false, || {
        Ok(argument::get_name(0))
    })?;
    fail_answer(&session, raw::GET_NAME, &argument::get_name(0))
}

/// The sessions that the second stage has one file in.
const WITH_FILE: [&[u8]; 5] = [b"unanswered", b"files", b"named", b"finished", b"unheard"];

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for number in 0..6 {
        world.keep(device.create_session([b'0' + number])?);
    }
    for name in WITH_FILE {
        let session = device.create_session(name)?;
        session.preserve_fd(memfd(name)?.as_fd(), 1)?;
        world.keep(session);
    }
    Ok(())
}

fn retrieve_session(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut names = (b'0'..).map(|digit| argument::session(&[digit]));
    try_argument(device.as_fd(), raw::RETRIEVE_SESSION, true, || {
        names.next().context("no more names")
    })?;
    // The last name was not used.
    done!(device.retrieve_session(b"5"));
    Ok(())
}

fn retrieve_session_answer(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let argument = argument::session(b"unanswered");
    fail_answer(&device, raw::RETRIEVE_SESSION, &argument)?;
    let session = device.retrieve_session(b"unanswered");
    same!(outcome(&session), *RETRIEVE_AFTER_FAULT.on(world.luo));
    if let Ok(session) = session {
        same!(
            content(&File::from(done!(session.retrieve_fd(1))))?,
            b"unanswered"
        );
    }
    Ok(())
}

fn retrieve_fd(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"files")?;
    // Whoever is not told can ask again.
    fail_answer(&session, raw::RETRIEVE_FD, &argument::file(-1, 1))?;
    try_argument(session.as_fd(), raw::RETRIEVE_FD, true, || {
        Ok(argument::file(-1, 1))
    })?;
    fail_answer(&session, raw::RETRIEVE_FD, &argument::file(-1, 1))?;
    same!(
        content(&File::from(done!(session.retrieve_fd(1))))?,
        b"files"
    );
    Ok(())
}

fn get_name_retrieved(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"named")?;
    try_argument(session.as_fd(), raw::GET_NAME, false, || {
        Ok(argument::get_name(0))
    })?;
    fail_answer(&session, raw::GET_NAME, &argument::get_name(0))?;
    same!(done!(session.name()), b"named");
    Ok(())
}

fn finish(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"finished")?;
    try_argument(session.as_fd(), raw::FINISH, false, || {
        Ok(argument::finish(0))
    })?;
    refused!(session.retrieve_fd(1), ENOENT);
    Ok(())
}

/// The session is finished, though the caller is not told.
fn finish_answer(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"unheard")?;
    fail_answer(&session, raw::FINISH, &argument::finish(0))?;
    refused!(session.retrieve_fd(1), ENOENT);
    Ok(())
}
