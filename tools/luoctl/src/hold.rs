// SPDX-License-Identifier: GPL-2.0

//! `luoctl hold`: descriptors that are preserved while a program runs.

use crate::{
    device::{self, of_file},
    failure::{Failure, Outcome, Trying},
    supervise::Program,
};
use clap::Args;
use liveupdate::observe::{Name, Token};
use rustix::process::{getpid, pidfd_getfd, pidfd_open, PidfdFlags, PidfdGetfdFlags};
use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
    str::FromStr,
};

/// Preserve descriptors while a command runs
///
/// Creates the session NAME, preserves each file under its TOKEN, and runs COMMAND. The session
/// stays until COMMAND ends, and if the machine is rebooted into the next kernel before that, it
/// is there: `luoctl take` gets the files back. When COMMAND ends, the session is closed, and its
/// files are ordinary files again.
///
/// COMMAND does not get the session's descriptor. It has those that luoctl itself was given, such
/// as 3 in `luoctl hold vm 1=3 -- COMMAND 3<>FILE`. Signals that end a program or are up to it
/// (TERM, HUP, USR1, USR2) are passed on to COMMAND.
#[derive(Args)]
pub struct Arguments {
    /// The name of the session
    #[arg(value_parser = session_name)]
    name: Name,
    /// A file to preserve: a descriptor's number, or a path to open; a path of digits alone needs
    /// ./ in front
    #[arg(value_name = "TOKEN=PATH|FD")]
    files: Vec<Source>,
    /// What to run
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A name that a session can have.
pub fn session_name(text: &str) -> Result<Name, String> {
    let name = Name::unescape(text.as_bytes());
    match name.as_bytes() {
        [] => Err("a session has a name".to_owned()),
        bytes if bytes.contains(&0) => Err("a name has no NUL".to_owned()),
        bytes if bytes.len() >= liveupdate::raw::NAME_LENGTH => Err(format!(
            "a name has {} bytes at most",
            liveupdate::raw::NAME_LENGTH - 1
        )),
        _ => Ok(name),
    }
}

/// A file that gets a token.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Source {
    token: Token,
    origin: Origin,
}

/// Where a file comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Origin {
    Descriptor(RawFd),
    Path(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (token, origin) = text.split_once('=').ok_or("TOKEN=PATH or TOKEN=FD")?;
        let token = token.parse().map_err(|error| format!("token: {error}"))?;
        let digits = !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_digit());
        let origin = match origin {
            "" => return Err("a path or a descriptor follows the =".to_owned()),
            fd if digits => {
                Origin::Descriptor(fd.parse().map_err(|error| format!("descriptor: {error}"))?)
            }
            path => Origin::Path(path.into()),
        };
        Ok(Self { token, origin })
    }
}

impl Origin {
    fn open(&self) -> Result<OwnedFd, Failure> {
        match self {
            Self::Descriptor(fd) => inherited(*fd).trying(format!("descriptor {fd}")),
            Self::Path(path) => {
                let open = |write| File::options().read(true).write(write).open(path);
                // What may only be read is preserved like that.
                let file = open(true).or_else(|_| open(false));
                file.map(OwnedFd::from).trying(path.display())
            }
        }
    }
}

/// A duplicate of a descriptor that this process was started with.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, fd, PidfdGetfdFlags::empty())?)
}

impl Arguments {
    pub fn run(self) -> Outcome {
        let program = Program::new(&self.command)?;
        let files: Vec<_> = self
            .files
            .iter()
            .map(|source| source.origin.open())
            .collect::<Result<_, _>>()?;
        let session = device::create(&self.name)?;
        for (source, file) in self.files.iter().zip(&files) {
            let preserved = session.preserve_fd(file, source.token);
            preserved.map_err(|error| of_file(error, source.token))?;
        }
        drop(files);
        program.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let source = |token, origin| {
            Ok(Source {
                token: Token(token),
                origin,
            })
        };
        let path = |path: &str| Origin::Path(path.into());
        assert_eq!("1=3".parse(), source(1, Origin::Descriptor(3)));
        assert_eq!("0x10=./3".parse(), source(16, path("./3")));
        assert_eq!("7=/a=b".parse(), source(7, path("/a=b")));
        for text in ["", "1", "=3", "1=", "x=3", "-1=3", "1=99999999999"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(session_name("vm").is_ok_and(|name| name == Name::from("vm")));
        assert!(session_name(r"a\040b").is_ok_and(|name| name == Name::from("a b")));
        assert!(session_name(&"n".repeat(63)).is_ok());
        for name in ["", r"a\000", &"n".repeat(64)] {
            assert!(session_name(name).is_err(), "{name}");
        }
    }
}
