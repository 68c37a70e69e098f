// SPDX-License-Identifier: GPL-2.0

//! What files share (FLBs) is preserved with the first of them and finished with the last,
//! whichever handlers and sessions they have.

use crate::{
    differences::{FLB_COUNTS_REFERENCES, FLB_MUST_BE_ASKED_FOR},
    driver::{self, Object, A, B, C, FLBS},
    process::Log,
    Group, World,
};
use anyhow::Result;
use liveupdate::{Device, Session};
use nix::errno::Errno::{ENODATA, ENOENT};

pub const GROUP: Group = Group {
    name: "flb",
    stages: &[
        &[
            ("nothing-handed-over", nothing_handed_over),
            ("handlers-in-order", handlers_in_order),
            ("shared", shared),
            ("reference", reference),
            ("hand-over", hand_over),
        ],
        &[
            ("retrieved-once", retrieved_once),
            ("finished-with-the-last", finished_with_the_last),
            ("preserved-anew", preserved_anew),
            ("hand-over", hand_over),
        ],
        &[("not-asked-for", not_asked_for)],
    ],
};

pub const REFERENCED: Group = Group {
    name: "flb-referenced",
    stages: &[
        &[("hand-over", hold_and_hand_over)],
        &[("files-count", files_count)],
    ],
};

/// References to an FLB that a file needs, and to one that none needs any more.
fn hold_and_hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let gone = device.create_session(b"gone")?;
    done!(A.preserve(&gone, 1)?);
    let session = device.create_session(b"session")?;
    done!(B.preserve(&session, 2)?);
    world.keep(done!(FLBS[0].outgoing()));
    world.keep(done!(FLBS[1].outgoing()));
    drop(gone);
    refused!(FLBS[2].outgoing(), ENOENT);
    world.keep(session);
    Ok(())
}

/// With the last file goes what was handed over with it.
fn files_count(world: &mut World) -> Result<()> {
    let references = *FLB_COUNTS_REFERENCES.on(world.previous);
    FLB_COUNTS_REFERENCES.apart(|| {
        if references {
            done!(FLBS[0].incoming());
        } else {
            refused!(FLBS[0].incoming(), ENOENT);
        }
        refused!(FLBS[2].incoming(), ENOENT);
        done!(FLBS[1].incoming());
        finished(&Device::open()?, b"session")?;
        if references {
            done!(FLBS[1].incoming());
        } else {
            refused!(FLBS[1].incoming(), ENODATA);
        }
        Ok(())
    })
}

/// A kernel that no live update led to.
fn nothing_handed_over(_: &mut World) -> Result<()> {
    for flb in FLBS {
        refused!(flb.incoming(), ENODATA, flb);
        refused!(flb.outgoing(), ENOENT, flb);
    }
    Ok(())
}

/// The handlers are asked in the order of their registration until one takes the file.
fn handlers_in_order(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    let mut log = Log::from_now()?;
    for (number, handler, due) in [
        (1, A, &["a can_preserve 1 = 1"][..]),
        (2, B, &["a can_preserve 2 = 0", "b can_preserve 2 = 1"]),
        (
            3,
            C,
            &[
                "a can_preserve 3 = 0",
                "b can_preserve 3 = 0",
                "c can_preserve 3 = 1",
            ],
        ),
    ] {
        done!(handler.preserve(&session, number)?);
        let mut calls = log.callbacks()?;
        calls.retain(|call| call.contains(" can_preserve "));
        same!(calls, due);
    }
    Ok(())
}

/// Preserves a new file of a handler, and gives the callbacks that this took, in order.
fn preserve(session: &Session, handler: Object, number: u32) -> Result<Vec<String>> {
    let mut log = Log::from_now()?;
    done!(handler.preserve(session, number)?);
    log.changes()
}

/// Drops a session or a reference, and gives the callbacks that this took, in order.
fn dropped<T>(what: T) -> Result<Vec<String>> {
    let mut log = Log::from_now()?;
    drop(what);
    log.callbacks()
}

/// Two handlers and two sessions.
fn shared(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let (one, two) = (
        device.create_session(b"one")?,
        device.create_session(b"two")?,
    );
    same!(
        preserve(&one, A, 1)?,
        [
            "flb-1 preserve 1 = 0",
            "flb-2 preserve 1 = 0",
            "flb-3 preserve 1 = 0",
            "a preserve 1 = 0",
        ]
    );
    same!(preserve(&one, B, 2)?, ["b preserve 2 = 0"]);
    same!(preserve(&two, B, 3)?, ["b preserve 3 = 0"]);
    same!(preserve(&two, C, 4)?, ["c preserve 4 = 0"]);
    same!(
        dropped(one)?,
        [
            "b unpreserve 2 = 0",
            "a unpreserve 1 = 0",
            "flb-3 unpreserve 1 = 0",
            "flb-1 unpreserve 1 = 0",
        ]
    );
    same!(
        dropped(two)?,
        [
            "c unpreserve 4 = 0",
            "b unpreserve 3 = 0",
            "flb-2 unpreserve 1 = 0",
        ]
    );
    Ok(())
}

