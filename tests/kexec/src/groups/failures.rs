// SPDX-License-Identifier: GPL-2.0

//! Every callback that can fail does, for the first, a middle and the last of three files: what
//! had been done is undone, in order, and nothing else is.

use crate::{
    differences::{FINISH_WITH_FAILED_FLB, UNFREEZE_ORDER},
    driver::{self, Object, A, B, C, FLBS},
    process::Log,
    Group, World,
};
use anyhow::Result;
use liveupdate::Device;
use nix::{
    errno::Errno::{self, EBUSY, ENOENT},
    sys::reboot::{reboot, RebootMode},
};
use std::{fmt::Display, fs::File, io, ops::Range};

pub const GROUP: Group = Group {
    name: "failures",
    stages: &[
        &[
            ("can-preserve", can_preserve),
            ("preserve", preserve),
            ("flb-preserve", flb_preserve),
            ("flb-preserve-while-shared", flb_preserve_while_shared),
            ("freeze", freeze),
            ("hand-over", hand_over),
        ],
        &[
            ("retrieve-and-finish", retrieve_and_finish),
            ("hand-over-flbs", hand_over_flbs),
        ],
        &[
            ("first-flb-retrieve", flb_retrieve::<0>),
            ("hand-over-flbs", hand_over_flbs),
        ],
        &[
            ("middle-flb-retrieve", flb_retrieve::<1>),
            ("hand-over-flbs", hand_over_flbs),
        ],
        &[("last-flb-retrieve", flb_retrieve::<2>)],
    ],
};

/// The error of whatever is made to fail, one that LUO has no use for.
const ERROR: Errno = Errno::ESTALE;
/// The error as a result in the log.
const FAILED: i32 = -(ERROR as i32);

/// The positions of a failure among three files.
const POSITIONS: Range<usize> = 0..3;

/// The same callback of several objects, one after the other.
fn each<T: Display>(
    objects: impl IntoIterator<Item = T>,
    callback: &str,
    number: u32,
) -> Vec<String> {
    objects
        .into_iter()
        .map(|object| format!("{object} {callback} {number} = 0"))
        .collect()
}

/// The same callback for several files of one handler, one after the other.
fn files(handler: Object, callback: &str, result: i32, numbers: &[u32]) -> Vec<String> {
    numbers
        .iter()
        .map(|number| format!("{handler} {callback} {number} = {result}"))
        .collect()
}

/// Files 1 to 3, of which that at `failing` was not preserved; last to first.
fn others(failing: usize) -> Vec<u32> {
    (1..=3)
        .rev()
        .filter(|&n| n as usize != failing + 1)
        .collect()
}

/// Nobody takes the file.
fn can_preserve(_: &mut World) -> Result<()> {
    for failing in POSITIONS {
        driver::reset()?;
        A.fail("can_preserve", failing.try_into()?, 1, None)?;
        let session = Device::open()?.create_session(b"session")?;
        for (at, number) in POSITIONS.zip(1..) {
            let mut log = Log::from_now()?;
            let result = A.preserve(&session, number)?;
            if at == failing {
                refused!(result, ENOENT, failing);
                same!(
                    log.callbacks()?,
                    [A, B, C].map(|handler| format!("{handler} can_preserve {number} = 0"))
                );
            } else {
                done!(result, failing);
            }
        }
        let mut log = Log::from_now()?;
        drop(session);
        same!(
            log.callbacks()?,
            [
                files(A, "unpreserve", 0, &others(failing)),
                each(FLBS.into_iter().rev(), "unpreserve", 1),
            ]
            .concat(),
            failing
        );
    }
    Ok(())
}

/// The FLBs that were preserved for the file are undone.
fn preserve(_: &mut World) -> Result<()> {
    for failing in POSITIONS {
        driver::reset()?;
        A.fail("preserve", failing.try_into()?, 1, Some(ERROR as i32))?;
        let session = Device::open()?.create_session(b"session")?;
        for (at, number) in POSITIONS.zip(1..) {
            let mut log = Log::from_now()?;
            let result = A.preserve(&session, number)?;
            // The file after a first one that failed is the first one.
            let mut due = match (at, failing) {
                (0, _) => each(FLBS, "preserve", 1),
                (1, 0) => each(FLBS, "preserve", 2),
                _ => vec![],
            };
            if at == failing {
                refused!(result, ERROR, failing);
                due.push(format!("a preserve {number} = {FAILED}"));
                if at == 0 {
                    due.extend(each(FLBS.into_iter().rev(), "unpreserve", 1));
                }
            } else {
                done!(result, failing);
                due.push(format!("a preserve {number} = 0"));
            }
            same!(log.changes()?, due, failing);
        }
        let mut log = Log::from_now()?;
        drop(session);
        let flb = if failing == 0 { 2 } else { 1 };
        same!(
            log.callbacks()?,
            [
                files(A, "unpreserve", 0, &others(failing)),
                each(FLBS.into_iter().rev(), "unpreserve", flb),
            ]
            .concat(),
            failing
        );
    }
    Ok(())
}

