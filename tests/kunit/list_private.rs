// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::list_private`]: against a model, against C code, and of every error.

use super::*;
use crate::mock::Random;
use kernel::types::Opaque;

const ITEMS: usize = 10;

/// An entry that Rust owns.
#[pin_data(PinnedDrop)]
struct Item {
    number: usize,
    /// How many items were dropped.
    drops: Arc<Atomic<usize>>,
    #[pin]
    link: Link,
}

impl_entry! { impl Entry for Item { link } }

#[pinned_drop]
impl PinnedDrop for Item {
    fn drop(self: Pin<&mut Self>) {
        self.drops.add(1, Relaxed);
    }
}

impl Item {
    fn new(number: usize, drops: &Arc<Atomic<usize>>) -> impl PinInit<Self> + '_ {
        pin_init!(Self {
            number,
            drops: drops.clone(),
            link <- Link::new(),
        })
    }

    fn number(&self) -> usize {
        self.number
    }
}

type Shared = List<Arc<Item>>;
type Owned = List<Pin<KBox<Item>>>;

/// The head of a list, for C code to walk it.
fn raw<P: EntryPtr>(list: &List<P>) -> *mut bindings::list_head {
    ptr::from_ref(list).cast_mut().cast()
}

fn no_drops() -> Result<Arc<Atomic<usize>>> {
    Ok(Arc::new(Atomic::new(0), GFP_KERNEL)?)
}

fn items() -> Result<KVec<Arc<Item>>> {
    let drops = no_drops()?;
    let mut items = KVec::new();

    for number in 0..ITEMS {
        items.push(
            Arc::pin_init(Item::new(number, &drops), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
    }

    Ok(items)
}

fn list<P: EntryPtr>() -> Result<Pin<KBox<List<P>>>> {
    KBox::pin_init(List::new(), GFP_KERNEL)
}

/// An entry that C owns.
#[repr(transparent)]
struct Flb(Opaque<bindings::liveupdate_flb>);

// SAFETY: Only these tests touch the link, and it starts zeroed.
impl_entry! { unsafe impl Entry for Flb as bindings::liveupdate_flb { private.list } }

type Flbs = List<EntryRef<Flb>>;

/// What tests/kunit/list_private.c does, for FLBs that are valid while they are borrowed.
mod c {
    use super::*;

    // SAFETY: The prototypes are those in tests/kunit/list_private.h.
    #[allow(improper_ctypes)] // Without SMP a lock is an empty struct.
    unsafe extern "C" {
        fn luo_kunit_list_init(head: *mut bindings::list_head);
        fn luo_kunit_list_add(flb: *mut bindings::liveupdate_flb, head: *mut bindings::list_head);
        fn luo_kunit_list_del(flb: *mut bindings::liveupdate_flb);
        fn luo_kunit_list_unlinked(flb: *mut bindings::liveupdate_flb) -> bool;
        fn luo_kunit_list_walk(
            head: *mut bindings::list_head,
            reverse: bool,
            flbs: *mut *const Flb,
            room: usize,
        ) -> usize;
    }

    pub(super) fn init(head: &Opaque<bindings::list_head>) {
        // SAFETY: The head is valid for writes.
        unsafe { luo_kunit_list_init(head.get()) }
    }

    /// # Safety
    ///
    /// `flb` is not linked, `head` is initialised, and both stay valid while it is linked.
    pub(super) unsafe fn add(flb: &Flb, head: *mut bindings::list_head) {
        // SAFETY: The caller guarantees it.
        unsafe { luo_kunit_list_add(flb.0.get(), head) }
    }

    /// # Safety
    ///
    /// `flb` is on a list.
    pub(super) unsafe fn del(flb: &Flb) {
        // SAFETY: The caller guarantees it.
        unsafe { luo_kunit_list_del(flb.0.get()) }
    }

    pub(super) fn unlinked(flb: &Flb) -> bool {
        // SAFETY: An FLB has a valid link.
        unsafe { luo_kunit_list_unlinked(flb.0.get()) }
    }

    /// Whether C finds `expected` on the list, first to last and last to first.
    ///
    /// # Safety
    ///
    /// `head` is that of a list of valid FLBs.
    pub(super) unsafe fn finds<'a>(
        head: *mut bindings::list_head,
        expected: impl DoubleEndedIterator<Item = &'a Flb> + Clone,
    ) -> bool {
        let mut flbs = [ptr::null(); ITEMS + 1];
        let mut walk = |reverse| {
            // SAFETY: There is room for that many; the caller guarantees the rest.
            let n = unsafe { luo_kunit_list_walk(head, reverse, flbs.as_mut_ptr(), flbs.len()) };

            flbs.into_iter().take(n)
        };

        walk(false).eq(expected.clone().map(ptr::from_ref))
            && walk(true).eq(expected.rev().map(ptr::from_ref))
    }
}

fn zeroed_flbs() -> Result<KVec<Flb>> {
    let mut flbs = KVec::with_capacity(ITEMS, GFP_KERNEL)?;

    // One by one: a stack has no room for all of them.
    for _ in 0..ITEMS {
        flbs.push(Flb(Opaque::zeroed()), GFP_KERNEL)?;
    }
    Ok(flbs)
}

/// # Safety
///
/// As for [`EntryRef::new`].
unsafe fn entry_ref(flb: &Flb) -> EntryRef<Flb> {
    // SAFETY: The caller guarantees it.
    unsafe { EntryRef::new(NonNull::from(flb)) }
}

/// Whether both are the same entries, not just equal ones.
fn same<'a>(found: impl Iterator<Item = &'a Flb>, flbs: impl Iterator<Item = &'a Flb>) -> bool {
    found.map(ptr::from_ref).eq(flbs.map(ptr::from_ref))
}

