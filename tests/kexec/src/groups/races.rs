// SPDX-License-Identifier: GPL-2.0

//! Threads that create, preserve, retrieve, close and finish without pause, each in sessions of its
//! own and all of them in one, while a kexec is tried.
//! Where it is refused, nothing of that is lost or half done; where it is not, whatever a call had
//! succeeded in is there in the next kernel.

use crate::{
    differences::Luo,
    driver::{self, A, B, C, FLBS},
    file::{content, expect_thawed, memfd},
    Group, World,
};
use anyhow::{ensure, Context, Result};
use liveupdate::{
    observe::{Debugfs, Direction, FileState, SessionInfo, SessionState},
    Device, Session,
};
use luo_guest::OUTPUT;
use nix::{
    errno::Errno::{EBUSY, EEXIST, EINVAL, ENODATA, ENOENT},
    sys::reboot::{reboot, RebootMode},
    unistd::{fork, ForkResult},
};
use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    env,
    fs::{self, File},
    io::{self, PipeWriter, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
    process,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    thread,
};

pub const GROUP: Group = Group {
    name: "races",
    stages: &[
        &[("hand-over", hand_over)],
        &[("refused", refused), ("carried-out", carried_out)],
        &[("all-there", all_there)],
    ],
};

/// How many threads change sessions of their own.
const WORKERS: u32 = 3;
/// How often the kexec is refused in a round.
const REFUSALS: u32 = 3;
/// How many sessions of the previous kernel are retrieved in a round.
const RETRIEVED: u32 = 4;
/// How many sessions a worker leaves open.
const KEPT: usize = 4;
/// How many files each worker adds to the session that they share, in a round.
const SHARED: u32 = 30;
/// How many threads retrieve the files of one session of the previous kernel, and how many files.
const CROWD: usize = 3;
const CROWDED: u64 = 12;
/// From where on the tokens count that all workers want in the session that they share.
const WANTED: u64 = 1 << 32;
/// From where on the driver's files of the previous kernel are numbered.
const INCOMING: u32 = 1 << 30;

/// How many rounds there are: `LUO_ROUNDS` of the kernel's command line.
fn rounds() -> Result<u32> {
    env::var("LUO_ROUNDS").map_or(Ok(10), |rounds| Ok(rounds.parse()?))
}

/// Keeps the driver's lines, which come in any order, off the console.
fn quiet() -> Result<()> {
    Ok(fs::write("/proc/sys/kernel/printk", "5")?)
}

fn incoming(number: u32) -> Vec<u8> {
    format!("incoming {number}").into_bytes()
}

fn crowd(number: u32) -> Vec<u8> {
    format!("crowd {number}").into_bytes()
}

fn hand_over(world: &mut World) -> Result<()> {
    quiet()?;
    let device = Device::open()?;
    for number in 0..=rounds()? * RETRIEVED {
        let session = done!(device.create_session(incoming(number)));
        done!(session.preserve_fd(memfd(&incoming(number))?.as_fd(), 1));
        done!(session.preserve_fd(A.file(INCOMING + number)?.as_fd(), 2));
        world.keep(session);
    }
    for number in 0..rounds()? {
        let session = done!(device.create_session(crowd(number)));
        let mut last: Option<File> = None;
        for token in 1..=CROWDED {
            // Each needs the one before it, where there are look-ups, here and in the next kernel.
            let file = match (world.luo, world.previous, &last) {
                (Luo::Rust, Luo::Rust, Some(last)) => {
                    C.needing(token as u32, &format!("fd {}", last.as_raw_fd()))?
                }
                _ => C.file(token as u32)?,
            };
            done!(session.preserve_fd(file.as_fd(), token));
            last = Some(file);
        }
        world.keep(session);
    }
    Ok(())
}

/// What the threads of a round share.
struct Round {
    device: Device,
    session: Session,
    /// Whether somebody has the session whose name all want.
    owned: AtomicBool,
    /// How many steps each worker has taken.
    steps: [AtomicU32; WORKERS as usize],
    /// How many workers have got each token that all of them want.
    got: [AtomicU32; SHARED as usize],
    /// A session of the previous kernel whose files a crowd retrieves.
    crowded: Session,
    /// Whether somebody has begun to finish that.
    finishing: AtomicBool,
    /// How often the kexec was refused.
    refusals: AtomicU32,
    stop: AtomicBool,
    looker: Looker,
}

