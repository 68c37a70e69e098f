// SPDX-License-Identifier: GPL-2.0

//! What is measured: the loads that a machine carries across, and the operations whose cost is
//! read off them.

use std::collections::HashMap;

const PAGE: u64 = 4096;

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
    /// A memory file of N pages that lie one after the other
    Neighbours,
    /// A memory file of N pages that all lie apart
    Scattered,
    /// A memory file of N pages, in folios of 2 MiB
    Huge,
}

impl Load {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Sessions,
        Self::Files,
        Self::Pages,
        Self::SpreadFiles,
        Self::SpreadPages,
        Self::Neighbours,
        Self::Scattered,
        Self::Huge,
    ];

    /// What N of it are called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Files => "empty memfds",
            Self::Pages => "memfds of 4 KiB",
            Self::SpreadFiles => "sessions with a memfd",
            Self::SpreadPages => "sessions with 4 KiB",
            Self::Neighbours => "neighbouring pages",
            Self::Scattered => "scattered pages",
            Self::Huge => "pages in 2 MiB",
        }
    }

    /// How the pages of its one file lie, if that is what it is about.
    pub fn layout(self) -> Option<&'static str> {
        match self {
            Self::Neighbours => Some("neighbours"),
            Self::Scattered => Some("scattered"),
            Self::Huge => Some("huge"),
            _ => None,
        }
    }

    /// How many sessions that are, files in each, and bytes in each of those.
    pub fn counts(self, n: u64) -> (u64, u64, u64) {
        match self {
            Self::Sessions => (n, 0, 0),
            Self::Files => (1, n, 0),
            Self::Pages => (1, n, PAGE),
            Self::SpreadFiles => (n, 1, 0),
            Self::SpreadPages => (n, 1, PAGE),
            Self::Neighbours | Self::Scattered | Self::Huge => (1, 1, n * PAGE),
        }
    }

    /// The guest program's arguments.
    pub fn args(self, n: u64) -> Vec<String> {
        let (sessions, files, bytes) = self.counts(n);
        let mut args = vec![
            format!("--sessions={sessions}"),
            format!("--files={files}"),
            format!("--bytes={bytes}"),
        ];
        args.extend(self.layout().map(|layout| format!("--layout={layout}")));
        args
    }

    /// Enough memory for it, as QEMU writes it. Where the kernel has to look for the last free pages
    /// a preserve costs half as much again.
    pub fn memory(self, n: u64) -> String {
        let kib = match self {
            Self::Sessions => 4,
            Self::Files | Self::SpreadFiles => 12,
            Self::Pages | Self::SpreadPages => 96,
            Self::Neighbours | Self::Scattered | Self::Huge => return "6G".to_owned(),
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

    /// Adds all measures of another machine.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
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
            *value = (*value - floor).max(0.0);
        }
    }
}

/// What an operation costs at some N.
type Cost = fn(&Measures, f64) -> Option<f64>;

/// A row of the table for each N.
pub struct Operation {
    /// What it is called.
    pub title: &'static str,
    /// Where it is measured.
    pub load: Load,
    /// What it costs.
    pub cost: Cost,
    /// Whether that is the cost of one item, which should be the same whatever N is.
    pub each: bool,
    /// A measure of what it cannot do without, LUO or not.
    pub floor: Option<&'static str>,
    /// Whether the plot shows it.
    pub plotted: bool,
}

/// What one session or file costs.
const fn each(title: &'static str, load: Load, cost: Cost) -> Operation {
    Operation {
        title,
        load,
        cost,
        each: true,
        floor: None,
        plotted: false,
    }
}

/// What all N cost together.
const fn all(title: &'static str, load: Load, cost: Cost) -> Operation {
    Operation {
        each: false,
        ..each(title, load, cost)
    }
}

impl Operation {
    const fn floor(self, floor: &'static str) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    const fn plotted(self) -> Self {
        Self {
            plotted: true,
            ..self
        }
    }
}

/// From so many items on, times of 1000 instructions' precision and memory in pages tell enough.
const MANY: f64 = 1000.0;

fn many(n: f64, value: Option<f64>) -> Option<f64> {
    value.filter(|_| n >= MANY)
}

/// From opening the device to the first session, and the first file if there is one.
fn first(m: &Measures) -> Option<f64> {
    m.sum(&["restore.first", "retrieve_session.first", "retrieve.first"])
}

