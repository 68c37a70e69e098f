// SPDX-License-Identifier: GPL-2.0

//! Lines of a guest's console, and who they come from.

use luo_guest::Report;
use luo_guest::OUTPUT;
use luo_guest::REPORT;
use regex::Regex;
use std::sync::LazyLock;
use std::time::Duration;

/// Something that a healthy kernel does not say.
static COMPLAINT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"WARNING: |BUG: |BUG [\w-]+ \(|\bOops\b|KASAN: |KFENCE: |UBSAN: |Kernel panic|",
        r"panicked at|",
        r"general protection fault|Unable to handle kernel|Internal error|Call [Tt]race:|",
        r"refcount_t: |INFO: .*(blocked|stall|lock|hung)|",
        r"DEBUG_LOCKS_WARN_ON|possible (circular|recursive) locking|ODEBUG: |",
        r"kmemleak: \d+ new suspected",
    ))
    .expect("a constant")
});

/// One line of the console.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it arrived, from the start of the machine: the guest's own clock
    /// starts anew with each kernel.
    pub at: Duration,
    /// When it was said, by the guest's own clock, where the kernel tells (`printk.time=1`).
    pub said: Option<Duration>,
    /// What it says, without its end and without the kernel's timestamp.
    pub text: String,
}

impl Line {
    pub(crate) fn new(at: Duration, bytes: &[u8]) -> Self {
        static TIMESTAMP: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^\[ *(\d+\.\d+)\](\[[^]]*\])? ").expect("a constant"));

        let text = String::from_utf8_lossy(bytes.trim_ascii_end());
        let said = TIMESTAMP
            .captures(&text)
            .and_then(|stamp| stamp[1].parse().ok())
            .map(Duration::from_secs_f64);
        Self {
            at,
            said,
            text: TIMESTAMP.replace(&text, "").into_owned(),
        }
    }

    /// What the guest's program printed.
    pub fn output(&self) -> Option<&str> {
        // The console's line end was cut off, and with it the tag's last blank.
        self.text
            .strip_prefix(OUTPUT.trim_end())
            .map(|text| text.strip_prefix(' ').unwrap_or(text))
    }

    /// What the guest told us.
    pub fn report(&self) -> Option<Report> {
        self.text.strip_prefix(REPORT).and_then(Report::parse)
    }

    /// Whether this is the kernel's first line.
    pub fn boots(&self) -> bool {
        self.text.starts_with("Linux version ")
    }

    /// Whether the kernel has crashed, or a part of it.
    pub fn crashes(&self) -> bool {
        let crash = ["Oops: ", "Internal error: "];
        self.output().is_none() && crash.iter().any(|it| self.text.starts_with(it))
    }

    /// Whether the kernel complains here.
    pub fn complains(&self) -> bool {
        self.output().is_none() && COMPLAINT.is_match(&self.text)
    }
}
