// SPDX-License-Identifier: GPL-2.0

//! The status for people, a line for each thing.

use super::{Formats, Status};
use crate::output::{line, or_unknown, Show, BAD, DOUBTFUL, GOOD, UNKNOWN};
use anstyle::Style;
use bytesize::ByteSize;
use liveupdate::{
    observe::{people, Area, Handover, Name},
    DEVICE,
};
use std::{
    fmt::Display,
    io::{self, Write},
};

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

fn unknown() -> String {
    styled(DOUBTFUL, UNKNOWN)
}

fn on(value: Option<bool>) -> String {
    match value {
        Some(true) => styled(GOOD, "on"),
        Some(false) => styled(BAD, "off"),
        None => unknown(),
    }
}

fn listed<T>(things: &[T], text: impl Fn(&T) -> String) -> String {
    match things {
        [] => "none".to_owned(),
        things => things.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}

fn formats(formats: &Formats) -> String {
    let name = |name: &Option<Name>| name.as_ref().map_or("none".to_owned(), Name::to_string);
    format!(
        "in {}, out {}",
        name(&formats.incoming),
        name(&formats.outgoing)
    )
}

fn handover(handover: &Handover) -> String {
    match handover {
        Handover::None => "none".to_owned(),
        Handover::Pending => "pending: the first open of the device restores it".to_owned(),
        Handover::Restored => styled(GOOD, "restored"),
        Handover::Refused(why) => styled(BAD, why),
        Handover::Other(text) => text.to_string(),
    }
}

fn area(area: &Area) -> String {
    format!("{} at {:#x}", ByteSize(area.size), area.address)
}

impl Status {
    fn live_update(&self) -> String {
        match (self.enabled, self.built_in) {
            (Some(false), Some(false)) => styled(BAD, "this kernel has none"),
            (Some(false), None) => styled(BAD, "off, if this kernel has one"),
            (enabled, _) => on(enabled),
        }
    }

    fn device(&self) -> String {
        match (self.device, self.device_holders.as_slice()) {
            (false, _) => "none".to_owned(),
            (true, []) => DEVICE.to_owned(),
            (true, holders) => format!("{DEVICE}, open in {}", people(holders)),
        }
    }

    fn kho(&self) -> String {
        let received = match self.kho.incoming {
            Some(true) => ", handed over by the previous kernel",
            Some(false) => ", nothing handed over by the previous kernel",
            None => "",
        };
        on(self.kho.enabled) + received
    }

    fn image(&self) -> String {
        let loaded = styled(GOOD, "loaded");
        match (self.image.loaded, self.image.carries_sessions) {
            (Some(true), Some(true)) => format!("{loaded}, can carry sessions"),
            (Some(true), Some(false)) => {
                format!("{loaded}, {}", styled(BAD, "cannot carry sessions"))
            }
            (Some(true), None) => format!("{loaded}, {} whether it can carry sessions", unknown()),
            (Some(false), _) => "not loaded".to_owned(),
            (None, _) => unknown(),
        }
    }
}

impl Show for Status {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let known = |text: Option<String>| text.unwrap_or_else(unknown);
        let scratch = self.kho.scratch.as_ref().map(|areas| {
            let areas: Vec<_> = areas.iter().filter(|area| area.size > 0).copied().collect();
            listed(&areas, area)
        });
        let handlers = self.handlers.as_ref();
        let handlers = handlers.map(|all| listed(all, |one| one.compatible.to_string()));
        let outgoing = or_unknown(self.outgoing.as_ref());
        let incoming = or_unknown(self.incoming.as_ref());
        let lines = [
            ("kernel", self.kernel.clone()),
            ("live update", self.live_update()),
            ("device", self.device()),
            (
                "number",
                known(self.number.map(|number| number.to_string())),
            ),
            ("formats", known(self.formats.as_ref().map(formats))),
            ("hand-over", known(self.handover.as_ref().map(handover))),
            ("handlers", known(handlers)),
            ("KHO", self.kho()),
            ("scratch", known(scratch)),
            ("image", self.image()),
            (
                "sessions",
                format!("{outgoing} outgoing, {incoming} incoming"),
            ),
        ];
        lines
            .iter()
            .try_for_each(|(label, value)| line(out, label, value))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
