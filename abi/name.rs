// SPDX-License-Identifier: GPL-2.0

//! The name of a session, which userspace and both kernels write into fields of the same form.

use super::{
    put,
    uapi::NAME_LENGTH,
    until_nul, //
};
use kernel::prelude::*;
use zerocopy_derive::Immutable;

/// The name of a session: 1 to 63 bytes, none of them NUL.
///
/// Names are compared and hashed by the words that their bytes make up, which is faster than by
/// bytes.
///
/// # Invariants
///
/// The first byte is not NUL, the last one is, and so are all after the first NUL.
#[derive(Clone, Copy, Eq, IntoBytes, Immutable)]
#[repr(transparent)]
pub(crate) struct Name([u64; NAME_LENGTH / size_of::<u64>()]);

impl Name {
    /// Takes what stands before the first NUL. Returns [`None`] if there is none, or nothing
    /// before it.
    pub(crate) fn new(field: &[u8; NAME_LENGTH]) -> Option<Self> {
        let bytes = until_nul(field).filter(|bytes| !bytes.is_empty())?;
        let mut name = Self([0; _]);

        // INVARIANT: There was a NUL after them, so at least one of the name's is left.
        put(name.0.as_mut_bytes(), bytes);
        Some(name)
    }

    /// The name as a field, with all NULs at its end.
    pub(crate) fn to_field(self) -> [u8; NAME_LENGTH] {
        zerocopy::transmute!(self)
    }

    /// The name as C reads it: up to a NUL.
    pub(crate) fn as_field(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }

    /// The bytes of the name.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        until_nul(self.as_field()).unwrap_or_default()
    }

    /// The words of the name, without those that are NULs and nothing else.
    pub(crate) fn words(&self) -> &[u64] {
        let used = self.0.iter().position(|&word| word == 0);

        self.0
            .get(..used.unwrap_or(self.0.len()))
            .unwrap_or_default()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // After a word of NULs there are only NULs.
        let mut words = self.0.iter().zip(&other.0);

        words
            .find(|(a, b)| a != b || **a == 0)
            .is_none_or(|(a, b)| a == b)
    }
}
