// SPDX-License-Identifier: GPL-2.0

//! Running a program while something is kept for it, as if it ran alone: signals reach it, and
//! its end is ours.

use crate::failure::{Exit, Failure, Outcome, Trying};
use nix::{
    errno::Errno,
    spawn::{posix_spawn, PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags},
    sys::{
        signal::{kill, SigSet, SigmaskHow, Signal},
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
    unistd::Pid,
};
use std::{
    env,
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
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
        let signals: SigSet = FROM_TERMINAL
            .into_iter()
            .chain(FORWARDED)
            .chain([Signal::SIGCHLD])
            .collect();
        // From before there is a program, so that none ends us alone.
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        let pid = self
            .start(&mask.trying("signals")?)
            .map_err(|errno| self.not_started(errno.into()))?;
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).trying(self.path.display())? {
                WaitStatus::Exited(_, status) => return Ok(status_of(status)),
                // What a shell makes of it.
                WaitStatus::Signaled(_, signal, _) => return Ok(status_of(128 + signal as i32)),
                _ => {}
            }
            let signal = signals.wait().trying("signals")?;
            if FORWARDED.contains(&signal) {
                // It may have ended just now.
                let _ = kill(pid, signal);
            }
        }
    }

    /// Starts it with this signal mask, for which the standard library has no word.
    fn start(&self, mask: &SigSet) -> nix::Result<Pid> {
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigmask(mask)?;
        // A Rust program ignores it.
        attributes.set_sigdefault(&Signal::SIGPIPE.into())?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
        )?;
        let words = [self.path.as_os_str()].into_iter();
        let words = words.chain(self.arguments.iter().map(OsString::as_os_str));
        let arguments: Vec<_> = words.map(c_string).collect::<Result<_, _>>()?;
        let environment: Vec<_> = env::vars_os()
            .map(|(name, value)| {
                let mut variable = name;
                variable.push("=");
                variable.push(value);
                c_string(&variable)
            })
            .collect::<Result<_, _>>()?;
        posix_spawn(
            self.path.as_path(),
            &PosixSpawnFileActions::init()?,
            &attributes,
            &arguments,
            &environment,
        )
    }
}

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

fn status_of(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}
