// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What `/proc/PID/fdinfo` tells of a session's descriptor.

use super::{malformed, word, Direction, Name, SessionState, Token};
use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::Path,
};

/// A session, as its descriptor shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SessionInfo {
    /// Its name.
    pub name: Name,
    /// Which way it goes.
    pub direction: Direction,
    /// How far it has come.
    pub state: SessionState,
    /// How many files it has; while others change the session, not exactly those below.
    pub count: u64,
    /// Its files, in the order in which they were preserved.
    pub files: Vec<File>,
}

/// A file of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct File {
    /// What it is asked for by.
    pub token: Token,
    /// The compatible string of its handler; `-` if that is not known while it is at work.
    pub handler: Name,
    /// How far it has come.
    pub state: FileState,
    /// Why it failed, if it did.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub errno: Option<i32>,
}

/// How far a file has come.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum FileState {
    /// Its handler is preserving it.
    Preserving,
    /// It is preserved, and in use.
    Preserved,
    /// It does not change any more: a reboot is under way.
    Frozen,
    /// Nobody has asked for it yet.
    Waiting,
    /// Its handler is retrieving it.
    Retrieving,
    /// It was retrieved.
    Retrieved,
    /// Its handler is finishing it.
    Finishing,
    /// Its handler refused, as [`File::errno`] tells: to retrieve it, or, if it is outgoing, to
    /// freeze it for the last reboot; then the next one may do.
    Failed,
    /// A state of a newer kernel.
    #[cfg_attr(feature = "serde", serde(untagged))]
    Other(String),
}

words!(FileState {
    Preserving = "preserving",
    Preserved = "preserved",
    Frozen = "frozen",
    Waiting = "waiting",
    Retrieving = "retrieving",
    Retrieved = "retrieved",
    Finishing = "finishing",
    Failed = "failed";
    Other
});

/// What this process's descriptor of a session shows, if the kernel shows anything of it.
pub fn session(session: BorrowedFd<'_>) -> io::Result<Option<SessionInfo>> {
    read(Path::new("/proc/self/fdinfo"), session.as_raw_fd())
}

/// The same of a descriptor of any process.
pub fn session_of(pid: u32, fd: RawFd) -> io::Result<Option<SessionInfo>> {
    read(Path::new(&format!("/proc/{pid}/fdinfo")), fd)
}

fn read(directory: &Path, fd: RawFd) -> io::Result<Option<SessionInfo>> {
    SessionInfo::parse(&fs::read(directory.join(fd.to_string()))?)
}

impl SessionInfo {
    /// Reads the text of a session's fdinfo; `None` if there is nothing of LUO in it.
    pub fn parse(text: &[u8]) -> io::Result<Option<Self>> {
        let (mut name, mut direction, mut state, mut count) = (None, None, None, None);
        let mut files = vec![];
        for line in text.split(|&byte| byte == b'\n') {
            let Some(end) = line.windows(2).position(|bytes| bytes == b":\t") else {
                continue;
            };
            let (key, value) = (&line[..end], &line[end + 2..]);
            match key {
                b"luo-session" => name = Some(Name::unescape(value)),
                b"luo-direction" => direction = Some(word("direction", value)?),
                b"luo-state" => state = Some(word("state of a session", value)?),
                b"luo-files" => count = Some(word("number of files", value)?),
                b"luo-file" => files.push(File::parse(value)?),
                _ => {}
            }
        }
        let Some(name) = name else { return Ok(None) };
        match (direction, state, count) {
            (Some(direction), Some(state), Some(count)) => Ok(Some(Self {
                name,
                direction,
                state,
                count,
                files,
            })),
            _ => Err(malformed("direction, state or number of files", text)),
        }
    }
}

