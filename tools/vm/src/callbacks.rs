// SPDX-License-Identifier: GPL-2.0

//! The calls that LUO made of its callbacks, as the kernel logged them: the same, in the same
//! order, on C and Rust, but for marked differences, which have to be there.

use crate::Run;
use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use luo_guest::DIFFERENCE;
use std::collections::BTreeMap;

/// What begins the lines of the test driver and of `lib/tests/liveupdate.c`, and the marks.
const TAGS: [&str; 3] = ["luo_test: luo-test-", "liveupdate test: ", DIFFERENCE];

/// How a line begins that tells of a handler, registered when its driver is initialised: which is no
/// call, and at another time on C than on Rust.
const REGISTERED: &str = "liveupdate test: Registered ";

/// The calls of all stages and the marks around differences, a line each.
pub fn lines(run: &Run) -> String {
    (1..=run.stages)
        .flat_map(|stage| {
            let calls = run.stage(stage).iter().map(|line| line.text.as_str());
            let calls = calls.filter(|text| TAGS.iter().any(|tag| text.starts_with(tag)));
            [format!("stage {stage}\n")]
                .into_iter()
                .chain(calls.map(|text| format!("{text}\n")))
        })
        .collect()
}

/// A line, or a marked difference with the lines in it.
#[derive(PartialEq)]
enum Item<'a> {
    Line(&'a str),
    Difference(&'a str, Vec<&'a str>),
}

fn items(text: &str) -> Result<Vec<Item<'_>>> {
    let mut items = Vec::new();
    let mut lines = text.lines().filter(|line| !line.starts_with(REGISTERED));
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix(DIFFERENCE) else {
            items.push(Item::Line(line));
            continue;
        };
        let name = mark
            .strip_prefix("begin ")
            .with_context(|| line.to_owned())?;
        let mut marked = Vec::new();
        loop {
            let line = lines.next().with_context(|| format!("no end of {name}"))?;
            match line.strip_prefix(DIFFERENCE) {
                None => marked.push(line),
                Some(mark) if mark.strip_prefix("end ") == Some(name) => break,
                Some(_) => bail!("{line} in {name}"),
            }
        }
        items.push(Item::Difference(name, marked));
    }
    Ok(items)
}

/// Compares the lines of two runs of one test; the differences that were marked and are there.
pub fn compare<'a>(c: &'a str, rust: &'a str) -> Result<Vec<&'a str>> {
    let (c_items, rust_items) = (items(c).context("C")?, items(rust).context("Rust")?);
    ensure!(
        c.lines().any(|line| !line.starts_with("stage ")),
        "no test code in the kernel"
    );
    let mut shown = BTreeMap::<_, bool>::new();
    let mut stage = "";
    for at in 0..c_items.len().max(rust_items.len()) {
        match (c_items.get(at), rust_items.get(at)) {
            (Some(Item::Difference(name, c)), Some(Item::Difference(same, rust)))
                if name == same =>
            {
                *shown.entry(*name).or_default() |= c != rust;
            }
            (c, rust) => ensure!(
                c == rust,
                "{stage}: {} on C, {} on Rust",
                described(c),
                described(rust),
            ),
        }
        if let Some(Item::Line(line)) = c_items.get(at) {
            if line.starts_with("stage ") {
                stage = line;
            }
        }
    }
    if let Some((name, _)) = shown.iter().find(|(_, shown)| !**shown) {
        bail!("{name} is said to differ and does not");
    }
    Ok(shown.into_keys().collect())
}

fn described(item: Option<&Item<'_>>) -> String {
    match item {
        None => "nothing more".to_owned(),
        Some(Item::Line(line)) => format!("'{line}'"),
        Some(Item::Difference(name, _)) => format!("difference {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(c: &str, rust: &str) -> String {
        compare(c, rust).map_or_else(|error| format!("{error:#}"), |_| String::new())
    }

    #[test]
    fn the_same_lines() {
        assert_eq!(error("stage 1\na\nb\n", "stage 1\na\nb\n"), "");
    }

    #[test]
    fn other_lines() {
        let c = "stage 1\na\nb\n";
        assert_eq!(
            error(c, "stage 1\nb\na\n"),
            "stage 1: 'a' on C, 'b' on Rust"
        );
        assert_eq!(
            error(c, "stage 1\na\n"),
            "stage 1: 'b' on C, nothing more on Rust"
        );
    }

    #[test]
    fn no_lines() {
        assert_eq!(
            error("stage 1\n", "stage 1\n"),
            "no test code in the kernel"
        );
    }

    /// A difference named `name` with one line in it.
    fn marked(name: &str, line: &str) -> String {
        format!("{DIFFERENCE}begin {name}\n{line}\n{DIFFERENCE}end {name}\n")
    }

    #[test]
    fn a_marked_difference() {
        let (c, rust) = (marked("x", "a"), marked("x", "b"));
        assert_eq!(compare(&c, &rust).ok(), Some(vec!["x"]));
        assert_eq!(error(&c, &c), "x is said to differ and does not");
        assert_eq!(
            error(&c, &marked("y", "b")),
            ": difference x on C, difference y on Rust"
        );
        assert_eq!(error(&c, "b"), ": difference x on C, 'b' on Rust");
    }

    #[test]
    fn marks_that_do_not_fit() {
        let begin = format!("{DIFFERENCE}begin x\n");
        assert_eq!(error("a", &begin), "Rust: no end of x");
        assert_eq!(
            error(&format!("{DIFFERENCE}end x"), ""),
            "C: luo-difference: end x"
        );
    }
}
