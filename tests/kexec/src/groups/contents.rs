// SPDX-License-Identifier: GPL-2.0

//! What a memory file is in the next kernel: its bytes, size, position and seals, as they were at
//! the moment of the kexec.

use crate::{
    file::{content, memfd, pattern},
    Group, World,
};
use anyhow::{Context, Result};
use liveupdate::{
    manifest::{Entry, Manifest},
    Device,
};
use luo_guest::PAGE;
use nix::{
    errno::Errno::EPERM,
    fcntl::{fcntl, FcntlArg::F_ADD_SEALS, FcntlArg::F_GET_SEALS, SealFlag},
    sys::memfd::{memfd_create, MFdFlags},
};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

pub const GROUP: Group = Group {
    name: "contents",
    stages: &[
        &[("hand-over", hand_over)],
        &[
            ("empty", empty),
            ("sizes", sizes),
            ("sparse", sparse),
            ("changed-after-preserve", changed),
            ("seals", seals),
            ("unsealable", unsealable),
            ("manifest", manifest),
        ],
    ],
};

/// Around the size of a page, that of the least huge page, odd ones, and a large one.
fn all_sizes() -> [usize; 7] {
    let page = *PAGE;
    [
        1,
        page - 1,
        page,
        page + 1,
        2 << 20,
        (3 << 20) + 5,
        64 << 20,
    ]
}

/// A sparse file's size, and where its only byte is.
const SPARSE: (u64, u64) = (1 << 20, 500_000);
/// All that can be set.
const SEALS: [SealFlag; 4] = [
    SealFlag::F_SEAL_GROW,
    SealFlag::F_SEAL_SHRINK,
    SealFlag::F_SEAL_WRITE,
    SealFlag::F_SEAL_SEAL,
];

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"empty")?;
    session.preserve_fd(memfd(b"")?.as_fd(), 1)?;
    world.keep(session);

    let session = device.create_session(b"sizes")?;
    for size in all_sizes() {
        session.preserve_fd(memfd(&pattern(size))?.as_fd(), size as u64)?;
    }
    world.keep(session);

    let session = device.create_session(b"sparse")?;
    let file = memfd(b"")?;
    file.set_len(SPARSE.0)?;
    file.write_all_at(b"!", SPARSE.1)?;
    session.preserve_fd(file.as_fd(), 1)?;
    world.keep(session);

    // A preserved file can still be written to, and moved in.
    let session = device.create_session(b"changed")?;
    let mut file = memfd(b"the old content")?;
    session.preserve_fd(file.as_fd(), 1)?;
    file.seek(SeekFrom::Start(4))?;
    file.write_all(b"NEW")?;
    world.keep(session);
    world.keep(file);

    let session = device.create_session(b"seals")?;
    for (token, seal) in (0..).zip(SEALS) {
        let file = memfd(b"sealed")?;
        fcntl(&file, F_ADD_SEALS(seal))?;
        session.preserve_fd(file.as_fd(), token)?;
    }
    world.keep(session);

    let session = device.create_session(b"unsealable")?;
    let file = File::from(memfd_create("luo", MFdFlags::MFD_CLOEXEC)?);
    session.preserve_fd(file.as_fd(), 1)?;
    world.keep(session);

    let session = device.create_session("manifest")?;
    session.preserve_fd(memfd(b"memory")?, 7)?;
    done!(described()?.preserve(&session, 0));
    world.keep(session);
    Ok(())
}

/// What a session says of its file.
fn described() -> Result<Manifest> {
    let mut manifest = Manifest::new();
    let memory = Entry::new("ram\n0").with("size", "6");
    manifest.insert(7, memory.with("bytes", &b"\0\xff\t"[..]))?;
    Ok(manifest)
}

fn retrieve(name: &[u8], token: u64) -> Result<File> {
    let session = Device::open()?.retrieve_session(name)?;
    let file: OwnedFd = done!(session.retrieve_fd(token));
    done!(session.finish());
    Ok(file.into())
}

fn empty(_: &mut World) -> Result<()> {
    let file = retrieve(b"empty", 1)?;
    same!(file.metadata()?.len(), 0);
    file.write_all_at(b"filled", 0)?;
    same!(content(&file)?, b"filled");
    Ok(())
}

fn sizes(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"sizes")?;
    for size in all_sizes() {
        let file = File::from(done!(session.retrieve_fd(size as u64), size));
        same!(file.metadata()?.len(), size as u64);
        same!(content(&file)? == pattern(size), true, size);
    }
    Ok(())
}

fn sparse(_: &mut World) -> Result<()> {
    let file = retrieve(b"sparse", 1)?;
    let mut due = vec![0; usize::try_from(SPARSE.0)?];
    due[usize::try_from(SPARSE.1)?] = b'!';
    same!(content(&file)? == due, true);
    Ok(())
}

fn changed(_: &mut World) -> Result<()> {
    let mut file = retrieve(b"changed", 1)?;
    same!(file.stream_position()?, 7);
    same!(content(&file)?, b"the NEW content");
    Ok(())
}

fn seals(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"seals")?;
    for (token, seal) in (0..).zip(SEALS) {
        let file = File::from(done!(session.retrieve_fd(token), token));
        same!(SealFlag::from_bits_retain(fcntl(&file, F_GET_SEALS)?), seal);
        same!(content(&file)?, b"sealed");
        match seal {
            SealFlag::F_SEAL_GROW => refused!(file.set_len(7), EPERM),
            SealFlag::F_SEAL_SHRINK => refused!(file.set_len(5), EPERM),
            SealFlag::F_SEAL_WRITE => refused!(file.write_at(b"S", 0), EPERM),
            seal => refused!(add_seal(&file, seal), EPERM),
        }
    }
    Ok(())
}

/// A memory file that was made without sealing has the seal against seals.
fn unsealable(_: &mut World) -> Result<()> {
    let file = retrieve(b"unsealable", 1)?;
    refused!(add_seal(&file, SealFlag::F_SEAL_GROW), EPERM);
    Ok(())
}

fn add_seal(file: &File, seal: SealFlag) -> io::Result<()> {
    fcntl(file, F_ADD_SEALS(seal))?;
    Ok(())
}

/// A sealed list of the files finds them, and nobody can change it.
fn manifest(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("manifest")?;
    let manifest = done!(Manifest::retrieve(&session, 0));
    same!(manifest, described()?);
    let (token, memory) = manifest.find("ram\n0").context("no entry")?;
    let file = File::from(done!(session.retrieve_fd(token)));
    same!(file.metadata()?.len(), memory.parse::<u64>("size")?);
    let sealed = File::from(session.retrieve_fd(0)?);
    refused!(sealed.write_at(b"x", 0), EPERM);
    refused!(sealed.set_len(0), EPERM);
    done!(session.finish());
    Ok(())
}
