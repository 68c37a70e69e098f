// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A cache that survives its host's kernel: started by the next one, it is as full as it was.
//!
//! It reads commands, one a line, from standard input: `put KEY VALUE`, `get KEY`, and `count`. All
//! that it knows is in a memfd, which LUO preserves from the start: whenever the host is kexeced,
//! what is in it then is in it afterwards. It need not know that a kexec is coming.
//!
//! ```text
//! # cache
//! cold: 0 entries
//! put colour blue
//! ok
//! ```
//!
//! And in the next kernel:
//!
//! ```text
//! # cache
//! warm: 1 entries
//! get colour
//! blue
//! ```

use liveupdate::{Device, Session};
use nix::sys::memfd::{memfd_create, MFdFlags};
use std::{
    fs::File,
    io::{self, ErrorKind},
    os::{fd::AsFd, unix::fs::FileExt},
};

/// The session, by which the next kernel's cache finds what this one leaves.
const SESSION: &[u8] = b"cache";
/// The memfd's token in it.
const ENTRIES: u64 = 1;
/// The memfd's size, as that of a preserved one cannot change.
const SIZE: u64 = 1 << 20;

/// Entries, each a line `KEY VALUE`, in the order in which they were put; behind them are zeros.
struct Cache(File);

impl Cache {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("cache", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(SIZE)?;
        Ok(Self(file))
    }

    fn text(&self) -> io::Result<String> {
        let mut bytes = vec![0; SIZE as usize];
        self.0.read_exact_at(&mut bytes, 0)?;
        bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(0));
        String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())
    }

    fn put(&self, key: &str, value: &str) -> io::Result<()> {
        let (text, entry) = (self.text()?, format!("{key} {value}\n"));
        // One zero stays.
        if (text.len() + entry.len()) as u64 >= SIZE {
            return Err(ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(entry.as_bytes(), text.len() as u64)
    }

    fn get(&self, key: &str) -> io::Result<Option<String>> {
        let text = self.text()?;
        let mut entries = text.lines().rev().filter_map(|line| line.split_once(' '));
        let found = entries.find(|(other, _)| *other == key);
        Ok(found.map(|(_, value)| value.to_owned()))
    }
}

/// What the previous kernel's cache has left, if there was one.
fn retrieve(device: &Device) -> io::Result<Option<Cache>> {
    let session = device.retrieve_session(SESSION).map(Some);
    let Some(session) = session.or_else(absent)? else {
        return Ok(None);
    };
    let file = File::from(session.retrieve_fd(ENTRIES)?);
    // Another version of this program may have made it.
    if file.metadata()?.len() != SIZE {
        return Err(ErrorKind::InvalidData.into());
    }
    // The file is ours now, and an ordinary one: it can be preserved again.
    session.finish()?;
    Ok(Some(Cache(file)))
}

/// Takes the kernel's word that there is no such session for an answer.
fn absent<T>(error: impl Into<io::Error>) -> io::Result<Option<T>> {
    let error = error.into();
    match error.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    }
}

/// Has the next kernel get the cache, as long as the session is there.
fn preserve(device: &Device, cache: &Cache) -> io::Result<Session> {
    let session = device.create_session(SESSION)?;
    session.preserve_fd(cache.0.as_fd(), ENTRIES)?;
    Ok(session)
}

fn main() -> io::Result<()> {
    let device = Device::open()?;
    let (cache, how) = match retrieve(&device)? {
        Some(cache) => (cache, "warm"),
        None => (Cache::new()?, "cold"),
    };
    let _session = preserve(&device, &cache)?;
    // There is one device for all; who has a session does not need it.
    drop(device);

    println!("{how}: {} entries", cache.text()?.lines().count());
    for line in io::stdin().lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("put"), Some(key), Some(value)) => {
                cache.put(key, value)?;
                println!("ok");
            }
            (Some("get"), Some(key), None) => match cache.get(key)? {
                Some(value) => println!("{value}"),
                None => println!("no entry"),
            },
            (Some("count"), None, None) => println!("{}", cache.text()?.lines().count()),
            _ => println!("put KEY VALUE, get KEY, or count"),
        }
    }
    Ok(())
}
