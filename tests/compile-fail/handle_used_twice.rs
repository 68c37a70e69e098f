// SPDX-License-Identifier: GPL-2.0
// error: E0382

//! What was handed over can be taken over once.

use kernel::{
    kho,
    liveupdate::Handle,
    prelude::*, //
};

/// Takes over what is behind a handle.
pub fn restore(handle: Handle) -> Result<kho::Restored<u64>> {
    let number = handle.restore::<u64>()?;

    #[cfg(fail)]
    drop(handle.restore::<u64>()?);

    Ok(number)
}
