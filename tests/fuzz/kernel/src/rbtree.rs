// SPDX-License-Identifier: GPL-2.0

//! Ordered maps.

use crate::alloc::Flags;
use crate::error::Result;
use core::marker::PhantomData;
use std::collections::btree_map;
use std::collections::BTreeMap;

/// A map.
pub struct RBTree<K, V>(BTreeMap<K, V>);

/// Memory for an entry.
pub struct RBTreeNodeReservation<K, V>(PhantomData<(K, V)>);

/// A place in a map.
pub enum Entry<'a, K: Ord, V> {
    /// Without a value.
    Vacant(VacantEntry<'a, K, V>),
    /// With one.
    Occupied(()),
}

/// A place without a value.
pub struct VacantEntry<'a, K: Ord, V>(btree_map::VacantEntry<'a, K, V>);

impl<K, V> RBTreeNodeReservation<K, V> {
    /// Takes memory.
    pub fn new(_: Flags) -> Result<Self> {
        Ok(Self(PhantomData))
    }
}

impl<K: Ord, V> VacantEntry<'_, K, V> {
    /// Puts a value there.
    pub fn insert(self, value: V, _: RBTreeNodeReservation<K, V>) {
        self.0.insert(value);
    }
}

impl<K, V> RBTree<K, V> {
    /// Makes an empty map.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V> RBTree<K, V> {
    /// The place for `key`.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.0.entry(key) {
            btree_map::Entry::Vacant(entry) => Entry::Vacant(VacantEntry(entry)),
            btree_map::Entry::Occupied(_) => Entry::Occupied(()),
        }
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }
}
