// SPDX-License-Identifier: GPL-2.0

//! Runs every live update test, each in a machine of its own, and prints KTAP.
//!
//! A stage is a case too: it passes if its kernel had no complaint and its program
//! did what no case of the program's own accounts for. So every test fails that ends
//! early, and the names of what a test consists of do not depend on how it went.

use crate::Machine;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use clap::ValueEnum;
use luo_guest::DAMAGED;
use luo_guest::OWNERS;
use luo_guest::PANICS;
use luo_guest::RUNS;
use luo_vm::callbacks;
use luo_vm::tap::Case;
use luo_vm::tap::Tap;
use luo_vm::Failure;
use luo_vm::Line;
use luo_vm::Run;
use luo_vm::Vm;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::iter;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

const HARNESS: &str = "liveupdate";
const KEXEC: [&str; 4] = [
    "luo_kexec_simple",
    "luo_multi_session",
    "luo_stress_files",
    "luo_stress_sessions",
];
const OURS: &str = "luo-kexec-tests";

/// Tests that are run only if they are named: they go through many kernels, through those of both
/// LUOs, or through those with different pages.
const NAMED: [&str; 4] = ["chain-100", "chain-memfd", "memfd-unknown", "other-pages"];
/// A test that loads a driver as a module; only the LUO in Rust exports what that needs.
struct Module {
    test: &'static str,
    /// The name of the module's file, which the test finds in [`MODULES_PATH`].
    file: &'static str,
    /// Keeps the driver that is built in out of the module's way.
    param: &'static str,
}

const MODULES: [Module; 2] = [
    Module {
        test: "module",
        file: "luo_test.ko",
        param: "initcall_blacklist=luo_test_init",
    },
    Module {
        test: "rust-driver-ko",
        file: "rust_liveupdate.ko",
        param: "initcall_blacklist=__rust_liveupdate_init",
    },
];

/// The test of the sample driver, and the option that builds that in, which an older tree lacks.
const SAMPLE: &str = "rust-driver";
const SAMPLE_OPTION: &str = "CONFIG_SAMPLE_RUST_LIVEUPDATE=y";

/// Where these tests find their modules.
const MODULES_PATH: &str = "/lib";

/// The tests that run a program of the same name, and where that is below the guest's programs.
const PROGRAMS: [(&str, &str); 3] = [
    ("luoctl", "luoctl"),
    ("cache", "examples/cache"),
    ("vmm", "examples/vmm"),
];

/// The test whose threads are to run at one time, if the kernel can.
const RACES: &str = "races";

/// What only the LUO in Rust does: it tries again, refuses an image that carries nothing, has
/// handlers ask for the files that theirs need, and lets itself be looked into.
const NOT_ON_C: [&str; 7] = [
    "first-open",
    "old-kexec",
    "fellows",
    "inside",
    "slow",
    TRACED,
    "listed",
];

/// The test of what tracepoints tell, and the parameter that switches them on at the start of the
/// second kernel, also where that is to refuse what was handed over.
const TRACED: &str = "traced";
const TRACE: &str = "stage2:trace_event=liveupdate:*";

/// How the names of the tests begin that hand memfds over in runs.
const RUNS_GROUPS: &str = "memfd-runs";
/// The test that hands them over to a kernel that does not know of runs.
const RUNS_TO_C: &str = "memfd-unknown";
/// What their kernels write.
const RUNS_WRITTEN: [&str; 3] = [
    RUNS,
    "stage3:liveupdate.memfd=v2",
    "stage4:liveupdate.memfd=runs",
];

/// How the names of the tests of wire formats begin; only the LUO in Rust has more than one.
const FORMATS: &str = "formats-";
/// What the kernels of each of these tests write; the last one writes what the third does.
const WRITTEN: [&str; 3] = [
    "liveupdate.abi=luo-fdt",
    "stage2:liveupdate.abi=luo-v5",
    "stage3:liveupdate.abi=luo-fdt",
];

/// The implementation of LUO in the kernel.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Impl {
    Rust,
    C,
}

