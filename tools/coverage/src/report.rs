// SPDX-License-Identifier: GPL-2.0

//! Which lines were executed by which test: for people, and for tools that read lcov.

use crate::code::Code;
use crate::code::Line;
use crate::trace;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use lcov::report::section;
use lcov::report::section::line;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// The lines of the crate, and those of them that tests have executed.
pub struct Report {
    code: Code,
    tests: BTreeMap<String, BTreeSet<Line>>,
}

impl Report {
    /// A report on tests that have yet to be added.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            tests: BTreeMap::new(),
        }
    }

    /// Adds the trace of a test.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let log = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let covered: BTreeSet<Line> = trace::addresses(&log)
            .into_iter()
            .flat_map(|address| self.code.lines_at(address))
            .cloned()
            .collect();
        ensure!(!covered.is_empty(), "{}: no line executed", path.display());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        self.tests.insert(name.into_owned(), covered);
        Ok(())
    }

    /// The lines of each file, and whether a test has executed them.
    fn files(&self) -> BTreeMap<&str, BTreeMap<u32, bool>> {
        let covered: BTreeSet<_> = self.tests.values().flatten().collect();
        let mut files = BTreeMap::<&str, BTreeMap<u32, bool>>::new();
        for line in self.code.lines() {
            let (file, number) = line;
            files
                .entry(file)
                .or_default()
                .insert(*number, covered.contains(line));
        }
        files
    }

    /// Writes an lcov tracefile, in which a line's count is the number of tests that executed it.
    pub fn write_lcov(&self, source: &Path, path: &Path) -> Result<()> {
        let mut report = lcov::Report::new();
        let lines = self.code.lines();
        for (test, covered) in &self.tests {
            for &line in &lines {
                let key = section::Key {
                    // genhtml takes nothing else.
                    test_name: test.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
                    source_file: source.join(&line.0),
                };
                report.sections.entry(key).or_default().lines.insert(
                    line::Key { line: line.1 },
                    line::Value {
                        count: covered.contains(line).into(),
                        checksum: None,
                    },
                );
            }
        }
        let records = report.into_records().map(|record| format!("{record}\n"));
        fs::write(path, records.collect::<String>()).with_context(|| path.display().to_string())
    }

    /// Writes the lines that no test executed, as ranges with their text.
    pub fn write_uncovered(&self, source: &Path, path: &Path) -> Result<()> {
        let mut listing = String::new();
        for (file, lines) in self.files() {
            let path = source.join(file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text: Vec<_> = text.lines().collect();
            let lines: Vec<_> = lines.into_iter().collect();
            for range in lines.chunk_by(|(_, before), (_, after)| before == after) {
                let (first, covered) = range[0];
                let (last, _) = range[range.len() - 1];
                if covered {
                    continue;
                }
                listing += &format!("{file}:{first}-{last}\n");
                for number in first..=last {
                    let line = text.get(number as usize - 1);
                    let line = line.with_context(|| format!("{file} has no line {number}"))?;
                    listing += &format!("{number:5} {line}\n");
                }
            }
        }
        fs::write(path, listing).with_context(|| path.display().to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |file: &str, lines: usize, covered: usize| {
            let percent = 100.0 * covered as f64 / lines as f64;
            writeln!(f, "{file:20} {lines:6} {covered:8} {percent:6.1} %")
        };
        let (mut lines, mut covered) = (0, 0);
        for (file, executed) in self.files() {
            let hits = executed.values().filter(|&&executed| executed).count();
            row(file, executed.len(), hits)?;
            lines += executed.len();
            covered += hits;
        }
        row("all files", lines, covered)
    }
}
