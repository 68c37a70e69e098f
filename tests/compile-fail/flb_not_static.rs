// SPDX-License-Identifier: GPL-2.0
// error: E0597

//! A guard cannot outlive its FLB, which is there as long as its module.

use kernel::{
    kho,
    liveupdate::{
        flb::{
            Flb,
            Guard,
            Object, //
        },
        Handle, //
    },
    module_ref::BuiltIn,
    prelude::*, //
};

/// A number that files share.
pub struct Total;

#[vtable]
impl Object for Total {
    const COMPATIBLE: &'static CStr = c"compile-fail-v1";

    type Preserved = kho::Preserved<u64>;
    type Restored = kho::Restored<u64>;
    type OwnerModule = BuiltIn;

    fn preserve() -> Result<kho::Preserved<u64>> {
        kho::Preserved::new()
    }

    fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
        handle.restore()
    }
}

#[cfg(not(fail))]
static TOTAL: Flb<Total> = Flb::new();

/// Returns a guard.
pub fn incoming() -> Result<Guard<kho::Restored<u64>>> {
    #[cfg(fail)]
    #[allow(non_snake_case)]
    let TOTAL: Flb<Total> = Flb::new();

    TOTAL.incoming()
}
