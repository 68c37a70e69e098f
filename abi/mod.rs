// SPDX-License-Identifier: GPL-2.0

//! The data that others read and write: the next kernel, the previous one, and userspace.
//!
//! Plain structs and constants, one file per format, and what can be said about a value by
//! looking at it alone. Nothing here knows where the data comes from.

pub(crate) mod block;
pub(crate) mod format;
pub(crate) mod luo_fdt;
pub(crate) mod luo_v5;
pub(crate) mod name;
pub(crate) mod record;
pub(crate) mod uapi;

use kernel::{
    fmt,
    prelude::fmt,
    str::BStr, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "../tests/kunit/abi.rs"]
mod tests;

/// The bytes of `field` before its first NUL, or [`None`] if it has none.
///
/// All strings of the formats are arrays of fixed size that have to end with a NUL.
pub(crate) fn until_nul(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|&byte| byte == 0)?;
    field.get(..end)
}

/// Copies `bytes` to the beginning of `field`, as far as there is room, and leaves the rest.
pub(crate) fn put(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// The words that a field of strings is made of.
fn words<const N: usize>(field: &[u8; N]) -> impl Iterator<Item = u64> + '_ {
    const { assert!(N.is_multiple_of(size_of::<u64>())) };
    let words = field.chunks_exact(size_of::<u64>());

    words.map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// Those bits of a word that belong to bytes before its first NUL; [`None`] if it has none.
fn before_nul(word: u64) -> Option<u64> {
    const LOW: u64 = u64::MAX / 0xff;
    const HIGH: u64 = LOW << 7;
    // The highest bit of each byte that is NUL, up to the first one at least.
    let nuls = word.wrapping_sub(LOW) & !word & HIGH;

    (nuls != 0).then(|| ((nuls & nuls.wrapping_neg()) >> 7) - 1)
}

/// A field, made of words, with nothing but NULs behind its first one.
#[inline(always)]
pub(crate) fn string_field<const N: usize>(field: &[u8; N]) -> [u8; N] {
    let mut string = [0; N];

    for (to, word) in string.chunks_exact_mut(size_of::<u64>()).zip(words(field)) {
        let before = before_nul(word);

        to.copy_from_slice(&(word & before.unwrap_or(u64::MAX)).to_le_bytes());
        if before.is_some() {
            break;
        }
    }
    string
}

/// Whether two fields, made of words, have the same before their first NULs.
pub(crate) fn is_same_string<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    for (one, other) in words(one).zip(words(other)) {
        match before_nul(one) {
            None if one == other => {}
            Some(before) if before_nul(other) == Some(before) => {
                return (one ^ other) & before == 0;
            }
            _ => return false,
        }
    }
    true
}

/// Bytes that somebody has chosen, as a word of a line that programs read: what is not printable or
/// would end the word is three octal digits behind a backslash, and so is the backslash itself.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b'\\' => f.write_str("\\134"),
            b'!'..=b'~' => fmt::Write::write_char(f, byte.into()),
            _ => write!(f, "\\{byte:03o}"),
        })
    }
}

/// What stands in a field that cannot be believed.
pub(crate) enum Found {
    /// Nothing that would tell more than the reason does.
    Nothing,
    /// A number or an address.
    Number(u64),
    /// So many bytes.
    Length(usize),
    /// A version string.
    Version([u8; 16]),
}

impl Found {
    /// The beginning of a version string.
    pub(crate) fn version(string: &[u8]) -> Self {
        let mut field = [0; _];

        put(&mut field, string);
        Self::Version(field)
    }
}

/// What is wrong with a record that the previous kernel handed over.
pub(crate) struct Damage {
    /// The record, as the C headers call it.
    pub(crate) record: &'static str,
    /// The field of the record, likewise.
    pub(crate) field: &'static str,
    /// What the field holds.
    pub(crate) found: Found,
    /// Why that cannot be.
    pub(crate) why: &'static str,
}

impl Damage {
    /// `field` of `record` holds what was `found`, and `why` is the reason that it cannot.
    pub(crate) const fn new(
        record: &'static str,
        field: &'static str,
        found: Found,
        why: &'static str,
    ) -> Self {
        Self {
            record,
            field,
            found,
            why,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record, self.field)?;
        match &self.found {
            Found::Nothing => {}
            Found::Number(number) => write!(f, " is {number:#x}")?,
            Found::Length(length) => write!(f, " has {length} bytes")?,
            Found::Version(field) => {
                let text = until_nul(field).unwrap_or(field);

                f.write_fmt(fmt!(" is '{}'", BStr::from_bytes(text)))?;
            }
        }
        write!(f, ": {}", self.why)
    }
}
