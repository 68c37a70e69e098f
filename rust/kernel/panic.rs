// SPDX-License-Identifier: GPL-2.0

//! Ending the kernel.
//!
//! C header: [`include/linux/panic.h`](srctree/include/linux/panic.h)

use crate::{
    bindings,
    prelude::*,
    str::CStrExt as _, //
};

/// Ends this kernel, and says why.
///
/// For when an operator asked for it: a driver that cannot go on returns an error. `panic!` is no
/// substitute, as that is a `BUG()`, which kills a task and may leave the kernel running.
///
/// May be called from any context.
pub fn panic(why: &CStr) -> ! {
    // SAFETY: Both strings end with a NUL, and the format asks for the one that it gets.
    unsafe { bindings::panic(c"%s".as_char_ptr(), why.as_char_ptr()) }
}
