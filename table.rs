// SPDX-License-Identifier: GPL-2.0

//! Tables: entries in the order in which they were added, each found by its key, however many there
//! are.
//!
//! The entries are in an array. Another one, the index, is a hash table with linear probing that
//! says at which place the entry of a key is; a table of few entries does without. So an entry takes
//! no memory of its own, and is found and removed in the same time in a small and in a large table.
//! Both arrays grow by doubling. Removing an entry leaves a gap; gaps are closed instead, if half of
//! a full array are gaps.
//!
//! Who chooses the keys does not know which of them collide: their hashes depend on a [`HashKey`],
//! which is another one in each boot.

use crate::abi::name::Name;
use core::iter;
use kernel::{
    alloc::{
        flags::__GFP_NOWARN,
        AllocError,
        Flags, //
    },
    prelude::*,
    siphash::HashKey,
    sync::SetOnce, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/table.rs"]
mod tests;

/// So many entries are looked through faster than the index.
const FEW: usize = 8;

/// How many entries there are is up to others: no reason for a warning if there is no memory.
fn flags() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// The key that hashes depend on in this boot. It is made when it is first asked for: that is at early
/// init, when nobody else can ask.
pub(crate) fn hash_key() -> &'static HashKey {
    static KEY: SetOnce<HashKey> = SetOnce::new();
    static NONE: HashKey = HashKey::fixed([0; 2]);

    if KEY.as_ref().is_none() {
        KEY.populate(HashKey::random());
    }
    KEY.as_ref().unwrap_or(&NONE)
}

/// What an entry is found by.
pub(crate) trait Key: Eq {
    /// Hashes it.
    fn hash(&self, key: &HashKey) -> u32;
}

impl Key for u64 {
    fn hash(&self, key: &HashKey) -> u32 {
        key.hash_u64(*self)
    }
}

impl Key for Name {
    fn hash(&self, key: &HashKey) -> u32 {
        key.hash_words(self.words())
    }
}

/// What has a key.
pub(crate) trait Keyed {
    /// What kind of key.
    type Key: Key;

    /// Its key, which does not change.
    fn key(&self) -> &Self::Key;
}

impl<T> Keyed for (u64, T) {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.0
    }
}

/// A slot of an index.
#[derive(Clone, Copy)]
struct Slot {
    /// What the key of an entry is hashed to.
    hash: u32,
    /// The place of that entry and 1, or 0 if the slot is free.
    place: u32,
}

impl Slot {
    const FREE: Self = Self { hash: 0, place: 0 };

    fn new(hash: u32, place: usize) -> Self {
        let place = place as u32 + 1;

        Self { hash, place }
    }

    fn place(self) -> Option<usize> {
        (self.place as usize).checked_sub(1)
    }
}

/// A hash table of places.
///
/// # Invariants
///
/// There are no slots, or as many as a power of two. Going from the home of a hash, which its lower
/// bits tell, to the first free slot, one comes by all places of that hash.
struct Index {
    slots: KVVec<Slot>,
}

impl Index {
    /// Finds a place of `hash` for which `is_it` holds, and returns its slot and it; if there is
    /// none, returns the free slot that such a place would get.
    fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Result<(usize, usize), usize> {
        let mut at = self.wrap(hash as usize);

        loop {
            let slot = self.slots.get(at).copied().unwrap_or(Slot::FREE);

            match slot.place() {
                None => return Err(at),
                Some(place) if slot.hash == hash && is_it(place) => return Ok((at, place)),
                Some(_) => at = self.wrap(at + 1),
            }
        }
    }

    /// The slot of a number; after the last one comes the first one again.
    fn wrap(&self, at: usize) -> usize {
        at & self.slots.len().wrapping_sub(1)
    }

