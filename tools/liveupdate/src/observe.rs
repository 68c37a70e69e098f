// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What a kernel shows of live update, read without `/dev/liveupdate` and without changing
//! anything.
//!
//! [`session`] tells what a session's descriptor stands for, [`descriptors`] which processes have
//! descriptors of sessions and of the device, [`Debugfs`] what only root sees, and [`Kho`] and
//! [`Kexec`] what LUO builds upon:
//!
//! ```no_run
//! use liveupdate::{observe, Device};
//! use std::os::fd::AsFd;
//!
//! # fn main() -> std::io::Result<()> {
//! let session = Device::open()?.create_session(b"cache")?;
//! if let Some(shown) = observe::session(session.as_fd())? {
//!     for file in shown.files {
//!         println!("{} by {}: {}", file.token, file.handler, file.state);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A kernel may show less: then a file is [`NotFound`](std::io::ErrorKind::NotFound), or there is
//! nothing of LUO in it. A word that is not known here is kept as it is; text that means nothing
//! is [`InvalidData`](std::io::ErrorKind::InvalidData). With the feature `serde` all values
//! serialize, and with `schemars` they have a JSON schema.

/// Writes the variants of an enum as the kernel's words for them, and reads those; any other word
/// is kept by the variant behind the semicolon, or is an error.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(; $other:ident)? }) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $word,)+
                    $(Self::$other(word) => word,)?
                })
            }
        }

        impl std::str::FromStr for $type {
            type Err = std::io::Error;

            fn from_str(text: &str) -> std::io::Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    $(other => Ok(Self::$other(other.to_owned())),)?
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::observe::malformed("word known here", text.as_bytes())),
                }
            }
        }
    };
}

mod debugfs;
mod fdinfo;
mod kexec;
mod name;
mod parameters;
mod process;

pub use debugfs::{Debugfs, Flb, Handler, Handover, Image, SessionLine};
pub use fdinfo::{session, session_of, File, FileState, SessionInfo};
pub use kexec::{Area, Kexec, Kho};
pub use name::{Name, Token};
pub use parameters::{boolean, parameters};
pub use process::{descriptors, holders, people, Descriptors, Held, Process, What};

use std::{fs, io, path::Path};

/// Which way a session goes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Direction {
    /// To the next kernel.
    Outgoing,
    /// From the previous kernel.
    Incoming,
}

words!(Direction { Outgoing = "outgoing", Incoming = "incoming" });

/// How far a session has come.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum SessionState {
    /// It was created here, and is outgoing.
    Created,
    /// It is incoming, and nobody has a descriptor of it.
    Waiting,
    /// It is incoming, and somebody has a descriptor of it.
    Retrieved,
    /// It is incoming, and its files are no longer LUO's.
    Finished,
    /// A state of a newer kernel.
    #[cfg_attr(feature = "serde", serde(untagged))]
    Other(String),
}

words!(SessionState {
    Created = "created",
    Waiting = "waiting",
    Retrieved = "retrieved",
    Finished = "finished";
    Other
});

/// Text that means nothing here.
fn malformed(what: &str, text: &[u8]) -> io::Error {
    let text = Name::from(text);
    io::Error::new(io::ErrorKind::InvalidData, format!("no {what}: '{text}'"))
}

/// The text of a word for which the kernel has ASCII only.
fn word<T: std::str::FromStr>(what: &str, text: &[u8]) -> io::Result<T> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| malformed(what, text))
}

/// The lines of a file, without the last line's end.
fn lines(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read(path)?;
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}
