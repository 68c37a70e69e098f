// SPDX-License-Identifier: GPL-2.0

//! A guest of an unmodified QEMU that survives its host's kernel, told as a timeline, and judged
//! by what both of them say.

use crate::Machine;
use anyhow::{anyhow, ensure, Context, Result};
use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use luo_guest::{
    vm::{Event, Tick, What, INITRAMFS, MEMORY_MIB, VMM},
    Report,
};
use luo_vm::{pack, Line};
use regex::Regex;
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The host's program, and the guest's.
const PROGRAM: &str = "luo-demo-vm";
const GUEST: &str = "luo-demo-guest";

/// What QEMU needs to be found where it looks, and the two programs that it starts to write its
/// state to where it is told.
const FIRMWARE: [&str; 3] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/kvmvapic.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
];
const PROGRAMS: [&str; 3] = [VMM, "/bin/sh", "/bin/cat"];

/// Where Debian has the dynamic linker, and libraries.
const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// The default does not fit beside such an initramfs.
const SCRATCH: &str = "kho_scratch=64M,256M,128M";

/// `luo-vm demo-vm`
#[derive(Args)]
pub struct DemoVm {
    #[command(flatten)]
    machine: Machine,
    /// How many live updates
    #[arg(long, value_name = "N", default_value = "2")]
    updates: usize,
    /// Where QEMU and what it needs are to be taken from, if not from this system
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Have QEMU save its state in the mode `cpr-reboot`: from 8.2 on
    #[arg(long)]
    cpr_reboot: bool,
}

/// What has happened so far.
#[derive(Default)]
struct Story {
    /// Boot id and version of each of the host's kernels.
    hosts: Vec<(String, String)>,
    events: Vec<Event>,
    /// All that the guest wrote on its serial line, over all kernels.
    serial: String,
    ticks: Vec<Tick>,
    /// How many ticks there were at each event.
    counted: Vec<usize>,
}

/// One live update, taken from what happened.
struct Update {
    preserved: Span,
    stopped: Span,
    saved: Span,
    state_preserved: Span,
    read: [Span; 2],
    kernel: Span,
    retrieved: Span,
    loaded: Span,
    running: Span,
    finished: Span,
    checksums: [u64; 2],
    sizes: [u64; 2],
    /// The guest's last tick before, and its first after.
    ticks: [Tick; 2],
    /// How often it counted while its memory was preserved.
    meanwhile: usize,
}

/// From when to when, in nanoseconds.
type Span = (u64, u64);

impl DemoVm {
    /// Runs the demonstration; true if the guest has survived.
    pub fn run(&self) -> Result<bool> {
        let machine = &self.machine;
        fs::create_dir_all(&machine.out).with_context(|| machine.out.display().to_string())?;
        let guest = [(machine.guest.join(GUEST), "/init".to_owned())];
        let initramfs = machine.out.join("guest");
        fs::create_dir_all(&initramfs)?;
        let initramfs = pack(&machine.kernel, &guest, &initramfs)?;

        let stages = u32::try_from(self.updates + 1)?;
        let mut vm = machine
            .vm(&machine.guest.join(PROGRAM), PROGRAM)
            .args(["-s", luo_guest::STAGE, "--stages", &stages.to_string()])
            .args(self.cpr_reboot.then_some("--cpr-reboot"))
            .stages(stages)
            .kvm_inside()
            .params([SCRATCH])
            .file(&initramfs, INITRAMFS);
        for (file, path) in needed(&self.root)? {
            vm = vm.file(&file, &path);
        }

        println!(
            "A machine without KVM emulates one with AMD's: the host. Linux and QEMU run on it, and \
             in QEMU\na guest of {MEMORY_MIB} MiB, which counts ten times a second. {} live updates \
             of the host follow.\n",
            self.updates
        );
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner.set_message("the host boots");
        let mut story = Story::default();
        let run = vm.run(|line| {
            if let Some((at, told)) = story.take(line) {
                spinner.suspend(|| println!("{:8.3} s  {told}", at.as_secs_f64()));
            }
            spinner.set_message(story.now());
        })?;
        spinner.finish_and_clear();

        let verdict = match run.reason() {
            Some(reason) => Err(anyhow!(reason)),
            None => story.judge(self.updates),
        };
        match verdict {
            Ok(updates) => {
                print!("\n{}", story.page(&updates));
                Ok(true)
            }
            Err(error) => {
                println!(
                    "\nFailed: {error:#}\nlog: {}",
                    machine.log(PROGRAM).display()
                );
                Ok(false)
            }
        }
    }
}

