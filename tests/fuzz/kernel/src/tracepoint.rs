// SPDX-License-Identifier: GPL-2.0

//! Tracepoints, which nobody traces.

/// Whether a tracepoint is enabled.
#[macro_export]
macro_rules! trace_enabled {
    ($name:ident) => {
        false
    };
}

/// Declares a tracepoint.
#[macro_export]
macro_rules! declare_trace {
    ($($(#[$doc:meta])* $pub:vis unsafe fn $name:ident($($arg:ident : $type:ty),* $(,)?);)*) => { $(
        $(#[$doc])*
        $pub unsafe fn $name($($arg: $type),*) {
            $( let _ = $arg; )*
        }
    )* };
}

pub use declare_trace;
pub use trace_enabled;
