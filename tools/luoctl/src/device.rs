// SPDX-License-Identifier: GPL-2.0

//! `/dev/liveupdate`, with the kernel's errnos said in words.

use crate::{
    failure::{Exit, Failure},
    holders::{holders, people},
    keep,
};
use liveupdate::{
    observe::{Debugfs, Handover, Name, What},
    Device, Session, DEVICE,
};
use nix::errno::Errno;
use std::io;

/// The errno of an error, if it has one.
fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// Opens the device.
pub fn open() -> Result<Device, Failure> {
    Device::open().map_err(|error| match errno(&error) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => Failure::new(
            Exit::NoLuo,
            format!("there is no {DEVICE}: live update is off, or this kernel has none"),
        ),
        Some(Errno::EBUSY) => Failure::new(Exit::Busy, busy()),
        Some(Errno::EIO) => Failure::new(Exit::DamagedHandover, refused()),
        Some(Errno::EACCES | Errno::EPERM) => Failure::new(
            Exit::NoPermission,
            format!("no permission to open {DEVICE}: it is for root"),
        ),
        _ => Failure::from(error).of(DEVICE),
    })
}

fn busy() -> String {
    let holders = holders(&What::Device);
    match holders.as_slice() {
        [] => format!("{DEVICE} is open in another process, which cannot be seen from here"),
        holders => format!("{DEVICE} is open in {}", people(holders)),
    }
}

fn refused() -> String {
    match Debugfs::default().handover() {
        Ok(Handover::Refused(why)) => format!("this kernel {why}"),
        _ => "the sessions of the previous kernel cannot be restored: the kernel's log has the \
              reason"
            .to_owned(),
    }
}

/// Creates a session.
pub fn create(name: &Name) -> Result<Session, Failure> {
    let created = open()?.create_session(name.as_bytes());
    created.map_err(|error| match errno(&error) {
        Some(Errno::EEXIST) => {
            let holders = holders(&What::Session(name.clone()));
            let holders = match holders.as_slice() {
                [] => String::new(),
                holders => format!(", in {}", people(holders)),
            };
            Failure::new(
                Exit::Exists,
                format!("there is a session '{name}' already{holders}"),
            )
        }
        _ => Failure::from(error).of(format!("session '{name}'")),
    })
}

/// Retrieves a session of the previous kernel, or takes it over from the keeper that an earlier
/// try has left.
pub fn retrieve(name: &Name) -> Result<Session, Failure> {
    let retrieved = open()?.retrieve_session(name.as_bytes());
    retrieved.or_else(|error| match errno(&error) {
        Some(Errno::ENOENT) => Err(Failure::new(
            Exit::NoInput,
            format!("there is no session '{name}' of the previous kernel"),
        )),
        Some(Errno::EINVAL) => keep::take_over(name)?.ok_or_else(|| {
            let holders = holders(&What::Session(name.clone()));
            let by = match holders.as_slice() {
                [] => String::new(),
                holders => format!(" by {}", people(holders)),
            };
            Failure::new(
                Exit::Exists,
                format!("session '{name}' has been retrieved{by}"),
            )
        }),
        _ => Err(Failure::from(error).of(format!("session '{name}'"))),
    })
}

/// Why a file cannot be preserved.
pub fn not_preserved(error: io::Error) -> Failure {
    let (exit, why) = match errno(&error) {
        Some(Errno::ENOENT) => (Exit::NoInput, "no file handler preserves such a file"),
        Some(Errno::EBUSY) => (
            Exit::Busy,
            "it is preserved already, or was retrieved from a session that is not finished",
        ),
        Some(Errno::EEXIST) => (Exit::Usage, "the session has a file of this token"),
        _ => return error.into(),
    };
    Failure::new(exit, why)
}

/// Why a file cannot be retrieved.
pub fn not_retrieved(error: io::Error) -> Failure {
    match errno(&error) {
        Some(Errno::ENOENT) => Failure::new(Exit::NoInput, "the session has no such file"),
        _ => error.into(),
    }
}
