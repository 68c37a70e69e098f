// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Errors that say what to do: the errno of an operation, and what it means there.

use crate::{
    observe::{self, Debugfs, Handover, Name, Process, Token, What},
    raw, DEVICE,
};
use nix::errno::Errno;
use std::{
    fmt::{self, Display, Formatter},
    io,
};

/// What [`Error`]s of this crate come with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something of live update could not be done.
///
/// Shown, it says what was tried, [why](Self::reason) that failed, and [what helps](Self::advice).
/// Who has the device or a session is looked up only then, so that to be refused and to try again
/// costs nothing more.
///
/// Programs match on [`kind`](Self::kind), or on [`raw_os_error`](Self::raw_os_error). By `?` it
/// becomes an [`io::Error`] of the same errno.
///
/// ```no_run
/// use liveupdate::{Device, ErrorKind};
///
/// let device = match Device::open() {
///     Err(error) if error.kind() == ErrorKind::NoLiveUpdate => return, // Start anew.
///     Err(error) => panic!("{error}"), // /dev/liveupdate is open in luoctl(123)
///     Ok(device) => device,
/// };
/// ```
#[derive(Debug)]
pub struct Error {
    tried: Tried,
    source: io::Error,
}

/// What was tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tried {
    Open,
    Create(Name),
    RetrieveSession(Name),
    Name,
    Files,
    Preserve(Token),
    Retrieve(Token),
    Finish,
    Manifest,
    Receive,
    Notify,
    Keep(Name),
}

/// Why something could not be done, for programs to match on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no `/dev/liveupdate`: the kernel has no LUO, or `liveupdate=on` is missing.
    NoLiveUpdate,
    /// The device is not for this user.
    NotPermitted,
    /// Somebody has the device open: close it, or try again.
    DeviceBusy,
    /// The sessions of the previous kernel cannot be restored.
    NotRestored,
    /// No session can have this name.
    InvalidName,
    /// There is a session of this name already.
    SessionExists,
    /// The previous kernel handed over no such session.
    NoSession,
    /// Somebody has retrieved the session already.
    SessionTaken,
    /// The descriptor is not one of a session.
    NotASession,
    /// The session goes the other way: created ones preserve, retrieved ones give back. Or the
    /// handler of the file answered in the same way.
    WrongDirection,
    /// The session has a file of this token already.
    TokenExists,
    /// No file handler preserves such a file.
    NotPreservable,
    /// The file is preserved already, here or in another session.
    FilePreserved,
    /// The session has no file of this token.
    NoFile,
    /// A file's handler cannot let go of it yet: try again.
    NotFinished,
    /// The kernel does not show it.
    NotShown,
    /// No service manager keeps anything for this process.
    NoServiceManager,
    /// What was read cannot be believed, or what is to be written would not be.
    Malformed,
    /// What was read is of a later version of its format.
    TooNew,
    /// Anything else, as the errno tells.
    Other,
}

impl Error {
    pub(crate) fn new(tried: Tried, source: impl Into<io::Error>) -> Self {
        Self {
            tried,
            source: source.into(),
        }
    }

