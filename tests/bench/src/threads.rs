// SPDX-License-Identifier: GPL-2.0

//! Measures how long threads take that preserve into sessions of their own at the same time: by
//! the clock on the wall, and in a machine that has a processor for each of them.

use crate::count::measured;
use crate::memfd;
use crate::session_name;
use anyhow::Context;
use anyhow::Result;
use liveupdate::Device;
use liveupdate::Session;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// How often everything is done; the fastest time counts, which nobody has disturbed.
const ROUNDS: usize = 16;

/// How many sessions each thread has.
const SESSIONS: usize = 32;

/// What is called for each file.
type Call = fn(&Session, &File, u64) -> liveupdate::Result<()>;

/// Tells the host how many nanoseconds each preserve takes, by one thread, by two, and so on up to
/// `threads`, with `files` files of `bytes` bytes a session; and the same of an ioctl that changes
/// nothing.
pub fn measure(threads: usize, files: usize, bytes: usize) -> Result<()> {
    let calls: [(_, Call); 2] = [
        ("get_name", |session, _, _| session.name().map(drop)),
        ("preserve", |session, file, token| {
            session.preserve_fd(file.as_fd(), token)
        }),
    ];
    let device = Device::open().context("/dev/liveupdate")?;
    for (name, call) in calls {
        for count in 1..=threads {
            let rounds = (0..ROUNDS).map(|_| round(&device, count, files, bytes, call));
            let times = rounds.collect::<Result<Vec<_>>>()?;
            let fastest = times.into_iter().min().unwrap_or_default();
            let calls = count * SESSIONS * files;
            measured(
                format!("{name}.threads.{count}"),
                fastest.as_nanos() as f64 / calls as f64,
            )?;
        }
    }
    Ok(())
}

/// From when the first thread begins until the last one is ready.
fn round(
    device: &Device,
    threads: usize,
    files: usize,
    bytes: usize,
    call: Call,
) -> Result<Duration> {
    let sessions = |thread| -> Result<Vec<(Session, Vec<File>)>> {
        let sessions = (0..SESSIONS).map(|number| -> Result<_> {
            let session = device.create_session(session_name(thread * SESSIONS + number))?;
            let files = (0..files).map(|_| memfd(bytes));
            Ok((session, files.collect::<Result<_>>()?))
        });
        sessions.collect()
    };
    at_once(threads, sessions, |sessions| {
        for (session, files) in &sessions {
            for (token, file) in (0..).zip(files) {
                call(session, file, token)?;
            }
        }
        Ok(())
    })
}

/// Has so many threads work at the same time, each on what it has made ready, and drop that; from
/// when the first one begins until the last one is ready.
pub fn at_once<T>(
    threads: usize,
    make: impl Fn(usize) -> Result<T> + Sync,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<Duration> {
    let all_ready = Barrier::new(threads);
    let work = |thread| -> Result<_> {
        let made = make(thread);
        all_ready.wait();
        let start = Instant::now();
        work(made?)?;
        Ok((start, Instant::now()))
    };
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let work = &work;
                scope.spawn(move || work(thread))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|result| result.expect("no panic"))
            .collect::<Result<Vec<_>>>()
    })?;
    let start = times.iter().map(|time| time.0).min();
    let end = times.iter().map(|time| time.1).max();
    Ok(end
        .zip(start)
        .map(|(end, start)| end - start)
        .unwrap_or_default())
}