/// The files that the host in the machine has to have where `root` has them: programs, the libraries
/// that they are linked with, and the firmware. Each with its path there.
fn needed(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let library = Regex::new(r"(/\S+) \(0x").context("a constant")?;
    let here = |path: &str| root.join(path.trim_start_matches('/'));
    let mut paths: BTreeSet<String> = FIRMWARE
        .iter()
        .chain(&PROGRAMS)
        .map(|&p| p.into())
        .collect();
    for program in PROGRAMS {
        // What ldd does, for programs of another system as well.
        let list = Command::new(here(LINKER))
            .arg("--library-path")
            .arg(here(LIBRARIES))
            .arg("--list")
            .arg(here(program))
            .output()
            .context(LINKER)?;
        let output = String::from_utf8_lossy(&list.stdout);
        ensure!(list.status.success(), "{LINKER} --list {program}: {output}");
        for found in library.captures_iter(&output) {
            let path = Path::new(&found[1]);
            let path = path.strip_prefix(root).unwrap_or(path);
            paths.insert(Path::new("/").join(path).display().to_string());
        }
    }
    let files = paths.into_iter().map(|path| {
        let file = here(&path);
        ensure!(file.exists(), "there is no {}", file.display());
        Ok((file, path))
    });
    files.collect()
}

impl Story {
    /// Takes in one line of the console, and says what it means to somebody who watches, and when
    /// that was, by the host's time.
    fn take(&mut self, line: &Line) -> Option<(Duration, String)> {
        match line.report()? {
            Report::Started {
                kernel, boot_id, ..
            } => {
                self.hosts.push((boot_id, kernel));
                None
            }
            Report::Vm(event) => {
                let told = self.happens(&event.what);
                let at = event.at;
                self.counted.push(self.ticks.len());
                self.events.push(event);
                Some((length((self.events.first()?.at, at)), told?))
            }
            _ => None,
        }
    }

    fn happens(&mut self, what: &What) -> Option<String> {
        let told = match what {
            What::Serial(text) => return self.hear(text),
            What::Stopping | What::Finished => return None,
            What::Up => {
                let (boot_id, kernel) = self.hosts.last()?;
                format!("the host runs Linux {kernel}, boot id {boot_id}")
            }
            What::Booting => "QEMU runs, and the guest boots".to_owned(),
            What::Preserving => "the guest's memory is preserved, while it counts".to_owned(),
            What::Preserved => "preserved".to_owned(),
            What::Stopped => "the guest is stopped".to_owned(),
            What::Saved { bytes } => format!(
                "QEMU has saved the state of its devices, {}, and ended",
                HumanBytes(*bytes)
            ),
            What::StatePreserved => "the state is preserved".to_owned(),
            What::Rebooting => "reboot() into the next kernel".to_owned(),
            What::Retrieved { .. } => "memory and state retrieved".to_owned(),
            What::Read { checksum } => format!("checksum of the memory: {checksum:016x}"),
            What::Loaded => "a new QEMU has loaded the state".to_owned(),
            What::Running => "the guest runs on".to_owned(),
        };
        Some(told)
    }

    /// Takes in what the guest says; tells its first ticks of each kernel, and then some.
    fn hear(&mut self, text: &str) -> Option<String> {
        self.serial += text;
        let mut told = None;
        while let Some((line, rest)) = self.serial.split_once('\n') {
            if let Some(tick) = Tick::parse(line) {
                let first =
                    !self.ticks.is_empty() && self.counted.last().is_some_and(|_| self.resumed());
                if first || tick.tick % 10 == 1 {
                    told = Some(format!("guest: {}", tick.tick));
                }
                self.ticks.push(tick);
            }
            self.serial = rest.to_owned();
        }
        told
    }

    /// Whether the guest has been let run on, and has not counted since.
    fn resumed(&self) -> bool {
        let running = self
            .events
            .iter()
            .rposition(|event| event.what == What::Running);
        running.is_some_and(|at| self.counted[at] == self.ticks.len())
    }

