// SPDX-License-Identifier: GPL-2.0

//! What the tracepoints tell of every operation, in order and field by field, and of a restore that
//! was traced from the start of the kernel.
//!
//! Only the Rust LUO has tracepoints. Whoever runs this starts the second kernel with
//! `trace_event=liveupdate:*`.

use crate::{
    driver::{self, A, B, C, FLBS},
    tracefs::Tracefs,
    Group, World,
};
use anyhow::{ensure, Result};
use liveupdate::Device;
use nix::{
    errno::Errno::{EBUSY, EEXIST, EINVAL, EIO, ENODATA, ENOENT},
    sys::reboot::{reboot, RebootMode},
};
use std::{io, os::fd::AsFd};

pub const GROUP: Group = Group {
    name: "traced",
    stages: &[
        &[
            ("tracepoints", tracepoints),
            ("preserve", preserve),
            ("what-fails", what_fails),
            ("refused-reboot", refused_reboot),
            ("durations", durations),
            ("off", off),
            ("hand-over", hand_over),
        ],
        &[
            ("restore", restore),
            ("retrieve", retrieve),
            ("finish", finish),
            ("close", close),
            ("flbs", flbs),
        ],
    ],
};

const NAMES: [&str; 20] = [
    "luo_file_can_finish",
    "luo_file_finish",
    "luo_file_freeze",
    "luo_file_preserve",
    "luo_file_retrieve",
    "luo_file_unfreeze",
    "luo_file_unpreserve",
    "luo_flb_finish",
    "luo_flb_preserve",
    "luo_flb_retrieve",
    "luo_flb_unpreserve",
    "luo_refuse",
    "luo_restore_begin",
    "luo_restore_end",
    "luo_serialize_begin",
    "luo_serialize_end",
    "luo_session_close",
    "luo_session_create",
    "luo_session_finish",
    "luo_session_retrieve",
];

/// What tells of a session.
fn session(what: &str, session: &str, ret: i32) -> String {
    format!("luo_session_{what}: session={session} ret={ret}")
}

/// What tells of a file.
fn file(what: &str, session: &str, token: u32, handler: driver::Object, ret: i32) -> String {
    format!(
        "luo_file_{what}: session={session} token={token:#x} handler=luo-test-{handler} ret={ret}"
    )
}

/// What tells of one of the driver's FLBs.
fn flb(what: &str, number: u32, ret: i32) -> String {
    format!("luo_flb_{what}: flb=luo-test-flb-{number} ret={ret}")
}

/// Records what `body` does, and gives that.
fn traced(body: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    let tracefs = Tracefs::mounted()?;
    tracefs.record(true)?;
    tracefs.take()?;
    let result = body();
    tracefs.record(false)?;
    result?;
    tracefs.texts()
}

fn tracepoints(_: &mut World) -> Result<()> {
    let tracefs = Tracefs::mounted()?;
    same!(tracefs.names()?, NAMES);
    same!(tracefs.recorded()?, "0");
    Ok(())
}

fn preserve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let events = traced(|| {
        let one = done!(device.create_session(b"one"));
        done!(A.preserve(&one, 1)?);
        done!(B.preserve(&one, 2)?);
        done!(C.preserve(&one, 3)?);
        drop(one);
        Ok(())
    })?;
    same!(
        events,
        [
            session("create", "one", 0),
            flb("preserve", 1, 0),
            flb("preserve", 2, 0),
            flb("preserve", 3, 0),
            file("preserve", "one", 1, A, 0),
            file("preserve", "one", 2, B, 0),
            file("preserve", "one", 3, C, 0),
            file("unpreserve", "one", 3, C, 0),
            file("unpreserve", "one", 2, B, 0),
            file("unpreserve", "one", 1, A, 0),
            flb("unpreserve", 3, 0),
            flb("unpreserve", 2, 0),
            flb("unpreserve", 1, 0),
            session("close", "one", 0),
        ]
    );

    // A memfd is a file like any other.
    let events = traced(|| {
        let session = done!(device.create_session(b"a"));
        done!(session.preserve_fd(crate::file::memfd(b"memory")?.as_fd(), u64::MAX));
        Ok(())
    })?;
    let memfd = |what| {
        let max = u64::MAX;
        format!("luo_file_{what}: session=a token={max:#x} handler=memfd-v2 ret=0")
    };
    same!(
        events,
        [
            session("create", "a", 0),
            memfd("preserve"),
            memfd("unpreserve"),
            session("close", "a", 0)
        ]
    );
    Ok(())
}

