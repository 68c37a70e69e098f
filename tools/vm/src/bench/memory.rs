// SPDX-License-Identifier: GPL-2.0

//! What the handler of memory files costs for each page, however the pages lie: the one in C, and
//! the one in Rust in both of its formats.

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

/// The kernels, and what tells them which format to write.
const HANDLERS: [(&str, &[&str]); 3] = [("c", &[]), ("rust", &[]), ("runs", &[luo_guest::RUNS])];

/// What is measured, by its name in the machine where the file is asked for, and in the other one.
const ROWS: [(&str, &str, bool); 6] = [
    (
        "preserve, with pages to allocate",
        "preserve_new.first",
        false,
    ),
    ("preserve", "preserve.first", false),
    ("bytes that takes", "memory.all", false),
    ("unpreserve", "unpreserve.first", false),
    ("retrieve", "retrieve.first", false),
    ("finish, not asked for", "finish.first", true),
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
        for (title, measure, unasked) in ROWS {
            // Without pages that lie as they should, nothing has to be allocated.
            if measure.starts_with("preserve_new") && load == Load::Huge {
                continue;
            }
            let costs = [0, 1, 2].map(|handler: usize| {
                let measures = &results[handler][usize::from(unasked)];
                Some(measures.get(measure)? / PAGES as f64)
            });
            let [c, rust, runs] = costs;
            rows.push([
                format!("{}: {title}", load.title()),
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
        ["Of each page", "C", "Rust", "Rust/C", "Runs", "Runs/C"],
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
        .params(params.iter().copied())
        .args(["-s", luo_guest::STAGE])
        .args(load.args(PAGES))
        .args(unasked.then_some("--unasked"))
        .memory(&load.memory(PAGES))
        .accel(Accel::Icount)
        .run(|_| ())?;
    reported(&run).context(log)
}
