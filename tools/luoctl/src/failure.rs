// SPDX-License-Identifier: GPL-2.0

//! Why a command did not do what it was asked to: a line for people, an exit status for scripts.

use nix::errno::Errno;
use std::{
    fmt::{self, Display, Formatter, Write},
    io::{self, ErrorKind},
    process::ExitCode,
};

/// What a command comes to: luoctl's own exit status, or that of a program that it ran.
pub type Outcome = Result<u8, Failure>;

/// Exit statuses; those of errors are of `sysexits.h`, out of the way of most commands' own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    WouldNotWork = 1,
    Usage = 2,
    DamagedHandover = 65,
    NoInput = 66,
    NoLuo = 69,
    System = 71,
    Exists = 73,
    Busy = 75,
    NoPermission = 77,
    CannotExecute = 126,
    CommandNotFound = 127,
}

impl Exit {
    /// All of them, with what they mean.
    pub const ALL: [(Self, &'static str); 12] = [
        (
            Self::Done,
            "done; check: as far as can be told, a live update would work",
        ),
        (
            Self::WouldNotWork,
            "check, kexec: a live update would not work now",
        ),
        (Self::Usage, "the command line is wrong"),
        (
            Self::DamagedHandover,
            "the sessions of the previous kernel cannot be restored",
        ),
        (
            Self::NoInput,
            "there is no such session, file, descriptor or image",
        ),
        (Self::NoLuo, "live update is off, or this kernel has none"),
        (Self::System, "a system call failed in another way"),
        (
            Self::Exists,
            "there is a session of this name, or somebody has it",
        ),
        (
            Self::Busy,
            "another process has the device open, or the file is preserved already",
        ),
        (
            Self::NoPermission,
            "not permitted: most of this is for root",
        ),
        (
            Self::CannotExecute,
            "hold, put, take: COMMAND cannot be executed",
        ),
        (
            Self::CommandNotFound,
            "hold, put, take: there is no COMMAND",
        ),
    ];

    /// What else there is.
    pub const COMMAND: &'static str = "hold, put and take otherwise end as COMMAND does; \
        if a signal ends it, the status is 128 plus the signal's number.";

    /// What follows the description of the options.
    pub fn help() -> String {
        let mut text = String::from("Exit status:\n");
        for (exit, meaning) in Self::ALL {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {:>3}  {meaning}", exit as u8);
        }
        text + "\n" + Self::COMMAND
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Display) -> Self {
        let message = message.to_string();
        Self { exit, message }
    }

    /// The same with what was tried in front.
    pub fn of(self, what: impl Display) -> Self {
        let message = format!("{what}: {}", self.message);
        Self { message, ..self }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
            (ErrorKind::NotFound, _) | (_, Some(Errno::EBADF)) => Exit::NoInput,
            (ErrorKind::PermissionDenied, _) => Exit::NoPermission,
            _ => Exit::System,
        };
        Self::new(exit, error)
    }
}

/// For errors of the system: says what was tried.
pub trait Trying<T> {
    fn trying(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::from(error.into()).of(what))
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    /// The page for people, which has a table of its own.
    const PAGE: &str = include_str!("../../../Documentation/luoctl.rst");

    #[test]
    fn every_status_is_documented() {
        for (exit, meaning) in Exit::ALL {
            let documented = PAGE.lines().any(|line| {
                line.replace("``", "")
                    .split_once(' ')
                    .is_some_and(|(status, text)| {
                        status == (exit as u8).to_string() && text.trim_start() == meaning
                    })
            });
            assert!(documented, "{exit:?}: {meaning}");
        }
    }
}