fn shows<'a>(found: impl Iterator<Item = &'a Item>, model: impl Iterator<Item = usize>) -> bool {
    found.map(Item::number).eq(model)
}

/// Whether all ways to look at `list` show the items of `model`.
fn agree(list: &Shared, items: &[Arc<Item>], model: &[usize]) -> Result<bool> {
    let model = || model.iter().copied();
    let len = model().len();
    let mut ok = list.is_empty() == (len == 0)
        && shows(list.iter(), model())
        && shows(list.iter().rev(), model().rev())
        && list.first().map(Item::number) == model().next()
        && list.last().map(Item::number) == model().next_back();

    let mut halves = list.iter();
    for index in 0..len {
        ok &= if index % 2 == 0 {
            halves.next().map(Item::number) == model().nth(index / 2)
        } else {
            halves.next_back().map(Item::number) == model().nth_back(index / 2)
        };
    }
    ok &= halves.next().is_none() && halves.next_back().is_none();

    for (index, at) in model().enumerate() {
        let at = &*items[at];
        let before = index.checked_sub(1);

        ok &= list.next(at)?.map(Item::number) == model().nth(index + 1)
            && list.prev(at)?.map(Item::number) == before.and_then(|index| model().nth(index))
            && Some(list.next_circular(at)?.number) == model().nth((index + 1) % len)
            && Some(list.prev_circular(at)?.number) == model().nth((index + len - 1) % len)
            && shows(list.iter_from(at)?, model().skip(index))
            && shows(list.iter_after(at)?, model().skip(index + 1))
            && shows(list.iter_before(at)?.rev(), model().take(index).rev())
            && shows(list.iter_through(at)?.rev(), model().take(index + 1).rev());
    }

    Ok(ok)
}

