// SPDX-License-Identifier: GPL-2.0

//! Memfds of which the hand-over is damaged, whichever way: the next kernel refuses those, or takes
//! them for what they say, and the others are what they were. What is refused stays where it is.

use super::hostile::fill_free_memory;
use crate::{
    check,
    damage::{self, Fate, Fates, File as Which, Memfd},
    differences::Luo,
    driver,
    file::{content, memfd, Map},
    preserved::Memory,
    process::{live_update_number, Log},
    Group, World,
};
use anyhow::{bail, Context, Result};
use liveupdate::{Device, Session};
use luo_guest::{OUTCOME, PAGE, REFUSED};
use nix::{
    errno::Errno::{self, EIO, ENOENT, EOPNOTSUPP},
    fcntl::{
        fcntl,
        FcntlArg::{F_ADD_SEALS, F_GET_SEALS},
        SealFlag,
    },
};
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    os::{fd::AsFd, unix::fs::FileExt},
};

pub const GROUP: Group = Group {
    name: "damaged-memfds",
    stages: &[
        &[("hand-over", hand_over)],
        &[("next-kernel", next_kernel)],
        &[("kernel-after", kernel_after)],
    ],
};

const SESSIONS: usize = 2;

/// The memfds of a session, by their tokens.
fn files(session: usize) -> impl Iterator<Item = (u64, Which)> {
    let all = Which::ALL.into_iter();
    all.filter_map(move |file| match file.place() {
        (of, place) if of == session => Some((place as u64, file)),
        _ => None,
    })
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut frames = vec![];
    for session in 0..SESSIONS {
        let name = damage::name(session);
        let session_fd = device.create_session(&name)?;
        for (token, which) in files(session) {
            let due = Memfd::sound(which);
            let mut file = memfd(b"")?;
            file.set_len(due.contents.len() as u64)?;
            for page in which.pages() {
                let start = page * *PAGE;
                let end = due.contents.len().min(start + *PAGE);
                file.write_all_at(&due.contents[start..end], start as u64)?;
            }
            file.seek(SeekFrom::Start(due.position))?;
            fcntl(&file, F_ADD_SEALS(due.seals))?;
            done!(session_fd.preserve_fd(file.as_fd(), token));
            if which == Which::Last {
                // The next kernel is to look what becomes of the memory of the others.
                file.write_all_at(&frames, 0)?;
            }
            for page in which.pages() {
                let map = Map::new(&file, (page * *PAGE) as u64)?;
                for frame in map.frames()? {
                    frames.extend(frame.to_ne_bytes());
                }
            }
            world.keep(file);
        }
        world.keep(session_fd);
    }
    fill_free_memory()?;
    let damage = world.damage.as_ref().context("no damage")?;
    driver::damage(&damage.steps(damage::root_record_address()?))
}

/// What became of a memfd when it was asked for.
struct Retrieved {
    which: Which,
    file: Result<File, Errno>,
}

/// Asks for all memfds, each twice if it is refused.
fn retrieve(session: &Session, number: usize) -> Result<Vec<Retrieved>> {
    files(number)
        .map(|(token, which)| {
            let file = session.retrieve_fd(token);
            if let Err(errno) = check::outcome(&file) {
                refused!(session.retrieve_fd(token), errno);
            }
            let file = match check::outcome(&file) {
                Ok(()) => Ok(file?.into()),
                Err(errno) => Err(errno),
            };
            Ok(Retrieved { which, file })
        })
        .collect()
}

/// Expects a memfd to be what is due.
fn expect(mut file: &File, due: &Memfd) -> Result<()> {
    same!(file.metadata()?.len(), due.contents.len() as u64);
    same!(content(file)? == due.contents, true);
    same!(file.stream_position()?, due.position);
    let seals = SealFlag::from_bits_retain(fcntl(file, F_GET_SEALS)?);
    same!(seals, due.seals);
    Ok(())
}

/// Expects each memfd to be refused, or what is due; gives those that are refused, and for what as
/// far as that is known.
fn judge(all: &[Retrieved], fates: &Fates) -> Result<Vec<(Which, &'static str)>> {
    let mut refused = vec![];
    for Retrieved { which, file } in all {
        let name = format!("{which:?}");
        match (file, fates.of(*which)) {
            (Ok(_), Fate::Either) => {}
            // It says where the memory of the others was.
            (Ok(_), _) if *which == Which::Last => {}
            (Ok(file), Fate::Taken(what)) => {
                let mut due = Memfd::sound(*which);
                what(&mut due);
                expect(file, &due).context(name)?;
            }
            (Err(errno), Fate::Refused(field)) => {
                let due = if field == damage::SEALS {
                    EOPNOTSUPP
                } else {
                    EIO
                };
                same!(*errno, due, name);
                refused.push((*which, field));
            }
            (Err(errno), _) if fates.any_refused() => {
                same!([EIO, EOPNOTSUPP].contains(errno), true, name);
                refused.push((*which, ""));
            }
            (Ok(_), Fate::Refused(field)) => bail!("{name} is there, in spite of {field}"),
            (Err(errno), _) => bail!("{name} is refused: {errno}"),
        }
    }
    Ok(refused)
}

