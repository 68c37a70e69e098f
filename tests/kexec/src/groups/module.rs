// SPDX-License-Identifier: GPL-2.0

//! The test driver as a module is pinned by whoever uses it, and by nothing else.
//!
//! Only the Rust LUO exports what a module needs. The kernel is booted without the driver that
//! is built in.

use crate::{
    driver::{A, B, C, FLBS},
    process::Log,
    shown::table_of_driver,
    Group, World,
};
use anyhow::{Context, Result};
use liveupdate::{
    observe::{Debugfs, Handover},
    Device,
};
use luo_guest::REFUSED;
use nix::{
    errno::Errno::{EAGAIN, EIO, ENOENT, ESTALE},
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
};

pub const GROUP: Group = Group {
    name: "module",
    stages: &[
        &[
            ("unused", unused),
            ("file-open", file_open),
            ("preserved", preserved),
            ("flb-referenced", flb_referenced),
            ("preserve-fails", preserve_fails),
            ("hand-over", hand_over),
        ],
        &[
            ("waits-for-its-handlers", waits_for_its_handlers),
            ("unused", unused),
            ("retrieve-and-finish", retrieve_and_finish),
            ("finished-for-good", finished_for_good),
        ],
    ],
};

fn load() -> Result<()> {
    let module = File::open("/lib/luo_test.ko").context("no module")?;
    Ok(finit_module(module, c"", ModuleInitFlags::empty())?)
}

fn unload() -> io::Result<()> {
    Ok(delete_module(c"luo_test", DeleteModuleFlags::O_NONBLOCK)?)
}

/// Expects so many uses of the loaded module, and that it can be unloaded if there is none.
#[track_caller]
fn expect_uses(uses: u32) -> Result<()> {
    let text = fs::read_to_string("/sys/module/luo_test/refcnt")?;
    same!(text.trim().parse::<u32>()?, uses);
    if uses > 0 {
        refused!(unload(), EAGAIN, uses);
    } else {
        done!(unload());
        load()?;
    }
    Ok(())
}

/// Expects debugfs to show the module's handlers with so many files, and its FLBs, by how many files
/// of this and of the previous kernel they are needed.
fn expect_shown(files: [u32; 3], needed: [(u32, u32); 3]) -> Result<()> {
    let handlers: Vec<_> = [A, B, C]
        .iter()
        .zip(files)
        .map(|(handler, files)| format!("luo-test-{handler}\t{files}\tluo_test"))
        .collect();
    let flbs: Vec<_> = FLBS
        .iter()
        .zip(needed)
        .map(|(flb, (outgoing, incoming))| {
            format!("luo-test-{flb}\t{outgoing}\t{incoming}\tluo_test")
        })
        .collect();
    same!(table_of_driver("handlers")?, handlers);
    same!(table_of_driver("flbs")?, flbs);
    Ok(())
}

/// Handlers and FLBs come and go with it.
fn unused(world: &mut World) -> Result<()> {
    load()?;
    // In the second kernel, what the first one handed over needs the FLBs.
    let needed = match world.stage {
        1 => [0; 3],
        _ => [1, 2, 1],
    };
    expect_shown([0; 3], needed.map(|incoming| (0, incoming)))?;
    expect_uses(0)?;
    done!(unload());
    for file in ["handlers", "flbs"] {
        same!(table_of_driver(file)?, [""; 0], file);
    }
    Ok(())
}

fn file_open(_: &mut World) -> Result<()> {
    load()?;
    let file = A.file(1)?;
    expect_uses(1)?;
    drop(file);
    expect_uses(0)
}

/// An open file counts, a preserved one besides, and an FLB however many files need it.
fn preserved(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.create_session(b"session")?;
    done!(C.preserve(&session, 1)?);
    expect_uses(2)?;
    done!(B.preserve(&session, 2)?);
    expect_uses(2 + 3)?;
    done!(B.preserve(&session, 3)?);
    expect_uses(2 + 3 + 2)?;
    done!(A.preserve(&session, 4)?);
    expect_uses(2 + 3 + 2 + 4)?;
    expect_shown([1, 2, 1], [(1, 0), (3, 0), (1, 0)])?;
    drop(session);
    expect_uses(0)
}

/// A reference counts, and the FLB even without a file.
fn flb_referenced(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    done!(B.preserve(&session, 1)?);
    let reference = done!(FLBS[1].outgoing());
    expect_uses(4)?;
    drop(session);
    expect_uses(2)?;
    drop(reference);
    expect_uses(0)
}

fn preserve_fails(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    A.fail("can_preserve", 0, 1, None)?;
    refused!(A.preserve(&session, 1)?, ENOENT);
    for object in [A, FLBS[0], FLBS[1], FLBS[2]] {
        object.fail("preserve", 0, 1, Some(ESTALE as i32))?;
        refused!(A.preserve(&session, 1)?, ESTALE, object);
    }
    expect_uses(0)
}

fn hand_over(world: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    for (handler, number) in [(A, 1), (B, 2), (C, 3)] {
        done!(handler.preserve(&session, number)?);
    }
    world.keep(session);
    expect_uses(3 + 3 + 3)
}

/// What nobody knows is told of once. The device opens when its handlers are there.
fn waits_for_its_handlers(_: &mut World) -> Result<()> {
    let unknown = Log::from_start()?.lines_with("that nobody here knows")?;
    same!(unknown.len(), FLBS.len());
    for (line, flb) in unknown.iter().zip(FLBS) {
        same!(line.contains(&format!("FLB 'luo-test-{flb}'")), true, line);
    }

    for _ in 0..2 {
        refused!(Device::open(), EIO);
        let refusals = Log::from_start()?.lines_with(REFUSED)?;
        same!(refusals.len(), 3);
        for (line, (handler, token)) in refusals.iter().zip([(A, 1), (B, 2), (C, 3)]) {
            let why = format!(
                "(session 'session'): no file handler 'luo-test-{handler}' for token {token:#x}"
            );
            same!(line.contains(&why), true, line);
        }
    }

    // So the hand-over still waits.
    same!(Debugfs::default().handover()?, Handover::Pending);

    // One that comes and goes changes nothing.
    load()?;
    done!(unload());
    refused!(Device::open(), EIO);
    Ok(())
}

/// What the previous kernel handed over counts from the first open of the device on.
fn retrieve_and_finish(_: &mut World) -> Result<()> {
    load()?;
    done!(FLBS[0].incoming());
    expect_uses(1)?;
    let device = Device::open()?;
    expect_uses(1 + 3)?;
    expect_shown([1; 3], [(0, 1), (0, 2), (0, 1)])?;
    let session = device.retrieve_session(b"session")?;
    drop(device);
    let files: Vec<OwnedFd> = (1..=2)
        .map(|token| session.retrieve_fd(token))
        .collect::<liveupdate::Result<_>>()?;
    expect_uses(1 + 3 + 2)?;
    done!(session.finish());
    expect_uses(2)?;
    expect_shown([0; 3], [(0, 0); 3])?;
    drop(session);
    drop(files);
    expect_uses(0)?;
    done!(unload());
    Ok(())
}

/// A driver that has forgotten what is finished finds nothing handed over.
fn finished_for_good(_: &mut World) -> Result<()> {
    load()?;
    for flb in FLBS {
        refused!(flb.incoming(), ENOENT, flb);
    }
    expect_uses(0)?;
    done!(unload());
    Ok(())
}