    /// What the machine is busy with.
    fn now(&self) -> String {
        let said = self.events.iter().rev().find_map(|event| match event.what {
            What::Booting => Some("the guest boots"),
            What::Up | What::Retrieved { .. } | What::Read { .. } => Some("the host takes over"),
            What::Rebooting => Some("the next kernel boots"),
            What::Stopped | What::Saved { .. } | What::StatePreserved => {
                Some("the guest stands still")
            }
            What::Loaded | What::Running | What::Finished => Some("the guest runs"),
            What::Serial(_) | What::Preserving | What::Preserved | What::Stopping => None,
        });
        let now = said.unwrap_or("the host boots");
        match self.ticks.last() {
            Some(tick) => format!("{now}, and has counted to {}", tick.tick),
            None => now.to_owned(),
        }
    }

    /// Whether the guest has survived so many live updates, and how; or what is wrong.
    fn judge(&self, due: usize) -> Result<Vec<Update>> {
        let mut ids: Vec<_> = self.hosts.iter().map(|(id, _)| id).collect();
        ids.sort();
        ids.dedup();
        ensure!(
            ids.len() == due + 1,
            "the host did not boot {due} times more"
        );

        let updates = self.updates()?;
        ensure!(
            updates.len() == due,
            "{} updates instead of {due}",
            updates.len()
        );
        for update in &updates {
            update.check()?;
        }
        let first = self.ticks.first().context("the guest never counted")?;
        for (tick, due) in self.ticks.iter().zip(1..) {
            ensure!(
                tick.tick == due,
                "the guest said {} instead of {due}",
                tick.tick
            );
            ensure!(
                tick.damaged == 0,
                "the guest's memory was damaged by tick {due}"
            );
            ensure!(
                tick.boot == first.boot,
                "the guest was booted anew by tick {due}"
            );
        }
        let last = self.ticks.last().unwrap_or(first);
        ensure!(
            updates
                .last()
                .is_none_or(|update| last.passes > update.ticks[1].passes),
            "the guest has not looked at all of its pattern after the last update"
        );
        Ok(updates)
    }

    /// The live updates, from one host's program to the next one's.
    fn updates(&self) -> Result<Vec<Update>> {
        let ups = (0..self.events.len()).filter(|&at| self.events[at].what == What::Up);
        ups.skip(1).map(|up| self.update(up)).collect()
    }

    /// The live update into the kernel whose program came up at this event.
    fn update(&self, up: usize) -> Result<Update> {
        let before = |found: fn(&What) -> bool| {
            let at = (0..up).rev().find(|&at| found(&self.events[at].what));
            at.context("something is missing before the reboot")
        };
        let after = |found: fn(&What) -> bool| {
            let at = (up..self.events.len()).find(|&at| found(&self.events[at].what));
            at.context("something is missing after the reboot")
        };
        let at = |event: usize| self.events[event].at;
        let checksum = |event: usize| match self.events[event].what {
            What::Read { checksum } => checksum,
            _ => 0,
        };
        let size = |event: usize| match self.events[event].what {
            What::Saved { bytes } | What::Retrieved { bytes } => bytes,
            _ => 0,
        };

        let preserving = before(|what| *what == What::Preserving)?;
        let preserved = before(|what| *what == What::Preserved)?;
        let stopping = before(|what| *what == What::Stopping)?;
        let stopped = before(|what| *what == What::Stopped)?;
        let saved = before(|what| matches!(what, What::Saved { .. }))?;
        let state = before(|what| *what == What::StatePreserved)?;
        let read = before(|what| matches!(what, What::Read { .. }))?;
        let rebooting = before(|what| *what == What::Rebooting)?;
        let retrieved = after(|what| matches!(what, What::Retrieved { .. }))?;
        let read_again = after(|what| matches!(what, What::Read { .. }))?;
        let loaded = after(|what| *what == What::Loaded)?;
        let running = after(|what| *what == What::Running)?;
        let finished = after(|what| *what == What::Finished)?;
        let tick = |count: usize| self.ticks.get(count).cloned().context("no tick");
        Ok(Update {
            preserved: (at(preserving), at(preserved)),
            stopped: (at(stopping), at(stopped)),
            saved: (at(stopped), at(saved)),
            state_preserved: (at(saved), at(state)),
            read: [(at(state), at(read)), (at(retrieved), at(read_again))],
            kernel: (at(rebooting), at(up)),
            retrieved: (at(up), at(retrieved)),
            loaded: (at(read_again), at(loaded)),
            running: (at(loaded), at(running)),
            finished: (at(running), at(finished)),
            checksums: [checksum(read), checksum(read_again)],
            sizes: [size(saved), size(retrieved)],
            ticks: [
                tick(self.counted[running].saturating_sub(1))?,
                tick(self.counted[running])?,
            ],
            meanwhile: self.counted[stopping] - self.counted[preserving],
        })
    }

