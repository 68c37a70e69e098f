// SPDX-License-Identifier: GPL-2.0

//! This process and its kernel: its descriptor table, its children, the kernel's log.

use crate::driver;
use anyhow::{ensure, Context, Result};
use nix::{
    libc::O_NONBLOCK,
    sys::{
        resource::{getrlimit, setrlimit, Resource},
        signal::{kill, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{fork, pause, ForkResult},
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    thread,
    time::Duration,
};

/// The number of this process's next descriptor: the lowest one that is neither open nor, for a
/// call that failed halfway, reserved.
pub fn next_descriptor() -> Result<RawFd> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// Runs `body` while no descriptor can be added to this process.
pub fn with_full_table<T>(body: impl FnOnce() -> T) -> Result<T> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let next = u64::try_from(next_descriptor()?)?;
    setrlimit(Resource::RLIMIT_NOFILE, next, hard)?;
    let value = body();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    Ok(value)
}

/// Kills a child process at the moment when it holds what `holdings` gives.
pub fn kill_holder<T>(
    holdings: impl FnOnce() -> Result<T>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (mut ready, mut tell) = io::pipe()?;
    // SAFETY: This program has one thread.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            let held = holdings();
            // A parent that hears nothing fails the test.
            if held.is_ok() && tell.write_all(b"!").is_ok() {
                pause();
            }
            std::process::exit(1);
        }
        ForkResult::Parent { child } => child,
    };
    drop(tell);
    let told = ready.read_exact(&mut [0]);
    let seen = told.is_ok().then(meanwhile);
    kill(child, Signal::SIGKILL)?;
    let status = waitpid(child, None)?;
    ensure!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "the child that was to be killed failed first: {status:?}"
    );
    told?;
    seen.unwrap_or(Ok(()))
}

/// The kernel's log.
pub struct Log(File);

impl Log {
    /// All of it.
    pub fn from_start() -> Result<Self> {
        let log = File::options()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg")?;
        Ok(Self(log))
    }

    /// What is yet to come.
    pub fn from_now() -> Result<Self> {
        let mut log = Self::from_start()?;
        log.0.seek(SeekFrom::End(0))?;
        Ok(log)
    }

    /// Waits for a line that ends in `text`, as what this program prints comes a little later. A line
    /// that whoever passes it on does not end is not there before the next one.
    pub fn wait_for(text: &str) -> Result<()> {
        let mut log = Self::from_start()?;
        loop {
            match log.line()? {
                Some(line) if line.ends_with(text) => return Ok(()),
                Some(_) => {}
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The next line's text.
    fn line(&mut self) -> Result<Option<String>> {
        let mut record = [0; 8192];
        let length = match self.0.read(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            length => length?,
        };
        let record = String::from_utf8_lossy(&record[..length]);
        let (_, text) = record.split_once(';').context("a record without text")?;
        Ok(text.lines().next().map(str::to_owned))
    }

    /// The number in the next line that has one behind `text`.
    pub fn number_after(&mut self, text: &str) -> Result<Option<u64>> {
        while let Some(line) = self.line()? {
            if let Some((_, rest)) = line.split_once(text) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                return Ok(Some(digits.parse()?));
            }
        }
        Ok(None)
    }

    /// All lines with `text` up to now.
    pub fn lines_with(&mut self, text: &str) -> Result<Vec<String>> {
        let mut lines = vec![];
        while let Some(line) = self.line()? {
            lines.extend(line.contains(text).then_some(line));
        }
        Ok(lines)
    }

    /// All calls of the test driver's callbacks up to now, in order, each as
    /// `OBJECT CALLBACK NUMBER = RESULT`.
    pub fn callbacks(&mut self) -> Result<Vec<String>> {
        let mut calls = vec![];
        while let Some(line) = self.line()? {
            let call = line
                .strip_prefix("luo_test: ")
                .and_then(|call| call.strip_prefix(driver::PREFIX));
            calls.extend(call.map(str::to_owned));
        }
        Ok(calls)
    }

    /// The same without `can_preserve`, which changes nothing.
    pub fn changes(&mut self) -> Result<Vec<String>> {
        let mut calls = self.callbacks()?;
        calls.retain(|call| !call.contains(" can_preserve "));
        Ok(calls)
    }
}

/// The number of the live update that led to this kernel, if one did.
pub fn live_update_number() -> Result<Option<u64>> {
    Log::from_start()?.number_after("liveupdate number: ")
}

/// How many bytes of memory are in use that the kernel cannot do without, memory included that it
/// was not given to manage.
pub fn memory_in_use() -> Result<u64> {
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let mut installed = 0;
    for line in fs::read_to_string("/proc/iomem")?.lines() {
        if let Some((range, "System RAM")) = line.split_once(" : ") {
            let (start, end) = range.split_once('-').context("no range")?;
            installed += u64::from_str_radix(end, 16)? + 1 - u64::from_str_radix(start, 16)?;
        }
    }
    let free = fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemFree:")?
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .context("no MemFree")
        .map(|kilobytes: u64| kilobytes << 10)?;
    Ok(installed - free)
}
