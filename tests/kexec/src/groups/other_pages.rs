// SPDX-License-Identifier: GPL-2.0

//! Kernels with pages of different sizes hand nothing over to each other, and say so, whichever of
//! them it is that can tell: for the one of before that is an image for other pages, for the one
//! after it what KHO handed over.
//!
//! Only between kernels that were built for that, of arm64. Where the first one does not know of
//! this, which is Linux 7.2 with its LUO in C, sessions are lost there.

use crate::{differences::Luo, file::memfd, process::Log, Group, World};
use anyhow::{ensure, Result};
use liveupdate::{
    observe::{Debugfs, Image},
    Device,
};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{ENOENT, ENOEXEC},
    sys::reboot::{reboot, RebootMode},
};
use std::{io, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "other-pages",
    stages: &[
        &[("not-to-others", not_to_others)],
        &[
            ("not-from-others", not_from_others),
            ("not-to-others", not_to_others),
        ],
        &[("not-from-others", not_from_others)],
    ],
};

/// A session stays, where that is known to be all that is left to it.
fn not_to_others(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.create_session("session"));
    done!(session.preserve_fd(memfd(b"file")?.as_fd(), 1));
    let mut log = Log::from_now()?;
    luo_guest::load_next(world.stage.try_into()?)?;
    if world.luo == Luo::C {
        world.keep(session);
        return Ok(());
    }

    same!(log.lines_with("a kernel with another page size")?.len(), 1);
    same!(Debugfs::default().image()?, Image::Loses);
    let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
    refused!(kexec, ENOEXEC);
    let due = format!("(kexec -s), for pages of {} KiB", *PAGE >> 10);
    same!(log.lines_with(&due)?.len(), 1);
    // Nothing is frozen.
    done!(session.preserve_fd(memfd(b"another")?.as_fd(), 2));
    Ok(())
}

/// Without sessions, the kexec works, and LUO begins anew.
fn not_from_others(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    refused!(device.retrieve_session("session"), ENOENT);
    let told = Log::from_start()?.lines_with("handed over with a page size of")?;
    match world.previous {
        Luo::C => {
            same!(told.len(), 1);
            ensure!(told[0].ends_with(&format!(", not {}", *PAGE)), "{told:?}");
        }
        Luo::Rust => same!(told.len(), 0),
    }
    let session = done!(device.create_session("another"));
    done!(session.preserve_fd(memfd(b"file")?.as_fd(), 1));
    Ok(())
}
