// SPDX-License-Identifier: GPL-2.0

//! What the handler of memfds makes of one: its seals, its position, how it was open, its holes, and
//! what can be done to it while it is preserved.
//!
//! Whoever runs this chooses by `liveupdate.memfd=` in what format the files are handed over: in
//! folios, as C does, or in runs, which only the handler in Rust can.

use crate::{
    differences::{Luo, LATER_SEALS, SEALED_NOT_TO_BE_EXECUTED},
    driver::{self, B},
    file::{
        content, description, expect_frozen, expect_thawed, hole, memfd, memfd_with, pattern,
        preserve_descriptions, punch, reopen, retrieve_described, Map,
    },
    process::{eventually, Child, Log},
    Group, World,
};
use anyhow::{ensure, Context, Result};
use liveupdate::Device;
use luo_guest::PAGE;
use nix::{
    errno::Errno::{EBADF, EBUSY, EIO, ENODATA, EPERM},
    fcntl::{
        fallocate, fcntl, FallocateFlags,
        FcntlArg::{F_ADD_SEALS, F_GETFL, F_GET_SEALS},
        OFlag, SealFlag,
    },
    libc::{F_SEAL_EXEC, MFD_EXEC, MFD_NOEXEC_SEAL},
    sys::{
        memfd::MFdFlags,
        reboot::{reboot, RebootMode},
    },
};
use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Seek, SeekFrom},
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt, PermissionsExt},
    },
    thread,
    time::Duration,
};

/// Files in folios.
pub const GROUP: Group = Group {
    name: "memfd",
    stages: &[
        &[
            ("while-preserved", while_preserved),
            ("unpreserved", unpreserved),
            ("refused", refused),
            ("refused-and-then-not", refused_and_then_not),
            ("hand-over", hand_over::<false>),
        ],
        &[
            ("seals", seals::<false>),
            ("seals-after-preserve", later_seals),
            ("position", position),
            ("opened", opened::<false>),
            ("holes", holes::<false>),
            ("after-refusal", after_refusal),
        ],
    ],
};

/// Files in runs: through two live updates as such, then read by a kernel that writes folios, and
/// then by one that writes runs.
pub const RUNS: Group = Group {
    name: "memfd-runs",
    stages: &[
        &[
            ("writes-runs", writes::<true>),
            ("while-preserved", while_preserved),
            ("unpreserved", unpreserved),
            ("refused", refused),
            ("holes-wait", holes_wait),
            ("refused-and-then-not", refused_and_then_not),
            ("hand-over", hand_over::<true>),
        ],
        &[
            ("writes-runs", writes::<true>),
            ("seals", seals::<true>),
            ("seals-after-preserve", later_seals),
            ("position", position),
            ("opened", opened::<true>),
            ("holes", holes::<true>),
            ("after-refusal", after_refusal),
            ("pass-on", pass_on),
        ],
        &[("writes-folios", writes::<false>), ("pass-on", pass_on)],
        &[("writes-runs", writes::<true>), ("passed-on", passed_on)],
    ],
};

/// Files in runs that a kernel gets which does not know of runs.
pub const UNKNOWN: Group = Group {
    name: "memfd-unknown",
    stages: &[
        &[("hand-over", hand_over_runs)],
        &[("nothing-opens", nothing_opens)],
        &[("goes-on", goes_on)],
    ],
};

const MIB: u64 = 1 << 20;

/// What is written where there was a hole.
const TEXT: &[u8] = b"not a hole any more";

/// Expects files to be handed over in runs, or not.
fn writes<const RUNS: bool>(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session("format")?;
    done!(session.preserve_fd(memfd(b"")?, 1));
    let files = session.files()?;
    let due = if RUNS { "memfd-runs-v1" } else { "memfd-v2" };
    same!(files.len(), 1);
    same!(files[0].handler, due.into());
    Ok(())
}

fn hand_over<const RUNS: bool>(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    hand_over_seals(world, &device)?;
    hand_over_positions(world, &device)?;
    hand_over_opened(world, &device)?;
    hand_over_holes(world, &device, "holes", files_with_holes::<RUNS>()?)?;
    if RUNS {
        let file = hole(8 * MIB)?;
        file.write_all_at(&pattern(300_000), MIB)?;
        hand_over_holes(world, &device, "again", vec![file])?;
    }
    Ok(())
}

