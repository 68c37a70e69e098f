// SPDX-License-Identifier: GPL-2.0

//! Shows a live update: three sessions, one with a virtual machine's worth of
//! memory, put away by one kernel and read back by the next.

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use liveupdate::Device;
use liveupdate::Session;
use luo_guest::checksum;
use luo_guest::Report;
use nix::sys::memfd::memfd_create;
use nix::sys::memfd::MFdFlags;
use nix::sys::reboot::reboot;
use nix::sys::reboot::RebootMode;
use rand_core::Rng;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;

const MIB: usize = 1 << 20;

/// Sessions, and the sizes of their files; a file's token is its place in the list.
const SESSIONS: [(&str, &[usize]); 3] = [
    ("vm-guest-ram", &[256 * MIB]),
    ("cache", &[4 * MIB, 2 * MIB]),
    ("config", &[4096]),
];

#[derive(Parser)]
struct Arguments {
    /// 1 preserves and reboots into the next kernel, 2 retrieves
    #[arg(short, value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: u8,
}

fn main() -> Result<()> {
    let device = Device::open().context("/dev/liveupdate")?;
    match Arguments::parse().stage {
        1 => preserve(&device).map(|never| match never {}),
        _ => retrieve(&device),
    }
}

fn preserve(device: &Device) -> Result<Infallible> {
    let mut sessions = Vec::new();
    for (name, sizes) in SESSIONS {
        let session = device.create_session(name.as_bytes()).context(name)?;
        for (token, &size) in (0..).zip(sizes) {
            let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
            fill(&mut file, size, token)?;
            session.preserve_fd(file.as_fd(), token).context(name)?;
            report(name, token, &file)?;
        }
        sessions.push(session);
    }
    Report::Rebooting.send()?;
    Ok(reboot(RebootMode::RB_KEXEC)?)
}

fn retrieve(device: &Device) -> Result<()> {
    let mut sessions: Vec<Session> = Vec::new();
    for (name, sizes) in SESSIONS {
        let session = device.retrieve_session(name.as_bytes()).context(name)?;
        for token in (0..).take(sizes.len()) {
            let file = File::from(session.retrieve_fd(token).context(name)?);
            if sessions.is_empty() && token == 0 {
                Report::Retrieved.send()?;
            }
            report(name, token, &file)?;
        }
        sessions.push(session);
    }
    for session in sessions {
        session.finish()?;
    }
    Ok(())
}

/// Writes `size` bytes that look random and are the same every time.
fn fill(file: &mut File, size: usize, seed: u64) -> io::Result<()> {
    let mut data = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut buffer = vec![0; MIB.min(size)];
    for _ in 0..size / buffer.len() {
        data.fill_bytes(&mut buffer);
        file.write_all(&buffer)?;
    }
    Ok(())
}

/// Reads the whole file and tells the host what is in it.
fn report(session: &str, token: u64, file: &File) -> io::Result<()> {
    let (bytes, checksum) = checksum(file)?;
    let session = session.to_owned();
    Report::File(luo_guest::File {
        session,
        token,
        bytes,
        checksum,
    })
    .send()
}