/// Who holds a reference to an FLB keeps it preserved, without any file.
fn reference(_: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    let flb = FLBS[1];
    refused!(flb.outgoing(), ENOENT);
    let session = device.create_session(b"session")?;
    same!(
        preserve(&session, B, 1)?,
        ["flb-2 preserve 1 = 0", "b preserve 1 = 0"]
    );
    let reference = done!(flb.outgoing());
    same!(dropped(session)?, ["b unpreserve 1 = 0"]);

    let session = device.create_session(b"session")?;
    same!(preserve(&session, B, 2)?, ["b preserve 2 = 0"]);
    let another = done!(flb.outgoing());
    same!(dropped(session)?, ["b unpreserve 2 = 0"]);
    same!(driver::number(&another)?, 1);
    same!(dropped(reference)?, [""; 0]);
    same!(dropped(another)?, ["flb-2 unpreserve 1 = 0"]);
    refused!(flb.outgoing(), ENOENT);
    Ok(())
}

fn hand_over(world: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    for (name, files) in [(&b"one"[..], &[(A, 1), (B, 2)][..]), (b"two", &[(B, 3)])] {
        let session = device.create_session(name)?;
        for &(handler, number) in files {
            preserve(&session, handler, number)?;
        }
        world.keep(session);
    }
    Ok(())
}

/// The first who asks has the FLB retrieved.
fn retrieved_once(_: &mut World) -> Result<()> {
    let mut log = Log::from_now()?;
    for flb in FLBS {
        same!(flb.calls("retrieve")?, 0, flb);
        let reference = done!(flb.incoming());
        same!(log.callbacks()?, [format!("{flb} retrieve 1 = 0")]);
        let another = done!(flb.incoming());
        same!(driver::number(&reference)?, 1);
        same!(driver::number(&another)?, 1);
        drop((reference, another));
        done!(flb.incoming());
        same!(log.callbacks()?, [""; 0], flb);
    }
    Ok(())
}

/// Finishes a session, and gives the callbacks that this took, in order.
fn finished(device: &Device, name: &[u8]) -> Result<Vec<String>> {
    let session = done!(device.retrieve_session(name));
    let mut log = Log::from_now()?;
    done!(session.finish());
    log.callbacks()
}

/// A reference counts like a file.
fn finished_with_the_last(_: &mut World) -> Result<()> {
    let device = Device::open()?;
    let reference = done!(FLBS[0].incoming());
    same!(
        finished(&device, b"two")?,
        ["b can_finish 3 = 1", "b finish 3 = 0"]
    );
    done!(FLBS[1].incoming());
    same!(
        finished(&device, b"one")?,
        [
            "a can_finish 1 = 1",
            "b can_finish 2 = 1",
            "b finish 2 = 0",
            "a finish 1 = 0",
            "flb-3 finish 1 = 0",
            "flb-2 finish 1 = 0",
        ]
    );
    refused!(FLBS[1].incoming(), ENODATA);
    refused!(FLBS[2].incoming(), ENODATA);
    same!(driver::number(&done!(FLBS[0].incoming()))?, 1);
    same!(dropped(reference)?, ["flb-1 finish 1 = 0"]);
    refused!(FLBS[0].incoming(), ENODATA);
    Ok(())
}

/// What was finished can be preserved for the next kernel.
fn preserved_anew(_: &mut World) -> Result<()> {
    let session = Device::open()?.create_session(b"session")?;
    same!(
        preserve(&session, B, 1)?,
        ["flb-2 preserve 1 = 0", "b preserve 1 = 0"]
    );
    refused!(FLBS[1].incoming(), ENODATA);
    same!(
        dropped(session)?,
        ["b unpreserve 1 = 0", "flb-2 unpreserve 1 = 0"]
    );
    Ok(())
}

/// An FLB that nobody wants is not left behind.
fn not_asked_for(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let asked = *FLB_MUST_BE_ASKED_FOR.on(world.luo);
    FLB_MUST_BE_ASKED_FOR.apart(|| {
        if asked {
            done!(driver::ask(&FLBS));
        }
        same!(
            finished(&device, b"one")?,
            [
                &["a can_finish 1 = 1", "b can_finish 2 = 1", "b finish 2 = 0"][..],
                &["a finish 1 = 0"],
                if asked {
                    &["flb-3 finish 1 = 0", "flb-1 finish 1 = 0"]
                } else {
                    &[
                        "flb-3 retrieve 1 = 0",
                        "flb-3 finish 1 = 0",
                        "flb-1 retrieve 1 = 0",
                        "flb-1 finish 1 = 0",
                    ]
                },
            ]
            .concat()
        );
        same!(
            finished(&device, b"two")?,
            [
                &["b can_finish 3 = 1", "b finish 3 = 0"][..],
                if asked {
                    &[]
                } else {
                    &["flb-2 retrieve 1 = 0"]
                },
                &["flb-2 finish 1 = 0"],
            ]
            .concat()
        );
        Ok(())
    })?;
    for flb in FLBS {
        refused!(flb.incoming(), ENODATA, flb);
    }
    Ok(())
}