/// While a file is preserved, it has its size, and can be written to: in a hole as well.
fn while_preserved(_: &mut World) -> Result<()> {
    let file = hole(MIB)?;
    file.write_all_at(b"data", 0)?;
    let session = Device::open()?.create_session("session")?;
    done!(session.preserve_fd(&file, 1));
    expect_frozen(&file)?;
    done!(file.write_all_at(TEXT, 300_000));
    done!(file.write_all_at(TEXT, 0));
    expect_frozen(&file)?;
    same!(&content(&file)?[300_000..][..TEXT.len()], TEXT);
    drop(session);
    expect_thawed(&file)
}

/// A file that is not to be preserved any more is one like any other.
fn unpreserved(_: &mut World) -> Result<()> {
    let file = hole(MIB)?;
    file.write_all_at(b"data", 5000)?;
    for _ in 0..2 {
        let session = Device::open()?.create_session("session")?;
        done!(session.preserve_fd(&file, 1));
        drop(session);
        expect_thawed(&file)?;
    }
    done!(file.write_all_at(TEXT, 700_000));
    done!(file.set_len(2 * MIB));
    punch(&file, MIB as i64)?;
    same!(content(&file)? == vec![0; 2 << 20], true);
    done!(file.set_len(1));
    Ok(())
}

/// Has a reboot be refused by a file that is frozen last.
fn refuse(device: &Device) -> Result<()> {
    let session = done!(device.create_session("refusing"));
    done!(B.preserve(&session, 1)?);
    B.fail("freeze", 0, 1, Some(ENODATA as i32))?;
    let kexec = reboot(RebootMode::RB_KEXEC);
    refused!(kexec.map_err(io::Error::from), ENODATA);
    driver::reset()
}

/// After a reboot that was refused, a file is as it was before it.
fn refused(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let file = hole(MIB)?;
    file.write_all_at(b"data", 0)?;
    let session = done!(device.create_session("refused"));
    done!(session.preserve_fd(&file, 1));
    for at in [200_000, 400_000, 600_000] {
        refuse(&device)?;
        expect_frozen(&file)?;
        done!(file.write_all_at(TEXT, at));
    }
    drop(session);
    expect_thawed(&file)
}

/// Where there is something in the file that is handed over after several tries.
const REFUSALS: [u64; 4] = [200_000, 400_000, 600_000, 800_000];

/// Another reboot hands over what came into the file since one was refused.
fn refused_and_then_not(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let file = hole(MIB)?;
    file.write_all_at(b"data", 0)?;
    let session = done!(device.create_session("refused"));
    done!(session.preserve_fd(&file, 1));
    for at in REFUSALS {
        refuse(&device)?;
        done!(file.write_all_at(TEXT, at));
    }
    world.keep(session);
    Ok(())
}

fn after_refusal(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("refused")?;
    let file = File::from(done!(session.retrieve_fd(1)));
    let mut due = vec![0; MIB as usize];
    due[..4].copy_from_slice(b"data");
    for at in REFUSALS {
        due[at as usize..][..TEXT.len()].copy_from_slice(TEXT);
    }
    same!(content(&file)? == due, true);
    done!(session.finish());
    Ok(())
}

/// While a reboot is prepared, nothing comes into a hole: who writes is told, who has it mapped
/// waits until the reboot is refused.
fn holes_wait(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let file = hole(1024 * MIB)?;
    file.write_all_at(b"data", 0)?;
    let session = done!(device.create_session("frozen"));
    done!(session.preserve_fd(&file, 1));
    B.delay("freeze", 500)?;

    let child = Child::new(|| {
        let mut at = MIB;
        eventually("the holes are frozen", || {
            at += *PAGE as u64;
            Ok(match file.write_all_at(TEXT, at) {
                Err(error) => {
                    same!(error.raw_os_error(), Some(EBUSY as i32));
                    true
                }
                Ok(()) => false,
            })
        })?;
        // Where there is no hole, nothing has changed.
        done!(file.write_all_at(TEXT, 0));
        Map::new(&file, 1023 * MIB)?.write(b'!');
        // The wait was for this.
        done!(file.write_all_at(TEXT, 512 * MIB));
        Ok(())
    })?;
    thread::sleep(Duration::from_millis(20));
    refuse(&device)?;
    child.wait()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1023 * MIB)?;
    same!(byte, *b"!");
    Ok(())
}