fn refused(world: &mut World) -> Result<()> {
    quiet()?;
    done!(driver::ask(&FLBS));
    driver::reset()?;
    B.fail("freeze", 0, -1, Some(ENODATA as i32))?;
    for number in 0..rounds()? {
        let device = Device::open()?;
        let round = Round {
            session: device.create_session(b"shared")?,
            crowded: device.retrieve_session(crowd(number))?,
            device,
            owned: false.into(),
            steps: Default::default(),
            got: Default::default(),
            finishing: false.into(),
            refusals: 0.into(),
            stop: false.into(),
            looker: Looker::new(world.luo),
        };
        race(&round, number).with_context(|| format!("round {number}"))?;
        // Each file was made once, and finished once.
        let crowded = CROWDED * u64::from(number + 1);
        same!(
            (C.calls("retrieve")?, C.calls("finish")?),
            (crowded, crowded)
        );
    }
    driver::reset()
}

fn race(round: &Round, number: u32) -> Result<()> {
    let mut workers: Vec<_> = (0..WORKERS).map(|id| Worker::new(round, id)).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| worker.run()))
            .collect();
        let retriever = scope.spawn(|| round.retrieve(number * RETRIEVED));
        let crowd: Vec<_> = (0..CROWD)
            .map(|id| scope.spawn(move || round.crowd(id)))
            .collect();
        let looking = round.looker.looks.then(|| scope.spawn(|| round.look()));
        let refusals = (0..REFUSALS).try_for_each(|_| round.refuse());
        round.stop.store(true, SeqCst);
        let ended = |thread: thread::ScopedJoinHandle<'_, Result<()>>| match thread.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a thread panicked"),
        };
        threads.into_iter().try_for_each(ended)?;
        ended(retriever)?;
        crowd.into_iter().try_for_each(ended)?;
        looking.map_or(Ok(()), ended)?;
        refusals
    })?;
    workers.iter().try_for_each(Worker::check)?;
    for (number, got) in round.got.iter().enumerate() {
        let steps = round
            .steps
            .iter()
            .any(|it| it.load(SeqCst) as usize > number);
        same!(got.load(SeqCst), u32::from(steps), number);
    }
    Ok(())
}

/// Whether there can be a session of this name and direction.
fn can_exist(name: &[u8], direction: &Direction) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let numbered = |text: &str| text.parse::<u32>().is_ok();
    match direction {
        Direction::Incoming => ["incoming ", "crowd "]
            .iter()
            .any(|what| name.strip_prefix(what).is_some_and(numbered)),
        Direction::Outgoing => {
            let of_worker = |(worker, number): (&str, &str)| {
                worker.parse().is_ok_and(|worker: u32| worker < WORKERS) && numbered(number)
            };
            ["shared", "refuses", "wanted by all", "ledger"].contains(&name)
                || name.split_once('/').is_some_and(of_worker)
        }
    }
}

/// Who reads all that the kernel shows, again and again.
///
/// A session that is closed while somebody reads its fdinfo goes when that is read.
struct Looker {
    /// Whether there is anything to be seen.
    looks: bool,
    /// How much has been read.
    reads: AtomicU32,
    ended: AtomicBool,
}

impl Looker {
    fn new(luo: Luo) -> Self {
        Self {
            looks: luo == Luo::Rust,
            reads: 0.into(),
            ended: false.into(),
        }
    }

    /// Waits for the end of what is being read: who closed a session before has closed it then.
    fn wait(&self) {
        let reads = self.reads.load(SeqCst);
        while self.looks && self.reads.load(SeqCst) == reads && !self.ended.load(SeqCst) {
            thread::yield_now();
        }
    }

    fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        let value = read();
        self.reads.fetch_add(1, SeqCst);
        value
    }

    /// Looks until it is told to stop, and once more then, when everything can be seen.
    fn run(&self, stop: &AtomicBool) -> Result<()> {
        let mut result = Ok(true);
        while result.is_ok() && !stop.load(SeqCst) {
            result = look(self);
        }
        let result = result.and_then(|_| Ok(same!(look(self)?, true)));
        self.ended.store(true, SeqCst);
        result
    }
}

