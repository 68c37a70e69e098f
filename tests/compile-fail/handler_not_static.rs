// SPDX-License-Identifier: GPL-2.0
// error: E0597

//! Live update calls a handler that is no longer registered: it has to be there for good.

use kernel::{
    fs::File,
    kho,
    liveupdate::{
        FileHandler,
        Handle,
        Handler,
        Session, //
    },
    module_ref::BuiltIn,
    prelude::*,
    sync::aref::ARef, //
};

struct Files;

#[vtable]
impl FileHandler for Files {
    const COMPATIBLE: &'static CStr = c"compile-fail-v1";

    type Preserved = kho::Preserved<u64>;
    type Restored = kho::Restored<u64>;
    type OwnerModule = BuiltIn;

    fn can_preserve(_file: &File) -> bool {
        false
    }

    fn preserve(_file: &File, _session: &Session<'_>) -> Result<kho::Preserved<u64>> {
        Err(EINVAL)
    }

    fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
        handle.restore()
    }

    fn retrieve(_restored: kho::Restored<u64>, _session: &Session<'_>) -> Result<ARef<File>> {
        Err(EINVAL)
    }
}

#[cfg(not(fail))]
static FILES: Handler<Files> = Handler::new(&[]);

/// Registers the handler.
pub fn register() -> Result {
    #[cfg(fail)]
    #[allow(non_snake_case)]
    let FILES: Handler<Files> = Handler::new(&[]);

    drop(FILES.register()?);
    Ok(())
}
