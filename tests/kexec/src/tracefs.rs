// SPDX-License-Identifier: GPL-2.0

//! What the kernel's tracepoints of live update tell, event by event: the only record of how long
//! each callback took, and what a boot did before there was a program.

use anyhow::{ensure, Context, Result};
use nix::mount::{mount, MsFlags};
use std::{fs, path::Path};

const TRACEFS: &str = "/sys/kernel/tracing";
/// What the names of events begin with.
const SYSTEM: &str = "luo_";
/// What ends an event that has a duration.
const DURATION: &str = " ns=";

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Its name and its fields, but for the duration.
    pub text: String,
    /// How many nanoseconds it took, if it tells.
    pub duration: Option<u64>,
}

impl Event {
    /// Reads a line: the task, the processor, flags, the time, and the event.
    fn parse(line: &str) -> Result<Self> {
        let at = line.find(&format!(": {SYSTEM}")).context(line.to_owned())?;
        let event = line[at + 2..].trim_end();
        let (text, duration) = match event.rsplit_once(DURATION) {
            Some((text, duration)) => (text, Some(duration.parse().context(line.to_owned())?)),
            None => (event, None),
        };
        Ok(Self {
            text: text.to_owned(),
            duration,
        })
    }

    /// Whether it is of an FLB that is not the test driver's: `lib/tests/liveupdate.c` has some.
    fn is_foreign(&self) -> bool {
        self.text.contains(" flb=") && !self.text.contains(" flb=luo-test-")
    }
}

/// The events of live update.
pub struct Tracefs;

impl Tracefs {
    /// Where they can be seen, in whatever state they are.
    pub fn mounted() -> Result<Self> {
        if !Path::new(TRACEFS).join("trace").exists() {
            mount(
                Some("tracefs"),
                TRACEFS,
                Some("tracefs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("no tracefs")?;
        }
        Ok(Self)
    }

    /// Whether all of them are recorded, or none, or some: `1`, `0`, `X`.
    pub fn recorded(&self) -> Result<String> {
        let path = Path::new(TRACEFS).join("events/liveupdate/enable");
        let text = fs::read_to_string(&path).context("no events of live update")?;
        Ok(text.trim().to_owned())
    }

    /// Records all of them from now on, or none.
    pub fn record(&self, on: bool) -> Result<()> {
        let path = Path::new(TRACEFS).join("events/liveupdate/enable");
        fs::write(path, if on { "1" } else { "0" }).context("no events of live update")
    }

    /// Which there are, in order of their names.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(Path::new(TRACEFS).join("events/liveupdate"))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// What was recorded since it was last taken.
    pub fn take(&self) -> Result<Vec<Event>> {
        let path = Path::new(TRACEFS).join("trace");
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        ensure!(!text.contains("LOST"), "events were lost");
        fs::write(path, "")?;
        let events = text.lines().filter(|line| !line.starts_with('#'));
        let events: Result<Vec<_>> = events.map(Event::parse).collect();
        let mut events = events?;
        events.retain(|event| !event.is_foreign());
        Ok(events)
    }

    /// The same without the durations, which exactly those of files and FLBs have.
    pub fn texts(&self) -> Result<Vec<String>> {
        let mut texts = vec![];
        for event in self.take()? {
            let lasts = ["luo_file_", "luo_flb_"]
                .iter()
                .any(|of| event.text.starts_with(of));
            same!(event.duration.is_some(), lasts, event.text);
            texts.push(event.text);
        }
        Ok(texts)
    }
}
