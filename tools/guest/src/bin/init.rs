// SPDX-License-Identifier: GPL-2.0

//! PID 1 of a test machine: runs one program, stage by stage, a live update
//! between one stage and the next.
//!
//! The kernel hands its unknown parameters over as environment and what follows
//! `--` as arguments: `LUO_STAGE=1 LUO_STAGES=3 -- PROGRAM -s @stage@` runs
//! `/bin/PROGRAM -s 1` and, where that exits 0, boots into stage 2.
//! A parameter that begins with `stage3:` is one, without that, for the kernels from stage 3 on.
//! `/boot/vmlinuz` is the next kernel, or takes turns with `/boot/vmlinuz-odd`, and the
//! initramfs that we came from, kept by `retain_initrd`, its initramfs: the image does not
//! have to contain itself.

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use luo_guest::load_next;
use luo_guest::Report;
use luo_guest::OUTPUT;
use luo_guest::STAGE;
use nix::mount::mount;
use nix::mount::MsFlags;
use nix::sys::reboot::reboot;
use nix::sys::reboot::RebootMode;
use nix::sys::resource::setrlimit;
use nix::sys::resource::Resource;
use nix::sys::utsname::uname;
use nix::sys::wait::waitpid;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::env;
use std::fs;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::PipeReader;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::thread;

/// A parameter for the code that decompresses the kernel; the kernel itself takes it for an
/// argument of ours, before the others.
const NO_KASLR: &str = "nokaslr";

const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("debugfs", "/sys/kernel/debug"),
    ("debugfs", "/debugfs"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/dev/shm"),
];

/// As many descriptors as the kernel lets a process have.
const OPEN_FILES: u64 = 1 << 20;

/// What [`run_program`] puts into the pipe behind the program's last word.
const END_OF_OUTPUT: &[u8] = b"\x04\n";

fn main() {
    if let Err(error) = run() {
        let error = format!("init: {error:#}");
        eprintln!("{error}");
        let _ = Report::Failed { error }.send();
    }
    // ACPI, and with it power off, does not survive a kexec; to the host a reset is the end.
    let refused = reboot(RebootMode::RB_AUTOBOOT);
    eprintln!("init: reboot: {refused:?}");
}

fn run() -> Result<()> {
    mount_all()?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).context("RLIMIT_NOFILE")?;

    let stage = number("LUO_STAGE")?;
    let further = stage < number("LUO_STAGES")?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot_id")?;
    let kernel = uname().context("uname")?;
    Report::Started {
        stage,
        kernel: [kernel.release(), kernel.version()]
            .map(|s| s.to_string_lossy())
            .join(" "),
        boot_id: boot_id.trim_end().to_owned(),
    }
    .send()?;

    if further {
        load_next(stage).context("kexec_file_load")?;
    }
    let status = run_program(stage)?;
    Report::Ended { stage, status }.send()?;
    if further && status == 0 {
        reboot(RebootMode::RB_KEXEC).context("reboot into the next kernel")?;
    }
    Ok(())
}

fn mount_all() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).context(target)?;
        mount(
            Some(kind),
            target,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mount {target}"))?;
    }
    Ok(())
}

fn number(variable: &str) -> Result<u32> {
    let value = env::var(variable).context(variable.to_owned())?;
    value.parse().with_context(|| format!("{variable}={value}"))
}

/// Runs this stage's program to its end, passes its output on, and reaps whatever else dies.
fn run_program(stage: u32) -> Result<i32> {
    let number = stage.to_string();
    let mut args = env::args()
        .skip(1)
        .skip_while(|arg| arg == NO_KASLR)
        .map(|arg| if arg == STAGE { number.clone() } else { arg });
    let program = format!(
        "/bin/{}",
        args.next().ok_or_else(|| anyhow!("no program to run"))?
    );
    let (output, mut input) = io::pipe()?;
    let forwarder = thread::spawn(move || forward(output));

    let child = Command::new(&program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input.try_clone()?)
        .spawn()
        .context(program)?;
    let child = Pid::from_raw(child.id().try_into()?);
    let status = loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, status) if pid == child => break status,
            WaitStatus::Signaled(pid, signal, _) if pid == child => break 128 + signal as i32,
            _ => {}
        }
    };

    // The program's own children may keep the pipe open for ever.
    input.write_all(END_OF_OUTPUT)?;
    let forwarded = forwarder.join();
    ensure!(
        matches!(forwarded, Ok(Ok(()))),
        "program output: {forwarded:?}"
    );
    Ok(status)
}

fn forward(output: PipeReader) -> io::Result<()> {
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let last = line.ends_with(&END_OF_OUTPUT[..1]);
        let text = line.strip_suffix(&END_OF_OUTPUT[..1]).unwrap_or(&line);
        luo_guest::log(OUTPUT, text)?;
        if last {
            break;
        }
    }
    Ok(())
}
