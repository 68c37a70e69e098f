// SPDX-License-Identifier: GPL-2.0

//! Where the memory of a memfd is when somebody preserves it: swapped out, in KHO's scratch memory,
//! in huge folios; and whom it is charged to, here and in the next kernel.

use crate::{
    abi::ABI,
    file::{
        content, description, expect_thawed, hole, memfd, pattern, preserve_descriptions, punch,
        retrieve_described, Map,
    },
    memory::{in_huge_pages, scratch_areas, split_huge_pages, Cgroup, Swap},
    process::{eventually, expect_in_use, meminfo, memory_in_use, without_backtraces, Child, Log},
    Group, World,
};
use anyhow::{bail, ensure, Result};
use liveupdate::{Device, Session};
use luo_guest::PAGE;
use nix::errno::Errno::{EAGAIN, ENOMEM};
use std::{
    fs::File,
    mem,
    os::unix::fs::{FileExt, MetadataExt},
};

/// Files that are handed over in runs, or in folios.
pub const fn group<const RUNS: bool>(name: &'static str) -> Group {
    Group {
        name,
        stages: &[
            &[
                ("holes-charged", holes_charged::<RUNS>),
                ("holes-beyond-limit", holes_beyond_limit::<RUNS>),
                ("in-scratch-memory", in_scratch_memory),
                ("in-huge-folios", in_huge_folios),
                ("neighbours", neighbours),
                ("charged", hand_over_charged),
                ("swapped-out", swapped_out::<RUNS>),
            ],
            &[
                ("in-scratch-memory", was_in_scratch_memory),
                ("in-huge-folios", were_in_huge_folios),
                ("neighbours", were_neighbours::<RUNS>),
                ("charged", charged),
                ("beyond-limit", beyond_limit),
                ("swapped-out", was_swapped_out),
            ],
            &[("in-huge-folios", were_split)],
        ],
    }
}

const MIB: u64 = 1 << 20;

/// How large a file is that is charged to somebody.
fn file_size() -> u64 {
    ABI.folio.max(16 * MIB)
}

/// What may be charged for other reasons than a file's memory.
fn slack() -> u64 {
    256 * *PAGE as u64
}

/// Expects so much to be charged to a group for files, which may be counted a moment later.
fn expect_charged(group: &Cgroup, bytes: u64) -> Result<()> {
    // The last few pages of each processor are not.
    let near = |seen: u64| seen.abs_diff(bytes) <= slack();
    eventually("so much is charged", || {
        Ok(near(group.charged()?) && near(group.line("memory.stat", "shmem ")?))
    })
}

/// Preserves files, and what they are to be.
fn hand_over(world: &mut World, session: Session, files: &[File]) -> Result<()> {
    let mut due = vec![];
    for (token, file) in (1..).zip(files) {
        done!(session.preserve_fd(file, token), token);
        due.push(description(file)?);
    }
    preserve_descriptions(&session, &due)?;
    world.keep(session);
    Ok(())
}

/// Holes that are filled, as in folios, are charged to who preserves the file, as long as it is there.
fn holes_charged<const RUNS: bool>(_: &mut World) -> Result<()> {
    let group = Cgroup::new("holes")?;
    let file = hole(file_size())?;
    let session = Device::open()?.create_session("session")?;
    done!(group.run(|| session.preserve_fd(&file, 1))?);
    let due = if RUNS { 0 } else { file_size() };
    expect_charged(&group, due)?;
    drop(session);
    expect_charged(&group, due)?;
    drop(file);
    expect_charged(&group, 0)
}

/// Expects a process in this group to be killed by the kernel, which says so, and nothing else.
fn expect_killed(group: &Cgroup, body: impl FnOnce() -> Result<()>) -> Result<()> {
    const ANNOUNCED: &str = "# somebody is killed for want of memory";
    /// How a backtrace begins.
    const BACKTRACE: &str = if cfg!(target_arch = "aarch64") {
        "Call trace:"
    } else {
        "Call Trace:"
    };

    // With this, all that was said is on the console. A line is in the log when the next one is.
    println!("{ANNOUNCED}\n# that is due");
    Log::wait_for(ANNOUNCED)?;
    let mut log = Log::from_now()?;
    let child = || {
        Child::new(|| {
            group.enter()?;
            body()
        })?
        .wait_killed()
    };
    without_backtraces(child)??;
    same!(group.line("memory.events", "oom_kill ")?, 1);
    same!(log.lines_with(BACKTRACE)?.len(), 1);
    Ok(())
}