/// Performs a random operation on the first of two lists and on its model.
///
/// Returns whether they answered the same.
fn operate(
    random: &mut Random,
    items: &[Arc<Item>],
    [list, other]: [&mut Pin<KBox<Shared>>; 2],
    [model, other_model]: [&mut KVec<usize>; 2],
) -> Result<bool> {
    let number = random.below(ITEMS);
    let at = random.below(ITEMS);
    let item = items[number].clone();
    let linked = model.contains(&number) || other_model.contains(&number);
    let index = model.iter().position(|&it| it == at);

    Ok(match random.below(16) {
        0..3 => {
            if !linked {
                model.insert_within_capacity(0, number).or(Err(EINVAL))?;
            }
            list.as_mut().push_front(item).is_err() == linked
        }
        3..6 => {
            if !linked {
                model.push(number, GFP_KERNEL)?;
            }
            list.as_mut().push_back(item).is_err() == linked
        }
        6 => {
            let expected = (!model.is_empty()).then(|| model.remove(0).unwrap_or(ITEMS));
            list.as_mut().pop_front().map(|item| item.number) == expected
        }
        7 => {
            let last = list.last().map(ptr::from_ref);
            let removed = last.map(|last| list.as_mut().remove(last));

            removed.transpose()?.map(|item| item.number) == model.pop()
        }
        8 => {
            let removed = list.as_mut().remove(&*items[at]);
            let expected = index.ok_or(ENOENT);

            if let Ok(index) = expected {
                model.remove(index).or(Err(EINVAL))?;
            }
            removed.map(|item| item.number) == expected.and(Ok(at))
        }
        9 | 10 => match (list.as_mut().cursor_at(&*items[at]), index) {
            (Ok(cursor), Some(_)) => cursor.current().is_some_and(|it| it.number == at),
            (Err(ENOENT), None) => true,
            _ => false,
        },
        11 => {
            let mut cursor = list.as_mut().cursor_front();
            while let Some(item) = cursor.current() {
                if item.number % 2 == 0 {
                    cursor.remove();
                } else {
                    cursor.move_next();
                }
            }
            model.retain(|number| *number % 2 != 0);
            true
        }
        12 => {
            let mut cursor = list.as_mut().cursor_back();
            while let Some(item) = cursor.current() {
                if item.number % 3 == 0 {
                    cursor.remove();
                }
                cursor.move_prev();
            }
            model.retain(|number| *number % 3 != 0);
            true
        }
        13 => {
            list.as_mut().splice_front(other.as_mut());
            other_model.extend_from_slice(model, GFP_KERNEL)?;
            core::mem::swap(model, other_model);
            other_model.clear();
            true
        }
        _ => {
            list.as_mut().splice_back(other.as_mut());
            model.extend_from_slice(other_model, GFP_KERNEL)?;
            other_model.clear();
            true
        }
    })
}

#[kunit_tests(luo_list_private)]
mod list_private {
    use super::*;

    #[test]
    fn the_example_of_entries_that_rust_owns() -> Result {
        let drops = no_drops()?;
        let item = |number| KBox::pin_init(Item::new(number, &drops), GFP_KERNEL);
        let mut items = KBox::pin_init(Owned::new(), GFP_KERNEL)?;

        items.as_mut().push_back(item(2)?)?;
        items.as_mut().push_back(item(3)?)?;
        items.as_mut().push_front(item(1)?)?;
        assert!(items.iter().map(Item::number).eq([1, 2, 3]));
        assert!(items.iter().rev().map(Item::number).eq([3, 2, 1]));

        let mut cursor = items.as_mut().cursor_front();
        while let Some(item) = cursor.current() {
            if item.number() == 2 {
                cursor.remove();
            } else {
                cursor.move_next();
            }
        }
        assert!(items.iter().map(Item::number).eq([1, 3]));
        Ok(())
    }

    #[test]
    fn the_example_of_entries_that_c_owns() -> Result {
        #[repr(transparent)]
        struct Flb(Opaque<bindings::liveupdate_flb>);

        // SAFETY: Only lists of this type touch `private.list`, and it starts zeroed.
        impl_entry! { unsafe impl Entry for Flb as bindings::liveupdate_flb { private.list } }

        let storage = Opaque::<bindings::liveupdate_flb>::zeroed();
        let flb = NonNull::from(&storage).cast();
        let mut flbs = KBox::pin_init(List::<EntryRef<Flb>>::new(), GFP_KERNEL)?;

        // SAFETY: It stays as it is until it is removed below.
        flbs.as_mut().push_back(unsafe { EntryRef::new(flb) })?;

        let flb = flbs.as_mut().remove(flb.as_ptr())?;
        assert!(!flb.is_linked());
        Ok(())
    }