/// The FLBs before the one that fails are undone, and the file is not preserved.
///
/// An FLB is preserved with the first file that needs it: the files before it need none.
fn flb_preserve(_: &mut World) -> Result<()> {
    for (which, failing_flb) in FLBS.iter().enumerate() {
        for failing in POSITIONS {
            driver::reset()?;
            failing_flb.fail("preserve", 0, 1, Some(ERROR as i32))?;
            let session = Device::open()?.create_session(b"session")?;
            for (at, number) in POSITIONS.zip(1..) {
                let mut log = Log::from_now()?;
                let handler = if at == failing { A } else { C };
                let result = handler.preserve(&session, number)?;
                if at == failing {
                    refused!(result, ERROR, failing_flb, failing);
                    let mut due = each(&FLBS[..which], "preserve", 1);
                    due.push(format!("{failing_flb} preserve 1 = {FAILED}"));
                    due.extend(each(FLBS[..which].iter().rev(), "unpreserve", 1));
                    same!(log.changes()?, due, failing_flb, failing);
                } else {
                    done!(result, failing_flb, failing);
                }
            }
            let mut log = Log::from_now()?;
            drop(session);
            let due = files(C, "unpreserve", 0, &others(failing));
            same!(log.callbacks()?, due, failing_flb, failing);
        }
    }
    Ok(())
}

/// What other files need stays preserved.
fn flb_preserve_while_shared(_: &mut World) -> Result<()> {
    driver::reset()?;
    FLBS[2].fail("preserve", 0, 1, Some(ERROR as i32))?;
    let session = Device::open()?.create_session(b"session")?;
    done!(B.preserve(&session, 1)?);
    let mut log = Log::from_now()?;
    refused!(A.preserve(&session, 2)?, ERROR);
    same!(
        log.changes()?,
        [
            "flb-1 preserve 1 = 0",
            "flb-3 preserve 1 = -116",
            "flb-1 unpreserve 1 = 0",
        ]
    );
    done!(A.preserve(&session, 2)?);
    same!(
        log.changes()?,
        [
            "flb-1 preserve 2 = 0",
            "flb-3 preserve 2 = 0",
            "a preserve 2 = 0",
        ]
    );
    drop(session);
    same!(
        log.callbacks()?,
        [
            "a unpreserve 2 = 0",
            "flb-3 unpreserve 2 = 0",
            "flb-1 unpreserve 2 = 0",
            "b unpreserve 1 = 0",
            "flb-2 unpreserve 1 = 0",
        ]
    );
    Ok(())
}

/// The second of three sessions has a file that refuses.
fn freeze(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let (before, failing_session, after) = (
        device.create_session(b"before")?,
        device.create_session(b"failing")?,
        device.create_session(b"after")?,
    );
    for number in [1, 2] {
        done!(B.preserve(&before, number)?);
    }
    done!(C.preserve(&before, 3)?);
    for number in [4, 5, 6] {
        done!(A.preserve(&failing_session, number)?);
    }
    done!(B.preserve(&after, 7)?);

    for failing in POSITIONS {
        driver::reset()?;
        A.fail("freeze", failing.try_into()?, 1, Some(ERROR as i32))?;
        let mut log = Log::from_now()?;
        let kexec = UNFREEZE_ORDER.apart(|| Ok(reboot(RebootMode::RB_KEXEC)))?;
        refused!(kexec.map_err(io::Error::from), ERROR, failing);

        let numbers = [4, 5, 6];
        let (mut first, mut second) = ([1, 2], numbers[..failing].to_vec());
        let frozen = [
            files(B, "freeze", 0, &first),
            files(A, "freeze", 0, &second),
            files(A, "freeze", FAILED, &numbers[failing..=failing]),
        ];
        UNFREEZE_ORDER.on(world.luo)(&mut first);
        UNFREEZE_ORDER.on(world.luo)(&mut second);
        let unfrozen = [
            files(A, "unfreeze", 0, &second),
            files(B, "unfreeze", 0, &first),
        ];
        same!(
            log.callbacks()?,
            [frozen.concat(), unfrozen.concat()].concat(),
            failing
        );
    }
    Ok(())
}