/// The rows of the table, in order.
pub const OPERATIONS: &[Operation] = &[
    each("create a session, last of N", Load::Sessions, |m, _| {
        m.get("create.last")
    })
    .floor("eventfd.last")
    .plotted(),
    each("create a session, mean", Load::Sessions, |m, _| {
        m.get("create.mean")
    })
    .floor("eventfd.last"),
    each(
        "close a session, beside N others",
        Load::Sessions,
        |m, _| m.get("close.last"),
    ),
    each("restore, per session", Load::Sessions, |m, n| {
        Some(m.get("restore.first")? / n)
    })
    .plotted(),
    each("restore, per file in one session", Load::Files, |m, n| {
        Some(m.get("restore.first")? / n)
    }),
    each("retrieve a session, mean", Load::Sessions, |m, _| {
        m.get("retrieve_session.mean")
    })
    .floor("eventfd.last")
    .plotted(),
    each(
        "preserve 0 bytes, last of N in one session",
        Load::Files,
        |m, _| m.get("preserve.last"),
    )
    .floor("get_name.last")
    .plotted(),
    each(
        "preserve 0 bytes, mean in one session",
        Load::Files,
        |m, _| m.get("preserve.mean"),
    )
    .floor("get_name.last"),
    each(
        "preserve 0 bytes, in the last of N sessions",
        Load::SpreadFiles,
        |m, _| m.get("preserve.last"),
    )
    .floor("get_name.last"),
    each(
        "preserve the first file, with its handler's FLBs",
        Load::Files,
        |m, _| m.get("preserve_only.last"),
    )
    .floor("get_name.last"),
    each(
        "preserve 4 KiB, last of N in one session",
        Load::Pages,
        |m, _| m.get("preserve.last"),
    )
    .floor("get_name.last"),
    each(
        "preserve 4 KiB, in the last of N sessions",
        Load::SpreadPages,
        |m, _| m.get("preserve.last"),
    )
    .floor("get_name.last"),
    each(
        "retrieve 0 bytes, mean in one session",
        Load::Files,
        |m, _| m.get("retrieve.mean"),
    )
    .floor("memfd.last")
    .plotted(),
    each(
        "retrieve 0 bytes, mean over N sessions",
        Load::SpreadFiles,
        |m, _| m.get("retrieve.mean"),
    )
    .floor("memfd.last"),
    each(
        "retrieve 4 KiB, mean in one session",
        Load::Pages,
        |m, _| m.get("retrieve.mean"),
    )
    .floor("memfd.last"),
    each(
        "retrieve 4 KiB, mean over N sessions",
        Load::SpreadPages,
        |m, _| m.get("retrieve.mean"),
    )
    .floor("memfd.last"),
    each("finish, per file in one session", Load::Files, |m, n| {
        Some(m.get("finish.first")? / n)
    })
    .plotted(),
    each(
        "finish a session with one file, mean",
        Load::SpreadFiles,
        |m, _| m.get("finish.mean"),
    )
    .floor("get_name.last"),
    each(
        "finish a session without files, mean",
        Load::Sessions,
        |m, _| m.get("finish.mean"),
    )
    .floor("get_name.last"),
    each(
        "close a retrieved and finished session, mean",
        Load::Sessions,
        |m, _| m.get("close_retrieved.mean"),
    ),
    each("GET_NAME", Load::Sessions, |m, _| m.get("get_name.last")),
    each(
        "freeze and serialize, per session",
        Load::Sessions,
        |m, n| many(n, Some(m.get("serialize")? / n)),
    ),
    each("freeze and serialize, per file", Load::Files, |m, n| {
        many(n, Some(m.get("serialize")? / n))
    }),
    all(
        "blackout before: liveupdate_reboot(), sessions",
        Load::Sessions,
        |m, _| m.get("serialize"),
    ),
    all(
        "blackout before: liveupdate_reboot(), files",
        Load::Pages,
        |m, _| m.get("serialize"),
    ),
    all(
        "blackout after: to the first of N sessions",
        Load::SpreadPages,
        |m, _| first(m),
    ),
    all(
        "blackout after: to the first of N files",
        Load::Pages,
        |m, _| first(m),
    ),
    all(
        "from the kexec to the first of N sessions",
        Load::SpreadPages,
        |m, _| Some(m.get("arrival")? - m.get("kexec")? + first(m)?),
    ),
    all(
        "from the kexec to the first of N files",
        Load::Pages,
        |m, _| Some(m.get("arrival")? - m.get("kexec")? + first(m)?),
    ),
    each("slab bytes per session", Load::Sessions, |m, n| {
        many(n, Some(m.get("memory.slab")? / n))
    }),
    each("bytes of memory per session", Load::Sessions, |m, n| {
        many(n, Some(m.get("memory.all")? / n))
    }),
    each(
        "slab bytes per preserved file of 0 bytes",
        Load::Files,
        |m, n| many(n, Some(m.get("memory.slab")? / n)),
    ),
    each(
        "bytes of memory per preserved file of 0 bytes",
        Load::Files,
        |m, n| many(n, Some(m.get("memory.all")? / n)),
    ),
];