/// A failure has its errno, and what it undoes comes behind it.
fn what_fails(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let one = done!(device.create_session(b"one"));
    let events = traced(|| {
        refused!(device.create_session(b"one"), EEXIST);
        refused!(device.retrieve_session(b"one"), ENOENT);
        A.fail("preserve", 0, 1, Some(ENODATA as i32))?;
        refused!(A.preserve(&one, 1)?, ENODATA);
        FLBS[1].fail("preserve", 0, 1, Some(EIO as i32))?;
        refused!(A.preserve(&one, 1)?, EIO);
        Ok(())
    })?;
    same!(
        events,
        [
            session("create", "one", -(EEXIST as i32)),
            session("retrieve", "one", -(ENOENT as i32)),
            flb("preserve", 1, 0),
            flb("preserve", 2, 0),
            flb("preserve", 3, 0),
            file("preserve", "one", 1, A, -(ENODATA as i32)),
            flb("unpreserve", 3, 0),
            flb("unpreserve", 2, 0),
            flb("unpreserve", 1, 0),
            flb("preserve", 1, 0),
            flb("preserve", 2, -(EIO as i32)),
            flb("unpreserve", 1, 0),
        ]
    );
    driver::reset()
}

fn refused_reboot(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let one = done!(device.create_session(b"one"));
    let two = done!(device.create_session(b"two"));
    for number in [1, 2] {
        done!(A.preserve(&one, number)?);
    }
    for (handler, number) in [(A, 3), (B, 4), (A, 5)] {
        done!(handler.preserve(&two, number)?);
    }
    let events = traced(|| {
        B.fail("freeze", 0, 1, Some(EBUSY as i32))?;
        let kexec = reboot(RebootMode::RB_KEXEC).map_err(io::Error::from);
        refused!(kexec, EBUSY);
        Ok(())
    })?;
    same!(
        events,
        [
            "luo_serialize_begin: sessions=2".to_owned(),
            file("freeze", "one", 1, A, 0),
            file("freeze", "one", 2, A, 0),
            file("freeze", "two", 3, A, 0),
            file("freeze", "two", 4, B, -(EBUSY as i32)),
            file("unfreeze", "two", 3, A, 0),
            file("unfreeze", "one", 2, A, 0),
            file("unfreeze", "one", 1, A, 0),
            "luo_serialize_end: sessions=2 ret=-16".to_owned(),
        ]
    );
    driver::reset()
}

/// How long a callback took: at least as long as it was told to.
fn durations(_: &mut World) -> Result<()> {
    const DELAY: u32 = 50;

    driver::reset()?;
    let tracefs = Tracefs::mounted()?;
    let one = Device::open()?.create_session(b"one")?;
    tracefs.record(true)?;
    tracefs.take()?;
    for object in [A, FLBS[2]] {
        for callback in ["preserve", "unpreserve"] {
            object.delay(callback, DELAY)?;
        }
    }
    done!(A.preserve(&one, 1)?);
    drop(one);
    tracefs.record(false)?;
    let mut slow = 0;
    for event in tracefs.take()? {
        let delayed = event.text.contains("luo-test-a") || event.text.contains("luo-test-flb-3");
        let Some(duration) = event.duration else {
            same!(event.text, session("close", "one", 0));
            continue;
        };
        let due = if delayed { DELAY.into() } else { 0 } * 1_000_000;
        ensure!(duration > due, "{event:?}");
        slow += u32::from(delayed);
    }
    same!(slow, 4);
    driver::reset()
}

/// What is not to be recorded is not.
fn off(_: &mut World) -> Result<()> {
    let tracefs = Tracefs::mounted()?;
    tracefs.take()?;
    let session = Device::open()?.create_session(b"one")?;
    done!(A.preserve(&session, 1)?);
    drop(session);
    same!(tracefs.texts()?, [""; 0]);
    Ok(())
}

