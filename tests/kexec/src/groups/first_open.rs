// SPDX-License-Identifier: GPL-2.0

//! The first open of the device without memory is refused, and leaves everything to the next.
//!
//! Only on the Rust LUO: on C that open decides for good.

use crate::{
    driver::{number, B, C, FLBS},
    file::{content, memfd},
    Group, World,
};
use anyhow::{bail, ensure, Context, Result};
use liveupdate::Device;
use nix::errno::Errno::{self, ENODATA};
use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    thread,
};

pub const GROUP: Group = Group {
    name: "first-open",
    stages: &[
        &[("hand-over", hand_over)],
        &[("without-memory", without_memory), ("retrieve", retrieve)],
    ],
};

/// So many that no structure of them is in one piece.
const SESSIONS: u32 = 20;
const FILES: u32 = 20;

fn name(session: u32) -> Vec<u8> {
    format!("session {session}").into_bytes()
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for session in 0..SESSIONS {
        let name = name(session);
        let session = done!(device.create_session(&name));
        done!(session.preserve_fd(memfd(&name)?.as_fd(), 0));
        done!(B.preserve(&session, 1)?);
        for token in 2..FILES {
            done!(C.preserve(&session, token)?);
        }
        world.keep(session);
    }
    Ok(())
}

/// Runs `body` in a thread that gets no more than so many bytes of the slab allocator, and then
/// none: not even to be told that it may have some again.
fn with_memory<T: Send>(bytes: usize, body: impl FnOnce() -> T + Send) -> Result<T> {
    let set = |name: &str, value: &str| fs::write(format!("{FAILSLAB}/{name}"), value);
    set("space", &bytes.to_string())?;
    let value = thread::scope(|scope| {
        let thread = scope.spawn(|| -> io::Result<T> {
            fs::write("/proc/thread-self/make-it-fail", "1")?;
            Ok(body())
        });
        thread.join()
    });
    match value {
        Ok(value) => Ok(value?),
        Err(_) => bail!("the thread panicked"),
    }
}

const FAILSLAB: &str = "/sys/kernel/debug/failslab";

/// Opens the device with a little more memory each time, until there is enough.
fn without_memory(_: &mut World) -> Result<()> {
    for (name, value) in [
        ("task-filter", "Y"),
        ("times", "-1"),
        ("probability", "100"),
        // What may wait may fail, too, and a failure is no reason for a backtrace.
        ("ignore-gfp-wait", "N"),
        ("verbose", "0"),
    ] {
        fs::write(format!("{FAILSLAB}/{name}"), value).context("no fault injection")?;
    }
    let mut refusals = 0;
    for bytes in (0..).step_by(32) {
        match with_memory(bytes, Device::open)? {
            Ok(_) => break,
            Err(error) => {
                // The file of the device itself comes first.
                let errno = error.raw_os_error().map(Errno::from_raw);
                let due = matches!(errno, Some(Errno::ENOMEM | Errno::ENFILE));
                same!(due, true, bytes, error);
                refusals += 1;
            }
        }
    }
    fs::write(format!("{FAILSLAB}/probability"), "0")?;
    // More than the path, the file, and one session.
    ensure!(refusals > 500, "only {refusals} refusals");
    Ok(())
}

fn retrieve(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    done!(FLBS[1].incoming());
    for session in 0..SESSIONS {
        let name = name(session);
        let session = done!(device.retrieve_session(&name));
        same!(content(&File::from(done!(session.retrieve_fd(0))))?, name);
        for token in 1..FILES {
            let file = File::from(done!(session.retrieve_fd(u64::from(token))));
            same!(number(&file)?, token);
        }
        done!(session.finish());
    }
    refused!(FLBS[1].incoming(), ENODATA);
    Ok(())
}
