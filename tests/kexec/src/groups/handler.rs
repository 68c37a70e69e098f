// SPDX-License-Identifier: GPL-2.0

//! A file handler that says no: the caller hears it, and what can be tried again can be.

use crate::{
    check::outcome,
    differences::RETRIEVE_AFTER_UNFINISHED,
    driver::{self, B, FLBS},
    file::{content, memfd},
    Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use nix::errno::Errno::{EBUSY, ENODATA, ENOENT};
use std::{fs::File, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "handler",
    stages: &[
        &[
            ("cannot-preserve", cannot_preserve),
            ("preserve-fails", preserve_fails),
            ("hand-over", hand_over),
        ],
        &[
            ("retrieve-fails", retrieve_fails),
            ("cannot-finish", cannot_finish),
            ("closed-unfinished", closed_unfinished),
        ],
    ],
};

/// A file that its handler does not take is one without a handler.
fn cannot_preserve(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let file = B.file(1)?;
    B.fail("can_preserve", 0, 1, None)?;
    refused!(session.preserve_fd(file.as_fd(), 1), ENOENT);
    done!(session.preserve_fd(file.as_fd(), 1));
    driver::reset()
}

/// What was not preserved is not undone.
fn preserve_fails(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let (one, two, three) = (B.file(1)?, B.file(2)?, B.file(3)?);
    driver::reset()?;
    B.fail("preserve", 1, 1, Some(ENODATA as i32))?;
    done!(session.preserve_fd(one.as_fd(), 1));
    refused!(session.preserve_fd(two.as_fd(), 2), ENODATA);
    same!(B.calls("unpreserve")?, 0);
    done!(session.preserve_fd(three.as_fd(), 2));
    done!(session.preserve_fd(two.as_fd(), 3));
    drop(session);
    same!(B.calls("unpreserve")?, 3);
    driver::reset()
}

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    for (name, number) in [(&b"failing"[..], 1), (b"waiting", 3), (b"closed", 5)] {
        let session = device.create_session(name)?;
        session.preserve_fd(B.file(number)?.as_fd(), 1)?;
        session.preserve_fd(B.file(number + 1)?.as_fd(), 2)?;
        session.preserve_fd(memfd(name)?.as_fd(), 3)?;
        world.keep(session);
    }
    Ok(())
}

/// A handler is asked for a file once, and its answer stands.
fn retrieve_fails(_: &mut World) -> Result<()> {
    done!(driver::ask(&FLBS[1..2]));
    let session = Device::open()?.retrieve_session(b"failing")?;
    driver::reset()?;
    B.fail("retrieve", 0, 1, Some(ENODATA as i32))?;
    for _ in 0..3 {
        refused!(session.retrieve_fd(2), ENODATA);
    }
    for _ in 0..3 {
        same!(
            driver::number(&File::from(done!(session.retrieve_fd(1))))?,
            1
        );
    }
    same!(B.calls("retrieve")?, 2);
    same!(
        content(&File::from(done!(session.retrieve_fd(3))))?,
        b"failing"
    );
    done!(session.finish());
    same!(B.calls("finish")?, 2);
    Ok(())
}

/// One file that is not ready keeps all of them in the session.
fn cannot_finish(_: &mut World) -> Result<()> {
    let session = Device::open()?.retrieve_session(b"waiting")?;
    let file = File::from(done!(session.retrieve_fd(1)));
    for skip in 0..2 {
        driver::reset()?;
        B.fail("can_finish", skip, 1, None)?;
        refused!(session.finish(), EBUSY, skip);
        same!(B.calls("finish")?, 0, skip);
    }
    same!(driver::number(&file)?, 3);
    same!(
        driver::number(&File::from(done!(session.retrieve_fd(2))))?,
        4
    );
    same!(
        content(&File::from(done!(session.retrieve_fd(3))))?,
        b"waiting"
    );
    done!(session.finish());
    same!(B.calls("finish")?, 2);
    refused!(session.retrieve_fd(1), ENOENT);
    Ok(())
}

/// A session that is closed before its files are ready.
fn closed_unfinished(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let session = device.retrieve_session(b"closed")?;
    done!(session.retrieve_fd(1));
    driver::reset()?;
    B.fail("can_finish", 0, 1, None)?;
    drop(session);
    same!(B.calls("can_finish")?, 1);
    same!(B.calls("finish")?, 0);

    let session = device.retrieve_session(b"closed");
    same!(outcome(&session), *RETRIEVE_AFTER_UNFINISHED.on(world.luo));
    world.lost = session.is_err();
    RETRIEVE_AFTER_UNFINISHED.apart(|| {
        let Ok(session) = session else { return Ok(()) };
        for (token, number) in [(1, 5), (2, 6)] {
            same!(
                driver::number(&File::from(done!(session.retrieve_fd(token))))?,
                number
            );
        }
        done!(session.finish());
        same!(B.calls("finish")?, 2);
        Ok(())
    })
}
