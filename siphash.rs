// SPDX-License-Identifier: GPL-2.0

//! Keyed hashes, for hash tables whose keys others choose.
//!
//! Who does not know the [`HashKey`] cannot tell which values collide, so nobody can fill a table
//! with values that all do. The function is the kernel's `hsiphash`, SipHash-1-3 on 64-bit machines:
//! short, and good enough for hash tables, which show nobody what they compute.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h).

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::SetOnce;

extern "C" {
    fn luo_hsiphash(data: *const c_void, len: usize, key: *const bindings::hsiphash_key_t) -> u32;
}

/// The secret that hashes depend on.
pub(crate) struct HashKey(bindings::hsiphash_key_t);

impl HashKey {
    /// A key that nobody knows. May be called from anywhere.
    pub(crate) fn random() -> Self {
        let mut key = bindings::hsiphash_key_t { key: [0; 2] };

        // SAFETY: So many bytes of the key may be written, and may be any.
        unsafe { bindings::get_random_bytes((&raw mut key).cast(), size_of_val(&key)) };
        Self(key)
    }

    /// The key of this boot, made when it is first asked for: that is at early init, when nobody
    /// else can ask.
    pub(crate) fn of_this_boot() -> &'static Self {
        static KEY: SetOnce<HashKey> = SetOnce::new();
        static NONE: HashKey = HashKey(bindings::hsiphash_key_t { key: [0; 2] });

        if KEY.as_ref().is_none() {
            KEY.populate(Self::random());
        }
        KEY.as_ref().unwrap_or(&NONE)
    }

    /// Hashes a number. May be called from anywhere.
    pub(crate) fn hash_u64(&self, number: u64) -> u32 {
        // SAFETY: The key is valid.
        unsafe { bindings::hsiphash_2u32(number as u32, (number >> u32::BITS) as u32, &self.0) }
    }

    /// Hashes several numbers, of which their number is a part. May be called from anywhere.
    pub(crate) fn hash_words(&self, words: &[u64]) -> u32 {
        // SAFETY: So many bytes may be read, and the key is valid.
        unsafe { luo_hsiphash(words.as_ptr().cast(), size_of_val(words), &self.0) }
    }
}
