// SPDX-License-Identifier: GPL-2.0

//! Where the Rust LUO answers differently from the C LUO, on purpose; everything else is the
//! same on both. `Documentation/differences.rst` tells the same to people.

use anyhow::Result;
use clap::ValueEnum;
use luo_guest::DIFFERENCE;
use nix::{
    errno::Errno,
    libc::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE},
};

/// The two implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Luo {
    C,
    Rust,
}

/// One thing of which each implementation has its own version.
pub struct Difference<T: 'static> {
    /// What it is called in the kernel's log.
    name: &'static str,
    /// What the C LUO does.
    c: T,
    /// What the Rust LUO does.
    rust: T,
}

impl<T> Difference<T> {
    /// What is due on a kernel with this LUO.
    pub fn on(&'static self, luo: Luo) -> &'static T {
        match luo {
            Luo::C => &self.c,
            Luo::Rust => &self.rust,
        }
    }

    /// Marks in the kernel's log what `body` does as what shows this difference: the callbacks
    /// that are called meanwhile need not be the same on both.
    pub fn apart<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        let mark = |edge| luo_guest::log(DIFFERENCE, format!("{edge} {}", self.name).as_bytes());
        mark("begin")?;
        let result = body();
        mark("end")?;
        result
    }
}

/// Retrieving a session again after its descriptor could not be copied out to the caller.
///
/// C closes the session for the caller, which finishes it and drops files that nobody has seen.
/// In Rust a session counts as retrieved only once the caller has it.
pub static RETRIEVE_AFTER_FAULT: Difference<Result<(), Errno>> = Difference {
    name: "retrieve-after-fault",
    c: Err(Errno::ENOENT),
    rust: Ok(()),
};

/// Whether a create that fails for its name can leave an empty block at the end of the chain.
///
/// C takes room for the session before it looks for the name, and keeps it: with 51 sessions, a
/// whole block, the next kernel panics over the empty second one. The next close gives the room
/// back. In Rust a create that fails leaves nothing behind.
pub static REFUSED_CREATE_LEAVES_BLOCK: Difference<bool> = Difference {
    name: "refused-create-leaves-block",
    c: true,
    rust: false,
};

/// Retrieving a session again that was closed while a file's handler would not let it finish.
///
/// C has lost the session by then: it can be neither retrieved nor finished. In Rust it can be
/// retrieved as if it never had been.
pub static RETRIEVE_AFTER_UNFINISHED: Difference<Result<(), Errno>> = Difference {
    name: "retrieve-after-unfinished",
    c: Err(Errno::EINVAL),
    rust: Ok(()),
};

/// The order in which a refused kexec unfreezes files of one session that were frozen one after
/// another; the sessions themselves go from the last to the first.
///
/// C goes from a session's first file to its last. In Rust whatever is undone is undone in
/// reverse.
pub static UNFREEZE_ORDER: Difference<fn(&mut [u32])> = Difference {
    name: "unfreeze-order",
    c: |_| {},
    rust: |numbers| numbers.reverse(),
};

/// Whether an FLB has to have been asked for before the last file that needs it can finish.
///
/// C takes the number of those files over only when it retrieves the FLB: without that the count
/// underflows with a warning, and the FLB is never finished. In Rust the last file retrieves it.
pub static FLB_MUST_BE_ASKED_FOR: Difference<bool> = Difference {
    name: "flb-must-be-asked-for",
    c: true,
    rust: false,
};

/// Whether an FLB is handed over with the references that are held at the kexec counted as files.
///
/// C counts both together. The next kernel has no such file, so it never finishes the FLB. In Rust
/// what only references hold is not handed over.
pub static FLB_COUNTS_REFERENCES: Difference<bool> = Difference {
    name: "flb-counts-references",
    c: true,
    rust: false,
};

/// Whether a reboot waits for a call on a session whose caller's memory is served late.
///
/// C writes the answer with the session locked. In Rust no lock is held then.
pub static REBOOT_WAITS_FOR_MEMORY: Difference<bool> = Difference {
    name: "reboot-waits-for-memory",
    c: true,
    rust: false,
};

/// Preserving a file whose handler asks for the token of another one.
///
/// C has no such look-ups before Linux 7.4, and says so.
pub static LOOK_UPS: Difference<Result<(), Errno>> = Difference {
    name: "look-ups",
    c: Err(Errno::EOPNOTSUPP),
    rust: Ok(()),
};

/// Whether the last file can finish although an FLB that it needs could not be retrieved.
///
/// C warns about the FLB with a backtrace. In Rust it is a line in the log.
pub static FINISH_WITH_FAILED_FLB: Difference<bool> = Difference {
    name: "finish-with-failed-flb",
    c: false,
    rust: true,
};

/// What a file that nobody can execute has in the next kernel, if that is sealed: seals besides those
/// that it had, and permissions.
///
/// C makes a file that can be executed, and seals it: that seals its content, too. In Rust the file
/// gets its permissions first.
pub static SEALED_NOT_TO_BE_EXECUTED: Difference<(i32, u32)> = Difference {
    name: "sealed-not-to-be-executed",
    c: (
        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE,
        0o777,
    ),
    rust: (0, 0o666),
};

/// Whether seals are handed over that are added to a file while it is preserved.
///
/// C writes the seals down when the file is preserved. In Rust that is done again at the reboot.
pub static LATER_SEALS: Difference<bool> = Difference {
    name: "later-seals",
    c: false,
    rust: true,
};

/// Whether a file with larger holes than memory could fill is refused, and nothing else happens.
///
/// C takes all memory there is, and somebody is killed for it, or the machine panics; a list of pages
/// that is too long for the allocator is a warning with a backtrace. In Rust memory is asked for first.
pub static LARGE_HOLES_ARE_REFUSED: Difference<bool> = Difference {
    name: "large-holes-are-refused",
    c: false,
    rust: true,
};

/// Whether a file that cannot be preserved for want of memory is no more than an errno.
///
/// C lets the allocator complain, with a backtrace. In Rust nothing is logged.
pub static PRESERVE_FAILS_IN_SILENCE: Difference<bool> = Difference {
    name: "preserve-fails-in-silence",
    c: false,
    rust: true,
};

/// Whether a process that preserves a large file can be killed meanwhile.
///
/// C goes on to the end. In Rust it dies between two pieces of the file.
pub static PRESERVE_CAN_BE_KILLED: Difference<bool> = Difference {
    name: "preserve-can-be-killed",
    c: false,
    rust: true,
};

/// Whether the memory of a file is given back that could not be retrieved for want of memory.
///
/// C loses it at some of the allocations. In Rust all of it goes back to the system.
pub static FAILED_RETRIEVE_GIVES_BACK: Difference<bool> = Difference {
    name: "failed-retrieve-gives-back",
    c: false,
    rust: true,
};
