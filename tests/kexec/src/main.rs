// SPDX-License-Identifier: GPL-2.0

//! Tests what userspace sees of live update, before and after real kexecs, where the kernel
//! tree's own selftests do not reach.
//!
//! A group of tests has one stage for each kernel that it runs in. Whoever runs it calls
//! `luo-kexec-tests -g GROUP -s STAGE` as root, with the next kernel loaded when the group has a
//! further stage, and kexecs after exit status 0: a process that holds the sessions is then left
//! in the background. Results are KTAP lines on standard output.
//!
//! The same expectations hold for the C LUO and the Rust LUO, apart from [`differences`].

#[macro_use]
mod check;
mod abi;
mod argument;
mod damage;
mod differences;
mod driver;
mod faults;
mod file;
mod groups;
mod held;
mod memory;
mod numbered;
mod preserved;
mod process;
mod program;
mod shown;
mod stalled;
mod tracefs;

use anyhow::{bail, Context, Result};
use clap::Parser;
use damage::Damage;
use differences::Luo;
use groups::{hostile, hostile_memfds, luoctl};
use held::Held;
use luo_guest::NO_OWNERS;
use nix::unistd;
use process::Log;
use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    process::{Command, ExitCode},
};

/// A test: its name and what it does.
type Case = (&'static str, fn(&mut World) -> Result<()>);

/// Tests that share their kernels, and so their sessions' names; a list of them for each stage.
struct Group {
    name: &'static str,
    stages: &'static [&'static [Case]],
}

/// What the tests of one stage run in.
struct World {
    /// The kernel's LUO.
    luo: Luo,
    /// That of the kernel before.
    previous: Luo,
    /// The number of the stage.
    stage: usize,
    /// Descriptors that stay open until the kexec.
    kept: Vec<OwnedFd>,
    /// What the kernel held when the stage began.
    start: Held,
    /// Whether a session is left behind that nobody can finish, as [`differences`] tells.
    lost: bool,
    /// What is wrong with the hand-over.
    damage: Option<Damage>,
    /// What reboots into the next kernel, if it is not left to whoever runs the stage.
    reboot: Option<Command>,
}

impl World {
    fn keep(&mut self, fd: impl Into<OwnedFd>) {
        self.kept.push(fd.into());
    }
}

/// What is asked for instead of a group.
const ALONE: [&str; 5] = ["list", "started_with", "wait", "list_kvm", "list_damages"];

/// Tests live update across kexecs.
#[derive(Parser)]
struct Arguments {
    /// List the groups, each with its number of stages and the machine's parameters
    #[arg(long, exclusive = true)]
    list: bool,
    /// Tell what this program was started with: files, and names that they have
    #[arg(long)]
    started_with: bool,
    /// Write a line, and wait to be ended
    #[arg(long)]
    wait: bool,
    /// List the groups that need KVM in the same way
    #[arg(long, exclusive = true)]
    list_kvm: bool,
    /// List all damages in the same way
    #[arg(long, exclusive = true)]
    list_damages: bool,
    /// The group, or the damage, to run
    #[arg(short, long, required_unless_present_any = ALONE)]
    group: Option<String>,
    /// The stage of the group to run
    #[arg(short, long, default_value_t = 1)]
    stage: usize,
    /// How many stages there are: if the group has less, its last but one is repeated
    #[arg(long, env = "LUO_STAGES", default_value_t = 0)]
    stages: usize,
    /// Which LUO the kernel has; of two, first and second stage take turns
    #[arg(
        long,
        env = "LUO_IMPL",
        value_delimiter = ',',
        required_unless_present_any = ALONE
    )]
    luo: Vec<Luo>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let turn = arguments.stage.saturating_sub(1);
    let of = |turn| arguments.luo.iter().cycle().nth(turn).copied();
    match (arguments.group, of(turn), of(turn + 1)) {
        // There are two at most, so the one before is the one after.
        (Some(group), Some(luo), Some(previous)) => {
            run(&group, arguments.stage, arguments.stages, luo, previous)
        }
        _ if arguments.wait => luoctl::wait(),
        _ if arguments.started_with => luoctl::started_with(),
        _ if arguments.list_kvm => {
            for group in groups::KVM {
                // Their kernels do not remember who allocated what.
                println!("{} {} {NO_OWNERS}", group.name, group.stages.len());
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            if arguments.list {
                for group in groups::ALL {
                    println!("{} {}", group.name, group.stages.len());
                }
            }
            for damage in damage::all() {
                if damage.telling || arguments.list_damages {
                    let stages = group_of(&damage).stages.len();
                    println!("{} {stages} {}", damage.name, damage.params);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is run with a damage.
fn group_of(damage: &Damage) -> &'static Group {
    match damage.files {
        Some(_) => &hostile_memfds::GROUP,
        None => &hostile::GROUP,
    }
}

/// Runs one stage of a group; if it passes, the descriptors it keeps outlive this process.
fn run(name: &str, stage: usize, stages: usize, luo: Luo, previous: Luo) -> Result<ExitCode> {
    let damage = damage::all().into_iter().find(|it| it.name == name);
    let group = match &damage {
        Some(damage) => Some(group_of(damage)),
        None => groups::ALL
            .iter()
            .chain(groups::KVM)
            .find(|group| group.name == name),
    };
    let group = group.with_context(|| format!("no group '{name}'"))?;
    let own = group.stages.len();
    let stages = stages.max(own);
    let at = match stages - own {
        0 => stage,
        _ if stage == stages => own,
        _ => stage.min(own - 1),
    };
    let Some(cases) = at.checked_sub(1).and_then(|at| group.stages.get(at)) else {
        bail!("group '{name}' has {own} stages");
    };

    let last = stage == stages;
    let end: &[Case] = if last {
        &[("nothing-left", held::nothing_left)]
    } else {
        &[]
    };
    let cases: Vec<_> = cases.iter().chain(end).collect();

    let mut held = Held::now()?;
    let mut world = World {
        luo,
        previous,
        stage,
        kept: vec![],
        start: held.clone(),
        lost: false,
        damage,
        reboot: None,
    };
    let mut passed = true;
    let mut last_line = String::new();
    println!("KTAP version 1\n1..{}", cases.len());
    for (number, (case, test)) in (1..).zip(cases) {
        last_line = match held::watch(&mut world, &mut held, test) {
            Ok(()) => format!("ok {number} {case}"),
            Err(error) => {
                passed = false;
                format!("not ok {number} {case} # {error:#}")
            }
        };
        println!("{last_line}");
    }
    io::stdout().flush()?;

    if let Some(mut command) = world.reboot.take().filter(|_| passed) {
        println!("# {} reboots", command.get_program().display());
        Log::wait_for(&last_line)?;
        bail!("{command:?} came back: {}", command.status()?);
    }
    if passed && !last {
        unistd::daemon(true, true).context("cannot stay in the background")?;
        loop {
            unistd::pause();
        }
    }
    Ok(ExitCode::from(u8::from(!passed)))
}