/// `luo-vm selftest`
#[derive(Args)]
pub struct Selftest {
    #[command(flatten)]
    machine: Machine,
    /// The kernel's LUO, told to the tests as LUO_IMPL
    #[arg(long = "impl", value_enum)]
    implementation: Impl,
    /// The LUO of the kernel that takes turns with it
    #[arg(long, value_enum, requires = "next")]
    next_impl: Option<Impl>,
    /// The directory of the kernel tree's own programs
    #[arg(long, value_name = "DIR", required_unless_present = "kvm")]
    kselftest: Option<PathBuf>,
    /// A driver as a module, for the test that loads it; may be repeated
    #[arg(long, value_name = "KO")]
    module: Vec<PathBuf>,
    /// Run the tests that need a kernel with KVM, and no others
    #[arg(long)]
    kvm: bool,
    /// Run only this test; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many machines run at a time
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: usize,
    /// How many kernels run the one test that is named, if it is one that goes on as long as asked for
    #[arg(long, value_name = "N", requires = "only")]
    stages: Option<u32>,
}

/// What a kernel that is not to go on with a damaged hand-over says last.
const PANIC: &str =
    "Kernel panic - not syncing: LUO: what the previous kernel handed over is damaged";

/// How a program tells its results.
#[derive(Clone, Copy)]
enum Results {
    /// As KTAP, in each stage.
    Ktap,
    /// In a line of its last stage.
    Line(&'static str),
}

pub struct Test {
    pub name: String,
    program: PathBuf,
    args: Vec<String>,
    /// Parameters of the machine.
    params: Vec<String>,
    pub stages: u32,
    results: Results,
}

impl Selftest {
    /// Runs the tests; true if all have passed.
    pub fn run(&self) -> Result<bool> {
        fs::create_dir_all(&self.machine.out)
            .with_context(|| self.machine.out.display().to_string())?;
        let tests = self.tests()?;
        println!("KTAP version 1\n1..{}", tests.len());

        let mut results = Vec::new();
        in_order(
            self.jobs,
            &tests,
            |test| self.cases(test),
            |number, test, cases| {
                let cases = cases.with_context(|| test.name.clone())?;
                self.print(number, test, &cases);
                results.extend(cases.into_iter().map(|case| {
                    (
                        format!("{}/{}", test.name, case.name),
                        case.failure.is_none(),
                    )
                }));
                Ok(())
            },
        )?;

        results.sort();
        let path = results_path(&self.machine.out);
        let lines: String = results
            .iter()
            .map(|(name, passed)| format!("{}ok {name}\n", if *passed { "" } else { "not " }))
            .collect();
        fs::write(&path, lines).with_context(|| path.display().to_string())?;

        let passed = results.iter().filter(|(_, passed)| *passed).count();
        let failed = results.len() - passed;
        println!("{passed} passed, {failed} failed");
        Ok(failed == 0)
    }

    fn tests(&self) -> Result<Vec<Test>> {
        let mut tests = match self.kvm {
            false => self.ordinary()?,
            true => ours(&self.machine, "--list-kvm")?,
        };
        let known = |name: &String| tests.iter().any(|test| test.name == *name);
        if let Some(unknown) = self.only.iter().find(|name| !known(name)) {
            let names: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
            anyhow::bail!("no test is named {unknown}; there are {}", names.join(" "));
        }
        tests.retain(|test| match self.only.as_slice() {
            [] => !NAMED.contains(&test.name.as_str()),
            only => only.contains(&test.name),
        });
        for test in &mut tests {
            test.stages = self.stages.unwrap_or(test.stages).max(test.stages);
        }
        Ok(tests)
    }

    /// The tests that need no machine of their own kind.
    fn ordinary(&self) -> Result<Vec<Test>> {
        let kselftest = self.kselftest.as_deref().unwrap_or(Path::new(""));
        let mut tests = vec![Test {
            name: HARNESS.to_owned(),
            program: kselftest.join(HARNESS),
            args: Vec::new(),
            params: Vec::new(),
            stages: 1,
            results: Results::Ktap,
        }];
        tests.extend(KEXEC.map(|name| Test {
            name: name.to_owned(),
            program: kselftest.join(name),
            args: per_stage(&[]),
            params: Vec::new(),
            stages: 2,
            results: Results::Line("TEST PASSED"),
        }));
        let both = [Some(self.implementation), self.next_impl];
        let rust = !both.contains(&Some(Impl::C));
        let mut sample = true;
        for kernel in iter::once(&self.machine.kernel).chain(&self.machine.next) {
            let config = kernel.join(".config");
            let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
            sample &= text.lines().any(|line| line == SAMPLE_OPTION);
        }
        tests.extend(ours(&self.machine, "--list")?.into_iter().filter(|test| {
            let can_run = Module::of(&test.name).is_none_or(|it| it.path(&self.module).is_some())
                && (sample || test.name != SAMPLE);
            can_run && (rust || !only_on_rust(&test.name))
        }));
        Ok(tests)
    }