    /// What there is to know, on one page.
    fn page(&self, updates: &[Update]) -> String {
        let mut page = String::new();
        for (number, update) in updates.iter().enumerate() {
            let [(from, _), (to, kernel)] = [&self.hosts[number], &self.hosts[number + 1]];
            // Writing to a string does not fail.
            let _ = writeln!(
                page,
                "Live update {} of the host, into Linux {kernel}\n  boot id {from} -> {to}\n",
                number + 1
            );
            page += &update.table();
            page.push('\n');
        }
        let (first, last) = (self.ticks.first(), self.ticks.last());
        if let (Some(first), Some(last)) = (first, last) {
            let _ = writeln!(
                page,
                "The guest, boot id {} all the time,\n\
                 counted from {} to {} without a gap. Its clock went {} ms at the longest from one\n\
                 tick to the next, and it missed {}. It has compared its pattern {} times: {} damages.",
                last.boot, first.tick, last.tick, last.longest, last.missed, last.passes,
                last.damaged
            );
        }
        page
    }
}

impl Update {
    /// Says what is not as it has to be.
    fn check(&self) -> Result<()> {
        let [before, after] = self.checksums;
        ensure!(
            before == after,
            "checksum {before:016x} before, {after:016x} after"
        );
        let [before, after] = self.sizes;
        ensure!(
            before == after,
            "{before} bytes of state before, {after} after"
        );
        ensure!(
            self.meanwhile > 0,
            "the guest did not count with its memory preserved"
        );
        let longest = Duration::from_millis(self.ticks[1].longest);
        ensure!(
            longest < self.blackout() / 2,
            "the guest's clock went {longest:?} in one step"
        );
        Ok(())
    }

    /// How long the guest stood still, without what only this demonstration does.
    fn blackout(&self) -> Duration {
        let read: Duration = self.read.into_iter().map(length).sum();
        length((self.stopped.0, self.running.1)).saturating_sub(read)
    }

    fn table(&self) -> String {
        let read = length(self.read[0]) + length(self.read[1]);
        let [before, after] = &self.ticks;
        let rows = [
            (
                "memory preserved, guest running",
                self.preserved,
                format!(
                    "{MEMORY_MIB} MiB; it counted {} times until it was stopped",
                    self.meanwhile
                ),
            ),
            ("guest stopped", self.stopped, String::new()),
            (
                "state saved, QEMU ended",
                self.saved,
                HumanBytes(self.sizes[0]).to_string(),
            ),
            ("state preserved", self.state_preserved, String::new()),
            (
                "reboot() until next kernel is up",
                self.kernel,
                "first program".to_owned(),
            ),
            ("memory and state retrieved", self.retrieved, String::new()),
            ("QEMU started, state loaded", self.loaded, String::new()),
            ("guest running", self.running, String::new()),
        ];
        let mut table = String::new();
        for (what, span, note) in rows {
            table += &line(what, length(span), &note);
        }
        table += &line(
            "blackout",
            self.blackout(),
            &format!(
                "guest: {} -> {}, {} ms by its clock",
                before.tick,
                after.tick,
                after.clock - before.clock
            ),
        );
        table += &line("session finished, guest running", length(self.finished), "");
        table += &line(
            "memory read twice, not counted",
            read,
            &format!("checksum {:016x}, the same", self.checksums[0]),
        );
        table
    }
}

fn line(what: &str, time: Duration, note: &str) -> String {
    let line = format!("  {what:<34}{:>9.2} ms  {note}", time.as_secs_f64() * 1e3);
    line.trim_end().to_owned() + "\n"
}

