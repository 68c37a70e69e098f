// SPDX-License-Identifier: GPL-2.0

//! The example of a virtual machine monitor, as people would run it: its guest counts on in the
//! next kernel, and in the one after that, and finds all of its memory as it was.

use crate::{
    file::{content, memfd},
    program::Program,
    Group, World,
};
use anyhow::{bail, Context, Result};
use liveupdate::Device;
use std::{fs::File, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "vmm",
    stages: &[
        &[("boot", boot)],
        &[("go-on", go_on)],
        &[("go-on-again", go_on_again)],
    ],
};

/// What this test takes along.
const NOTES: &[u8] = b"vmm-notes";
/// How often the guest is to count before and after each thing that is done to it.
const COUNTS: u32 = 5;

/// The guest's last number, and the checksum of its memory.
type Seen = (u32, String);

/// Listens to the guest: each number has to be one more than the one before.
fn expect_counts(vmm: &mut Program, from: u32, times: u32) -> Result<u32> {
    for number in (from + 1..).take(times as usize) {
        same!(vmm.hear()?, format!("guest: {number}"));
    }
    Ok(from + times)
}

/// The next line that is not the guest's, which counts on; all numbers are checked.
fn next_word(vmm: &mut Program, count: &mut u32) -> Result<String> {
    loop {
        let line = vmm.hear()?;
        match line.strip_prefix("guest: ") {
            None => return Ok(line),
            Some(number) => same!(number.parse(), Ok(*count + 1)),
        }
        *count += 1;
    }
}

/// Has the guest count, and handed over.
fn hand_over(world: &mut World, mut vmm: Program, from: u32) -> Result<()> {
    let mut count = expect_counts(&mut vmm, from, COUNTS)?;
    vmm.say("prepare")?;
    let size = 10 << 20;
    same!(
        next_word(&mut vmm, &mut count)?,
        format!("collapsed {size} of {size} bytes")
    );
    same!(next_word(&mut vmm, &mut count)?, "memory preserved");
    count = expect_counts(&mut vmm, count, COUNTS)?;
    vmm.say("hand over")?;
    let saved = next_word(&mut vmm, &mut count)?;
    let checksum = saved
        .strip_prefix("state preserved, checksum ")
        .context(saved.clone())?;
    same!(vmm.hear()?, "ready for the kexec");

    let session = Device::open()?.create_session(NOTES)?;
    let notes = memfd(format!("{count} {checksum}").as_bytes())?;
    session.preserve_fd(notes.as_fd(), 1)?;
    world.keep(session);
    vmm.keep(world);
    Ok(())
}

/// Starts the monitor, which has to find the guest as it was left.
fn take_over() -> Result<(Program, u32)> {
    let (count, checksum) = seen()?;
    let mut vmm = Program::start("vmm")?;
    same!(vmm.hear()?, format!("retrieved, checksum {checksum}"));
    Ok((vmm, count))
}

fn seen() -> Result<Seen> {
    let session = Device::open()?.retrieve_session(NOTES)?;
    let notes = content(&File::from(session.retrieve_fd(1)?))?;
    session.finish()?;
    let notes = String::from_utf8(notes)?;
    let Some((count, checksum)) = notes.split_once(' ') else {
        bail!("{notes}")
    };
    Ok((count.parse()?, checksum.to_owned()))
}

fn boot(world: &mut World) -> Result<()> {
    let vmm = Program::start("vmm")?;
    hand_over(world, vmm, 0)
}

fn go_on(world: &mut World) -> Result<()> {
    let (vmm, count) = take_over()?;
    hand_over(world, vmm, count)
}

fn go_on_again(_: &mut World) -> Result<()> {
    let (mut vmm, count) = take_over()?;
    expect_counts(&mut vmm, count, 4 * COUNTS)?;
    vmm.end()
}
