// SPDX-License-Identifier: GPL-2.0

//! Running a program while something is kept for it, as if it ran alone: signals reach it, and
//! its end is ours.

use crate::failure::{Exit, Failure, Outcome, Trying};
use nix::{
    sys::signal::{kill, SigSet, Signal},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

/// What a terminal sends to all of its foreground, the program included.
const FROM_TERMINAL: [Signal; 2] = [Signal::SIGINT, Signal::SIGQUIT];
/// What is sent to us and meant for the program.
const FORWARDED: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// A program that can be executed, with its arguments.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Looks the program up, before anything is done for it.
    pub fn new(command: &[OsString]) -> Result<Self, Failure> {
        let [name, arguments @ ..] = command else {
            return Err(Failure::new(Exit::Usage, "there is no COMMAND"));
        };
        let path = which::which(name).map_err(|_| {
            let (exit, why) = if name.to_string_lossy().contains('/') && Path::new(name).exists() {
                (Exit::CannotExecute, "it cannot be executed")
            } else {
                (Exit::CommandNotFound, "there is no such command")
            };
            Failure::new(exit, format!("{}: {why}", name.to_string_lossy()))
        })?;
        Ok(Self {
            path,
            arguments: arguments.to_vec(),
        })
    }

    /// The same, to be started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }

    /// Why it could not be started.
    pub fn not_started(&self, error: std::io::Error) -> Failure {
        Failure::new(
            Exit::CannotExecute,
            format!("{}: {error}", self.path.display()),
        )
    }

    /// Runs it to its end.
    pub fn run(&self) -> Outcome {
        let mut child = self
            .command()
            .spawn()
            .map_err(|error| self.not_started(error))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let signals: SigSet = FROM_TERMINAL
            .into_iter()
            .chain(FORWARDED)
            .chain([Signal::SIGCHLD])
            .collect();
        // The program has been started, so that it does not inherit this.
        signals.thread_block().trying("signals")?;
        loop {
            if let Some(status) = child.try_wait().trying(self.path.display())? {
                return Ok(status_of(status));
            }
            let signal = signals.wait().trying("signals")?;
            if FORWARDED.contains(&signal) {
                // It may have ended just now.
                let _ = kill(pid, signal);
            }
        }
    }
}

/// What a shell makes of how a program ended.
fn status_of(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let status = status.code().or(signal).unwrap_or_default();
    u8::try_from(status).unwrap_or(u8::MAX)
}
