// SPDX-License-Identifier: GPL-2.0

//! Live updates in QEMU, to test a kernel or to show one.

mod bench;
mod compare;
mod demo;
mod demo_vm;
mod hostile;
mod selftest;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use luo_vm::Accel;
use luo_vm::Vm;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the kernel tree's own live update programs and ours, as KTAP
    Selftest(selftest::Selftest),
    /// Compare a selftest on the C LUO with one on the Rust LUO, as KTAP
    Compare(compare::Compare),
    /// Damage a hand-over in every way, on both LUOs, as KTAP and as a table
    Hostile(hostile::Hostile),
    /// Carry memory across one live update, and tell the story
    Demo(demo::Demo),
    /// Carry a guest of QEMU across live updates of its host, and tell the story
    DemoVm(demo_vm::DemoVm),
    /// Count what the C and the Rust LUO cost, side by side
    Bench(bench::Bench),
}

/// What every machine needs.
#[derive(Args)]
struct Machine {
    /// The kernel's build directory
    #[arg(long, value_name = "DIR")]
    kernel: PathBuf,
    /// The build directory of the kernel that takes turns with it, stage by stage
    #[arg(long, value_name = "DIR")]
    next: Option<PathBuf>,
    /// The directory of the guest's programs
    #[arg(long, value_name = "DIR")]
    guest: PathBuf,
    /// The directory for logs and results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The guest's memory, as QEMU writes it
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    memory: String,
    /// One more kernel parameter; may be repeated
    #[arg(long, value_name = "PARAM")]
    param: Vec<String>,
    /// How QEMU executes the guest
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    /// How long one machine may take
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    timeout: u64,
    /// Log which instructions in these ranges (QEMU's -dfilter) are executed, to NAME.trace
    #[arg(long, value_name = "RANGES")]
    trace: Option<String>,
}

/// What running on both LUOs needs.
#[derive(Args)]
struct Both {
    /// The build directory of the kernel with the LUO in C
    #[arg(long, value_name = "DIR")]
    c: PathBuf,
    /// The build directory of the kernel with the LUO in Rust
    #[arg(long, value_name = "DIR")]
    rust: PathBuf,
    /// The directory of the guest's programs
    #[arg(long, value_name = "DIR")]
    guest: PathBuf,
    /// The directory for logs and results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Machine {
    fn log(&self, name: &str) -> PathBuf {
        self.out.join(name).with_extension("log")
    }

    /// A machine that runs `program` and logs as `name`.
    fn vm(&self, program: &Path, name: &str) -> Vm {
        let vm = Vm::new(&self.kernel, &self.guest, program, &self.log(name))
            .memory(&self.memory)
            .params(&self.param)
            .accel(self.accel)
            .timeout(Duration::from_secs(self.timeout));
        let vm = match &self.next {
            Some(next) => vm.next(next),
            None => vm,
        };
        match &self.trace {
            Some(ranges) => vm.trace(ranges, &self.out.join(name).with_extension("trace")),
            None => vm,
        }
    }
}

fn main() -> ExitCode {
    let passed = match Cli::parse().command {
        Command::Selftest(selftest) => selftest.run(),
        Command::Compare(compare) => compare.run(),
        Command::Hostile(hostile) => hostile.run(),
        Command::Demo(demo) => demo.run(),
        Command::DemoVm(demo_vm) => demo_vm.run(),
        Command::Bench(bench) => bench.run(),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("luo-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