    #[test]
    fn agrees_with_a_model() -> Result {
        for seed in 1..=32 {
            let mut random = Random(seed);
            let items = items()?;
            let mut lists = [list()?, list()?];
            let mut models = [
                KVec::with_capacity(2 * ITEMS, GFP_KERNEL)?,
                KVec::with_capacity(2 * ITEMS, GFP_KERNEL)?,
            ];

            for _ in 0..256 {
                let [list, other] = &mut lists;
                let [model, other_model] = &mut models;
                let same = if random.below(2) == 0 {
                    operate(&mut random, &items, [list, other], [model, other_model])?
                } else {
                    operate(&mut random, &items, [other, list], [other_model, model])?
                };

                assert!(same);
                assert!(agree(&lists[0], &items, &models[0])?);
                assert!(agree(&lists[1], &items, &models[1])?);
                assert!(items.iter().all(|item| item.is_linked()
                    == models.iter().any(|model| model.contains(&item.number))));
            }
        }

        Ok(())
    }

    #[test]
    fn takes_an_entry_once() -> Result {
        let items = items()?;
        let mut ours: Pin<KBox<Shared>> = list()?;
        let mut theirs: Pin<KBox<Shared>> = list()?;

        assert!(!items[0].is_linked());
        ours.as_mut().push_back(items[0].clone())?;
        ours.as_mut().push_back(items[1].clone())?;
        assert!(items[0].is_linked());

        for list in [&mut ours, &mut theirs] {
            for item in &items[..2] {
                let Err(AlreadyLinked(back)) = list.as_mut().push_front(item.clone()) else {
                    return Err(EINVAL);
                };
                assert!(Arc::ptr_eq(&back, item));

                let refused = list.as_mut().push_back(back).map_err(Error::from);
                assert_eq!(refused, Err(EBUSY));
            }
        }

        assert!(agree(&ours, &items, &[0, 1])?);
        assert!(agree(&theirs, &items, &[])?);

        // Removed from the one, it can be put on the other.
        theirs
            .as_mut()
            .push_back(ours.as_mut().remove(&*items[0])?)?;
        assert!(agree(&ours, &items, &[1])?);
        assert!(agree(&theirs, &items, &[0])?);
        Ok(())
    }

    #[test]
    fn knows_its_own_entries() -> Result {
        let items = items()?;
        let mut ours: Pin<KBox<Shared>> = list()?;
        let mut theirs: Pin<KBox<Shared>> = list()?;

        ours.as_mut().push_back(items[0].clone())?;
        theirs.as_mut().push_back(items[1].clone())?;

        // On another list, on none.
        for stranger in [&*items[1], &*items[2]] {
            assert_eq!(ours.next(stranger).err(), Some(ENOENT));
            assert_eq!(ours.prev(stranger).err(), Some(ENOENT));
            assert_eq!(ours.next_circular(stranger).err(), Some(ENOENT));
            assert_eq!(ours.prev_circular(stranger).err(), Some(ENOENT));
            assert_eq!(ours.iter_from(stranger).err(), Some(ENOENT));
            assert_eq!(ours.iter_after(stranger).err(), Some(ENOENT));
            assert_eq!(ours.iter_before(stranger).err(), Some(ENOENT));
            assert_eq!(ours.iter_through(stranger).err(), Some(ENOENT));
            assert_eq!(ours.as_mut().cursor_at(stranger).err(), Some(ENOENT));
            assert_eq!(ours.as_mut().remove(stranger).err(), Some(ENOENT));
        }

        assert!(agree(&ours, &items, &[0])?);
        assert!(agree(&theirs, &items, &[1])?);
        Ok(())
    }

