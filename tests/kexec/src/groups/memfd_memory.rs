// SPDX-License-Identifier: GPL-2.0

//! Memory of memfds: there is not enough, some allocation fails, or the process dies meanwhile.
//! Whatever becomes of the file, no memory is lost.

use crate::{
    differences::{
        Luo, FAILED_RETRIEVE_GIVES_BACK, LARGE_HOLES_ARE_REFUSED, PRESERVE_CAN_BE_KILLED,
        PRESERVE_FAILS_IN_SILENCE,
    },
    driver::{self, B},
    faults,
    file::{
        content, description, expect_thawed, hole, memfd, pattern, preserve_descriptions,
        retrieve_described,
    },
    process::{eventually, expect_in_use, kept_aside, meminfo, memory_in_use, Child},
    Group, World,
};
use anyhow::{ensure, Result};
use liveupdate::{Device, Session};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{self, EFBIG, EINTR, EINVAL, ENFILE, ENODATA, ENOENT, ENOMEM, ENOSPC},
    sys::reboot::{reboot, RebootMode},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// Files that are handed over in runs, or in folios.
pub const fn group<const RUNS: bool>(name: &'static str) -> Group {
    Group {
        name,
        stages: &[
            &[
                ("too-large", too_large::<RUNS>),
                ("holes-beyond-memory", beyond_memory::<RUNS>),
                ("preserve-without-memory", preserve_without_memory),
                ("freeze-without-memory", freeze_without_memory),
                ("freeze-and-hand-over", freeze_and_hand_over),
                ("killed-preserving", killed_preserving::<RUNS>),
                ("hand-over", hand_over::<RUNS>),
            ],
            &[
                ("frozen-without-memory", frozen_without_memory),
                ("retrieve-without-memory", retrieve_without_memory::<RUNS>),
                ("killed-retrieving", killed_retrieving),
                ("hand-over-once-more", hand_over_once_more),
            ],
            &[("retrieve", retrieve)],
        ],
    }
}

const MIB: u64 = 1 << 20;

/// What may be in use for other reasons than a file's memory, in pages.
const SLACK: u64 = 128;

/// No more files can be tried than there are, and how large each is.
const FILES: u64 = 64;
const FILE: u64 = 3 * MIB;
/// The file that is retrieved by a process that is killed.
const LARGE: u64 = 192 * MIB;

/// Expects no more memory to be in use than before, which may take a moment to be given back.
fn expect_memory(before: u64) -> Result<()> {
    expect_in_use(before + SLACK * *PAGE as u64)
}

/// A file can have more pages than there are numbers for.
fn too_large<const RUNS: bool>(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session("session")?;
    let file = hole((1 << 32) * *PAGE as u64)?;
    if RUNS {
        done!(session.preserve_fd(&file, 1));
    } else {
        refused!(session.preserve_fd(&file, 1), EFBIG);
        done!(file.set_len(*PAGE as u64));
        done!(session.preserve_fd(&file, 1));
    }
    drop(session);
    done!(file.set_len(1));
    Ok(())
}

/// Holes that memory could not fill, by far or just so: the refusal takes no time and no memory.
fn beyond_memory<const RUNS: bool>(world: &mut World) -> Result<()> {
    LARGE_HOLES_ARE_REFUSED.apart(|| {
        if *LARGE_HOLES_ARE_REFUSED.on(world.luo) {
            refuse_large_holes::<RUNS>()?;
        }
        Ok(())
    })
}

fn refuse_large_holes<const RUNS: bool>() -> Result<()> {
    let session = Device::open()?.create_session("session")?;
    let before = memory_in_use()?;
    let available = meminfo("MemAvailable:")?;
    for size in [
        1 << 40,
        u64::from(u32::MAX) * *PAGE as u64,
        available + 16 * MIB,
    ] {
        let file = hole(size)?;
        let start = Instant::now();
        let result = session.preserve_fd(&file, size);
        let elapsed = start.elapsed();
        ensure!(elapsed < Duration::from_secs(1), "it takes {elapsed:?}");
        if RUNS {
            done!(result, size);
        } else {
            refused!(result, ENOMEM, size);
            expect_thawed_hole(&file)?;
        }
        expect_memory(before)?;
    }
    Ok(())
}

/// Expects a large file without data to change its size.
fn expect_thawed_hole(file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    done!(file.set_len(size / 2));
    done!(file.write_all_at(b"+", size / 4));
    Ok(())
}

/// How many pages that file has.
const SCATTERED: u64 = 256;

