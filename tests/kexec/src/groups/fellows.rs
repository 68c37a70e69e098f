// SPDX-License-Identifier: GPL-2.0

//! Files that need other files of their session: a handler asks for the token under which one is
//! preserved, and in the next kernel for the file of a token, before anybody else has.

use crate::{
    differences::LOOK_UPS,
    driver::{self, Object, A, B, C, FLBS},
    process::Log,
    Group, World,
};
use anyhow::{Context, Result};
use liveupdate::{Device, Session};
use nix::errno::Errno::{EBUSY, ELOOP, ENODATA, ENOENT};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    thread,
};

pub const GROUP: Group = Group {
    name: "fellows",
    stages: &[
        &[
            ("not-preserved", not_preserved),
            ("in-another-session", in_another_session),
            ("undone-in-reverse", undone_in_reverse),
            ("hand-over", hand_over),
        ],
        &[
            ("chain-of-1", chain::<1>),
            ("chain-of-2", chain::<2>),
            ("chain-of-64", chain::<64>),
            ("chain-of-1000", chain::<1000>),
            ("asked-from-all-ends", asked_from_all_ends),
            ("circle", circle),
            ("itself", itself),
            ("missing", missing),
            ("failing", failing),
            ("finished-unasked", finished_unasked),
        ],
    ],
};

/// What a C LUO makes of such a file.
pub const OTHER: Group = Group {
    name: "look-ups",
    stages: &[&[("needs-another", needs_another)]],
};

/// Whether a file can need another one at all.
fn needs_another(world: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let needed = C.file(1)?;
    done!(session.preserve_fd(needed.as_fd(), 1));
    let file = C.needing(2, &fd(&needed))?;
    LOOK_UPS.apart(|| {
        let outcome = crate::check::outcome(&session.preserve_fd(file.as_fd(), 2));
        same!(outcome, *LOOK_UPS.on(world.luo));
        drop(session);
        Ok(())
    })
}

/// What to tell a file that is to need another one.
fn fd(needed: &File) -> String {
    format!("fd {}", needed.as_raw_fd())
}

/// A file that needs one that is not preserved, or is only after it.
fn not_preserved(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let needed = C.file(1)?;
    let file = C.needing(2, &fd(&needed))?;
    let mut log = Log::from_now()?;
    refused!(session.preserve_fd(file.as_fd(), 2), ENOENT);
    same!(log.changes()?, ["c needs 2 = -2", "c preserve 2 = -2"]);
    done!(session.preserve_fd(needed.as_fd(), 1));
    done!(session.preserve_fd(file.as_fd(), 2));
    Ok(())
}

fn in_another_session(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let (one, two) = (
        device.create_session(b"one")?,
        device.create_session(b"two")?,
    );
    let needed = C.file(1)?;
    done!(one.preserve_fd(needed.as_fd(), 1));
    let file = C.needing(2, &fd(&needed))?;
    refused!(two.preserve_fd(file.as_fd(), 1), ENOENT);
    refused!(two.preserve_fd(needed.as_fd(), 2), EBUSY);
    done!(one.preserve_fd(file.as_fd(), 2));
    Ok(())
}

/// Preserves files in a session, of which each but the first needs the one before it. Their tokens
/// count from 1, and their numbers from `first`.
fn preserve_chain(session: &Session, handler: Object, first: u32, count: u32) -> Result<()> {
    let mut last = handler.file(first)?;
    done!(session.preserve_fd(last.as_fd(), 1));
    for token in 2..=count {
        last = handler.needing(first + token - 1, &fd(&last))?;
        done!(session.preserve_fd(last.as_fd(), u64::from(token)), token);
    }
    Ok(())
}

fn undone_in_reverse(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    preserve_chain(&session, C, 1, 3)?;
    let mut log = Log::from_now()?;
    drop(session);
    same!(
        log.callbacks()?,
        [
            "c unpreserve 3 = 0",
            "c unpreserve 2 = 0",
            "c unpreserve 1 = 0"
        ]
    );
    Ok(())
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for count in [1, 2, 64, 1000] {
        let session = device.create_session(chain_name(count).as_bytes())?;
        preserve_chain(&session, C, 1, count)?;
        world.keep(session);
    }
    for (name, first) in [(&b"all ends"[..], 1), (b"unasked", 101)] {
        let session = device.create_session(name)?;
        preserve_chain(&session, A, first, 40)?;
        world.keep(session);
    }
    for (name, needs) in [
        (&b"circle"[..], &[2, 3, 1, 2][..]),
        (b"itself", &[1]),
        (b"missing", &[9]),
        (b"failing", &[0, 1, 1]),
    ] {
        let session = device.create_session(name)?;
        for (number, needed) in (1..).zip(needs) {
            let file = match needed {
                0 => B.file(number)?,
                token => C.needing(number, &format!("token {token}"))?,
            };
            done!(session.preserve_fd(file.as_fd(), u64::from(number)));
        }
        world.keep(session);
    }
    // The token that a file of the other session misses.
    let session = device.create_session(b"not missing")?;
    done!(session.preserve_fd(C.file(1)?.as_fd(), 9));
    world.keep(session);
    Ok(())
}

