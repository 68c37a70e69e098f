// SPDX-License-Identifier: GPL-2.0

//! Counts what each operation of live update costs, when there are many sessions and when there
//! are many files, before a kexec and after it.
//!
//! `luo-bench -s STAGE --sessions S --files F` makes S sessions with F memory files each, or with
//! `--layout` a session with a file whose pages lie as that says. All results are instructions, bytes
//! of memory, or where several threads are at work nanoseconds, and go to the host as they are: what
//! they are divided by, and compared with, is decided there.

mod count;
mod layout;
mod side_by_side;
mod threads;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use count::measured;
use count::now;
use count::settle;
use count::Memory;
use count::Series;
use layout::Laid;
use layout::Layout;
use liveupdate::Device;
use luo_guest::Report;
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::memfd_create;
use nix::sys::memfd::MFdFlags;
use nix::sys::reboot::reboot;
use nix::sys::reboot::RebootMode;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

/// How often to do what can be done again: the kernel's caches are filled by then.
const ROUNDS: usize = 16;

#[derive(Parser)]
struct Arguments {
    /// 1 preserves and reboots into the next kernel, 2 retrieves; 0 preserves from several threads
    #[arg(short, value_parser = clap::value_parser!(u8).range(0..=2))]
    stage: u8,
    /// How many sessions, or threads
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// How many files in each
    #[arg(long, default_value_t = 0)]
    files: usize,
    /// How many bytes in each file
    #[arg(long, default_value_t = 0)]
    bytes: usize,
    /// Several threads preserve, and retrieve, files of one session
    #[arg(long)]
    side_by_side: bool,
    /// How the pages of a file lie; then there is one session, and one file in it
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Nobody asks for what was handed over before it is finished
    #[arg(long)]
    unasked: bool,
}

impl Arguments {
    /// How many bytes a file has that is like those handed over, or empty if they are large.
    fn sample(&self) -> usize {
        self.layout.map_or(self.bytes, |_| 0)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.stage {
        0 => threads::measure(arguments.sessions, arguments.files, arguments.bytes),
        1 if arguments.side_by_side => {
            side_by_side::hand_over(arguments.bytes).map(|never| match never {})
        }
        2 if arguments.side_by_side => side_by_side::take_over(),
        1 => hand_over(&arguments).map(|never| match never {}),
        _ => take_over(&arguments),
    }
}

fn session_name(number: usize) -> Vec<u8> {
    format!("session-{number:07}").into_bytes()
}

fn memfd(bytes: usize) -> Result<File> {
    let mut file = File::from(memfd_create("luo-bench", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&vec![b'!'; bytes])?;
    Ok(file)
}

/// Counts what making a descriptor costs without live update, which also warms its caches.
fn floors(bytes: usize) -> Result<()> {
    let mut anonymous = Series::new("eventfd", ROUNDS);
    let mut memory = Series::new("memfd", ROUNDS);
    for _ in 0..ROUNDS {
        anonymous.count(EventFd::new)?;
        memory.count(|| memfd(bytes))?;
    }
    anonymous.report()?;
    memory.report()
}

/// Creates, preserves and closes, so that the caches of the kernel are as they are in use; and
/// counts an ioctl that changes nothing, and preserving the only file there is.
fn warm_up(device: &Device, bytes: usize) -> Result<()> {
    let mut nothing = Series::new("get_name", ROUNDS);
    let mut only = Series::new("preserve_only", ROUNDS);
    for _ in 0..ROUNDS {
        let file = memfd(bytes)?;
        let session = device.create_session(b"warm-up")?;
        only.count(|| session.preserve_fd(file.as_fd(), 1))?;
        nothing.count(|| session.name())?;
    }
    nothing.report()?;
    only.report()
}

/// Preserves a file and takes that back, twice: as it is, and when all of its pages are there.
fn twice_before(device: &Device, laid: &Laid) -> Result<()> {
    let mut new = Series::new("preserve_new", 1);
    let mut unpreserve = Series::new("unpreserve", 1);
    let session = device.create_session(b"before")?;
    new.count(|| session.preserve_fd(laid.file.as_fd(), 1))?;
    drop(session);

    // Holes may still be there.
    laid.fill()?;
    let session = device.create_session(b"before")?;
    session.preserve_fd(laid.file.as_fd(), 1)?;
    unpreserve.count(|| drop(session));
    new.report()?;
    unpreserve.report()
}

fn hand_over(arguments: &Arguments) -> Result<Infallible> {
    let Arguments {
        sessions: count,
        files: each,
        bytes,
        layout,
        ..
    } = *arguments;
    floors(arguments.sample())?;
    let device = Device::open().context("/dev/liveupdate")?;
    warm_up(&device, arguments.sample())?;

    let laid = layout
        .map(|layout| layout.file(&device, bytes))
        .transpose()?;
    let files: Vec<File> = match &laid {
        Some(laid) => vec![laid.file.try_clone()?],
        None => (0..count * each)
            .map(|_| memfd(bytes))
            .collect::<Result<_>>()?,
    };
    if let Some(laid) = &laid {
        twice_before(&device, laid)?;
    }
    // As long as it has a file, the FLBs of the file's handler are preserved.
    let mut keeper = None;
    if each > 0 {
        let session = keeper.insert(device.create_session(b"keeper")?);
        session.preserve_fd(memfd(0)?.as_fd(), 1)?;
    }

    let mut create = Series::new("create", count);
    let mut preserve = Series::new("preserve", count * each);
    let mut sessions = Vec::with_capacity(count);
    let memory = Memory::now()?;
    for number in 0..count {
        let name = session_name(number);
        let session = create.count(|| device.create_session(&name))?;
        for (token, file) in (0..).zip(&files[number * each..][..each]) {
            preserve.count(|| session.preserve_fd(file.as_fd(), token))?;
        }
        sessions.push(session);
    }
    memory.report()?;
    create.report()?;
    preserve.report()?;
    let mut close = Series::new("close", ROUNDS);
    for _ in 0..ROUNDS {
        let session = device.create_session(b"one more")?;
        close.count(|| drop(session));
    }
    close.report()?;
    drop(keeper);
    if let Some(laid) = &laid {
        measured("fragments", laid.fragments()? as f64)?;
    }

    measured("reboot", now() as f64)?;
    settle();
    Report::Rebooting.send()?;
    Ok(reboot(RebootMode::RB_KEXEC)?)
}

fn take_over(arguments: &Arguments) -> Result<()> {
    measured("arrival", now() as f64)?;
    let Arguments {
        sessions: count,
        files: each,
        ..
    } = *arguments;
    floors(arguments.sample())?;

    let mut restore = Series::new("restore", 1);
    let mut retrieve_session = Series::new("retrieve_session", count);
    let mut retrieve = Series::new("retrieve", count * each);
    let mut finish = Series::new("finish", count);
    let mut close = Series::new("close_retrieved", count);
    let mut sessions = Vec::with_capacity(count);
    let mut files = Vec::with_capacity(count * each);

    let device = restore.count(Device::open).context("/dev/liveupdate")?;
    for number in 0..count {
        let name = session_name(number);
        let session = retrieve_session.count(|| device.retrieve_session(&name))?;
        for token in (0..).take(if arguments.unasked { 0 } else { each }) {
            files.push(retrieve.count(|| session.retrieve_fd(token))?);
        }
        sessions.push(session);
    }
    for session in &sessions {
        finish.count(|| session.finish())?;
    }
    for session in sessions {
        close.count(|| drop(session));
    }

    [restore, retrieve_session, retrieve, finish, close]
        .into_iter()
        .try_for_each(Series::report)
}