fn hand_over(world: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    for (name, files) in [
        ("one", &[(A, 1), (B, 2), (C, 3)][..]),
        ("two", &[(B, 4), (C, 5)]),
        ("three", &[(C, 6)]),
    ] {
        let session = device.create_session(name.as_bytes())?;
        for &(handler, number) in files {
            done!(handler.preserve(&session, number)?);
        }
        world.keep(session);
    }
    Ok(())
}

/// What the kernel did before anybody could ask for it.
fn restore(_: &mut World) -> Result<()> {
    let tracefs = Tracefs::mounted()?;
    same!(tracefs.recorded()?, "1");
    // This program may open the device first.
    drop(done!(Device::open()));
    drop(done!(Device::open()));
    same!(
        tracefs.texts()?,
        [
            "luo_restore_begin: sessions=3",
            "luo_restore_end: sessions=3 ret=0"
        ]
    );
    tracefs.record(false)
}

fn retrieve(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let mut kept = None;
    let events = traced(|| {
        let one = done!(device.retrieve_session(b"one"));
        refused!(device.retrieve_session(b"one"), EINVAL);
        B.fail("retrieve", 0, 1, Some(ENODATA as i32))?;
        done!(one.retrieve_fd(3));
        // The handler is asked once.
        done!(one.retrieve_fd(3));
        refused!(one.retrieve_fd(2), ENODATA);
        refused!(one.retrieve_fd(2), ENODATA);
        refused!(one.retrieve_fd(9), ENOENT);
        done!(one.retrieve_fd(1));
        kept = Some(one);
        Ok(())
    })?;
    same!(
        events,
        [
            session("retrieve", "one", 0),
            session("retrieve", "one", -(EINVAL as i32)),
            file("retrieve", "one", 3, C, 0),
            file("retrieve", "one", 2, B, -(ENODATA as i32)),
            file("retrieve", "one", 1, A, 0),
        ]
    );
    driver::reset()?;
    let one = kept;
    let events = traced(|| {
        drop(one);
        Ok(())
    })?;
    same!(
        events,
        [
            file("can_finish", "one", 1, A, 1),
            file("can_finish", "one", 2, B, 1),
            file("finish", "one", 3, C, 0),
            file("finish", "one", 2, B, 0),
            file("finish", "one", 1, A, 0),
            flb("retrieve", 3, 0),
            flb("finish", 3, 0),
            flb("retrieve", 1, 0),
            flb("finish", 1, 0),
            session("close", "one", 0),
        ]
    );
    Ok(())
}

/// What says no, which is a 0, and then yes.
fn finish(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let two = done!(device.retrieve_session(b"two"));
    done!(two.retrieve_fd(4));
    B.fail("can_finish", 0, 1, None)?;
    let events = traced(|| {
        refused!(two.finish(), EBUSY);
        done!(two.finish());
        drop(two);
        Ok(())
    })?;
    same!(
        events,
        [
            file("can_finish", "two", 4, B, 0),
            session("finish", "two", -(EBUSY as i32)),
            file("can_finish", "two", 4, B, 1),
            file("finish", "two", 5, C, 0),
            file("finish", "two", 4, B, 0),
            flb("retrieve", 2, 0),
            flb("finish", 2, 0),
            session("finish", "two", 0),
            session("close", "two", 0),
        ]
    );
    Ok(())
}

fn close(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let events = traced(|| {
        drop(done!(device.retrieve_session(b"three")));
        Ok(())
    })?;
    same!(
        events,
        [
            session("retrieve", "three", 0),
            file("finish", "three", 6, C, 0),
            session("close", "three", 0)
        ]
    );
    Ok(())
}

/// References make no events once an FLB is there.
fn flbs(_: &mut World) -> Result<()> {
    driver::reset()?;
    let one = Device::open()?.create_session(b"one")?;
    let events = traced(|| {
        done!(B.preserve(&one, 1)?);
        let reference = done!(FLBS[1].outgoing());
        drop(one);
        drop(reference);
        Ok(())
    })?;
    same!(
        events,
        [
            flb("preserve", 2, 0),
            file("preserve", "one", 1, B, 0),
            file("unpreserve", "one", 1, B, 0),
            session("close", "one", 0),
            flb("unpreserve", 2, 0),
        ]
    );
    Ok(())
}
