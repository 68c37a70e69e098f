// SPDX-License-Identifier: GPL-2.0

//! Runs a guest on QEMU, and takes it along into the next kernel: its memory is preserved while
//! it runs, then it is stopped, and the state of its devices, saved by QEMU's own migration, is
//! preserved as well.
//!
//! `luo-demo-vm -s STAGE --stages STAGES` boots the guest in the first stage and takes it over in
//! the others. What happens is told to the host.

mod qemu;
mod serial;

use anyhow::{Context, Result};
use clap::Parser;
use liveupdate::Device;
use luo_guest::{
    checksum, timestamp,
    vm::{Event, What, MEMORY_MIB},
    Report,
};
use nix::{
    fcntl::{fcntl, FcntlArg::F_SETFD, FdFlag},
    sys::{
        memfd::{memfd_create, MFdFlags},
        reboot::{reboot, RebootMode},
    },
};
use qemu::{Qemu, Way};
use std::{
    convert::Infallible,
    fs::File,
    io::Seek,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

const SESSION: &[u8] = b"vm";
/// The session's tokens.
const RAM: u64 = 0;
const STATE: u64 = 1;

/// How often the guest counts before anything is done to it: longer than its pattern takes.
const TICKS: usize = 20;

const MIB: u64 = 1 << 20;

#[derive(Parser)]
struct Arguments {
    /// Number of this stage, from 1
    #[arg(short)]
    stage: u32,
    /// How many there are
    #[arg(long)]
    stages: u32,
    /// Have QEMU save its state in the mode that is meant for it, which 8.2 was the first to have
    #[arg(long)]
    cpr_reboot: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one line, which is the one that the host shows.
            eprintln!("luo-demo-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    tell(What::Up)?;
    let arguments = Arguments::parse();
    let way = match arguments.cpr_reboot {
        true => Way::CprReboot,
        false => Way::Migration,
    };
    let device = Device::open().context("/dev/liveupdate")?;
    let (guest, ram) = match arguments.stage {
        1 => boot()?,
        _ => take_over(&device, way)?,
    };
    guest.serial.count(TICKS)?;
    if arguments.stage < arguments.stages {
        hand_over(&device, guest, &ram, way).map(|never| match never {})
    } else {
        guest.stop()?.quit()
    }
}

/// Tells the host what has just happened.
pub fn tell(what: What) -> Result<()> {
    let at = timestamp();
    Ok(Report::Vm(Event { at, what }).send()?)
}

fn boot() -> Result<(Qemu, File)> {
    let ram = File::from(memfd_create("ram", MFdFlags::empty())?);
    ram.set_len(MEMORY_MIB * MIB)?;
    let guest = Qemu::start(&ram, &[])?;
    tell(What::Booting)?;
    Ok((guest, ram))
}

/// Preserves the guest, and reboots.
fn hand_over(device: &Device, guest: Qemu, ram: &File, way: Way) -> Result<Infallible> {
    let session = device.create_session(SESSION).context("create")?;
    tell(What::Preserving)?;
    session.preserve_fd(ram.as_fd(), RAM).context("RAM")?;
    tell(What::Preserved)?;
    // It does not care.
    guest.serial.count(2)?;

    tell(What::Stopping)?;
    let mut guest = guest.stop()?;
    tell(What::Stopped)?;
    let state = File::from(memfd_create("state", MFdFlags::MFD_CLOEXEC)?);
    guest.save(&state, way)?;
    // Whoever writes the state has to be gone, as its size is fixed from now on.
    guest.quit()?;
    tell(What::Saved {
        bytes: state.metadata()?.len(),
    })?;
    session.preserve_fd(state.as_fd(), STATE).context("state")?;
    tell(What::StatePreserved)?;
    read(ram)?;
    tell(What::Rebooting)?;
    Ok(reboot(RebootMode::RB_KEXEC)?)
}

/// Retrieves the guest, and lets it run on.
fn take_over(device: &Device, way: Way) -> Result<(Qemu, File)> {
    let session = device.retrieve_session(SESSION).context("retrieve")?;
    // LUO's are closed when another program is started.
    let file = |token| -> Result<File> { Ok(inheritable(session.retrieve_fd(token)?)?.into()) };
    let ram = file(RAM).context("RAM")?;
    let mut state = file(STATE).context("state")?;
    tell(What::Retrieved {
        bytes: state.metadata()?.len(),
    })?;
    read(&ram)?;
    state.rewind()?;
    let mut guest = Qemu::start(&ram, &["-S", "-incoming", "defer"])?;
    guest.load(&state, way)?;
    tell(What::Loaded)?;
    guest.go_on()?;
    tell(What::Running)?;
    session.finish().context("finish")?;
    tell(What::Finished)?;
    Ok((guest, ram))
}

/// A descriptor that is not closed when QEMU is started.
pub fn inheritable(fd: OwnedFd) -> Result<OwnedFd> {
    fcntl(&fd, F_SETFD(FdFlag::empty()))?;
    Ok(fd)
}

/// Reads the memory of a guest that is stopped: it has to be the same on the other side.
fn read(ram: &File) -> Result<()> {
    let (_, checksum) = checksum(ram)?;
    tell(What::Read { checksum })
}
