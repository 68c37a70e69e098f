// SPDX-License-Identifier: GPL-2.0

//! The device's and the sessions' descriptors: how many there can be, what they inherit, what
//! outlives what.

use crate::{
    argument::{self, ioctl},
    file::{expect_frozen, expect_thawed, memfd},
    process::{next_descriptor, with_full_table},
    Group, World,
};
use anyhow::Result;
use liveupdate::{raw, Device};
use nix::{
    errno::Errno::{E2BIG, EBUSY, EEXIST, EINVAL, EMFILE},
    fcntl::{fcntl, FcntlArg::F_GETFD, FcntlArg::F_GETFL, FdFlag, OFlag},
    unistd,
};
use std::{fs::File, io, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "descriptors",
    stages: &[&[
        ("device-exclusive", device_exclusive),
        ("device-closed", device_closed),
        ("session-flags", session_flags),
        ("session-duplicate", session_duplicate),
        ("full-table", full_table),
    ]],
};

/// One open at a time, whichever descriptor it lives in.
fn device_exclusive(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    refused!(Device::open(), EBUSY);
    refused!(File::open(liveupdate::DEVICE), EBUSY);
    let duplicate = device.as_fd().try_clone_to_owned()?;
    drop(device);
    refused!(Device::open(), EBUSY);
    drop(duplicate);
    done!(Device::open());
    done!(Device::open());
    Ok(())
}

/// Sessions live on without the device, and the next one who opens it finds their names taken.
fn device_closed(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let file = memfd(b"file")?;
    done!(session.preserve_fd(file.as_fd(), 1));
    let device = Device::open()?;
    refused!(device.create_session(b"session"), EEXIST);
    drop(session);
    expect_thawed(&file)?;
    done!(device.create_session(b"session"));
    Ok(())
}

fn session_flags(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let flags = FdFlag::from_bits_truncate(fcntl(&session, F_GETFD)?);
    same!(flags, FdFlag::FD_CLOEXEC);
    let mode = OFlag::from_bits_truncate(fcntl(&session, F_GETFL)?) & OFlag::O_ACCMODE;
    same!(mode, OFlag::O_RDWR);
    // There is nothing to read and nowhere to write.
    refused!(
        unistd::read(&session, &mut [0; 64]).map_err(io::Error::from),
        EINVAL
    );
    refused!(
        unistd::write(&session, b"text").map_err(io::Error::from),
        EINVAL
    );
    Ok(())
}

/// A session ends with the last of its descriptors.
fn session_duplicate(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let file = memfd(b"file")?;
    session.preserve_fd(file.as_fd(), 1)?;
    let duplicate = session.as_fd().try_clone_to_owned()?;
    drop(session);
    expect_frozen(&file)?;
    drop(duplicate);
    expect_thawed(&file)
}

/// No room for a descriptor is found out before the name is looked at, and leaves no session.
fn full_table(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let next = next_descriptor()?;
    let create = |name: &[u8]| ioctl(&device, raw::CREATE_SESSION, &argument::session(name));
    refused!(with_full_table(|| create(b"session"))??, EMFILE);
    refused!(with_full_table(|| create(b""))??, EMFILE);
    let mut garbage = argument::resized(&argument::session(b"session"), 80)?;
    garbage[79] = 1;
    refused!(
        with_full_table(|| ioctl(&device, raw::CREATE_SESSION, &garbage))??,
        E2BIG
    );
    let retrieve = || device.retrieve_session(b"none");
    refused!(with_full_table(retrieve)?, EMFILE);
    same!(next_descriptor()?, next);
    done!(device.create_session(b"session"));
    Ok(())
}
