// SPDX-License-Identifier: GPL-2.0

//! One file through three live updates in a row, longer each time.

use crate::{
    file::{content, expect_thawed, memfd},
    process::live_update_number,
    Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use nix::errno::Errno::ENOENT;
use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
};

pub const GROUP: Group = Group {
    name: "chain",
    stages: &[
        &[("first-kernel", first)],
        &[("second-kernel", next::<2>)],
        &[("third-kernel", next::<3>), ("left-behind", left_behind)],
        &[("fourth-kernel", last)],
    ],
};

const NAME: &[u8] = b"chain";
const TOKEN: u64 = 1;

/// What the kernels up to the given one have written: a page and a bit each.
fn written(kernels: u64) -> Vec<u8> {
    (1..=kernels)
        .flat_map(|kernel| vec![b'0' + kernel as u8; 5000])
        .collect()
}

fn first(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(NAME)?;
    session.preserve_fd(memfd(&written(1))?.as_fd(), TOKEN)?;
    world.keep(session);

    let session = device.create_session(b"left behind")?;
    session.preserve_fd(memfd(b"forgotten")?.as_fd(), TOKEN)?;
    world.keep(session);
    Ok(())
}

/// Takes the file over from the previous kernel.
fn take_over(device: &Device, kernel: u64) -> Result<File> {
    same!(live_update_number()?, Some(kernel - 1));
    let session = done!(device.retrieve_session(NAME));
    let file = File::from(done!(session.retrieve_fd(TOKEN)));
    same!(content(&file)? == written(kernel - 1), true);
    done!(session.finish());
    expect_thawed(&file)?;
    Ok(file)
}

fn next<const KERNEL: u64>(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let file = take_over(&device, KERNEL)?;
    file.write_all_at(&written(KERNEL), 0)?;
    let session = done!(device.create_session(NAME));
    done!(session.preserve_fd(file.as_fd(), TOKEN));
    world.keep(session);
    Ok(())
}

/// What the second kernel did not retrieve went no further.
fn left_behind(_: &mut World) -> Result<()> {
    refused!(Device::open()?.retrieve_session(b"left behind"), ENOENT);
    Ok(())
}

fn last(_: &mut World) -> Result<()> {
    take_over(&Device::open()?, 4)?;
    Ok(())
}
