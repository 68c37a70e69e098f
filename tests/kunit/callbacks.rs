// SPDX-License-Identifier: GPL-2.0

//! What tests want to know of [`crate::callbacks`]. What callbacks are made is seen by the suites of
//! those who make them.

use super::*;

impl HandedOverFile {
    /// What the handler of the previous kernel wanted to know again.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }
}
