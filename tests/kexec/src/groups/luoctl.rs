// SPDX-License-Identifier: GPL-2.0

//! `luoctl` as people type it: what it says, how it ends, and that what it carries arrives, by a
//! reboot of its own.
//!
//! Each command and what it said is told, so that the log of this test is a session to be read.

use crate::{
    differences::Luo,
    driver::{self, B},
    file::{expect_frozen, expect_thawed, memfd},
    process::eventually,
    program::command,
    Group, World,
};
use anyhow::{bail, ensure, Context, Result};
use liveupdate::Device;
use luo_guest::{Next, KERNEL, PAGE};
use nix::{
    errno::Errno,
    fcntl::{fcntl, FcntlArg::F_SETFD, FdFlag},
    sys::{
        reboot::{reboot, RebootMode},
        signal::{kill, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{fork, pause, ForkResult, Pid},
};
use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{self, Child, ExitCode, Stdio},
};

pub const GROUP: Group = Group {
    name: "luoctl",
    stages: &[
        &[
            ("look", look),
            ("refusals", refusals),
            ("busy-device", busy_device),
            ("not-root", not_root),
            ("hold-ends-with-its-command", hold),
            ("hold-passes-signals-on", signals),
            ("put", put),
            ("kexec-refused", kexec_refused),
            ("reboot-refused", reboot_refused),
            ("kexec", kexec),
        ],
        &[
            ("get", get),
            ("get-again", get_again),
            ("take", take),
            ("take-again", take_again),
            ("nothing-to-take", nothing_to_take),
        ],
    ],
};

const NOTES: &str = "/tmp/notes";
const NOBODY: u32 = 65534;
const NOTED: &str = "the blue one is spare\n";

/// More than a page, and not of whole pages.
fn long() -> Vec<u8> {
    (0..*PAGE * 5 / 2)
        .map(|number| (number % 251) as u8)
        .collect()
}

/// What a command came to.
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    /// The same, when it has been told.
    fn told(self, words: &str) -> Self {
        println!("# $ {words}");
        for line in self.err.lines().chain(self.out.lines()) {
            println!("# {line}");
        }
        println!("# -> {}", self.status);
        self
    }
}

fn said(words: &str, child: Child) -> Result<Said> {
    let output = child.wait_with_output()?;
    let said = Said {
        status: output.status.code().context("it was killed")?,
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    };
    Ok(said.told(words))
}

/// Runs a command, and gives it something to read.
fn fed(words: &str, input: &[u8]) -> Result<Said> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input)?;
    drop(writer);
    let mut command = command(words)?;
    command
        .stdin(reader)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    said(words, command.spawn().context(words.to_owned())?)
}

fn run(words: &str) -> Result<Said> {
    fed(words, b"")
}

/// Runs a command that is to end with this status, and tells what it wrote.
fn done(words: &str, status: i32) -> Result<String> {
    let said = run(words)?;
    same!(said.status, status, words);
    Ok(said.out)
}

/// Runs a command that is to fail with this status, and this for its last word.
fn refused(words: &str, status: i32, message: &str) -> Result<()> {
    let said = run(words)?;
    same!(said.status, status, words);
    same!(last_line(&said.err), format!("luoctl: {message}"), words);
    Ok(())
}

fn last_line(text: &str) -> &str {
    text.lines().next_back().unwrap_or_default()
}

/// The process that keeps a session, as luoctl has told.
fn keeper(said: &str, session: &str, why: &str) -> Result<u32> {
    let rest = said
        .lines()
        .find_map(|line| line.strip_prefix("luoctl: process "))
        .context("no process")?;
    let (pid, rest) = rest.split_once(' ').context("no words")?;
    same!(rest, format!("keeps session '{session}' {why}"));
    Ok(pid.parse()?)
}

/// Who has a session, by its line in `luoctl list`, if it has one.
fn listed(name: &str) -> Result<Option<String>> {
    let list = done("luoctl list", 0)?;
    let line = list
        .lines()
        .find(|line| line.split('\t').next() == Some(name));
    Ok(line
        .and_then(|line| line.split('\t').next_back())
        .map(str::to_owned))
}

