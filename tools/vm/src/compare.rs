// SPDX-License-Identifier: GPL-2.0

//! Compares a selftest run on C with one on Rust: every test has the same results, and had the
//! same callbacks called.

use crate::selftest;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use luo_vm::callbacks;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// `luo-vm compare`
#[derive(Args)]
pub struct Compare {
    /// What `luo-vm selftest --impl c` wrote
    c: PathBuf,
    /// What `luo-vm selftest --impl rust` wrote
    rust: PathBuf,
}

/// The results of the cases of a test, sorted.
type Results = Vec<String>;

impl Compare {
    /// Compares the runs; true if they are the same.
    pub fn run(&self) -> Result<bool> {
        let (c, mut rust) = (results(&self.c)?, results(&self.rust)?);
        let all = rust.len();
        rust.retain(|name, _| !selftest::only_on_rust(name));
        ensure!(
            rust.len() < all && !c.keys().any(|name| selftest::only_on_rust(name)),
            "what only Rust has is to be tested on Rust, and only there"
        );

        let mut failed = 0;
        let mut names: Vec<_> = c.keys().chain(rust.keys()).collect();
        names.sort();
        names.dedup();
        println!("KTAP version 1\n1..{}", names.len());
        for (name, number) in names.iter().zip(1..) {
            match self.test(name, c.get(*name), rust.get(*name)) {
                Ok(differences) if differences.is_empty() => println!("ok {number} {name}"),
                Ok(differences) => println!("ok {number} {name} # but for {differences}"),
                Err(error) => {
                    failed += 1;
                    println!("not ok {number} {name} # {error:#}");
                }
            }
        }
        println!("{} passed, {failed} failed", names.len() - failed);
        Ok(failed == 0)
    }

    /// Compares a test; the differences that are as they should be.
    fn test(&self, name: &str, c: Option<&Results>, rust: Option<&Results>) -> Result<String> {
        ensure!(c.is_some() && rust.is_some(), "only run on one of the two");
        ensure!(c == rust, "other results on C than on Rust");
        let read = |out: &Path| {
            let path = selftest::callbacks_path(out, name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (c, rust) = (read(&self.c)?, read(&self.rust)?);
        Ok(callbacks::compare(&c, &rust)?.join(", "))
    }
}

/// The results in `out`, by test.
fn results(out: &Path) -> Result<BTreeMap<String, Results>> {
    let path = selftest::results_path(out);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut results = BTreeMap::<_, Results>::new();
    for line in text.lines() {
        let test = line
            .split_once("ok ")
            .and_then(|(_, case)| case.split('/').next());
        let test = test.with_context(|| format!("{}: {line}", path.display()))?;
        results
            .entry(test.to_owned())
            .or_default()
            .push(line.to_owned());
    }
    Ok(results)
}
