// SPDX-License-Identifier: GPL-2.0

//! Callbacks that take their time: who looks meanwhile sees what is at work and does not wait for
//! it, who waits can be killed, and the log names those that were slow.
//!
//! Only the Rust LUO shows anything.

use crate::{
    driver::{self, Object, A, B, C, FLBS},
    process::{eventually, Child, Log},
    shown::{self, lines, state, table, table_of_driver, wait_for},
    Group, World,
};
use anyhow::{bail, ensure, Context, Result};
use liveupdate::{
    observe::{Debugfs, Direction},
    Device, Session,
};
use nix::{
    errno::Errno::{EBUSY, EEXIST, ENODATA},
    sys::reboot::{reboot, RebootMode},
};
use std::{
    fs::File,
    io,
    os::fd::AsFd,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

pub const GROUP: Group = Group {
    name: "slow",
    stages: &[
        &[
            ("preserve", preserve),
            ("unpreserve", unpreserve),
            ("flb-preserve", flb_preserve),
            ("freeze", freeze),
            ("unfreeze", unfreeze),
            ("not-slow", not_slow),
            ("hand-over", hand_over),
        ],
        &[
            ("retrieve", retrieve),
            ("needed", needed),
            ("killed-while-waiting", killed_while_waiting),
            ("flb-retrieve", flb_retrieve),
            ("can-finish", can_finish),
            ("finish", finish),
            ("flb-finish", flb_finish),
        ],
    ],
};

/// How many milliseconds a slow callback takes: more than a second, and enough to look around.
const SLOW: u32 = 2000;
/// How many one takes that the log does not mention.
const NOT_SLOW: u32 = 500;

/// Runs something slow in a thread, and `body` beside it.
fn beside<T: Send>(
    slow: impl FnOnce() -> T + Send,
    body: impl FnOnce(&ScopedJoinHandle<'_, T>) -> Result<()>,
) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(slow);
        let seen = body(&thread);
        match thread.join() {
            Ok(value) => seen.map(|()| value),
            Err(_) => bail!("the thread panicked"),
        }
    })
}

/// Expects what one look takes not to depend on what is at work.
fn look<T>(thread: &ScopedJoinHandle<'_, T>, look: impl FnOnce() -> Result<()>) -> Result<()> {
    look()?;
    ensure!(!thread.is_finished(), "it took as long as what is at work");
    Ok(())
}

/// Expects these files of debugfs to have something in them.
fn expect_shown(files: &[&str]) -> Result<()> {
    for file in files {
        same!(table(file)?.is_empty(), false, file);
    }
    Ok(())
}

/// Expects the log to name exactly this one as slow: who, and what it did, at least so many
/// milliseconds long.
fn expect_notice(log: &mut Log, who: &str, what: &str) -> Result<()> {
    let lines = log.lines_with(" ms to ")?;
    same!(lines.len(), 1, lines.join("; "));
    let took = lines[0]
        .strip_prefix(&format!("luo: {who} took "))
        .and_then(|rest| rest.strip_suffix(&format!(" ms to {what}")));
    let took: u32 = took.with_context(|| lines[0].clone())?.parse()?;
    // With an allowance for a busy host.
    ensure!((SLOW..10 * SLOW).contains(&took), "{took} ms");
    Ok(())
}

fn file(session: &str, token: u32, handler: Object) -> String {
    format!("session '{session}', token {token:#x}: the 'luo-test-{handler}'")
}

fn flb(flb: Object) -> String {
    format!("FLB 'luo-test-{flb}'")
}

