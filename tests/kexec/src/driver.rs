// SPDX-License-Identifier: GPL-2.0

//! The test driver in the kernel (`tests/driver`), whose files are preserved like any other and
//! whose callbacks fail when they are told to.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The handler of the driver that has all callbacks.
pub const HANDLER: &str = "luo-test-b";

fn path(end: impl AsRef<Path>) -> PathBuf {
    Path::new("/sys/kernel/debug/luo_test").join(end)
}

fn write(path: &Path, value: i64) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// A new file of the driver with a number of its own.
pub fn file(number: u32) -> Result<File> {
    let path = path(HANDLER).join("file");
    let file = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}: no test driver", path.display()))?;
    file.write_all_at(number.to_string().as_bytes(), 0)?;
    Ok(file)
}

/// The number of a file of the driver.
pub fn number(file: &File) -> Result<u32> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0)?;
    Ok(std::str::from_utf8(&text[..length])?.trim().parse()?)
}

/// Makes a callback fail from its call after the next `skip` ones on, `times` times; -1 is always.
///
/// Those that say no in other ways have no `errno`.
pub fn fail(callback: &str, skip: i64, times: i64, errno: Option<i32>) -> Result<()> {
    let path = path(HANDLER).join(callback);
    if let Some(errno) = errno {
        write(&path.join("errno"), errno.into())?;
    }
    write(&path.join("skip"), skip)?;
    write(&path.join("times"), times)
}

/// How often a callback was called since the last reset.
pub fn calls(callback: &str) -> Result<u64> {
    let path = path(HANDLER).join(callback).join("calls");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().parse()?)
}

/// Lets every callback succeed again and counts from zero.
pub fn reset() -> Result<()> {
    write(&path("reset"), 1)
}
