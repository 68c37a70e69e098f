// SPDX-License-Identifier: GPL-2.0

//! Where the Rust LUO answers differently from the C LUO, on purpose; everything else is the
//! same on both. `Documentation/differences.rst` tells the same to people.

use clap::ValueEnum;
use nix::errno::Errno;

/// The two implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Luo {
    C,
    Rust,
}

/// One thing of which each implementation has its own version.
pub struct Difference<T: 'static> {
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
}

/// Retrieving a session again after its descriptor could not be copied out to the caller.
///
/// C closes the session for the caller, which finishes it and drops files that nobody has seen.
/// In Rust a session counts as retrieved only once the caller has it.
pub static RETRIEVE_AFTER_FAULT: Difference<Result<(), Errno>> = Difference {
    c: Err(Errno::ENOENT),
    rust: Ok(()),
};

/// Whether a create that fails for its name can leave an empty block at the end of the chain.
///
/// C takes room for the session before it looks for the name, and keeps it: with 51 sessions, a
/// whole block, the next kernel panics over the empty second one. The next close gives the room
/// back. In Rust a create that fails leaves nothing behind.
pub static REFUSED_CREATE_LEAVES_BLOCK: Difference<bool> = Difference {
    c: true,
    rust: false,
};

/// Retrieving a session again that was closed while a file's handler would not let it finish.
///
/// C has lost the session by then: it can be neither retrieved nor finished. In Rust it can be
/// retrieved as if it never had been.
pub static RETRIEVE_AFTER_UNFINISHED: Difference<Result<(), Errno>> = Difference {
    c: Err(Errno::EINVAL),
    rust: Ok(()),
};

/// The order in which a refused kexec unfreezes files 1 and 2 of one session and 3 and 4 of the
/// next, in which file 5 has refused.
///
/// Both go from the last session to the first, C from a session's first file to its last. In Rust
/// whatever is undone is undone in reverse.
pub static UNFREEZE_ORDER: Difference<[u32; 4]> = Difference {
    c: [3, 4, 1, 2],
    rust: [4, 3, 2, 1],
};
