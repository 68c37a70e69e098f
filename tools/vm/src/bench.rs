// SPDX-License-Identifier: GPL-2.0

//! Counts what live update costs on the LUO in C and on the one in Rust, at several numbers of
//! sessions and files, and shows both side by side; and what the whole way costs, beside that of a
//! kernel without any of our patches.

mod blackout;
mod memory;
mod operation;
mod plot;

use crate::Both;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use indicatif::HumanCount;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use luo_guest::Report;
use luo_vm::Accel;
use luo_vm::Line;
use luo_vm::Run;
use luo_vm::Vm;
use operation::Load;
use operation::Measures;
use operation::Operation;
use operation::OPERATIONS;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const PROGRAM: &str = "luo-bench";

/// The slope of a cost is what it is at some N, divided by what it is at this one.
const FEW: u64 = 100;

const PAGES_PER_MIB: u64 = 256;

/// With how many threads at once preserving is measured.
const THREADS: u32 = 2;

/// How large each of the files of one session is that several threads work on, in bytes.
const SIDE_BY_SIDE: u64 = 256 << 20;

/// What the kernel says once LUO has written everything down.
const SERIALIZED: &str = "kexec_core: Starting new kernel";

/// `luo-vm bench`
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    both: Both,
    /// The build directory of the kernel without any of our patches
    #[arg(long, value_name = "DIR")]
    stock: PathBuf,
    /// The build directory of the kernel with the LUO in C, for several processors
    #[arg(long, value_name = "DIR", requires = "rust_smp")]
    c_smp: Option<PathBuf>,
    /// The one with the LUO in Rust, for several processors
    #[arg(long, value_name = "DIR", requires = "c_smp")]
    rust_smp: Option<PathBuf>,
    /// How many sessions, or files; may be repeated
    #[arg(short, value_delimiter = ',', default_values_t = [1, 100, 1_000, 10_000, 100_000])]
    numbers: Vec<u64>,
    /// How many sessions or files at most on the LUO in C, to which each costs more than the one
    /// before
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    c_limit: u64,
    /// How large the one memory file is, of which only scattered pages are measured below 40 MiB;
    /// may be repeated
    #[arg(long, value_delimiter = ',', default_values_t = [4, 16, 64, 256, 1_024])]
    mib: Vec<u64>,
    /// How many scattered pages, sessions or files at most on the stock kernel
    #[arg(long, value_name = "N", default_value_t = 70_000)]
    stock_limit: u64,
    /// Measure only this; may be repeated
    #[arg(long, value_enum)]
    load: Vec<Load>,
    /// Measure everything twice, and tell where the cost of an item differs most
    #[arg(long)]
    repeat: bool,
    /// How long one machine may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Luo {
    Stock,
    C,
    Rust,
}

/// What was measured.
#[derive(Default)]
struct Results {
    /// With so many of that load.
    loads: HashMap<(Luo, Load, u64), Measures>,
    /// With nothing, in a machine that has so much memory.
    floors: HashMap<(Luo, String), Measures>,
}

impl Bench {
    /// Measures everything, prints the table and draws the plot; true if no machine failed.
    pub fn run(&self) -> Result<bool> {
        fs::create_dir_all(&self.both.out).with_context(|| self.both.out.display().to_string())?;
        let (results, mut passed) = self.measure()?;
        let operations: Vec<_> = OPERATIONS
            .iter()
            .filter(|operation| self.load.is_empty() || self.load.contains(&operation.load))
            .collect();

        // By the wall clock, so only now that nothing else is running.
        let threads = match (&self.c_smp, &self.rust_smp) {
            (Some(c), Some(rust)) if self.load.is_empty() => {
                Some([self.threads("c", c)?, self.threads("rust", rust)?])
            }
            _ => None,
        };

        if !operations.is_empty() {
            let table = self.table(&operations, &results, threads.as_ref());
            let path = self.save("table.rst", &table)?.with_file_name("cost.svg");
            plot::draw(&path, &operations, |luo, operation| {
                let point = |&n| Some((n, self.cost(&results, luo, operation, n)?));
                self.numbers.iter().filter_map(point).collect()
            })?;
            println!("plot: {}", path.display());
        }
        let table = blackout::table(self, &results);
        if !table.is_empty() {
            let path = self.save("blackout.rst", &table)?.with_extension("svg");
            plot::draw_blackout(&path, |luo| blackout::points(self, &results, luo))?;
            println!("plot: {}", path.display());
        }

        let table = memory::table(self)?;
        if !table.is_empty() {
            self.save("memory.rst", &table)?;
        }

        if self.repeat {
            let (again, passed_again) = self.measure()?;
            passed &= passed_again;
            println!("{}", self.largest_difference(&operations, &results, &again));
        }
        Ok(passed)
    }

