// SPDX-License-Identifier: GPL-2.0

//! What became of a virtual machine, judged without regard to what it ran.

use crate::console::Line;
use luo_guest::Report;
use std::iter;
use std::process::ExitStatus;
use std::time::Duration;

/// How many lines of the log go with a failure.
const CONTEXT: usize = 10;

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// QEMU ended by itself.
    Exit(ExitStatus),
    /// QEMU was ended after this time.
    Hang(Duration),
}

/// A machine that has run.
#[derive(Debug)]
pub struct Run {
    /// The console.
    pub lines: Vec<Line>,
    /// How it ended.
    pub end: End,
    /// How many stages were due.
    pub stages: u32,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// In one line.
    pub reason: String,
    /// The lines of the log that show it.
    pub context: Vec<String>,
}

impl Run {
    /// The console of one stage: the lines of one kernel.
    ///
    /// A stage that was not reached has none. What precedes the first kernel is the
    /// first stage's.
    pub fn stage(&self, stage: u32) -> &[Line] {
        let later_boots = (0..self.lines.len())
            .filter(|&i| self.lines[i].boots())
            .skip(1);
        let mut starts = iter::once(0).chain(later_boots);
        let Some(first) = starts.nth(stage as usize - 1) else {
            return &[];
        };
        &self.lines[first..starts.next().unwrap_or(self.lines.len())]
    }

    /// The exit status of a stage's program, if it came to that.
    pub fn status(&self, stage: u32) -> Option<i32> {
        self.reports(stage).find_map(|report| match report {
            Report::Ended { status, .. } => Some(status),
            _ => None,
        })
    }

    /// What the guest reported in a stage.
    pub fn reports(&self, stage: u32) -> impl Iterator<Item = Report> + '_ {
        self.stage(stage).iter().filter_map(Line::report)
    }

    /// Why the run failed, if it did, in one line: by the exit status of a stage's program, of which
    /// the last word is told, or as [`Run::failure`] says.
    pub fn reason(&self) -> Option<String> {
        (1..=self.stages).find_map(|stage| {
            let reason = match self.status(stage) {
                None | Some(0) => self.failure(stage)?.reason,
                Some(status) => {
                    let mut output = self.stage(stage).iter().filter_map(Line::output);
                    let last = output.next_back().unwrap_or_default();
                    format!("exit status {status}: {last}")
                }
            };
            Some(format!("stage {stage}: {reason}"))
        })
    }

    /// Why a stage failed, if it did: the kernel complained, or the stage did not
    /// come to its end. The program's exit status is another matter.
    pub fn failure(&self, stage: u32) -> Option<Failure> {
        let lines = self.stage(stage);
        if let Some(complaint) = lines.iter().position(Line::complains) {
            let reason = format!("kernel: {}", lines[complaint].text);
            return Some(Failure::new(
                reason,
                lines[complaint..].iter().take(CONTEXT),
            ));
        }

        let is_last = self.stage(stage + 1).is_empty();
        let reason = if let Some(error) = self.reports(stage).find_map(failed) {
            error
        } else if lines.is_empty() && stage > 1 {
            "not reached".to_owned()
        } else if !is_last {
            // Whichever way it got there, it was the way to the next kernel.
            return (stage >= self.stages)
                .then(|| Failure::new("booted once more than it should", [].iter()));
        } else {
            match self.end {
                End::Hang(timeout) => format!("hang: no end within {} s", timeout.as_secs()),
                End::Exit(status) if !status.success() => format!("QEMU: {status}"),
                End::Exit(_) if self.status(stage).is_none() => "ended without a result".to_owned(),
                End::Exit(_) => return None,
            }
        };
        Some(Failure::new(
            reason,
            lines[lines.len().saturating_sub(CONTEXT)..].iter(),
        ))
    }
}

fn failed(report: Report) -> Option<String> {
    match report {
        Report::Failed { error } => Some(error),
        _ => None,
    }
}

impl Failure {
    fn new<'a>(reason: impl Into<String>, context: impl Iterator<Item = &'a Line>) -> Self {
        Self {
            reason: reason.into(),
            context: context.map(|line| line.text.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const BOOT: &str = "Linux version 7.3";
    const DONE: &str = r#"luo-report: {"Ended":{"stage":1,"status":0}}"#;

    fn run(stages: u32, lines: &[&str]) -> Run {
        let line = |text: &&str| Line::new(Duration::ZERO, text.as_bytes());
        let end = End::Exit(ExitStatus::from_raw(0));
        Run {
            lines: lines.iter().map(line).collect(),
            end,
            stages,
        }
    }

    fn reason(run: &Run, stage: u32) -> Option<String> {
        run.failure(stage).map(|failure| failure.reason)
    }

    #[test]
    fn a_good_run() {
        let run = run(
            2,
            &[BOOT, DONE, BOOT, "luo-output: BUG: is what we say", DONE],
        );
        assert_eq!(reason(&run, 1), None);
        assert_eq!(reason(&run, 2), None);
        assert_eq!(run.status(2), Some(0));
    }

    #[test]
    fn a_kernel_that_complains() {
        for text in [
            "[    1.234567] WARNING: kernel/x.c:1 at f+0x0/0x1, CPU#0: init/1",
            "[    1.234567][    T1] BUG: kernel NULL pointer dereference",
            "Oops: 0000 [#1]",
            "BUG: KASAN: slab-use-after-free in f",
            "rust_kernel: panicked at kernel/x.rs:1:1:",
            "Kernel panic - not syncing: Fatal exception",
            "INFO: task init:1 blocked for more than 120 seconds.",
            "INFO: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "BUG: sleeping function called from invalid context at include/linux/sched/mm.h:1",
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "UBSAN: shift-out-of-bounds in kernel/x.c:1:1",
            "ODEBUG: free active (active state 0) object: 0 object type: timer_list",
            "INFO: task luo-kexec-tests:1 is blocked on a mutex likely owned by task init:1.",
            "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
            "Internal error: Oops: 0000000096000004 [#1]  SMP",
            "Call trace:",
        ] {
            let run = run(1, &[BOOT, text, DONE]);
            assert!(
                reason(&run, 1).is_some_and(|why| why.starts_with("kernel: ")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_run_whose_program_fails() {
        const FAILED: &str = r#"luo-report: {"Ended":{"stage":1,"status":3}}"#;
        let run = |output, end| run(1, &[BOOT, "luo-output: first", output, end]).reason();
        let expected = Some("stage 1: exit status 3: last".to_owned());
        assert_eq!(run("luo-output: last", FAILED), expected);
        assert_eq!(run("luo-output: last", DONE), None);
        let bug = Some("stage 1: kernel: BUG: it".to_owned());
        assert_eq!(run("BUG: it", DONE), bug);
    }

    #[test]
    fn a_run_that_stops_early() {
        let no_result = Some("ended without a result".to_owned());
        assert_eq!(reason(&run(1, &[]), 1), no_result);
        assert_eq!(reason(&run(1, &[BOOT]), 1), no_result);
        assert_eq!(
            reason(&run(2, &[BOOT, DONE]), 2).as_deref(),
            Some("not reached")
        );
    }

    #[test]
    fn a_run_that_does_not_end() {
        let mut run = run(1, &[BOOT, DONE]);
        run.end = End::Hang(Duration::from_secs(7));
        assert_eq!(reason(&run, 1).as_deref(), Some("hang: no end within 7 s"));
    }

    #[test]
    fn a_run_that_goes_on() {
        let run = run(1, &[BOOT, DONE, BOOT, DONE]);
        assert_eq!(
            reason(&run, 1).as_deref(),
            Some("booted once more than it should")
        );
    }
}
