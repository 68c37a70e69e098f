// SPDX-License-Identifier: GPL-2.0

//! What the kernel shows of live update, in fdinfo and in debugfs: every line and every state, to
//! whom, and whole, however it is read.
//!
//! Only the Rust LUO shows anything.

use crate::{
    driver::{self, A, B, C, FLBS},
    file::memfd,
    groups::names,
    process::{kill_holder, live_update_number, room_for_descriptors, Child, Log},
    shown::{self, due, escaped, lines, lines_of, table, table_of_driver, DEBUGFS},
    Group, World,
};
use anyhow::{ensure, Context, Result};
use liveupdate::{
    observe::{self, Debugfs, Direction, Handover, Name, SessionInfo},
    Device, Session,
};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{EACCES, EBUSY, EEXIST, ENODATA},
    sys::reboot::{reboot, RebootMode},
    unistd::{setuid, Uid},
};
use std::{
    env,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    process, thread,
    time::Duration,
};

pub const GROUP: Group = Group {
    name: "inside",
    stages: &[
        &[
            ("nothing-yet", nothing_yet),
            ("only-root", only_root),
            ("fdinfo", fdinfo),
            ("sessions-in-order", sessions_in_order),
            ("counts", counts),
            ("odd-names", odd_names),
            ("another-process", another_process),
            ("many-files", many_files),
            ("many-sessions", listed_sessions),
            ("half-read", half_read),
            ("killed-readers", killed_readers),
            ("refused-reboot", refused_reboot),
            ("hand-over", hand_over),
        ],
        &[
            ("before-the-first-open", before_the_first_open),
            ("waiting", waiting),
            ("retrieved", retrieved),
            ("unfinished", unfinished),
            ("finished", finished),
        ],
    ],
};

const NOBODY: u32 = 65534;

/// The files in debugfs.
const FILES: [&str; 10] = [
    "enabled",
    "flbs",
    "format_incoming",
    "format_outgoing",
    "handlers",
    "handover",
    "image",
    "number",
    "sessions/incoming",
    "sessions/outgoing",
];

/// The lines of the driver's handlers, with so many files each.
fn handlers(files: [u32; 3]) -> Vec<String> {
    ["a", "b", "c"]
        .iter()
        .zip(files)
        .map(|(handler, files)| format!("luo-test-{handler}\t{files}\t-"))
        .collect()
}

/// The lines of the driver's FLBs, which so many files of this and of the previous kernel need.
fn flbs(files: [(u32, u32); 3]) -> Vec<String> {
    FLBS.iter()
        .zip(files)
        .map(|(flb, (outgoing, incoming))| format!("luo-test-{flb}\t{outgoing}\t{incoming}\t-"))
        .collect()
}

/// A kernel without sessions.
fn nothing_yet(_: &mut World) -> Result<()> {
    let mut found = vec![];
    for directory in ["", "sessions/"] {
        for entry in fs::read_dir(Path::new(DEBUGFS).join(directory))? {
            let entry = entry?;
            let name = format!("{directory}{}", entry.file_name().display());
            if entry.file_type()?.is_file() {
                found.push(name);
            } else {
                same!(name, "sessions");
            }
        }
    }
    found.sort();
    same!(found, FILES);

    for (file, due) in [
        ("enabled", "Y\n"),
        ("number", "0\n"),
        ("format_incoming", "-\n"),
        ("format_outgoing", "luo-v5\n"),
        ("handover", "none\n"),
        // The next kernel is loaded already.
        ("image", "carries\n"),
        ("sessions/outgoing", ""),
        ("sessions/incoming", ""),
    ] {
        same!(
            fs::read_to_string(Path::new(DEBUGFS).join(file))?,
            due,
            file
        );
    }
    same!(table_of_driver("handlers")?, handlers([0; 3]));
    same!(table_of_driver("flbs")?, flbs([(0, 0); 3]));

    // The others are those that the kernel tree has.
    let debugfs = Debugfs::default();
    let memfd = debugfs.handlers()?.into_iter();
    let memfd: Vec<_> = memfd
        .filter(|it| it.compatible == "memfd-v2".into())
        .collect();
    same!(memfd.len(), 1);
    same!((memfd[0].files, memfd[0].module.clone()), (0, None));
    same!(debugfs.flbs()?.len() >= FLBS.len(), true);
    Ok(())
}