    /// Prints a table, and keeps it in a file of that name.
    fn save(&self, name: &str, table: &str) -> Result<PathBuf> {
        print!("{table}");
        let path = self.both.out.join(name);
        fs::write(&path, table)?;
        Ok(path)
    }

    /// The loads to measure.
    fn loads(&self) -> impl Iterator<Item = Load> + '_ {
        let wanted = |load: &Load| self.load.is_empty() || self.load.contains(load);
        Load::ALL.iter().copied().filter(wanted)
    }

    /// With how many to measure a load.
    fn numbers(&self, load: Load) -> impl Iterator<Item = u64> + '_ {
        let (numbers, each) = match load.layout() {
            Some(_) => (&self.mib, PAGES_PER_MIB),
            None => (&self.numbers, 1),
        };
        numbers.iter().map(move |number| number * each)
    }

    /// Whether to measure a load with so many.
    fn due(&self, luo: Luo, load: Load, n: u64) -> bool {
        let shown = blackout::shows(load, n);
        match (load.layout(), luo) {
            (Some(_), Luo::C | Luo::Rust) => shown,
            (None, Luo::Rust) => true,
            (None, Luo::C) => n <= self.c_limit,
            (_, Luo::Stock) => {
                let few_fragments = matches!(load, Load::Neighbours | Load::Huge);
                shown && (few_fragments || n <= self.stock_limit)
            }
        }
    }

    /// Where two measurements of what one item costs differ most.
    fn largest_difference(
        &self,
        operations: &[&Operation],
        results: &Results,
        again: &Results,
    ) -> String {
        let mut largest = (0.0, "the second run gave the same results".to_owned());
        for operation in operations.iter().filter(|operation| operation.each) {
            for &n in &self.numbers {
                for luo in [Luo::C, Luo::Rust] {
                    let [one, other] = [results, again].map(|it| self.cost(it, luo, operation, n));
                    let Some((one, other)) = one.zip(other) else {
                        continue;
                    };
                    let percent = (other - one).abs() / one * 100.0;
                    if percent > largest.0 {
                        let Operation { title, .. } = operation;
                        let text = format!(
                            "the second run differs by {percent:.2} % at most: \
                             {title}, N = {n}, {luo:?}: {one:.0}, then {other:.0}"
                        );
                        largest = (percent, text);
                    }
                }
            }
        }
        largest.1
    }

    /// Measures all kernels at the same time: none sees what else the host is doing.
    fn measure(&self) -> Result<(Results, bool)> {
        let style = ProgressStyle::with_template("{pos}/{len} {elapsed} {msg}")?;
        let progress = ProgressBar::new(0).with_style(style);
        progress.enable_steady_tick(Duration::from_millis(500));
        let all = thread::scope(|scope| {
            [Luo::Stock, Luo::C, Luo::Rust]
                .map(|luo| {
                    let progress = &progress;
                    scope.spawn(move || self.measure_one(luo, progress))
                })
                .map(|thread| thread.join().expect("no panic"))
        });
        progress.finish_and_clear();

        let mut results = Results::default();
        let mut passed = true;
        for one in all {
            let (measured, complete) = one?;
            results.loads.extend(measured.loads);
            results.floors.extend(measured.floors);
            passed &= complete;
        }
        Ok((results, passed))
    }

    /// Runs a machine for each load and number; and whether all went well. What fails is told, and
    /// missing from the results.
    fn measure_one(&self, luo: Luo, progress: &ProgressBar) -> Result<(Results, bool)> {
        let all = self
            .loads()
            .flat_map(|load| self.numbers(load).map(move |n| (load, n)));
        let due: Vec<_> = all.filter(|&(load, n)| self.due(luo, load, n)).collect();
        progress.inc_length(due.len() as u64);

        let mut results = Results::default();
        let mut passed = true;
        for (load, n) in due {
            progress.set_message(format!("{luo:?}, {load:?}, {n}"));
            let memory = if blackout::shows(load, n) {
                load.memory(n)
            } else {
                Load::Sessions.memory(0)
            };
            let nothing = match results.floors.entry((luo, memory)) {
                Entry::Occupied(floor) => floor.into_mut(),
                Entry::Vacant(none) => {
                    let floor = self.machine(luo, Load::Sessions, 0, &none.key().1)?;
                    none.insert(floor)
                }
            };
            match self.machine(luo, load, n, &load.memory(n)) {
                Ok(mut measures) => {
                    measures.subtract("serialize", nothing);
                    results.loads.insert((luo, load, n), measures);
                }
                Err(error) => {
                    passed = false;
                    progress.suspend(|| eprintln!("{error:#}"));
                }
            }
            progress.inc(1);
        }
        Ok((results, passed))
    }

    /// Runs one machine.
    fn machine(&self, luo: Luo, load: Load, n: u64, memory: &str) -> Result<Measures> {
        let build = match luo {
            Luo::Stock => &self.stock,
            Luo::C => &self.both.c,
            Luo::Rust => &self.both.rust,
        };
        let name = match n {
            0 => format!("{luo:?}-nothing-{memory}"),
            _ => format!("{luo:?}-{load:?}-{n}"),
        };
        let name = name.to_lowercase();
        let (vm, log) = self.vm(build, &name);
        let run = vm
            .stages(2)
            .args(["-s", luo_guest::STAGE])
            .args(load.args(n))
            .memory(memory)
            .accel(Accel::Icount)
            .run(|_| ())?;
        measures(&run).context(log)
    }

    /// Runs machines with several processors.
    fn threads(&self, luo: &str, build: &Path) -> Result<Measures> {
        let (vm, log) = self.vm(build, &format!("{luo}-threads"));
        let run = vm
            .args(["-s", "0", "--files=63", &format!("--sessions={THREADS}")])
            .cpus(THREADS)
            .run(|_| ())?;
        let mut measures = reported(&run).context(log)?;

        let (vm, log) = self.vm(build, &format!("{luo}-side-by-side"));
        let run = vm
            .stages(2)
            .args(["-s", luo_guest::STAGE, "--side-by-side"])
            .args([format!("--bytes={SIDE_BY_SIDE}")])
            .memory("6G")
            .cpus(THREADS)
            .run(|_| ())?;
        measures.extend(reported(&run).context(log)?);
        Ok(measures)
    }

    /// A machine of that name, and where to look if it fails.
    fn vm(&self, build: &Path, name: &str) -> (Vm, String) {
        let Both { guest, out, .. } = &self.both;
        let log = out.join(name).with_extension("log");
        let vm = Vm::new(build, guest, &guest.join(PROGRAM), &log)
            // The test driver's handlers would be asked about each file, and the reboot would
            // wait for the mouse.
            .params([
                "printk.time=1",
                "initcall_blacklist=luo_test_init",
                "i8042.noaux",
                "i8042.nokbd",
            ])
            .timeout(Duration::from_secs(self.timeout));
        (vm, format!("{name}, log: {}", log.display()))
    }

    fn cost(&self, results: &Results, luo: Luo, operation: &Operation, n: u64) -> Option<f64> {
        let measures = results.loads.get(&(luo, operation.load, n))?;
        (operation.cost)(measures, n as f64)
    }

    /// A table in reStructuredText, as the documentation has it.
    fn table(
        &self,
        operations: &[&Operation],
        results: &Results,
        threads: Option<&[Measures; 2]>,
    ) -> String {
        const WIDTHS: [usize; 7] = [49, 9, 13, 13, 6, 6, 8];
        const HEAD: [&str; 7] = ["Operation", "N", "C", "Rust", "Rust/C", "Slope", "Floor"];
        let line = |title: &str, n: u64, [c, rust]: [Option<f64>; 2], few, floor| {
            [
                title.to_owned(),
                HumanCount(n).to_string(),
                figure(c),
                figure(rust),
                ratio(rust, c),
                ratio(rust, few),
                figure(floor),
            ]
        };
        let mut lines = Vec::new();
        for operation in operations {
            for &n in &self.numbers {
                let costs = [Luo::C, Luo::Rust].map(|luo| self.cost(results, luo, operation, n));
                if costs == [None; 2] {
                    continue;
                }
                let few = self.cost(results, Luo::Rust, operation, FEW);
                let few = few.filter(|_| operation.each && n >= FEW);
                let floor = operation.floor.and_then(|floor| {
                    let measures = results.loads.get(&(Luo::Rust, operation.load, n))?;
                    measures.get(floor)
                });
                lines.push(line(operation.title, n, costs, few, floor));
            }
        }
        let calls = [
            ("GET_NAME by N threads, ns of wall time", "get_name.threads"),
            (
                "preserve 0 bytes by N threads, ns of wall time",
                "preserve.threads",
            ),
            (
                "preserve 256 MiB in one session by N threads, ns",
                "preserve.side_by_side",
            ),
            (
                "retrieve 256 MiB of one session by N threads, ns",
                "retrieve.side_by_side",
            ),
        ];
        for (title, call) in calls {
            let times = |n| {
                let name = format!("{call}.{n}");
                Some(threads?.each_ref().map(|it| it.get(&name)))
            };
            let alone = times(1).and_then(|[_, rust]| rust);
            let line = |n| Some(line(title, n, times(n)?, alone, None));
            lines.extend((1..=THREADS.into()).filter_map(line));
        }
        grid(WIDTHS, HEAD, lines)
    }
}

