// SPDX-License-Identifier: GPL-2.0

//! What tests take for the state of a machine: everything known, or nothing.

use crate::{
    sessions::{Session, Sessions},
    status::{Formats, Image, KhoStatus, Status},
};
use liveupdate::observe::{
    Area, Direction, File, FileState, Flb, Handler, Handover, Name, Process, SessionState, Token,
};

fn process() -> Process {
    let comm = Name::from("qemu");
    Process { pid: 1, comm }
}

/// A status of which everything is known, or nothing.
pub fn status(known: bool) -> Status {
    let refused = "refused what the previous kernel handed over (session '-'): sessions_pa: 0x1";
    Status {
        kernel: "7.3.4".to_owned(),
        built_in: known.then_some(true),
        enabled: known.then_some(true),
        device: known,
        device_holders: known.then(process).into_iter().collect(),
        number: known.then_some(u64::MAX),
        formats: known.then(|| Formats {
            incoming: None,
            outgoing: Some("luo-v5".into()),
        }),
        handover: known.then(|| Handover::Refused(refused.to_owned())),
        handlers: known.then(|| {
            vec![Handler {
                compatible: "memfd-v2".into(),
                files: 1,
                module: None,
            }]
        }),
        flbs: known.then(|| {
            vec![Flb {
                compatible: "iommu".into(),
                outgoing: 1,
                incoming: 0,
                module: Some("iommufd".into()),
            }]
        }),
        kho: KhoStatus {
            enabled: known.then_some(true),
            incoming: known.then_some(false),
            scratch: known.then(|| {
                let (address, size) = (0x1000, 1 << 40);
                vec![Area { address, size }]
            }),
        },
        image: Image {
            loaded: known.then_some(true),
            carries_sessions: known.then_some(true),
            load_disabled: known.then_some(false),
        },
        outgoing: known.then_some(1),
        incoming: known.then_some(0),
        notes: vec!["a note".to_owned()],
    }
}

/// A session of which everything is known, and one of which nothing is.
pub fn sessions() -> Sessions {
    let states = [FileState::Failed, FileState::Other("thawing".to_owned())];
    let files = states.into_iter().map(|state| File {
        token: Token(u64::MAX),
        handler: "memfd-v2".into(),
        errno: (state == FileState::Failed).then_some(16),
        state,
    });
    let known = Session {
        name: Name::from(&b"\xff"[..]),
        direction: Some(Direction::Outgoing),
        state: Some(SessionState::Created),
        count: Some(2),
        files: Some(files.collect()),
        holders: vec![process()],
    };
    let unknown = Session {
        direction: None,
        state: None,
        count: None,
        files: None,
        holders: vec![],
        ..known.clone()
    };
    Sessions {
        sessions: vec![known, unknown],
        complete: false,
        notes: vec![],
    }
}