/// A file that is made with flags, and then sealed: what it is in the next kernel.
struct Sealed {
    flags: u32,
    seals: i32,
    /// All of its seals.
    due: i32,
    permissions: u32,
    /// Those that it seems to have had if only the seals are handed over.
    guessed: u32,
}

const SHRINK: i32 = SealFlag::F_SEAL_SHRINK.bits();
const GROW: i32 = SealFlag::F_SEAL_GROW.bits();
const WRITE: i32 = SealFlag::F_SEAL_WRITE.bits();
const CONTENT: i32 = SHRINK | GROW | WRITE | SealFlag::F_SEAL_FUTURE_WRITE.bits();
const ALLOW: u32 = MFdFlags::MFD_ALLOW_SEALING.bits();

const SEALED: [Sealed; 6] = [
    Sealed {
        flags: MFD_NOEXEC_SEAL,
        seals: 0,
        due: F_SEAL_EXEC,
        permissions: 0o666,
        guessed: 0o666,
    },
    Sealed {
        flags: MFD_NOEXEC_SEAL,
        seals: GROW | SHRINK,
        due: F_SEAL_EXEC | GROW | SHRINK,
        permissions: 0o666,
        guessed: 0o666,
    },
    Sealed {
        flags: MFD_NOEXEC_SEAL,
        seals: CONTENT,
        due: F_SEAL_EXEC | CONTENT,
        permissions: 0o666,
        guessed: 0o777,
    },
    Sealed {
        flags: MFD_EXEC | ALLOW,
        seals: F_SEAL_EXEC,
        due: F_SEAL_EXEC | CONTENT,
        permissions: 0o777,
        guessed: 0o777,
    },
    Sealed {
        flags: MFD_EXEC | ALLOW,
        seals: SHRINK,
        due: SHRINK,
        permissions: 0o777,
        guessed: 0o777,
    },
    Sealed {
        flags: MFD_EXEC,
        seals: 0,
        due: SealFlag::F_SEAL_SEAL.bits(),
        permissions: 0o777,
        guessed: 0o777,
    },
];

fn add_seals(file: &File, seals: i32) -> io::Result<()> {
    fcntl(file, F_ADD_SEALS(SealFlag::from_bits_retain(seals)))?;
    Ok(())
}

fn permissions(file: &File) -> Result<u32> {
    Ok(file.metadata()?.mode() & 0o777)
}

fn hand_over_seals(world: &mut World, device: &Device) -> Result<()> {
    let session = device.create_session("seals")?;
    for (token, sealed) in (0u64..).zip(SEALED) {
        let file = memfd_with(MFdFlags::from_bits_retain(sealed.flags))?;
        file.write_all_at(b"sealed", 0)?;
        if sealed.seals != 0 {
            done!(add_seals(&file, sealed.seals), token);
        }
        same!(fcntl(&file, F_GET_SEALS)?, sealed.due, token);
        same!(permissions(&file)?, sealed.permissions, token);
        done!(session.preserve_fd(&file, token), token);
    }
    world.keep(session);

    let session = device.create_session("seals-later")?;
    let file = memfd(b"sealed")?;
    done!(session.preserve_fd(&file, 1));
    done!(add_seals(&file, GROW));
    done!(add_seals(&file, SealFlag::F_SEAL_SEAL.bits()));
    world.keep(session);
    Ok(())
}

/// All seals come back and no others; with folios, permissions as far as seals tell of them.
fn seals<const RUNS: bool>(world: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("seals")?;
    for (token, sealed) in (0u64..).zip(SEALED) {
        let file = File::from(done!(session.retrieve_fd(token), token));
        let (mut due, mut allowed) = (sealed.due, sealed.permissions);
        if !RUNS {
            allowed = sealed.guessed;
        }
        if due & F_SEAL_EXEC != 0 && allowed == 0o666 && !RUNS {
            let (more, permissions) = SEALED_NOT_TO_BE_EXECUTED.on(world.luo);
            due |= more;
            allowed = *permissions;
        }
        same!(fcntl(&file, F_GET_SEALS)?, due, token);
        same!(permissions(&file)?, allowed, token);
        same!(content(&file)?, b"sealed", token);
        if due & WRITE == 0 {
            same!(done!(file.write_at(b"S", 0), token), 1);
        } else {
            refused!(file.write_at(b"S", 0), EPERM, token);
        }
        if due & GROW == 0 {
            done!(file.set_len(7), token);
        } else {
            refused!(file.set_len(7), EPERM, token);
        }
    }
    done!(session.finish());
    Ok(())
}

