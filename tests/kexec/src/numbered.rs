// SPDX-License-Identifier: GPL-2.0

//! Many sessions with many files, told apart by numbers: to be handed over, and found again.
//!
//! `files` says how many there are in the first sessions; the others have one each, up to so many
//! that more would take memory and show nothing.

use crate::{
    file::{content, memfd},
    World,
};
use anyhow::Result;
use liveupdate::{Device, Session};
use nix::errno::Errno::ENOENT;
use std::{fs::File, os::fd::AsFd};

fn files_of(session: usize, files: &[u64]) -> u64 {
    let file = u64::from(session < 1000);
    files.get(session).copied().unwrap_or(file)
}

fn text(session: usize, token: u64) -> Vec<u8> {
    format!("{session}/{token}").into_bytes()
}

/// The name of a session.
pub fn name(session: usize) -> Vec<u8> {
    session.to_string().into_bytes()
}

/// Hands over that many sessions.
pub fn hand_over(world: &mut World, sessions: usize, files: &[u64]) -> Result<()> {
    let device = Device::open()?;
    for number in 0..sessions {
        let session = done!(device.create_session(name(number)), number);
        for token in 0..files_of(number, files) {
            let file = memfd(&text(number, token))?;
            done!(session.preserve_fd(file.as_fd(), token), number, token);
        }
        world.keep(session);
    }
    Ok(())
}

/// Takes over a session of the previous kernel, and all of its files, which `each` is given.
pub fn take_over(
    device: &Device,
    number: usize,
    files: &[u64],
    mut each: impl FnMut(File),
) -> Result<Session> {
    let session = done!(device.retrieve_session(name(number)), number);
    for token in 0..files_of(number, files) {
        let file = File::from(done!(session.retrieve_fd(token), number, token));
        same!(content(&file)?, text(number, token), number, token);
        each(file);
    }
    refused!(session.retrieve_fd(files_of(number, files)), ENOENT, number);
    Ok(session)
}

/// Takes over all sessions of the previous kernel, last to first, and finishes them.
pub fn finish(sessions: usize, files: &[u64]) -> Result<()> {
    let device = Device::open()?;
    for number in (0..sessions).rev() {
        // One file at a time: a descriptor table that has grown looks like something left behind.
        let session = take_over(&device, number, files, drop)?;
        done!(session.finish(), number);
    }
    refused!(device.retrieve_session(name(sessions)), ENOENT);
    Ok(())
}
