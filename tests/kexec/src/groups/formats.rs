// SPDX-License-Identifier: GPL-2.0

//! Hand-overs in a chosen wire format, at and around what fits into the blocks of the device-tree
//! format: 819 sessions, 127 files where pages are of 4 KiB.
//!
//! Three hand-overs: as `luo-fdt` to a kernel that writes `luo-v5`, from that one to a kernel that
//! writes `luo-fdt`, and from that one to another of its kind. Whoever runs this chooses what they
//! write by `liveupdate.abi=`; only the Rust LUO has the choice.

use crate::{abi::ABI, numbered, process::live_update_number, shown, Group, World};
use anyhow::{Context, Result};
use liveupdate::{
    observe::{Debugfs, Direction, Handover, Name},
    Device,
};
use luo_guest::PAGE;
use nix::errno::Errno::ENOENT;
use std::{fs, os::fd::AsFd};

/// The group of hand-overs of that many full blocks of sessions, and more sessions, or less.
pub const fn group<const BLOCKS: usize, const MORE: isize>(name: &'static str) -> Group {
    Group {
        name,
        stages: &[
            &[
                ("writes-fdt", writes_fdt),
                ("preserve", preserve::<BLOCKS, MORE>),
            ],
            &[
                ("writes-v5", writes_v5),
                ("pass-on", pass_on::<BLOCKS, MORE, 1>),
            ],
            &[
                ("writes-fdt", writes_fdt),
                ("pass-on", pass_on::<BLOCKS, MORE, 2>),
            ],
            &[
                ("writes-fdt", writes_fdt),
                ("finish", finish::<BLOCKS, MORE>),
            ],
        ],
    }
}

fn sessions<const BLOCKS: usize, const MORE: isize>() -> usize {
    (BLOCKS * ABI.fdt_sessions).saturating_add_signed(MORE)
}

/// How many files the first sessions have.
fn files() -> [u64; 6] {
    let full = ABI.fdt_files as u64;
    [500, full + 1, full, full - 1, 1, 0]
}

/// Expects what this kernel is going to hand over to begin like that.
fn expect_blob(start: &[u8], size: usize) -> Result<()> {
    let path = "/sys/kernel/debug/kho/out/sub_fdts/LUO";
    let blob = fs::read(path).context(path)?;
    same!(blob.len(), size);
    same!(&blob[..start.len()], start);
    Ok(())
}

/// Expects debugfs to name the formats: what the previous kernel wrote, as whoever runs this chose
/// it, and what this one is going to.
fn expect_named(world: &World, outgoing: &str) -> Result<()> {
    const WRITTEN: [&str; 3] = ["luo-fdt", "luo-v5", "luo-fdt"];

    let debugfs = Debugfs::default();
    let updates = world.stage - 1;
    let incoming = updates.checked_sub(1).map(|last| Name::from(WRITTEN[last]));
    same!(debugfs.format(&Direction::Incoming)?, incoming);
    same!(debugfs.format(&Direction::Outgoing)?, Some(outgoing.into()));
    same!(debugfs.number()?, updates as u64);
    let due = match updates {
        0 => Handover::None,
        _ => Handover::Pending,
    };
    same!(debugfs.handover()?, due);
    Ok(())
}

fn writes_fdt(world: &mut World) -> Result<()> {
    expect_named(world, "luo-fdt")?;
    expect_blob(b"\xd0\x0d\xfe\xed", *PAGE)
}

fn writes_v5(world: &mut World) -> Result<()> {
    expect_named(world, "luo-v5")?;
    expect_blob(b"luo-v5\0\0", 32)
}

fn preserve<const BLOCKS: usize, const MORE: isize>(world: &mut World) -> Result<()> {
    same!(live_update_number()?, None);
    numbered::hand_over(world, sessions::<BLOCKS, MORE>(), &files())
}

/// Takes over what there is, and hands it over once more.
fn pass_on<const BLOCKS: usize, const MORE: isize, const UPDATES: u64>(
    world: &mut World,
) -> Result<()> {
    same!(live_update_number()?, Some(UPDATES));
    let device = Device::open()?;
    let sessions = sessions::<BLOCKS, MORE>();
    let names: Vec<_> = (0..sessions).map(numbered::name).collect();
    same!(shown::names(&Direction::Incoming)? == names, true);
    for number in 0..sessions {
        let mut files = vec![];
        let incoming =
            numbered::take_over(&device, number, &self::files(), |file| files.push(file))?;
        done!(incoming.finish(), number);
        let outgoing = done!(device.create_session(numbered::name(number)), number);
        for (token, file) in (0..).zip(&files) {
            done!(outgoing.preserve_fd(file.as_fd(), token), number, token);
        }
        world.keep(outgoing);
    }
    refused!(device.retrieve_session(numbered::name(sessions)), ENOENT);
    same!(shown::names(&Direction::Outgoing)? == names, true);
    Ok(())
}

fn finish<const BLOCKS: usize, const MORE: isize>(_: &mut World) -> Result<()> {
    same!(live_update_number()?, Some(3));
    numbered::finish(sessions::<BLOCKS, MORE>(), &files())
}