fn only_root(_: &mut World) -> Result<()> {
    for file in FILES {
        let metadata = fs::metadata(Path::new(DEBUGFS).join(file))?;
        same!(metadata.mode() & 0o7777, 0o400, file);
        same!((metadata.uid(), metadata.gid()), (0, 0), file);
    }
    Child::new(|| {
        // Not kept away by a directory above.
        env::set_current_dir(DEBUGFS)?;
        setuid(Uid::from_raw(NOBODY))?;
        for file in FILES {
            refused!(File::open(file), EACCES, file);
        }
        Ok(())
    })?
    .wait()
}

/// Word for word, and step by step.
fn fdinfo(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = Device::open()?.create_session(b"one")?;
    let outgoing = |files: &[&str]| due("one", "outgoing", "created", files);
    same!(lines(&session)?, outgoing(&[]));

    let file = memfd(b"file")?;
    done!(session.preserve_fd(file.as_fd(), u64::MAX));
    done!(A.preserve_as(&session, 1, 0));
    same!(
        lines(&session)?,
        outgoing(&[
            "0xffffffffffffffff memfd-v2 preserved",
            "0x0 luo-test-a preserved"
        ])
    );

    // What fails leaves no line.
    B.fail("preserve", 0, 1, Some(ENODATA as i32))?;
    refused!(B.preserve(&session, 2)?, ENODATA);
    refused!(session.preserve_fd(file.as_fd(), 3), EBUSY);
    refused!(C.preserve_as(&session, 4, 0), EEXIST);
    done!(C.preserve_as(&session, 5, 0x1234_5678_9abc));
    same!(
        lines(&session)?,
        outgoing(&[
            "0xffffffffffffffff memfd-v2 preserved",
            "0x0 luo-test-a preserved",
            "0x123456789abc luo-test-c preserved"
        ])
    );

    // What a file of any kind has is still there.
    let text = fs::read_to_string(shown::fdinfo(&session))?;
    for line in ["pos:\t0", "flags:\t02000002"] {
        same!(text.lines().any(|it| it == line), true, line);
    }
    Ok(())
}

/// A session that is closed goes, and comes back at the end.
fn sessions_in_order(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut sessions = vec![];
    let mut due = vec![];
    for name in ["c", "a", "b"] {
        sessions.push(done!(device.create_session(name.as_bytes())));
        due.push(format!("{name}\tcreated\t0"));
        same!(table("sessions/outgoing")?, due);
    }
    done!(C.preserve(&sessions[1], 1)?);
    due[1] = "a\tcreated\t1".to_owned();
    same!(table("sessions/outgoing")?, due);
    drop(sessions.remove(0));
    due.remove(0);
    same!(table("sessions/outgoing")?, due);
    refused!(device.create_session(b"a"), EEXIST);
    sessions.push(done!(device.create_session(b"c")));
    due.push("c\tcreated\t0".to_owned());
    same!(table("sessions/outgoing")?, due);
    same!(table("sessions/incoming")?, [""; 0]);

    // A descriptor more is no session more.
    let same = sessions[0].as_fd().try_clone_to_owned()?;
    drop(sessions.remove(0));
    same!(table("sessions/outgoing")?, due);
    drop(same);
    due.remove(0);
    same!(table("sessions/outgoing")?, due);
    sessions.clear();
    same!(table("sessions/outgoing")?, [""; 0]);
    Ok(())
}