    #[test]
    fn cursor_goes_round() -> Result {
        let items = items()?;
        let mut list: Pin<KBox<Shared>> = list()?;
        let mut cursor = list.as_mut().cursor_back();

        // At the head of an empty list.
        assert!(cursor.current().is_none());
        assert!(cursor.remove().is_none());
        cursor.move_next();
        cursor.move_prev();
        assert!(cursor.current().is_none());

        for item in &items[..3] {
            list.as_mut().push_back(item.clone())?;
        }
        let mut cursor = list.as_mut().cursor_back();
        cursor.move_next();

        for expected in [Some(0), Some(1), Some(2), None, Some(0)] {
            cursor.move_next();
            assert_eq!(cursor.current().map(Item::number), expected);
        }
        for expected in [None, Some(2), Some(1), Some(0), None] {
            cursor.move_prev();
            assert_eq!(cursor.current().map(Item::number), expected);
        }

        // Removing the last leads to the head.
        cursor.move_prev();
        assert_eq!(cursor.remove().map(|item| item.number), Some(2));
        assert!(cursor.current().is_none());
        assert!(agree(&list, &items, &[0, 1])?);
        Ok(())
    }

    #[test]
    fn owns_its_entries() -> Result {
        let drops = no_drops()?;
        let mut list: Pin<KBox<Owned>> = list()?;

        for number in 0..4 {
            let item = KBox::pin_init(Item::new(number, &drops), GFP_KERNEL)?;
            list.as_mut().push_back(item)?;
        }
        assert_eq!(drops.load(Relaxed), 0);

        let second = ptr::from_ref(list.iter().nth(1).ok_or(EINVAL)?);
        let item = list.as_mut().remove(second)?;
        assert_eq!(drops.load(Relaxed), 0);
        assert!(!item.is_linked());
        drop(item);
        assert_eq!(drops.load(Relaxed), 1);

        drop(list);
        assert_eq!(drops.load(Relaxed), 4);
        Ok(())
    }

    #[test]
    fn dropped_list_lets_go() -> Result {
        let items = items()?;
        let mut list: Pin<KBox<Shared>> = list()?;

        for item in &items {
            list.as_mut().push_front(item.clone())?;
        }
        drop(list);

        assert!(items.iter().all(|item| !item.is_linked()));
        assert!(items
            .into_iter()
            .all(|item| Arc::into_unique_or_drop(item).is_some()));
        Ok(())
    }

    #[test]
    fn zeroed_and_poisoned_links_are_not_linked() -> Result {
        let flbs = zeroed_flbs()?;
        let mut list: Pin<KBox<Flbs>> = list()?;

        for flb in &*flbs {
            assert!(!flb.is_linked());
            // SAFETY: The list goes before `flbs`.
            list.as_mut().push_back(unsafe { entry_ref(flb) })?;
            assert!(flb.is_linked());
        }
        for flb in &*flbs {
            // SAFETY: It was pushed above.
            unsafe { c::del(flb) };
            assert!(!flb.is_linked());
            assert!(!list.iter().any(|it| ptr::eq(it, flb)));
        }
        assert!(list.is_empty());

        for flb in &*flbs {
            // SAFETY: As above.
            list.as_mut().push_back(unsafe { entry_ref(flb) })?;
        }
        assert!(same(list.iter(), flbs.iter()));

        // What is removed here is not linked for C either.
        while let Some(flb) = list.as_mut().pop_front() {
            assert!(c::unlinked(&flb));
        }
        Ok(())
    }

    #[test]
    fn zeroed_and_poisoned_heads_are_empty() -> Result {
        let flbs = zeroed_flbs()?;
        let heads = zeroed_flbs()?;

        for flb in &*heads {
            // SAFETY: The link of an FLB serves as a head; the entry goes below.
            let head = unsafe { &raw mut (*flb.0.get()).private.list };
            // SAFETY: It is zeroed the first time, poisoned the second.
            let list = || unsafe { Flbs::from_raw(head) };

            for _ in 0..2 {
                assert!(list().is_empty() && list().first().is_none());
                // SAFETY: The entry is removed below.
                list().push_back(unsafe { entry_ref(&flbs[0]) })?;
                assert!(list().pop_front().is_some());
                // SAFETY: An initialised head of an empty list.
                unsafe { c::del(flb) };
            }
        }

        Ok(())
    }