/// Holes that are filled may be more than the group of who preserves the file is allowed.
fn holes_beyond_limit<const RUNS: bool>(_: &mut World) -> Result<()> {
    let group = Cgroup::new("holes-limited")?;
    group.limit(file_size() / 4)?;
    let file = hole(file_size())?;
    let preserve = || {
        let session = Device::open()?.create_session("session")?;
        done!(session.preserve_fd(&file, 1));
        Ok(())
    };
    if RUNS {
        group.run(preserve)??;
    } else {
        expect_killed(&group, preserve)?;
    }
    expect_thawed(&file)?;
    preserve()?;
    drop(file);
    expect_charged(&group, 0)
}

/// How large a file is that lies in scratch memory, and how much of it does at least.
const SCRATCH: usize = 64 << 20;
const THERE: u64 = 16 * MIB;

/// Files that lie where the next kernel will begin have to move before they are preserved.
fn in_scratch_memory(world: &mut World) -> Result<()> {
    let session = Device::open()?.create_session("scratch")?;
    let data = pattern(SCRATCH);
    let due = [
        preserve_scratch(&session, 1, &data, || memfd(&data))?,
        preserve_scratch(&session, 2, &data, || in_huge_pages(|| memfd(&data))?)?,
    ];
    preserve_descriptions(&session, &due)?;
    world.keep(session);
    Ok(())
}

/// How much of a file is in scratch memory, in bytes.
fn in_scratch(file: &File) -> Result<u64> {
    let areas = scratch_areas()?;
    let mut frames = Map::all(file)?.frames()?;
    frames.retain(|frame| areas.iter().any(|area| area.contains(frame)));
    Ok((frames.len() * *PAGE) as u64)
}

/// Takes memory until some is taken from where new files are to lie, makes one there, and
/// preserves it.
fn preserve_scratch(
    session: &Session,
    token: u64,
    data: &[u8],
    file: impl Fn() -> Result<File>,
) -> Result<String> {
    let free = || meminfo("CmaFree:");
    let before = free()?;
    let ballast = memfd(b"")?;
    for at in (0..meminfo("MemFree:")?).step_by(MIB as usize) {
        if free()? + THERE < before {
            break;
        }
        ballast.write_all_at(&data[..MIB as usize], at)?;
    }
    // A huge folio is there as a whole, or not at all.
    let mut elsewhere = vec![];
    let tries = meminfo("MemFree:")? as usize / SCRATCH;
    let file = loop {
        let file = file()?;
        let there = in_scratch(&file)?;
        if there >= THERE {
            break file;
        }
        ensure!(
            elsewhere.len() < tries,
            "only {there} bytes are in scratch memory"
        );
        elsewhere.push(file);
    };
    drop((ballast, elsewhere));

    done!(session.preserve_fd(&file, token), token);
    same!(in_scratch(&file)?, 0, token);
    same!(content(&file)? == data, true, token);
    description(&file)
}

fn was_in_scratch_memory(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("scratch")?;
    same!(retrieve_described(&session)?.len(), 2);
    done!(session.finish());
    Ok(())
}

/// Files in huge folios: one that ends with them, one that ends within, and one of which only a part
/// is in such.
fn whole_size() -> usize {
    3 * ABI.folio as usize
}

fn tail_size() -> usize {
    3 * ABI.folio as usize / 2 + 5
}

fn small_size() -> usize {
    ABI.folio as usize / 2
}

fn mixed_size() -> usize {
    2 * ABI.folio as usize
}

/// How many huge folios there are.
const HUGE_FOLIOS: u64 = 3 + 2 + 1;

/// How many bytes of files are in huge folios, as far as the kernel counts them.
fn huge() -> Result<u64> {
    meminfo("ShmemHugePages:")
}

/// How many bytes it is to count for so many: those that are no huge pages are not counted.
fn counted(folios: u64) -> u64 {
    u64::from(ABI.huge) * folios * ABI.folio
}

fn in_huge_folios(world: &mut World) -> Result<()> {
    let before = huge()?;
    let mixed = memfd(&pattern(small_size()))?;
    let files = in_huge_pages(|| -> Result<_> {
        let more = pattern(mixed_size() - small_size());
        mixed.write_all_at(&more, small_size() as u64)?;
        let whole = memfd(&pattern(whole_size()))?;
        Ok([whole, memfd(&pattern(tail_size()))?, mixed])
    })??;
    same!(huge()? - before, counted(HUGE_FOLIOS));

    let session = Device::open()?.create_session("huge")?;
    hand_over(world, session, &files)?;
    same!(huge()? - before, counted(HUGE_FOLIOS));
    Ok(())
}