/// Expects all that the kernel shows to make sense, however it changes meanwhile; whether all of it
/// could be seen.
fn look(looker: &Looker) -> Result<bool> {
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let path = entry?.path();
        // It may have been closed, and a directory or a pipe is no session.
        let Ok(text) = looker.read(|| fs::read(&path)) else {
            continue;
        };
        let Some(session) = SessionInfo::parse(&text)? else {
            continue;
        };
        let SessionInfo {
            name,
            direction,
            state,
            files,
            ..
        } = &session;
        ensure!(can_exist(name.as_bytes(), direction), "{session:?}");
        let of_files = match direction {
            Direction::Outgoing => {
                same!(*state, SessionState::Created);
                &[
                    FileState::Preserving,
                    FileState::Preserved,
                    FileState::Frozen,
                    FileState::Failed,
                ][..]
            }
            Direction::Incoming => {
                ensure!(
                    matches!(state, SessionState::Retrieved | SessionState::Finished),
                    "{session:?}"
                );
                &[
                    FileState::Waiting,
                    FileState::Retrieving,
                    FileState::Retrieved,
                    FileState::Finishing,
                ]
            }
        };
        let mut tokens = BTreeSet::new();
        for file in files {
            ensure!(of_files.contains(&file.state), "{session:?}");
            ensure!(tokens.insert(file.token), "{session:?}");
        }
    }

    let debugfs = Debugfs::default();
    let mut all = true;
    for direction in [Direction::Incoming, Direction::Outgoing] {
        let sessions = match looker.read(|| debugfs.sessions(&direction)) {
            Ok(sessions) => sessions,
            // While a kexec is tried.
            busy => {
                refused!(busy, EBUSY);
                same!(direction, Direction::Outgoing);
                all = false;
                continue;
            }
        };
        let mut names = BTreeSet::new();
        for session in sessions {
            let bytes = session.name.as_bytes();
            ensure!(can_exist(bytes, &direction), "{session:?}");
            let known = match direction {
                Direction::Outgoing => session.state == SessionState::Created,
                Direction::Incoming => matches!(
                    session.state,
                    SessionState::Waiting | SessionState::Retrieved | SessionState::Finished
                ),
            };
            ensure!(known, "{session:?}");
            // One that is closed may come again behind where the reader is.
            let again = direction == Direction::Outgoing;
            ensure!(names.insert(session.name.clone()) || again, "{session:?}");
        }
    }
    ensure!(debugfs.handlers()?.len() >= 3 && debugfs.flbs()?.len() >= FLBS.len());
    same!(debugfs.enabled()?, true);
    debugfs.number()?;
    debugfs.handover()?;
    Ok(all)
}

impl Round {
    /// Looks at everything that the kernel shows, until the round ends.
    fn look(&self) -> Result<()> {
        let result = self.looker.run(&self.stop);
        self.stop.fetch_or(result.is_err(), SeqCst);
        result
    }

    /// Has the kexec refused by the last session, once all workers have gone on since the last
    /// time.
    fn refuse(&self) -> Result<()> {
        let before = self.steps.each_ref().map(|steps| steps.load(SeqCst));
        for (steps, before) in self.steps.iter().zip(before) {
            while steps.load(SeqCst) == before && !self.stop.load(SeqCst) {
                thread::yield_now();
            }
        }
        let session = done!(self.device.create_session(b"refuses"));
        done!(B.preserve(&session, 1)?);
        let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
        refused!(kexec, ENODATA);
        drop(session);
        self.looker.wait();
        self.refusals.fetch_add(1, SeqCst);
        Ok(())
    }

