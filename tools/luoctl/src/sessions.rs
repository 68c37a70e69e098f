// SPDX-License-Identifier: GPL-2.0

//! `luoctl list` and `luoctl show`: the sessions there are, what is in them, who has them.

use crate::{
    failure::{Exit, Failure, Outcome, Trying},
    output::{errno, line, note, or_unknown, Format, Show as Shown, Table, UNKNOWN},
};
use clap::Args;
use liveupdate::observe::{
    self, people, Debugfs, Direction, File, Name, Process, SessionInfo, SessionLine, SessionState,
    What,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::HashMap,
    io::{self, ErrorKind, Write},
};

/// List the sessions
///
/// A line for each session: name, direction, state, number of files, and the processes that have
/// a descriptor of it. Root sees all sessions, if the kernel has debugfs; otherwise those are
/// listed that some process has a descriptor of. Not to a terminal, the fields have tabs between
/// them, and no headings.
#[derive(Args)]
pub struct List {
    /// List their files instead: session, direction, token, handler, state
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    format: Format,
}

/// Show a session and its files
///
/// A session of the previous kernel and one for the next can have the same name; then both are
/// shown.
#[derive(Args)]
pub struct Show {
    /// The name of the session
    #[arg(value_name = "SESSION")]
    name: Name,
    #[command(flatten)]
    format: Format,
}

/// A session, as far as it is known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its name; what is not text in it is octal, behind a backslash.
    pub name: Name,
    /// Which way it goes; null: unknown.
    pub direction: Option<Direction>,
    /// How far it has come; null: unknown.
    pub state: Option<SessionState>,
    /// How many files it has; null: unknown.
    pub count: Option<u64>,
    /// The files; null: unknown, or not asked for.
    pub files: Option<Vec<File>>,
    /// The processes that have a descriptor of it.
    pub holders: Vec<Process>,
}

/// The sessions of the system.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Outgoing ones first, in the order of their creation.
    pub sessions: Vec<Session>,
    /// Whether these are all there are.
    pub complete: bool,
    /// Why not.
    pub notes: Vec<String>,
}

impl Sessions {
    /// Looks for them in debugfs and in all processes.
    pub fn observe() -> Result<Self, Failure> {
        let mut all = Gathered::default();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            match Debugfs::default().sessions(&direction) {
                Ok(lines) => lines
                    .into_iter()
                    .for_each(|line| all.add_line(line, &direction)),
                Err(error) => all.miss(
                    &unseen(&error),
                    "sessions that no process has a descriptor of are missing",
                ),
            }
        }