/// A table in reStructuredText.
fn grid<const N: usize>(widths: [usize; N], head: [&str; N], rows: Vec<[String; N]>) -> String {
    let line = |cells: [String; N]| {
        let numbers = widths.iter().zip(&cells).skip(1);
        numbers.fold(
            format!("{:1$}", cells[0], widths[0]),
            |line, (&width, cell)| format!("{line} {cell:>width$}"),
        )
    };
    let rule = widths.map(|width| "=".repeat(width)).join(" ");
    let mut lines = vec![rule.clone(), line(head.map(str::to_owned)), rule.clone()];
    lines.extend(rows.into_iter().map(line));
    lines.push(rule);
    lines.join("\n") + "\n"
}

fn figure(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| {
        HumanCount(value.round().max(0.0) as u64).to_string()
    })
}

fn ratio(one: Option<f64>, other: Option<f64>) -> String {
    let ratio = one.zip(other).map(|(one, other)| one / other);
    let ratio = ratio.filter(|ratio| ratio.is_finite());
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// What a machine reported, if all went well.
fn reported(run: &Run) -> Result<Measures> {
    if let Some(reason) = run.reason() {
        bail!(reason);
    }

    let mut measures = Measures::default();
    for stage in 1..=run.stages {
        for report in run.reports(stage) {
            if let Report::Measured { what, value } = report {
                measures.set(what, value);
            }
        }
    }
    Ok(measures)
}

/// The same, and how long the way to the next kernel took.
fn measures(run: &Run) -> Result<Measures> {
    let mut measures = reported(run)?;
    let said = |wanted: &dyn Fn(&Line) -> bool| {
        let line = run.stage(1).iter().find(|line| wanted(line));
        line.and_then(|line| line.said)
    };
    let moments = || {
        let counted = said(
            &|line| matches!(line.report(), Some(Report::Measured { what, .. }) if what == "reboot"),
        )?;
        let rebooting = said(&|line| line.report() == Some(Report::Rebooting))?;
        let serialized = said(&|line| line.text == SERIALIZED)?;
        Some((measures.get("reboot")?, counted, rebooting, serialized))
    };
    let (reboot, counted, rebooting, serialized) =
        moments().context("the kernel's log has no times")?;
    let freeze = (serialized - rebooting).as_nanos() as f64;
    measures.set("freeze", freeze);
    measures.set("serialize", freeze);
    measures.set("kexec", reboot + (serialized - counted).as_nanos() as f64);
    Ok(measures)
}
