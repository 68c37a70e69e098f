// SPDX-License-Identifier: GPL-2.0
// error: E0277

//! Whoever calls an update off drops what was preserved, whatever thread that is.

use kernel::{
    fs::File,
    kho,
    liveupdate::{
        FileHandler,
        HandOver,
        Handle,
        Handler,
        Session, //
    },
    module_ref::BuiltIn,
    prelude::*,
    sync::aref::ARef, //
};

#[cfg(fail)]
type Owner = kernel::types::NotThreadSafe;
#[cfg(not(fail))]
type Owner = ();

struct Preserved {
    memory: kho::Preserved<u64>,
    _owner: Owner,
}

impl HandOver for Preserved {
    fn data(&self) -> u64 {
        self.memory.phys()
    }
}

struct Files;

#[vtable]
impl FileHandler for Files {
    const COMPATIBLE: &'static CStr = c"compile-fail-v1";

    type Preserved = Preserved;
    type Restored = kho::Restored<u64>;
    type OwnerModule = BuiltIn;

    fn can_preserve(_file: &File) -> bool {
        false
    }

    fn preserve(_file: &File, _session: &Session<'_>) -> Result<Preserved> {
        Err(EINVAL)
    }

    fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
        handle.restore()
    }

    fn retrieve(_restored: kho::Restored<u64>, _session: &Session<'_>) -> Result<ARef<File>> {
        Err(EINVAL)
    }
}

/// The handler.
pub static FILES: Handler<Files> = Handler::new(&[]);
