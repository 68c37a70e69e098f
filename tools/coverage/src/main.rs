// SPDX-License-Identifier: GPL-2.0

//! Line coverage of the kernel crate, from what QEMU logs while its tests run.
//!
//! The kernel is not instrumented: QEMU translates an instruction when the guest comes to execute
//! it, and logs the translation. A line is covered if one of its instructions was.

mod code;
mod report;
mod trace;

use anyhow::Result;
use clap::Parser;
use code::Code;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about)]
enum Command {
    /// Print where the crate's code is, as QEMU's -dfilter takes it
    Ranges {
        /// The kernel, with debug information for the crate
        vmlinux: PathBuf,
    },
    /// Write which lines were executed, and print how many
    Report {
        /// The directory of the crate's sources
        #[arg(long, value_name = "DIR")]
        source: PathBuf,
        /// The directory for lcov.info and uncovered.txt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The kernel, with debug information for the crate
        vmlinux: PathBuf,
        /// What QEMU logged while a test ran, in a file named after the test
        #[arg(required = true)]
        traces: Vec<PathBuf>,
    },
}

fn run() -> Result<()> {
    match Command::parse() {
        Command::Ranges { vmlinux } => println!("{}", Code::read(&vmlinux)?.ranges()),
        Command::Report {
            source,
            out,
            vmlinux,
            traces,
        } => {
            let mut report = Report::new(Code::read(&vmlinux)?);
            for trace in &traces {
                report.add(trace)?;
            }
            report.write_lcov(&source, &out.join("lcov.info"))?;
            report.write_uncovered(&source, &out.join("uncovered.txt"))?;
            print!("{report}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("luo-coverage: {error:#}");
            ExitCode::FAILURE
        }
    }
}
