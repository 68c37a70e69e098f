// SPDX-License-Identifier: GPL-2.0

//! A large file through live updates in a row: four, or as many as are asked for. In each kernel a part
//! of it is written anew.

use super::chain::expect_constant;
use crate::{
    file::{content, expect_thawed, memfd},
    process::{live_update_number, meminfo, memory_in_use},
    Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use luo_guest::checksum;
use std::{fs::File, os::unix::fs::FileExt};

pub const GROUP: Group = Group {
    name: "chain-memfd",
    stages: &[
        &[("first-kernel", first)],
        &[("next-kernel", next)],
        &[("next-kernel", next)],
        &[("next-kernel", next)],
        &[("memory-in-use", last)],
    ],
};

const NAME: &[u8] = b"chain";
/// The tokens of the file, of how much memory was in use, and of the checksum.
const DATA: u64 = 1;
const MEMORY: u64 = 2;
const CHECKSUM: u64 = 3;

const SIZE: usize = 256 << 20;
/// How much is written anew in each kernel, somewhere else each time.
const PART: usize = 1 << 20;
fn hand_over(world: &mut World, data: &File, memory: &File) -> Result<()> {
    let mut part = vec![0; PART];
    fastrand::Rng::with_seed(world.stage as u64).fill(&mut part);
    let at = world.stage * 13 % (SIZE / PART) * PART;
    data.write_all_at(&part, at as u64)?;

    let (size, sum) = checksum(data)?;
    same!(size, SIZE as u64);
    let session = done!(Device::open()?.create_session(NAME));
    done!(session.preserve_fd(data, DATA));
    done!(session.preserve_fd(memory, MEMORY));
    done!(session.preserve_fd(memfd(&sum.to_ne_bytes())?, CHECKSUM));
    world.keep(session);
    Ok(())
}

/// The file, and how much memory was in use in each kernel between the first and this.
fn take_over(world: &World) -> Result<(File, File)> {
    let updates = world.stage - 1;
    same!(live_update_number()?, Some(updates as u64));
    let session = done!(Device::open()?.retrieve_session(NAME));
    let [data, memory, sum] =
        [DATA, MEMORY, CHECKSUM].map(|token| session.retrieve_fd(token).map(File::from));
    let (data, memory) = (done!(data), done!(memory));
    let (_, seen) = checksum(&data)?;
    same!(seen.to_ne_bytes().to_vec(), content(&done!(sum))?);
    done!(session.finish());
    drop(session);
    expect_thawed(&memory)?;

    println!(
        "# kernel {}: MemTotal {} KiB, MemFree {} KiB",
        world.stage,
        meminfo("MemTotal:")? >> 10,
        meminfo("MemFree:")? >> 10
    );
    Ok((data, memory))
}

fn first(world: &mut World) -> Result<()> {
    let data = memfd(b"")?;
    let mut random = fastrand::Rng::with_seed(0);
    let mut part = vec![0; PART];
    for at in (0..SIZE).step_by(PART) {
        random.fill(&mut part);
        data.write_all_at(&part, at as u64)?;
    }
    hand_over(world, &data, &memfd(b"")?)
}

fn next(world: &mut World) -> Result<()> {
    let (data, memory) = take_over(world)?;
    let end = memory.metadata()?.len();
    memory.write_all_at(&memory_in_use()?.to_ne_bytes(), end)?;
    hand_over(world, &data, &memory)
}

/// In the end as much memory is in use as at the start, give or take a hundredth.
fn last(world: &mut World) -> Result<()> {
    let (_, memory) = take_over(world)?;
    expect_constant(&content(&memory)?, 100)
}
