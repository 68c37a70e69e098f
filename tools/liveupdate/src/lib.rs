// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! `/dev/liveupdate` as owned values, so that a program carries its files across a live update
//! without an ioctl in sight.
//!
//! A live update is a kexec: the kernel reboots into another one, and all programs with it, but
//! memory that was preserved stays where it is. What a program has in files of the right kind,
//! memfds above all, it can give to Linux's Live Update Orchestrator (LUO), and take back in the
//! next kernel.
//!
//! # Before the kexec
//!
//! A [`Device`] makes [`Session`]s; a session holds files under tokens that the program chooses:
//!
//! ```no_run
//! use liveupdate::Device;
//! # use std::fs::File;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = File::open("/dev/zero")?;
//! let session = Device::open()?.create_session("cache")?;
//! session.preserve_fd(&file, 1)?;
//! # Ok(())
//! # }
//! ```
//!
//! - One process at a time has the device open: it is closed again here at once.
//! - Dropping a session gives up what it holds, so keep it until the kexec, or have it kept: by
//!   another process, or by [`systemd`].
//! - A preserved file can still be used, but a memfd keeps its size from now on. What is written
//!   until the reboot arrives.
//! - The next kernel has to be loaded by `kexec_file_load(2)`, as [`kexec::load`] does.
//!
//! # In the next kernel
//!
//! The session is asked for by its name, its files by their tokens:
//!
//! ```no_run
//! use liveupdate::Device;
//! use std::fs::File;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Device::open()?.retrieve_session("cache")?;
//! let file = File::from(session.retrieve_fd(1)?);
//! session.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! - Until the session is finished, or dropped, its files cannot be preserved once more.
//! - To finish it drops the files that nobody has retrieved. So retrieve all of them first;
//!   [`Session::files`] lists them where the kernel does, and a [`manifest`] anywhere.
//! - Retrieved descriptors are close-on-exec.
//! - A first start, and a kernel without LUO, are no failures: tell them from others by
//!   [`Error::kind`].
//!
//! An [`Error`] says what to do; below it are the kernel's errnos. [`observe`] looks at live update
//! without touching it. [`raw`] holds the structures and numbers of
//! `include/uapi/linux/liveupdate.h`.

#![warn(missing_docs)]
#![forbid(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod error;
pub mod kexec;
pub mod manifest;
pub mod observe;
pub mod ram;
pub mod raw;
pub mod systemd;

pub use error::{Error, ErrorKind, Result};
pub use observe::{Name, Token};

use error::{name_field, Tried};
use nix::errno::Errno;
use raw::call;
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Where the kernel puts the device.
pub const DEVICE: &str = "/dev/liveupdate";

/// The open device, of which there is one at a time.
///
/// Sessions do not need it: close it as soon as they are made, for others to have it.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device, which makes the sessions of the previous kernel retrievable.
    ///
    /// Fails with `ENOENT` if there is none ([`ErrorKind::NoLiveUpdate`]), `EACCES` if this user
    /// may not ([`ErrorKind::NotPermitted`]), `EBUSY` if it is open already
    /// ([`ErrorKind::DeviceBusy`]), and `EIO` if the sessions of the previous kernel cannot be
    /// restored ([`ErrorKind::NotRestored`]).
    pub fn open() -> Result<Self> {
        let opened = File::options().read(true).write(true).open(DEVICE);
        let file = opened.map_err(|error| Error::new(Tried::Open, error))?;
        Ok(Self(file.into()))
    }

    /// Creates a session to be handed to the next kernel.
    ///
    /// `name` has 1 to 63 bytes, none of them NUL. Fails with `EINVAL` if it is not like that
    /// ([`ErrorKind::InvalidName`]), and `EEXIST` if there is such a session
    /// ([`ErrorKind::SessionExists`]).
    pub fn create_session(&self, name: impl AsRef<[u8]>) -> Result<Session> {
        let name = name.as_ref();
        session(name, |field| {
            let mut arg = raw::CreateSession::new(field);
            call(self.as_fd(), &mut arg)?;
            // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
            Ok(unsafe { owned(arg.fd) })
        })
        .map_err(|error| Error::new(Tried::Create(name.into()), error))
    }

    /// Retrieves a session of the previous kernel; each can be retrieved once.
    ///
    /// Fails with `ENOENT` if there is none of this name ([`ErrorKind::NoSession`]), and `EINVAL` if
    /// somebody has retrieved it ([`ErrorKind::SessionTaken`]).
    pub fn retrieve_session(&self, name: impl AsRef<[u8]>) -> Result<Session> {
        let name = name.as_ref();
        session(name, |field| {
            let mut arg = raw::RetrieveSession::new(field);
            call(self.as_fd(), &mut arg)?;
            // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
            Ok(unsafe { owned(arg.fd) })
        })
        .map_err(|error| Error::new(Tried::RetrieveSession(name.into()), error))
    }
}

