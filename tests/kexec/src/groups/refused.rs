// SPDX-License-Identifier: GPL-2.0

//! A file that is not ready refuses the kexec: this kernel goes on with everything usable, and
//! another try hands all of it over.

use crate::{
    differences::UNFREEZE_ORDER,
    driver::{self, B, FLBS},
    file::{content, expect_frozen, expect_thawed, memfd},
    process::Log,
    Group, World,
};
use anyhow::Result;
use liveupdate::{Device, Session};
use nix::{
    errno::Errno::{EBUSY, EEXIST, ENODATA, ENOENT},
    sys::reboot::{reboot, RebootMode},
};
use std::{fs::File, io, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "refused",
    stages: &[
        &[
            ("order", order),
            ("every-file", every_file),
            ("hand-over", hand_over),
        ],
        &[("retrieve", retrieve)],
    ],
};

/// Expects a kexec to be refused by the file that is frozen after `skip` others.
fn refuse(skip: u32) -> Result<()> {
    driver::reset()?;
    B.fail("freeze", skip.into(), 1, Some(ENODATA as i32))?;
    let kexec = UNFREEZE_ORDER.apart(|| Ok(reboot(RebootMode::RB_KEXEC)))?;
    refused!(kexec.map_err(io::Error::from), ENODATA, skip);
    same!(B.calls("freeze")?, u64::from(skip) + 1);
    same!(B.calls("unfreeze")?, u64::from(skip));
    Ok(())
}

/// A session with files of the driver, under their numbers as tokens.
fn session(device: &Device, name: &[u8], numbers: &[u32]) -> Result<Session> {
    let session = done!(device.create_session(name));
    for &number in numbers {
        done!(B.preserve(&session, number)?, number);
    }
    Ok(session)
}

/// Exactly the frozen files are unfrozen.
fn order(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let _one = session(&device, b"one", &[1, 2])?;
    let _two = session(&device, b"two", &[3, 4, 5, 6])?;
    let mut log = Log::from_now()?;
    refuse(4)?;
    let mut calls = log.callbacks()?;
    let mut due = [[3, 4], [1, 2]];
    for session in &mut due {
        UNFREEZE_ORDER.on(world.luo)(session);
    }
    same!(
        calls.split_off(5),
        due.concat()
            .iter()
            .map(|number| format!("b unfreeze {number} = 0"))
            .collect::<Vec<_>>()
    );
    Ok(())
}

/// Whichever file refuses, the sessions stay what they are.
fn every_file(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let memory = memfd(b"memory")?;
    let one = session(&device, b"one", &[1, 2, 3])?;
    one.preserve_fd(memory.as_fd(), 0)?;
    let empty = session(&device, b"empty", &[])?;
    let two = session(&device, b"two", &[4, 5])?;
    for skip in 0..5 {
        refuse(skip)?;
        expect_frozen(&memory)?;
        for (session, name) in [(&one, &b"one"[..]), (&empty, b"empty"), (&two, b"two")] {
            same!(done!(session.name()), name);
            let (more, token) = (memfd(name)?, u64::from(100 + skip));
            refused!(session.preserve_fd(memory.as_fd(), token), EBUSY, skip);
            done!(session.preserve_fd(more.as_fd(), token), skip);
            refused!(session.preserve_fd(more.as_fd(), token), EEXIST, skip);
        }
        refused!(device.create_session(b"empty"), EEXIST, skip);
    }
    drop(one);
    expect_thawed(&memory)
}

/// More files than a block holds, refused and then not.
fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let one = session(&device, b"one", &[1])?;
    for token in 100..170 {
        one.preserve_fd(memfd(format!("{token}").as_bytes())?.as_fd(), token)?;
    }
    done!(B.preserve(&one, 2)?);
    let closed = session(&device, b"closed", &[3])?;
    let two = session(&device, b"two", &[4])?;
    refuse(3)?;
    refuse(1)?;
    drop(closed);
    done!(B.preserve(&one, 5)?);
    let three = session(&device, b"three", &[6])?;
    for session in [one, two, three] {
        world.keep(session);
    }
    driver::reset()
}

fn retrieve(_: &mut World) -> Result<()> {
    done!(driver::ask(&FLBS[1..2]));
    let device = Device::open()?;
    refused!(device.retrieve_session(b"closed"), ENOENT);
    for (name, numbers) in [
        (&b"three"[..], &[6][..]),
        (b"one", &[1, 2, 5]),
        (b"two", &[4]),
    ] {
        let session = done!(device.retrieve_session(name));
        for &number in numbers {
            let file = File::from(done!(session.retrieve_fd(u64::from(number)), number));
            same!(driver::number(&file)?, number);
        }
        if name == b"one" {
            for token in 100..170 {
                let file = File::from(done!(session.retrieve_fd(token), token));
                same!(content(&file)?, format!("{token}").into_bytes());
            }
        }
        done!(session.finish());
    }
    Ok(())
}
