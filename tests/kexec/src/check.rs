// SPDX-License-Identifier: GPL-2.0

//! Expectations that, when not met, say in one line where, what was seen and what was due.

use anyhow::{ensure, Result};
use nix::errno::Errno;
use std::{
    fmt::{Debug, Display},
    io,
    panic::Location,
};

/// An error that comes with the kernel's errno.
pub trait Refusal {
    fn raw_os_error(&self) -> Option<i32>;
}

impl Refusal for io::Error {
    fn raw_os_error(&self) -> Option<i32> {
        self.raw_os_error()
    }
}

impl Refusal for liveupdate::Error {
    fn raw_os_error(&self) -> Option<i32> {
        self.raw_os_error()
    }
}

/// What a call came to, without its value: done or an errno.
pub fn outcome<T>(result: &Result<T, impl Refusal>) -> Result<(), Errno> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw)),
    }
}

/// Expects what was `seen` of `what` to be what was `due`; the notes tell the round of a loop.
#[track_caller]
pub fn compare<A, B>(what: &str, seen: &A, due: &B, notes: &[&dyn Display]) -> Result<()>
where
    A: PartialEq<B> + Debug + ?Sized,
    B: Debug + ?Sized,
{
    let notes: String = notes.iter().map(|note| format!(" [{note}]")).collect();
    let place = Location::caller();
    let file = place.file().rsplit("src/").next().unwrap_or_default();
    ensure!(
        seen == due,
        "{file}:{}: {what}{notes}: {seen:?} instead of {due:?}",
        place.line(),
    );
    Ok(())
}

/// Expects two values to be equal.
macro_rules! same {
    ($seen:expr, $due:expr $(, $note:expr)*) => {
        $crate::check::compare(stringify!($seen), &$seen, &$due, &[$(&$note),*])?
    };
}

/// Expects a call to succeed and gives its value.
macro_rules! done {
    ($call:expr $(, $note:expr)*) => {{
        let result = $call;
        let outcome = $crate::check::outcome(&result);
        $crate::check::compare(stringify!($call), &outcome, &Ok(()), &[$(&$note),*])?;
        result?
    }};
}

/// Expects a call to fail with an errno.
macro_rules! refused {
    ($call:expr, $errno:expr $(, $note:expr)*) => {{
        let outcome = $crate::check::outcome(&$call);
        $crate::check::compare(stringify!($call), &outcome, &Err($errno), &[$(&$note),*])?
    }};
}
