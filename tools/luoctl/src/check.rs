// SPDX-License-Identifier: GPL-2.0

//! `luoctl check`: whether a live update would work now, and if not, why.
//!
//! Every check comes to one of four verdicts. Only a failed one means that a live update would
//! not work: that something cannot be told is said, and left to people.

mod next_kernel;
mod this_kernel;

use crate::{
    failure::{Exit, Failure, Outcome, Trying},
    image::Kernel,
    next::Next,
    output::{Format, Show, BAD, DOUBTFUL, GOOD},
    sessions::Sessions,
    status::Status,
};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

/// Tell whether a live update would work now
///
/// Looks at this kernel (LUO and KHO are on, what the previous kernel handed over was good, an
/// image is loaded that can carry sessions), at the next one as far as its image tells (it has a
/// LUO that reads the format of this one, and the file handlers), at its command line if that is
/// given, and at the sessions (no file has refused the last reboot). The exit status is 0 if nothing was found
/// that is in the way; what cannot be told is not in the way.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    next: Next,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub fn run(self) -> Outcome {
        let report = Report::of(&self.next, true)?;
        self.format.show(&report)?;
        Ok(report.exit() as u8)
    }
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is in the way.
    Ok,
    /// Nothing is known to be in the way, but something will be lost, or may refuse.
    Warning,
    /// It cannot be told.
    Unknown,
    /// A live update would not work.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// The reason, for people.
    pub reason: String,
}

/// All checks.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Whether a live update would work, as far as can be told.
    pub works: bool,
    /// The checks, in the order in which a live update goes.
    pub findings: Vec<Finding>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            check,
            verdict,
            reason,
        }
    }

    fn ok(check: &'static str, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, reason)
    }

    fn warning(check: &'static str, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, reason)
    }

    fn unknown(check: &'static str, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, reason)
    }

    fn failed(check: &'static str, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Failed, reason)
    }
}

impl Report {
    /// Checks everything; an image has to be `loaded`, unless one is going to be.
    pub fn of(next: &Next, loaded: bool) -> Result<Self, Failure> {
        let (status, sessions) = Status::observe()?;
        let kernel = match &next.kernel {
            Some(path) => Some(Kernel::in_image(path).trying(path.display())?),
            None => None,
        };
        let cmdline = next.cmdline()?;

        let mut findings = this_kernel::checks(&status, loaded);
        findings.extend(this_kernel::sessions(&status, &sessions));
        findings.extend(match &kernel {
            None => vec![Finding::unknown(
                "next kernel",
                "name its image with --kernel",
            )],
            Some(None) => vec![Finding::unknown(
                "next kernel",
                "its image is not compressed by gzip, xz or zstd",
            )],
            Some(Some(kernel)) => next_kernel::checks(kernel, &status, &sessions),
        });
        findings.extend(cmdline.iter().flat_map(|text| next_kernel::cmdline(text)));
        Ok(Self::new(findings))
    }

    fn new(findings: Vec<Finding>) -> Self {
        let mut report = Self {
            works: true,
            findings,
        };
        let works = report.failed().next().is_none();
        report.works = works;
        report
    }

    /// What is in the way.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> + use<'_> {
        let failed = |finding: &&Finding| finding.verdict == Verdict::Failed;
        self.findings.iter().filter(failed)
    }

    /// The exit status that tells what it came to.
    pub fn exit(&self) -> Exit {
        if self.works {
            Exit::Done
        } else {
            Exit::WouldNotWork
        }
    }
}

/// The handlers of the files that are to be handed over, each once, as far as they are known.
fn handlers(sessions: &Sessions) -> Vec<&liveupdate::observe::Name> {
    let files = sessions
        .outgoing()
        .flat_map(|session| session.files.iter().flatten());
    let mut handlers: Vec<_> = files.map(|file| &file.handler).collect();
    handlers.retain(|handler| handler.as_bytes() != b"-");
    handlers.sort();
    handlers.dedup();
    handlers
}

impl Show for Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            let (style, verdict) = match finding.verdict {
                Verdict::Ok => (GOOD, "ok"),
                Verdict::Warning => (DOUBTFUL, "warning"),
                Verdict::Unknown => (DOUBTFUL, "unknown"),
                Verdict::Failed => (BAD, "FAILED"),
            };
            let Finding { check, reason, .. } = finding;
            writeln!(out, "{style}{verdict:<8}{style:#}{check}: {reason}")?;
        }
        if self.works {
            writeln!(
                out,
                "{GOOD}As far as can be told, a live update would work.{GOOD:#}"
            )
        } else {
            writeln!(out, "{BAD}A live update would not work.{BAD:#}")
        }
    }
}
