// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Descriptors that a service manager passes on, and those that it keeps: systemd 261 and later
//! carries the store of a service through a live update, so that a service needs no device.
//!
//! A service whose unit has `FileDescriptorStoreMax=` stores a descriptor, and gets it back at its
//! next start, whether it was restarted or the kernel was changed below it. Descriptors of
//! [`Session`]s are stored and passed like any other:
//!
//! ```no_run
//! use liveupdate::{
//!     systemd::{received, Store},
//!     Device, Session,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut files = received()?;
//! let session = match files.iter().position(|file| file.name == "vm") {
//!     Some(place) => files.swap_remove(place).session()?,
//!     None => {
//!         let session = Device::open()?.create_session("vm")?;
//!         Store::of_service()?.keep("vm", &session)?;
//!         session
//!     }
//! };
//! # Ok(())
//! # }
//! ```
//!
//! The environment is left as it is, as a program with threads cannot change it safely. That harms
//! no child, whose process id is not in `LISTEN_PID`; but what this process becomes by `exec()` has
//! its id, and gets none of the descriptors: remove `LISTEN_PID`, `LISTEN_FDS` and
//! `LISTEN_FDNAMES` from its environment.

use crate::{error::Tried, Error, Name, Result, Session};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{sendmsg, ControlMessage, MsgFlags},
};
use std::{
    env,
    ffi::OsStr,
    io::{self, ErrorKind, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// What a descriptor without a name is called.
const UNNAMED: &str = "unknown";

/// How long the name of a descriptor can be.
const NAME_MAX: usize = 255;

/// A descriptor that was passed to this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// What it is called: a stored one as it was stored, a socket as its unit says; `unknown` if
    /// nobody has said.
    pub name: String,
    /// The descriptor, which is close-on-exec from now on.
    pub fd: OwnedFd,
}

impl Received {
    /// The session that it is a descriptor of; anything else is closed.
    ///
    /// Fails as [`Session::from_fd`] does.
    pub fn session(self) -> Result<Session> {
        Session::from_fd(self.fd)
    }
}

/// Takes over the descriptors that were passed to this process, in their order.
///
/// They are given out once: asked again, or if the environment is for another process, there are
/// none. Ask early: that descriptor 3 and those behind it are nobody else's is what the environment
/// promises, and a program that closes or opens descriptors by their numbers breaks it.
///
/// Fails with `EBADF` if one of them is not open, and without an errno if the environment does not
/// make sense ([`Malformed`](crate::ErrorKind::Malformed)); then nothing is taken over.
pub fn received() -> Result<Vec<Received>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(vec![]);
    }
    let names = open_ones().map_err(|error| {
        TAKEN.store(false, Ordering::Relaxed);
        Error::new(Tried::Receive, error)
    })?;
    let files = (FIRST..).zip(names).map(|(fd, name)| {
        // SAFETY: It is open, was passed to this process to be its own, and is given out once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Received { name, fd }
    });
    Ok(files.collect())
}

