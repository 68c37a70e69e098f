// SPDX-License-Identifier: GPL-2.0

//! What the next kernel lets a program do with what it was handed, in which order and how often.

use crate::{
    argument::{self, ioctl},
    file::{content, expect_frozen, expect_thawed, memfd},
    process::{live_update_number, next_descriptor, with_full_table},
    Group, World,
};
use anyhow::Result;
use liveupdate::{raw, Device};
use nix::{
    errno::Errno::{E2BIG, EBUSY, EINVAL, EMFILE, ENOENT},
    fcntl::{fcntl, FcntlArg::F_GETFD, FdFlag},
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
};

pub const GROUP: Group = Group {
    name: "retrieve",
    stages: &[
        &[("first-kernel", first_kernel), ("hand-over", hand_over)],
        &[
            ("second-kernel", second_kernel),
            ("session-twice", session_twice),
            ("session-unknown", session_unknown),
            ("another-order", another_order),
            ("token-unknown", token_unknown),
            ("token-twice", token_twice),
            ("descriptor-flags", descriptor_flags),
            ("full-table", full_table),
            ("direction", direction),
            ("preserve-again", preserve_again),
            ("name-again", name_again),
            ("finish-reserved", finish_reserved),
            ("finish-unretrieved", finish_unretrieved),
            ("close-unfinished", close_unfinished),
            ("device-closed", device_closed),
        ],
    ],
};

/// Sessions with a file under each token, which contains session and token.
const SESSIONS: [&str; 12] = [
    "order",
    "unknown",
    "twice",
    "flags",
    "table",
    "direction",
    "again",
    "name",
    "finish",
    "none",
    "close",
    "device",
];
const TOKENS: [u64; 4] = [0, 7, 1, u64::MAX];

fn text(session: &str, token: u64) -> Vec<u8> {
    format!("{session}/{token}").into_bytes()
}

fn first_kernel(_: &mut World) -> Result<()> {
    same!(live_update_number()?, None);
    Ok(())
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in SESSIONS {
        let session = device.create_session(name.as_bytes())?;
        for token in TOKENS {
            session.preserve_fd(memfd(&text(name, token))?.as_fd(), token)?;
        }
        world.keep(session);
    }
    world.keep(device.create_session(b"empty")?);
    world.keep(device.create_session(b"nothing")?);
    drop(device.create_session(b"closed")?);
    Ok(())
}

fn second_kernel(_: &mut World) -> Result<()> {
    same!(live_update_number()?, Some(1));
    Ok(())
}

fn session_twice(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"empty"));
    refused!(device.retrieve_session(b"empty"), EINVAL);
    done!(session.finish());
    // Finished, it has its name until it is closed.
    refused!(device.retrieve_session(b"empty"), EINVAL);
    same!(done!(session.name()), b"empty");
    drop(session);
    refused!(device.retrieve_session(b"empty"), ENOENT);
    Ok(())
}

fn session_unknown(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    refused!(device.retrieve_session(b"closed"), ENOENT);
    refused!(device.retrieve_session(b""), ENOENT);
    Ok(())
}

fn another_order(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"order")?;
    for token in TOKENS.into_iter().rev() {
        let file = File::from(done!(session.retrieve_fd(token), token));
        same!(content(&file)?, text("order", token));
        expect_thawed(&file)?;
    }
    Ok(())
}

fn token_unknown(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"unknown")?;
    for token in [2, u64::MAX - 1, 1 << 32] {
        refused!(session.retrieve_fd(token), ENOENT, token);
    }
    let empty = done!(Device::open()?.retrieve_session(b"nothing"));
    refused!(empty.retrieve_fd(7), ENOENT);
    done!(session.retrieve_fd(7));
    Ok(())
}

/// It is one open file each time, with one position.
fn token_twice(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"twice")?;
    let (mut one, mut two) = (
        File::from(done!(session.retrieve_fd(7))),
        File::from(done!(session.retrieve_fd(7))),
    );
    same!(one.metadata()?.ino(), two.metadata()?.ino());
    one.seek(SeekFrom::Start(4))?;
    same!(two.stream_position()?, 4);
    let mut rest = String::new();
    two.read_to_string(&mut rest)?;
    same!(rest, "e/7");
    drop((one, two));
    // Nobody else has it now, and it is still the same.
    let mut three = File::from(done!(session.retrieve_fd(7)));
    same!(three.stream_position()?, 7);
    Ok(())
}