    #[test]
    fn initialised_whatever_was_there() -> Result {
        let flbs = zeroed_flbs()?;
        let head = KBox::new(Opaque::uninit(), GFP_KERNEL)?;

        c::init(&head);
        for flb in &flbs[..2] {
            // SAFETY: It is zeroed. No list is used after the next lines.
            unsafe { c::add(flb, head.get()) };
        }

        // SAFETY: Nobody but this test uses the head.
        let mut list = unsafe { Flbs::init_raw(head.get()) };
        assert!(list.is_empty());

        for flb in &flbs[..2] {
            // SAFETY: The entry is removed below.
            let flb = unsafe { entry_ref(flb) };

            assert!(flb.is_linked());
            // SAFETY: The list that it was on is no more.
            unsafe { flb.init_link() };
            assert!(!flb.is_linked());
            list.as_mut().push_back(flb)?;
        }
        // SAFETY: The head is initialised, and the list is not changed meanwhile.
        let view = unsafe { Flbs::from_raw_ref(head.get()) };
        assert!(same(view.iter(), flbs[..2].iter()));

        // SAFETY: As above, and nobody looks at it any more.
        let mut list = unsafe { Flbs::from_raw(head.get()) };
        while list.as_mut().pop_front().is_some() {}
        Ok(())
    }

    #[test]
    fn walks_what_c_built() -> Result {
        let flbs = zeroed_flbs()?;
        let head = KBox::new(Opaque::uninit(), GFP_KERNEL)?;

        c::init(&head);
        for flb in &*flbs {
            // SAFETY: It is zeroed, and all are removed below.
            unsafe { c::add(flb, head.get()) };
        }

        // SAFETY: The list was built above, of FLBs that stay valid and linked by this field.
        let mut list = unsafe { Flbs::from_raw(head.get()) };
        assert!(same(list.iter(), flbs.iter()));
        assert!(same(list.iter().rev(), flbs.iter().rev()));
        // SAFETY: The entry is linked, so the list does not take it.
        let again = unsafe { entry_ref(&flbs[3]) };
        assert!(list.as_mut().push_front(again).is_err());

        // C sees what is changed here.
        list.as_mut().remove(&flbs[0])?;
        // SAFETY: The entry is valid until all are removed below.
        list.as_mut().push_back(unsafe { entry_ref(&flbs[0]) })?;
        let expected = Iterator::chain(flbs[1..].iter(), &flbs[..1]);
        // SAFETY: The list is one of valid FLBs.
        assert!(unsafe { c::finds(raw(&list), expected) });

        while list.as_mut().pop_front().is_some() {}
        // SAFETY: As above.
        assert!(unsafe { c::finds(head.get(), [].iter()) });
        Ok(())
    }

    #[test]
    fn builds_what_c_walks() -> Result {
        let flbs = zeroed_flbs()?;
        let mut list: Pin<KBox<Flbs>> = list()?;
        let mut more: Pin<KBox<Flbs>> = self::list()?;
        let (left, right) = flbs.split_at(ITEMS / 2);

        // SAFETY: The list is one of valid FLBs, here and below.
        assert!(unsafe { c::finds(raw(&list), [].iter()) });

        for flb in left.iter().rev() {
            // SAFETY: The lists go before `flbs`.
            list.as_mut().push_front(unsafe { entry_ref(flb) })?;
        }
        // SAFETY: As above.
        assert!(unsafe { c::finds(raw(&list), left.iter()) });

        for flb in right {
            // SAFETY: As above.
            more.as_mut().push_back(unsafe { entry_ref(flb) })?;
        }
        list.as_mut().splice_back(more.as_mut());
        // SAFETY: As above.
        assert!(unsafe { c::finds(raw(&list), flbs.iter()) });
        // SAFETY: As above.
        assert!(unsafe { c::finds(raw(&more), [].iter()) });

        more.as_mut().splice_front(list.as_mut());
        more.as_mut().cursor_at(&flbs[2])?.remove();
        let expected = Iterator::chain(flbs[..2].iter(), &flbs[3..]);
        // SAFETY: As above.
        assert!(unsafe { c::finds(raw(&more), expected) });
        Ok(())
    }
}
