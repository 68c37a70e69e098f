// SPDX-License-Identifier: GPL-2.0

//! An image that was loaded by `kexec_load(2)` hands nothing over: a kexec into it is refused as
//! long as there is a session.
//!
//! Only on the Rust LUO: on C the sessions are gone without a word.

use crate::{
    driver::{self, B},
    file::{content, expect_thawed, memfd},
    process::Log,
    Group, World,
};
use anyhow::Result;
use liveupdate::{
    observe::{Debugfs, Image},
    Device,
};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{self, ENOENT, ENOEXEC},
    libc,
    sys::reboot::{reboot, RebootMode},
};
use std::{fs::File, io, os::fd::AsFd, ptr};

pub const GROUP: Group = Group {
    name: "old-kexec",
    stages: &[
        &[("refused", refused), ("hand-over", hand_over)],
        &[("retrieve", retrieve)],
    ],
};

/// Where nobody minds a page: there is memory there in every machine.
const SOMEWHERE: usize = if cfg!(target_arch = "aarch64") {
    (1 << 30) + (64 << 20)
} else {
    64 << 20
};

/// Instructions of which each stays where it is: `B .`, or several times `HLT`.
const HALT: [u8; 4] = if cfg!(target_arch = "aarch64") {
    [0x00, 0x00, 0x00, 0x14]
} else {
    [0xf4; 4]
};

#[repr(C)]
struct Segment {
    buffer: *const u8,
    buffer_size: usize,
    place: usize,
    size: usize,
}

/// Loads such a page in place of the image that is loaded; or unloads that.
fn load(page: Option<&[u8]>) -> io::Result<()> {
    let segment = page.map(|page| Segment {
        buffer: page.as_ptr(),
        buffer_size: page.len(),
        place: SOMEWHERE,
        size: page.len(),
    });
    let segments = segment.as_slice();
    let pointer = segment.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: There are so many segments, each of memory that may be read.
    let loaded =
        unsafe { libc::syscall(libc::SYS_kexec_load, SOMEWHERE, segments.len(), pointer, 0) };
    Errno::result(loaded)?;
    Ok(())
}

fn kexec() -> io::Result<()> {
    match reboot(RebootMode::RB_KEXEC) {
        Ok(never) => match never {},
        Err(errno) => Err(errno.into()),
    }
}

fn refused(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let file = memfd(b"file")?;
    let session = done!(device.create_session(b"session"));
    done!(session.preserve_fd(file.as_fd(), 1));
    done!(B.preserve(&session, 2)?);
    driver::reset()?;
    same!(Debugfs::default().image()?, Image::Carries);
    done!(load(Some(&HALT.repeat(*PAGE / HALT.len()))));
    same!(Debugfs::default().image()?, Image::Loses);

    for _ in 0..2 {
        let mut log = Log::from_now()?;
        refused!(kexec(), ENOEXEC);
        let lines = log.lines_with("cannot carry 1 sessions: load it by kexec_file_load()")?;
        same!(lines.len(), 1);
    }
    // Nothing was frozen, and everything can still be changed.
    same!(B.calls("freeze")?, 0);
    done!(device.create_session(b"another"));
    drop(session);
    expect_thawed(&file)?;
    done!(load(None));
    same!(Debugfs::default().image()?, Image::None);
    Ok(())
}

/// Loaded in the other way, the next kernel gets what there is.
fn hand_over(world: &mut World) -> Result<()> {
    luo_guest::load_next(world.stage.try_into()?)?;
    let session = done!(Device::open()?.create_session(b"session"));
    done!(session.preserve_fd(memfd(b"file")?.as_fd(), 1));
    world.keep(session);
    Ok(())
}

fn retrieve(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"session"));
    let file = File::from(done!(session.retrieve_fd(1)));
    same!(content(&file)?, b"file");
    refused!(device.retrieve_session(b"another"), ENOENT);
    Ok(())
}