    /// The kernel's errno, if it is an error of the kernel's, or like one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn errno(&self) -> Option<Errno> {
        self.raw_os_error().map(Errno::from_raw)
    }

    /// What the error comes to.
    pub fn kind(&self) -> ErrorKind {
        use ErrorKind as Kind;
        match (&self.tried, self.errno()) {
            (Tried::Open, Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO)) => Kind::NoLiveUpdate,
            (Tried::Open, Some(Errno::EACCES | Errno::EPERM)) => Kind::NotPermitted,
            (Tried::Open, Some(Errno::EBUSY)) => Kind::DeviceBusy,
            (Tried::Open, Some(Errno::EIO)) => Kind::NotRestored,
            (Tried::Create(_), Some(Errno::EEXIST)) => Kind::SessionExists,
            (Tried::Create(_), Some(Errno::EINVAL)) => Kind::InvalidName,
            (Tried::RetrieveSession(_), Some(Errno::ENOENT)) => Kind::NoSession,
            (Tried::RetrieveSession(name), Some(Errno::EINVAL)) => {
                match name_field(name.as_bytes()) {
                    Some(_) => Kind::SessionTaken,
                    None => Kind::InvalidName,
                }
            }
            (Tried::Name, Some(Errno::ENOTTY | Errno::EINVAL | Errno::EBADF)) => Kind::NotASession,
            (Tried::Preserve(_), Some(Errno::EEXIST)) => Kind::TokenExists,
            (Tried::Preserve(_), Some(Errno::ENOENT)) => Kind::NotPreservable,
            (Tried::Preserve(_), Some(Errno::EBUSY)) => Kind::FilePreserved,
            (Tried::Retrieve(_), Some(Errno::ENOENT)) => Kind::NoFile,
            (Tried::Preserve(_) | Tried::Retrieve(_) | Tried::Finish, Some(Errno::EINVAL)) => {
                Kind::WrongDirection
            }
            (Tried::Finish, Some(Errno::EBUSY)) => Kind::NotFinished,
            (_, Some(_)) => Kind::Other,
            (_, None) => match self.source.kind() {
                io::ErrorKind::InvalidData => Kind::Malformed,
                io::ErrorKind::NotConnected => Kind::NoServiceManager,
                io::ErrorKind::Unsupported if self.tried == Tried::Manifest => Kind::TooNew,
                io::ErrorKind::Unsupported => Kind::NotShown,
                _ => Kind::Other,
            },
        }
    }

    /// Which processes have now what somebody else has: the device that is busy, the session that
    /// is taken or exists. Those that this process may not look into are not seen.
    pub fn holders(&self) -> Vec<Process> {
        match (self.kind(), &self.tried) {
            (ErrorKind::DeviceBusy, _) => observe::holders(&What::Device),
            (
                ErrorKind::SessionExists | ErrorKind::SessionTaken,
                Tried::Create(name) | Tried::RetrieveSession(name),
            ) => observe::holders(&What::Session(name.clone())),
            _ => vec![],
        }
    }

    /// Who has it, behind a word, if that can be seen.
    fn held(&self, word: &str) -> String {
        match self.holders().as_slice() {
            [] => String::new(),
            holders => format!("{word} {}", observe::people(holders)),
        }
    }

    /// Why, without the token or whatever else was tried, for who has words of his own for that.
    pub fn reason(&self) -> String {
        match (self.kind(), &self.tried) {
            (ErrorKind::NoLiveUpdate, _) => {
                format!("there is no {DEVICE}: live update is off, or this kernel has none")
            }
            (ErrorKind::NotPermitted, _) => {
                format!("no permission to open {DEVICE}: it is for root")
            }
            (ErrorKind::DeviceBusy, _) => match self.held(" in").as_str() {
                "" => format!("{DEVICE} is open in another process, which cannot be seen from here"),
                people => format!("{DEVICE} is open{people}"),
            },
            (ErrorKind::NotRestored, _) => match handover() {
                Some(Handover::Refused(why)) => format!("this kernel {why}"),
                _ => "the sessions of the previous kernel cannot be restored: the kernel's log has \
                      the reason"
                    .into(),
            },
            (ErrorKind::InvalidName, _) => format!(
                "the name of a session has 1 to {} bytes, and no NUL",
                raw::NAME_LENGTH - 1
            ),
            (ErrorKind::SessionExists, Tried::Create(name)) => {
                format!("there is a session '{name}' already{}", self.held(", in"))
            }
            (ErrorKind::NoSession, Tried::RetrieveSession(name)) => {
                format!("there is no session '{name}' of the previous kernel")
            }
            (ErrorKind::SessionTaken, Tried::RetrieveSession(name)) => {
                format!("session '{name}' has been retrieved{}", self.held(" by"))
            }
            (ErrorKind::NotASession, _) => "the descriptor is none of a session".into(),
            (ErrorKind::WrongDirection, Tried::Preserve(_)) => {
                "the session is one of the previous kernel, or the file cannot be preserved as it is"
                    .into()
            }
            (ErrorKind::WrongDirection, Tried::Retrieve(_)) => {
                "the session is one of this kernel, or the handler of the file cannot make it again"
                    .into()
            }
            (ErrorKind::WrongDirection, _) => "the session is one of this kernel".into(),
            (ErrorKind::TokenExists, _) => "the session has a file of this token".into(),
            (ErrorKind::NotPreservable, _) => "no file handler preserves such a file".into(),
            (ErrorKind::FilePreserved, _) => {
                "it is preserved already, or was retrieved from a session that is not finished"
                    .into()
            }
            (ErrorKind::NoFile, _) => "the session has no such file".into(),
            (ErrorKind::NotFinished, _) => "the handler of a file cannot let go of it yet".into(),
            _ => self.source.to_string(),
        }
    }

    /// What helps, or helps to understand, if there is more to say than the reason.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self.kind() {
            ErrorKind::NoLiveUpdate => {
                "kho=on liveupdate=on on the kernel's command line switch it on"
            }
            ErrorKind::DeviceBusy => "there is one at a time: try again when that is closed",
            ErrorKind::NotRestored if handover()? == Handover::Pending => {
                "load the modules of their file handlers, and try again"
            }
            ErrorKind::NoSession if handover()? == Handover::None => "it handed over none at all",
            ErrorKind::NotFinished => "nothing has changed: try again",
            _ => return None,
        })
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.tried, self.kind()) {
            (Tried::Preserve(token) | Tried::Retrieve(token), _) => write!(f, "file {token}: ")?,
            (Tried::Name, _) => f.write_str("the session's name: ")?,
            (Tried::Files, _) => f.write_str("the session's files: ")?,
            (Tried::Manifest, _) => f.write_str("manifest: ")?,
            (Tried::Receive, _) => f.write_str("passed descriptors: ")?,
            (Tried::Notify, _) => f.write_str("service manager: ")?,
            (Tried::Keep(name), _) => write!(f, "descriptor '{name}' of the service: ")?,
            (Tried::Finish, _) => f.write_str("finishing the session: ")?,
            (Tried::Open, ErrorKind::Other) => write!(f, "{DEVICE}: ")?,
            (Tried::Create(name) | Tried::RetrieveSession(name), ErrorKind::Other) => {
                write!(f, "session '{name}': ")?;
            }
            _ => {}
        }
        f.write_str(&self.reason())?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Keeps the errno; what has none keeps its words.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_raw_os_error(errno),
            None => Self::new(error.source.kind(), error),
        }
    }
}