/// How many files need what.
fn counts(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let (one, two) = (
        device.create_session(b"one")?,
        device.create_session(b"two")?,
    );
    for (session, handler, number, of_handlers, of_flbs) in [
        (&one, C, 1, [0, 0, 1], [0, 0, 0]),
        (&one, B, 2, [0, 1, 1], [0, 1, 0]),
        (&two, B, 3, [0, 2, 1], [0, 2, 0]),
        (&one, A, 4, [1, 2, 1], [1, 3, 1]),
    ] {
        done!(handler.preserve(session, number)?);
        same!(table_of_driver("handlers")?, handlers(of_handlers), number);
        same!(
            table_of_driver("flbs")?,
            flbs(of_flbs.map(|files| (files, 0))),
            number
        );
    }

    // A reference is no file.
    let reference = done!(FLBS[1].outgoing());
    same!(table_of_driver("flbs")?, flbs([(1, 0), (3, 0), (1, 0)]));
    B.fail("preserve", 0, 1, Some(ENODATA as i32))?;
    refused!(B.preserve(&two, 5)?, ENODATA);
    same!(table_of_driver("handlers")?, handlers([1, 2, 1]));
    drop(one);
    same!(table_of_driver("handlers")?, handlers([0, 1, 0]));
    same!(table_of_driver("flbs")?, flbs([(0, 0), (1, 0), (0, 0)]));
    drop(two);
    same!(table_of_driver("handlers")?, handlers([0; 3]));
    same!(table_of_driver("flbs")?, flbs([(0, 0); 3]));
    drop(reference);
    same!(table_of_driver("flbs")?, flbs([(0, 0); 3]));
    driver::reset()
}

/// Names of all bytes are text, each of them a word of one line.
fn odd_names(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut sessions = vec![];
    let mut listed = vec![];
    for name in names::names() {
        let session = done!(device.create_session(&name), name.escape_ascii());
        same!(
            lines(&session)?,
            due(&escaped(&name), "outgoing", "created", &[])
        );
        same!(shown::of(&session)?.name, Name::from(&name[..]));
        listed.push(format!("{}\tcreated\t0", escaped(&name)));
        sessions.push(session);
    }
    same!(table("sessions/outgoing")?, listed);
    same!(shown::names(&Direction::Outgoing)?, names::names());
    Ok(())
}

/// Whoever may look into a process sees what that has.
fn another_process(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"one")?;
    done!(C.preserve(&session, 1)?);
    let (pid, fd) = (process::id(), session.as_fd().as_raw_fd());
    let (text, info) = (lines(&session)?, shown::of(&session)?);
    let seen = || -> Result<()> {
        let path = format!("/proc/{pid}/fdinfo/{fd}");
        same!(lines_of(&fs::read_to_string(path)?), text);
        same!(observe::session_of(pid, fd)?, Some(info.clone()));
        Ok(())
    };
    Child::new(|| {
        // Not by way of the descriptor that it has of its own.
        nix::unistd::close(fd)?;
        seen()
    })?
    .wait()?;
    seen()
}

/// All of a file, so many bytes at a time.
fn in_steps(path: &Path, step: usize) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![];
    let mut buffer = vec![0; step];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(text),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Expects a file to say the same however it is read, and gives that.
fn whole(path: &Path) -> Result<Vec<u8>> {
    let text = fs::read(path)?;
    let length = text.len();
    for step in [1, 7, 100, *PAGE, 2 * length] {
        same!(in_steps(path, step)? == text, true, path.display(), step);
    }
    let mut file = File::open(path)?;
    let (half, third) = (length / 2, length / 3);
    for offset in [half, 1, length - 1, 0, third, length, *PAGE - 1, *PAGE + 1] {
        let offset = offset.min(length);
        file.seek(SeekFrom::Start(offset.try_into()?))?;
        let mut rest = vec![];
        file.read_to_end(&mut rest)?;
        same!(rest == text[offset..], true, path.display(), offset);

        let mut some = [0; 64];
        let read = file.read_at(&mut some, offset.try_into()?)?;
        same!(read > 0, offset < length, path.display(), offset);
        same!(
            text[offset..].starts_with(&some[..read]),
            true,
            path.display(),
            offset
        );
    }
    Ok(text)
}

/// More than fits into the memory that a first read has ready.
const MANY: u32 = 3000;

fn session_of_many(device: &Device) -> Result<Session> {
    let session = device.create_session(b"many")?;
    for number in 1..=MANY {
        done!(C.preserve(&session, number)?, number);
    }
    Ok(session)
}

fn many_files(_: &mut World) -> Result<()> {
    let session = session_of_many(&Device::open()?)?;
    let text = whole(&shown::fdinfo(&session))?;
    let files: Vec<_> = (1..=MANY)
        .map(|number| format!("{number:#x} luo-test-c preserved"))
        .collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    same!(
        lines_of(std::str::from_utf8(&text)?) == due("many", "outgoing", "created", &files),
        true
    );
    let info = SessionInfo::parse(&text)?.context("no session")?;
    same!((info.count, info.files.len()), (MANY.into(), MANY as usize));
    same!(
        table("sessions/outgoing")?,
        [format!("many\tcreated\t{MANY}")]
    );
    same!(table_of_driver("handlers")?, handlers([0, 0, MANY]));
    Ok(())
}

