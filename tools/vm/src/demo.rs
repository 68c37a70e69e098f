// SPDX-License-Identifier: GPL-2.0

//! One live update, told as a timeline.

use crate::Machine;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;
use indicatif::ProgressBar;
use luo_guest::File;
use luo_guest::Report;
use luo_vm::Line;
use luo_vm::Run;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

const PROGRAM: &str = "luo-demo";
const NUMBER: &str = "liveupdate number: ";

/// `luo-vm demo`
#[derive(Args)]
pub struct Demo {
    #[command(flatten)]
    machine: Machine,
}

/// What has happened so far.
#[derive(Default)]
struct Story {
    /// The boot id of each kernel.
    boots: Vec<String>,
    /// Whether a kernel counted a live update.
    counted: bool,
    preserved: Vec<File>,
    retrieved: Vec<File>,
    /// When reboot() was called, and when it had paid off.
    reboot: Option<Duration>,
    first: Option<Duration>,
}

impl Demo {
    /// Runs the demonstration; true if everything came back as it was.
    pub fn run(&self) -> Result<bool> {
        fs::create_dir_all(&self.machine.out)
            .with_context(|| self.machine.out.display().to_string())?;
        let program = self.machine.guest.join(PROGRAM);
        let vm = self
            .machine
            .vm(&program, PROGRAM)
            .args(["-s", luo_guest::STAGE])
            .stages(2);

        println!("Kernel 1 preserves three sessions, kernel 2 takes over and retrieves them.\n");
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(Duration::from_millis(100));
        let mut story = Story::default();
        spinner.set_message(story.now());
        let run = vm.run(|line| {
            if let Some(told) = story.tell(line) {
                spinner.suspend(|| println!("{:8.2} s  {told}", line.at.as_secs_f64()));
                spinner.set_message(story.now());
            }
        })?;
        spinner.finish_and_clear();

        let failure = story.failure(&run);
        match &failure {
            None => println!("\n{}", story.summary()),
            Some(reason) => {
                println!(
                    "\nFailed: {reason}\nlog: {}",
                    self.machine.log(PROGRAM).display()
                )
            }
        }
        Ok(failure.is_none())
    }
}

impl Story {
    /// Takes in one line of the console, and says what it means.
    fn tell(&mut self, line: &Line) -> Option<String> {
        if let Some((_, number)) = line.text.split_once(NUMBER) {
            self.counted = true;
            return Some(format!(
                "the new kernel found what was handed over: live update number {number}"
            ));
        }
        match line.report()? {
            Report::Started {
                stage,
                kernel,
                boot_id,
            } => {
                self.boots.push(boot_id.clone());
                Some(format!(
                    "kernel {stage} runs: Linux {kernel}, boot id {boot_id}"
                ))
            }
            Report::File(file) if self.reboot.is_none() => {
                let told = format!("preserved {}", describe(&file));
                self.preserved.push(file);
                Some(told)
            }
            Report::File(file) => {
                let same = self.preserved.get(self.retrieved.len()) == Some(&file);
                let verdict = if same { "the same" } else { "NOT the same" };
                let told = format!("retrieved {}: {verdict}", describe(&file));
                self.retrieved.push(file);
                Some(told)
            }
            Report::Rebooting => {
                self.reboot = Some(line.at);
                Some("reboot() into the next kernel".to_owned())
            }
            Report::Retrieved => {
                self.first = Some(line.at);
                let gap = line.at.checked_sub(self.reboot?)?;
                Some(format!(
                    "first descriptor retrieved, {:.2} s after reboot()",
                    gap.as_secs_f64()
                ))
            }
            Report::Ended { .. }
            | Report::Failed { .. }
            | Report::Vm(_)
            | Report::Measured { .. } => None,
        }
    }

    /// What the guest is busy with.
    fn now(&self) -> &'static str {
        match (self.boots.len(), self.reboot) {
            (0, _) => "booting",
            (1, None) => "filling and preserving memory",
            (1, Some(_)) => "live update",
            _ => "retrieving",
        }
    }

    /// How it ended, when it ended well.
    fn summary(&self) -> String {
        let sessions: BTreeSet<_> = self.retrieved.iter().map(|file| &file.session).collect();
        let bytes = self.retrieved.iter().map(|file| file.bytes).sum();
        format!(
            "Everything came back as it was: {} files of {} sessions, {}.",
            self.retrieved.len(),
            sessions.len(),
            HumanBytes(bytes),
        )
    }

    /// What is wrong with it, if anything.
    fn failure(&self, run: &Run) -> Option<String> {
        if let Some(reason) = run.reason() {
            return Some(reason);
        }
        if self.preserved.is_empty() || self.preserved != self.retrieved {
            return Some("what was retrieved is not what was preserved".to_owned());
        }
        let same_boot = self.boots.windows(2).any(|boots| boots[0] == boots[1]);
        if same_boot || !self.counted || self.first.is_none() {
            return Some("no new kernel took over".to_owned());
        }
        None
    }
}

fn describe(file: &File) -> String {
    let File {
        session,
        token,
        bytes,
        checksum,
    } = file;
    let size = HumanBytes(*bytes);
    format!("file {token} of session {session}, {size}, checksum {checksum:016x}")
}
