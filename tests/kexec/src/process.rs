// SPDX-License-Identifier: GPL-2.0

//! This process and its kernel: its descriptor table, its children, the kernel's log.

use crate::driver;
use anyhow::{bail, ensure, Context, Result};
use luo_guest::PAGE;
use nix::{
    fcntl::{fcntl, FcntlArg::F_DUPFD_CLOEXEC},
    libc::O_NONBLOCK,
    sys::{
        resource::{getrlimit, setrlimit, Resource},
        signal::{kill, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{close, fork, pause, ForkResult, Pid},
};
use std::{
    env,
    fs::{self, File},
    io::{self, PipeReader, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    process, thread,
    time::{Duration, Instant},
};

/// The number of this process's next descriptor: the lowest one that is neither open nor, for a
/// call that failed halfway, reserved.
pub fn next_descriptor() -> Result<RawFd> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// Makes room for so many descriptors: a table that grows in a call of LUO's looks like something
/// that it has left behind.
pub fn room_for_descriptors(count: usize) -> Result<()> {
    let file = File::open("/dev/null")?;
    close(fcntl(&file, F_DUPFD_CLOEXEC(count.try_into()?))?)?;
    Ok(())
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

/// A child process, with what this one has, which does one thing.
pub struct Child {
    pid: Pid,
    /// Why it failed, if it did.
    said: PipeReader,
}

impl Child {
    /// Begins one; this process has to have one thread.
    pub fn new(body: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (said, mut say) = io::pipe()?;
        // SAFETY: This program has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let result = body();
                if let Err(error) = &result {
                    // A parent that hears nothing sees the status.
                    let _ = write!(say, "{error:#}");
                }
                process::exit(result.is_err().into())
            }
            ForkResult::Parent { child } => Ok(Self { pid: child, said }),
        }
    }

    /// Waits for its end, which is to be a success.
    pub fn wait(self) -> Result<()> {
        match waitpid(self.pid, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => self.failed(status),
        }
    }

    /// Kills it; it may not have ended before.
    pub fn kill(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        self.wait_killed()
    }

    /// Waits until it is killed.
    pub fn wait_killed(self) -> Result<()> {
        match waitpid(self.pid, None)? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
            status => self.failed(status),
        }
    }

    fn failed(mut self, status: WaitStatus) -> Result<()> {
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        bail!("the child process: {status:?}: {said}")
    }

    /// Waits until it sleeps in the kernel, and nothing but its death ends that early.
    pub fn wait_until_stuck(&self) -> Result<()> {
        let path = format!("/proc/{}/stat", self.pid);
        eventually("the child process waits", || {
            let stat = fs::read_to_string(&path)?;
            Ok(stat
                .rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('D')))
        })
    }
}

/// Waits for what takes little time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);

    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Kills a child process at the moment when it holds what `holdings` gives.
pub fn kill_holder<T>(
    holdings: impl FnOnce() -> Result<T>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (mut ready, mut tell) = io::pipe()?;
    let child = Child::new(move || {
        let _held = holdings()?;
        tell.write_all(b"!")?;
        pause();
        Ok(())
    })?;
    let told = ready.read_exact(&mut [0]);
    let seen = told.is_ok().then(meanwhile);
    child.kill()?;
    told?;
    seen.unwrap_or(Ok(()))
}

/// A line as it was logged: whoever reads the log gets `\xNN` for what is no text, and for a
/// backslash.
fn unescaped(line: &str) -> Result<String> {
    let mut parts = line.split(r"\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2).context(line.to_owned())?;
        bytes.push(u8::from_str_radix(byte, 16).context(line.to_owned())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                bail!("lines have fallen out of the kernel's log")
            }
            length => length?,
        };
        let record = String::from_utf8_lossy(&record[..length]);
        let (_, text) = record.split_once(';').context("a record without text")?;
        text.lines().next().map(unescaped).transpose()
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

/// Runs `body` with what has no level of its own being kept off the console: backtraces, that is,
/// which would count as complaints.
pub fn without_backtraces<T>(body: impl FnOnce() -> T) -> Result<T> {
    const LEVELS: &str = "/proc/sys/kernel/printk";
    /// That of debugging, which the console is not for.
    const DEBUG: &str = "7";

    let before = fs::read_to_string(LEVELS)?;
    let mut levels: Vec<_> = before.split_whitespace().collect();
    *levels.get_mut(1).context("no levels")? = DEBUG;
    fs::write(LEVELS, levels.join(" "))?;
    let value = body();
    fs::write(LEVELS, before)?;
    Ok(value)
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
    Ok(installed - meminfo("MemFree:")? - in_lists()?)
}

/// How many bytes are free in lists of the processors, from which each of them allocates first.
fn in_lists() -> Result<u64> {
    let mut pages = 0;
    for line in fs::read_to_string("/proc/zoneinfo")?.lines() {
        if let Some(count) = line.trim_start().strip_prefix("count:") {
            pages += count.trim().parse::<u64>()?;
        }
    }
    Ok(pages * *PAGE as u64)
}

/// How much memory may be in use that was freed, in bytes: none, unless `LUO_SLACK` says how many MiB
/// the kernel keeps aside, to see whether somebody uses it still.
pub fn kept_aside() -> Result<u64> {
    let mebibytes = env::var("LUO_SLACK").unwrap_or_default();
    Ok(match &mebibytes[..] {
        "" => 0,
        some => some.parse::<u64>()? << 20,
    })
}

/// Expects no more memory to be in use, which may take a moment to be given back, and what the kernel
/// keeps aside.
pub fn expect_in_use(most: u64) -> Result<()> {
    let most = most + kept_aside()?;
    let mut more = 0;
    let given_back = eventually("the memory is given back", || {
        more = memory_in_use()?.saturating_sub(most);
        Ok(more == 0)
    });
    given_back.with_context(|| format!("{more} bytes more are in use"))
}

/// What a line of /proc/meminfo says, in bytes.
pub fn meminfo(key: &str) -> Result<u64> {
    let kilobytes: u64 = fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| {
            let number = line.strip_prefix(key)?.strip_suffix("kB")?;
            number.trim().parse().ok()
        })
        .with_context(|| format!("no {key}"))?;
    Ok(kilobytes << 10)
}
