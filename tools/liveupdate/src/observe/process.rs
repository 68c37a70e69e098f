// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Which processes have descriptors of sessions and of the device.

use super::Name;
use std::{
    fmt::{self, Display, Formatter},
    fs,
    io::{self, ErrorKind},
    os::{fd::RawFd, unix::ffi::OsStrExt},
    path::Path,
};

/// How the link of a session's descriptor begins.
const SESSION: &[u8] = b"anon_inode:[luo_session] ";

/// A process.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What it calls itself.
    pub comm: Name,
}

/// As `NAME(PID)`.
impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.comm, self.pid)
    }
}

/// Processes, in one word: `luoctl(1),systemd(2)`.
pub fn people(processes: &[Process]) -> String {
    let shown: Vec<_> = processes.iter().map(Process::to_string).collect();
    shown.join(",")
}

/// What a descriptor is of.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// `/dev/liveupdate`.
    Device,
    /// The session of this name.
    Session(Name),
}

/// A descriptor.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Held {
    /// Whose it is.
    pub process: Process,
    /// Its number there.
    pub fd: RawFd,
    /// What it is of.
    pub what: What,
}

/// What was found in the processes of the system.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Descriptors {
    /// The descriptors, by process.
    pub held: Vec<Held>,
    /// How many processes did not let themselves be looked into.
    pub hidden: usize,
}

/// Looks into all processes of the system.
pub fn descriptors() -> io::Result<Descriptors> {
    let mut found = Descriptors::default();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = number(&entry.path()) else {
            continue;
        };
        match of(pid, &entry.path()) {
            Ok(held) => found.held.extend(held),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found.hidden += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    found.held.sort_by_key(|held| (held.process.pid, held.fd));
    Ok(found)
}

/// The processes that have a descriptor of something, as far as can be seen.
pub fn holders(what: &What) -> Vec<Process> {
    let mut processes: Vec<_> = descriptors()
        .unwrap_or_default()
        .held
        .into_iter()
        .filter(|held| held.what == *what)
        .map(|held| held.process)
        .collect();
    processes.dedup();
    processes
}

fn of(pid: u32, path: &Path) -> io::Result<Vec<Held>> {
    let mut held = vec![];
    for entry in fs::read_dir(path.join("fd"))? {
        let entry = entry?.path();
        let Some(fd) = number(&entry) else { continue };
        // It may have been closed.
        let what = fs::read_link(&entry)
            .ok()
            .and_then(|link| What::of(link.as_os_str().as_bytes()));
        if let Some(what) = what {
            let comm = fs::read(path.join("comm"))?;
            let comm = comm.strip_suffix(b"\n").unwrap_or(&comm).into();
            let process = Process { pid, comm };
            held.push(Held { process, fd, what });
        }
    }
    Ok(held)
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    path.file_name()?.to_str()?.parse().ok()
}

impl What {
    fn of(link: &[u8]) -> Option<Self> {
        if link == crate::DEVICE.as_bytes() {
            return Some(Self::Device);
        }
        let name = link.strip_prefix(SESSION)?;
        Some(Self::Session(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let session = |name: &[u8]| Some(What::Session(name.into()));
        assert_eq!(What::of(b"/dev/liveupdate"), Some(What::Device));
        assert_eq!(
            What::of(b"anon_inode:[luo_session] a b\n"),
            session(b"a b\n")
        );
        assert_eq!(What::of(b"anon_inode:[luo_session] \xff"), session(b"\xff"));
        assert_eq!(What::of(b"anon_inode:[eventfd]"), None);
        assert_eq!(What::of(b"/dev/liveupdate2"), None);
    }

    #[test]
    fn as_they_are_shown() {
        let process = |pid, comm: &str| Process {
            pid,
            comm: comm.into(),
        };
        let processes = [process(1, "init"), process(20, "a b")];
        assert_eq!(people(&processes), "init(1),a b(20)");
    }

    #[test]
    fn the_processes_of_this_system() {
        assert!(descriptors().is_ok());
    }
}
