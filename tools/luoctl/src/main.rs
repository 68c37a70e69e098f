// SPDX-License-Identifier: GPL-2.0

//! `luoctl`, live update on the command line: the commands, and how they end.

mod check;
mod device;
mod documents;
mod failure;
mod hold;
mod image;
mod keep;
mod kexec;
mod next;
mod output;
mod put;
#[cfg(test)]
mod samples;
mod sessions;
mod status;
mod supervise;
mod take;

use clap::{Parser, Subcommand};
use failure::{Exit, Outcome};
use std::process::ExitCode;

/// Look at live update, and use it
///
/// Carries files across a kexec into the next kernel through the Live Update Orchestrator
/// (LUO), and tells how it stands: what there is, who has it, and whether the next live update
/// would work. Nothing that only looks changes anything; what is not shown by this kernel, or
/// not to this user, is said to be unknown.
///
/// Names of sessions are bytes. Printed, a byte that is not text is three octal digits behind a
/// backslash, and names are read in the same way. Tokens are decimal, or hexadecimal behind 0x.
#[derive(Parser)]
#[command(
    name = "luoctl",
    version,
    max_term_width = 100,
    after_long_help = Exit::help(),
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Arguments),
    List(sessions::List),
    Show(sessions::Show),
    Check(check::Arguments),
    Hold(hold::Arguments),
    Take(take::Arguments),
    Put(put::Put),
    Get(put::Get),
    Kexec(kexec::Arguments),
    #[command(hide = true)]
    Completions(documents::Completions),
    #[command(hide = true)]
    Man(documents::Man),
    #[command(hide = true)]
    Schema(documents::Schema),
    #[command(hide = true)]
    Keep(keep::Arguments),
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Self::Status(status) => status.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Check(check) => check.run(),
            Self::Hold(hold) => hold.run(),
            Self::Take(take) => take.run(),
            Self::Put(put) => put.run(),
            Self::Get(get) => get.run(),
            Self::Kexec(kexec) => kexec.run(),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
            Self::Schema(schema) => schema.run(),
            Self::Keep(keep) => keep.run(),
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(status) => status.into(),
        Err(failure) => {
            output::say(&failure);
            failure.exit.into()
        }
    }
}
