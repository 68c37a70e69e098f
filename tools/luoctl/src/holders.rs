// SPDX-License-Identifier: GPL-2.0

//! Who has the device or a session: processes, as they are found and as they are shown.

use liveupdate::observe::{self, Process, What};

/// The processes that have a descriptor of something, as far as can be seen.
pub fn holders(what: &What) -> Vec<Process> {
    let mut processes: Vec<_> = observe::descriptors()
        .unwrap_or_default()
        .held
        .into_iter()
        .filter(|held| held.what == *what)
        .map(|held| held.process)
        .collect();
    processes.dedup();
    processes
}

/// Processes, as they are shown.
pub fn people(processes: &[Process]) -> String {
    let shown: Vec<_> = processes
        .iter()
        .map(|process| format!("{}({})", process.comm, process.pid))
        .collect();
    shown.join(",")
}