    /// Retrieves the files of the session that all have, in an order of its own, until it is
    /// finished, which the first of the crowd does.
    fn crowd(&self, id: usize) -> Result<()> {
        // All but the first one begin with a file that needs others.
        let step = [1, 5, 11][id % 3];
        for turn in 0.. {
            let token = 1 + turn * step % CROWDED;
            match self.crowded.retrieve_fd(token) {
                Ok(file) => same!(u64::from(driver::number(&File::from(file))?), token),
                gone => {
                    refused!(gone, ENOENT, token);
                    same!(self.finishing.load(SeqCst), true);
                    break;
                }
            }
            if id == 0 && self.stop.load(SeqCst) && turn >= CROWDED {
                self.finishing.store(true, SeqCst);
                break;
            }
        }
        // Who finishes what is finished has nothing left to do.
        done!(self.crowded.finish());
        refused!(self.crowded.retrieve_fd(1), ENOENT);
        Ok(())
    }

    /// Retrieves sessions of the previous kernel, each until the kexec is refused once more, and
    /// then looks for them in vain.
    fn retrieve(&self, first: u32) -> Result<()> {
        for number in first..first + RETRIEVED {
            let name = incoming(number);
            let session = done!(self.device.retrieve_session(&name));
            refused!(self.device.retrieve_session(&name), EINVAL);
            let file = File::from(done!(session.retrieve_fd(1)));
            same!(content(&file)?, name);
            let refusals = self.refusals.load(SeqCst);
            while self.refusals.load(SeqCst) == refusals && !self.stop.load(SeqCst) {
                done!(session.retrieve_fd(1));
            }
            let file = File::from(done!(session.retrieve_fd(2)));
            same!(driver::number(&file)?, INCOMING + number);
            refused!(session.retrieve_fd(3), ENOENT);
            if number % 2 == 0 {
                done!(session.finish());
            }
            drop(session);
            self.looker.wait();
        }
        while !self.stop.load(SeqCst) {
            for number in 0..first + RETRIEVED {
                refused!(self.device.retrieve_session(incoming(number)), ENOENT);
            }
        }
        Ok(())
    }
}

/// Makes and closes sessions, and knows what is to be there.
struct Worker<'a> {
    round: &'a Round,
    id: u32,
    /// The open sessions, each with its name and its file.
    open: VecDeque<(Vec<u8>, Session, File)>,
    /// The name that was last made free, and a file.
    closed: Option<(Vec<u8>, File)>,
    /// Tokens of files in the session that all share.
    shared: Vec<u64>,
}

impl<'a> Worker<'a> {
    fn new(round: &'a Round, id: u32) -> Self {
        Self {
            round,
            id,
            open: VecDeque::new(),
            closed: None,
            shared: vec![],
        }
    }

    fn run(&mut self) -> Result<()> {
        let steps = &self.round.steps[self.id as usize];
        let mut result = Ok(());
        while result.is_ok() && !self.round.stop.load(SeqCst) {
            result = self.step(steps.load(SeqCst));
            steps.fetch_add(1, SeqCst);
        }
        self.round.stop.fetch_or(result.is_err(), SeqCst);
        result
    }

    fn step(&mut self, number: u32) -> Result<()> {
        let device = &self.round.device;
        let (name, file) = match self.closed.take() {
            Some(closed) => closed,
            None => {
                let name = format!("{}/{number}", self.id).into_bytes();
                let file = memfd(&name)?;
                (name, file)
            }
        };
        expect_thawed(&file)?;
        let session = done!(device.create_session(&name));
        refused!(device.create_session(&name), EEXIST);
        done!(session.preserve_fd(file.as_fd(), 1));
        let unique = number * WORKERS + self.id + 1;
        done!(session.preserve_fd(A.file(unique)?.as_fd(), 2));
        self.open.push_back((name, session, file));
        if self.open.len() > KEPT {
            let closed = self.open.pop_front();
            self.closed = closed.map(|(name, _, file)| (name, file));
            self.round.looker.wait();
        }

        if number < SHARED {
            let token = unique.into();
            let file = memfd(b"shared")?;
            done!(self.round.session.preserve_fd(file.as_fd(), token));
            self.shared.push(token);

            let wanted = self
                .round
                .session
                .preserve_fd(memfd(b"wanted")?.as_fd(), WANTED + u64::from(number));
            match wanted {
                Ok(()) => {
                    self.round.got[number as usize].fetch_add(1, SeqCst);
                }
                refusal => refused!(refusal, EEXIST),
            }
        }

        let session = device.create_session(b"wanted by all");
        match session {
            Ok(_) => {
                same!(self.round.owned.swap(true, SeqCst), false);
                self.round.owned.store(false, SeqCst);
            }
            refusal => refused!(refusal, EEXIST),
        }
        Ok(())
    }

