// SPDX-License-Identifier: GPL-2.0

//! What of this kernel, and of the sessions in it, may be in the way of a live update.

use super::{handlers, Finding};
use crate::{
    output::errno,
    sessions::{Session, Sessions},
    status::Status,
};
use liveupdate::observe::{Direction, FileState, Handover, SessionState};

/// Checks LUO, KHO, the hand-over of the previous kernel, and the loaded image.
pub fn checks(status: &Status, loaded: bool) -> Vec<Finding> {
    let mut findings = vec![live_update(status), kho(status)];
    findings.extend(handover(status));
    findings.extend(if loaded {
        Some(image(status))
    } else {
        let disabled = status.image.load_disabled == Some(true);
        disabled
            .then(|| Finding::failed("image", "none can be loaded (kernel.kexec_load_disabled)"))
    });
    findings
}

fn live_update(status: &Status) -> Finding {
    let check = "live update";
    match (status.enabled, status.built_in) {
        (Some(true), _) => Finding::ok(check, "on"),
        (_, Some(false)) => Finding::failed(check, "this kernel has none (CONFIG_LIVEUPDATE)"),
        _ => Finding::failed(check, "off (liveupdate=on)"),
    }
}

fn kho(status: &Status) -> Finding {
    match status.kho.enabled {
        Some(true) => Finding::ok("KHO", "on"),
        Some(false) => Finding::failed("KHO", "off (kho=on)"),
        None => Finding::unknown("KHO", "it may be off"),
    }
}

fn handover(status: &Status) -> Option<Finding> {
    let check = "hand-over";
    match &status.handover {
        Some(Handover::Refused(why)) => Some(Finding::failed(check, why.clone())),
        Some(Handover::Other(text)) => Some(Finding::unknown(check, text.to_string())),
        Some(_) => Some(Finding::ok(
            check,
            "the previous kernel's was good, or there was none",
        )),
        None if status.enabled == Some(true) => Some(Finding::unknown(
            check,
            "the previous kernel's may have been refused",
        )),
        None => None,
    }
}

fn image(status: &Status) -> Finding {
    let check = "image";
    match (status.image.loaded, status.image.carries_sessions) {
        (Some(false), _) => Finding::failed(check, "none is loaded (luoctl kexec --load-only)"),
        (Some(true), Some(true)) => Finding::ok(check, "loaded by kexec_file_load()"),
        (Some(true), Some(false)) => Finding::failed(check, "not loaded by kexec_file_load()"),
        (Some(true), None) => Finding::unknown(check, "loaded, perhaps not by kexec_file_load()"),
        (None, _) => Finding::unknown(check, "perhaps none is loaded"),
    }
}

/// Checks the sessions, their files, and the handlers of these.
pub fn sessions(status: &Status, sessions: &Sessions) -> Vec<Finding> {
    let mut findings: Vec<_> = sessions.outgoing().flat_map(files).collect();
    findings.extend(sessions.sessions.iter().filter_map(left_over));
    findings.extend(registered(status, sessions));
    findings.push(match sessions.count(&Direction::Outgoing) {
        Some(count) => Finding::ok("sessions", format!("{count} to hand over")),
        None => {
            let seen = sessions.sessions.len();
            Finding::unknown("sessions", format!("{seen} can be seen, perhaps not all"))
        }
    });
    findings
}

/// The files that are not ready to be handed over.
fn files(session: &Session) -> impl Iterator<Item = Finding> + '_ {
    session.files.iter().flatten().filter_map(|file| {
        let which = format!("'{}', {}", session.name, file.token);
        match file.state {
            FileState::Failed => {
                let reason = format!(
                    "{which}: '{}' refused the last reboot{}",
                    file.handler,
                    errno(file.errno)
                );
                Some(Finding::warning("files", reason))
            }
            FileState::Preserving => Some(Finding::warning(
                "files",
                format!("{which}: is being preserved"),
            )),
            _ => None,
        }
    })
}

/// A session of the previous kernel that nobody has finished.
fn left_over(session: &Session) -> Option<Finding> {
    let incoming = session.direction == Some(Direction::Incoming);
    let reason = format!(
        "'{}' of the previous kernel is not finished, and will be lost",
        session.name
    );
    (incoming && session.state != Some(SessionState::Finished))
        .then(|| Finding::warning("sessions", reason))
}

