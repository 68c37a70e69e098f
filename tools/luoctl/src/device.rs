// SPDX-License-Identifier: GPL-2.0

//! `/dev/liveupdate`, each refusal with an exit status of its own.

use crate::{
    failure::{Exit, Failure},
    keep,
};
use liveupdate::{observe::Name, Device, Error, ErrorKind, Session};
use std::{fmt::Display, io};

/// The exit status that tells an error.
fn exit(kind: ErrorKind) -> Option<Exit> {
    Some(match kind {
        ErrorKind::NoLiveUpdate => Exit::NoLuo,
        ErrorKind::NotPermitted => Exit::NoPermission,
        ErrorKind::DeviceBusy | ErrorKind::FilePreserved => Exit::Busy,
        ErrorKind::NotRestored => Exit::DamagedHandover,
        ErrorKind::SessionExists | ErrorKind::SessionTaken => Exit::Exists,
        ErrorKind::NoSession | ErrorKind::NotPreservable | ErrorKind::NoFile => Exit::NoInput,
        ErrorKind::TokenExists => Exit::Usage,
        _ => return None,
    })
}

fn failure(error: Error, message: impl Display) -> Failure {
    match exit(error.kind()) {
        Some(exit) => Failure::new(exit, message),
        None => Failure::new(Failure::from(io::Error::from(error)).exit, message),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = match exit(error.kind()) {
            Some(_) => error.reason(),
            None => error.to_string(),
        };
        failure(error, message)
    }
}

/// Why a file, called so by who asked for it, cannot be preserved or retrieved.
pub fn of_file(error: Error, file: impl Display) -> Failure {
    let reason = error.reason();
    failure(error, reason).of(file)
}

/// Creates a session.
pub fn create(name: &Name) -> Result<Session, Failure> {
    Ok(Device::open()?.create_session(name)?)
}

/// Retrieves a session of the previous kernel, or takes it over from the keeper that an earlier
/// try has left.
pub fn retrieve(name: &Name) -> Result<Session, Failure> {
    let retrieved = Device::open()?.retrieve_session(name);
    retrieved.or_else(|error| {
        let kept = match error.kind() {
            ErrorKind::SessionTaken => keep::take_over(name)?,
            _ => None,
        };
        kept.ok_or_else(|| error.into())
    })
}