impl File {
    /// Reads `0xTOKEN HANDLER STATE`, or `0xTOKEN HANDLER failed ERRNO`.
    fn parse(text: &[u8]) -> io::Result<Self> {
        let words: Vec<_> = text.split(|&byte| byte == b' ').collect();
        let (&[token, handler, state], rest) = words
            .split_first_chunk()
            .ok_or_else(|| malformed("file", text))?;
        let state = word("state of a file", state)?;
        let errno = match state {
            FileState::Failed => rest.first().map(|errno| word("errno", errno)),
            // What a newer kernel has to say of another state is not known here.
            _ => None,
        };
        Ok(Self {
            token: word("token", token)?,
            handler: Name::unescape(handler),
            state,
            errno: errno.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTGOING: &[u8] = b"pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\n\
        luo-session:\tguest\\040ram\n\
        luo-direction:\toutgoing\nluo-state:\tcreated\nluo-files:\t3\n\
        luo-file:\t0x1 memfd-v2 preserved\n\
        luo-file:\t0xffffffffffffffff odd\\040name frozen\n\
        luo-file:\t0x2 memfd-v2 failed 16\n";

    #[test]
    fn a_session_with_files() -> io::Result<()> {
        let session = SessionInfo::parse(OUTGOING)?.expect("a session");
        assert_eq!(session.name, Name::from("guest ram"));
        assert_eq!(session.direction, Direction::Outgoing);
        assert_eq!(session.state, SessionState::Created);
        assert_eq!(session.count, 3);
        let file = |token, handler: &str, state, errno| File {
            token: Token(token),
            handler: handler.into(),
            state,
            errno,
        };
        assert_eq!(
            session.files,
            [
                file(1, "memfd-v2", FileState::Preserved, None),
                file(u64::MAX, "odd name", FileState::Frozen, None),
                file(2, "memfd-v2", FileState::Failed, Some(16)),
            ]
        );
        Ok(())
    }

    #[test]
    fn every_state() -> io::Result<()> {
        for (text, due) in [
            ("preserving", FileState::Preserving),
            ("preserved", FileState::Preserved),
            ("frozen", FileState::Frozen),
            ("waiting", FileState::Waiting),
            ("retrieving", FileState::Retrieving),
            ("retrieved", FileState::Retrieved),
            ("finishing", FileState::Finishing),
            ("failed", FileState::Failed),
            ("thawing", FileState::Other("thawing".into())),
        ] {
            let file = File::parse(format!("0x0 h {text}").as_bytes())?;
            assert_eq!(file.errno, None);
            assert_eq!(file.state, due);
            assert_eq!(file.state.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn a_kernel_that_shows_more() -> io::Result<()> {
        let text = String::from_utf8_lossy(OUTGOING)
            .replace("preserved", "thawing 3 ms")
            .replace("luo-files", "luo-new:\tx\nluo-files");
        let session = SessionInfo::parse(text.as_bytes())?.expect("a session");
        assert_eq!(session.files[0].state.to_string(), "thawing");
        assert_eq!(session.files[2].errno, Some(16));
        Ok(())
    }

    #[test]
    fn a_kernel_that_shows_nothing() {
        let text = b"pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\n";
        assert!(SessionInfo::parse(text).is_ok_and(|session| session.is_none()));
        assert!(SessionInfo::parse(b"").is_ok_and(|session| session.is_none()));
    }

    #[test]
    fn what_means_nothing() {
        let replaced = |from: &str, to: &str| {
            String::from_utf8_lossy(OUTGOING)
                .replacen(from, to, 1)
                .into_bytes()
        };
        for text in [
            replaced("outgoing", "sideways"),
            replaced("luo-state:\tcreated\n", ""),
            replaced("luo-files:\t3", "luo-files:\tmany"),
            replaced("0x1 memfd-v2 preserved", "0x1 memfd-v2"),
            replaced("0x1", "0xyz"),
            replaced("failed 16", "failed EBUSY"),
        ] {
            let kind = SessionInfo::parse(&text).map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::InvalidData));
        }
    }
}
