// SPDX-License-Identifier: GPL-2.0

//! What is told of a virtual machine that survives: by the program that runs it, and by the
//! guest itself on its serial line.

use serde::{Deserialize, Serialize};

/// The kernel that the guest boots, which is its host's.
pub const KERNEL: &str = crate::KERNEL;
/// The guest's own initramfs.
pub const INITRAMFS: &str = "/boot/initramfs-guest";
/// The VMM: guest and host are both of x86-64.
pub const VMM: &str = "/usr/bin/qemu-system-x86_64";
/// The guest's memory, in MiB.
pub const MEMORY_MIB: u64 = 128;

/// What happened, and when.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// In nanoseconds, on a clock that goes on across a kexec.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happens to the guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum What {
    /// The host's kernel is up, and the program that manages the guest runs.
    Up,
    /// The VMM was started with a guest that boots.
    Booting,
    /// The guest wrote this on its serial line: a line, or a part of one where the VMM ended.
    Serial(String),
    /// The guest's memory is about to be preserved.
    Preserving,
    /// It was, while the guest ran.
    Preserved,
    /// The guest is about to be stopped.
    Stopping,
    /// The VMM stopped the guest.
    Stopped,
    /// The VMM wrote the state of its devices, and ended.
    Saved {
        /// The size of the state.
        bytes: u64,
    },
    /// The state was preserved as well.
    StatePreserved,
    /// Next is the reboot.
    Rebooting,
    /// The guest's memory and the state of its devices were retrieved.
    Retrieved {
        /// The size of the state.
        bytes: u64,
    },
    /// All of the guest's memory was read while it was stopped.
    Read {
        /// XXH64 of it.
        checksum: u64,
    },
    /// A new VMM has loaded the state.
    Loaded,
    /// The guest runs on.
    Running,
    /// The session has been finished.
    Finished,
}

/// What the guest says when it counts, as JSON in a line of its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tick {
    /// How often it has counted, from 1.
    pub tick: u64,
    /// Its monotonic clock, in milliseconds.
    pub clock: u64,
    /// The longest that this clock went from one tick to the next, in milliseconds.
    pub longest: u64,
    /// The ticks that its timer had to give at once with another one.
    pub missed: u64,
    /// How often it has compared all of its pattern with what it should be.
    pub passes: u64,
    /// How many pieces of the pattern were not the same.
    pub damaged: u64,
    /// The random id of its boot.
    pub boot: String,
}

impl Tick {
    /// Reads what the guest said, if that is a whole line of its own.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}
