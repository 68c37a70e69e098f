// SPDX-License-Identifier: GPL-2.0

//! How things are shown: colours and tables to a terminal, lines of fields to everybody else, and
//! JSON to whoever asks for it.

use crate::failure::{Exit, Outcome, Trying};
use anstyle::{AnsiColor, Style};
use clap::Args;
use comfy_table::{presets, Attribute, Cell, ContentArrangement};
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
};

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const LABEL: Style = Style::new().bold();

/// What stands for something that is not known.
pub const UNKNOWN: &str = "unknown";

/// For commands that show something.
#[derive(Args)]
pub struct Format {
    /// Show JSON, as the schema of `luoctl schema` says
    #[arg(long)]
    json: bool,
}

/// Something that can be shown.
pub trait Show: Serialize {
    /// Writes it for people; styles are taken out where they are not wanted.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// What else people should know.
    fn notes(&self) -> &[String] {
        &[]
    }
}

impl Format {
    /// Shows it.
    pub fn show(&self, what: &impl Show) -> Outcome {
        let mut out = anstream::stdout().lock();
        let written = if self.json {
            serde_json::to_writer_pretty(&mut out, what)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            what.notes().iter().for_each(note);
            what.write(&mut out)
        };
        done(written.and_then(|()| out.flush()))
    }
}

/// The outcome of writing to standard output, of which the reader may have seen enough.
pub fn done(written: io::Result<()>) -> Outcome {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.trying("standard output")?,
    }
    Ok(Exit::Done as u8)
}

/// Says something that is not the command's result.
pub fn say(what: impl Display) {
    anstream::eprintln!("luoctl: {what}");
}

/// Says why something is unknown.
pub fn note(text: impl Display) {
    anstream::eprintln!("{DOUBTFUL}luoctl: {text}{DOUBTFUL:#}");
}

/// What is known, or that it is not.
pub fn or_unknown<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), T::to_string)
}

/// Why something failed, to stand behind what did.
pub fn errno(errno: Option<i32>) -> String {
    let error = errno.map(io::Error::from_raw_os_error);
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

/// Rows of fields, none of which has a tab or a newline.
pub struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &'static [&'static str]) -> Self {
        let rows = vec![];
        Self { headings, rows }
    }

    pub fn row(&mut self, fields: impl IntoIterator<Item = String>) {
        self.rows.push(fields.into_iter().collect());
    }

    pub fn write(self, out: &mut dyn Write) -> io::Result<()> {
        if !io::stdout().is_terminal() {
            return self
                .rows
                .iter()
                .try_for_each(|row| writeln!(out, "{}", row.join("\t")));
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let heading = |text: &&str| Cell::new(text).add_attribute(Attribute::Bold);
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            // A serial console has no width to arrange anything in.
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.headings.iter().map(heading))
            .add_rows(self.rows);
        writeln!(out, "{}", table.trim_fmt())
    }
}

/// One line of what is shown one by one.
pub fn line(out: &mut dyn Write, label: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{LABEL}{label:<12}{LABEL:#} {value}")
}
