// SPDX-License-Identifier: GPL-2.0

//! Numbers of sessions and files around the borders of the blocks in which they are handed over:
//! 51 sessions fill one, or 63 files.

use crate::{differences::REFUSED_CREATE_LEAVES_BLOCK, numbered, Group, World};
use anyhow::Result;
use liveupdate::Device;
use nix::errno::Errno::EEXIST;

/// The group of hand-overs of that many sessions.
pub const fn group<const SESSIONS: usize>(name: &'static str) -> Group {
    Group {
        name,
        stages: &[
            &[("hand-over", hand_over::<SESSIONS>)],
            &[("retrieve", retrieve::<SESSIONS>)],
        ],
    }
}

pub const REFUSED: Group = Group {
    name: "blocks-refused",
    stages: &[
        &[("hand-over", hand_over::<51>), ("refuse", refuse)],
        &[("retrieve", retrieve::<51>)],
    ],
};

/// How many files the first sessions have.
const FILES: [u64; 7] = [0, 62, 63, 64, 126, 127, 500];

fn hand_over<const SESSIONS: usize>(world: &mut World) -> Result<()> {
    numbered::hand_over(world, SESSIONS, &FILES)
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
    numbered::finish(SESSIONS, &FILES)
}
