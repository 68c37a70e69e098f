// SPDX-License-Identifier: GPL-2.0

//! The test driver in the kernel (`tests/driver`), whose files are preserved like any other,
//! whose callbacks fail or take their time when they are told to, and which logs every call.

use anyhow::{Context, Result};
use liveupdate::Session;
use std::{
    fmt::{self, Display},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

/// A file handler or an FLB of the driver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object(&'static str);

/// The handler that needs all FLBs.
pub const A: Object = Object("a");
/// The handler that needs the second FLB.
pub const B: Object = Object("b");
/// The handler that needs none, and has only the callbacks that it must have.
pub const C: Object = Object("c");
pub const FLBS: [Object; 3] = [Object("flb-1"), Object("flb-2"), Object("flb-3")];

/// What every object's name begins with.
pub const PREFIX: &str = "luo-test-";

impl Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn path(end: impl AsRef<Path>) -> PathBuf {
    Path::new("/sys/kernel/debug/luo_test").join(end)
}

fn write(path: &Path, value: i64) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

impl Object {
    fn path(self, end: impl AsRef<Path>) -> PathBuf {
        path(format!("{PREFIX}{self}")).join(end)
    }

    /// A new file of this handler with a number of its own.
    pub fn file(self, number: u32) -> Result<File> {
        let file = self.unnumbered()?;
        file.write_all_at(number.to_string().as_bytes(), 0)?;
        Ok(file)
    }

    fn unnumbered(self) -> Result<File> {
        let path = self.path("file");
        File::options()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}: no test driver", path.display()))
    }

    /// A new file of this handler that needs another one: `fd FD`, which has to be preserved before
    /// it, or `token TOKEN`, whatever that is.
    pub fn needing(self, number: u32, what: &str) -> Result<File> {
        let file = self.unnumbered()?;
        file.write_all_at(what.as_bytes(), 0)?;
        file.write_all_at(number.to_string().as_bytes(), 0)?;
        Ok(file)
    }

    /// Preserves a new file of this handler under its number; only the session keeps it open.
    pub fn preserve(self, session: &Session, number: u32) -> Result<io::Result<()>> {
        Ok(self.preserve_as(session, number, number.into()))
    }

    /// The same under a token of one's own choice; without such a file, nothing is preserved.
    pub fn preserve_as(self, session: &Session, number: u32, token: u64) -> io::Result<()> {
        let file = self.file(number).map_err(io::Error::other)?;
        Ok(session.preserve_fd(file.as_fd(), token)?)
    }

    /// A reference to what this FLB, preserved, is to the next kernel.
    pub fn outgoing(self) -> io::Result<File> {
        File::open(self.path("outgoing"))
    }

    /// A reference to what this FLB was in the previous kernel.
    pub fn incoming(self) -> io::Result<File> {
        File::open(self.path("incoming"))
    }

    /// Makes a callback fail from its call after the next `skip` ones on, `times` times; -1 is
    /// always.
    ///
    /// Those that say no in other ways have no `errno`.
    pub fn fail(self, callback: &str, skip: i64, times: i64, errno: Option<i32>) -> Result<()> {
        let path = self.path(callback);
        if let Some(errno) = errno {
            write(&path.join("errno"), errno.into())?;
        }
        write(&path.join("skip"), skip)?;
        write(&path.join("times"), times)
    }

    /// Makes every call of a callback take so many milliseconds, until the next reset.
    pub fn delay(self, callback: &str, milliseconds: u32) -> Result<()> {
        write(&self.path(callback).join("delay_ms"), milliseconds.into())
    }

    /// How often a callback was called since the last reset.
    pub fn calls(self, callback: &str) -> Result<u64> {
        let path = self.path(callback).join("calls");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().parse()?)
    }
}

/// The number of a file, or which of an FLB's preserve calls made what is referred to.
pub fn number(file: &File) -> Result<u32> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0)?;
    Ok(std::str::from_utf8(&text[..length])?.trim().parse()?)
}

/// Asks for the FLBs of the previous kernel, as somebody must before C can finish their files.
pub fn ask(flbs: &[Object]) -> io::Result<()> {
    flbs.iter().try_for_each(|flb| flb.incoming().map(drop))
}

/// Has steps done to what is handed over, just before the next kernel begins.
pub fn damage(steps: &[u8]) -> Result<()> {
    let path = path("damage");
    fs::write(&path, steps).with_context(|| format!("cannot write {}", path.display()))
}

/// Lets every callback succeed again, at once, and counts from zero.
pub fn reset() -> Result<()> {
    write(&path("reset"), 1)
}