fn look(_: &mut World) -> Result<()> {
    let status = done("luoctl status", 0)?;
    for line in [
        "live update  on",
        "device       /dev/liveupdate",
        "KHO          on",
    ] {
        ensure!(status.contains(line), "no '{line}' in {status}");
    }
    same!(done("luoctl list", 0)?, "");
    let check = format!("luoctl check --kernel {KERNEL} --command-line liveupdate=on");
    let check = done(&check, 0)?;
    ensure!(check.contains("has the strings of live update"), "{check}");
    Ok(())
}

fn refusals(_: &mut World) -> Result<()> {
    let no_handler = "0x1: no file handler preserves such a file";
    refused("luoctl hold vm 1=/dev/null -- luoctl list", 66, no_handler)?;
    let taken = "0x1: the session has a file of this token";
    let file = inheritable(b"file")?;
    let fd = file.as_raw_fd();
    refused(
        &format!("luoctl hold vm 1={fd} 1={NOTES} -- luoctl list"),
        66,
        &format!("{NOTES}: No such file or directory (os error 2)"),
    )?;
    let other = inheritable(b"other")?.as_raw_fd();
    refused(
        &format!("luoctl hold vm 1={fd} 1={other} -- luoctl list"),
        2,
        taken,
    )?;
    refused(
        "luoctl hold vm -- nothing",
        127,
        "nothing: there is no such command",
    )?;
    refused(
        "luoctl get none",
        66,
        "there is no session 'none' of the previous kernel",
    )?;
    same!(listed("vm")?, None);
    expect_thawed(&file)
}

/// A memory file that programs get that are started here.
fn inheritable(content: &[u8]) -> Result<File> {
    inherited(memfd(content)?)
}

fn inherited(file: File) -> Result<File> {
    fcntl(&file, F_SETFD(FdFlag::empty()))?;
    Ok(file)
}

fn busy_device(_: &mut World) -> Result<()> {
    let _device = Device::open()?;
    let by = format!(
        "/dev/liveupdate is open in luo-kexec-tests({})",
        process::id()
    );
    refused("luoctl hold vm -- luoctl list", 75, &by)?;
    refused("luoctl get none", 75, &by)
}

/// What is for root is told from what is not there.
fn not_root(_: &mut World) -> Result<()> {
    let said = as_nobody("luoctl hold vm -- luoctl list")?;
    same!(said.status, 77);
    let message = "luoctl: no permission to open /dev/liveupdate: it is for root";
    same!(last_line(&said.err), message);
    let said = as_nobody("luoctl list")?;
    same!(said.status, 0);
    same!(said.err.contains("processes cannot be looked into"), true);
    Ok(())
}

/// Runs a command that is nobody's; the standard library would need sockets for that, too.
fn as_nobody(words: &str) -> Result<Said> {
    let (mut out, write_out) = io::pipe()?;
    let (mut err, write_err) = io::pipe()?;
    let mut command = command(words)?;
    // SAFETY: This program has one thread.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            command.uid(NOBODY).gid(NOBODY);
            let _ = command.stdout(write_out).stderr(write_err).exec();
            process::exit(1)
        }
        ForkResult::Parent { child } => child,
    };
    drop((write_out, write_err));
    let mut said = Said {
        status: 0,
        out: String::new(),
        err: String::new(),
    };
    out.read_to_string(&mut said.out)?;
    err.read_to_string(&mut said.err)?;
    match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => said.status = status,
        status => bail!("{words}: {status:?}"),
    }
    Ok(said.told(words))
}

