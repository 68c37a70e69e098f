// SPDX-License-Identifier: GPL-2.0

//! Keepers: processes of ours that do nothing but have a session's descriptor.
//!
//! What `luoctl put` preserves has to be held until the kexec, and a retrieved session whose
//! descriptor is closed is finished, with the files that nobody has taken: so a command that
//! fails in between leaves it to a keeper, from which the next try takes it over.

use crate::{
    failure::{Failure, Outcome, Trying},
    output::say,
};
use clap::{Args, ValueEnum};
use liveupdate::{
    observe::{self, Name, What},
    Session,
};
use nix::unistd::{chdir, pause, setsid};
use rustix::{
    event::{poll, PollFd, PollFlags},
    process::{
        pidfd_getfd, pidfd_open, pidfd_send_signal, Pid, PidfdFlags, PidfdGetfdFlags, Signal,
    },
};
use std::{
    env, fs, io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

/// The name of this command.
const KEEP: &str = "keep";
/// Where a keeper has its session.
const PLACE: i32 = 0;

/// Which way the session goes.
#[derive(Clone, Copy, ValueEnum)]
pub enum Way {
    Outgoing,
    Incoming,
}

impl Way {
    /// As it is written on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

/// Keep the session on standard input
#[derive(Args)]
pub struct Arguments {
    /// Which way it goes
    way: Way,
    /// Its name
    name: Name,
}

impl Arguments {
    pub fn run(self) -> Outcome {
        // A process that was just started leads no group, so this works.
        setsid().trying("setsid")?;
        chdir("/").trying("/")?;
        loop {
            pause();
        }
    }
}

/// Leaves a session to a keeper, and tells its process id.
pub fn leave(session: Session, way: Way, name: &Name) -> io::Result<u32> {
    // By its name, so that it is seen under it, unless it has been removed.
    let program = env::current_exe().ok().filter(|path| path.exists());
    let keeper = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .args([KEEP, way.name(), "--", &name.to_string()])
        .stdin(OwnedFd::from(session))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(keeper.id())
}

/// Goes on with a retrieved session; if that fails, it is kept, and can be retrieved again.
pub fn or_keep<T>(
    session: Session,
    name: &Name,
    go_on: impl FnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let done = go_on(&session);
    if done.is_err() {
        match leave(session, Way::Incoming, name) {
            Ok(pid) => say(format!(
                "process {pid} keeps session '{name}' for another try"
            )),
            Err(error) => say(format!("session '{name}' is lost: {error}")),
        }
    }
    done
}

/// Takes a retrieved session over from its keeper, if it has one, which ends by that.
pub fn take_over(name: &Name) -> Result<Option<Session>, Failure> {
    let found = observe::descriptors().trying("/proc")?;
    let keeper = found.held.into_iter().find(|held| {
        held.what == What::Session(name.clone()) && held.fd == PLACE && keeps(held.process.pid)
    });
    let Some(keeper) = keeper else {
        return Ok(None);
    };
    let pid = keeper.process.pid;
    let take = || -> io::Result<Session> {
        let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let session = pidfd_getfd(&process, PLACE, PidfdGetfdFlags::empty())?.into();
        pidfd_send_signal(&process, Signal::TERM)?;
        // Until it has ended, it has the session, too.
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None)?;
        Ok(session)
    };
    take().map(Some).trying(format!("process {pid}"))
}

/// Whether a process is a keeper of an incoming session, by its command line.
fn keeps(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = command.split(|&byte| byte == 0).skip(1).take(2);
    words.eq([KEEP.as_bytes(), Way::Incoming.name().as_bytes()])
}
