// SPDX-License-Identifier: GPL-2.0

//! A hand-over that is damaged, whichever way: the next kernel refuses it, or takes it for what it
//! says, and the kernel after that works as if nothing had been.

use crate::{
    check,
    damage::{self, last_session, Due, HandOver},
    differences::Luo,
    driver::{self, A, B, C, FLBS},
    process::{live_update_number, meminfo, Log},
    shown::{self, DEBUGFS},
    tracefs::Tracefs,
    Group, World,
};
use anyhow::{Context, Result};
use liveupdate::{
    observe::{Debugfs, Direction, Handover},
    Device,
};
use luo_guest::{OUTCOME, REFUSED};
use nix::errno::Errno::{EEXIST, EIO, ENOENT};
use std::{
    env,
    fs::{self, File},
    hint,
    os::fd::AsFd,
};

/// Why a hand-over is refused whose handlers are not all there; it says nothing about the FLBs.
const NO_HANDLER: &str = "no file handler";

pub const GROUP: Group = Group {
    name: "damaged",
    stages: &[
        &[("hand-over", hand_over)],
        &[("next-kernel", next_kernel)],
        &[("kernel-after", kernel_after)],
    ],
};

fn hand_over(world: &mut World) -> Result<()> {
    let device = Device::open()?;
    let mut sound = HandOver::sound().sessions;
    for session in 0..=last_session() {
        let name = damage::name(session);
        let files = sound.remove(&name).context("more than one name")?;
        let session = device.create_session(&name)?;
        for (token, number) in files {
            let handler = match (&name[..], token) {
                (b"s1", 1) => A,
                (b"s1", _) => B,
                _ => C,
            };
            done!(session.preserve_fd(handler.file(number)?.as_fd(), token));
        }
        world.keep(session);
    }
    fill_free_memory()?;
    let damage = world.damage.as_ref().context("no damage")?;
    driver::damage(&damage.steps(damage::root_record_address()?))
}

/// Leaves free memory full of what KHO takes for the mark of a preserved page, if `LUO_FILL` asks for
/// that: the next kernel may make its struct pages of it.
pub fn fill_free_memory() -> Result<()> {
    /// `KHO_PAGE_MAGIC`, and order 0.
    const MARK: u64 = 0x4b48_4f50 << 32;
    /// What this machine cannot do without.
    const RESERVE: usize = 128 << 20;

    if env::var_os("LUO_FILL").is_some() {
        let bytes = usize::try_from(meminfo("MemFree:")?)?.saturating_sub(RESERVE);
        let marks = vec![MARK; bytes / size_of::<u64>()];
        same!(hint::black_box(&marks).last().copied(), Some(MARK));
    }
    Ok(())
}

/// Retrieves and finishes all that was handed over, and nothing else.
fn take(device: &Device, due: &HandOver) -> Result<()> {
    for (flb, due) in FLBS.iter().zip(due.flbs) {
        match due {
            Ok(number) => same!(driver::number(&done!(flb.incoming(), flb))?, number, flb),
            Err(errno) => refused!(flb.incoming(), errno, flb),
        }
    }
    for name in HandOver::sound().sessions.keys() {
        if !due.sessions.contains_key(name) {
            refused!(device.retrieve_session(name), ENOENT);
        }
    }
    for (name, files) in &due.sessions {
        let session = done!(device.retrieve_session(name));
        for (&token, &number) in files {
            let file = File::from(done!(session.retrieve_fd(token), token));
            same!(driver::number(&file)?, number, token);
        }
        done!(session.finish());
    }
    for (flb, left) in FLBS.iter().zip(due.left) {
        same!(flb.incoming().is_ok(), left, flb);
    }
    Ok(())
}

/// Retrieves and finishes what is there of what was handed over, if anything.
fn take_some(device: &Device) -> Result<()> {
    for (name, files) in HandOver::sound().sessions {
        match device.retrieve_session(&name) {
            Ok(session) => {
                for token in files.into_keys() {
                    // Its data may be damaged, which is its handler's business.
                    drop(session.retrieve_fd(token));
                }
                done!(session.finish());
            }
            refusal => refused!(refusal, ENOENT),
        }
    }
    Ok(())
}

