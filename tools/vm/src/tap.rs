// SPDX-License-Identifier: GPL-2.0

//! KTAP, as test programs print it: a plan, and a line for each case.

use crate::run::Failure;
use regex::Regex;
use std::sync::LazyLock;

/// One case, and why it failed if it did. A skipped case has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// What a test program printed. Only the outermost level counts.
#[derive(Debug, Default, PartialEq)]
pub struct Tap {
    /// How many cases it announced.
    pub plan: Option<usize>,
    /// The cases that have a result.
    pub cases: Vec<Case>,
}

impl Tap {
    /// Reads the output of a program.
    pub fn parse<'a>(output: impl Iterator<Item = &'a str>) -> Self {
        static PLAN: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^1\.\.(\d+)").expect("a constant"));
        static RESULT: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^(not )?ok \d+ (?:- )?([^#]*?)\s*(?:# ?(.*))?$").expect("a constant")
        });

        let mut tap = Self::default();
        let mut context = Vec::new();
        for line in output {
            if let Some(plan) = PLAN.captures(line) {
                tap.plan = plan[1].parse().ok();
            } else if let Some(result) = RESULT.captures(line) {
                let note = result.get(3).map_or("", |note| note.as_str());
                let skipped = note.to_uppercase().starts_with("SKIP");
                let failure = (result.get(1).is_some() || skipped).then(|| Failure {
                    reason: if note.is_empty() { "failed" } else { note }.to_owned(),
                    context: context.clone(),
                });
                tap.cases.push(Case {
                    name: result[2].to_owned(),
                    failure,
                });
                context.clear();
            } else if !line.contains("TAP version") {
                context.push(line.to_owned());
            }
        }
        tap
    }

    /// Why the results as a whole are not to be believed, if so.
    pub fn failure(&self) -> Option<String> {
        match self.plan {
            None => Some("no plan".to_owned()),
            Some(0) => Some("planned no test".to_owned()),
            Some(plan) if plan != self.cases.len() => {
                Some(format!("planned {plan} tests, ran {}", self.cases.len()))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(output: &str) -> Tap {
        Tap::parse(output.lines())
    }

    #[test]
    fn results_and_their_context() {
        let tap = parse("TAP version 13\n1..2\nok 1 - one\n# f.c:1: no\nnot ok 2 two # reason\n");
        assert_eq!(
            tap.cases[0],
            Case {
                name: "one".into(),
                failure: None
            }
        );
        let failure = Failure {
            reason: "reason".into(),
            context: vec!["# f.c:1: no".into()],
        };
        assert_eq!(
            tap.cases[1],
            Case {
                name: "two".into(),
                failure: Some(failure)
            }
        );
        assert_eq!(tap.failure(), None);
    }

    #[test]
    fn a_skip_is_a_failure() {
        let tap = parse("1..1\nok 1 one # SKIP no device\n");
        assert_eq!(tap.cases[0].name, "one");
        assert!(tap.cases[0].failure.is_some());
    }

    #[test]
    fn a_plan_that_was_not_kept() {
        assert!(parse("ok 1 one\n").failure().is_some());
        assert!(parse("1..2\nok 1 one\n").failure().is_some());
        assert!(parse("1..0 # SKIP no device\n").failure().is_some());
    }

    #[test]
    fn inner_levels_do_not_count() {
        assert_eq!(parse("1..1\n    ok 1 inner\nok 1 outer\n").cases.len(), 1);
    }
}
