// SPDX-License-Identifier: GPL-2.0

//! Does every damage to a hand-over on both LUOs, a machine for each, and shows what becomes of it.
//!
//! What is due is stated by the test program (`tests/kexec/src/damage.rs`), and the LUO in Rust is
//! judged by that. What the LUO in C does is told.

use crate::selftest::in_order;
use crate::selftest::ours;
use crate::selftest::Impl;
use crate::selftest::Test;
use crate::Both;
use crate::Machine;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use luo_guest::DAMAGED;
use luo_guest::OUTCOME;
use luo_guest::REFUSED;
use luo_vm::Accel;
use luo_vm::End;
use luo_vm::Line;
use luo_vm::Run;
use std::fs;
use std::path::Path;

/// What is told of the LUO in C where it does not know the format.
const NOT_IN_C: &str = "no such format";

/// What the test driver says of each word that it damages.
const DONE: &str = "luo_test: damaged ";

/// `luo-vm hostile`
#[derive(Args)]
pub struct Hostile {
    #[command(flatten)]
    both: Both,
    /// Do only this damage; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many machines run at a time
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: usize,
    /// The memory of a machine, as QEMU writes it
    #[arg(long, default_value = "1G")]
    memory: String,
    /// A kernel parameter, or an environment variable of the test; may be repeated
    #[arg(long)]
    param: Vec<String>,
    /// How long one machine may take
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    timeout: u64,
}

/// What came of one damage.
struct Outcome {
    c: String,
    rust: String,
    /// Why that is not what was due on Rust.
    failure: Option<String>,
}

/// Damages in a row of which the same has come.
struct Row {
    names: String,
    c: String,
    rust: String,
}

impl Hostile {
    /// Does all damages, and prints a table; true if the LUO in Rust did what was due.
    pub fn run(&self) -> Result<bool> {
        let Both { c, rust, out, .. } = &self.both;
        let machines =
            [("c", c), ("rust", rust)].map(|(name, kernel)| self.machine(&out.join(name), kernel));
        for machine in &machines {
            fs::create_dir_all(&machine.out).with_context(|| machine.out.display().to_string())?;
        }
        let mut tests = ours(&machines[0], "--list-damages")?;
        tests.retain(|test| self.only.is_empty() || self.only.contains(&test.name));

        let mut rows: Vec<Row> = Vec::new();
        let mut failed = 0;
        println!("KTAP version 1\n1..{}", tests.len());
        in_order(
            self.jobs,
            &tests,
            |test| outcome(test, &machines),
            |number, test, outcome| {
                let Outcome { c, rust, failure } = outcome.with_context(|| test.name.clone())?;
                let name = test.name.trim_start_matches(DAMAGED);
                match failure {
                    None => println!("ok {number} {name} # C: {c}; Rust: {rust}"),
                    Some(failure) => {
                        failed += 1;
                        println!("not ok {number} {name} # {failure}");
                        println!("# log: {}", machines[1].log(&test.name).display());
                    }
                }
                match rows.last_mut() {
                    Some(row) if row.c == c && row.rust == rust => {
                        row.names.push_str(", ");
                        row.names.push_str(name);
                    }
                    _ => rows.push(Row {
                        names: name.to_owned(),
                        c,
                        rust,
                    }),
                }
                Ok(())
            },
        )?;

        let path = out.join("table.rst");
        fs::write(&path, table(&rows)).with_context(|| path.display().to_string())?;
        println!("# table: {}", path.display());
        println!("{} passed, {failed} failed", tests.len() - failed);
        Ok(failed == 0)
    }

    fn machine(&self, out: &Path, kernel: &Path) -> Machine {
        Machine {
            kernel: kernel.to_owned(),
            next: None,
            guest: self.both.guest.clone(),
            out: out.to_owned(),
            memory: self.memory.clone(),
            param: self.param.clone(),
            accel: Accel::default(),
            timeout: self.timeout,
            trace: None,
        }
    }
}