/// A file with data in many places, and holes between them.
fn scattered() -> Result<File> {
    let page = *PAGE as u64;
    let file = hole(SCATTERED * page)?;
    for number in (0..SCATTERED).step_by(3) {
        file.write_all_at(b"data", number * page)?;
    }
    Ok(file)
}

/// Each allocation fails once: the file is as it was, and can be preserved.
fn preserve_without_memory(world: &mut World) -> Result<()> {
    faults::allow_all()?;
    PRESERVE_FAILS_IN_SILENCE.apart(|| {
        if *PRESERVE_FAILS_IN_SILENCE.on(world.luo) {
            fail_to_preserve()?;
        }
        Ok(())
    })
}

fn fail_to_preserve() -> Result<()> {
    let device = Device::open()?;
    // What is allocated once and for all.
    done!(device.create_session("first")?.preserve_fd(scattered()?, 1));
    let before = memory_in_use()?;
    let mut refusals = 0;
    for n in 1.. {
        let file = scattered()?;
        let session = done!(device.create_session("session"));
        let (result, failed) = faults::at(n, || session.preserve_fd(&file, 1))?;
        if !failed {
            done!(result, n);
            break;
        }
        if result.is_err() {
            refused!(result, ENOMEM, n);
            refusals += 1;
            expect_thawed(&file)?;
            done!(session.preserve_fd(&file, 1), n);
        }
        drop(session);
        expect_thawed(&file)?;
    }
    ensure!(refusals > 5, "only {refusals} refusals");
    expect_memory(before)
}

/// Each allocation of a reboot fails once, while the holes of a file come to have data. It is refused
/// then, and in the end by a file that is frozen later.
fn fail_to_freeze(device: &Device, file: &File) -> Result<()> {
    let last = done!(device.create_session("last"));
    done!(B.preserve(&last, 1)?);
    B.fail("freeze", 0, -1, Some(ENODATA as i32))?;
    for n in 1.. {
        let at = u64::from(n) * 2 % SCATTERED * *PAGE as u64;
        file.write_all_at(b"more", at)?;
        let (kexec, failed) = faults::at(n, || reboot(RebootMode::RB_KEXEC))?;
        let kexec = kexec.map_err(io::Error::from);
        if !failed {
            refused!(kexec, ENODATA, n);
            break;
        }
        let errno = kexec.err().and_then(|error| error.raw_os_error());
        let errno = errno.map(Errno::from_raw);
        same!(matches!(errno, Some(ENOMEM | ENODATA)), true, n);
    }
    driver::reset()
}

/// What was tried leaves nothing behind, once the file is not to be preserved any more.
fn freeze_without_memory(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let before = memory_in_use()?;
    let file = scattered()?;
    let session = done!(device.create_session("frozen"));
    done!(session.preserve_fd(&file, 1));
    fail_to_freeze(&device, &file)?;
    drop(session);
    expect_thawed(&file)?;
    drop(file);
    expect_memory(before)
}

/// What is handed over after that is all of the file.
fn freeze_and_hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let file = scattered()?;
    let session = done!(device.create_session("frozen"));
    done!(session.preserve_fd(&file, 1));
    fail_to_freeze(&device, &file)?;
    preserve_descriptions(&session, &[description(&file)?])?;
    world.keep(session);
    Ok(())
}

fn frozen_without_memory(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("frozen")?;
    same!(retrieve_described(&session)?.len(), 1);
    done!(session.finish());
    Ok(())
}

/// A process that fills large holes, as folios have none, dies when it is killed, and all of it is
/// gone.
fn killed_preserving<const RUNS: bool>(world: &mut World) -> Result<()> {
    if RUNS {
        return Ok(());
    }
    let before = memory_in_use()?;
    let child = Child::new(|| {
        let session = Device::open()?.create_session("session")?;
        session.preserve_fd(hole(LARGE)?, 1)?;
        nix::unistd::pause();
        Ok(())
    })?;
    eventually("the holes are filled", || {
        Ok(memory_in_use()? >= before + LARGE / 8)
    })?;
    let start = Instant::now();
    child.kill()?;
    if *PRESERVE_CAN_BE_KILLED.on(world.luo) {
        let elapsed = start.elapsed();
        ensure!(elapsed < Duration::from_secs(1), "it dies in {elapsed:?}");
    }
    expect_memory(before)?;
    let session = done!(Device::open()?.create_session("session"));
    done!(session.preserve_fd(hole(MIB)?, 1));
    Ok(())
}

