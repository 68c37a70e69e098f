// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: what it boots, what it runs, how long it may take.

use crate::arch::Arch;
use crate::console::Line;
use crate::initramfs;
use crate::run::End;
use crate::run::Run;
use anyhow::Context;
use anyhow::Result;
use std::ffi::OsString;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// How long a kernel may be silent that has crashed: what waits for the one that did waits forever.
const SILENCE: Duration = Duration::from_secs(5);

/// How QEMU executes the guest.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Accel {
    /// Translated: works everywhere
    #[default]
    Tcg,
    /// On the host's processor: where that is of the kernel's architecture and `/dev/kvm` works
    Kvm,
    /// Translated, and each instruction takes a nanosecond of the guest's time
    Icount,
}

/// A virtual machine, not yet started.
#[derive(Clone, Debug)]
pub struct Vm {
    build: PathBuf,
    arch: &'static Arch,
    files: Vec<(PathBuf, String)>,
    run: Vec<String>,
    stages: u32,
    params: Vec<String>,
    memory: String,
    cpus: u32,
    accel: Accel,
    timeout: Duration,
    log: PathBuf,
    qemu_args: Vec<OsString>,
}

impl Vm {
    /// A machine that boots the kernel of the build directory `build`, has `init` of
    /// the directory `guest` run `program`, and logs its console to `log`.
    pub fn new(build: &Path, guest: &Path, program: &Path, log: &Path) -> Self {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let arch = Arch::of(build);
        Self {
            build: build.to_owned(),
            arch,
            files: vec![
                (guest.join("init"), "/init".to_owned()),
                (build.join(arch.kernel), luo_guest::KERNEL.to_owned()),
                (program.to_owned(), format!("/bin/{name}")),
            ],
            run: vec![name],
            stages: 1,
            params: Vec::new(),
            memory: "1G".to_owned(),
            cpus: 1,
            accel: Accel::Tcg,
            timeout: Duration::from_secs(120),
            log: log.to_owned(),
            qemu_args: Vec::new(),
        }
    }

    /// Gives the program arguments, [`luo_guest::STAGE`] for the number of the stage.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.run.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets how many kernels run the program in turn.
    pub fn stages(mut self, stages: u32) -> Self {
        self.stages = stages;
        self
    }

    /// Adds kernel parameters; one that the kernel does not know becomes environment.
    pub fn params<S: Into<String>>(mut self, params: impl IntoIterator<Item = S>) -> Self {
        self.params.extend(params.into_iter().map(Into::into));
        self
    }

    /// Sets the build directory of the kernel that every second stage boots.
    pub fn next(mut self, build: &Path) -> Self {
        for (_, to) in &mut self.files {
            if to == luo_guest::KERNEL {
                *to = luo_guest::ODD_KERNEL.to_owned();
            }
        }
        let kernel = build.join(self.arch.kernel);
        self.file(&kernel, luo_guest::KERNEL)
    }

    /// Adds a file, to be found at `path` in the guest.
    pub fn file(mut self, file: &Path, path: &str) -> Self {
        self.files.push((file.to_owned(), path.to_owned()));
        self
    }

    /// Sets the memory size, as QEMU writes it.
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.to_owned();
        self
    }

    /// Sets how many processors there are.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Sets how QEMU executes the guest.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = accel;
        self
    }

    /// Sets how long all stages together may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Logs to `trace` the instructions of the kernel that come to be executed, of those in
    /// `ranges`, as QEMU's `-dfilter` takes them: only known without KASLR, which is switched off.
    /// So is remembering who allocated what: such a kernel is not optimised, and its call stacks
    /// are deeper than it remembers.
    pub fn trace(self, ranges: &str, trace: &Path) -> Self {
        self.qemu_args(["-d", "in_asm", "-dfilter", ranges, "-D"])
            .qemu_args([trace])
            .params(["nokaslr", luo_guest::NO_OWNERS])
    }

    /// Emulates a machine whose kernel has KVM, on a processor with AMD's SVM. To be combined with
    /// [`Accel::Icount`], without which QEMU 7.2 now and then loses an interrupt of a guest in a guest.
    pub fn kvm_inside(self) -> Self {
        self.qemu_args(["-cpu", "max", "-rtc", "clock=vm"])
            .params(["mitigations=off", "tsc_early_khz=1000000"])
    }

    /// Gives QEMU more arguments.
    pub fn qemu_args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.qemu_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Runs the machine to its end, or to its timeout, and shows `watch` every line.
    pub fn run(&self, watch: impl FnMut(&Line)) -> Result<Run> {
        let scratch = tempfile::tempdir()?;
        let initramfs = initramfs::pack(&self.build, &self.files, scratch.path())?;
        let log = File::create(&self.log).with_context(|| self.log.display().to_string())?;
        let mut qemu = self.qemu(&initramfs, &log)?;
        let followed = self.follow(&mut qemu, log, watch);
        if followed.is_err() {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
        followed
    }

    fn cmdline(&self) -> String {
        format!(
            "console={} {} panic=-1 printk.devkmsg=on retain_initrd liveupdate=on {} \
             LUO_STAGE=1 LUO_STAGES={} -- {}",
            self.arch.console,
            self.arch.params,
            self.params.join(" "),
            self.stages,
            self.run.join(" "),
        )
    }

    /// Starts QEMU. A kexec is no reset to it; a reset ends it.
    fn qemu(&self, initramfs: &Path, log: &File) -> Result<Child> {
        let accel: &[_] = match self.accel {
            Accel::Tcg => &["-accel", "tcg"],
            Accel::Kvm => &["-accel", "kvm"],
            Accel::Icount => &["-accel", "tcg", "-icount", "shift=0,sleep=off"],
        };
        Command::new(self.arch.qemu)
            .args(accel)
            .args(self.arch.machine(self.accel))
            .args(["-m", &self.memory])
            .args(["-smp", &self.cpus.to_string()])
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(self.build.join(self.arch.kernel))
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &self.cmdline()])
            .args(&self.qemu_args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context(self.arch.qemu)
    }

    fn follow(&self, qemu: &mut Child, mut log: File, mut watch: impl FnMut(&Line)) -> Result<Run> {
        let start = Instant::now();
        let console = BufReader::new(qemu.stdout.take().context("QEMU's console")?);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Ends with QEMU, or with the receiver.
            for line in console.split(b'\n').map_while(Result::ok) {
                if sender.send((start.elapsed(), line)).is_err() {
                    break;
                }
            }
        });

        let mut lines = Vec::new();
        let mut crashed = false;
        let end = loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            let patience = if crashed { left.min(SILENCE) } else { left };
            match receiver.recv_timeout(patience) {
                Ok((at, bytes)) => {
                    log.write_all(&bytes)?;
                    log.write_all(b"\n")?;
                    let line = Line::new(at, &bytes);
                    watch(&line);
                    crashed |= line.crashes();
                    lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break End::Exit(qemu.wait()?),
                Err(RecvTimeoutError::Timeout) => {
                    qemu.kill()?;
                    qemu.wait()?;
                    break End::Hang(start.elapsed());
                }
            }
        };
        Ok(Run {
            lines,
            end,
            stages: self.stages,
        })
    }
}
