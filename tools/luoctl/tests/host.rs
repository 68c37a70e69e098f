// SPDX-License-Identifier: GPL-2.0

//! luoctl on whatever kernel the tests run: what it says there is of the kind that it promises,
//! and what it refuses, it refuses with the exit status that is written down.

use serde_json::Value;
use std::process::{Command, Output};

fn luoctl(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_luoctl"))
        .args(arguments)
        .output()
}

#[test]
fn json_is_as_the_schema_says() -> std::io::Result<()> {
    let schema: Value = serde_json::from_slice(&luoctl(&["schema"])?.stdout)?;
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for (arguments, statuses) in [
        (&["status", "--json"][..], &[0][..]),
        (&["list", "--json"], &[0]),
        (&["list", "--files", "--json"], &[0]),
        (&["check", "--json"], &[0, 1]),
    ] {
        let output = luoctl(arguments)?;
        assert!(output
            .status
            .code()
            .is_some_and(|status| statuses.contains(&status)));
        let shown = serde_json::from_slice(&output.stdout)?;
        assert!(validator.is_valid(&shown), "{arguments:?}: {shown}");
    }
    Ok(())
}

#[test]
fn nothing_but_text_where_there_is_no_terminal() -> std::io::Result<()> {
    for arguments in [&["status"][..], &["list"], &["check"]] {
        let output = luoctl(arguments)?;
        let shown = [output.stdout, output.stderr].concat();
        assert!(
            !shown.contains(&0x1b),
            "{}",
            String::from_utf8_lossy(&shown)
        );
    }
    Ok(())
}

#[test]
fn exit_statuses() -> std::io::Result<()> {
    for (arguments, status) in [
        (&["--version"][..], 0),
        (&["man"], 0),
        (&["man", "take"], 0),
        (&["completions", "bash"], 0),
        (&[], 2),
        (&["nothing"], 2),
        (&["show", ""], 66),
        (&["hold", "", "--", "true"], 2),
        (&["hold", "name", "1=", "--", "true"], 2),
        (&["hold", "name", "1=3"], 2),
        (&["hold", "name", "1=/none", "--", "true"], 66),
        (&["hold", "name", "1=999", "--", "true"], 66),
        (&["hold", "name", "--", "/none"], 127),
        (&["hold", "name", "--", "/dev/null"], 126),
        (&["take", "name", "1", "1=3", "2=3", "--", "true"], 2),
        (&["put", "/none"], 66),
        (&["put", "-"], 2),
        (&["check", "--kernel", "/none"], 66),
        (&["check", "--reuse-cmdline"], 2),
        (&["kexec", "--kernel", "/dev/null"], 2),
        (&["man", "nothing"], 2),
    ] {
        let output = luoctl(arguments)?;
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {output:?}"
        );
    }
    Ok(())
}
