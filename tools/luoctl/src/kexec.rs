// SPDX-License-Identifier: GPL-2.0

//! `luoctl kexec`: checks, loads, and reboots into the next kernel.

use crate::{
    check::Report,
    failure::{Exit, Failure, Outcome, Trying},
    next::Next,
    output::{say, Format},
};
use clap::Args;
use liveupdate::kexec;
use nix::{
    errno::Errno,
    sys::reboot::{reboot, RebootMode},
    unistd::sync,
};
use std::{ffi::CString, fs::File, io, os::fd::AsFd, path::Path};

/// Reboot into the next kernel, if a live update works
///
/// Makes the checks of `luoctl check`, loads the image by kexec_file_load(), writes what the file
/// systems have not written yet, and reboots at once: nothing is shut down, as who holds sessions
/// has to be there until the end. Without --kernel, the image is taken that is loaded. If the checks
/// fail, nothing is done, and the reasons are shown; --force goes on.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    next: Next,
    /// Load the image, and do not reboot
    #[arg(long, visible_alias = "no-reboot", requires = "kernel")]
    load_only: bool,
    /// Go on although checks have failed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub fn run(self) -> Outcome {
        let image = self.next.kernel.as_deref();
        let cmdline = match (image, self.next.cmdline()?) {
            (Some(_), None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    "--kernel needs --reuse-cmdline or --command-line",
                ))
            }
            (_, cmdline) => cmdline.unwrap_or_default(),
        };
        let report = Report::of(&self.next, image.is_none())?;
        if report.works {
            say("checked: as far as can be told, a live update works");
        } else if self.force {
            tell(&report);
        } else {
            self.format.show(&report)?;
            return Ok(report.exit() as u8);
        }
        if let Some(image) = image {
            load(image, self.next.initrd.as_deref(), cmdline)?;
            say(format!("loaded: {}", image.display()));
        }
        if self.load_only {
            return Ok(Exit::Done as u8);
        }
        say("writing what the file systems have not written yet");
        sync();
        say("rebooting");
        match reboot(RebootMode::RB_KEXEC) {
            Ok(never) => match never {},
            Err(errno) => {
                // What has refused may be seen now.
                tell(&Report::of(&Next::default(), false)?);
                Err(not_rebooted(errno))
            }
        }
    }
}

/// Tells what is in the way.
fn tell(report: &Report) {
    for finding in report.failed() {
        say(format!("{}: {}", finding.check, finding.reason));
    }
}

fn load(image: &Path, initrd: Option<&Path>, cmdline: String) -> Result<(), Failure> {
    let open = |path: &Path| File::open(path).trying(path.display());
    let kernel = open(image)?;
    let initrd = initrd.map(open).transpose()?;
    let cmdline = CString::new(cmdline).map_err(|error| Failure::new(Exit::Usage, error))?;
    let loaded = kexec::load(kernel.as_fd(), initrd.as_ref().map(AsFd::as_fd), &cmdline);
    loaded.map_err(|error| not_loaded(error).of(image.display()))
}

/// Why an image cannot be loaded.
fn not_loaded(error: io::Error) -> Failure {
    let (exit, why) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOEXEC) => (Exit::System, "not an image that this kernel can load"),
        Some(Errno::ENOSYS) => (Exit::System, "this kernel has no kexec_file_load() (CONFIG_KEXEC_FILE)"),
        Some(Errno::EPERM) => (Exit::NoPermission, "no permission to load a kernel: for root, unless kernel.kexec_load_disabled or a lockdown forbids it"),
        Some(Errno::EBUSY) => (Exit::Busy, "a kernel is being loaded by somebody else"),
        Some(Errno::EKEYREJECTED | Errno::ENOKEY | Errno::ENODATA | Errno::EBADMSG) => {
            (Exit::NoPermission, "its signature is missing or not trusted")
        }
        Some(Errno::E2BIG | Errno::EINVAL) => (Exit::Usage, "this kernel does not take such an image or command line"),
        _ => return error.into(),
    };
    Failure::new(exit, why)
}

/// Why the machine still runs.
fn not_rebooted(errno: Errno) -> Failure {
    let why = match errno {
        Errno::ENOEXEC => {
            "the loaded image cannot carry sessions: it was not loaded by kexec_file_load(), \
             or is for pages of another size"
        }
        Errno::EINVAL => "no image is loaded",
        Errno::EPERM => return Failure::new(Exit::NoPermission, "no permission to reboot"),
        _ => {
            return Failure::new(
                Exit::WouldNotWork,
                format!("the reboot was refused: {errno}; the kernel's log names the file"),
            )
        }
    };
    Failure::new(Exit::WouldNotWork, why)
}
