// SPDX-License-Identifier: GPL-2.0

//! Measures how long it takes to preserve two large files in one session, and to retrieve them, by
//! one thread after another and by two threads at once: by the clock on the wall, and in a machine
//! with two processors.

use crate::count::measured;
use crate::memfd;
use crate::session_name;
use crate::threads::at_once;
use anyhow::Context;
use anyhow::Result;
use liveupdate::Device;
use liveupdate::Session;
use luo_guest::Report;
use nix::sys::reboot::reboot;
use nix::sys::reboot::RebootMode;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

/// How many files each session has.
const FILES: u64 = 2;

/// How many threads work on which session: each number twice, so that neither is always first.
const THREADS: [u64; 4] = [1, 2, 2, 1];

/// Preserves files of so many bytes and reboots into the next kernel.
pub fn hand_over(bytes: usize) -> Result<Infallible> {
    let device = Device::open().context("/dev/liveupdate")?;
    let mut times = Times::default();
    let mut sessions = vec![];
    for (number, threads) in THREADS.into_iter().enumerate() {
        let files: Vec<File> = (0..FILES).map(|_| memfd(bytes)).collect::<Result<_>>()?;
        let session = device.create_session(b"once")?;
        for (token, file) in (0..).zip(&files) {
            // Pages that cannot be preserved where they are have moved after that.
            session.preserve_fd(file.as_fd(), token)?;
        }
        drop(session);
        let session = device.create_session(session_name(number))?;
        times.add(threads, || {
            side_by_side(threads, |token| {
                Ok(session.preserve_fd(files[token as usize].as_fd(), token)?)
            })
        })?;
        sessions.push((session, files));
    }
    times.report("preserve")?;
    Report::Rebooting.send()?;
    Ok(reboot(RebootMode::RB_KEXEC)?)
}

/// Retrieves them.
pub fn take_over() -> Result<()> {
    let device = Device::open().context("/dev/liveupdate")?;
    let mut times = Times::default();
    for (number, threads) in THREADS.into_iter().enumerate() {
        let session: Session = device.retrieve_session(session_name(number))?;
        times.add(threads, || {
            side_by_side(threads, |token| {
                session.retrieve_fd(token)?;
                Ok(())
            })
        })?;
        session.finish()?;
    }
    times.report("retrieve")
}

/// The least time that each number of threads took.
#[derive(Default)]
struct Times([Option<Duration>; 2]);

impl Times {
    fn add(&mut self, threads: u64, measure: impl FnOnce() -> Result<Duration>) -> Result<()> {
        let time = measure()?;
        let least = &mut self.0[threads as usize - 1];
        *least = Some(least.map_or(time, |it| it.min(time)));
        Ok(())
    }

    /// Tells the host how many nanoseconds a file took.
    fn report(&self, what: &str) -> Result<()> {
        for (threads, time) in (1..).zip(self.0) {
            let time = time.context("not measured")?.as_nanos() as f64 / FILES as f64;
            measured(format!("{what}.side_by_side.{threads}"), time)?;
        }
        Ok(())
    }
}

/// Does something to all files, spread over so many threads; how long that takes.
fn side_by_side(threads: u64, each: impl Fn(u64) -> Result<()> + Sync) -> Result<Duration> {
    let first = |thread| Ok(thread as u64);
    at_once(threads as usize, first, |first| {
        (first..FILES).step_by(threads as usize).try_for_each(&each)
    })
}
