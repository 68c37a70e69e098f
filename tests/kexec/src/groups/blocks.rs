// SPDX-License-Identifier: GPL-2.0

//! Numbers of sessions and files around the borders of the blocks in which they are handed over:
//! where pages are of 4 KiB, 51 sessions fill one, or 63 files.

use crate::{abi::ABI, differences::REFUSED_CREATE_LEAVES_BLOCK, numbered, Group, World};
use anyhow::Result;
use liveupdate::Device;
use nix::errno::Errno::EEXIST;

/// The group of hand-overs of that many full blocks of sessions, and more sessions.
pub const fn group<const BLOCKS: usize, const MORE: usize>(name: &'static str) -> Group {
    Group {
        name,
        stages: &[
            &[("hand-over", hand_over::<BLOCKS, MORE>)],
            &[("retrieve", retrieve::<BLOCKS, MORE>)],
        ],
    }
}

pub const REFUSED: Group = Group {
    name: "blocks-refused",
    stages: &[
        &[("hand-over", hand_over::<1, 0>), ("refuse", refuse)],
        &[("retrieve", retrieve::<1, 0>)],
    ],
};

fn sessions<const BLOCKS: usize, const MORE: usize>() -> usize {
    BLOCKS * ABI.sessions + MORE
}

/// How many files the first sessions have.
fn files() -> [u64; 7] {
    let full = ABI.files as u64;
    [0, full - 1, full, full + 1, 2 * full, 2 * full + 1, 500]
}

fn hand_over<const BLOCKS: usize, const MORE: usize>(world: &mut World) -> Result<()> {
    numbered::hand_over(world, sessions::<BLOCKS, MORE>(), &files())
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

fn retrieve<const BLOCKS: usize, const MORE: usize>(_: &mut World) -> Result<()> {
    numbered::finish(sessions::<BLOCKS, MORE>(), &files())
}
