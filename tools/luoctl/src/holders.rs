// SPDX-License-Identifier: GPL-2.0

//! Who has the device or a session, as it is shown.

use liveupdate::observe::Process;

/// Processes, in one word.
pub fn people(processes: &[Process]) -> String {
    let shown: Vec<_> = processes.iter().map(Process::to_string).collect();
    shown.join(",")
}