fn registered(status: &Status, sessions: &Sessions) -> Vec<Finding> {
    let check = "handlers";
    let Some(registered) = &status.handlers else {
        let unknown = Finding::unknown(check, "some may be missing");
        return (status.enabled == Some(true))
            .then_some(unknown)
            .into_iter()
            .collect();
    };
    let names: Vec<_> = registered
        .iter()
        .map(|handler| handler.compatible.to_string())
        .collect();
    let missing = handlers(sessions)
        .into_iter()
        .map(ToString::to_string)
        .filter(|handler| !names.contains(handler))
        .map(|handler| Finding::failed(check, format!("'{handler}' is not registered")));
    let mut findings: Vec<_> = missing.collect();
    findings.push(if names.is_empty() {
        Finding::warning(check, "there are none, so no file can be preserved")
    } else {
        Finding::ok(check, names.join(", "))
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::Verdict,
        samples::{sessions as some_sessions, status},
    };
    use liveupdate::observe::Handler;

    fn verdict(findings: &[Finding], check: &str) -> Option<Verdict> {
        let of = findings.iter().filter(|finding| finding.check == check);
        of.map(|finding| finding.verdict)
            .max_by_key(|verdict| *verdict as u8)
    }

    #[test]
    fn a_kernel_that_is_ready() {
        let mut status = status(true);
        status.handover = Some(Handover::Restored);
        let findings = checks(&status, true);
        assert!(
            findings
                .iter()
                .all(|finding| finding.verdict == Verdict::Ok),
            "{findings:?}"
        );
        assert_eq!(findings.len(), 4);
    }

    #[test]
    fn a_kernel_that_tells_nothing() {
        let mut status = status(false);
        status.enabled = Some(true);
        let findings = checks(&status, true);
        assert_eq!(verdict(&findings, "live update"), Some(Verdict::Ok));
        for check in ["KHO", "hand-over", "image"] {
            assert_eq!(verdict(&findings, check), Some(Verdict::Unknown), "{check}");
        }
        let findings = sessions(&status, &Sessions::default());
        for check in ["handlers", "sessions"] {
            assert_eq!(verdict(&findings, check), Some(Verdict::Unknown), "{check}");
        }
    }

    #[test]
    fn what_is_in_the_way() {
        let mut status = status(true);
        status.enabled = Some(false);
        status.kho.enabled = Some(false);
        status.image.loaded = Some(false);
        let findings = checks(&status, true);
        for check in ["live update", "KHO", "hand-over", "image"] {
            assert_eq!(verdict(&findings, check), Some(Verdict::Failed), "{check}");
        }
        // One will be loaded.
        assert_eq!(verdict(&checks(&status, false), "image"), None);
        status.image.load_disabled = Some(true);
        assert_eq!(
            verdict(&checks(&status, false), "image"),
            Some(Verdict::Failed)
        );
    }

    #[test]
    fn sessions_that_are_not_ready() {
        let mut status = status(true);
        let mut all = some_sessions();
        let findings = sessions(&status, &all);
        assert_eq!(verdict(&findings, "files"), Some(Verdict::Warning));
        assert_eq!(verdict(&findings, "handlers"), Some(Verdict::Ok));

        status.handlers = Some(vec![Handler {
            compatible: "another".into(),
            files: 0,
            module: None,
        }]);
        assert_eq!(
            verdict(&sessions(&status, &all), "handlers"),
            Some(Verdict::Failed)
        );

        // Nobody has taken it yet.
        let file = all.sessions[0].files.as_mut().expect("it has files");
        file.truncate(1);
        file[0].state = FileState::Preserving;
        file[0].handler = "-".into();
        let findings = sessions(&status, &all);
        assert_eq!(verdict(&findings, "files"), Some(Verdict::Warning));
        assert_eq!(verdict(&findings, "handlers"), Some(Verdict::Ok));

        all.complete = true;
        all.sessions.truncate(1);
        all.sessions[0].direction = Some(Direction::Incoming);
        all.sessions[0].state = Some(SessionState::Waiting);
        let findings = sessions(&status, &all);
        assert_eq!(verdict(&findings, "files"), None);
        assert_eq!(verdict(&findings, "sessions"), Some(Verdict::Warning));
        all.sessions[0].state = Some(SessionState::Finished);
        assert_eq!(
            verdict(&sessions(&status, &all), "sessions"),
            Some(Verdict::Ok)
        );
    }
}