fn descriptor_flags(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"flags")?;
    let file = session.retrieve_fd(1)?;
    for fd in [session.as_fd(), file.as_fd()] {
        same!(
            FdFlag::from_bits_truncate(fcntl(fd, F_GETFD)?),
            FdFlag::FD_CLOEXEC
        );
    }
    let link = fs::read_link(format!("/proc/self/fd/{}", session.as_fd().as_raw_fd()))?;
    same!(link.to_str(), Some("anon_inode:[luo_session] flags"));
    Ok(())
}

/// No room for a descriptor costs nothing but another try.
fn full_table(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let next = next_descriptor()?;
    refused!(
        with_full_table(|| device.retrieve_session(b"table"))?,
        EMFILE
    );
    let session = done!(device.retrieve_session(b"table"));
    refused!(with_full_table(|| session.retrieve_fd(7))?, EMFILE);
    refused!(with_full_table(|| session.retrieve_fd(2))?, EMFILE);
    let file = File::from(done!(session.retrieve_fd(7)));
    refused!(with_full_table(|| session.retrieve_fd(7))?, EMFILE);
    same!(content(&file)?, text("table", 7));
    done!(with_full_table(|| session.finish())?);
    drop((file, session));
    same!(next_descriptor()?, next);
    Ok(())
}

/// A retrieved session preserves nothing, and says so before it reads the argument.
fn direction(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"direction")?;
    let file = memfd(b"file")?;
    refused!(session.preserve_fd(file.as_fd(), 2), EINVAL);
    let mut garbage = argument::resized(&argument::file(file.as_raw_fd(), 2), 24)?;
    garbage[23] = 1;
    refused!(ioctl(&session, raw::PRESERVE_FD, &garbage)?, EINVAL);
    refused!(ioctl(&session, raw::PRESERVE_FD, &garbage[..4])?, EINVAL);
    done!(session.finish());
    refused!(session.preserve_fd(file.as_fd(), 2), EINVAL);
    expect_thawed(&file)
}

/// A retrieved file is its old session's until that is finished.
fn preserve_again(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let old = device.retrieve_session(b"again")?;
    let file = File::from(old.retrieve_fd(7)?);
    let new = device.create_session(b"again, again")?;
    refused!(new.preserve_fd(file.as_fd(), 1), EBUSY);
    expect_thawed(&file)?;
    done!(old.finish());
    done!(new.preserve_fd(file.as_fd(), 1));
    expect_frozen(&file)?;
    // What the old session had once is none of its business any more.
    drop(old);
    expect_frozen(&file)?;
    drop(new);
    expect_thawed(&file)
}

/// A name is taken once among the sessions that came and once among those that go.
fn name_again(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let new = done!(device.create_session(b"name"));
    let old = done!(device.retrieve_session(b"name"));
    same!(done!(new.name()), done!(old.name()));
    let file = File::from(done!(old.retrieve_fd(7)));
    refused!(new.retrieve_fd(7), EINVAL);
    drop(old);
    refused!(device.retrieve_session(b"name"), ENOENT);
    done!(new.preserve_fd(file.as_fd(), 7));
    Ok(())
}

/// A finish that asks for more than it knows finishes nothing.
fn finish_reserved(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"finish")?;
    refused!(ioctl(&session, raw::FINISH, &argument::finish(1))?, EINVAL);
    let mut garbage = argument::resized(&argument::finish(1), 16)?;
    garbage[15] = 1;
    refused!(ioctl(&session, raw::FINISH, &garbage)?, E2BIG);
    refused!(
        ioctl(&session, raw::GET_NAME, &argument::get_name(1))?,
        EINVAL
    );
    for token in TOKENS {
        let file = File::from(done!(session.retrieve_fd(token), token));
        same!(content(&file)?, text("finish", token));
    }
    Ok(())
}

/// What nobody retrieved is gone, and there is nothing more to finish.
fn finish_unretrieved(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"none")?;
    done!(session.finish());
    for token in TOKENS {
        refused!(session.retrieve_fd(token), ENOENT, token);
    }
    done!(session.finish());
    Ok(())
}

/// Closing finishes.
fn close_unfinished(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"close")?;
    let file = File::from(session.retrieve_fd(7)?);
    drop(session);
    refused!(device.retrieve_session(b"close"), ENOENT);
    same!(content(&file)?, text("close", 7));
    let new = device.create_session(b"new")?;
    done!(new.preserve_fd(file.as_fd(), 1));
    Ok(())
}

/// Sessions that nobody has retrieved wait for whoever opens the device next.
fn device_closed(_: &mut World) -> Result<()> {
    for _ in 0..3 {
        done!(Device::open());
    }
    let session = done!(done!(Device::open()).retrieve_session(b"device"));
    let file = File::from(done!(session.retrieve_fd(u64::MAX)));
    done!(session.finish());
    drop(session);
    same!(content(&file)?, text("device", u64::MAX));
    Ok(())
}
