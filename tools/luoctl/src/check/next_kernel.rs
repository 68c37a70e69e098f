// SPDX-License-Identifier: GPL-2.0

//! What of the next kernel may be in the way: what its image tells, and its command line.

use super::{handlers, Finding};
use crate::{image::Kernel, sessions::Sessions, status::Status};
use liveupdate::observe::{boolean, parameters};

/// Checks that the kernel in an image has a LUO that understands this one.
pub fn checks(kernel: &Kernel, status: &Status, sessions: &Sessions) -> Vec<Finding> {
    let mut findings = vec![luo(kernel), format(kernel, status)];
    findings.extend(handlers(sessions).into_iter().map(|handler| {
        let check = "next handlers";
        if kernel.names(handler.as_bytes()) {
            Finding::ok(check, format!("its strings name '{handler}'"))
        } else {
            let reason = format!("its strings do not name '{handler}', which may be in a module");
            Finding::unknown(check, reason)
        }
    }));
    findings
}

fn luo(kernel: &Kernel) -> Finding {
    let check = "next kernel";
    let release = kernel.release().unwrap_or_default();
    match kernel.config() {
        Some(config) => {
            let needed = ["LIVEUPDATE", "KEXEC_HANDOVER"];
            match needed.into_iter().find(|option| !config.has(option)) {
                Some(option) => {
                    Finding::failed(check, format!("{release}, built without CONFIG_{option}"))
                }
                None => Finding::ok(check, format!("{release}, built with live update")),
            }
        }
        None if kernel.has_luo() => {
            Finding::ok(check, format!("{release}, has the strings of live update"))
        }
        None => Finding::failed(check, format!("{release}, has no string of live update")),
    }
}

fn format(kernel: &Kernel, status: &Status) -> Finding {
    let check = "format";
    let formats = kernel.formats();
    let named = formats
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let ours = status
        .formats
        .as_ref()
        .and_then(|formats| formats.outgoing.as_ref());
    match ours.map(ToString::to_string) {
        _ if formats.is_empty() => Finding::unknown(check, "its strings name none"),
        None => Finding::unknown(
            check,
            format!("its strings name {named}; this kernel does not show what it writes"),
        ),
        Some(ours) if formats.contains(&ours) => Finding::ok(check, ours),
        Some(ours) => Finding::failed(
            check,
            format!("this kernel writes {ours}, the strings of the next one name {named}"),
        ),
    }
}

/// Checks that a command line switches live update on.
pub fn cmdline(text: &str) -> [Finding; 2] {
    let value = |name| {
        let last = parameters(text).filter(|(found, _)| found == name).last();
        last.and_then(|(_, value)| value)
            .as_deref()
            .and_then(boolean)
    };
    let finding = |check, value, otherwise| match value {
        Some(true) => Finding::ok(check, "on"),
        Some(false) => Finding::failed(check, "off"),
        None => otherwise,
    };
    let (live_update, kho) = ("next liveupdate=", "next kho=");
    [
        finding(
            live_update,
            value("liveupdate"),
            Finding::failed(live_update, "not given, so live update is off"),
        ),
        finding(
            kho,
            value("kho"),
            Finding::unknown(kho, "not given: as the kernel was built"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::Verdict,
        samples::{sessions, status},
    };

    fn verdicts(kernel: &[u8], outgoing: Option<&str>) -> Vec<Verdict> {
        let kernel = [b"Linux version 7.3.4 ", kernel].concat();
        let kernel = Kernel::find(kernel).expect("a kernel");
        let mut status = status(outgoing.is_some());
        if let Some(formats) = &mut status.formats {
            formats.outgoing = outgoing.map(Into::into);
        }
        let findings = checks(&kernel, &status, &sessions());
        findings
            .into_iter()
            .map(|finding| finding.verdict)
            .collect()
    }

    #[test]
    fn images() {
        use Verdict::{Failed, Ok, Unknown};

        const LUO: &[u8] = b"Retrieved live update data, liveupdate number: luo-v5 memfd-v2";
        assert_eq!(verdicts(LUO, Some("luo-v5")), [Ok, Ok, Ok]);
        assert_eq!(verdicts(LUO, Some("luo-fdt")), [Ok, Failed, Ok]);
        assert_eq!(verdicts(LUO, None), [Ok, Unknown, Ok]);
        assert_eq!(verdicts(b"", Some("luo-v5")), [Failed, Unknown, Unknown]);
    }

    #[test]
    fn command_lines() {
        use Verdict::{Failed, Ok, Unknown};

        for (text, due) in [
            ("liveupdate=on kho=1", [Ok, Ok]),
            ("liveupdate=on", [Ok, Unknown]),
            ("quiet", [Failed, Unknown]),
            ("liveupdate", [Failed, Unknown]),
            ("liveupdate=on liveupdate=off kho=off kho=on", [Failed, Ok]),
            ("liveupdate=y kho=off", [Ok, Failed]),
            ("quiet -- liveupdate=on", [Failed, Unknown]),
        ] {
            assert_eq!(cmdline(text).map(|finding| finding.verdict), due, "{text}");
        }
    }
}