/// Folios are as large as they were, and can be mapped, split, and handed over once more.
fn were_in_huge_folios(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let before = huge()?;
    let session = device.retrieve_session("huge")?;
    let files = retrieve_described(&session)?;
    done!(session.finish());
    drop(session);
    same!(huge()? - before, counted(HUGE_FOLIOS));

    let [whole, tail, _] = &files[..] else {
        bail!("{} files", files.len())
    };
    let mut due = pattern(whole_size());
    let map = in_huge_pages(|| Map::all(whole))??;
    for at in (7..due.len()).step_by(MIB as usize) {
        map.write_at(!due[at], at);
        due[at] = !due[at];
    }
    same!(meminfo("ShmemPmdMapped:")?, counted(3));
    same!(content(whole)? == due, true);
    done!(punch(whole, 3 * *PAGE as i64));
    due[..3 * *PAGE].fill(0);
    due.truncate(due.len() - MIB as usize - 5);
    done!(whole.set_len(due.len() as u64));
    same!(content(whole)? == due, true);
    same!(huge()? - before, counted(HUGE_FOLIOS - 2));
    drop(map);

    // What is behind the end of a file was nobody's.
    let mut due = pattern(tail_size());
    due.resize(2 * ABI.folio as usize, 0);
    done!(tail.set_len(due.len() as u64));
    same!(content(tail)? == due, true);

    hand_over(world, device.create_session("split")?, &files)
}

fn were_split(_: &mut World) -> Result<()> {
    let before = huge()?;
    let session = Device::open()?.retrieve_session("split")?;
    let files = retrieve_described(&session)?;
    done!(session.finish());
    same!(huge()? - before, counted(HUGE_FOLIOS - 2));
    for file in &files {
        expect_thawed(file)?;
    }
    drop(files);
    same!(huge()?, before);
    Ok(())
}

/// How many huge folios a file has that are then split: small ones lie as if they were such.
const NEIGHBOURS: u64 = 2;

fn neighbours_size() -> usize {
    (NEIGHBOURS * ABI.folio) as usize
}

fn neighbours(world: &mut World) -> Result<()> {
    let before = huge()?;
    let device = Device::open()?;
    let session = device.create_session("neighbours")?;
    for token in 1..=2 {
        let file = in_huge_pages(|| memfd(&pattern(neighbours_size())))??;
        // Now they have moved if they have to.
        done!(device.create_session("tried")?.preserve_fd(&file, 1));
        same!(huge()? - before, counted(NEIGHBOURS));
        split_huge_pages(&file)?;
        same!(huge()?, before);
        done!(session.preserve_fd(file, token));
    }
    world.keep(session);
    Ok(())
}

/// In runs, neighbours become huge folios if files may have such.
fn were_neighbours<const RUNS: bool>(_: &mut World) -> Result<()> {
    let before = huge()?;
    let session = Device::open()?.retrieve_session("neighbours")?;
    let expect = |file: File, due| {
        same!(content(&file)? == pattern(neighbours_size()), true);
        same!(huge()? - before, due);
        expect_thawed(&file)
    };
    expect(done!(session.retrieve_fd(1)).into(), 0)?;
    let file = in_huge_pages(|| session.retrieve_fd(2))?;
    expect(
        done!(file).into(),
        if RUNS { counted(NEIGHBOURS) } else { 0 },
    )?;
    done!(session.finish());
    Ok(())
}

/// The tokens of a file of small folios, of one of huge ones, and of a small file.
const OF_SMALL: u64 = 1;
const OF_HUGE: u64 = 2;
const SMALL_FILE: u64 = 3;

fn hand_over_charged(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for name in ["charged", "limited"] {
        let session = device.create_session(name)?;
        let data = pattern(file_size() as usize);
        done!(session.preserve_fd(memfd(&data)?, OF_SMALL));
        let huge = in_huge_pages(|| memfd(&data))??;
        done!(session.preserve_fd(huge, OF_HUGE));
        done!(session.preserve_fd(memfd(name.as_bytes())?, SMALL_FILE));
        world.keep(session);
    }
    Ok(())
}

/// Files are charged to who retrieves them. They can be swapped out, as any others.
fn charged(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("charged")?;
    let group = Cgroup::new("charged")?;
    let mut files = vec![];
    for token in [OF_SMALL, OF_HUGE] {
        let file = group.run(|| session.retrieve_fd(token))?;
        files.push(File::from(done!(file, token)));
        expect_charged(&group, files.len() as u64 * file_size())?;
    }
    done!(session.finish());

    let swap = Swap::on()?;
    swap_out(&group, 2 * file_size())?;
    expect_charged(&group, 0)?;
    for file in &files {
        same!(content(file)? == pattern(file_size() as usize), true);
    }
    same!(group.swapped_out()?, 0);
    expect_charged(&group, 2 * file_size())?;
    swap_out(&group, 2 * file_size())?;
    drop(files);
    same!(group.swapped_out()?, 0);
    drop(swap);
    expect_charged(&group, 0)
}