    fn cases(&self, test: &Test) -> Result<Vec<Case>> {
        let implementations = iter::once(self.implementation).chain(self.next_impl);
        let mut vm = test.vm(&self.machine, implementations);
        if let Some(module) = Module::of(&test.name) {
            let path = module.path(&self.module).context(module.file)?;
            vm = vm
                .file(path, &format!("{MODULES_PATH}/{}", module.file))
                .params([module.param]);
        }
        if let Some((name, program)) = PROGRAMS.iter().find(|(name, _)| test.name == *name) {
            vm = vm.file(&self.machine.guest.join(program), &format!("/bin/{name}"));
        }
        if self.kvm {
            vm = vm.kvm_inside();
        }
        if test.name == RACES {
            vm = vm.cpus(2);
        }
        if test.name.starts_with(FORMATS) {
            vm = vm.params(WRITTEN);
        }
        if test.name.starts_with(RUNS_GROUPS) || test.name == RUNS_TO_C {
            vm = vm.params(RUNS_WRITTEN);
        }
        let run = vm.run(|_| ())?;
        let path = callbacks_path(&self.machine.out, &test.name);
        fs::write(&path, callbacks::lines(&run)).with_context(|| path.display().to_string())?;
        Ok((1..=test.stages)
            .flat_map(|stage| test.judge(&run, stage))
            .collect())
    }

    fn print(&self, number: usize, test: &Test, cases: &[Case]) {
        println!("    KTAP version 1\n    1..{}", cases.len());
        for (case, number) in cases.iter().zip(1..) {
            match &case.failure {
                None => println!("    ok {number} {}", case.name),
                Some(failure) => {
                    println!("    not ok {number} {} # {}", case.name, failure.reason);
                    for line in &failure.context {
                        println!("    # | {line}");
                    }
                }
            }
        }
        if cases.iter().all(|case| case.failure.is_none()) {
            println!("ok {number} {}", test.name);
        } else {
            println!("# log: {}", self.machine.log(&test.name).display());
            println!("not ok {number} {}", test.name);
        }
    }
}

impl Module {
    /// What a test loads, if it is one that does.
    fn of(test: &str) -> Option<&'static Self> {
        MODULES.iter().find(|module| module.test == test)
    }

    /// Where it is.
    fn path<'a>(&self, modules: &'a [PathBuf]) -> Option<&'a Path> {
        modules
            .iter()
            .map(PathBuf::as_path)
            .find(|path| path.file_name().is_some_and(|name| name == self.file))
    }
}

impl Test {
    /// Whether the kernel of the last stage is not to get to its program.
    fn ends_in_panic(&self) -> bool {
        self.name.starts_with(DAMAGED) && self.name.ends_with(PANICS)
    }

    /// The machine that runs it, on kernels with these LUOs in turn.
    pub fn vm(&self, machine: &Machine, implementations: impl IntoIterator<Item = Impl>) -> Vm {
        let implementations: Vec<_> = implementations
            .into_iter()
            .map(|implementation| match implementation {
                Impl::Rust => "rust",
                Impl::C => "c",
            })
            .collect();
        machine
            .vm(&self.program, &self.name)
            .args(&self.args)
            .stages(self.stages)
            .params([OWNERS, &format!("LUO_IMPL={}", implementations.join(","))])
            .params(&self.params)
            .params(self.is_traced().then_some(TRACE))
    }

    /// Whether memfds are handed over in a format that only the handler in Rust has.
    pub fn is_of_runs(&self) -> bool {
        self.params.iter().any(|param| param == RUNS)
    }

    /// Whether the second kernel traces from its start on.
    fn is_traced(&self) -> bool {
        self.name == TRACED || self.name.starts_with(DAMAGED)
    }

