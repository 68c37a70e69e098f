// SPDX-License-Identifier: GPL-2.0

//! The `luo-v5` format, which the LUO in C writes and reads: the root blob is a struct, and a block
//! is a page.
//!
//! C header: `include/linux/kho/abi/luo.h`.

use super::{
    format::{
        self,
        Field,
        Format, //
    },
    Damage,
    Found, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    static_assert, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The version string of this format, padded as it stands in the root record.
pub(crate) const COMPATIBLE: [u8; 8] = *b"luo-v5\0\0";

/// `struct luo_ser`: the root record.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
pub(crate) struct Root {
    /// [`COMPATIBLE`].
    pub(crate) compatible: [u8; 8],
    /// How many live updates led to the kernel that reads this.
    pub(crate) liveupdate_num: u64,
    /// The first block of sessions, 0 if there are none.
    pub(crate) sessions_pa: u64,
    /// The page of FLBs, 0 if there is none.
    pub(crate) flbs_pa: u64,
}

static_assert!(size_of::<Root>() == 32);

/// The format.
pub(crate) struct LuoV5;

impl Format for LuoV5 {
    fn name(&self) -> &'static str {
        "luo-v5"
    }

    fn blob_size(&self) -> usize {
        size_of::<Root>()
    }

    fn session_block_size(&self) -> usize {
        PAGE_SIZE
    }

    fn file_block_size(&self) -> usize {
        PAGE_SIZE
    }

    fn sessions_field(&self) -> Field {
        ("luo_ser", "sessions_pa")
    }

    fn flbs_field(&self) -> Field {
        ("luo_ser", "flbs_pa")
    }

    fn is_format_of(&self, blob: &[u8]) -> bool {
        blob.starts_with(&COMPATIBLE)
    }

    fn read(&self, blob: &[u8]) -> Result<format::Root, Damage> {
        let Ok((root, _)) = Root::read_from_prefix(blob) else {
            let found = Found::Number(blob.len() as u64);
            return Err(Damage::new("LUO", "blob-size", found, "less than luo_ser"));
        };
        if root.compatible != COMPATIBLE {
            let found = Found::version(&root.compatible);
            return Err(Damage::new("luo_ser", "compatible", found, "not luo-v5"));
        }

        Ok(format::Root {
            liveupdate_num: root.liveupdate_num,
            sessions_pa: root.sessions_pa,
            flbs_pa: root.flbs_pa,
        })
    }

    fn write(&self, blob: &mut [u8], root: &format::Root) -> Result {
        let root = Root {
            compatible: COMPATIBLE,
            liveupdate_num: root.liveupdate_num,
            sessions_pa: root.sessions_pa,
            flbs_pa: root.flbs_pa,
        };

        root.write_to_prefix(blob).map_err(|_| ENOSPC)
    }
}
