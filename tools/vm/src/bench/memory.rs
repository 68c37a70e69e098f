// SPDX-License-Identifier: GPL-2.0

//! What the handler of memory files costs for each folio, however these lie: the one in C, and the
//! one in Rust in both of its formats.

use super::figure;
use super::grid;
use super::operation::Load;
use super::operation::Measures;
use super::ratio;
use super::reported;
use super::Bench;
use anyhow::Context;
use anyhow::Result;
use luo_vm::Accel;
use std::path::Path;

/// How many pages the file has.
const PAGES: u64 = (256 << 20) / 4096;

/// The scratch areas for that. If they were more than half of the free memory, as they are by default,
/// every other page that is written to would come to lie in them, and have to move.
const SCRATCH: &str = "kho_scratch=32M,256M,256M";

/// The kernels, and what tells them which format to write.
const HANDLERS: [(&str, &[&str]); 3] = [("c", &[]), ("rust", &[]), ("runs", &[luo_guest::RUNS])];

/// What is measured.
struct Row {
    title: &'static str,
    /// What it is called in the machine.
    measure: &'static str,
    /// In the machine where nobody asks for the file.
    unasked: bool,
}

impl Row {
    const fn new(title: &'static str, measure: &'static str) -> Self {
        Self {
            title,
            measure,
            unasked: false,
        }
    }
}

const PRESERVE_NEW: &str = "preserve_new.first";
const MEMORY: &str = "memory.all";

const ROWS: [Row; 6] = [
    Row::new("preserve, with pages to allocate", PRESERVE_NEW),
    Row::new("preserve", "preserve.first"),
    Row::new("memory that takes, KiB for 1 GiB", MEMORY),
    Row::new("unpreserve", "unpreserve.first"),
    Row::new("retrieve", "retrieve.first"),
    Row {
        unasked: true,
        ..Row::new("finish, not asked for", "finish.first")
    },
];

/// A table in reStructuredText; empty if nothing of it is to be measured.
pub fn table(bench: &Bench) -> Result<String> {
    let mut rows = Vec::new();
    for load in bench.loads().filter(|load| load.layout().is_some()) {
        let mut results = Vec::new();
        for (handler, params) in HANDLERS {
            let build = match handler {
                "c" => &bench.both.c,
                _ => &bench.both.rust,
            };
            let machine = |unasked| machine(bench, build, handler, load, params, unasked);
            results.push([machine(false)?, machine(true)?]);
        }
        for row in &ROWS {
            // Pages that lie as they should are all there.
            if row.measure == PRESERVE_NEW && load == Load::Huge {
                continue;
            }
            let each = match (row.measure, load) {
                // As many bytes for each MiB.
                (MEMORY, _) => PAGES * 4096 / (1 << 20),
                (_, Load::Huge) => PAGES / 512,
                _ => PAGES,
            };
            let costs = [0, 1, 2].map(|handler: usize| {
                let measures = &results[handler][usize::from(row.unasked)];
                // Somebody else may have given some memory back meanwhile.
                Some(measures.get(row.measure)?.max(0.0) / each as f64)
            });
            let [c, rust, runs] = costs;
            rows.push([
                format!("{}: {}", load.title(), row.title),
                figure(c),
                figure(rust),
                ratio(rust, c),
                figure(runs),
                ratio(runs, c),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(String::new());
    }
    Ok(grid(
        [53, 8, 8, 6, 8, 6],
        [
            "Instructions for each folio",
            "C",
            "Rust",
            "Rust/C",
            "Runs",
            "Runs/C",
        ],
        rows,
    ))
}

/// Runs a machine that carries a file across.
fn machine(
    bench: &Bench,
    build: &Path,
    handler: &str,
    load: Load,
    params: &[&str],
    unasked: bool,
) -> Result<Measures> {
    let end = if unasked { "unasked" } else { "asked" };
    let name = format!("memory-{handler}-{load:?}-{end}").to_lowercase();
    let (vm, log) = bench.vm(build, &name);
    let run = vm
        .stages(2)
        .params([SCRATCH])
        .params(params.iter().copied())
        .args(["-s", luo_guest::STAGE])
        .args(load.args(PAGES))
        .args(unasked.then_some("--unasked"))
        .memory(&load.memory(PAGES))
        .accel(Accel::Icount)
        .run(|_| ())?;
    reported(&run).context(log)
}