    fn set(&mut self, at: usize, value: Slot) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = value;
        }
    }

    /// Frees a slot.
    fn free(&mut self, mut free: usize) {
        let mut at = self.wrap(free + 1);

        // Those behind it move up, unless they would get before their home.
        while let Some(&slot) = self.slots.get(at).filter(|slot| slot.place != 0) {
            let from_home = self.wrap(at.wrapping_sub(slot.hash as usize));

            if from_home >= self.wrap(at.wrapping_sub(free)) {
                self.set(free, slot);
                free = at;
            }
            at = self.wrap(at + 1);
        }
        self.set(free, Slot::FREE);
    }
}

/// A table.
///
/// # Invariants
///
/// - `len` of `entries` are not gaps, one of them the last, and no two have the same key.
/// - `index` has no slots, or the place of each entry, and as many slots or more that are free: so
///   looking for a key that is not there comes to an end.
pub(crate) struct Table<T> {
    entries: KVVec<Option<T>>,
    len: usize,
    index: Index,
    hash_key: &'static HashKey,
}

impl<T: Keyed> Table<T> {
    /// Returns a table without entries.
    pub(crate) fn new() -> Self {
        // INVARIANT: There are no entries.
        Self {
            entries: KVVec::new(),
            len: 0,
            index: Index {
                slots: KVVec::new(),
            },
            hash_key: hash_key(),
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The entries, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().flatten()
    }

    /// How many places there are: those of the entries, in their order, and gaps.
    pub(crate) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The entry at a place: if none was removed, the one that was added when there were so many.
    pub(crate) fn nth(&self, place: usize) -> Option<&T> {
        self.entries.get(place)?.as_ref()
    }

    /// The first entry at a place or behind it, and its place.
    pub(crate) fn next(&self, place: usize) -> Option<(usize, &T)> {
        (place..self.places()).find_map(|place| Some((place, self.nth(place)?)))
    }

    /// The first entry that is not among the first ones, which are those for which `is_before` holds.
    pub(crate) fn first_not(&self, is_before: impl Fn(&T) -> bool) -> Option<&T> {
        let mut low = 0;
        let mut high = self.places();

        // It is none below `low`, and those from `high` on are not among the first ones.
        while low < high {
            let middle = low + (high - low) / 2;

            match self.next(middle) {
                Some((place, it)) if place < high && is_before(it) => low = place + 1,
                _ => high = middle,
            }
        }

        Some(self.next(low)?.1)
    }

    /// As [`Self::nth`], to change it.
    pub(crate) fn nth_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place)?.as_mut()
    }

    /// The place of the entry of `key`. It stays there as long as none is added.
    pub(crate) fn place(&self, key: &T::Key) -> Option<usize> {
        let (_, place) = self.find(key).ok()?;

        Some(place)
    }

    /// The entry of `key`.
    pub(crate) fn get(&self, key: &T::Key) -> Option<&T> {
        self.nth(self.place(key)?)
    }

    /// As [`Self::get`], to change it.
    pub(crate) fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let place = self.place(key)?;

        self.nth_mut(place)
    }

    /// Makes room for `additional` entries, so that to add them takes no memory.
    ///
    /// Returns `ENOMEM`. May sleep.
    #[inline]
    pub(crate) fn reserve(&mut self, additional: usize) -> Result {
        if self.entries.capacity() - self.entries.len() < additional {
            self.reserve_places(additional)?;
        }

        // An index that there is has to have room, however few entries are left.
        let slots = 2 * (self.len + additional);
        let wanted = !self.index.slots.is_empty() || self.entries.len() + additional > FEW;
        if wanted && slots > self.index.slots.len() {
            self.reserve_slots(slots)?;
        }

        Ok(())
    }

    fn reserve_places(&mut self, additional: usize) -> Result {
        if self.len <= self.entries.len() / 2 {
            self.close_gaps();
        }
        if additional > u32::MAX as usize - self.entries.len() {
            return Err(ENOMEM);
        }

        Ok(self.entries.reserve(additional, flags())?)
    }

    fn reserve_slots(&mut self, count: usize) -> Result {
        let count = count.next_power_of_two();

        self.index.slots = KVVec::from_elem(Slot::FREE, count, flags())?;
        self.fill_index();

        Ok(())
    }

    /// Makes room for an entry of `key`; returns [`None`] if there is one.
    ///
    /// Returns `ENOMEM`. May sleep.
    pub(crate) fn vacant(&mut self, key: &T::Key) -> Result<Option<Vacant<'_, T>>> {
        self.reserve(1)?;

        Ok(self.find(key).err().map(|(slot, hash)| Vacant {
            table: self,
            slot,
            hash,
        }))
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<T> {
        let (slot, place) = self.find(key).ok()?;
        let entry = self.entries.get_mut(place)?.take();

        self.index.free(slot);
        self.len -= 1;
        while let Some(None) = self.entries.last() {
            self.entries.pop();
        }

        entry
    }

    /// Makes another table out of this one, with what `make` makes of each entry, which has to have
    /// the key of that entry. Nothing is hashed again.
    ///
    /// Returns `ENOMEM`, or what `make` returned. May sleep.
    pub(crate) fn try_map<U: Keyed<Key = T::Key>, E: From<AllocError>>(
        &self,
        mut make: impl FnMut(&T) -> Result<U, E>,
    ) -> Result<Table<U>, E> {
        let mut entries = KVVec::with_capacity(self.entries.len(), flags())?;
        let mut slots = KVVec::with_capacity(self.index.slots.len(), flags())?;

        for entry in &self.entries {
            entries.push(entry.as_ref().map(&mut make).transpose()?, flags())?;
        }
        slots.extend_from_slice(&self.index.slots, flags())?;

        // INVARIANT: The keys and their places are those of this table.
        Ok(Table {
            entries,
            len: self.len,
            index: Index { slots },
            hash_key: self.hash_key,
        })
    }

    /// Removes the last entry. Who does so is about to remove all of them: the others are found
    /// without the index from now on.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        // INVARIANT: Without an index, those that are still there are found as before.
        self.index.slots.clear();

        let entry = iter::from_fn(|| self.entries.pop()).flatten().next()?;
        self.len -= 1;
        Some(entry)
    }

    /// The slot and the place of the entry of `key`; or else the slot that it would get, and its
    /// hash.
    fn find(&self, key: &T::Key) -> Result<(usize, usize), (usize, u32)> {
        let is_it = |place| self.nth(place).is_some_and(|it| it.key() == key);

        if self.index.slots.is_empty() {
            let place = (0..self.entries.len()).find(|&place| is_it(place));

            return place.map(|place| (0, place)).ok_or((0, 0));
        }

        let hash = key.hash(self.hash_key);

        self.index.find(hash, is_it).map_err(|slot| (slot, hash))
    }

    fn close_gaps(&mut self) {
        self.entries.retain(|entry| entry.is_some());
        self.index.slots.fill(Slot::FREE);
        self.fill_index();
    }

    /// Enters all places into an index whose slots are free.
    fn fill_index(&mut self) {
        for (place, entry) in self.entries.iter().enumerate() {
            let Some(entry) = entry else {
                continue;
            };
            let hash = entry.key().hash(self.hash_key);

            if let Err(slot) = self.index.find(hash, |_| false) {
                self.index.set(slot, Slot::new(hash, place));
            }
        }
    }
}

/// Room for an entry of a key that is not in the table.
///
/// # Invariants
///
/// There is room for one more entry, and `slot` is the one that an entry of `hash` would get.
pub(crate) struct Vacant<'t, T> {
    table: &'t mut Table<T>,
    slot: usize,
    hash: u32,
}

impl<T> Vacant<'_, T> {
    /// Adds the entry, whose key has to be the one that there is room for.
    pub(crate) fn insert(self, entry: T) -> Result {
        let slot = Slot::new(self.hash, self.table.entries.len());

        self.table.entries.push_within_capacity(Some(entry))?;
        self.table.index.set(self.slot, slot);
        self.table.len += 1;

        Ok(())
    }
}
