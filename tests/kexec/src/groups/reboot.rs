// SPDX-License-Identifier: GPL-2.0

//! A kexec that cannot happen changes nothing.

use crate::{
    file::{expect_frozen, expect_thawed, memfd},
    Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use nix::{
    errno::Errno::EINVAL,
    sys::reboot::{reboot, RebootMode},
};
use std::{io, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "reboot",
    stages: &[&[("no-kernel-loaded", no_kernel_loaded)]],
};

fn no_kernel_loaded(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    let (first, second) = (memfd(b"first")?, memfd(b"second")?);
    session.preserve_fd(first.as_fd(), 1)?;
    refused!(
        reboot(RebootMode::RB_KEXEC).map_err(io::Error::from),
        EINVAL
    );
    expect_frozen(&first)?;
    done!(session.preserve_fd(second.as_fd(), 2));
    done!(device.create_session(b"another"));
    drop(session);
    expect_thawed(&first)?;
    expect_thawed(&second)
}
