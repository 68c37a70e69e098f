// SPDX-License-Identifier: GPL-2.0

//! `luoctl take`: starts a program with the files that the previous kernel handed over.

use crate::{
    device::{self, of_file},
    failure::{Exit, Failure, Outcome, Trying},
    hold::session_name,
    keep::or_keep,
    supervise::Program,
};
use clap::Args;
use command_fds::{CommandFdExt, FdMapping};
use liveupdate::{
    observe::{self, Name, Token},
    Session,
};
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::File,
    io, iter,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    process,
    str::FromStr,
};

/// The first descriptor that a service manager passes on.
const FIRST: RawFd = 3;

/// What stands for the name of a descriptor that was passed without one.
const UNNAMED: &str = "unknown";

/// Start a command with files of the previous kernel
///
/// Retrieves the session NAME, and each file by its TOKEN, and becomes COMMAND, which has the
/// files at the numbers given. A file without a number gets the first from 3 on that no other file
/// has.
/// At the moment when COMMAND starts, the session is finished: the files are COMMAND's, and
/// can be preserved again. As much as a session can be finished then: if a file handler is not
/// ready, the kernel keeps the session.
///
/// COMMAND is told in the way of sd_listen_fds(3): LISTEN_FDS is the number of files from
/// descriptor 3 on without a gap, LISTEN_FDNAMES their tokens as they were written here, with
/// colons between them, LISTEN_PID the process. What lies behind a gap or below 3 is not counted;
/// COMMAND has to know it. The three are not set if there is no file at 3. Descriptors that
/// luoctl itself was passed in this way stay in front of them.
///
/// A session that has files which are not asked for is left alone if the kernel shows them
/// (--discard: they are dropped). If anything fails before COMMAND starts, nothing is lost: a process
/// keeps the session, and the next `luoctl take` or `luoctl get` takes it over.
#[derive(Args)]
pub struct Arguments {
    /// The name of the session
    #[arg(value_parser = session_name)]
    name: Name,
    /// A file, and the number of its descriptor in COMMAND
    #[arg(value_name = "TOKEN[=FD]", required = true)]
    files: Vec<Wanted>,
    /// Drop the files of the session that are not asked for
    #[arg(long)]
    discard: bool,
    /// What to start
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A file that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Wanted {
    token: Token,
    /// The token as it was written.
    text: String,
    fd: Option<RawFd>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (token, fd) = match text.split_once('=') {
            Some((token, fd)) => (token, Some(fd)),
            None => (text, None),
        };
        let fd = fd.map(|fd| fd.parse::<u16>().map(RawFd::from));
        Ok(Self {
            token: token.parse().map_err(|error| format!("token: {error}"))?,
            text: token.to_owned(),
            fd: fd
                .transpose()
                .map_err(|error| format!("descriptor: {error}"))?,
        })
    }
}

/// The names of the descriptors that a service manager has passed to this process.
fn passed() -> Vec<String> {
    let variable = |name| env::var(name).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(process::id()) {
        return vec![];
    }
    let count = variable("LISTEN_FDS").parse::<u16>().unwrap_or_default();
    let names = variable("LISTEN_FDNAMES");
    let names = names.split(':').map(str::to_owned);
    let names = names.chain(iter::repeat(UNNAMED.to_owned()));
    names.take(count.into()).collect()
}

/// The descriptors of the program.
#[derive(Debug, Eq, PartialEq)]
struct Places<'a> {
    /// Those that were passed to us.
    passed: &'a [String],
    /// Each of the others, with the file that is wanted there.
    files: BTreeMap<RawFd, &'a Wanted>,
}

impl<'a> Places<'a> {
    fn of(wanted: &'a [Wanted], passed: &'a [String]) -> Result<Self, Failure> {
        let taken = |fd| Failure::new(Exit::Usage, format!("descriptor {fd} has a file already"));
        let free = (FIRST..).nth(passed.len()).unwrap_or(RawFd::MAX);
        let mut files = BTreeMap::new();
        for file in wanted {
            if let Some(fd) = file.fd {
                if (FIRST..free).contains(&fd) || files.insert(fd, file).is_some() {
                    return Err(taken(fd));
                }
            }
        }
        let mut next = free;
        for file in wanted.iter().filter(|file| file.fd.is_none()) {
            while files.contains_key(&next) {
                next += 1;
            }
            files.insert(next, file);
        }
        Ok(Self { passed, files })
    }