/// Others go on, in this session as well. Which handler it will be is not known before.
fn preserve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    done!(C.preserve(&session, 1)?);
    A.delay("preserve", SLOW)?;
    let mut log = Log::from_now()?;
    let preserved = beside(
        || A.preserve(&session, 2),
        |thread| {
            wait_for(&session, 2, "preserving")?;
            look(thread, || {
                done!(B.preserve(&session, 3)?);
                refused!(C.preserve_as(&session, 4, 2), EEXIST);
                let files = lines(&session)?.split_off(4);
                same!(
                    files,
                    [
                        "luo-file:\t0x1 luo-test-c preserved",
                        "luo-file:\t0x2 - preserving",
                        "luo-file:\t0x3 luo-test-b preserved"
                    ]
                );
                done!(device.create_session(b"another"));
                expect_shown(&["sessions/outgoing", "handlers"])
            })
        },
    )?;
    done!(preserved?);
    expect_notice(&mut log, &file("session", 2, A), "preserve")?;
    let states = [1, 2, 3].map(|token| state(&session, token));
    for state in states {
        same!(state?.as_deref(), Some("preserved"));
    }
    same!(table("sessions/outgoing")?, ["session\tcreated\t3"]);

    // What fails late is not there any more.
    drop(session);
    let session = device.create_session(b"session")?;
    A.fail("preserve", 0, 1, Some(ENODATA as i32))?;
    let refused = beside(
        || A.preserve(&session, 2),
        |_| wait_for(&session, 2, "preserving"),
    )?;
    refused!(refused?, ENODATA);
    same!(state(&session, 2)?, None);
    driver::reset()
}

/// A session that is being closed is still there.
fn unpreserve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    done!(A.preserve(&session, 1)?);
    A.delay("unpreserve", SLOW)?;
    let mut log = Log::from_now()?;
    beside(
        move || drop(session),
        |thread| {
            thread::sleep(Duration::from_millis(200));
            look(thread, || {
                refused!(device.create_session(b"session"), EEXIST);
                for file in ["number", "handover", "handlers", "sessions/incoming"] {
                    table(file)?;
                }
                Ok(())
            })?;
            // It may wait for the session.
            same!(shown::names(&Direction::Outgoing)?.len() <= 1, true);
            Ok(())
        },
    )?;
    expect_notice(&mut log, &file("session", 1, A), "unpreserve")?;
    same!(table("sessions/outgoing")?, [""; 0]);
    driver::reset()
}

fn flb_preserve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = Device::open()?.create_session(b"session")?;
    let mut log = Log::from_now()?;
    FLBS[1].delay("preserve", SLOW)?;
    let preserved = beside(
        || B.preserve(&session, 1),
        |thread| {
            wait_for(&session, 1, "preserving")?;
            look(thread, || expect_shown(&["sessions/outgoing", "handlers"]))?;
            // It may wait for the FLB.
            same!(table_of_driver("flbs")?.len(), FLBS.len());
            Ok(())
        },
    )?;
    done!(preserved?);
    expect_notice(&mut log, &flb(FLBS[1]), "preserve")?;
    FLBS[1].delay("unpreserve", SLOW)?;
    drop(session);
    expect_notice(&mut log, &flb(FLBS[1]), "unpreserve")?;
    driver::reset()
}

/// While a reboot freezes, what is frozen says so, and the list of sessions is not to be had.
fn freeze(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let one = device.create_session(b"one")?;
    let two = device.create_session(b"two")?;
    done!(C.preserve(&one, 1)?);
    done!(B.preserve(&one, 2)?);
    done!(A.preserve(&two, 3)?);
    let listed = table("sessions/outgoing")?;
    A.delay("freeze", SLOW)?;
    A.fail("freeze", 0, 1, Some(ENODATA as i32))?;
    let mut log = Log::from_now()?;
    let kexec = beside(
        || reboot(RebootMode::RB_KEXEC).map_err(io::Error::from),
        |thread| {
            wait_for(&one, 2, "frozen")?;
            look(thread, || {
                same!(state(&one, 1)?.as_deref(), Some("frozen"));
                let outgoing = Debugfs::default().sessions(&Direction::Outgoing);
                refused!(outgoing, EBUSY);
                same!(table("sessions/incoming")?, [""; 0]);
                same!(table("image")?, ["busy"]);
                Ok(())
            })?;
            // Whatever it is that this waits for, it has an end.
            same!(shown::of(&two)?.files.len(), 1);
            Ok(())
        },
    )?;
    refused!(kexec, ENODATA);
    expect_notice(&mut log, &file("two", 3, A), "freeze")?;
    same!(table("sessions/outgoing")?, listed);
    for token in [1, 2] {
        same!(state(&one, token)?.as_deref(), Some("preserved"), token);
    }
    same!(state(&two, 3)?.as_deref(), Some("failed"));
    driver::reset()
}