    /// Expects to be there what should be, and nothing else.
    fn check(&self) -> Result<()> {
        let device = &self.round.device;
        let more = memfd(b"more")?;
        for (name, session, file) in &self.open {
            same!(done!(session.name()), *name);
            refused!(device.create_session(name), EEXIST);
            for token in 1..=2 {
                refused!(session.preserve_fd(more.as_fd(), token), EEXIST);
            }
            refused!(session.preserve_fd(file.as_fd(), 3), EBUSY);
        }
        for &token in &self.shared {
            let session = &self.round.session;
            refused!(session.preserve_fd(more.as_fd(), token), EEXIST, token);
        }
        if let Some((name, file)) = &self.closed {
            let session = done!(device.create_session(name));
            done!(session.preserve_fd(file.as_fd(), 1));
        }
        done!(device.create_session(b"refuses"));
        done!(device.create_session(b"wanted by all"));
        Ok(())
    }
}

/// How far a worker has come with one of its sessions, as the next kernel is to know it: a byte in
/// a file of its own session, written before what may and after what must have happened.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    Closed,
    Creating,
    Created,
    One,
    Both,
    Closing,
}

impl Progress {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Creating,
        Self::Created,
        Self::One,
        Self::Both,
        Self::Closing,
    ];

    /// How many files the session has for sure, and how many it can have.
    fn files(self) -> (u64, u64) {
        match self {
            Self::Closed | Self::Creating => (0, 0),
            Self::Created => (0, 1),
            Self::One => (1, 2),
            Self::Both | Self::Closing => (2, 2),
        }
    }
}

/// How many sessions each worker has, all of them in one block.
const SLOTS: u32 = 8;
/// How often a session is made anew until that is no longer told apart.
const GENERATIONS: u32 = 32;
const LEDGER: &[u8] = b"ledger";

/// One of the sessions of a worker.
#[derive(Clone, Copy)]
struct Slot {
    worker: u32,
    number: u32,
    generation: u32,
}

impl Slot {
    fn name(self) -> Vec<u8> {
        format!("{}/{}", self.worker, self.number).into_bytes()
    }

    fn content(self) -> Vec<u8> {
        format!("{}/{}/{}", self.worker, self.number, self.generation).into_bytes()
    }

    /// Where its byte is.
    fn place(self) -> u64 {
        (self.worker * SLOTS + self.number).into()
    }

    fn file_number(self) -> u32 {
        1 + self.place() as u32 * GENERATIONS + self.generation
    }

    fn note(self, ledger: &File, progress: Progress) -> Result<()> {
        let byte = self.generation * Progress::ALL.len() as u32 + progress as u32;
        Ok(ledger.write_all_at(&[u8::try_from(byte)?], self.place())?)
    }

    fn make(self, device: &Device, ledger: &File) -> Result<Session> {
        self.note(ledger, Progress::Creating)?;
        let session = done!(device.create_session(self.name()));
        self.note(ledger, Progress::Created)?;
        done!(session.preserve_fd(memfd(&self.content())?.as_fd(), 1));
        self.note(ledger, Progress::One)?;
        done!(session.preserve_fd(A.file(self.file_number())?.as_fd(), 2));
        self.note(ledger, Progress::Both)?;
        Ok(session)
    }

    fn close(self, session: Session, ledger: &File, looker: &Looker) -> Result<()> {
        self.note(ledger, Progress::Closing)?;
        drop(session);
        looker.wait();
        self.note(ledger, Progress::Closed)
    }

