// SPDX-License-Identifier: GPL-2.0

//! Closing a created session gives its files back to their owners as if nothing had been.

use crate::{
    abi::ABI,
    argument,
    file::{content, expect_frozen, expect_thawed, memfd},
    process::kill_holder,
    Group, World,
};
use anyhow::Result;
use liveupdate::{raw, Device, Session};
use nix::errno::Errno::{EBADF, EBUSY, EEXIST};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
};

pub const GROUP: Group = Group {
    name: "undo",
    stages: &[&[
        ("close", close),
        ("close-in-the-middle", close_in_the_middle),
        ("kill", kill),
        ("file-closed-first", file_closed_first),
        ("many-files", many_files),
        ("refused-preserve", refused_preserve),
    ]],
};

fn close(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let file = memfd(b"content")?;
    expect_thawed(&file)?;
    for _ in 0..3 {
        let session = device.create_session(b"session")?;
        done!(session.preserve_fd(file.as_fd(), 1));
        expect_frozen(&file)?;
        drop(session);
        expect_thawed(&file)?;
    }
    same!(content(&file)?, b"content");
    Ok(())
}

/// The sessions around a closed one keep what is theirs.
fn close_in_the_middle(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut held = vec![];
    for name in [b"1", b"2", b"3"] {
        let session = device.create_session(name)?;
        let file = memfd(name)?;
        session.preserve_fd(file.as_fd(), 1)?;
        held.push((session, file));
    }
    let (session, file) = held.remove(1);
    drop(session);
    expect_thawed(&file)?;
    for (session, file) in &held {
        expect_frozen(file)?;
        done!(session.preserve_fd(memfd(b"more")?.as_fd(), 2));
    }
    refused!(device.create_session(b"1"), EEXIST);
    refused!(device.create_session(b"3"), EEXIST);
    done!(done!(device.create_session(b"2")).preserve_fd(file.as_fd(), 1));
    Ok(())
}

/// A process that is killed closes everything.
fn kill(_: &mut World) -> Result<()> {
    let file = memfd(b"content")?;
    let holdings = || -> Result<(Device, Session)> {
        let device = Device::open()?;
        let session = device.create_session(b"session")?;
        session.preserve_fd(file.as_fd(), 1)?;
        Ok((device, session))
    };
    kill_holder(holdings, || {
        refused!(Device::open(), EBUSY);
        expect_frozen(&file)
    })?;
    expect_thawed(&file)?;
    let session = done!(done!(Device::open()).create_session(b"session"));
    done!(session.preserve_fd(file.as_fd(), 1));
    Ok(())
}

/// The session holds a file that its owner has closed.
fn file_closed_first(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let file = memfd(b"content")?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reopened = File::options().read(true).write(true).open(path)?;
    session.preserve_fd(file.as_fd(), 1)?;
    drop(file);
    expect_frozen(&reopened)?;
    drop(session);
    expect_thawed(&reopened)
}

fn files(count: usize) -> Result<Vec<File>> {
    (0..count).map(|_| memfd(b"file")).collect()
}

/// More files than three blocks of the hand-over hold.
fn many_files(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let files = files(3 * ABI.files + 11)?;
    for _ in 0..2 {
        let session = device.create_session(b"session")?;
        for (token, file) in (0..).zip(&files) {
            done!(session.preserve_fd(file.as_fd(), token), token);
        }
        files.iter().try_for_each(expect_frozen)?;
        drop(session);
        files.iter().try_for_each(expect_thawed)?;
    }
    Ok(())
}

/// A call that is refused takes nothing away from the files that are there, which fill a block.
fn refused_preserve(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let full = ABI.files as u64;
    let files = files(ABI.files)?;
    for (token, file) in (0..).zip(&files) {
        done!(session.preserve_fd(file.as_fd(), token), token);
    }
    let nothing = argument::file(-1, full);
    refused!(
        argument::ioctl(&session, raw::PRESERVE_FD, &nothing)?,
        EBADF
    );
    refused!(session.preserve_fd(files[0].as_fd(), full), EBUSY);
    refused!(session.preserve_fd(files[0].as_fd(), full - 1), EEXIST);
    files.iter().try_for_each(expect_frozen)?;
    done!(session.preserve_fd(memfd(b"file")?.as_fd(), full));
    drop(session);
    files.iter().try_for_each(expect_thawed)
}
