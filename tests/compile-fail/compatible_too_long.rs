// SPDX-License-Identifier: GPL-2.0
// error: E0080

//! A compatible string has to fit into its field, with a NUL.

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

#[cfg(fail)]
const NAME: &CStr = c"123456789-123456789-123456789-123456789-12345678";
#[cfg(not(fail))]
const NAME: &CStr = c"123456789-123456789-123456789-123456789-1234567";

struct Files;

#[vtable]
impl FileHandler for Files {
    const COMPATIBLE: &'static CStr = NAME;

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

/// The handler.
pub static FILES: Handler<Files> = Handler::new(&[]);
