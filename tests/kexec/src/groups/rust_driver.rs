// SPDX-License-Identifier: GPL-2.0

//! The sample driver in Rust (`samples/`): its files survive, on either LUO.
//!
//! As a module it does so too, where the symbols are exported that it needs.

use crate::{Group, World};
use anyhow::{Context, Result};
use liveupdate::{Device, Session};
use nix::{
    errno::Errno::{EAGAIN, EBUSY, EFBIG, EIO, ENODATA, ENOENT, ENOTTY},
    ioctl_read,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
};

pub const GROUP: Group = Group {
    name: "rust-driver",
    stages: &[
        &[
            ("text", text),
            ("whose-file", whose_file),
            ("called-off", called_off),
            ("hand-over", hand_over),
        ],
        &[("retrieve", retrieve), ("once-more", once_more)],
        &[("asked-and-unasked", asked_and_unasked)],
    ],
};

pub const MODULE: Group = Group {
    name: "rust-driver-ko",
    stages: &[
        &[
            ("comes-and-goes", comes_and_goes),
            ("text", text),
            ("whose-file", whose_file),
            ("called-off", called_off),
            ("pinned", pinned),
            ("hand-over", hand_over),
        ],
        &[
            ("waits-for-its-handler", waits_for_its_handler),
            ("retrieve", retrieve),
            ("goes", goes),
        ],
    ],
};

/// As much as a text may be.
const ROOM: usize = 8192 - 8;

/// What stands for a text that nobody retrieves.
const FORGOTTEN: u64 = 17;

ioctl_read!(read_generation, b'T', 0x80, u64);
ioctl_read!(read_next_generation, b'T', 0x81, u64);
ioctl_read!(read_nothing, b'T', 0x82, u64);

/// How many live updates brought the texts here.
fn generation(file: &File) -> io::Result<u64> {
    let mut generation = 0;
    // SAFETY: This ioctl writes eight bytes.
    unsafe { read_generation(file.as_raw_fd(), &mut generation) }?;
    Ok(generation)
}

/// How many will have brought them to the next kernel.
fn next_generation(file: &File) -> io::Result<u64> {
    let mut generation = 0;
    // SAFETY: This ioctl writes eight bytes.
    unsafe { read_next_generation(file.as_raw_fd(), &mut generation) }?;
    Ok(generation)
}

/// A new file.
fn open() -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/rust-liveupdate")
        .context("no sample driver")
}

/// A new file with a text.
fn with(text: &[u8]) -> Result<File> {
    let mut file = open()?;
    done!(file.write_all(text));
    Ok(file)
}

/// The text, from where the last read ended.
fn read(mut file: &File) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    done!(file.read_to_end(&mut text));
    Ok(text)
}

/// The longest text, with other bytes in each place.
fn longest() -> Vec<u8> {
    (0..ROOM).map(|at| (at % 251) as u8).collect()
}

fn text(_: &mut World) -> Result<()> {
    let mut file = open()?;
    same!(read(&file)?, b"");
    same!(done!(file.write(b"one")), 3);
    same!(read(&file)?, b"one");
    same!(read(&file)?, b"");
    same!(done!(file.write(b"two")), 3);
    same!(read(&file)?, b"two");
    same!(done!(file.write(&longest())), ROOM);
    refused!(file.write(&[0; ROOM + 1]), EFBIG);
    same!(read(&file)? == longest(), true);
    refused!(generation(&file), ENODATA);
    // SAFETY: There is no such ioctl.
    let unknown = unsafe { read_nothing(file.as_raw_fd(), &mut 0) };
    refused!(unknown.map_err(io::Error::from), ENOTTY);
    Ok(())
}

/// Its own files alone are the driver's, and each is one of its own.
fn whose_file(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    refused!(
        session.preserve_fd(File::open("/dev/zero")?.as_fd(), 1),
        ENOENT
    );
    refused!(
        session.preserve_fd(File::open("/proc/self/comm")?.as_fd(), 1),
        ENOENT
    );
    let (one, two) = (with(b"one")?, with(b"two")?);
    done!(session.preserve_fd(one.as_fd(), 1));
    refused!(session.preserve_fd(one.as_fd(), 2), EBUSY);
    done!(session.preserve_fd(two.as_fd(), 2));
    Ok(())
}