/// A session of three files for each position.
fn hand_over(world: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    for failing in POSITIONS {
        let (name, numbers) = handed_over(failing)?;
        let session = done!(device.create_session(&name));
        for number in numbers {
            done!(A.preserve(&session, number)?);
        }
        world.keep(session);
    }
    Ok(())
}

/// The session for a position of the failure, and its files.
fn handed_over(failing: usize) -> Result<(Vec<u8>, [u32; 3])> {
    let first = 10 * u32::try_from(failing + 1)?;
    Ok((first.to_string().into(), [first, first + 1, first + 2]))
}

/// A file that could not be retrieved stays so, and its handler hears of it in the end.
fn retrieve_and_finish(_: &mut World) -> Result<()> {
    done!(driver::ask(&FLBS));
    let device = Device::open()?;
    for failing in POSITIONS {
        let (name, numbers) = handed_over(failing)?;
        let session = done!(device.retrieve_session(&name));
        driver::reset()?;
        A.fail("retrieve", failing.try_into()?, 1, Some(ERROR as i32))?;
        let mut log = Log::from_now()?;
        for round in ["first", "again"] {
            for (at, number) in POSITIONS.zip(numbers) {
                let file = session.retrieve_fd(u64::from(number));
                if at == failing {
                    refused!(file, ERROR, failing, round);
                } else {
                    let file = File::from(done!(file, failing, round));
                    same!(driver::number(&file)?, number, failing, round);
                }
            }
        }
        let mut due = files(A, "retrieve", 0, &numbers);
        due[failing] = format!("a retrieve {} = {FAILED}", numbers[failing]);
        same!(log.callbacks()?, due, failing);

        // One file after the other is not ready, and then all are.
        for waiting in POSITIONS {
            A.fail("can_finish", waiting.try_into()?, 1, None)?;
            refused!(session.finish(), EBUSY, failing, waiting);
            let mut due = files(A, "can_finish", 1, &numbers[..waiting]);
            due.extend(files(A, "can_finish", 0, &numbers[waiting..=waiting]));
            same!(log.callbacks()?, due, failing, waiting);
        }
        done!(session.finish(), failing);
        let mut finished = files(A, "finish", 1, &numbers);
        finished[failing] = format!("a finish {} = {FAILED}", numbers[failing]);
        finished.reverse();
        if failing == 2 {
            finished.extend(each(FLBS.iter().rev(), "finish", 1));
        }
        let due = [files(A, "can_finish", 1, &numbers), finished].concat();
        same!(log.callbacks()?, due, failing);
    }
    Ok(())
}

/// Files of both handlers.
fn hand_over_flbs(world: &mut World) -> Result<()> {
    driver::reset()?;
    let device = Device::open()?;
    for (name, handler) in [(b"a", A), (b"b", B)] {
        let session = done!(device.create_session(name));
        done!(handler.preserve(&session, 1)?);
        world.keep(session);
    }
    Ok(())
}

/// An FLB is retrieved once, its error is remembered, and the files that need it can finish.
fn flb_retrieve<const WHICH: usize>(world: &mut World) -> Result<()> {
    let flb = FLBS[WHICH];
    driver::reset()?;
    flb.fail("retrieve", 0, 1, Some(ERROR as i32))?;
    let mut log = Log::from_now()?;
    for _ in 0..2 {
        refused!(flb.incoming(), ERROR);
    }
    same!(log.callbacks()?, [format!("{flb} retrieve 1 = {FAILED}")]);
    let others: Vec<_> = FLBS.into_iter().filter(|&other| other != flb).collect();
    done!(driver::ask(&others));
    same!(log.callbacks()?, each(&others, "retrieve", 1));

    let device = Device::open()?;
    done!(done!(device.retrieve_session(b"b")).finish());
    same!(log.callbacks()?, ["b can_finish 1 = 1", "b finish 1 = 0"]);
    world.lost = !*FINISH_WITH_FAILED_FLB.on(world.luo);
    FINISH_WITH_FAILED_FLB.apart(|| {
        if !world.lost {
            done!(done!(device.retrieve_session(b"a")).finish());
            let due = [
                vec!["a can_finish 1 = 1".to_owned(), "a finish 1 = 0".to_owned()],
                each(others.iter().rev(), "finish", 1),
            ];
            same!(log.callbacks()?, due.concat());
        }
        Ok(())
    })?;
    refused!(flb.incoming(), ERROR);
    Ok(())
}