fn hold(world: &mut World) -> Result<()> {
    let file = inheritable(b"file")?;
    let hold = format!("luoctl hold vm 1={} --", file.as_raw_fd());
    let list = done(&format!("{hold} luoctl list"), 0)?;
    ensure!(
        list.starts_with("vm\t") && list.contains("\tluoctl("),
        "{list}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&done(&format!("{hold} luoctl list --json"), 0)?)?;
    same!(json["sessions"][0]["name"], "vm");
    done(&format!("{hold} luoctl show none"), 66)?;
    let shown = done(&format!("{hold} luoctl show vm"), 0)?;
    if world.luo == Luo::Rust {
        let file = shown.lines().find(|line| line.starts_with("0x1\t"));
        same!(file, Some("0x1\tmemfd-v2\tpreserved"));
    }
    same!(listed("vm")?, None);
    expect_thawed(&file)
}

fn signals(_: &mut World) -> Result<()> {
    let file = inheritable(b"file")?;
    let words = format!(
        "luoctl hold vm 1={} -- luo-kexec-tests --wait",
        file.as_raw_fd()
    );
    let mut child = command(&words)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let started = child.stdout.as_mut().context("no output")?;
    started.read_exact(&mut [0])?;
    expect_frozen(&file)?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
    same!(said(&words, child)?.status, 128 + Signal::SIGTERM as i32);
    same!(listed("vm")?, None);
    expect_thawed(&file)
}

fn put(world: &mut World) -> Result<()> {
    fs::write(NOTES, NOTED)?;
    let put = format!("luoctl put {NOTES}");
    let said = run(&put)?;
    same!(said.status, 0);
    let pid = keeper(&said.err, "notes", "until the kexec")?;
    same!(listed("notes")?, Some(format!("luoctl({pid})")));
    refused(
        &put,
        73,
        &format!("there is a session 'notes' already, in luoctl({pid})"),
    )?;
    let said = fed(r"luoctl put - --name two\012lines", &long())?;
    keeper(&said.err, r"two\012lines", "until the kexec")?;
    // What the keepers keep is there.
    world.keep(File::open("/dev/null")?);
    Ok(())
}

fn kexec_refused(_: &mut World) -> Result<()> {
    let kexec = format!("--kernel {KERNEL} --command-line quiet");
    let refused = done(&format!("luoctl kexec {kexec}"), 1)?;
    ensure!(
        refused.contains("FAILED  next liveupdate=: not given, so live update is off\n"),
        "{refused}"
    );
    let said = run(&format!("luoctl kexec --force --load-only {kexec}"))?;
    same!(said.status, 0);
    let forced = [
        "luoctl: next liveupdate=: not given, so live update is off",
        &format!("luoctl: loaded: {KERNEL}"),
    ];
    same!(said.err.lines().collect::<Vec<_>>(), forced);
    let load = "luoctl kexec --load-only --command-line liveupdate=on --kernel";
    // The kernel of arm64 has one format of images, and no errno for those in another.
    let (status, why) = if cfg!(target_arch = "aarch64") {
        (2, "this kernel does not take such an image or command line")
    } else {
        (71, "not an image that this kernel can load")
    };
    let why = format!("/bin/luoctl: {why}");
    self::refused(&format!("{load} /bin/luoctl"), status, &why)
}

/// A file that does not freeze is found out by the reboot, and may freeze for the next one.
fn reboot_refused(world: &mut World) -> Result<()> {
    driver::reset()?;
    B.fail("freeze", 0, 1, Some(Errno::EBUSY as i32))?;
    let file = inherited(B.file(7)?)?;
    let words = format!("luoctl hold vm 7={} -- luoctl kexec", file.as_raw_fd());
    let why =
        "the reboot was refused: EBUSY: Device or resource busy; the kernel's log names the file";
    refused(&words, 1, why)?;

    B.fail("freeze", 0, 1, Some(Errno::EBUSY as i32))?;
    let session = Device::open()?.create_session(b"mine")?;
    done!(session.preserve_fd(file.as_fd(), 7));
    let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
    refused!(kexec, Errno::EBUSY);
    let check = done("luoctl check", 0)?;
    if world.luo == Luo::Rust {
        let warning = "warning files: 'mine', 0x7: 'luo-test-b' refused the last reboot: \
                       Device or resource busy (os error 16)\n";
        ensure!(check.contains(warning), "{check}");
    }
    drop(session);
    driver::reset()
}

/// Has luoctl hold two files and reboot.
fn kexec(world: &mut World) -> Result<()> {
    let next = Next::after(world.stage.try_into()?)?;
    let (first, second) = (inheritable(b"first")?, inheritable(b"second")?);
    let hold = format!(
        "luoctl hold vm 1={} 0x2={} --",
        first.as_raw_fd(),
        second.as_raw_fd()
    );
    let kexec = format!(
        "luoctl kexec --kernel {} --initrd {} --command-line",
        next.kernel, next.initramfs
    );
    println!("# $ {hold} {kexec} ...");
    let mut command = command(&format!("{hold} {kexec}"))?;
    command.arg(next.cmdline);
    world.reboot = Some(command);
    world.keep(first);
    world.keep(second);
    Ok(())
}

fn get(_: &mut World) -> Result<()> {
    same!(done("luoctl get notes", 0)?, NOTED);
    refused(
        "luoctl get notes",
        66,
        "there is no session 'notes' of the previous kernel",
    )
}

/// What could not be written is not lost.
fn get_again(_: &mut World) -> Result<()> {
    let name = r"two\012lines";
    let said = run(&format!("luoctl get {name} -o /none/file"))?;
    same!(said.status, 66);
    let pid = keeper(&said.err, name, "for another try")?;
    same!(listed(name)?, Some(format!("luoctl({pid})")));
    same!(done(&format!("luoctl get {name} -o /tmp/file"), 0)?, "");
    same!(fs::read("/tmp/file")? == long(), true);
    eventually("the keeper is gone", || {
        Ok(!Path::new(&format!("/proc/{pid}")).exists())
    })?;
    same!(listed(name)?, None);
    Ok(())
}

/// The last try of some has the files, where it asked for them.
fn take(_: &mut World) -> Result<()> {
    refused(
        "luoctl take vm 1 2 -- nothing",
        127,
        "nothing: there is no such command",
    )?;
    let said = run("luoctl take vm 1 7 2=9 -- luo-kexec-tests --started-with")?;
    same!(said.status, 66);
    same!(
        last_line(&said.err),
        "luoctl: 0x7: the session has no such file"
    );
    keeper(&said.err, "vm", "for another try")?;
    let said = run("luoctl take vm 1=9 2 -- /none")?;
    same!(said.status, 127);
    let told = done(
        "luoctl take vm 1=9 0x2 -- luo-kexec-tests --started-with",
        0,
    )?;
    same!(
        told,
        "LISTEN_FDS=1 LISTEN_FDNAMES=0x2 LISTEN_PID=mine\n3: second\n9: first\n"
    );
    Ok(())
}

fn take_again(_: &mut World) -> Result<()> {
    let gone = "there is no session 'vm' of the previous kernel";
    refused("luoctl take vm 1 2 -- luoctl list", 66, gone)
}

fn nothing_to_take(_: &mut World) -> Result<()> {
    same!(done("luoctl list", 0)?, "");
    Ok(())
}

/// Tells that this program runs, and waits to be ended.
pub fn wait() -> Result<ExitCode> {
    println!();
    loop {
        pause();
    }
}

/// Tells what `luoctl take` has given to this program.
pub fn started_with() -> Result<ExitCode> {
    let variable = |name| env::var(name).unwrap_or_default();
    let pid = match variable("LISTEN_PID").parse() == Ok(process::id()) {
        true => "mine",
        false => "none",
    };
    println!(
        "LISTEN_FDS={} LISTEN_FDNAMES={} LISTEN_PID={pid}",
        variable("LISTEN_FDS"),
        variable("LISTEN_FDNAMES")
    );
    for fd in 3..=9 {
        if !Path::new(&format!("/proc/self/fd/{fd}")).exists() {
            continue;
        }
        // SAFETY: Nothing else of this program has it: it was there from the start.
        let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut content = String::new();
        file.read_to_string(&mut content)?;
        println!("{fd}: {content}");
    }
    Ok(ExitCode::SUCCESS)
}