fn unfreeze(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    done!(A.preserve(&session, 1)?);
    done!(B.preserve(&session, 2)?);
    A.delay("unfreeze", SLOW)?;
    B.fail("freeze", 0, 1, Some(ENODATA as i32))?;
    let mut log = Log::from_now()?;
    let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
    refused!(kexec, ENODATA);
    expect_notice(&mut log, &file("session", 1, A), "unfreeze")?;
    driver::reset()
}

/// The log is for what nobody would expect.
fn not_slow(_: &mut World) -> Result<()> {
    driver::reset()?;
    let mut log = Log::from_now()?;
    for (object, callbacks) in [
        (A, &["preserve", "freeze", "unfreeze", "unpreserve"][..]),
        (FLBS[0], &["preserve", "unpreserve"]),
    ] {
        for callback in callbacks {
            object.delay(callback, NOT_SLOW)?;
        }
    }
    let session = Device::open()?.create_session(b"session")?;
    done!(A.preserve(&session, 1)?);
    done!(B.preserve(&session, 2)?);
    B.fail("freeze", 0, 1, Some(ENODATA as i32))?;
    let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
    refused!(kexec, ENODATA);
    drop(session);
    same!(log.lines_with(" ms to ")?, [""; 0]);
    driver::reset()
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for (name, files) in [
        ("retrieve", &[(A, 1), (C, 2)][..]),
        ("wait", &[(C, 3), (C, 4)]),
        ("flb", &[(B, 5)]),
        ("can finish", &[(C, 6), (B, 7)]),
        ("finish", &[(C, 8), (C, 9), (C, 10)]),
        ("last", &[(A, 11)]),
    ] {
        let session = device.create_session(name.as_bytes())?;
        for &(handler, number) in files {
            done!(handler.preserve(&session, number)?);
        }
        world.keep(session);
    }
    let session = device.create_session(b"needed")?;
    done!(A.preserve(&session, 12)?);
    for (number, needed) in [(13, 12), (14, 13), (15, 12)] {
        let file = C.needing(number, &format!("token {needed}"))?;
        done!(session.preserve_fd(file.as_fd(), u64::from(number)));
    }
    world.keep(session);
    Ok(())
}

/// Expects a file to be the one of this number.
fn expect_number(file: liveupdate::Result<std::os::fd::OwnedFd>, due: u32) -> Result<()> {
    same!(driver::number(&File::from(done!(file, due)))?, due);
    Ok(())
}

/// Another file of the session can be had meanwhile.
fn retrieve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let session = done!(device.retrieve_session(b"retrieve"));
    A.delay("retrieve", SLOW)?;
    let mut log = Log::from_now()?;
    let slow = beside(
        || session.retrieve_fd(1),
        |thread| {
            wait_for(&session, 1, "retrieving")?;
            look(thread, || {
                expect_number(session.retrieve_fd(2), 2)?;
                same!(
                    lines(&session)?.split_off(4),
                    [
                        "luo-file:\t0x1 luo-test-a retrieving",
                        "luo-file:\t0x2 luo-test-c retrieved"
                    ]
                );
                same!(table("sessions/incoming")?[0], "retrieve\tretrieved\t2");
                same!(table_of_driver("handlers")?.len(), 3);
                Ok(())
            })
        },
    )?;
    expect_number(slow, 1)?;
    expect_notice(&mut log, &file("retrieve", 1, A), "retrieve")?;
    same!(state(&session, 1)?.as_deref(), Some("retrieved"));
    done!(session.finish());
    driver::reset()
}

/// Files that need a slow one are not named for it: neither who has it retrieved, for itself or for
/// another one, nor who waits for that.
fn needed(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = done!(Device::open()?.retrieve_session(b"needed"));
    A.delay("retrieve", SLOW)?;
    let mut log = Log::from_now()?;
    let slow = beside(
        || session.retrieve_fd(14),
        |_| {
            wait_for(&session, 12, "retrieving")?;
            expect_number(session.retrieve_fd(15), 15)
        },
    )?;
    expect_number(slow, 14)?;
    expect_notice(&mut log, &file("needed", 12, A), "retrieve")?;
    done!(session.finish());
    driver::reset()
}

