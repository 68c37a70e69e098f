// SPDX-License-Identifier: GPL-2.0

//! What is measured: the loads that a machine carries across, and the operations whose cost is
//! read off them.

use std::collections::HashMap;

/// What a machine hands over, for some number N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Load {
    /// N sessions without files
    Sessions,
    /// One session with N empty memory files
    Files,
    /// One session with N memory files of a page
    Pages,
    /// N sessions with an empty memory file each
    SpreadFiles,
    /// N sessions with a memory file of a page each
    SpreadPages,
}

impl Load {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Sessions,
        Self::Files,
        Self::Pages,
        Self::SpreadFiles,
        Self::SpreadPages,
    ];

    /// The guest program's arguments.
    pub fn args(self, n: u64) -> [String; 3] {
        let (sessions, files, bytes) = match self {
            Self::Sessions => (n, 0, 0),
            Self::Files => (1, n, 0),
            Self::Pages => (1, n, 4096),
            Self::SpreadFiles => (n, 1, 0),
            Self::SpreadPages => (n, 1, 4096),
        };
        [
            format!("--sessions={sessions}"),
            format!("--files={files}"),
            format!("--bytes={bytes}"),
        ]
    }

    /// Enough memory for it, as QEMU writes it.
    pub fn memory(self, n: u64) -> String {
        let kib = match self {
            Self::Sessions => 4,
            Self::Files | Self::SpreadFiles => 12,
            Self::Pages | Self::SpreadPages => 48,
        };
        format!("{}M", 1024 + n * kib / 1024)
    }
}

/// What one machine reported, by name.
#[derive(Default)]
pub struct Measures(HashMap<String, f64>);

impl Measures {
    /// Adds a measure.
    pub fn set(&mut self, what: impl Into<String>, value: f64) {
        self.0.insert(what.into(), value);
    }

    /// A measure, if this load has it.
    pub fn get(&self, what: &str) -> Option<f64> {
        self.0.get(what).copied()
    }

    /// The sum of several measures.
    fn sum(&self, what: &[&str]) -> Option<f64> {
        what.iter().map(|what| self.get(what)).sum()
    }

    /// Takes off what it costs to hand over nothing.
    pub fn subtract(&mut self, what: &str, nothing: &Self) {
        if let (Some(value), Some(floor)) = (self.0.get_mut(what), nothing.get(what)) {
            *value -= floor;
        }
    }
}

/// A row of the table for each N.
pub struct Operation {
    /// What it is called.
    pub title: &'static str,
    /// Where it is measured.
    pub load: Load,
    /// What it costs at some N.
    pub cost: fn(&Measures, f64) -> Option<f64>,
    /// A measure of what it cannot do without, LUO or not.
    pub floor: Option<&'static str>,
    /// Whether the plot shows it.
    pub plotted: bool,
}

/// From so many items on, times of 1000 instructions' precision and memory in pages tell enough.
const MANY: f64 = 1000.0;

fn many(n: f64, value: Option<f64>) -> Option<f64> {
    value.filter(|_| n >= MANY)
}