/// Who may not have as much memory as a file has does not get it, and nobody else: a folio may be what
/// somebody is killed for, a huge one is not.
fn beyond_limit(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("limited")?;
    let before = memory_in_use()?;
    let group = Cgroup::new("limited")?;
    group.limit(file_size() / 4)?;
    refused!(group.run(|| session.retrieve_fd(OF_HUGE))?, ENOMEM);
    same!(group.line("memory.events", "oom_kill ")?, 0);
    expect_killed(&group, || {
        session.retrieve_fd(OF_SMALL)?;
        Ok(())
    })?;
    for token in [OF_SMALL, OF_HUGE] {
        refused!(session.retrieve_fd(token), ENOMEM, token);
    }
    let other = File::from(done!(session.retrieve_fd(SMALL_FILE)));
    same!(content(&other)?, b"limited");
    done!(session.finish());
    drop(session);
    expect_charged(&group, 0)?;
    expect_in_use(before + slack() - 2 * file_size())
}

/// A file whose first part is of small folios, the last of huge ones, and a hole before that.
fn swapped_size() -> u64 {
    (2 * ABI.folio).max(24 * MIB)
}

const FIRST: u64 = 8 * MIB;

fn last() -> u64 {
    ABI.folio.max(4 * MIB)
}

/// What comes into the hole while the file is preserved.
const LATER: u64 = 4 * MIB;

/// More than there is of anything.
const ALL: u64 = 1 << 30;

/// Drives out what is charged to a group, expects most of so many bytes to be swapped out then, and
/// returns how many are.
fn swap_out(group: &Cgroup, bytes: u64) -> Result<u64> {
    refused!(group.reclaim(ALL), EAGAIN);
    let out = group.swapped_out()?;
    ensure!(out >= bytes / 4 * 3, "only {out} bytes are swapped out");
    Ok(out)
}

/// What is swapped out comes back when the file is preserved, and stays.
fn swapped_out<const RUNS: bool>(world: &mut World) -> Result<()> {
    let swap = Swap::on()?;
    let group = Cgroup::new("swapped")?;
    let file = hole(swapped_size())?;
    let data = pattern((FIRST + last()) as usize);
    let (small, huge) = data.split_at(FIRST as usize);
    done!(group.run(|| file.write_all_at(small, 0))?);
    let at = swapped_size() - last();
    done!(group.run(|| in_huge_pages(|| file.write_all_at(huge, at)))??);
    let (due, all) = (description(&file)?, content(&file)?);

    let session = Device::open()?.create_session("swapped")?;
    for _ in 0..2 {
        let before = group.line("memory.stat", "thp_swpout ")?;
        let out = swap_out(&group, FIRST + last())?;
        let huge = group.line("memory.stat", "thp_swpout ")? - before;
        same!(huge, u64::from(ABI.swapped_whole) * last() / ABI.folio);
        // Some of it comes back.
        file.read_exact_at(&mut vec![0; MIB as usize], 3 * MIB)?;
        ensure!(group.swapped_out()? < out, "nothing comes back");

        let tried = Device::open()?.create_session("tried")?;
        done!(tried.preserve_fd(&file, 1));
        same!(group.swapped_out()?, 0);
        refused!(group.reclaim(ALL), EAGAIN);
        same!(group.swapped_out()?, 0);
        if RUNS {
            same!(description(&file)?, due);
        } else {
            same!(file.metadata()?.blocks() * 512, swapped_size());
        }
        same!(content(&file)? == all, true);
    }

    swap_out(&group, FIRST + last())?;
    done!(session.preserve_fd(&file, 1));
    let later = pattern(LATER as usize);
    done!(group.run(|| file.write_all_at(&later, FIRST + MIB))?);
    preserve_descriptions(&session, &[description(&file)?])?;
    if RUNS {
        swap_out(&group, LATER)?;
    } else {
        refused!(group.reclaim(ALL), EAGAIN);
        same!(group.swapped_out()?, 0);
    }
    world.keep(session);
    // It goes on to the end, and the swap is there until then.
    mem::forget(swap);
    Ok(())
}

fn was_swapped_out(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("swapped")?;
    let files = retrieve_described(&session)?;
    same!(files.len(), 1);
    done!(session.finish());
    expect_thawed(&files[0])
}