/// What is in the page frames that were the memfds', if the last one came to tell.
fn memory(all: &[Retrieved]) -> Result<Vec<(Which, usize, u64)>> {
    let last = all.iter().find(|it| it.which == Which::Last);
    let Some(Ok(file)) = last.map(|it| &it.file) else {
        return Ok(vec![]);
    };
    let bytes = content(file)?;
    let frames = bytes.chunks_exact(8).map(|it| it.try_into());
    let pages = Which::ALL
        .into_iter()
        .filter(|&which| which != Which::Last)
        .flat_map(|which| which.pages().into_iter().map(move |page| (which, page)));
    pages
        .zip(frames)
        .map(|((which, page), frame)| Ok((which, page, u64::from_ne_bytes(frame?))))
        .collect()
}

/// Takes and fills memory, so that what is free and should not be is noticed.
fn fill_some_memory() -> Result<()> {
    let file = memfd(b"")?;
    for chunk in 0..16 {
        file.write_all_at(&vec![0xaa; 1 << 20], chunk << 20)?;
    }
    Ok(())
}

fn next_kernel(world: &mut World) -> Result<()> {
    let damage = world.damage.as_ref().context("no damage")?;
    let fates = damage.files.clone().context("no memfds")?;
    let device = Device::open();
    println!("{OUTCOME}open {:?}", check::outcome(&device));
    let device = device?;

    // What C does is only told.
    if matches!(world.luo, Luo::C) {
        return tell(&device, &fates);
    }

    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| Ok(done!(device.retrieve_session(damage::name(number)), number)))
        .collect::<Result<_>>()?;
    let mut all = vec![];
    let mut refused = vec![];
    if fates.asked {
        for (number, session) in sessions.iter().enumerate() {
            all.extend(retrieve(session, number)?);
        }
        refused = judge(&all, &fates)?;
    } else {
        for which in Which::ALL {
            if let Fate::Refused(field) = fates.of(which) {
                refused.push((which, field));
            }
        }
        // The one that has nothing to do with it.
        let token = Which::Last.place().1 as u64;
        let file = Ok(File::from(done!(sessions[1].retrieve_fd(token))));
        let which = Which::Last;
        all.push(Retrieved { which, file });
    }
    for session in &sessions {
        done!(session.finish());
    }
    drop(sessions);
    let refusals = Log::from_start()?.lines_with(REFUSED)?;
    same!(refusals.len(), refused.len(), refusals.join("; "));
    for (line, (which, field)) in refusals.iter().zip(&refused) {
        let start = format!("luo_memfd: {REFUSED} of a memfd: {field}");
        same!(line.starts_with(&start), true, format!("{which:?}: {line}"));
    }

    // What was taken is nobody else's.
    judge(&all, &fates)?;
    let memory = memory(&all)?;
    for Retrieved { which, file } in &all {
        if let (Ok(file), Fate::Taken(_)) = (file, fates.of(*which)) {
            let length = usize::try_from(file.metadata()?.len())?;
            file.write_all_at(&vec![0x55; length], 0)?;
        }
    }
    drop(all);
    fill_some_memory()?;

    if fates.all_refused() {
        let mut memory = memory;
        memory.retain(|(which, ..)| refused.iter().any(|(it, _)| it == which));
        expect_untouched(&memory)?;
    }
    Ok(())
}

/// Expects to be in these page frames what was in the memfds.
fn expect_untouched(memory: &[(Which, usize, u64)]) -> Result<()> {
    let kernel = Memory::open()?;
    for which in Which::ALL {
        let sound = Memfd::sound(which).contents;
        for (_, page, frame) in memory.iter().filter(|(of, ..)| *of == which) {
            let words = kernel.page(frame * *PAGE as u64)?;
            let bytes: Vec<_> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
            let due = &sound[page * *PAGE..];
            let due = &due[..due.len().min(*PAGE)];
            same!(bytes[..due.len()] == *due, true, format!("{which:?}"), page);
        }
    }
    Ok(())
}

/// Tells what becomes of the memfds.
fn tell(device: &Device, fates: &Fates) -> Result<()> {
    for number in 0..SESSIONS {
        let session = device.retrieve_session(damage::name(number))?;
        if fates.asked {
            for Retrieved { which, file } in retrieve(&session, number)? {
                let mut due = Memfd::sound(which);
                let hit = match fates.of(which) {
                    Fate::Taken(what) => {
                        what(&mut due);
                        false
                    }
                    _ => true,
                };
                let what = match file {
                    Err(_) if hit => "refused",
                    Err(_) => "lost",
                    Ok(_) if which == Which::Last => "taken",
                    Ok(file) if expect(&file, &due).is_ok() => "taken",
                    Ok(_) => "wrong",
                };
                println!("{OUTCOME}memfd {what} {which:?}");
            }
        }
        println!("{OUTCOME}finish {:?}", check::outcome(&session.finish()));
    }
    Ok(())
}

/// What is new works, and what is old is gone.
fn kernel_after(_: &mut World) -> Result<()> {
    same!(live_update_number()?.is_some(), true);
    same!(Log::from_start()?.lines_with(REFUSED)?, [""; 0]);
    let device = done!(Device::open());
    for number in 0..SESSIONS {
        let name = damage::name(number);
        refused!(device.retrieve_session(&name), ENOENT, number);
        let session = done!(device.create_session(&name));
        done!(session.preserve_fd(memfd(b"new")?.as_fd(), 1));
    }
    Ok(())
}