fn length((from, to): Span) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(tick: u64) -> Tick {
        Tick {
            tick,
            clock: tick * 100,
            longest: 104,
            missed: 0,
            passes: tick / 2,
            damaged: 0,
            boot: "guest".to_owned(),
        }
    }

    /// One live update of two seconds, and a guest that survives it.
    fn story() -> Story {
        let ticks = |from, to| (from..=to).map(|number| Err(tick(number)));
        let mut happened = vec![Ok(What::Up), Ok(What::Booting)];
        happened.extend(ticks(1, 3));
        happened.extend([Ok(What::Preserving), Ok(What::Preserved)]);
        happened.extend(ticks(4, 5));
        happened.extend(
            [
                What::Stopping,
                What::Stopped,
                What::Saved { bytes: 7 },
                What::StatePreserved,
                What::Read { checksum: 1 },
                What::Rebooting,
                What::Up,
                What::Retrieved { bytes: 7 },
                What::Read { checksum: 1 },
                What::Loaded,
                What::Running,
                What::Finished,
            ]
            .map(Ok),
        );
        happened.extend(ticks(6, 9));

        let host = |id: &str| (id.to_owned(), "7.3".to_owned());
        let mut story = Story {
            hosts: vec![host("first"), host("second")],
            ..Story::default()
        };
        for (at, happened) in (0..).zip(happened) {
            let what = happened.unwrap_or_else(|tick| {
                What::Serial(serde_json::to_string(&tick).expect("a tick") + "\n")
            });
            story.happens(&what);
            story.counted.push(story.ticks.len());
            let at = at * 200_000_000;
            story.events.push(Event { at, what });
        }
        story
    }

    /// What is said of a story in which something else happens.
    fn wrong(spoil: impl FnOnce(&mut Story)) -> String {
        let mut story = story();
        spoil(&mut story);
        let verdict = story.judge(1).map(|updates| updates.len());
        verdict.expect_err("nothing is wrong").to_string()
    }

    /// The same for another event instead of `was`, from the last one back.
    fn instead(was: &What, is: What) -> String {
        wrong(|story| {
            let event = story.events.iter_mut().rfind(|event| event.what == *was);
            event.expect("it happens").what = is;
        })
    }

    #[test]
    fn a_guest_survives() {
        let story = story();
        let updates = story.judge(1).expect("nothing is wrong");
        let [update] = updates.as_slice() else {
            panic!("{} updates", updates.len());
        };
        assert_eq!(update.meanwhile, 2);
        assert_eq!([update.ticks[0].tick, update.ticks[1].tick], [5, 6]);
        // From before the guest is stopped until it runs, without reading its memory twice.
        assert_eq!(update.blackout(), Duration::from_millis(200 * (10 - 2)));
        let page = story.page(&updates);
        assert!(page.contains("counted from 1 to 9 without a gap"), "{page}");
        assert!(story.judge(2).is_err());
    }

    #[test]
    fn a_guest_is_not_the_same() {
        let read = What::Read { checksum: 1 };
        let said = instead(&read, What::Read { checksum: 2 });
        assert!(
            said.starts_with("checksum 0000000000000001 before"),
            "{said}"
        );
        let size = What::Retrieved { bytes: 7 };
        let said = instead(&size, What::Retrieved { bytes: 8 });
        assert_eq!(said, "7 bytes of state before, 8 after");
        assert!(instead(&What::Running, What::Loaded).contains("missing"));
        for (spoil, said) in [
            (
                (|tick| tick.tick += 1) as fn(&mut Tick),
                "the guest said 8 instead of 7",
            ),
            (
                |tick| tick.damaged = 1,
                "the guest's memory was damaged by tick 7",
            ),
            (
                |tick| tick.boot = "another".to_owned(),
                "the guest was booted anew by tick 7",
            ),
        ] {
            assert_eq!(wrong(|story| spoil(&mut story.ticks[6])), said);
        }
        let said = wrong(|story| story.ticks[5].longest = 800);
        assert_eq!(said, "the guest's clock went 800ms in one step");
        let said = wrong(|story| story.ticks[8].passes = story.ticks[5].passes);
        assert!(said.contains("all of its pattern"), "{said}");
    }

    #[test]
    fn a_host_does_not_change() {
        let said = wrong(|story| story.hosts[1].0 = story.hosts[0].0.clone());
        assert_eq!(said, "the host did not boot 1 times more");
        let said = wrong(|story| {
            let at = |what: &What| {
                let found = story.events.iter().position(|event| event.what == *what);
                found.expect("it happens")
            };
            let (preserving, stopping) = (at(&What::Preserving), at(&What::Stopping));
            story.counted[stopping] = story.counted[preserving];
        });
        assert_eq!(said, "the guest did not count with its memory preserved");
    }
}