/// So many sessions that their list is longer than a page.
fn sessions() -> usize {
    *PAGE / 10
}

fn many_sessions(device: &Device) -> Result<Vec<Session>> {
    room_for_descriptors(2 * sessions())?;
    (0..sessions())
        .map(|number| {
            let name = format!("session {number:04}");
            Ok(done!(device.create_session(name.as_bytes()), number))
        })
        .collect()
}

fn listed_sessions(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let sessions = many_sessions(&device)?;
    let text = whole(&Path::new(DEBUGFS).join("sessions/outgoing"))?;
    same!(text.len() > *PAGE, true);
    let listed: Vec<_> = (0..sessions.len())
        .map(|number| format!("session\\040{number:04}\tcreated\t0\n"))
        .collect();
    same!(String::from_utf8(text)? == listed.concat(), true);
    // The room for them stays, as nothing else of them does.
    world.keep(File::open("/dev/null")?);
    Ok(())
}

/// Who has begun to read and does not go on holds up nobody.
fn half_read(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = session_of_many(&device)?;
    let mut sessions = many_sessions(&device)?;
    let listed = Path::new(DEBUGFS).join("sessions/outgoing");

    let paths = [shown::fdinfo(&session), listed];
    let own = format!("/proc/{}", process::id());
    let holdings = || -> Result<Vec<File>> {
        let mut files = vec![];
        for path in &paths {
            let path = path.to_string_lossy().replace("/proc/self", &own);
            let mut file = File::open(path)?;
            file.read_exact(&mut vec![0; *PAGE + 904])?;
            files.push(file);
        }
        Ok(files)
    };
    kill_holder(holdings, || {
        done!(C.preserve(&session, MANY + 1)?);
        done!(device.create_session(b"new"));
        drop(sessions.split_off(10));
        Ok(())
    })?;
    same!(shown::of(&session)?.count, u64::from(MANY) + 1);
    same!(table("sessions/outgoing")?.len(), 11);
    Ok(())
}

/// Whenever a reader is killed, nothing is left of it.
fn killed_readers(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = session_of_many(&device)?;
    let _sessions = many_sessions(&device)?;
    let path = format!(
        "/proc/{}/fdinfo/{}",
        process::id(),
        session.as_fd().as_raw_fd()
    );
    let (info, listed) = (lines(&session)?, table("sessions/outgoing")?);
    for time in 1..=20 {
        for path in [&path, &format!("{DEBUGFS}/sessions/outgoing")] {
            let reader = Child::new(|| loop {
                in_steps(Path::new(path), 300)?;
            })?;
            thread::sleep(Duration::from_millis(time));
            reader.kill()?;
        }
    }
    same!(lines(&session)? == info, true);
    same!(table("sessions/outgoing")?, listed);
    done!(C.preserve(&session, MANY + 1)?);
    done!(device.create_session(b"new"));
    Ok(())
}

/// Expects the next kexec to be refused by the file that is frozen after `skip` others, and gives
/// what the log says of it.
fn refuse(skip: i64) -> Result<Vec<String>> {
    let mut log = Log::from_now()?;
    B.fail("freeze", skip, 1, Some(ENODATA as i32))?;
    let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
    refused!(kexec, ENODATA, skip);
    log.lines_with("refused to freeze")
}