/// Asks for a session by its name.
fn session(
    name: &[u8],
    ask: impl FnOnce([u8; raw::NAME_LENGTH]) -> io::Result<OwnedFd>,
) -> io::Result<Session> {
    ask(name_field(name).ok_or(Errno::EINVAL)?).map(Session)
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A created or a retrieved session.
///
/// Dropping a created one gives up what it preserves; dropping a retrieved one finishes it.
#[derive(Debug)]
pub struct Session(OwnedFd);

impl Session {
    /// Takes over a descriptor that has to be one of a session, wherever it comes from: a socket, a
    /// service manager, a parent.
    ///
    /// Fails with the errno of the ioctl if it is not ([`ErrorKind::NotASession`]); then it is
    /// closed. `From<OwnedFd>` does not ask.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let session = Self(fd);
        session.name()?;
        Ok(session)
    }

    /// Preserves an open file under a token of the caller's choice; for created sessions.
    ///
    /// Fails with `EEXIST` if the token is taken ([`ErrorKind::TokenExists`]), `ENOENT` if no file
    /// handler preserves such a file ([`ErrorKind::NotPreservable`]), `EBUSY` if it is preserved
    /// already ([`ErrorKind::FilePreserved`]), `EINVAL` in a retrieved session
    /// ([`ErrorKind::WrongDirection`]), `ENOMEM`, or what the file's handler answers.
    pub fn preserve_fd(&self, fd: impl AsFd, token: impl Into<Token>) -> Result<()> {
        let token = token.into();
        let mut arg = raw::PreserveFd::new(fd.as_fd().as_raw_fd(), token.0);
        call(self.as_fd(), &mut arg).map_err(|error| Error::new(Tried::Preserve(token), error))
    }

    /// Retrieves the file preserved under `token`; for retrieved sessions.
    ///
    /// Asked again, the kernel gives another descriptor of the same open file. Several threads may
    /// ask at once. Fails with `ENOENT` if there is no such file ([`ErrorKind::NoFile`]), `EINVAL`
    /// in a created session ([`ErrorKind::WrongDirection`]), or what the file's handler answers,
    /// then and ever after.
    pub fn retrieve_fd(&self, token: impl Into<Token>) -> Result<OwnedFd> {
        let token = token.into();
        let mut arg = raw::RetrieveFd::new(token.0);
        call(self.as_fd(), &mut arg).map_err(|error| Error::new(Tried::Retrieve(token), error))?;
        // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
        Ok(unsafe { owned(arg.fd) })
    }

    /// Ends the kernel's hold on the files of a retrieved session and drops those not retrieved.
    ///
    /// Fails with `EBUSY` if a file's handler cannot let go of it yet
    /// ([`ErrorKind::NotFinished`]), and `EINVAL` in a created session
    /// ([`ErrorKind::WrongDirection`]); then nothing has changed.
    pub fn finish(&self) -> Result<()> {
        let finished = call(self.as_fd(), &mut raw::Finish::default());
        finished.map_err(|error| Error::new(Tried::Finish, error))
    }

    /// The session's name, without a NUL.
    ///
    /// Fails if the descriptor is not one of a session ([`ErrorKind::NotASession`]).
    pub fn name(&self) -> Result<Vec<u8>> {
        let mut arg = raw::GetName::default();
        call(self.as_fd(), &mut arg).map_err(|error| Error::new(Tried::Name, error))?;
        let end = arg.name.iter().position(|&byte| byte == 0);
        Ok(arg.name[..end.unwrap_or(raw::NAME_LENGTH)].to_vec())
    }

    /// The session's files, in the order in which they were preserved, as its fdinfo shows them.
    ///
    /// Fails without an errno if the kernel shows none ([`ErrorKind::NotShown`]), as the LUO in C
    /// does: then the tokens have to be known, or a [`manifest`] tells them.
    pub fn files(&self) -> Result<Vec<observe::File>> {
        let shown = observe::session(self.as_fd()).and_then(|shown| {
            let none = "this kernel does not show them";
            shown.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, none))
        });
        let shown = shown.map_err(|error| Error::new(Tried::Files, error))?;
        Ok(shown.files)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes over a session's descriptor without asking what it is of; [`Session::from_fd`] asks.
impl From<OwnedFd> for Session {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Session> for OwnedFd {
    fn from(session: Session) -> Self {
        session.0
    }
}

/// Takes over a descriptor that the kernel just made.
///
/// # Safety
///
/// `fd` is open and has no other owner.
unsafe fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: By this function's requirement.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session() -> io::Result<()> {
        let null = || File::open("/dev/null").map(OwnedFd::from);
        let refused = Session::from_fd(null()?).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(ErrorKind::NotASession));
        let session = Session::from(null()?);
        let shown = session.files().map_err(|error| error.kind());
        assert_eq!(shown, Err(ErrorKind::NotShown));
        Ok(())
    }
}
