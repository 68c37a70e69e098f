// SPDX-License-Identifier: GPL-2.0

//! What differs between the processors that a kernel may be for.

use crate::vm::Accel;
use std::{fs, path::Path};

/// How QEMU emulates a machine for the kernels of one architecture.
#[derive(Debug)]
pub(crate) struct Arch {
    /// QEMU for it.
    pub(crate) qemu: &'static str,
    /// The kernel, in its build directory.
    pub(crate) kernel: &'static str,
    /// The kernel's name for the serial line.
    pub(crate) console: &'static str,
    /// Kernel parameters that it needs.
    pub(crate) params: &'static str,
    /// The processor of a machine `virt`; QEMU's own machine, if that is not it.
    cpu: Option<&'static str>,
}

const X86_64: Arch = Arch {
    qemu: "qemu-system-x86_64",
    kernel: "arch/x86/boot/bzImage",
    console: "ttyS0",
    // The check of the timer counts on a host with time to spare.
    params: "no_timer_check",
    cpu: None,
};

const ARM64: Arch = Arch {
    qemu: "qemu-system-aarch64",
    kernel: "arch/arm64/boot/Image",
    console: "ttyAMA0",
    // Tests read what the kernel said, and what falls out of the log's 128 KiB is not there. And a
    // kernel may panic before it has the driver of its serial line.
    params: "log_buf_len=1M earlycon",
    // Has pages of all three sizes, and takes QEMU a fourth of the time that `max` does.
    cpu: Some("cortex-a76"),
};

impl Arch {
    /// QEMU's arguments for the machine.
    pub(crate) fn machine(&self, accel: Accel) -> Vec<String> {
        let Some(cpu) = self.cpu else {
            return Vec::new();
        };
        let (machine, cpu) = match accel {
            Accel::Tcg => ("virt", cpu.to_owned()),
            Accel::Kvm => ("virt,gic-version=host", "host".to_owned()),
            // The counter that programs read advances by one with each nanosecond, too.
            Accel::Icount => ("virt", format!("{cpu},cntfrq=1000000000")),
        };
        ["-machine", machine, "-cpu", &cpu]
            .map(str::to_owned)
            .into()
    }

    /// That of the kernel in a build directory; where there is none, this program's own.
    pub(crate) fn of(build: &Path) -> &'static Self {
        let config = fs::read_to_string(build.join(".config")).unwrap_or_default();
        let has = |option| config.lines().any(|line| line == option);
        if has("CONFIG_ARM64=y") || cfg!(target_arch = "aarch64") && config.is_empty() {
            &ARM64
        } else {
            &X86_64
        }
    }
}
