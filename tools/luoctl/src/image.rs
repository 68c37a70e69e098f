// SPDX-License-Identifier: GPL-2.0

//! What can be told of a kernel from its configuration (`IKCONFIG`).

use flate2::read::GzDecoder;
use std::{
    fs::File,
    io::{self, Read},
};

/// No configuration is larger than that.
const LIMIT: u64 = 1 << 30;

fn all_of(data: impl Read) -> io::Result<Vec<u8>> {
    let mut all = vec![];
    data.take(LIMIT).read_to_end(&mut all)?;
    Ok(all)
}

/// A kernel's configuration.
pub struct Config(String);

impl Config {
    /// That of the kernel that runs, if it shows it.
    pub fn of_this_kernel() -> Option<Self> {
        Self::gzipped(File::open("/proc/config.gz").ok()?).ok()
    }

    fn gzipped(data: impl Read) -> io::Result<Self> {
        let text = all_of(GzDecoder::new(data))?;
        Ok(Self(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Whether an option is built in.
    pub fn has(&self, option: &str) -> bool {
        let due = format!("CONFIG_{option}=y");
        self.0.lines().any(|line| line == due)
    }
}