/// Which file it was can be seen until a later reboot freezes it, or comes to its session at least.
fn refused_reboot(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let one = device.create_session(b"one")?;
    let two = device.create_session(b"two\nlines")?;
    for (session, numbers) in [(&one, 1..=3), (&two, 4..=5)] {
        for number in numbers {
            done!(B.preserve(session, number)?, number);
        }
    }
    let preserved = |numbers: &[u32]| -> Vec<_> {
        let line = |number| format!("{number:#x} luo-test-b preserved");
        numbers.iter().map(line).collect()
    };
    let expect = |failed: &[usize]| -> Result<()> {
        let mut files = preserved(&[1, 2, 3, 4, 5]);
        for &failed in failed {
            files[failed] = files[failed].replace("preserved", "failed 61");
        }
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        let created = |name, files: &[&str]| due(name, "outgoing", "created", files);
        same!(lines(&one)?, created("one", &files[..3]));
        same!(lines(&two)?, created(r"two\012lines", &files[3..]));
        same!(
            table("sessions/outgoing")?,
            ["one\tcreated\t3", "two\\012lines\tcreated\t2"]
        );
        same!(table_of_driver("handlers")?, handlers([0, 5, 0]));
        same!(Debugfs::default().handover()?, Handover::None);
        Ok(())
    };
    expect(&[])?;
    for (skip, session, failed) in [
        (1, "one", &[1][..]),
        (3, r"two\nlines", &[3]),
        // The second session is not come to.
        (0, "one", &[0, 3]),
        (4, r"two\nlines", &[4]),
    ] {
        let token = skip + 1;
        same!(
            refuse(skip)?,
            [format!(
                "luo: session '{session}', token {token:#x}: the 'luo-test-b' refused to freeze: \
                 ENODATA"
            )]
        );
        expect(failed)?;
    }
    let failed = shown::of(&two)?.files[1].clone();
    same!(failed.errno, Some(ENODATA as i32));
    driver::reset()
}

/// What the next kernel is to list: names, and handlers and numbers of files.
const HANDED_OVER: [(&str, &[(char, u32)]); 5] = [
    ("idle", &[('c', 7)]),
    ("files", &[('a', 1), ('b', 2), ('b', 3), ('c', 4)]),
    ("odd \\\n", &[]),
    ("stays", &[('b', 6)]),
    ("refused", &[('b', 8), ('b', 9)]),
];

fn hand_over(world: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    for (name, files) in HANDED_OVER {
        let session = device.create_session(name.as_bytes())?;
        for &(handler, number) in files {
            let handler = match handler {
                'a' => A,
                'b' => B,
                _ => C,
            };
            done!(handler.preserve(&session, number)?);
        }
        world.keep(session);
    }
    same!(table_of_driver("handlers")?, handlers([1, 5, 2]));
    // The kexec that is carried out is not the first that was tried.
    same!(refuse(4)?.len(), 1);
    driver::reset()
}

fn before_the_first_open(_: &mut World) -> Result<()> {
    let debugfs = Debugfs::default();
    same!(debugfs.enabled()?, true);
    same!(Some(debugfs.number()?), live_update_number()?);
    same!(debugfs.number()?, 1);
    same!(debugfs.handover()?, Handover::Pending);
    same!(table("image")?, ["none"]);
    same!(
        debugfs.format(&Direction::Incoming)?,
        Some(Name::from("luo-v5"))
    );
    same!(
        debugfs.format(&Direction::Outgoing)?,
        Some(Name::from("luo-v5"))
    );
    same!(table("sessions/incoming")?, [""; 0]);
    same!(table("sessions/outgoing")?, [""; 0]);
    Ok(())
}

/// The lines of the sessions of the previous kernel, with these states.
fn incoming(states: [&str; 5]) -> Vec<String> {
    HANDED_OVER
        .iter()
        .zip(states)
        .filter(|(_, state)| !state.is_empty())
        .map(|((name, files), state)| {
            let files = if state == "finished" { 0 } else { files.len() };
            format!("{}\t{state}\t{files}", escaped(name.as_bytes()))
        })
        .collect()
}

/// Sessions that nobody has a descriptor of are seen all the same.
fn waiting(_: &mut World) -> Result<()> {
    done!(Device::open());
    same!(Debugfs::default().handover()?, Handover::Restored);
    same!(table("sessions/incoming")?, incoming(["waiting"; 5]));
    same!(table("sessions/outgoing")?, [""; 0]);
    same!(table_of_driver("handlers")?, handlers([1, 5, 2]));
    same!(table_of_driver("flbs")?, flbs([(0, 1), (0, 6), (0, 1)]));

    // One of the same name in the other direction is another one.
    let session = done!(done!(Device::open()).create_session(b"files"));
    same!(lines(&session)?, due("files", "outgoing", "created", &[]));
    same!(table("sessions/outgoing")?, ["files\tcreated\t0"]);
    same!(table("sessions/incoming")?, incoming(["waiting"; 5]));
    Ok(())
}