    /// The names of the descriptors from the first one on, up to a gap.
    fn listed(&self) -> Vec<&'a str> {
        let files = (FIRST..)
            .skip(self.passed.len())
            .map_while(|fd| self.files.get(&fd))
            .map(|file| file.text.as_str());
        self.passed
            .iter()
            .map(String::as_str)
            .chain(files)
            .collect()
    }

    /// The lowest number above all files.
    fn end(&self) -> RawFd {
        self.files.last_key_value().map_or(FIRST, |(fd, _)| fd + 1)
    }
}

impl Arguments {
    pub fn run(self) -> Outcome {
        let program = Program::new(&self.command)?;
        let passed = passed();
        let places = Places::of(&self.files, &passed)?;
        let _reserved = reserve(places.end()).trying("descriptors")?;
        let session = device::retrieve(&self.name)?;
        or_keep(session, &self.name, |session| {
            self.start(&program, &places, session)
        })
    }

    /// Becomes the program: comes back only if that fails.
    fn start(&self, program: &Program, places: &Places<'_>, session: &Session) -> Outcome {
        self.nothing_forgotten(session)?;
        let mut mappings = vec![];
        for (&child_fd, file) in &places.files {
            let retrieved = session.retrieve_fd(file.token);
            let parent_fd = retrieved.map_err(|error| of_file(error, file.token))?;
            mappings.push(FdMapping {
                parent_fd,
                child_fd,
            });
        }

        let mut command = program.command();
        let listed = places.listed();
        if !listed.is_empty() {
            command
                .env("LISTEN_PID", process::id().to_string())
                .env("LISTEN_FDS", listed.len().to_string())
                .env("LISTEN_FDNAMES", listed.join(":"));
        }
        let mapped = command.fd_mappings(mappings);
        let command = mapped.map_err(|error| Failure::new(Exit::Usage, error))?;
        // The session's own descriptors are closed by this, which finishes it.
        Err(program.not_started(command.exec()))
    }

    /// Refuses if the session is seen to have files that nobody asked for.
    fn nothing_forgotten(&self, session: &Session) -> Result<(), Failure> {
        let shown = observe::session(session.as_fd()).trying("the session's fdinfo")?;
        let asked_for = |token| self.files.iter().any(|file| file.token == token);
        let forgotten: Vec<_> = shown
            .iter()
            .flat_map(|shown| &shown.files)
            .filter(|file| !asked_for(file.token))
            .map(|file| file.token.to_string())
            .collect();
        if self.discard || forgotten.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the session has more files, to be taken too, or dropped (--discard): {}",
            forgotten.join(", ")
        );
        Err(Failure::new(Exit::Usage, message))
    }
}

/// Takes the numbers below `end` that are free, so that no descriptor of ours gets one that is given
/// to the program, and is closed by that.
fn reserve(end: RawFd) -> io::Result<Vec<File>> {
    let mut reserved = vec![];
    loop {
        let file = File::open("/dev/null")?;
        if file.as_raw_fd() >= end {
            return Ok(reserved);
        }
        reserved.push(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(texts: &[&str]) -> Result<Vec<Wanted>, String> {
        texts.iter().map(|text| text.parse()).collect()
    }

    #[test]
    fn numbers_and_names() -> Result<(), String> {
        for (texts, fds, listed) in [
            (&["1", "0x2"][..], &[3, 4][..], &["1", "0x2"][..]),
            (&["1=4", "2"], &[3, 4], &["2", "1"]),
            (&["1=3", "2=5"], &[3, 5], &["1"]),
            (&["1=0", "2=7"], &[0, 7], &[]),
            (&["1=4", "2", "3"], &[3, 4, 5], &["2", "1", "3"]),
        ] {
            let files = wanted(texts)?;
            let places = Places::of(&files, &[]).map_err(|error| error.to_string())?;
            assert!(places.files.keys().eq(fds), "{texts:?}");
            assert_eq!(places.listed(), listed);
        }
        Ok(())
    }

    #[test]
    fn one_descriptor_twice() -> Result<(), String> {
        assert!(Places::of(&wanted(&["1=3", "2=3"])?, &[]).is_err());
        Ok(())
    }

    #[test]
    fn behind_what_was_passed() -> Result<(), String> {
        let passed = ["http".to_owned(), "unknown".to_owned()];
        let files = wanted(&["1", "2=9", "3=6"])?;
        let places = Places::of(&files, &passed).map_err(|error| error.to_string())?;
        assert!(places.files.keys().eq(&[5, 6, 9]));
        assert_eq!(places.listed(), ["http", "unknown", "1", "3"]);
        assert!(Places::of(&wanted(&["1=4"])?, &passed).is_err());
        assert!(Places::of(&wanted(&["1=2"])?, &passed).is_ok());
        Ok(())
    }

    #[test]
    fn what_is_wrong() {
        for text in ["", "=3", "1=", "1=x", "1=-1", "1=70000", "token"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