fn later_seals(world: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("seals-later")?;
    let file = File::from(done!(session.retrieve_fd(1)));
    let due = if *LATER_SEALS.on(world.previous) {
        GROW | SealFlag::F_SEAL_SEAL.bits()
    } else {
        0
    };
    same!(fcntl(&file, F_GET_SEALS)?, due);
    same!(content(&file)?, b"sealed");
    done!(session.finish());
    Ok(())
}

/// Beyond the end, and nearly as far as it can be.
const POSITIONS: [u64; 3] = [4, 1 << 40, i64::MAX as u64 - 4096];

fn hand_over_positions(world: &mut World, device: &Device) -> Result<()> {
    let session = device.create_session("positions")?;
    for (token, position) in (0u64..).zip(POSITIONS) {
        let mut before = memfd(b"content")?;
        before.seek(SeekFrom::Start(position))?;
        done!(session.preserve_fd(&before, token), position);

        let mut after = memfd(b"content")?;
        after.seek(SeekFrom::Start(2))?;
        done!(session.preserve_fd(&after, 100 + token), position);
        after.seek(SeekFrom::Start(position))?;
    }
    world.keep(session);
    Ok(())
}

/// The position is the one at the reboot, wherever that was.
fn position(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("positions")?;
    for (token, position) in (0u64..).zip(POSITIONS) {
        for token in [token, 100 + token] {
            let mut file = File::from(done!(session.retrieve_fd(token), token));
            same!(file.stream_position()?, position, token);
            same!(content(&file)?, b"content", token);
        }
    }
    done!(session.finish());
    Ok(())
}

/// How files are open.
fn ways() -> [(OpenOptions, OFlag); 4] {
    let mut ways = [
        OFlag::O_RDONLY,
        OFlag::O_WRONLY,
        OFlag::O_RDWR,
        OFlag::O_RDWR,
    ]
    .map(|flags| (OpenOptions::new(), flags));
    ways[0].0.read(true);
    ways[1].0.write(true);
    ways[2].0.read(true).write(true);
    ways[3].0.read(true).append(true);
    ways[3].1 |= OFlag::O_APPEND;
    ways
}

const PRIVATE: u32 = 0o600;

fn hand_over_opened(world: &mut World, device: &Device) -> Result<()> {
    let session = device.create_session("opened")?;
    for (token, (options, _)) in (0u64..).zip(ways()) {
        let file = memfd(b"content")?;
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
        done!(session.preserve_fd(reopen(&file, &options)?, token), token);
    }
    world.keep(session);
    Ok(())
}

/// In folios a file is read and written, and nobody knows of its permissions. In runs it is as it
/// was.
fn opened<const RUNS: bool>(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("opened")?;
    for (token, (_, flags)) in (0u64..).zip(ways()) {
        let file = File::from(done!(session.retrieve_fd(token), token));
        let (flags, allowed) = if RUNS {
            (flags, PRIVATE)
        } else {
            (OFlag::O_RDWR, 0o777)
        };
        let seen = OFlag::from_bits_retain(fcntl(&file, F_GETFL)?);
        same!(seen & (OFlag::O_ACCMODE | OFlag::O_APPEND), flags, token);
        same!(permissions(&file)?, allowed, token);

        if flags == OFlag::O_RDONLY {
            refused!(file.write_at(b"C", 0), EBADF, token);
        } else if flags.contains(OFlag::O_APPEND) {
            done!(file.write_all_at(b"+", 0), token);
            same!(content(&file)?, b"content+", token);
        } else {
            same!(done!(file.write_at(b"C", 0), token), 1);
        }
        if flags == OFlag::O_WRONLY {
            refused!(file.read_at(&mut [0], 0), EBADF, token);
        }
    }
    done!(session.finish());
    Ok(())
}

/// How large the file is whose most is a hole, and where it has a MiB of data.
const HUGE: u64 = 1 << 40;
fn huge_data() -> [u64; 4] {
    [0, (1 << 30) + 5 * *PAGE as u64, 512 << 30, HUGE - MIB]
}

