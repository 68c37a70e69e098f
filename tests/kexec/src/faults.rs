// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail one by one, by the kernel's fault injection.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// Lets an allocation fail whatever it is for, and without a backtrace.
pub fn allow_all() -> Result<()> {
    for (name, value) in [
        ("failslab/ignore-gfp-wait", "N"),
        ("failslab/verbose", "0"),
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/ignore-gfp-highmem", "N"),
        ("fail_page_alloc/min-order", "0"),
        ("fail_page_alloc/verbose", "0"),
    ] {
        fs::write(format!("/sys/kernel/debug/{name}"), value).context("no fault injection")?;
    }
    Ok(())
}

/// Runs `body` with its `n`th allocation failing, and tells whether it has so many.
pub fn at<T>(n: u32, body: impl FnOnce() -> T) -> Result<(T, bool)> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/proc/thread-self/fail-nth")?;
    file.write_all_at(n.to_string().as_bytes(), 0)?;
    let value = body();
    let mut left = [0; 16];
    let length = file.read_at(&mut left, 0)?;
    file.write_all_at(b"0", 0)?;
    Ok((value, left[..length].trim_ascii() == b"0"))
}