    /// The cases of one stage: those that the program printed, and the stage itself.
    pub fn judge(&self, run: &Run, stage: u32) -> Vec<Case> {
        let output = || run.stage(stage).iter().filter_map(Line::output);
        let name = format!("stage {stage}");
        if self.ends_in_panic() && stage == self.stages {
            let lines = run.stage(stage);
            let panics = lines.iter().any(|line| line.text.starts_with(PANIC));
            let failure = (!panics).then(|| Failure {
                reason: "no panic".to_owned(),
                context: lines.iter().map(|line| line.text.clone()).collect(),
            });
            return vec![Case { name, failure }];
        }
        let (mut cases, broken) = match self.results {
            Results::Ktap => {
                let tap = Tap::parse(output());
                let broken = tap.failure();
                (tap.cases, broken)
            }
            Results::Line(due) => {
                let told = stage < self.stages || output().any(|line| line.contains(due));
                (Vec::new(), (!told).then(|| format!("no line says {due}")))
            }
        };
        let unexplained = match run.status(stage) {
            Some(status) if status != 0 && cases.iter().all(|case| case.failure.is_none()) => {
                Some(format!("exit status {status}"))
            }
            _ => None,
        };
        let failure = run
            .failure(stage)
            .or(unexplained.or(broken).map(|reason| Failure {
                reason,
                context: output()
                    .skip(output().count().saturating_sub(10))
                    .map(str::to_owned)
                    .collect(),
            }));

        for case in &mut cases {
            case.name = format!("{name}: {}", case.name);
        }
        cases.push(Case { name, failure });
        cases
    }
}

/// Whether a test is of what the LUO in C does not have, or does not survive.
pub fn only_on_rust(test: &str) -> bool {
    Module::of(test).is_some()
        || NOT_ON_C.contains(&test)
        || test.starts_with(RUNS_GROUPS)
        || test.starts_with(FORMATS)
        || test.starts_with(DAMAGED)
}

/// Where the results of all cases are.
pub fn results_path(out: &Path) -> PathBuf {
    out.join("results.txt")
}

/// Where the callbacks of a test are.
pub fn callbacks_path(out: &Path, test: &str) -> PathBuf {
    out.join(test).with_extension("callbacks")
}

/// `args` and the number of the stage.
fn per_stage(args: &[&str]) -> Vec<String> {
    args.iter()
        .chain(&["-s", luo_guest::STAGE])
        .map(|arg| (*arg).to_owned())
        .collect()
}

/// Our own tests, which their program lists when called with `list`: not the guest's, as that may be
/// for another processor, but the one that was built with this program.
pub fn ours(machine: &Machine, list: &str) -> Result<Vec<Test>> {
    let program = machine.guest.join(OURS);
    let lister = env::current_exe()?.with_file_name(OURS);
    let path = lister.display();
    let output = Command::new(&lister)
        .arg(list)
        .output()
        .with_context(|| path.to_string())?;
    ensure!(output.status.success(), "{path} {list}: {}", output.status);
    let tests: Vec<_> = String::from_utf8(output.stdout)?
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let name = words.next()?;
            let mut test = Test {
                program: program.clone(),
                args: per_stage(&["-g", &name]),
                name,
                stages: words.next()?.parse::<NonZeroU32>().ok()?.get(),
                params: words.collect(),
                results: Results::Ktap,
            };
            if test.ends_in_panic() {
                test.stages = 2;
            }
            Some(test)
        })
        .collect::<Option<_>>()
        .with_context(|| format!("{path} {list}: not a list of names and stages"))?;
    ensure!(!tests.is_empty(), "{path} {list}: no tests");
    Ok(tests)
}

/// Does `work` for each of `items`, `jobs` of them at a time, and `done` in their order, numbered
/// from 1.
pub fn in_order<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(usize, &T, R) -> Result<()>,
) -> Result<()> {
    let (claimed, (sender, receiver)) = (AtomicUsize::new(0), mpsc::channel());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (claimed, work, sender) = (&claimed, &work, sender.clone());
            scope.spawn(move || loop {
                let index = claimed.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { break };
                if sender.send((index, work(item))).is_err() {
                    break;
                }
            });
        }
        drop(sender);

        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (index, result) in receiver {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&due) {
                done(due + 1, &items[due], result)?;
                due += 1;
            }
        }
        Ok(())
    })
}