/// The names of the descriptors that were passed, which are made close-on-exec.
fn open_ones() -> io::Result<Vec<String>> {
    let variable = |name| env::var(name).unwrap_or_default();
    let names = passed(
        &variable("LISTEN_PID"),
        &variable("LISTEN_FDS"),
        &variable("LISTEN_FDNAMES"),
    )?;
    for (fd, _) in (FIRST..).zip(&names) {
        // SAFETY: The kernel takes any number, and touches no memory.
        Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(names)
}

/// The names of the descriptors that the environment passes to this process.
fn passed(pid: &str, count: &str, names: &str) -> io::Result<Vec<String>> {
    if count.is_empty() || pid.parse() != Ok(process::id()) {
        return Ok(vec![]);
    }
    let malformed = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    let count = count
        .parse::<u16>()
        .map_err(|error| malformed(format!("LISTEN_FDS is '{}': {error}", Name::from(count))))?;
    let names: Vec<_> = match names {
        "" => vec![UNNAMED; count.into()],
        names => names.split(':').collect(),
    };
    if names.len() != usize::from(count) {
        let text = format!("{} LISTEN_FDNAMES of {count} descriptors", names.len());
        return Err(malformed(text));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Where a service manager keeps descriptors of this service, in the way of `sd_notify(3)`.
///
/// It does not answer: what it does not keep, as it has no room (`FileDescriptorStoreMax=`) or this
/// process may not ask (`NotifyAccess=`), it closes. Nor does it wait: a process that ends at once
/// may be gone before it is known whose it is.
#[derive(Debug)]
pub struct Store(UnixDatagram);

impl Store {
    /// The store of the service that this process is part of, at `$NOTIFY_SOCKET`.
    ///
    /// Fails without an errno if the environment names none
    /// ([`NoServiceManager`](crate::ErrorKind::NoServiceManager)), and else as [`Self::at`] does.
    pub fn of_service() -> Result<Self> {
        let none = || {
            let text = "NOTIFY_SOCKET is not set: this is no service, or NotifyAccess= is none";
            Error::new(Tried::Notify, io::Error::new(ErrorKind::NotConnected, text))
        };
        Self::at(env::var_os("NOTIFY_SOCKET").ok_or_else(none)?)
    }

    /// The store behind another socket: a path from `/` on, or an abstract name behind `@`.
    ///
    /// Fails with `EAFNOSUPPORT` if it is neither, or what connecting to it fails with.
    pub fn at(address: impl AsRef<OsStr>) -> Result<Self> {
        let connect = |address: &[u8]| -> io::Result<_> {
            let address = match address {
                [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(address))?,
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => return Err(Errno::EAFNOSUPPORT.into()),
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok(Self(socket))
        };
        connect(address.as_ref().as_bytes()).map_err(|error| Error::new(Tried::Notify, error))
    }

    /// Has a descriptor kept under a name until it is removed, or the service is stopped for good.
    ///
    /// A name has 1 to 255 printable ASCII characters, and no `:`; a descriptor that is kept
    /// already is not kept twice. The caller's own can be closed. The manager does not look at
    /// whether it has hung up (`FDPOLL=0`).
    ///
    /// Fails without an errno if no descriptor can have this name
    /// ([`Malformed`](crate::ErrorKind::Malformed)), or what sending fails with.
    pub fn keep(&self, name: &str, fd: impl AsFd) -> Result<()> {
        self.tell(name, "FDSTORE=1\nFDPOLL=0", &[fd.as_fd().as_raw_fd()])
    }

    /// Has all descriptors of a name closed.
    ///
    /// Fails as [`Self::keep`] does.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.tell(name, "FDSTOREREMOVE=1", &[])
    }

    fn tell(&self, name: &str, what: &str, fds: &[RawFd]) -> Result<()> {
        let send = || -> io::Result<_> {
            if !is_name(name) {
                return Err(io::Error::new(ErrorKind::InvalidData, "not a name"));
            }
            let text = format!("{what}\nFDNAME={name}\n");
            let text = [IoSlice::new(text.as_bytes())];
            let rights = [ControlMessage::ScmRights(fds)];
            let rights = if fds.is_empty() { &[] } else { &rights[..] };
            let flags = MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(self.0.as_raw_fd(), &text, rights, flags, None)?;
            Ok(())
        };
        send().map_err(|error| Error::new(Tried::Keep(name.into()), error))
    }
}

fn is_name(name: &str) -> bool {
    let printable = |byte| (b' '..=b'~').contains(&byte) && byte != b':';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind as Kind;
    use nix::{
        cmsg_space,
        fcntl::{fcntl, FcntlArg},
        sys::socket::{recvmsg, ControlMessageOwned},
    };
    use std::{
        fs::File,
        io::{IoSliceMut, Read, Seek, Write},
        process::Command,
    };

    type Tested = std::result::Result<(), Box<dyn std::error::Error>>;

    /// What a manager is told, and given.
    fn told(socket: &UnixDatagram) -> io::Result<(String, Vec<OwnedFd>)> {
        let (mut text, mut space) = ([0; 1024], cmsg_space!([RawFd; 4]));
        let mut into = [IoSliceMut::new(&mut text)];
        let fd = socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(fd, &mut into, Some(&mut space), flags)?;
        let mut fds = vec![];
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: The kernel has just made them for this process.
                let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
                fds.extend(received.into_iter().map(own));
            }
        }
        let length = message.bytes;
        Ok((String::from_utf8_lossy(&text[..length]).into_owned(), fds))
    }

    fn keeps_and_removes(manager: &UnixDatagram, store: &Store) -> Tested {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"kept")?;
        store.keep("a session", &file)?;
        let (text, fds) = told(manager)?;
        assert_eq!(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=a session\n");
        let [fd] = <[_; 1]>::try_from(fds).expect("one descriptor");
        let (mut kept, mut content) = (File::from(fd), String::new());
        kept.rewind()?;
        kept.read_to_string(&mut content)?;
        assert_eq!(content, "kept");

        store.remove("a session")?;
        let (text, fds) = told(manager)?;
        assert_eq!(text, "FDSTOREREMOVE=1\nFDNAME=a session\n");
        assert_eq!(fds.len(), 0);
        Ok(())
    }

    #[test]
    fn a_store_at_a_path() -> Tested {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path)?;
        keeps_and_removes(&manager, &Store::at(&path)?)
    }

    #[test]
    fn an_abstract_store() -> Tested {
        let name = format!("liveupdate-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name)?;
        let manager = UnixDatagram::bind_addr(&address)?;
        keeps_and_removes(&manager, &Store::at(format!("@{name}"))?)
    }

    #[test]
    fn what_is_not_kept() -> Tested {
        let kind = |result: Result<()>| result.map_err(|error| error.kind());
        let (ours, _other) = UnixDatagram::pair()?;
        let store = Store(ours);
        for name in ["", "a:b", "a\nFDSTORE=1", "größe", &"n".repeat(256)] {
            assert_eq!(kind(store.keep(name, &store.0)), Err(Kind::Malformed));
            assert_eq!(kind(store.remove(name)), Err(Kind::Malformed));
        }
        store.remove(&"n".repeat(255))?;
        for address in ["", "relative", "vsock:2:1"] {
            let error = Store::at(address).expect_err("no store");
            assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
        }
        let error = Store::at("/none/notify").expect_err("no store");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        Ok(())
    }

    #[test]
    fn whom_the_environment_is_for() {
        let mine = process::id().to_string();
        let none: &[&str] = &[];
        for (pid, count, names, due) in [
            (&*mine, "2", "a:b", &["a", "b"][..]),
            (&mine, "2", "", &["unknown", "unknown"]),
            (&mine, "2", ":", &["", ""]),
            (&mine, "0", "", none),
            (&mine, "", "a", none),
            ("", "2", "a:b", none),
            ("1", "2", "a:b", none),
            ("x", "2", "a:b", none),
        ] {
            let passed = passed(pid, count, names).expect("an environment");
            assert_eq!(passed, due, "{pid} {count} {names}");
        }
        for (count, names) in [
            ("x", ""),
            ("-1", ""),
            ("65536", ""),
            ("2", "a"),
            ("1", "a:b"),
        ] {
            let refused = passed(&mine, count, names).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::InvalidData), "{count} {names}");
        }
    }

    /// Has a test run by a process that is passed two files.
    fn run(test: &str, count: u32) -> io::Result<bool> {
        let script = "LISTEN_PID=$$ exec \"$0\" --ignored --exact \"$1\" 3</dev/null 4</dev/zero";
        let status = Command::new("sh")
            .args(["-c", script])
            .arg(env::current_exe()?)
            .arg(format!("systemd::tests::{test}"))
            .env("LISTEN_FDS", count.to_string())
            .env_remove("LISTEN_FDNAMES")
            .status()?;
        Ok(status.success())
    }

    #[test]
    fn descriptors_are_taken_over() -> io::Result<()> {
        assert!(run("given_two", 2)?);
        assert!(run("given_less", 900)?);
        Ok(())
    }

    #[test]
    #[ignore = "run by another test"]
    fn given_two() -> Tested {
        let files = received()?;
        let fds: Vec<_> = files.iter().map(|file| file.fd.as_raw_fd()).collect();
        assert_eq!(fds, [3, 4]);
        for Received { name, fd } in files {
            assert_eq!(name, UNNAMED);
            assert_eq!(fcntl(&fd, FcntlArg::F_GETFD)?, libc::FD_CLOEXEC);
            let refused = Received { name, fd }
                .session()
                .map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(Kind::NotASession));
        }
        assert_eq!(received()?.len(), 0);
        Ok(())
    }

    #[test]
    #[ignore = "run by another test"]
    fn given_less() {
        let error = received().expect_err("too few descriptors");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