    /// Expects of the previous kernel's session what `progress` says.
    fn check(self, device: &Device, progress: Progress) -> Result<()> {
        let (least, most) = progress.files();
        let session = device.retrieve_session(self.name());
        if progress == Progress::Closed
            || session.is_err() && matches!(progress, Progress::Creating | Progress::Closing)
        {
            refused!(session, ENOENT);
            return Ok(());
        }
        let session = done!(session);
        for token in 1..=2 {
            let file = session.retrieve_fd(token);
            if token > least && (token > most || file.is_err()) {
                refused!(file, ENOENT, token);
                continue;
            }
            let file = File::from(done!(file, token));
            match token {
                1 => same!(content(&file)?, self.content()),
                _ => same!(driver::number(&file)?, self.file_number()),
            }
        }
        done!(session.finish());
        Ok(())
    }
}

/// Leaves a process behind in which threads work until the kexec; they have begun when this
/// returns.
fn carried_out(world: &mut World) -> Result<()> {
    let looker = Looker::new(world.luo);
    let (mut ready, tell) = io::pipe()?;
    // SAFETY: This program has one thread again.
    if let ForkResult::Child = unsafe { fork() }? {
        let Err(error) = never_end(&tell, &looker);
        fail(&error);
    }
    drop(tell);
    ready
        .read_exact(&mut [0; WORKERS as usize])
        .context("a thread failed")?;
    world.keep(ready);
    Ok(())
}

/// Ends this process; what it holds goes with it, and the next kernel misses that.
fn fail(error: &anyhow::Error) -> ! {
    let _ = luo_guest::log(OUTPUT, format!("{error:#}").as_bytes());
    process::exit(1)
}

fn never_end(tell: &PipeWriter, looker: &Looker) -> Result<Infallible> {
    let device = Device::open()?;
    let ledger = memfd(&[0; (WORKERS * SLOTS) as usize])?;
    let session = done!(device.create_session(LEDGER));
    done!(session.preserve_fd(ledger.as_fd(), 1));
    let (device, ledger) = (&device, &ledger);
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let Err(error) = work(device, ledger, worker, looker, tell);
                fail(&error);
            });
        }
        if looker.looks {
            scope.spawn(|| loop {
                if let Err(error) = look(looker) {
                    fail(&error);
                }
            });
        }
        retrieve_and_retrieve(device)
    })
}

fn work(
    device: &Device,
    ledger: &File,
    worker: u32,
    looker: &Looker,
    mut tell: &PipeWriter,
) -> Result<Infallible> {
    let mut open = VecDeque::new();
    let mut turn = 0;
    loop {
        let slot = Slot {
            worker,
            number: turn % SLOTS,
            generation: turn / SLOTS % GENERATIONS,
        };
        if turn >= SLOTS {
            let (oldest, session): (Slot, _) = open.pop_front().context("no session is open")?;
            oldest.close(session, ledger, looker)?;
        }
        open.push_back((slot, slot.make(device, ledger)?));
        if turn == SLOTS {
            tell.write_all(b"!")?;
        }
        turn = turn.wrapping_add(1);
    }
}

fn retrieve_and_retrieve(device: &Device) -> Result<Infallible> {
    let name = incoming(rounds()? * RETRIEVED);
    let session = done!(device.retrieve_session(&name));
    loop {
        let file = File::from(done!(session.retrieve_fd(1)));
        same!(content(&file)?, name);
    }
}

fn all_there(_: &mut World) -> Result<()> {
    quiet()?;
    done!(driver::ask(&FLBS));
    let device = Device::open()?;
    let session = done!(device.retrieve_session(LEDGER));
    let ledger = content(&File::from(done!(session.retrieve_fd(1))))?;
    let mut complete = 0;
    for (worker, bytes) in (0..).zip(ledger.chunks(SLOTS as usize)) {
        for (number, &byte) in (0..).zip(bytes) {
            let byte = usize::from(byte);
            let progress = Progress::ALL[byte % Progress::ALL.len()];
            let slot = Slot {
                worker,
                number,
                generation: (byte / Progress::ALL.len()) as u32,
            };
            slot.check(&device, progress)
                .with_context(|| format!("{worker}/{number} {progress:?}"))?;
            complete += u32::from(progress == Progress::Both);
        }
    }
    // Each worker was at work on one at most.
    ensure!(
        complete >= WORKERS * (SLOTS - 1),
        "only {complete} sessions"
    );
    Ok(())
}
