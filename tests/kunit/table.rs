// SPDX-License-Identifier: GPL-2.0

//! Tables against a model: the same entries in a vector, looked through from its beginning.

use super::*;
use crate::mock::Random;

/// A key of which 16 have the same hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Clash(u64);

impl Key for Clash {
    fn hash(&self, _: &HashKey) -> u32 {
        self.0 as u32 / 16
    }
}

impl Keyed for (Clash, u64) {
    type Key = Clash;

    fn key(&self) -> &Clash {
        &self.0
    }
}

/// Whether the table has the entries of the model, in its order, and keeps its promises.
fn agree<K>(table: &Table<(K, u64)>, model: &[(K, u64)]) -> bool
where
    K: Copy + PartialEq,
    (K, u64): Keyed<Key = K>,
{
    let slots = &table.index.slots;
    let taken = slots.iter().filter(|slot| slot.place().is_some()).count();

    table.len() == model.len()
        && table.iter().eq(model)
        && table.iter().rev().eq(model.iter().rev())
        && model.iter().all(|it| table.get(&it.0) == Some(it))
        && !matches!(table.entries.last(), Some(None))
        && (slots.is_empty() && table.entries.len() <= FEW
            || slots.len().is_power_of_two()
                && slots.len() >= 2 * table.len()
                && taken == table.len())
}

/// Whether one can go on from any place, and from any entry if they are in ascending order.
fn can_go_on<K>(table: &Table<(K, u64)>, model: &[(K, u64)]) -> bool
where
    K: Copy + PartialEq,
    (K, u64): Keyed<Key = K>,
{
    let mut rest = model.iter().rev();
    let mut next = None;

    let from_places = (0..=table.places()).rev().all(|place| {
        if table.nth(place).is_some() {
            next = rest.next();
        }
        table.next(place).map(|(_, it)| it) == next
    });
    let from_entries = (0..=1000).step_by(7).all(|value| {
        let found = model.iter().find(|it| it.1 >= value);

        table.first_not(|it| it.1 < value) == found
    });

    from_places && from_entries
}

/// Adds and removes entries of keys below `keys`, of which there will be about `share` percent.
fn add_and_remove<K>(seed: u64, keys: usize, share: usize, key: fn(u64) -> K) -> Result
where
    K: Copy + PartialEq,
    (K, u64): Keyed<Key = K>,
{
    add_and_remove_in(Table::new(), seed, keys, share, key)
}

/// The same, in an empty table that there is.
fn add_and_remove_in<K>(
    mut table: Table<(K, u64)>,
    seed: u64,
    keys: usize,
    share: usize,
    key: fn(u64) -> K,
) -> Result
where
    K: Copy + PartialEq,
    (K, u64): Keyed<Key = K>,
{
    let mut random = Random(seed);
    let mut model: KVec<(K, u64)> = KVec::new();
    let room = table.entries.capacity();

    for value in 0..1000 {
        let key = key(random.below(keys) as u64);
        let at = model.iter().position(|it| it.0 == key);

        if random.below(100) < share {
            let vacant = table.vacant(&key)?;

            assert_eq!(vacant.is_none(), at.is_some());
            if let Some(vacant) = vacant {
                vacant.insert((key, value))?;
                model.push((key, value), GFP_KERNEL)?;
            }
        } else {
            let removed = table.remove(&key);
            let due = at.map(|at| model.remove(at));

            assert!(removed == due.transpose().map_err(|_| EINVAL)?);
            assert!(table.get(&key).is_none());
        }
        assert!(agree(&table, &model));
        if value % 50 == 0 {
            assert!(can_go_on(&table, &model));
        }
    }
    // Gaps are closed: there is never room for more than twice as many as there ever were.
    assert!(table.entries.capacity() < room.max(4 * keys) + 1);

    for _ in 0..model.len() / 2 {
        assert!(table.pop() == model.pop());
    }
    assert!(table.iter().eq(&model[..]));
    Ok(())
}

#[kunit_tests(luo_table)]
mod suite {
    use super::*;

    #[test]
    fn agrees_with_a_model() -> Result {
        for seed in 1..=16 {
            for (keys, share) in [(6, 50), (12, 60), (40, 50), (300, 55), (300, 90)] {
                add_and_remove(seed, keys, share, |key| key)?;
            }
        }
        Ok(())
    }

    #[test]
    fn agrees_with_a_model_if_keys_collide() -> Result {
        for seed in 1..=16 {
            for (keys, share) in [(6, 50), (12, 60), (40, 50), (300, 55), (300, 90)] {
                add_and_remove(seed, keys, share, Clash)?;
            }
        }
        Ok(())
    }

    #[test]
    fn what_was_not_inserted_is_not_there() -> Result {
        let mut table = Table::new();

        for key in 0..100 {
            assert!(table.vacant(&key)?.is_some());
            assert!(table.get(&key).is_none());
            assert_eq!(table.len(), key as usize);
            table.vacant(&key)?.ok_or(EEXIST)?.insert((key, ()))?;
        }
        Ok(())
    }

    #[test]
    fn entries_can_be_changed() -> Result {
        for count in [1, FEW as u64, FEW as u64 + 1, 100] {
            let mut table = Table::new();

            for key in 0..count {
                table.vacant(&key)?.ok_or(EEXIST)?.insert((key, key))?;
            }
            table.get_mut(&(count - 1)).ok_or(ENOENT)?.1 = 1000;
            assert!(table
                .iter()
                .all(|&(key, value)| value == key || value == 1000));
            for place in 0..table.places() {
                table.nth_mut(place).ok_or(ENOENT)?.1 += 1;
            }
            for key in 0..count {
                let due = if key == count - 1 { 1001 } else { key + 1 };

                assert_eq!(table.get(&key), Some(&(key, due)));
            }
            assert!(table.get_mut(&count).is_none());
            assert_eq!(table.place(&0), Some(0));
            assert_eq!(table.place(&count), None);
        }
        Ok(())
    }

