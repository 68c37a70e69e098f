// SPDX-License-Identifier: GPL-2.0
// error: E0597

//! What a guard guards is there as long as the guard.

use kernel::{
    kho,
    liveupdate::{
        flb::{
            Flb,
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

static TOTAL: Flb<Total> = Flb::new();

/// Reads the number.
pub fn total() -> Result<u64> {
    let total;

    {
        let guard = TOTAL.incoming()?;
        let number: &u64 = &guard;

        #[cfg(fail)]
        {
            total = number;
        }
        #[cfg(not(fail))]
        {
            total = *number;
        }
    }

    #[cfg(fail)]
    let total = *total;

    Ok(total)
}
