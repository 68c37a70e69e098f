// SPDX-License-Identifier: GPL-2.0

//! Numbers of sessions and files around the borders of the blocks in which they are handed over:
//! 51 sessions fill one, or 63 files.

use crate::{
    differences::REFUSED_CREATE_LEAVES_BLOCK,
    file::{content, memfd},
    Case, Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use nix::errno::Errno::{EEXIST, ENOENT};
use std::{fs::File, os::fd::AsFd};

pub const NONE: Group = Group {
    name: "blocks-none",
    stages: stages::<0>(),
};

pub const ONE: Group = Group {
    name: "blocks-one",
    stages: stages::<1>(),
};

pub const FULL: Group = Group {
    name: "blocks-full",
    stages: stages::<51>(),
};

pub const OVER: Group = Group {
    name: "blocks-over",
    stages: stages::<52>(),
};

pub const TWICE_OVER: Group = Group {
    name: "blocks-twice-over",
    stages: stages::<103>(),
};

pub const THOUSAND: Group = Group {
    name: "blocks-1000",
    stages: stages::<1000>(),
};

pub const REFUSED: Group = Group {
    name: "blocks-refused",
    stages: &[
        &[("hand-over", hand_over::<51>), ("refuse", refuse)],
        &[("retrieve", retrieve::<51>)],
    ],
};

/// The stages of a group with that many sessions.
const fn stages<const SESSIONS: usize>() -> &'static [&'static [Case]] {
    &[
        &[("hand-over", hand_over::<SESSIONS>)],
        &[("retrieve", retrieve::<SESSIONS>)],
    ]
}

/// The files of the first sessions; the others have one each.
const FILES: [u64; 7] = [0, 62, 63, 64, 126, 127, 500];

fn files_of(session: usize) -> u64 {
    FILES.get(session).copied().unwrap_or(1)
}

fn hand_over<const SESSIONS: usize>(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for number in 0..SESSIONS {
        let session = done!(device.create_session(number.to_string().as_bytes()), number);
        for token in 0..files_of(number) {
            let file = memfd(format!("{number}/{token}").as_bytes())?;
            done!(session.preserve_fd(file.as_fd(), token), number, token);
        }
        world.keep(session);
    }
    Ok(())
}

/// A create that is refused although all blocks are full.
fn refuse(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    refused!(device.create_session(b"0"), EEXIST);
    if *REFUSED_CREATE_LEAVES_BLOCK.on(world.luo) {
        drop(device.create_session(b"closed")?);
    }
    Ok(())
}

fn retrieve<const SESSIONS: usize>(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    for number in (0..SESSIONS).rev() {
        let session = done!(
            device.retrieve_session(number.to_string().as_bytes()),
            number
        );
        for token in 0..files_of(number) {
            let file = File::from(done!(session.retrieve_fd(token), number, token));
            same!(content(&file)?, format!("{number}/{token}").as_bytes());
        }
        refused!(session.retrieve_fd(files_of(number)), ENOENT, number);
        done!(session.finish(), number);
    }
    refused!(
        device.retrieve_session(SESSIONS.to_string().as_bytes()),
        ENOENT
    );
    Ok(())
}