fn chain_name(count: u32) -> String {
    format!("chain of {count}")
}

/// The last file of a chain takes all others with it, each once, and first to last.
fn chain<const COUNT: u32>(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(chain_name(COUNT).as_bytes())?;
    let mut log = Log::from_now()?;
    let last = File::from(done!(session.retrieve_fd(u64::from(COUNT))));
    same!(driver::number(&last)?, COUNT);
    let mut due = vec!["c retrieve 1 = 0".to_owned()];
    for number in 2..=COUNT {
        due.extend(["needs", "retrieve"].map(|what| format!("c {what} {number} = 0")));
    }
    same!(log.callbacks()?, due);

    for number in 1..=COUNT {
        let file = File::from(done!(session.retrieve_fd(u64::from(number)), number));
        same!(driver::number(&file)?, number);
    }
    same!(log.callbacks()?, [""; 0]);

    // Who needs another one goes before it.
    done!(session.finish());
    let due: Vec<_> = (1..=COUNT)
        .rev()
        .map(|number| format!("c finish {number} = 1"))
        .collect();
    same!(log.callbacks()?, due);
    Ok(())
}

/// Whoever asks first, each file is made once.
fn asked_from_all_ends(_: &mut World) -> Result<()> {
    const COUNT: u64 = 40;
    done!(driver::ask(&FLBS));
    driver::reset()?;
    let session = Device::open()?.retrieve_session(b"all ends")?;
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = [1, 7, 11, 39]
            .into_iter()
            .map(|step| {
                let session = &session;
                scope.spawn(move || -> Result<()> {
                    for turn in 0..COUNT {
                        let token = 1 + turn * step % COUNT;
                        let file = File::from(done!(session.retrieve_fd(token), token));
                        same!(u64::from(driver::number(&file)?), token);
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
    })?;
    same!(A.calls("retrieve")?, COUNT);
    done!(session.finish());
    same!(A.calls("finish")?, COUNT);
    Ok(())
}

/// Files that need each other can neither of them be had, nor can one that needs these.
fn circle(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"circle")?;
    let mut log = Log::from_now()?;
    for token in [4, 1, 2, 3, 4] {
        refused!(session.retrieve_fd(token), ELOOP, token);
    }
    let due: Vec<_> = [1, 3, 2, 4]
        .into_iter()
        .flat_map(|number| ["needs", "retrieve"].map(|what| format!("c {what} {number} = -40")))
        .collect();
    same!(log.callbacks()?, due);
    done!(session.finish());
    same!(
        log.callbacks()?,
        [4, 3, 2, 1].map(|number| format!("c finish {number} = -40"))
    );
    Ok(())
}

fn itself(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"itself")?;
    refused!(session.retrieve_fd(1), ELOOP);
    refused!(session.retrieve_fd(1), ELOOP);
    done!(session.finish());
    Ok(())
}

/// A token that only another session has.
fn missing(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let other = device.retrieve_session(b"not missing")?;
    done!(other.retrieve_fd(9));
    let session = device.retrieve_session(b"missing")?;
    refused!(session.retrieve_fd(1), ENOENT);
    refused!(session.retrieve_fd(1), ENOENT);
    done!(session.finish());
    done!(other.finish());
    Ok(())
}

/// A file that cannot be made is not tried again for the next one that needs it.
fn failing(_: &mut World) -> Result<()> {
    done!(driver::ask(&FLBS));
    driver::reset()?;
    B.fail("retrieve", 0, 1, Some(ENODATA as i32))?;
    let session = Device::open()?.retrieve_session(b"failing")?;
    let mut log = Log::from_now()?;
    for token in [2, 3, 1, 2] {
        refused!(session.retrieve_fd(token), ENODATA, token);
    }
    same!(
        log.callbacks()?,
        [
            "b retrieve 1 = -61",
            "c needs 2 = -61",
            "c retrieve 2 = -61",
            "c needs 3 = -61",
            "c retrieve 3 = -61",
        ]
    );
    done!(session.finish());
    driver::reset()
}

/// Files that nobody asks for are finished without their fellows.
fn finished_unasked(_: &mut World) -> Result<()> {
    done!(driver::ask(&FLBS));
    driver::reset()?;
    let session = Device::open()?.retrieve_session(b"unasked")?;
    done!(session.finish());
    same!((A.calls("retrieve")?, A.calls("finish")?), (0, 40));
    Ok(())
}