        let found = observe::descriptors().trying("/proc")?;
        for held in found.held {
            let What::Session(name) = held.what else {
                continue;
            };
            match observe::session_of(held.process.pid, held.fd) {
                Ok(info) => all.add_descriptor(name, held.process, info),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(error).trying(format!("process {}", held.process.pid));
                }
                // It has been closed, or the process has ended.
                Err(_) => {}
            }
        }
        if found.hidden > 0 {
            let why = format!("{} processes cannot be looked into", found.hidden);
            all.miss(&why, "only root sees the descriptors of all");
        }
        Ok(all.sessions)
    }

    /// Those that go to the next kernel.
    pub fn outgoing(&self) -> impl Iterator<Item = &Session> {
        let outgoing = |session: &&Session| session.direction == Some(Direction::Outgoing);
        self.sessions.iter().filter(outgoing)
    }

    /// How many of them go this way; unknown if some may be missing.
    pub fn count(&self, direction: &Direction) -> Option<usize> {
        let of = |session: &&Session| session.direction.as_ref() == Some(direction);
        self.complete
            .then(|| self.sessions.iter().filter(of).count())
    }

    fn note(&mut self, why: &str, what: &str) {
        let note = format!("{why}: {what}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// The sessions of the system while they are gathered from several places.
struct Gathered {
    sessions: Sessions,
    /// Where each of them is.
    places: HashMap<(Name, Option<Direction>), usize>,
}

impl Default for Gathered {
    fn default() -> Self {
        let sessions = Sessions {
            sessions: vec![],
            complete: true,
            notes: vec![],
        };
        let places = HashMap::new();
        Self { sessions, places }
    }
}

impl Gathered {
    /// Adds what debugfs says of a session.
    fn add_line(&mut self, line: SessionLine, direction: &Direction) {
        let session = self.place(line.name, Some(direction));
        session.state = Some(line.state);
        session.count = Some(line.files);
    }

    /// Adds what a descriptor says of its session.
    fn add_descriptor(&mut self, name: Name, process: Process, info: Option<SessionInfo>) {
        let direction = info.as_ref().map(|info| &info.direction);
        let session = self.place(name, direction);
        if !session.holders.contains(&process) {
            session.holders.push(process);
        }
        let Some(info) = info else {
            let why = "this kernel shows nothing of a session's descriptor";
            return self.sessions.note(why, "files are unknown");
        };
        session.state = Some(info.state);
        session.count = Some(info.count);
        session.files = Some(info.files);
    }

    /// Notes that some may be missing.
    fn miss(&mut self, why: &str, what: &str) {
        self.sessions.complete = false;
        self.sessions.note(why, what);
    }

    /// The session of this name and direction; if that is unknown, of any.
    fn place(&mut self, name: Name, direction: Option<&Direction>) -> &mut Session {
        let any = [Some(Direction::Outgoing), Some(Direction::Incoming), None];
        let one = [direction.cloned()];
        let directions = if direction.is_some() { &one[..] } else { &any };
        let place = directions
            .iter()
            .find_map(|direction| self.places.get(&(name.clone(), direction.clone())));
        let place = place.copied().unwrap_or_else(|| {
            let place = self.sessions.sessions.len();
            self.places
                .insert((name.clone(), direction.cloned()), place);
            self.sessions.sessions.push(Session {
                name,
                direction: direction.cloned(),
                state: None,
                count: None,
                files: None,
                holders: vec![],
            });
            place
        });
        &mut self.sessions.sessions[place]
    }
}

/// Why debugfs tells nothing.
pub fn unseen(error: &io::Error) -> String {
    let path = Debugfs::default();
    let path = path.path().display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no {path}"),
        ErrorKind::PermissionDenied => format!("{path} is for root"),
        _ => format!("{path}: {error}"),
    }
}

impl Session {
    fn fields(&self) -> [String; 5] {
        [
            self.name.to_string(),
            or_unknown(self.direction.as_ref()),
            or_unknown(self.state.as_ref()),
            or_unknown(self.count.as_ref()),
            match self.holders.as_slice() {
                [] => "-".to_owned(),
                holders => people(holders),
            },
        ]
    }
}

impl Shown for Sessions {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&["SESSION", "DIRECTION", "STATE", "FILES", "HELD BY"]);
        self.sessions
            .iter()
            .for_each(|session| table.row(session.fields()));
        table.write(out)
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Sessions, shown by their files.
#[derive(Serialize)]
#[serde(transparent)]
struct Files(Sessions);

impl Shown for Files {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&["SESSION", "DIRECTION", "TOKEN", "HANDLER", "STATE"]);
        for session in &self.0.sessions {
            let [name, direction, ..] = session.fields();
            match &session.files {
                Some(files) => {
                    for file in files {
                        let [token, handler, state] = file_fields(file);
                        table.row([name.clone(), direction.clone(), token, handler, state]);
                    }
                }
                None if session.count == Some(0) => {}
                None => table.row(
                    [name, direction]
                        .into_iter()
                        .chain([UNKNOWN; 3].map(str::to_owned)),
                ),
            }
        }
        table.write(out)
    }

    fn notes(&self) -> &[String] {
        self.0.notes()
    }
}

fn file_fields(file: &File) -> [String; 3] {
    [
        file.token.to_string(),
        file.handler.to_string(),
        format!("{}{}", file.state, errno(file.errno)),
    ]
}

/// Sessions, each by itself.
#[derive(Serialize)]
#[serde(transparent)]
struct Each(Sessions);

impl Shown for Each {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for session in &self.0.sessions {
            let [name, direction, state, count, holders] = session.fields();
            for (label, value) in [
                ("session", name),
                ("direction", direction),
                ("state", state),
                ("files", count),
                ("held by", holders),
            ] {
                line(out, label, &value)?;
            }
            let mut table = Table::new(&["TOKEN", "HANDLER", "STATE"]);
            for file in session.files.iter().flatten() {
                table.row(file_fields(file));
            }
            table.write(out)?;
        }
        Ok(())
    }

    fn notes(&self) -> &[String] {
        self.0.notes()
    }
}