/// A file that has so much memory; in runs it has a hole behind each page.
fn file<const RUNS: bool>() -> Result<File> {
    let data = pattern(FILE as usize);
    if !RUNS {
        return memfd(&data);
    }
    let file = hole(2 * FILE)?;
    for (page, at) in data.chunks(*PAGE).zip((0..).step_by(2 * *PAGE)) {
        file.write_all_at(page, at)?;
    }
    Ok(file)
}

fn hand_over<const RUNS: bool>(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session("files")?;
    for token in 0..FILES {
        done!(session.preserve_fd(file::<RUNS>()?, token), token);
    }
    world.keep(session);

    let session = device.create_session("large")?;
    let file = hole(LARGE)?;
    let part = pattern(MIB as usize);
    for at in (0..LARGE).step_by(part.len()) {
        file.write_all_at(&part, at)?;
    }
    done!(session.preserve_fd(file, 1));
    world.keep(session);
    Ok(())
}

/// Each allocation fails once, for a file of its own: what cannot be retrieved stays so, and its
/// memory is given back as that of the others is.
fn retrieve_without_memory<const RUNS: bool>(world: &mut World) -> Result<()> {
    faults::allow_all()?;
    let session = Device::open()?.retrieve_session("files")?;
    let due = description(&file::<RUNS>()?)?;
    let before = memory_in_use()?;
    let mut lost = 0;
    let mut complete = false;
    for (n, token) in (1..).zip(0..FILES) {
        let (result, failed) = faults::at(n, || session.retrieve_fd(token))?;
        match (result, session.retrieve_fd(token)) {
            (_, Ok(file)) => same!(description(&file.into())?, due, n),
            (Ok(_), again) => {
                done!(again, n);
            }
            (Err(first), Err(again)) => {
                same!(first.raw_os_error(), again.raw_os_error(), n);
                let errno = first.raw_os_error().map(Errno::from_raw);
                let due = match errno {
                    // An inode cannot be had, a list cannot be mapped.
                    Some(ENOMEM | ENFILE | ENOSPC) => true,
                    Some(EINVAL) => world.luo == Luo::C,
                    _ => false,
                };
                same!(due, true, n, first);
                lost += 1;
            }
        }
        if !failed {
            complete = true;
            break;
        }
    }
    ensure!(complete, "{FILES} files are too few");
    ensure!(lost > 1, "only {lost} refusals");
    done!(session.finish());
    drop(session);
    let released = before.saturating_sub(memory_in_use()?);
    println!("# {lost} files could not be retrieved, {released} bytes were given back");
    // All but what lies in lists of the allocator, which is less than a file.
    let all = released + FILE + kept_aside()? > FILES * FILE;
    same!(all, *FAILED_RETRIEVE_GIVES_BACK.on(world.luo), released);
    Ok(())
}

/// A process is killed that retrieves a large file: it goes to nobody, or to who asks next.
fn killed_retrieving(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("large")?;
    let before = memory_in_use()?;
    let managed = meminfo("MemTotal:")?;
    let child = Child::new(|| {
        session.retrieve_fd(1)?;
        nix::unistd::pause();
        Ok(())
    })?;
    eventually("some of the file is there", || {
        Ok(meminfo("MemTotal:")? >= managed + LARGE / 8)
    })?;
    child.kill()?;
    match session.retrieve_fd(1) {
        Ok(file) => same!(File::from(file).metadata()?.len(), LARGE),
        Err(error) => {
            same!(error.raw_os_error(), Some(EINTR as i32));
            println!("# nobody has the file");
            refused!(session.retrieve_fd(1), EINTR);
        }
    }
    done!(session.finish());
    drop(session);
    refused!(Device::open()?.retrieve_session("large"), ENOENT);
    same!(meminfo("MemTotal:")?.saturating_sub(managed) >= LARGE, true);
    expect_memory(before - LARGE)
}

fn hand_over_once_more(world: &mut World) -> Result<()> {
    let session = Device::open()?.create_session("more")?;
    done!(session.preserve_fd(memfd(&pattern(FILE as usize))?, 1));
    world.keep(session);
    Ok(())
}

fn retrieve(_: &mut World) -> Result<()> {
    let session: Session = Device::open()?.retrieve_session("more")?;
    let file = File::from(done!(session.retrieve_fd(1)));
    same!(content(&file)? == pattern(FILE as usize), true);
    done!(session.finish());
    Ok(())
}
