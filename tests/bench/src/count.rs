// SPDX-License-Identifier: GPL-2.0

//! Counts instructions, in the kernel and here.

use anyhow::Context;
use anyhow::Result;
use luo_guest::Report;
use std::fs;
use std::hint::black_box;

/// How many calls, the last ones, the cost at the end of a series is the median of.
const LAST: usize = 16;

/// Up to so many calls of a series, each has a time slice without a timer interrupt.
const UNDISTURBED: usize = 100;

/// The instructions up to now.
pub use luo_guest::timestamp as now;

/// Returns right after a timer interrupt, when the next one is far away.
pub fn settle() {
    let lap = || {
        let start = now();
        (0..1000).for_each(|i| {
            black_box(i);
        });
        now() - start
    };
    let undisturbed = (0..3).map(|_| lap()).min().unwrap_or_default();
    while lap() < undisturbed + undisturbed / 8 {}
}

/// What each call of an operation costs.
pub struct Series {
    name: &'static str,
    costs: Vec<u64>,
    calls: usize,
}

impl Series {
    /// A series of `due` calls.
    pub fn new(name: &'static str, due: usize) -> Self {
        Self {
            name,
            // Not 0: the pages have to be there before the first call.
            costs: vec![1; due],
            calls: 0,
        }
    }

    /// Calls `operation` and counts what it costs.
    pub fn count<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let due = self.costs.len();
        if due <= UNDISTURBED || self.calls == 0 || self.calls + LAST >= due {
            settle();
        }
        let start = now();
        let value = operation();
        self.costs[self.calls] = now() - start;
        self.calls += 1;
        value
    }

    /// Tells the host what the first call cost, the last ones, and all of them on average.
    pub fn report(mut self) -> Result<()> {
        let calls = self.calls;
        let costs = &mut self.costs[..calls];
        let Some(&first) = costs.first() else {
            return Ok(());
        };
        let mean = costs.iter().sum::<u64>() as f64 / calls as f64;
        let last = &mut costs[calls.saturating_sub(LAST)..];
        last.sort_unstable();
        let last = last[last.len() / 2];

        let name = self.name;
        measured(format!("{name}.first"), first as f64)?;
        measured(format!("{name}.mean"), mean)?;
        measured(format!("{name}.last"), last as f64)
    }
}

/// Tells the host a result.
pub fn measured(what: impl Into<String>, value: f64) -> Result<()> {
    let what = what.into();
    Ok(Report::Measured { what, value }.send()?)
}

/// The kernel's memory, in bytes.
pub struct Memory {
    slab: f64,
    free: f64,
}

impl Memory {
    /// What is in use now.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let bytes = |field: &str| -> Result<f64> {
            let line = text.lines().find(|line| line.starts_with(field));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            let kib: f64 = kib.context(field.to_owned())?.parse()?;
            Ok(kib * 1024.0)
        };
        Ok(Self {
            slab: bytes("Slab:")?,
            free: bytes("MemFree:")?,
        })
    }

    /// Tells the host what has been taken since.
    pub fn report(self) -> Result<()> {
        let now = Self::now()?;
        measured("memory.slab", now.slab - self.slab)?;
        measured("memory.all", self.free - now.free)
    }
}