/// The shelf is there as long as there are texts on it.
fn called_off(_: &mut World) -> Result<()> {
    let file = with(b"text")?;
    for _ in 0..3 {
        refused!(next_generation(&file), ENOENT);
        let session = Device::open()?.create_session(b"session")?;
        done!(session.preserve_fd(file.as_fd(), 1));
        same!(done!(next_generation(&file)), 1);
        done!(session.preserve_fd(with(b"other")?.as_fd(), 2));
        same!(done!(next_generation(&file)), 1);
    }
    refused!(next_generation(&file), ENOENT);
    same!(read(&file)?, b"text");
    Ok(())
}

/// What is written until the end is carried over.
fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"texts")?;
    let mut changed = with(b"what was")?;
    done!(session.preserve_fd(changed.as_fd(), 1));
    done!(session.preserve_fd(open()?.as_fd(), 2));
    done!(session.preserve_fd(with(&longest())?.as_fd(), 3));
    done!(session.preserve_fd(with(b"forgotten")?.as_fd(), FORGOTTEN));
    done!(changed.write_all(b"what is"));
    world.keep(changed);
    world.keep(session);
    Ok(())
}

fn retrieved(session: &Session, token: u64) -> Result<File> {
    Ok(File::from(done!(session.retrieve_fd(token))))
}

fn retrieve(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"texts")?;
    let longest_file = retrieved(&session, 3)?;
    let mut changed = retrieved(&session, 1)?;
    let empty = retrieved(&session, 2)?;
    same!(done!(generation(&open()?)), 1);
    same!(done!(generation(&changed)), 1);
    refused!(next_generation(&changed), ENOENT);

    same!(read(&changed)?, b"what is");
    same!(read(&empty)?, b"");
    same!(read(&longest_file)? == longest(), true);

    // A file as any other, and asked for again the same file.
    done!(changed.write_all(b"something else"));
    same!(read(&retrieved(&session, 1)?)?, b"something else");
    let other = Device::open()?.create_session(b"other")?;
    refused!(other.preserve_fd(changed.as_fd(), 1), EBUSY);

    done!(session.finish());
    refused!(generation(&changed), ENODATA);
    done!(other.preserve_fd(changed.as_fd(), 1));
    same!(done!(next_generation(&changed)), 2);
    Ok(())
}

/// What came with one live update goes on with the next.
fn once_more(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for (name, token) in [(&b"asked"[..], 1), (b"unasked", 2)] {
        let session = device.create_session(name)?;
        done!(session.preserve_fd(with(name)?.as_fd(), token));
        world.keep(session);
    }
    Ok(())
}

/// What nobody asks for is released, and the shelf after the last text.
fn asked_and_unasked(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"asked")?;
    let file = retrieved(&session, 1)?;
    same!(done!(generation(&file)), 2);
    same!(read(&file)?, b"asked");
    done!(session.finish());
    same!(done!(generation(&file)), 2);

    let session = device.retrieve_session(b"unasked")?;
    done!(session.finish());
    refused!(session.retrieve_fd(2), ENOENT);
    refused!(generation(&file), ENODATA);
    Ok(())
}

fn load() -> Result<()> {
    let module = File::open("/lib/rust_liveupdate.ko").context("no module")?;
    finit_module(module, c"", ModuleInitFlags::empty())?;
    Ok(())
}

fn unload() -> io::Result<()> {
    Ok(delete_module(
        c"rust_liveupdate",
        DeleteModuleFlags::O_NONBLOCK,
    )?)
}

/// Expects so many uses of the module.
#[track_caller]
fn expect_uses(uses: u32) -> Result<()> {
    let text = fs::read_to_string("/sys/module/rust_liveupdate/refcnt")?;
    same!(text.trim().parse::<u32>()?, uses);
    if uses > 0 {
        refused!(unload(), EAGAIN, uses);
    }
    Ok(())
}

fn comes_and_goes(_: &mut World) -> Result<()> {
    for _ in 0..2 {
        load()?;
        expect_uses(0)?;
        done!(unload());
    }
    load()
}

/// An open file counts, a preserved one besides, and the shelf.
fn pinned(_: &mut World) -> Result<()> {
    let file = with(b"text")?;
    expect_uses(1)?;
    let session = Device::open()?.create_session(b"session")?;
    done!(session.preserve_fd(file.as_fd(), 1));
    expect_uses(3)?;
    done!(session.preserve_fd(with(b"other")?.as_fd(), 2));
    expect_uses(5)?;
    drop(session);
    expect_uses(1)?;
    drop(file);
    expect_uses(0)
}

/// The device opens when the handler is there.
fn waits_for_its_handler(_: &mut World) -> Result<()> {
    refused!(Device::open(), EIO);
    load()
}

fn goes(_: &mut World) -> Result<()> {
    expect_uses(0)?;
    done!(unload());
    Ok(())
}