/// The rows of the table, in order.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        title: "create a session, last of N",
        load: Load::Sessions,
        cost: |m, _| m.get("create.last"),
        floor: Some("eventfd.last"),
        plotted: true,
    },
    Operation {
        title: "create a session, mean",
        load: Load::Sessions,
        cost: |m, _| m.get("create.mean"),
        floor: Some("eventfd.last"),
        plotted: false,
    },
    Operation {
        title: "close a session, beside N others",
        load: Load::Sessions,
        cost: |m, _| m.get("close.last"),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "restore, per session",
        load: Load::Sessions,
        cost: |m, n| Some(m.get("restore.first")? / n),
        floor: None,
        plotted: true,
    },
    Operation {
        title: "restore, per file in one session",
        load: Load::Files,
        cost: |m, n| Some(m.get("restore.first")? / n),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "retrieve a session, mean",
        load: Load::Sessions,
        cost: |m, _| m.get("retrieve_session.mean"),
        floor: Some("eventfd.last"),
        plotted: true,
    },
    Operation {
        title: "preserve 0 bytes, last of N in one session",
        load: Load::Files,
        cost: |m, _| m.get("preserve.last"),
        floor: Some("get_name.last"),
        plotted: true,
    },
    Operation {
        title: "preserve 0 bytes, mean in one session",
        load: Load::Files,
        cost: |m, _| m.get("preserve.mean"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "preserve 0 bytes, in the last of N sessions",
        load: Load::SpreadFiles,
        cost: |m, _| m.get("preserve.last"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "preserve 4 KiB, last of N in one session",
        load: Load::Pages,
        cost: |m, _| m.get("preserve.last"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "preserve 4 KiB, in the last of N sessions",
        load: Load::SpreadPages,
        cost: |m, _| m.get("preserve.last"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "retrieve 0 bytes, mean in one session",
        load: Load::Files,
        cost: |m, _| m.get("retrieve.mean"),
        floor: Some("memfd.last"),
        plotted: true,
    },
    Operation {
        title: "retrieve 0 bytes, mean over N sessions",
        load: Load::SpreadFiles,
        cost: |m, _| m.get("retrieve.mean"),
        floor: Some("memfd.last"),
        plotted: false,
    },
    Operation {
        title: "retrieve 4 KiB, mean in one session",
        load: Load::Pages,
        cost: |m, _| m.get("retrieve.mean"),
        floor: Some("memfd.last"),
        plotted: false,
    },
    Operation {
        title: "retrieve 4 KiB, mean over N sessions",
        load: Load::SpreadPages,
        cost: |m, _| m.get("retrieve.mean"),
        floor: Some("memfd.last"),
        plotted: false,
    },
    Operation {
        title: "finish, per file in one session",
        load: Load::Files,
        cost: |m, n| Some(m.get("finish.first")? / n),
        floor: None,
        plotted: true,
    },
    Operation {
        title: "finish a session with one file, mean",
        load: Load::SpreadFiles,
        cost: |m, _| m.get("finish.mean"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "finish a session without files, mean",
        load: Load::Sessions,
        cost: |m, _| m.get("finish.mean"),
        floor: Some("get_name.last"),
        plotted: false,
    },
    Operation {
        title: "close a retrieved and finished session, mean",
        load: Load::Sessions,
        cost: |m, _| m.get("close_retrieved.mean"),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "GET_NAME",
        load: Load::Sessions,
        cost: |m, _| m.get("get_name.last"),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "freeze and serialize, per session",
        load: Load::Sessions,
        cost: |m, n| many(n, Some(m.get("serialize")? / n)),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "freeze and serialize, per file",
        load: Load::Files,
        cost: |m, n| many(n, Some(m.get("serialize")? / n)),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "blackout before: liveupdate_reboot(), sessions",
        load: Load::Sessions,
        cost: |m, _| m.get("serialize"),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "blackout before: liveupdate_reboot(), files",
        load: Load::Pages,
        cost: |m, _| m.get("serialize"),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "blackout after: to the first of N sessions",
        load: Load::SpreadPages,
        cost: |m, _| m.sum(&["restore.first", "retrieve_session.first", "retrieve.first"]),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "blackout after: to the first of N files",
        load: Load::Pages,
        cost: |m, _| m.sum(&["restore.first", "retrieve_session.first", "retrieve.first"]),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "reboot() to the next kernel's program, sessions",
        load: Load::Sessions,
        cost: |m, _| Some(m.get("arrival")? - m.get("reboot")?),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "reboot() to the next kernel's program, files",
        load: Load::Pages,
        cost: |m, _| Some(m.get("arrival")? - m.get("reboot")?),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "slab bytes per session",
        load: Load::Sessions,
        cost: |m, n| many(n, Some(m.get("memory.slab")? / n)),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "bytes of memory per session",
        load: Load::Sessions,
        cost: |m, n| many(n, Some(m.get("memory.all")? / n)),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "slab bytes per preserved file of 0 bytes",
        load: Load::Files,
        cost: |m, n| many(n, Some(m.get("memory.slab")? / n)),
        floor: None,
        plotted: false,
    },
    Operation {
        title: "bytes of memory per preserved file of 0 bytes",
        load: Load::Files,
        cost: |m, n| many(n, Some(m.get("memory.all")? / n)),
        floor: None,
        plotted: false,
    },
];