/// Files with few pages, with none, with pages that nobody has written to, and with no holes.
fn files_with_holes<const RUNS: bool>() -> Result<Vec<File>> {
    let mut files = vec![memfd(b"")?, hole(MIB + 5)?, memfd(&pattern(64 << 20))?];

    let scattered = hole(4 * MIB)?;
    for at in [0, 123_456, MIB, 3 * MIB + 4095] {
        scattered.write_all_at(TEXT, at)?;
    }
    scattered.write_all_at(&pattern(500_000), 2 * MIB)?;
    scattered.write_all_at(b"!", 4 * MIB - 1)?;
    files.push(scattered);

    // Its pages were others' before.
    drop(memfd(&pattern(16 << 20))?);
    let allocated = hole(3 * MIB)?;
    fallocate(&allocated, FallocateFlags::empty(), MIB as i64, MIB as i64)?;
    files.push(allocated);

    if RUNS {
        let huge = hole(HUGE)?;
        for at in huge_data() {
            huge.write_all_at(&pattern(MIB as usize), at)?;
        }
        files.push(huge);
    }
    Ok(files)
}

/// Preserves files, writes into the holes of those that have any, and adds what is then due of each.
fn hand_over_holes(world: &mut World, device: &Device, name: &str, files: Vec<File>) -> Result<()> {
    let page = *PAGE as u64;
    let session = device.create_session(name)?;
    let mut due = vec![];
    for (token, file) in (1u64..).zip(files) {
        done!(session.preserve_fd(&file, token), token);
        let size = file.metadata()?.len();
        if size > 2 * MIB {
            file.write_all_at(TEXT, size / 8 * 3)?;
            Map::new(&file, size / 2 / page * page)?.write(world.stage as u8);
        }
        due.push(description(&file)?);
    }
    preserve_descriptions(&session, &due)?;
    world.keep(session);
    Ok(())
}

/// What was a hole at the reboot is one if the format has any, and full of zeroes anyway.
fn holes<const RUNS: bool>(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("holes")?;
    let files = retrieve_described(&session)?;
    same!(files.len(), if RUNS { 6 } else { 5 });
    done!(session.finish());

    same!(content(&files[1])? == vec![0; MIB as usize + 5], true);
    let mut allocated = vec![0; 3 << 20];
    allocated[9 << 17..][..TEXT.len()].copy_from_slice(TEXT);
    allocated[3 << 19] = 1;
    same!(content(&files[4])? == allocated, true);

    let blocks = |file: &File| -> Result<u64> { Ok(file.metadata()?.blocks() * 512) };
    let page = *PAGE as u64;
    if RUNS {
        same!(blocks(&files[1])?, 0);
        ensure!(blocks(&files[3])? < MIB, "the holes were filled");
        same!(blocks(&files[5])?, huge_data().len() as u64 * MIB + page);
    } else {
        same!(blocks(&files[1])?, MIB + page);
        same!(blocks(&files[3])?, 4 * MIB);
    }
    for file in &files[1..5] {
        expect_thawed(file)?;
    }
    Ok(())
}

/// Hands over once more what has just arrived, and more of it.
fn pass_on(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session("again")?;
    let files = retrieve_described(&session)?;
    done!(session.finish());
    drop(session);
    for file in &files {
        expect_thawed(file)?;
        file.write_all_at(TEXT, world.stage as u64 * MIB)?;
    }
    hand_over_holes(world, &device, "again", files)
}

fn passed_on(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session("again")?;
    same!(retrieve_described(&session)?.len(), 1);
    done!(session.finish());
    Ok(())
}

fn hand_over_runs(world: &mut World) -> Result<()> {
    same!(world.luo, Luo::Rust);
    writes::<true>(world)?;
    let session = Device::open()?.create_session("runs")?;
    done!(session.preserve_fd(hole(MIB)?, 1));
    world.keep(session);
    Ok(())
}

/// The file has no handler: nothing is believed, and nothing is lost but this hand-over.
fn nothing_opens(world: &mut World) -> Result<()> {
    same!(world.luo, Luo::C);
    for _ in 0..2 {
        refused!(Device::open(), EIO);
    }
    Log::from_start()?
        .lines_with("memfd-runs-v1")?
        .first()
        .map(drop)
        .context("the log does not name the handler")
}

/// The kernel after that has nothing to complain of.
fn goes_on(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session("session")?;
    done!(session.preserve_fd(memfd(b"file")?.as_fd(), 1));
    Ok(())
}
