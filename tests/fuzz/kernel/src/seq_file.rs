// SPDX-License-Identifier: GPL-2.0

//! What is shown of a file in `/proc`, which nobody looks at.

use crate::bindings;

/// The place for it.
pub struct SeqFile(());

impl SeqFile {
    /// One of C code.
    ///
    /// # Safety
    ///
    /// None here.
    pub unsafe fn from_raw<'a>(_: *mut bindings::seq_file) -> &'a Self {
        &Self(())
    }

    /// Whether there is no room.
    pub fn has_overflowed(&self) -> bool {
        false
    }

    /// For [`seq_print!`].
    pub fn call_printf(&self, args: core::fmt::Arguments<'_>) {
        let _ = args;
    }
}

/// Shows something.
#[macro_export]
macro_rules! seq_print {
    ($seq:expr, $($args:tt)+) => { $seq.call_printf(::core::format_args!($($args)+)) };
}
