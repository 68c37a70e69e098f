// SPDX-License-Identifier: GPL-2.0

//! What the kernel shows of its sessions: its text, word for word, and what that means.

use crate::process::eventually;
use anyhow::{Context, Result};
use liveupdate::{
    observe::{self, Debugfs, Direction, SessionInfo},
    Session,
};
use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

/// Where debugfs shows live update.
pub const DEBUGFS: &str = "/sys/kernel/debug/liveupdate";

/// The file of `fdinfo` that tells of a session.
pub fn fdinfo(session: &Session) -> PathBuf {
    format!("/proc/self/fdinfo/{}", session.as_fd().as_raw_fd()).into()
}

/// The lines of a session's fdinfo that are LUO's.
pub fn lines(session: &Session) -> Result<Vec<String>> {
    Ok(lines_of(&fs::read_to_string(fdinfo(session))?))
}

/// The lines of LUO in a text.
pub fn lines_of(text: &str) -> Vec<String> {
    let luo = text.lines().filter(|line| line.starts_with("luo-"));
    luo.map(str::to_owned).collect()
}

/// The lines that are due of a session with these files, each with its token, its handler and its
/// state.
pub fn due(name: &str, direction: &str, state: &str, files: &[&str]) -> Vec<String> {
    let mut lines = vec![
        format!("luo-session:\t{name}"),
        format!("luo-direction:\t{direction}"),
        format!("luo-state:\t{state}"),
        format!("luo-files:\t{}", files.len()),
    ];
    lines.extend(files.iter().map(|file| format!("luo-file:\t{file}")));
    lines
}

/// What a session's descriptor tells.
pub fn of(session: &Session) -> Result<SessionInfo> {
    observe::session(session.as_fd())?.context("fdinfo tells nothing of the session")
}

/// The state of a file of a session, if it has one of that token.
pub fn state(session: &Session, token: u64) -> Result<Option<String>> {
    let files = of(session)?.files;
    let file = files.into_iter().find(|file| file.token.0 == token);
    Ok(file.map(|file| file.state.to_string()))
}

/// Waits until a file is in this state.
pub fn wait_for(session: &Session, token: u64, due: &str) -> Result<()> {
    eventually(due, || Ok(state(session, token)?.as_deref() == Some(due)))
}

/// The lines of a file of debugfs.
pub fn table(file: &str) -> Result<Vec<String>> {
    let path = PathBuf::from(DEBUGFS).join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The lines of a file of debugfs that are of the test driver.
pub fn table_of_driver(file: &str) -> Result<Vec<String>> {
    let mut lines = table(file)?;
    lines.retain(|line| line.starts_with(crate::driver::PREFIX));
    Ok(lines)
}

/// The names of the sessions of one direction, in order.
pub fn names(direction: &Direction) -> Result<Vec<Vec<u8>>> {
    let sessions = Debugfs::default().sessions(direction)?;
    let names = sessions.iter().map(|it| it.name.as_bytes().to_vec());
    Ok(names.collect())
}

/// A name as the kernel shows it: what is not printable ASCII, and what separates words, in octal.
pub fn escaped(name: &[u8]) -> String {
    let byte = |&byte: &u8| match byte {
        b'\\' => r"\134".to_owned(),
        0x21..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    name.iter().map(byte).collect()
}
