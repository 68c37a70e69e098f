// SPDX-License-Identifier: GPL-2.0

//! A guest's memory, by the crate's own calls: found again by its tokens, if it is what is expected,
//! by several threads; and what cannot be done to it while it is preserved.

use crate::{abi::ABI, Group, World};
use anyhow::{bail, Result};
use liveupdate::{
    ram::{Error, Ram, Region},
    Device, Session,
};
use luo_guest::PAGE;
use nix::{
    errno::Errno::{self, EAGAIN, EBUSY, EEXIST, ENOENT, EPERM},
    fcntl::{fallocate, FallocateFlags},
};
use std::{fs::File, io, num::NonZeroUsize, os::unix::fs::FileExt};

pub const GROUP: Group = Group {
    name: "ram",
    stages: &[
        &[("collapse", collapse), ("preserve", preserve)],
        &[("not-as-expected", not_as_expected), ("retrieve", retrieve)],
    ],
};

const NAME: &[u8] = b"ram";
const BASE: u64 = 0x100;

/// Half of a huge page, if a memfd can have such.
fn half() -> u64 {
    if ABI.huge {
        ABI.folio / 2
    } else {
        1 << 20
    }
}

/// Two regions around a hole, in one file, and two in files of their own.
fn regions() -> [Region; 4] {
    let (page, half) = (*PAGE as u64, half());
    [
        Region::new(0, 0, 3 * half),
        Region::new(1, 4 * half, half + page).within(0, 3 * half),
        Region::new(2, 8 * half, half),
        Region::new(9, 16 * half, page),
    ]
}

/// What is in the last word of a region.
fn mark(region: &Region) -> [u8; 8] {
    (region.address ^ 0x5a5a).to_le_bytes()
}

fn file(ram: &Ram, number: u32) -> Result<&File> {
    ram.file(number)
        .ok_or_else(|| anyhow::anyhow!("no file {number}"))
}

/// Expects a call about a file to fail with an errno.
fn expect_refused<T>(result: Result<T, Error>, number: u32, errno: Errno) -> Result<()> {
    match result {
        Err(Error::Session { file, error }) => {
            same!(file, number);
            refused!(Err::<(), _>(error), errno);
            Ok(())
        }
        Err(error) => bail!("another error: {error}"),
        Ok(_) => bail!("no error, where {errno} was due"),
    }
}

/// All that is large enough comes to be in huge pages, as far as it may still be moved. Where memfds
/// have none, nothing is: the regions are smaller than one.
fn collapse(_: &mut World) -> Result<()> {
    let (huge, refused) = match ABI.huge {
        true => (4 * half(), Some(EAGAIN as i32)),
        false => (0, None),
    };
    let ram = Ram::create(&regions())?;
    let session = Device::open()?.create_session(NAME)?;
    ram.preserve(&session, BASE)?;
    let collapsed = ram.collapse()?;
    same!(collapsed.size, 5 * half() + 2 * *PAGE as u64);
    same!(collapsed.huge, 0);
    same!(collapsed.refused, refused);

    drop(session);
    let collapsed = ram.collapse()?;
    same!(collapsed.huge, huge);
    same!(collapsed.refused, None);
    Ok(())
}

fn preserve(world: &mut World) -> Result<()> {
    let ram = Ram::create(&regions())?;
    let device = Device::open()?;
    let session = device.create_session(NAME)?;
    ram.preserve(&session, BASE)?;

    expect_refused(ram.preserve(&session, BASE), 0, EEXIST)?;
    let other = device.create_session(b"other")?;
    expect_refused(ram.preserve(&other, BASE), 0, EBUSY)?;
    drop(other);

    for region in ram.regions() {
        let file = file(&ram, region.file)?;
        refused!(file.set_len(region.offset), EPERM);
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let punched = fallocate(file, punch, 0, *PAGE as i64).map_err(io::Error::from);
        refused!(punched, EPERM);
        done!(file.write_all_at(&mark(region), region.offset + region.size - 8));
    }
    world.keep(session);
    Ok(())
}

fn attempt(session: &Session, base: u64, regions: &[Region], threads: usize) -> Result<Ram, Error> {
    Ram::retrieve(
        session,
        base,
        regions,
        NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN),
    )
}

fn not_as_expected(world: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(NAME)?;
    for size in [2 * half(), half() - *PAGE as u64] {
        let mut regions = regions();
        regions[2].size = size;
        match attempt(&session, BASE, &regions, 2) {
            Err(Error::Size { file, found, due }) => same!((file, found, due), (2, half(), size)),
            other => bail!("{other:?}"),
        }
    }
    expect_refused(attempt(&session, BASE + 1, &regions()[..1], 1), 0, ENOENT)?;
    world.keep(session);
    Ok(())
}

/// What was refused is still there.
fn retrieve(world: &mut World) -> Result<()> {
    let Some(session) = world.kept.pop().map(Session::from) else {
        bail!("no session")
    };
    let ram = attempt(&session, BASE, &regions(), 3)?;
    for region in ram.regions() {
        let mut seen = [0; 8];
        let end = region.offset + region.size;
        done!(file(&ram, region.file)?.read_exact_at(&mut seen, end - 8));
        same!(seen, mark(region), region.slot);
    }
    same!(ram.map()?.len(), regions().len());
    done!(session.finish());
    Ok(())
}