/// Who waits for what another one retrieves can be killed at once, and nobody misses it.
fn killed_while_waiting(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = done!(Device::open()?.retrieve_session(b"wait"));
    C.delay("retrieve", 2 * SLOW)?;
    let slow = Child::new(|| expect_number(session.retrieve_fd(3), 3))?;
    wait_for(&session, 3, "retrieving")?;
    let waiting = Child::new(|| expect_number(session.retrieve_fd(3), 3))?;
    let finishing = Child::new(|| Ok(session.finish()?))?;
    for child in [waiting, finishing] {
        child.wait_until_stuck()?;
        child.kill()?;
    }
    // Neither of them had to wait for that.
    same!(state(&session, 3)?.as_deref(), Some("retrieving"));
    slow.wait()?;
    driver::reset()?;
    expect_number(session.retrieve_fd(3), 3)?;
    expect_number(session.retrieve_fd(4), 4)?;
    same!(C.calls("retrieve")?, 1);
    for token in [3, 4] {
        same!(state(&session, token)?.as_deref(), Some("retrieved"));
    }
    done!(session.finish());
    same!(C.calls("finish")?, 2);
    driver::reset()
}

fn flb_retrieve(_: &mut World) -> Result<()> {
    driver::reset()?;
    FLBS[2].delay("retrieve", SLOW)?;
    let mut log = Log::from_now()?;
    let reference = beside(
        || FLBS[2].incoming(),
        |thread| {
            thread::sleep(Duration::from_millis(200));
            look(thread, || expect_shown(&["sessions/incoming", "handlers"]))?;
            same!(table_of_driver("flbs")?.len(), FLBS.len());
            Ok(())
        },
    )?;
    same!(driver::number(&done!(reference))?, 1);
    expect_notice(&mut log, &flb(FLBS[2]), "retrieve")?;
    driver::reset()
}

/// Expects a slow finish of a session to show on the file of `token`, and gives what came of it.
fn slow_finish(session: &Session, token: u64) -> Result<liveupdate::Result<()>> {
    beside(
        || session.finish(),
        |thread| {
            wait_for(session, token, "finishing")?;
            look(thread, || {
                same!(shown::of(session)?.state.to_string(), "retrieved");
                table("sessions/incoming")?;
                table("handlers")?;
                Ok(())
            })
        },
    )
}

/// A handler that takes its time to say no.
fn can_finish(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = done!(Device::open()?.retrieve_session(b"can finish"));
    for number in [6, 7] {
        expect_number(session.retrieve_fd(u64::from(number)), number)?;
    }
    B.delay("can_finish", SLOW)?;
    B.fail("can_finish", 0, 1, None)?;
    let mut log = Log::from_now()?;
    refused!(slow_finish(&session, 7)?, EBUSY);
    expect_notice(&mut log, &file("can finish", 7, B), "can_finish")?;
    for token in [6, 7] {
        same!(state(&session, token)?.as_deref(), Some("retrieved"));
    }
    driver::reset()?;
    done!(session.finish());
    same!(shown::of(&session)?.files.len(), 0);
    Ok(())
}

/// What is finished before goes before.
fn finish(_: &mut World) -> Result<()> {
    driver::reset()?;
    let session = done!(Device::open()?.retrieve_session(b"finish"));
    expect_number(session.retrieve_fd(9), 9)?;
    C.delay("finish", SLOW)?;
    let mut log = Log::from_now()?;
    let finished = beside(
        || session.finish(),
        |_| {
            for token in [10, 9, 8] {
                wait_for(&session, token, "finishing")?;
                let files = shown::of(&session)?.files;
                same!(files.last().map(|file| file.token.0), Some(token));
                eventually("it is finished", || Ok(state(&session, token)?.is_none()))?;
            }
            Ok(())
        },
    )?;
    done!(finished);
    let notices = log.lines_with(" ms to finish")?;
    same!(notices.len(), 3);
    for (notice, token) in notices.iter().zip([10, 9, 8]) {
        let due = format!("luo: {} took ", file("finish", token, C));
        same!(notice.starts_with(&due), true, notice);
    }
    same!(
        lines(&session)?,
        shown::due("finish", "incoming", "finished", &[])
    );
    driver::reset()
}

fn flb_finish(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    drop(done!(device.retrieve_session(b"flb")));
    FLBS[0].delay("finish", SLOW)?;
    let mut log = Log::from_now()?;
    drop(done!(device.retrieve_session(b"last")));
    expect_notice(&mut log, &flb(FLBS[0]), "finish")?;
    same!(table("sessions/incoming")?, [""; 0]);
    driver::reset()
}
