// SPDX-License-Identifier: GPL-2.0

//! The only program of a guest that is to survive: counts aloud, ten times a second, and looks
//! after a pattern in half of its memory meanwhile.

use anyhow::{Context, Result};
use luo_guest::vm::Tick;
use nix::{
    mount::{mount, MsFlags},
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::{
    fs,
    io::{self, Write},
    time::{Duration, Instant},
};
use xxhash_rust::xxh64::xxh64;

const TICK: Duration = Duration::from_millis(100);

/// The pattern: one piece is compared in each tick.
const PIECES: usize = 16;
const PIECE: usize = 4 << 20;

fn main() -> Result<()> {
    fs::create_dir_all("/proc")?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("/proc")?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let pattern: Vec<Vec<u8>> = (0..PIECES)
        .map(|_| {
            let mut piece = vec![0; PIECE];
            random.fill_bytes(&mut piece);
            piece
        })
        .collect();
    let sums: Vec<u64> = pattern.iter().map(|piece| xxh64(piece, 0)).collect();

    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
    let interval = Expiration::Interval(TimeSpec::from_duration(TICK));
    timer.set(interval, TimerSetTimeFlags::empty())?;

    let start = Instant::now();
    let mut last = start;
    let mut tick = Tick {
        tick: 0,
        clock: 0,
        longest: 0,
        missed: 0,
        passes: 0,
        damaged: 0,
        boot: boot.trim_end().to_owned(),
    };
    for piece in (0..PIECES).cycle() {
        let mut expirations = [0; 8];
        read(&timer, &mut expirations)?;
        let now = Instant::now();
        tick.tick += 1;
        tick.clock = milliseconds(now - start);
        tick.longest = tick.longest.max(milliseconds(now - last));
        tick.missed += u64::from_ne_bytes(expirations) - 1;
        last = now;
        tick.damaged += u64::from(xxh64(&pattern[piece], 0) != sums[piece]);
        tick.passes += u64::from(piece == PIECES - 1);
        let mut line = serde_json::to_vec(&tick)?;
        line.push(b'\n');
        io::stdout().write_all(&line)?;
    }
    Ok(())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
