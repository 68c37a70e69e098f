// SPDX-License-Identifier: GPL-2.0

//! One file through several live updates in a row, longer each time.

use crate::{
    file::{content, expect_thawed, memfd},
    process::{live_update_number, memory_in_use},
    Case, Group, World,
};
use anyhow::{ensure, Result};
use liveupdate::Device;
use luo_guest::PAGE;
use nix::errno::Errno::ENOENT;
use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
};

pub const GROUP: Group = Group {
    name: "chain",
    stages: &[
        &[("first-kernel", first), ("leave-behind", leave_behind)],
        &[("second-kernel", next)],
        &[("third-kernel", next), ("left-behind", left_behind)],
        &[("fourth-kernel", last)],
    ],
};

/// A hundred live updates.
pub const LONG: Group = Group {
    name: "chain-100",
    stages: &{
        let next: &[Case] = &[("next-kernel", next)];
        let mut stages = [next; 101];
        stages[0] = &[("first-kernel", first)];
        stages[100] = &[("memory-in-use", memory)];
        stages
    },
};

const NAME: &[u8] = b"chain";
const DATA: u64 = 1;
const MEMORY: u64 = 2;

/// What the kernels up to the given one have written: a page and a bit each.
fn written(kernels: usize) -> Vec<u8> {
    (1..=kernels)
        .flat_map(|kernel| vec![b'0' + kernel as u8; *PAGE + 904])
        .collect()
}

/// A file with what the kernels have written, and one with how much memory was in use in each
/// between the first and the last.
struct Files {
    data: File,
    memory: File,
}

impl Files {
    fn hand_over(&self, world: &mut World) -> Result<()> {
        let session = done!(Device::open()?.create_session(NAME));
        done!(session.preserve_fd(self.data.as_fd(), DATA));
        done!(session.preserve_fd(self.memory.as_fd(), MEMORY));
        world.keep(session);
        Ok(())
    }

    fn take_over(world: &World) -> Result<Self> {
        let updates = world.stage - 1;
        same!(live_update_number()?, Some(updates as u64));
        let session = done!(Device::open()?.retrieve_session(NAME));
        let data = File::from(done!(session.retrieve_fd(DATA)));
        let memory = File::from(done!(session.retrieve_fd(MEMORY)));
        same!(content(&data)? == written(updates), true);
        done!(session.finish());
        drop(session);
        expect_thawed(&data)?;
        Ok(Self { data, memory })
    }
}

fn first(world: &mut World) -> Result<()> {
    let files = Files {
        data: memfd(&written(1))?,
        memory: memfd(b"")?,
    };
    files.hand_over(world)
}

fn next(world: &mut World) -> Result<()> {
    let files = Files::take_over(world)?;
    files.data.write_all_at(&written(world.stage), 0)?;
    let end = files.memory.metadata()?.len();
    files
        .memory
        .write_all_at(&memory_in_use()?.to_ne_bytes(), end)?;
    files.hand_over(world)
}

fn last(world: &mut World) -> Result<()> {
    Files::take_over(world)?;
    Ok(())
}

/// In the end as much memory is in use as at the start, give or take a fiftieth. Kernels may take
/// turns: the last two are compared with the first two.
fn memory(world: &mut World) -> Result<()> {
    let memory = content(&Files::take_over(world)?.memory)?;
    expect_constant(&memory, 50)
}

/// Expects what was in use in the last two kernels to be what was in the first two, give or take a
/// part.
pub fn expect_constant(memory: &[u8], part: u64) -> Result<()> {
    let (memory, _) = memory.as_chunks();
    for end in memory.len() - 2..memory.len() {
        let [start, end] = [end % 2, end].map(|kernel| u64::from_ne_bytes(memory[kernel]));
        ensure!(
            start.abs_diff(end) <= start / part,
            "{end} bytes of memory are in use instead of {start}"
        );
    }
    Ok(())
}

fn leave_behind(world: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"left behind")?;
    session.preserve_fd(memfd(b"forgotten")?.as_fd(), DATA)?;
    world.keep(session);
    Ok(())
}

/// What the second kernel did not retrieve went no further.
fn left_behind(_: &mut World) -> Result<()> {
    refused!(Device::open()?.retrieve_session(b"left behind"), ENOENT);
    Ok(())
}
