// SPDX-License-Identifier: GPL-2.0

//! `luoctl status`: how live update stands on this machine, from wherever it can be seen.

mod text;

use crate::{
    failure::{Failure, Outcome, Trying},
    image::Config,
    output::Format,
    sessions::{unseen, Sessions},
};
use clap::Args;
use liveupdate::{
    observe::{
        self, boolean, parameters, Area, Debugfs, Direction, Flb, Handler, Handover, Kexec, Kho,
        Name, Process, What,
    },
    DEVICE,
};
use nix::sys::utsname::uname;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

/// Tell how live update stands
///
/// Whether this kernel has a LUO and whether it is on, how many live updates led here, in which
/// formats kernels hand over, what became of what the previous kernel handed over, how KHO
/// stands, and whether an image is loaded that can carry sessions.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub fn run(self) -> Outcome {
        self.format.show(&Status::observe()?.0)
    }
}

/// How live update stands; null: unknown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The release of this kernel.
    pub kernel: String,
    /// Whether this kernel has a LUO.
    pub built_in: Option<bool>,
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// Whether there is /dev/liveupdate.
    pub device: bool,
    /// The processes that have it open.
    pub device_holders: Vec<Process>,
    /// How many live updates led to this kernel.
    pub number: Option<u64>,
    /// In which formats kernels hand over.
    pub formats: Option<Formats>,
    /// What became of what the previous kernel handed over.
    pub handover: Option<Handover>,
    /// The registered file handlers.
    pub handlers: Option<Vec<Handler>>,
    /// The registered file-lifecycle-bound objects.
    pub flbs: Option<Vec<Flb>>,
    /// The Kexec Handover.
    pub kho: KhoStatus,
    /// The image of the next kernel.
    pub image: Image,
    /// How many sessions go to the next kernel.
    pub outgoing: Option<usize>,
    /// How many sessions of the previous kernel there are.
    pub incoming: Option<usize>,
    /// Why something is unknown.
    pub notes: Vec<String>,
}

/// Formats; null: nothing is handed over.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Formats {
    /// That of the previous kernel.
    pub incoming: Option<Name>,
    /// That in which this kernel hands over.
    pub outgoing: Option<Name>,
}

/// How KHO stands; null: unknown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KhoStatus {
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// Whether the previous kernel handed anything over.
    pub incoming: Option<bool>,
    /// The memory that is kept free for the next kernel to boot in.
    pub scratch: Option<Vec<Area>>,
}

/// What is loaded; null: unknown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Whether an image is loaded.
    pub loaded: Option<bool>,
    /// Whether it was loaded by kexec_file_load(), so that it can carry sessions.
    pub carries_sessions: Option<bool>,
    /// Whether loading is switched off.
    pub load_disabled: Option<bool>,
}

impl Status {
    /// Looks at everything there is, also at the sessions.
    pub fn observe() -> Result<(Self, Sessions), Failure> {
        let debugfs = Debugfs::default();
        let mut notes = vec![];
        let number = told(debugfs.number(), &mut notes);
        let formats = debugfs.format(&Direction::Incoming).and_then(|incoming| {
            let outgoing = debugfs.format(&Direction::Outgoing)?;
            Ok(Formats { incoming, outgoing })
        });
        let sessions = Sessions::observe()?;

        let device = Path::new(DEVICE).exists();
        let (built_in, enabled) = luo(&debugfs, device);
        let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let config = Config::of_this_kernel();
        let loaded = Kexec.loaded();
        let loaded = match loaded {
            // Without kexec there is nothing to be loaded.
            Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
            loaded => loaded.ok(),
        };
        let by_file_only = config.is_some_and(|config| !config.has("KEXEC"));
        let carries_sessions = match debugfs.image() {
            Ok(observe::Image::Carries) => Some(true),
            Ok(observe::Image::Loses) => Some(false),
            // A kernel that does not show it leaves one way to know.
            _ => (loaded == Some(true) && by_file_only).then_some(true),
        };

        let mut status = Self {
            kernel: uname()
                .trying("uname")?
                .release()
                .to_string_lossy()
                .into_owned(),
            built_in,
            enabled,
            device,
            device_holders: observe::holders(&What::Device),
            number,
            formats: told(formats, &mut notes),
            handover: told(debugfs.handover(), &mut notes),
            handlers: told(debugfs.handlers(), &mut notes),
            flbs: told(debugfs.flbs(), &mut notes),
            kho: KhoStatus::observe(enabled, &cmdline),
            image: Image {
                loaded,
                carries_sessions,
                load_disabled: Kexec.load_disabled().ok(),
            },
            outgoing: sessions.count(&Direction::Outgoing),
            incoming: sessions.count(&Direction::Incoming),
            notes,
        };
        if enabled == Some(true) && !device {
            status.notes.push(format!(
                "live update is on, but there is no {DEVICE}: is devtmpfs mounted?"
            ));
        }
        Ok((status, sessions))
    }
}

/// A value of debugfs, or a note why there is none.
fn told<T>(value: io::Result<T>, notes: &mut Vec<String>) -> Option<T> {
    value
        .map_err(|error| {
            let note = unseen(&error);
            if !notes.contains(&note) {
                notes.push(note);
            }
        })
        .ok()
}

/// Whether there is a LUO, and whether it is on.
fn luo(debugfs: &Debugfs, device: bool) -> (Option<bool>, Option<bool>) {
    let misc = fs::read_to_string("/proc/misc").unwrap_or_default();
    let there = device || misc.lines().any(|line| line.ends_with(" liveupdate"));
    if let Some(enabled) = debugfs.enabled().ok().or(there.then_some(true)) {
        return (Some(true), Some(enabled));
    }
    let symbols = || fs::read_to_string("/proc/kallsyms").ok();
    let built_in = match Config::of_this_kernel() {
        Some(config) => Some(config.has("LIVEUPDATE")),
        None => symbols().map(|symbols| {
            let mut symbols = symbols.lines();
            symbols.any(|line| line.ends_with(" liveupdate_reboot"))
        }),
    };
    (built_in, Some(false))
}

impl KhoStatus {
    fn observe(luo: Option<bool>, cmdline: &str) -> Self {
        let kho = Kho::default();
        let incoming = kho.incoming().ok();
        let off = parameters(cmdline)
            .filter(|(name, _)| name == "kho")
            .last()
            .is_some_and(|(_, value)| value.as_deref().and_then(boolean) == Some(false));
        // LUO is not on without KHO.
        let enabled = match (incoming, luo) {
            (Some(_), _) | (_, Some(true)) => Some(true),
            _ => off.then_some(false),
        };
        Self {
            enabled,
            incoming,
            scratch: kho.scratch().ok(),
        }
    }
}