/// Each file of a session, from nobody having asked for it to its end.
fn retrieved(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"files"));
    let mut states = ["waiting", "retrieved", "waiting", "waiting", "waiting"];
    same!(table("sessions/incoming")?, incoming(states));
    let expect = |of_files: [&str; 4]| -> Result<()> {
        let tokens = [(1, 'a'), (2, 'b'), (3, 'b'), (4, 'c')].into_iter();
        let files: Vec<_> = tokens
            .zip(of_files)
            .map(|((token, handler), state)| format!("{token:#x} luo-test-{handler} {state}"))
            .collect();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        same!(
            lines(&session)?,
            due("files", "incoming", "retrieved", &files)
        );
        same!(table_of_driver("handlers")?, handlers([1, 5, 2]));
        same!(table_of_driver("flbs")?, flbs([(0, 1), (0, 6), (0, 1)]));
        Ok(())
    };
    expect(["waiting"; 4])?;
    let last = done!(session.retrieve_fd(4));
    expect(["waiting", "waiting", "waiting", "retrieved"])?;
    B.fail("retrieve", 0, 1, Some(ENODATA as i32))?;
    refused!(session.retrieve_fd(2), ENODATA);
    expect(["waiting", "failed 61", "waiting", "retrieved"])?;
    drop(last);
    done!(session.retrieve_fd(3));
    refused!(session.retrieve_fd(2), ENODATA);
    expect(["waiting", "failed 61", "retrieved", "retrieved"])?;

    done!(session.finish());
    same!(lines(&session)?, due("files", "incoming", "finished", &[]));
    states[1] = "finished";
    same!(table("sessions/incoming")?, incoming(states));
    same!(table_of_driver("handlers")?, handlers([0, 3, 1]));
    same!(table_of_driver("flbs")?, flbs([(0, 0), (0, 3), (0, 0)]));
    done!(session.finish());
    same!(lines(&session)?, due("files", "incoming", "finished", &[]));
    drop(session);
    states[1] = "";
    same!(table("sessions/incoming")?, incoming(states));
    Ok(())
}

/// A session that was closed and cannot finish waits for somebody else.
fn unfinished(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"stays"));
    done!(session.retrieve_fd(6));
    B.fail("can_finish", 0, 2, None)?;
    refused!(session.finish(), EBUSY);
    let due = due(
        "stays",
        "incoming",
        "retrieved",
        &["0x6 luo-test-b retrieved"],
    );
    same!(lines(&session)?, due);
    drop(session);
    same!(
        table("sessions/incoming")?,
        incoming(["waiting", "", "waiting", "waiting", "waiting"])
    );
    let session = done!(device.retrieve_session(b"stays"));
    same!(lines(&session)?, due);
    same!(
        table("sessions/incoming")?,
        incoming(["waiting", "", "waiting", "retrieved", "waiting"])
    );
    drop(session);
    same!(
        table("sessions/incoming")?,
        incoming(["waiting", "", "waiting", "", "waiting"])
    );
    driver::reset()
}

/// The last session of the previous kernel takes what was known of it along.
fn finished(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let odd = done!(device.retrieve_session(b"odd \\\n"));
    same!(
        lines(&odd)?,
        due(r"odd\040\134\012", "incoming", "retrieved", &[])
    );
    done!(odd.finish());
    same!(
        lines(&odd)?,
        due(r"odd\040\134\012", "incoming", "finished", &[])
    );
    drop(odd);
    let refused = done!(device.retrieve_session(b"refused"));
    let files = ["0x8 luo-test-b waiting", "0x9 luo-test-b waiting"];
    same!(
        lines(&refused)?,
        due("refused", "incoming", "retrieved", &files)
    );
    drop(refused);
    same!(table_of_driver("handlers")?, handlers([0, 0, 1]));
    done!(device.retrieve_session(b"idle"));
    same!(table("sessions/incoming")?, [""; 0]);
    same!(table_of_driver("handlers")?, handlers([0; 3]));
    same!(table_of_driver("flbs")?, flbs([(0, 0); 3]));
    let debugfs = Debugfs::default();
    same!(debugfs.handover()?, Handover::Restored);
    same!(debugfs.number()?, 1);
    ensure!(debugfs.format(&Direction::Incoming)?.is_some());
    Ok(())
}