    #[test]
    fn who_drains_may_stop_half_way() -> Result {
        let mut table = Table::new();
        let mut model = KVec::new();

        for key in 0..100 {
            table.vacant(&key)?.ok_or(EEXIST)?.insert((key, key))?;
            model.push((key, key), GFP_KERNEL)?;
        }
        table.remove(&98);
        for key in [99, 97, 96] {
            assert!(table.pop().is_some_and(|it| it.0 == key));
        }
        assert_eq!(table.len(), 96);
        assert_eq!(table.get(&95), Some(&(95, 95)));
        assert!(table.get(&96).is_none());

        // The index comes back when it is needed, and knows no more than it has to.
        table.vacant(&96)?.ok_or(EEXIST)?.insert((96, 96))?;
        model.truncate(97);
        assert!(!table.index.slots.is_empty() && agree(&table, &model));

        assert_eq!(iter::from_fn(|| table.pop()).count(), 97);
        assert_eq!((table.len(), table.iter().count()), (0, 0));
        Ok(())
    }

    #[test]
    fn room_that_was_made_is_there() -> Result {
        for room in [1, FEW, FEW + 1, 100, 1000] {
            let mut table = Table::new();

            table.reserve(room)?;
            let (entries, slots) = (table.entries.as_ptr(), table.index.slots.as_ptr());
            for key in 0..room as u64 {
                table.vacant(&key)?.ok_or(EEXIST)?.insert((key, ()))?;
            }
            assert!(entries == table.entries.as_ptr());
            assert!(slots == table.index.slots.as_ptr());
        }
        assert_eq!(Table::<(u64, ())>::new().reserve(1 << 32), Err(ENOMEM));
        Ok(())
    }

    #[test]
    fn keys_that_collide_do_so_with_one_secret_only() -> Result {
        const SLOTS: u32 = 1 << 10;

        let slot = |key: u64, secret: &HashKey| key.hash(secret) % SLOTS;
        let [one, other] = [HashKey::random(), HashKey::random()];

        for shift in [0, 12, 32, 40, 47] {
            let mut taken = KVec::from_elem(false, SLOTS as usize, GFP_KERNEL)?;
            let mut count = 0;
            let keys = (0..100 * u64::from(SLOTS)).map(|number| number << shift);

            for key in keys.filter(|&key| slot(key, &one) == 0) {
                taken[slot(key, &other) as usize] = true;
                count += 1;
            }
            // Of 100 that are thrown in at random: 95.
            assert!(count > 50 && taken.iter().filter(|&&it| it).count() > count * 4 / 5);
        }
        Ok(())
    }

    #[test]
    fn words_are_hashed_to_the_last() {
        let secret = HashKey::random();
        let hash = |words: &[u64]| secret.hash_words(words);

        assert!(hash(&[1, 2]) == hash(&[1, 2]));
        assert!(hash(&[1, 2]) != hash(&[1, 3]));
        assert!(hash(&[1, 0]) != hash(&[1]));
        assert!(hash(&[1 << 63]) != hash(&[0]));
    }

    /// An index that was made for few entries has room for those that come when it is not needed.
    #[test]
    fn an_index_is_never_full() -> Result {
        let mut table = Table::new();
        let add = |table: &mut Table<(u64, u64)>, keys: core::ops::Range<u64>| -> Result {
            for key in keys {
                table.vacant(&key)?.ok_or(EEXIST)?.insert((key, key))?;
            }
            Ok(())
        };

        table.reserve(5)?;
        add(&mut table, 0..8)?;
        for key in 0..7 {
            table.remove(&key);
        }
        add(&mut table, 8..9)?;
        assert!(!table.index.slots.is_empty());
        table.remove(&8);
        table.remove(&7);
        add(&mut table, 9..13)?;

        let model = [(9, 9), (10, 10), (11, 11), (12, 12)];
        assert!(agree(&table, &model));
        assert!(table.get(&13).is_none());
        Ok(())
    }

    #[test]
    fn agrees_with_a_model_however_much_room_there_was() -> Result {
        for room in 0..=4 * FEW {
            for keys in [6, 12] {
                let mut table = Table::new();

                table.reserve(room)?;
                let slots = table.index.slots.len();
                assert!(slots == 0 || slots >= 2 * room);
                add_and_remove_in(table, 1 + room as u64, keys, 50, |key| key)?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_table_is_made_of_another() -> Result {
        for count in [0, 1, FEW as u64, FEW as u64 + 1, 100] {
            let mut table = Table::new();
            let mut model = KVec::new();

            for key in 0..count {
                table.vacant(&key)?.ok_or(EEXIST)?.insert((key, ()))?;
            }
            for key in (0..count).filter(|key| key % 3 == 1) {
                table.remove(&key);
            }
            for (key, ()) in table.iter() {
                model.push((*key, 2 * key), GFP_KERNEL)?;
            }

            let other = table.try_map(|&(key, ())| Ok::<_, Error>((key, 2 * key)))?;
            assert!(agree(&other, &model));
            assert_eq!(table.len(), model.len());

            let refused = table.try_map(|_| Err::<(u64, u64), _>(EDOM));
            assert_eq!(refused.err(), (!model.is_empty()).then_some(EDOM));
        }
        Ok(())
    }
}
