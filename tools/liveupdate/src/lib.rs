// SPDX-License-Identifier: GPL-2.0

//! `/dev/liveupdate` as owned values, so that a program carries its files across a live update
//! without an ioctl in sight.
//!
//! A [`Device`] makes [`Session`]s; a session holds files under tokens that the program chooses.
//! What a session holds at the time of the kexec can be retrieved from the next kernel by the
//! session's name and the file's token:
//!
//! ```no_run
//! use liveupdate::Device;
//! use std::{fs::File, os::fd::AsFd};
//!
//! # fn main() -> std::io::Result<()> {
//! # let file = File::open("/dev/zero")?;
//! // Before the kexec; the session has to stay open until then.
//! let session = Device::open()?.create_session(b"cache")?;
//! session.preserve_fd(file.as_fd(), 1)?;
//!
//! // In the next kernel.
//! let session = Device::open()?.retrieve_session(b"cache")?;
//! let file = File::from(session.retrieve_fd(1)?);
//! session.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Errors are the kernel's errnos. The [`raw`] module holds the structures and numbers of
//! `include/uapi/linux/liveupdate.h`.

pub mod kexec;
pub mod observe;
pub mod raw;

use nix::libc::EINVAL;
use raw::call;
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Where the kernel puts the device.
pub const DEVICE: &str = "/dev/liveupdate";

/// The open device, of which there is one at a time: a second open fails with `EBUSY`.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device, which makes the sessions of the previous kernel retrievable.
    pub fn open() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(DEVICE)?;
        Ok(Self(file.into()))
    }

    /// Creates a session to be handed to the next kernel.
    pub fn create_session(&self, name: &[u8]) -> io::Result<Session> {
        let mut arg = raw::CreateSession::new(name_field(name)?);
        call(self.as_fd(), &mut arg)?;
        // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
        Ok(Session(unsafe { owned(arg.fd) }))
    }

    /// Retrieves a session of the previous kernel; each can be retrieved once.
    pub fn retrieve_session(&self, name: &[u8]) -> io::Result<Session> {
        let mut arg = raw::RetrieveSession::new(name_field(name)?);
        call(self.as_fd(), &mut arg)?;
        // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
        Ok(Session(unsafe { owned(arg.fd) }))
    }
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
    /// Preserves an open file under `token`; for created sessions.
    pub fn preserve_fd(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut arg = raw::PreserveFd::new(fd.as_raw_fd(), token);
        call(self.as_fd(), &mut arg)
    }

    /// Retrieves the file preserved under `token`; for retrieved sessions.
    ///
    /// Asked again, the kernel gives another descriptor of the same open file.
    pub fn retrieve_fd(&self, token: u64) -> io::Result<OwnedFd> {
        let mut arg = raw::RetrieveFd::new(token);
        call(self.as_fd(), &mut arg)?;
        // SAFETY: The ioctl succeeded: `fd` is a new descriptor and nobody else's.
        Ok(unsafe { owned(arg.fd) })
    }

    /// Ends the kernel's hold on the files of a retrieved session and drops those not retrieved.
    pub fn finish(&self) -> io::Result<()> {
        call(self.as_fd(), &mut raw::Finish::default())
    }

    /// The session's name, without a NUL.
    pub fn name(&self) -> io::Result<Vec<u8>> {
        let mut arg = raw::GetName::default();
        call(self.as_fd(), &mut arg)?;
        let end = arg.name.iter().position(|&byte| byte == 0);
        Ok(arg.name[..end.unwrap_or(raw::NAME_LENGTH)].to_vec())
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes over a session's descriptor, wherever it comes from: a socket, systemd's store, a parent.
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

/// Pads `name` with NULs, of which there has to be room for one; an inner NUL would cut it short.
fn name_field(name: &[u8]) -> io::Result<[u8; raw::NAME_LENGTH]> {
    if name.len() >= raw::NAME_LENGTH || name.contains(&0) {
        return Err(io::Error::from_raw_os_error(EINVAL));
    }
    let mut field = [0; raw::NAME_LENGTH];
    field[..name.len()].copy_from_slice(name);
    Ok(field)
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

#[cfg(test)]
mod tests {
    use super::name_field;

    #[test]
    fn names_leave_room_for_their_nul() {
        assert!(name_field(&[b'a'; 63]).is_ok_and(|field| field[63] == 0));
        assert!(name_field(&[b'a'; 64]).is_err());
        assert!(name_field(b"a\0b").is_err());
    }
}