impl List {
    pub fn run(self) -> Outcome {
        let mut sessions = Sessions::observe()?;
        if self.files {
            return self.format.show(&Files(sessions));
        }
        for session in &mut sessions.sessions {
            session.files = None;
        }
        self.format.show(&sessions)
    }
}

impl Show {
    pub fn run(self) -> Outcome {
        let mut sessions = Sessions::observe()?;
        sessions
            .sessions
            .retain(|session| session.name == self.name);
        if sessions.sessions.is_empty() {
            let doubt = if sessions.complete {
                ""
            } else {
                " that can be seen"
            };
            sessions.notes.iter().for_each(note);
            let message = format!("there is no session '{}'{doubt}", self.name);
            return Err(Failure::new(Exit::NoInput, message));
        }
        self.format.show(&Each(sessions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use liveupdate::observe::{FileState, Token};

    fn process(pid: u32) -> Process {
        let comm = "vmm".into();
        Process { pid, comm }
    }

    fn info(direction: Direction) -> Option<SessionInfo> {
        let state = match direction {
            Direction::Outgoing => SessionState::Created,
            Direction::Incoming => SessionState::Retrieved,
        };
        let files = vec![File {
            token: Token(1),
            handler: "memfd-v2".into(),
            state: FileState::Failed,
            errno: Some(16),
        }];
        Some(SessionInfo {
            name: "vm".into(),
            direction,
            state,
            count: 1,
            files,
        })
    }

    fn rows(sessions: &Sessions) -> Vec<String> {
        let rows = sessions
            .sessions
            .iter()
            .map(|session| session.fields().join(" "));
        rows.collect()
    }

    #[test]
    fn from_all_places() {
        let mut all = Gathered::default();
        for (name, direction, state) in [
            ("vm", Direction::Outgoing, SessionState::Created),
            ("old", Direction::Incoming, SessionState::Waiting),
            ("vm", Direction::Incoming, SessionState::Retrieved),
        ] {
            let name = name.into();
            all.add_line(
                SessionLine {
                    name,
                    state,
                    files: 1,
                },
                &direction,
            );
        }
        for (pid, direction) in [(3, Direction::Incoming), (1, Direction::Outgoing)] {
            // Two descriptors of one process.
            all.add_descriptor("vm".into(), process(pid), info(direction.clone()));
            all.add_descriptor("vm".into(), process(pid), info(direction));
        }
        all.add_descriptor("vm".into(), process(2), info(Direction::Outgoing));
        assert_eq!(
            rows(&all.sessions),
            [
                "vm outgoing created 1 vmm(1),vmm(2)",
                "old incoming waiting 1 -",
                "vm incoming retrieved 1 vmm(3)",
            ]
        );
        assert_eq!(all.sessions.count(&Direction::Incoming), Some(2));
        assert!(all.sessions.complete && all.sessions.notes.is_empty());
        let file = &all.sessions.sessions[0].files.as_ref().expect("files")[0];
        assert_eq!(
            file_fields(file)[2],
            "failed: Device or resource busy (os error 16)"
        );
    }

    #[test]
    fn from_a_kernel_that_shows_less() {
        let mut all = Gathered::default();
        all.miss("there is no debugfs", "some are missing");
        all.add_descriptor("vm".into(), process(1), None);
        all.add_descriptor("vm".into(), process(2), None);
        assert_eq!(
            rows(&all.sessions),
            ["vm unknown unknown unknown vmm(1),vmm(2)"]
        );
        assert_eq!(all.sessions.count(&Direction::Outgoing), None);
        assert_eq!(all.sessions.notes.len(), 2);

        let mut all = Gathered::default();
        let (name, state) = ("vm".into(), SessionState::Created);
        all.add_line(
            SessionLine {
                name,
                state,
                files: 2,
            },
            &Direction::Outgoing,
        );
        all.add_descriptor("vm".into(), process(1), None);
        assert_eq!(rows(&all.sessions), ["vm outgoing created 2 vmm(1)"]);
    }
}
