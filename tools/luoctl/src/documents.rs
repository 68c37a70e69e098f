// SPDX-License-Identifier: GPL-2.0

//! What is generated from the commands themselves, for those who package luoctl: man pages,
//! completions, the schema of the JSON.

use crate::{
    check::Report,
    failure::{Exit, Failure, Outcome},
    output::done,
    sessions::Sessions,
    status::Status,
    Cli,
};
use clap::{Args, CommandFactory};
use clap_complete::{generate, Shell};
use schemars::{generate::SchemaSettings, JsonSchema, Schema as JsonSchemaDocument};
use std::io::{self, Write};

/// Print the completions for a shell
#[derive(Args)]
pub struct Completions {
    shell: Shell,
}

/// Print the man page of luoctl, or of one of its commands
#[derive(Args)]
pub struct Man {
    command: Option<String>,
}

/// Print the JSON schema of what --json shows
#[derive(Args)]
pub struct Schema {}

impl Completions {
    pub fn run(self) -> Outcome {
        let mut script = vec![];
        generate(self.shell, &mut Cli::command(), "luoctl", &mut script);
        done(io::stdout().write_all(&script))
    }
}

impl Man {
    pub fn run(self) -> Outcome {
        let mut luoctl = Cli::command();
        luoctl.build();
        let command = match &self.command {
            None => Some(&luoctl),
            Some(name) => luoctl.find_subcommand(name),
        };
        let command =
            command.ok_or_else(|| Failure::new(Exit::Usage, "there is no such command"))?;
        done(page(command.clone()).and_then(|page| io::stdout().write_all(&page)))
    }
}

/// The man page of a command, in roff.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let has_commands = command.has_subcommands();
    let source = concat!("luoctl ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.after_long_help("")).source(source);
    let mut page = vec![];
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    exit_status().to_writer(&mut page)?;
    Ok(page)
}

fn exit_status() -> clap_mangen::roff::Roff {
    use clap_mangen::roff::{bold, roman, Roff};

    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in Exit::ALL {
        section.control("TP", []);
        section.text([bold((exit as u8).to_string())]);
        section.text([roman(meaning)]);
    }
    section.control("PP", []);
    section.text([roman(Exit::COMMAND)]);
    section
}

/// What `--json` shows, by command.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Output {
    /// Of `luoctl status`.
    Status(Box<Status>),
    /// Of `luoctl list` and `luoctl show`.
    Sessions(Sessions),
    /// Of `luoctl check`, and of `luoctl kexec` if the checks fail.
    Check(Report),
}

pub fn schema() -> JsonSchemaDocument {
    let generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    generator.into_root_schema_for::<Output>()
}

impl Schema {
    pub fn run(self) -> Outcome {
        let text = serde_json::to_string_pretty(&schema()).map_err(io::Error::from);
        done(text.and_then(|text| writeln!(io::stdout(), "{text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{Finding, Verdict},
        samples::{sessions, status},
    };
    use serde_json::{json, Value};

    /// As it is kept; `luoctl schema` makes it anew.
    const KEPT: &str = include_str!("../schema.json");

    fn report() -> Report {
        let verdicts = [
            Verdict::Ok,
            Verdict::Warning,
            Verdict::Unknown,
            Verdict::Failed,
        ];
        let findings = verdicts.into_iter().map(|verdict| Finding {
            check: "KHO",
            verdict,
            reason: "on".to_owned(),
        });
        Report {
            works: false,
            findings: findings.collect(),
        }
    }

    #[test]
    fn the_schema_is_current() -> serde_json::Result<()> {
        assert_eq!(serde_json::from_str::<Value>(KEPT)?, *schema().as_value());
        Ok(())
    }

    #[test]
    fn what_is_shown_is_valid() -> serde_json::Result<()> {
        let validator = jsonschema::validator_for(&serde_json::from_str(KEPT)?).expect("a schema");
        for output in [
            serde_json::to_value(status(true))?,
            serde_json::to_value(status(false))?,
            serde_json::to_value(sessions())?,
            serde_json::to_value(Sessions::default())?,
            serde_json::to_value(report())?,
        ] {
            assert!(validator.is_valid(&output), "{output}");
        }
        for output in [
            json!({}),
            json!({"works": true}),
            json!({"works": 1, "findings": []}),
        ] {
            assert!(!validator.is_valid(&output), "{output}");
        }
        Ok(())
    }

    #[test]
    fn tokens_and_names_are_strings() -> serde_json::Result<()> {
        let sessions = serde_json::to_value(sessions())?;
        assert_eq!(sessions["sessions"][0]["name"], json!("\\377"));
        assert_eq!(
            sessions["sessions"][0]["files"],
            json!([
                {"token": "0xffffffffffffffff", "handler": "memfd-v2", "state": "failed", "errno": 16},
                {"token": "0xffffffffffffffff", "handler": "memfd-v2", "state": "thawing"},
            ])
        );
        Ok(())
    }

    #[test]
    fn every_command_has_a_page_and_completions() -> io::Result<()> {
        let mut luoctl = Cli::command();
        luoctl.build();
        let page = String::from_utf8_lossy(&page(luoctl.clone())?).into_owned();
        for command in luoctl
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = format!("luoctl\\-{}", command.get_name());
            assert!(page.contains(&name), "{name} in {page}");
            assert!(!super::page(command.clone())?.is_empty());
        }
        assert!(page.contains("EXIT STATUS"), "{page}");
        Ok(())
    }
}
