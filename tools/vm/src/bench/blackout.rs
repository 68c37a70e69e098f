// SPDX-License-Identifier: GPL-2.0

//! The whole way of a live update, step by step: from `reboot()` until the next kernel has given
//! everything back. That is how long a virtual machine stands still, and LUO is a small part of it.

use super::figure;
use super::grid;
use super::operation::Load;
use super::operation::Measures;
use super::ratio;
use super::Bench;
use super::Luo;
use super::Results;
use indicatif::HumanCount;
use std::iter;

/// From so many items on, what one of them costs is not lost in what the floor varies by.
const SOME: u64 = 1_000;

/// From so many on, the way is shown; and the slope of a cost is what it is at some N, divided by
/// what it is at the first N that is as large.
const MANY: u64 = 10_000;

/// What a step costs, of which the machine with that many sessions, and files, has these measures.
type Cost = fn(&Measures, f64, f64) -> Option<f64>;

/// The steps, in order.
const STEPS: [(&str, Cost); 7] = [
    ("freeze and serialize", |m, _, _| m.get("freeze")),
    ("jump to /init", |m, _, _| {
        Some(m.get("arrival")? - m.get("kexec")?)
    }),
    ("first open", |m, _, _| m.get("restore.first")),
    ("first session", |m, _, _| m.get("retrieve_session.first")),
    ("other sessions", |m, sessions, _| {
        let all = m.get("retrieve_session.mean")? * sessions;
        let others = all - m.get("retrieve_session.first")?;
        Some(others).filter(|_| sessions > 1.0)
    }),
    ("all files", |m, _, files| {
        Some(m.get("retrieve.mean")? * files)
    }),
    ("finish", |m, sessions, _| {
        Some(m.get("finish.mean")? * sessions)
    }),
];

/// What all steps cost together.
fn sum(measures: &Measures, sessions: f64, files: f64) -> Option<f64> {
    let costs = STEPS.map(|(_, cost)| cost(measures, sessions, files));
    costs[1].map(|_| costs.into_iter().flatten().sum())
}

/// Whether the way is shown with that load, and so many. Few scattered pages cost enough already.
pub fn shows(load: Load, n: u64) -> bool {
    match load {
        Load::Scattered => true,
        Load::Sessions | Load::Pages | Load::Neighbours | Load::Huge => n >= MANY,
        Load::Files | Load::SpreadFiles | Load::SpreadPages => false,
    }
}

/// A table in reStructuredText, as the documentation has it; empty if nothing is to be shown.
pub fn table(bench: &Bench, results: &Results) -> String {
    let mut rows = Vec::new();
    for load in bench.loads() {
        let numbers: Vec<_> = bench.numbers(load).filter(|&n| shows(load, n)).collect();
        let few = numbers.iter().copied().find(|&n| n >= MANY);
        let steps = STEPS.into_iter().chain(iter::once(("sum", sum as Cost)));
        for (step, cost) in steps {
            let of = |luo, n| {
                let (sessions, each, _) = load.counts(n);
                let measures = results.loads.get(&(luo, load, n))?;
                cost(measures, sessions as f64, (sessions * each) as f64)
            };
            let floor = |n| {
                let nothing = results.floors.get(&(Luo::Rust, load.memory(n)))?;
                cost(nothing, 0.0, 0.0)
            };
            let each = |n: u64| {
                let beyond = of(Luo::Rust, n)? - floor(n).unwrap_or_default();
                Some(beyond / n as f64).filter(|_| n >= SOME)
            };
            for &n in &numbers {
                let costs = [Luo::Stock, Luo::C, Luo::Rust].map(|luo| of(luo, n));
                let [stock, c, rust] = costs;
                if costs == [None; 3] {
                    continue;
                }
                let slope = few.filter(|&few| n >= few).and_then(each);
                rows.push([
                    format!("{}: {step}", load.title()),
                    HumanCount(n).to_string(),
                    ratio(stock, rust),
                    figure(stock),
                    figure(c),
                    figure(rust),
                    figure(each(n)),
                    ratio(each(n), slope.filter(|&each| each >= 1.0)),
                    figure(floor(n)),
                ]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    grid(
        [40, 9, 10, 14, 14, 14, 8, 6, 13],
        [
            "Step",
            "N",
            "Stock/Rust",
            "Stock",
            "C",
            "Rust",
            "Each",
            "Slope",
            "Floor",
        ],
        rows,
    )
}

/// What the plot shows: in how many fragments a file was, and what the whole way cost.
pub fn points(bench: &Bench, results: &Results, luo: Luo) -> Vec<(u64, f64)> {
    let point = |n| {
        let measures = results.loads.get(&(luo, Load::Scattered, n))?;
        Some((measures.get("fragments")? as u64, sum(measures, 1.0, 1.0)?))
    };
    bench.numbers(Load::Scattered).filter_map(point).collect()
}
