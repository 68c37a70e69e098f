// SPDX-License-Identifier: GPL-2.0

//! Session names are bytes: what is stored is what was given up to its NUL, here and in the next
//! kernel.

use crate::{
    argument::{self, Guarded},
    Group, World,
};
use anyhow::Result;
use liveupdate::{raw, Device};
use nix::errno::Errno::{EINVAL, ENOENT};
use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
};

pub const GROUP: Group = Group {
    name: "names",
    stages: &[
        &[
            ("stored", stored),
            ("cut-at-nul", cut_at_nul),
            ("shown-in-proc", shown_in_proc),
            ("hand-over", hand_over),
        ],
        &[
            ("almost-the-name", almost),
            ("retrieved", retrieved),
            ("retrieved-once", retrieved_once),
        ],
    ],
};

/// Of one byte and of as many as fit; no text; what a format, a path or a log line could trip
/// over; one the start of another.
const NAMES: [&[u8]; 8] = [
    b"a",
    &[b'n'; 63],
    &[b'n'; 62],
    b"\xff\xfe\x80",
    b"%s%n%p",
    b"../../dev/null",
    b"two\nlines\t",
    b" ",
];

/// Those, and names of as many bytes as fit, in which every byte stands that can.
pub fn names() -> Vec<Vec<u8>> {
    let bytes: Vec<_> = (1..=u8::MAX).collect();
    NAMES
        .into_iter()
        .chain(bytes.chunks(63))
        .map(<[u8]>::to_vec)
        .collect()
}

fn stored(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in names() {
        let session = done!(device.create_session(&name), name.escape_ascii());
        same!(done!(session.name()), name);
    }
    Ok(())
}

fn cut_at_nul(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut argument = Guarded::new(&argument::session(b"cut\0here"))?;
    done!(argument.ioctl(&device, raw::CREATE_SESSION));
    // SAFETY: A successful CREATE_SESSION makes a descriptor.
    let session = unsafe { argument.descriptor() }?;
    let mut name = Guarded::new(&argument::get_name(0))?;
    done!(name.ioctl(&session, raw::GET_NAME));
    same!(name.bytes()[8..12], b"cut\0"[..]);
    Ok(())
}

fn shown_in_proc(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in names() {
        let session = device.create_session(&name)?;
        let link = fs::read_link(format!("/proc/self/fd/{}", session.as_fd().as_raw_fd()))?;
        let shown = [&b"anon_inode:[luo_session] "[..], &name].concat();
        same!(link.as_os_str(), OsStr::from_bytes(&shown));
    }
    Ok(())
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in names() {
        world.keep(device.create_session(&name)?);
    }
    Ok(())
}

fn almost(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let names: [&[u8]; 7] = [b"", b"A", b"aa", &[b'n'; 61], b"\xff\xfe", b"%s%n", b"  "];
    for name in names {
        refused!(device.retrieve_session(name), ENOENT, name.escape_ascii());
    }
    let unending = argument::session(&[b'n'; 64]);
    refused!(
        argument::ioctl(&device, raw::RETRIEVE_SESSION, &unending)?,
        ENOENT
    );
    Ok(())
}

fn retrieved(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in names().into_iter().rev() {
        let session = done!(device.retrieve_session(&name), name.escape_ascii());
        same!(done!(session.name()), name);
        world.keep(session);
    }
    Ok(())
}

/// Bytes behind the NUL make no other name.
fn retrieved_once(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let hidden = argument::session(b"a\0hidden");
    refused!(
        argument::ioctl(&device, raw::RETRIEVE_SESSION, &hidden)?,
        EINVAL
    );
    Ok(())
}
