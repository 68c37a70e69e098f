// SPDX-License-Identifier: GPL-2.0

//! Keyed hashes, for hash tables whose keys others choose.
//!
//! Who does not know the [`HashKey`] cannot tell which values collide, so nobody can fill a table
//! with values that all do. The function is the kernel's `hsiphash`, SipHash-1-3 on 64-bit machines:
//! short, and good enough for hash tables, which show nobody what they compute. It is no substitute
//! for a cryptographic hash.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use crate::{
    bindings,
    prelude::*, //
};

/// The secret that hashes depend on.
///
/// # Examples
///
/// ```
/// use kernel::siphash::HashKey;
///
/// let key = HashKey::random();
/// let same = key.hash_u64(17);
///
/// assert_eq!(same, key.hash_u64(17));
/// // With another key, only one in 2^32 is the same.
/// let others = [HashKey::random(), HashKey::random(), HashKey::random()];
/// assert!(others.iter().any(|other| other.hash_u64(17) != same));
/// ```
pub struct HashKey(bindings::hsiphash_key_t);

impl HashKey {
    /// Makes a key that nobody knows. May be called from any context.
    pub fn random() -> Self {
        let mut key = bindings::hsiphash_key_t { key: [0; 2] };

        // SAFETY: So many bytes of the key may be written, and may be any.
        unsafe { bindings::get_random_bytes((&raw mut key).cast(), size_of_val(&key)) };
        Self(key)
    }

    /// Makes a key that everybody knows, for tests and for where no random numbers are to be had.
    pub const fn fixed(key: [c_ulong; 2]) -> Self {
        Self(bindings::hsiphash_key_t { key })
    }

    /// Hashes a number. May be called from any context.
    #[inline]
    pub fn hash_u64(&self, number: u64) -> u32 {
        // SAFETY: The key is valid.
        unsafe { bindings::hsiphash_2u32(number as u32, (number >> u32::BITS) as u32, &self.0) }
    }

    /// Hashes several numbers, of which their number is a part. May be called from any context.
    #[inline]
    pub fn hash_words(&self, words: &[u64]) -> u32 {
        // SAFETY: So many bytes may be read, and the key is valid.
        unsafe { bindings::hsiphash(words.as_ptr().cast(), size_of_val(words), &self.0) }
    }
}