/// What became of what the previous kernel handed over, if that can be seen.
fn handover() -> Option<Handover> {
    Debugfs::default().handover().ok()
}

/// A name padded with NULs, of which there has to be room for one; an inner NUL would cut it short.
pub(crate) fn name_field(name: &[u8]) -> Option<[u8; raw::NAME_LENGTH]> {
    if name.len() >= raw::NAME_LENGTH || name.contains(&0) {
        return None;
    }
    let mut field = [0; raw::NAME_LENGTH];
    field[..name.len()].copy_from_slice(name);
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(tried: Tried, errno: Errno) -> Error {
        Error::new(tried, errno)
    }

    #[test]
    fn names_leave_room_for_their_nul() {
        assert!(name_field(&[b'a'; 63]).is_some_and(|field| field[63] == 0));
        assert!(name_field(&[b'a'; 64]).is_none());
        assert!(name_field(b"a\0b").is_none());
    }

    #[test]
    fn one_errno_means_many_things() {
        let name = || Name::from("vm");
        let (token, long) = (Token(31), Name::from(&[b'a'; 64][..]));
        for (tried, errno, kind, text) in [
            (
                Tried::Open,
                Errno::EACCES,
                ErrorKind::NotPermitted,
                "no permission to open /dev/",
            ),
            (
                Tried::Open,
                Errno::EBUSY,
                ErrorKind::DeviceBusy,
                "/dev/liveupdate is open in ",
            ),
            (
                Tried::Open,
                Errno::EIO,
                ErrorKind::NotRestored,
                "the sessions of the previous kernel",
            ),
            (
                Tried::Open,
                Errno::ENOENT,
                ErrorKind::NoLiveUpdate,
                "there is no /dev/liveupdate: ",
            ),
            (
                Tried::Open,
                Errno::EMFILE,
                ErrorKind::Other,
                "/dev/liveupdate: ",
            ),
            (
                Tried::Create(name()),
                Errno::EEXIST,
                ErrorKind::SessionExists,
                "there is a session 'vm' already",
            ),
            (
                Tried::Create(long.clone()),
                Errno::EINVAL,
                ErrorKind::InvalidName,
                "the name of a",
            ),
            (
                Tried::Create(name()),
                Errno::ENOMEM,
                ErrorKind::Other,
                "session 'vm': ",
            ),
            (
                Tried::RetrieveSession(name()),
                Errno::ENOENT,
                ErrorKind::NoSession,
                "there is no session 'vm' of the previous kernel",
            ),
            (
                Tried::RetrieveSession(name()),
                Errno::EINVAL,
                ErrorKind::SessionTaken,
                "session 'vm' has been retrieved",
            ),
            (
                Tried::RetrieveSession(long),
                Errno::EINVAL,
                ErrorKind::InvalidName,
                "the name of a",
            ),
            (
                Tried::Name,
                Errno::ENOTTY,
                ErrorKind::NotASession,
                "the session's name: the desc",
            ),
            (
                Tried::Preserve(token),
                Errno::EBUSY,
                ErrorKind::FilePreserved,
                "file 0x1f: it is ",
            ),
            (
                Tried::Preserve(token),
                Errno::EEXIST,
                ErrorKind::TokenExists,
                "file 0x1f: the sess",
            ),
            (
                Tried::Preserve(token),
                Errno::ENOENT,
                ErrorKind::NotPreservable,
                "file 0x1f: no fi",
            ),
            (
                Tried::Preserve(token),
                Errno::EINVAL,
                ErrorKind::WrongDirection,
                "file 0x1f: the s",
            ),
            (
                Tried::Preserve(token),
                Errno::ENOMEM,
                ErrorKind::Other,
                "file 0x1f: ",
            ),
            (
                Tried::Retrieve(token),
                Errno::ENOENT,
                ErrorKind::NoFile,
                "file 0x1f: the session ",
            ),
            (
                Tried::Retrieve(token),
                Errno::EINVAL,
                ErrorKind::WrongDirection,
                "file 0x1f: the s",
            ),
            (
                Tried::Finish,
                Errno::EBUSY,
                ErrorKind::NotFinished,
                "finishing the session: the h",
            ),
        ] {
            let error = error(tried, errno);
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.to_string().starts_with(text), "{error}");
            assert_eq!(io::Error::from(error).raw_os_error(), Some(errno as i32));
        }
    }

    #[test]
    fn what_has_no_errno_keeps_its_words() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "no manifest");
        let error = Error::new(Tried::Retrieve(Token(1)), source);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.raw_os_error(), None);
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "file 0x1: no manifest");
    }
}
