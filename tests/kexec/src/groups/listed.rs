// SPDX-License-Identifier: GPL-2.0

//! So many sessions that reading their list takes a while, in which others come and go: each that
//! is there all the time is listed once, in order.
//!
//! Only the Rust LUO has a list.

use crate::{process::room_for_descriptors, shown::DEBUGFS, Group, World};
use anyhow::{ensure, Context, Result};
use liveupdate::{observe::Name, Device, Session};
use std::{
    fs::File,
    io::Read,
    mem,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    thread,
};

pub const GROUP: Group = Group {
    name: "listed",
    stages: &[&[("outgoing", outgoing)], &[("incoming", incoming)]],
};

/// How many sessions stay.
const STAYING: usize = 10_000;
/// How many of them there are for each one that goes.
const PER_GOING: usize = 10;
/// How many bytes are read at a time, and after how many times half of the list may have been read.
const STEP: usize = 4096;
const HALFWAY: usize = 30;

fn staying(number: usize) -> String {
    format!("staying {number}")
}

fn going(number: usize) -> String {
    format!("going {number}")
}

/// Reads a list while `body` changes it, at each step once, and gives the names and states of what
/// it said.
fn read(direction: &str, mut body: impl FnMut(usize) -> Result<()>) -> Result<Vec<[String; 2]>> {
    let mut file = File::open(Path::new(DEBUGFS).join("sessions").join(direction))?;
    let mut text = vec![];
    let mut buffer = [0; STEP];
    for step in 0.. {
        match file.read(&mut buffer)? {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
        body(step)?;
    }
    let lines = String::from_utf8(text)?;
    let lines = lines.lines().map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, state, "0"] = fields[..] else {
            anyhow::bail!("{line}");
        };
        let name = Name::unescape(name.as_bytes());
        Ok([
            String::from_utf8(name.as_bytes().to_vec())?,
            state.to_owned(),
        ])
    });
    lines.collect()
}

/// Expects all that stay to be listed, once, in order and in this state, and others as they may.
fn expect_staying(listed: &[[String; 2]], due: &str) -> Result<()> {
    let mut next = 0;
    for [name, state] in listed {
        match name.strip_prefix("staying ") {
            Some(number) => {
                same!(number.parse::<usize>()?, next);
                same!(state, due, name);
                next += 1;
            }
            None => ensure!(name.starts_with("going "), "{name}"),
        }
    }
    same!(next, STAYING);
    Ok(())
}

/// Sessions are closed before, at and behind where the reader is, and made at the end.
fn outgoing(world: &mut World) -> Result<()> {
    room_for_descriptors(2 * STAYING)?;
    let device = Device::open()?;
    let mut sessions = vec![];
    let mut goers = vec![];
    for number in 0..STAYING {
        if number % PER_GOING == 0 {
            let name = going(number / PER_GOING);
            goers.push(Some(done!(device.create_session(name.as_bytes()))));
        }
        sessions.push(done!(device.create_session(staying(number).as_bytes())));
    }
    expect_staying(&read("outgoing", |_| Ok(()))?, "created")?;

    // One after the other, at places that are far from each other.
    let count = goers.len();
    let listed = read("outgoing", |step| {
        let place = step * 7919 % count;
        let name = going(place);
        goers[place] = None;
        if step % 3 > 0 {
            goers[place] = Some(done!(device.create_session(name.as_bytes())));
        }
        if step == HALFWAY {
            come_and_go(&device)?;
        }
        Ok(())
    })?;
    expect_staying(&listed, "created")?;

    // At the same time, from first to last, again and again.
    let (stop, changes) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| -> Result<()> {
        let changing = scope.spawn(|| change(&device, &mut goers, &stop, &changes));
        let mut reads = 0;
        let mut result = Ok(());
        while result.is_ok() && (reads < 5 || changes.load(SeqCst) < 2 * count as u32) {
            result = read("outgoing", |_| Ok(())).and_then(|it| expect_staying(&it, "created"));
            reads += 1;
            if changing.is_finished() {
                break;
            }
        }
        stop.store(true, SeqCst);
        changing.join().ok().context("the thread panicked")??;
        result
    })?;
    ensure!(changes.load(SeqCst) > 0, "nothing was changed");
    drop(goers);
    same!(read("outgoing", |_| Ok(()))?.len(), STAYING);
    for session in sessions {
        world.keep(session);
    }
    Ok(())
}

/// So many sessions come and go that the kernel has to close the gaps that they and others have
/// left.
fn come_and_go(device: &Device) -> Result<()> {
    let mut last = done!(device.create_session(going(usize::MAX).as_bytes()));
    for number in 0..4 * STAYING {
        let name = going(usize::MAX - 1 - number % 2);
        // The one before goes when this one is there: the last one would leave no gap.
        let next = done!(device.create_session(name.as_bytes()));
        drop(mem::replace(&mut last, next));
    }
    Ok(())
}

fn change(
    device: &Device,
    goers: &mut [Option<Session>],
    stop: &AtomicBool,
    changes: &AtomicU32,
) -> Result<()> {
    for number in (0..goers.len()).cycle() {
        if stop.load(SeqCst) {
            break;
        }
        goers[number] = None;
        goers[number] = Some(done!(device.create_session(going(number).as_bytes())));
        changes.fetch_add(1, SeqCst);
    }
    Ok(())
}

/// Those that are retrieved and finished meanwhile leave the list, and no other does.
fn incoming(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    expect_staying(&read("incoming", |_| Ok(()))?, "waiting")?;
    let mut gone = vec![];
    let listed = read("incoming", |step| {
        // Behind the reader, then far before it.
        for number in [2 * step + 1, STAYING - 1 - 2 * step] {
            if number % 2 == 1 && !gone.contains(&number) {
                drop(done!(
                    device.retrieve_session(staying(number).as_bytes()),
                    number
                ));
                gone.push(number);
            }
        }
        Ok(())
    })?;
    ensure!(gone.len() > 10, "only {} have gone", gone.len());
    let number = |[name, state]: &[String; 2]| -> Result<usize> {
        same!(state, "waiting", name);
        let number = name.strip_prefix("staying ").context(name.clone())?;
        Ok(number.parse()?)
    };
    let listed: Vec<_> = listed.iter().map(number).collect::<Result<_>>()?;
    ensure!(listed.is_sorted_by(|one, next| one < next), "not in order");
    let all_the_time = (0..STAYING).filter(|number| !gone.contains(number));
    let listed: Vec<_> = listed
        .into_iter()
        .filter(|number| !gone.contains(number))
        .collect();
    same!(listed == all_the_time.collect::<Vec<_>>(), true);

    for number in (0..STAYING).filter(|number| !gone.contains(number)) {
        let session = done!(device.retrieve_session(staying(number).as_bytes()), number);
        done!(session.finish(), number);
    }
    same!(read("incoming", |_| Ok(()))?.len(), 0);
    Ok(())
}
