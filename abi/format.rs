// SPDX-License-Identifier: GPL-2.0

//! What a wire format is: all that differs between the ways to hand over one and the same state.
//!
//! The records are the same in all formats, see [`super::record`]. A format is the blob in which
//! the next kernel begins to read, and how large blocks of records are. A kernel writes one format,
//! and reads the one that is there.

use super::{
    luo_fdt::LuoFdt,
    luo_v5::LuoV5,
    Damage, //
};
use kernel::prelude::*;

/// The name of the KHO entry that holds the root blob, which fits into a page.
pub(crate) const KHO_ENTRY: &CStr = c"LUO";

/// What stands in a root blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// How many live updates led to the kernel that reads this.
    pub(crate) liveupdate_num: u64,
    /// The first block of sessions, 0 if there are none.
    pub(crate) sessions_pa: u64,
    /// The page of FLBs, 0 if there is none.
    pub(crate) flbs_pa: u64,
}

/// A record and one of its fields, as the log calls them.
pub(crate) type Field = (&'static str, &'static str);

/// A wire format.
pub(crate) trait Format: Sync {
    /// What the format is called on the command line.
    fn name(&self) -> &'static str;

    /// The size of the root blob, in bytes.
    fn blob_size(&self) -> usize;

    /// The size of a block of sessions, in bytes.
    fn session_block_size(&self) -> usize;

    /// The size of a block of files, in bytes.
    fn file_block_size(&self) -> usize;

    /// Where [`Root::sessions_pa`] stands.
    fn sessions_field(&self) -> Field;

    /// Where [`Root::flbs_pa`] stands.
    fn flbs_field(&self) -> Field;

    /// Whether `blob` claims to be of this format.
    fn is_format_of(&self, blob: &[u8]) -> bool;

    /// Reads a root blob that another kernel wrote.
    fn read(&self, blob: &[u8]) -> Result<Root, Damage>;

    /// Writes a root blob.
    ///
    /// Returns `ENOSPC` if `blob` is smaller than [`Self::blob_size`].
    fn write(&self, blob: &mut [u8], root: &Root) -> Result;
}

/// The format that is written unless another is asked for.
pub(crate) const DEFAULT: &dyn Format = &LuoV5;

/// All formats, the default one first.
pub(crate) static FORMATS: [&dyn Format; 2] = [DEFAULT, &LuoFdt];

/// The format of which `blob` claims to be, or else the default one, which then says what is wrong.
pub(crate) fn format_of(blob: &[u8]) -> &'static dyn Format {
    FORMATS
        .into_iter()
        .find(|format| format.is_format_of(blob))
        .unwrap_or(DEFAULT)
}