/// Does a damage on both LUOs.
fn outcome(test: &Test, [c, rust]: &[Machine; 2]) -> Result<Outcome> {
    let c = match test.is_of_runs() {
        true => None,
        false => Some(test.vm(c, [Impl::C]).run(|_| ())?),
    };
    let rust = test.vm(rust, [Impl::Rust]).run(|_| ())?;
    let cases = (1..=test.stages).flat_map(|stage| test.judge(&rust, stage));
    let mut failures =
        cases.filter_map(|case| Some(format!("{}: {}", case.name, case.failure?.reason)));
    let undamaged = c.iter().chain([&rust]).find_map(|run| {
        let done = run.stage(1).iter().any(|line| line.text.starts_with(DONE));
        (test.name.starts_with(DAMAGED) && !done).then(|| "the damage was not done".to_owned())
    });
    Ok(Outcome {
        failure: undamaged.or_else(|| failures.next()),
        c: c.map_or(NOT_IN_C.to_owned(), |c| what(&c, test.stages)),
        rust: what(&rust, test.stages),
    })
}

/// What the next kernel made of it, and if that is not the end of it, the kernel after.
fn what(run: &Run, stages: u32) -> String {
    let mut words = Vec::new();
    for stage in 2..=stages {
        let lines = run.stage(stage);
        let has = |text: &str| lines.iter().any(|line| line.text.contains(text));
        let outcomes: Vec<_> = lines
            .iter()
            .filter_map(Line::output)
            .filter_map(|line| line.strip_prefix(OUTCOME))
            .collect();
        let told = |what: &str| outcomes.iter().any(|outcome| outcome.starts_with(what));
        let opened = stage == 2 && told("open Ok(())");
        let (oops, panic) = (has("Oops"), has("Kernel panic"));

        if let Some(why) = lines.iter().find_map(|line| refusal(&line.text)) {
            // Without what stands there, and why that cannot be.
            let what = [" is ", " for ", ": "].map(|end| why.find(end).unwrap_or(why.len()));
            let end = what.into_iter().min().unwrap_or(why.len());
            words.push(format!("refuses: {}", &why[..end]));
        } else if told("open Err(EIO)") || told("memfd refused") {
            words.push("refuses".to_owned());
        } else if opened && !oops {
            words.push("accepts".to_owned());
        } else if told("open Err(ENOENT)") {
            words.push("goes on".to_owned());
        }
        if told("take Err") || told("memfd lost") {
            words.push("loses files".to_owned());
        }
        if told("memfd wrong") {
            words.push("wrong contents".to_owned());
        }
        words.extend(match (oops, panic) {
            (true, true) => Some("crashes".to_owned()),
            (true, false) if opened => Some("crashes when asked for".to_owned()),
            (true, false) => Some("crashes when opened".to_owned()),
            (false, true) => Some("panics".to_owned()),
            (false, false) => lines
                .iter()
                .any(Line::complains)
                .then(|| "warns".to_owned()),
        });
        if matches!(run.end, End::Hang(_)) && run.stage(stage + 1).is_empty() {
            words.push("hangs".to_owned());
        }
        if run.stage(stage + 1).is_empty() {
            break;
        }
    }
    words.join(", ")
}

/// What the LUO in Rust says that it refuses something for.
fn refusal(line: &str) -> Option<&str> {
    match line.strip_prefix("luo_memfd: ") {
        Some(line) => line.strip_prefix(REFUSED)?.strip_prefix(" of a memfd: "),
        None => {
            let line = line.strip_prefix("luo: ")?.strip_prefix(REFUSED)?;
            line.split_once("): ").map(|(_, why)| why)
        }
    }
}

fn table(rows: &[Row]) -> String {
    let head = ".. list-table::\n   :header-rows: 1\n\n   * - Damage\n     - C\n     - Here\n";
    rows.iter().fold(head.to_owned(), |table, row| {
        let Row { names, c, rust } = row;
        format!("{table}   * - {names}\n     - {c}\n     - {rust}\n")
    })
}
