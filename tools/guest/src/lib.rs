// SPDX-License-Identifier: GPL-2.0

//! What the guest's programs share: how they talk to the host, in whole records in the kernel's
//! log, and how the kernel of the next stage is loaded.
//!
//! A record written to `/dev/kmsg` reaches the console in one piece and in
//! order with what the kernel itself has to say, and its tag keeps it apart
//! from that. A program that prints "BUG:" is therefore no kernel bug.

pub mod vm;

use anyhow::Context;
use anyhow::Result;
use liveupdate::kexec;
use nix::unistd::sysconf;
use nix::unistd::SysconfVar;
use serde::Deserialize;
use serde::Serialize;
use std::ffi::CString;
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;
use xxhash_rust::xxh64::Xxh64;

/// Tag of a [`Report`] in the kernel's log.
pub const REPORT: &str = "luo-report: ";
/// Tag of a line that the guest's program printed.
pub const OUTPUT: &str = "luo-output: ";
/// Tag of the marks around what is not to be the same on C and Rust: `begin NAME`, `end NAME`.
pub const DIFFERENCE: &str = "luo-difference: ";
/// Tag of a line, in a program's output, that says how something came out.
pub const OUTCOME: &str = "# outcome: ";

/// How the name of a test begins that damages what is handed over.
pub const DAMAGED: &str = "damaged-";
/// How the name of such a test ends if that is to end the next kernel.
pub const PANICS: &str = "-panic";
/// What the LUO in Rust logs of a hand-over that it refuses.
pub const REFUSED: &str = "refused what the previous kernel handed over";

/// Where the guest finds the kernel for the next stage.
pub const KERNEL: &str = "/boot/vmlinuz";
/// Where it finds the one for odd stages, if that is another.
pub const ODD_KERNEL: &str = "/boot/vmlinuz-odd";

/// A kernel parameter: to hand memfds over in a format that only the handler in Rust has.
pub const RUNS: &str = "liveupdate.memfd=runs";

/// A kernel parameter: to remember who allocated what, for the tests to see what LUO holds.
pub const OWNERS: &str = "slab_debug=U,kmalloc-*";
/// Not to.
pub const NO_OWNERS: &str = "slab_debug=-";

/// An argument that stands for the number of the stage.
pub const STAGE: &str = "@stage@";

/// The kernel refuses longer records.
const RECORD_MAX: usize = 1000;

/// What a guest program tells the host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Report {
    /// The kernel is up and the program of this stage is about to run.
    Started {
        /// Number of this stage, counted from 1.
        stage: u32,
        /// The kernel's release and version.
        kernel: String,
        /// The kernel's random id of this boot.
        boot_id: String,
    },
    /// The program of this stage ended; a signal counts as 128 plus its number.
    Ended {
        /// Number of this stage.
        stage: u32,
        /// Exit status, 0 for success.
        status: i32,
    },
    /// The guest could not go on.
    Failed {
        /// What was tried, and why it failed.
        error: String,
    },
    /// A file was read, before it is handed over or after.
    File(File),
    /// The next thing is the `reboot()` into the next kernel.
    Rebooting,
    /// The first descriptor was retrieved.
    Retrieved,
    /// Something happened to the virtual machine inside this machine.
    Vm(vm::Event),
    /// A benchmark's result.
    Measured {
        /// What was measured.
        what: String,
        /// In what unit, both sides know.
        value: f64,
    },
}

/// A preserved file, as read from its start to its end.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct File {
    /// Name of its session.
    pub session: String,
    /// Its token.
    pub token: u64,
    /// Its size.
    pub bytes: u64,
    /// XXH64 of the contents.
    pub checksum: u64,
}

/// The size of a page, in bytes: that of the kernel that runs, which was built for it.
pub static PAGE: LazyLock<usize> = LazyLock::new(|| {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok())
        .expect("every kernel tells it")
});

/// The processor's timestamp counter, which goes on across a kexec. Where QEMU runs with
/// `-icount shift=0`, it advances by one with each instruction, and in a nanosecond.
#[cfg(target_arch = "x86_64")]
pub fn timestamp() -> u64 {
    // SAFETY: Every x86-64 processor has the counter, and Linux lets programs read it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The same of arm64: the counter of its virtual timer, if that counts nanoseconds.
#[cfg(target_arch = "aarch64")]
pub fn timestamp() -> u64 {
    let now;
    // SAFETY: Every processor has the counter, and Linux lets programs read it. The barrier keeps
    // it from being read ahead of what is to be measured.
    unsafe {
        std::arch::asm!("isb", "mrs {now}, cntvct_el0", now = out(reg) now, options(nostack))
    };
    now
}

/// The size of a file, and the XXH64 of what is in it, read from its start to its end.
pub fn checksum(file: &fs::File) -> io::Result<(u64, u64)> {
    let mut hash = Xxh64::new(0);
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read_at(&mut buffer, bytes)? {
            0 => return Ok((bytes, hash.digest())),
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Writes `text` under `tag` into the kernel's log, in as many records as it needs.
pub fn log(tag: &str, text: &[u8]) -> io::Result<()> {
    let mut kmsg = OpenOptions::new().write(true).open("/dev/kmsg")?;
    for part in text.chunks(RECORD_MAX - tag.len()) {
        kmsg.write_all(&[tag.as_bytes(), part].concat())?;
    }
    Ok(())
}

/// The kernel for a stage, with this initramfs once more.
pub struct Next {
    /// Its image.
    pub kernel: &'static str,
    /// The initramfs.
    pub initramfs: &'static str,
    /// Its command line.
    pub cmdline: String,
}

impl Next {
    /// What follows `stage`.
    pub fn after(stage: u32) -> io::Result<Self> {
        let odd = stage.is_multiple_of(2) && Path::new(ODD_KERNEL).exists();
        let next = stage + 1;
        let cmdline = fs::read_to_string("/proc/cmdline")?
            .trim_end()
            .replace(
                &format!("LUO_STAGE={stage} "),
                &format!("LUO_STAGE={next} "),
            )
            .replace(&format!(" stage{next}:"), " ");
        Ok(Self {
            kernel: if odd { ODD_KERNEL } else { KERNEL },
            initramfs: "/sys/firmware/initrd",
            cmdline,
        })
    }
}

/// Loads a kernel for the stage after `stage`.
pub fn load_next(stage: u32) -> Result<()> {
    let next = Next::after(stage)?;
    let open = |path: &'static str| fs::File::open(path).context(path);
    let (kernel, initramfs) = (open(next.kernel)?, open(next.initramfs)?);
    let cmdline = CString::new(next.cmdline)?;
    kexec::load(kernel.as_fd(), Some(initramfs.as_fd()), &cmdline)?;
    Ok(())
}

impl Report {
    /// Sends the report to the host.
    pub fn send(&self) -> io::Result<()> {
        log(REPORT, &serde_json::to_vec(self)?)
    }

    /// Reads a report back from what follows its tag.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