fn next_kernel(world: &mut World) -> Result<()> {
    let damage = world.damage.as_ref().context("no damage")?;
    let mut due = HandOver::sound();
    if let Due::Taken(damaged) = damage.due {
        damaged(&mut due);
    }
    let flbs_due = |due: &Due| match due {
        Due::Refused(reason) => !reason.starts_with(NO_HANDLER),
        _ => false,
    };
    let refuses_flbs = || -> Result<()> {
        for flb in FLBS {
            refused!(flb.incoming(), EIO, flb);
        }
        Ok(())
    };
    // Before anybody has opened the device, and after.
    if matches!(world.luo, Luo::Rust) && flbs_due(&damage.due) {
        refuses_flbs()?;
    }
    let device = Device::open();
    println!("{OUTCOME}open {:?}", check::outcome(&device));

    // What C does is only told.
    if matches!(world.luo, Luo::C) && !matches!(damage.due, Due::Off(_)) {
        if let Ok(device) = device {
            println!("{OUTCOME}take {:?}", take(&device, &due));
        }
        return Ok(());
    }

    let refusals = Log::from_start()?.lines_with(REFUSED)?;
    let outcome = match damage.due {
        // Which of its records a random damage hits is only known now.
        Due::Either if device.is_err() => {
            let handler = refusals.iter().any(|line| line.contains(NO_HANDLER));
            Due::Refused(if handler { NO_HANDLER } else { "" })
        }
        due => due,
    };
    let reason = match outcome {
        Due::Refused(reason) => {
            refused!(device, EIO);
            refused!(Device::open(), EIO);
            if flbs_due(&outcome) {
                refuses_flbs()?;
            }
            Some(reason)
        }
        Due::Taken(_) => {
            take(&done!(device), &due)?;
            None
        }
        Due::Either => {
            take_some(&done!(device))?;
            None
        }
        Due::Off(reason) => {
            refused!(device, ENOENT);
            reason
        }
    };
    same!(refusals.len(), usize::from(reason.is_some()));
    if let Some(reason) = reason {
        same!(
            refusals[0].contains(&format!(": {reason}")),
            true,
            refusals[0]
        );
    }
    if matches!(world.luo, Luo::C) {
        return Ok(());
    }
    expect_shown(&outcome, refusals.first())?;
    match outcome {
        Due::Refused(reason) if !reason.starts_with(NO_HANDLER) => expect_traced(&refusals[0]),
        _ => Ok(()),
    }
}

/// Expects debugfs to say what the log says, and no session to be there of what was refused, or was
/// taken and finished.
fn expect_shown(outcome: &Due, refusal: Option<&String>) -> Result<()> {
    let debugfs = Debugfs::default();
    if let Due::Off(_) = outcome {
        same!(debugfs.enabled()?, false);
        let files: Vec<_> = fs::read_dir(DEBUGFS)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        same!(files, ["enabled"]);
        return Ok(());
    }
    same!(debugfs.enabled()?, true);
    same!(debugfs.number()?, live_update_number()?.unwrap_or(0));
    let due = match (outcome, refusal) {
        (Due::Refused(reason), _) if reason.starts_with(NO_HANDLER) => Handover::Pending,
        (_, Some(line)) => {
            let line = line.strip_prefix("luo: ").context(line.clone())?;
            Handover::Refused(line.to_owned())
        }
        (_, None) => Handover::Restored,
    };
    same!(debugfs.handover()?, due);
    same!(shown::names(&Direction::Incoming)?, [b""; 0]);
    same!(shown::names(&Direction::Outgoing)?, [b""; 0]);
    Ok(())
}

/// Expects one event of what the log says: `... (session 'SESSION'): RECORD.FIELD: ...`.
fn expect_traced(refusal: &str) -> Result<()> {
    let mut events = Tracefs::mounted()?.texts()?;
    events.retain(|event| event.starts_with("luo_refuse:"));
    same!(events.len(), 1);
    let parts = refusal
        .split_once("(session '")
        .and_then(|(_, rest)| rest.split_once("'): "));
    let (session, why) = parts.context(refusal.to_owned())?;
    let field = why.split([':', ' ']).next().unwrap_or_default();
    let (record, field) = field.split_once('.').context(refusal.to_owned())?;
    // The log and the trace have each their own way with what is no text.
    if !session.contains('\\') {
        let due = format!("luo_refuse: session={session} record={record} field={field}");
        same!(events[0], due);
    }
    Ok(())
}

/// What is new works, and what is old is gone.
fn kernel_after(world: &mut World) -> Result<()> {
    let damage = world.damage.as_ref().context("no damage")?;
    let live_update = !matches!(damage.due, Due::Off(_));
    same!(live_update_number()?.is_some(), live_update);
    same!(Log::from_start()?.lines_with(REFUSED)?, [""; 0]);
    let device = done!(Device::open());
    for (session, handler) in [0, 1, last_session()].into_iter().zip([A, B, C]) {
        let name = damage::name(session);
        refused!(device.retrieve_session(&name), ENOENT, session);
        let session = done!(device.create_session(&name));
        done!(handler.preserve(&session, 1)?, handler);
        refused!(handler.preserve(&session, 1)?, EEXIST, handler);
    }
    Ok(())
}
