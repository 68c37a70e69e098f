// SPDX-License-Identifier: GPL-2.0

//! Typed intrusive lists over a `list_head` that is private to a struct shared with C.
//!
//! The `list_head` of a file handler or an FLB lies inside a struct that drivers define in C. Which
//! field that is, and that this kernel code may touch it, is said once per type, with
//! [`impl_entry!`]. From then on a [`List`] of such entries is safe to use. C code can walk it, and
//! one that C code built can be walked here ([`List::from_raw`], [`List::from_raw_ref`]).
//!
//! # Who owns the entries
//!
//! A list holds its entries through pointers of one type, an [`EntryPtr`]: a `Pin<KBox<T>>` or an
//! [`Arc`] for entries that Rust owns, an [`EntryRef`] for those that C owns. Pushing takes the
//! pointer, removing gives it back, so an entry cannot go away while it is linked.
//!
//! Several pointers may lead to one entry, and their owners need not know of each other: pushing
//! claims the link atomically, and hands the pointer back as [`AlreadyLinked`] if the entry is on a
//! list, be it this one or another. Methods that look for an entry take its address, and answer
//! `ENOENT` if that is not the address of an entry of this list. To be sure of that they search the
//! list; a [`CursorMut`] and an [`Iter`] know where they are and do not.
//!
//! # For those who know `linux/list_private.h`
//!
//! | in C                                             | here                                     |
//! |--------------------------------------------------|------------------------------------------|
//! | `INIT_LIST_HEAD()` of a list                     | [`List::new`], [`List::init_raw`]        |
//! | `INIT_LIST_HEAD()` of an entry                   | [`Link::new`], [`EntryRef::init_link`]   |
//! | `list_add()`                                     | [`List::push_front`]                     |
//! | `list_add_tail()`                                | [`List::push_back`]                      |
//! | `list_del_init()`                                | [`List::remove`], [`CursorMut::remove`]  |
//! | `list_empty()` of a list, of an entry            | [`List::is_empty`], [`Entry::is_linked`] |
//! | `list_splice_init()`                             | [`List::splice_front`]                   |
//! | `list_splice_tail_init()`                        | [`List::splice_back`]                    |
//! | `list_private_entry()`                           | none needed: methods give entries        |
//! | `list_private_{first,last}_entry()`              | [`List::first`], [`List::last`]          |
//! | `list_private_{next,prev}_entry()`               | [`List::next`], [`List::prev`]           |
//! | `list_private_next_entry_circular()`             | [`List::next_circular`]                  |
//! | `list_private_prev_entry_circular()`             | [`List::prev_circular`]                  |
//! | `list_private_entry_is_head()`                   | [`None`] in place of an entry            |
//! | `list_private_for_each_entry()`                  | [`List::iter`]                           |
//! | `list_private_for_each_entry_reverse()`          | [`List::iter`], `rev()`                  |
//! | `list_private_for_each_entry_continue()`         | [`List::iter_after`]                     |
//! | `list_private_for_each_entry_continue_reverse()` | [`List::iter_before`], `rev()`           |
//! | `list_private_for_each_entry_from()`             | [`List::iter_from`]                      |
//! | `list_private_for_each_entry_from_reverse()`     | [`List::iter_through`], `rev()`          |
//! | `list_private_for_each_entry_safe()`             | [`List::cursor_front`]                   |
//! | `list_private_for_each_entry_safe_reverse()`     | [`List::cursor_back`]                    |
//! | `list_private_for_each_entry_safe_from()`        | [`List::cursor_at`]                      |
//! | `list_private_for_each_entry_safe_continue()`    | [`List::cursor_at`], one further         |
//! | `list_private_safe_reset_next()`                 | none needed: cursors do not look ahead   |
//!
//! # Examples
//!
//! That these do what they say is seen by the KUnit suite of this file: the kernel's machinery for
//! examples knows the kernel crate alone.
//!
//! Entries that Rust owns:
//!
//! ```ignore
//! use crate::list_private::{
//!     impl_entry,
//!     Link,
//!     List, //
//! };
//!
//! #[pin_data]
//! struct Job {
//!     number: u32,
//!     #[pin]
//!     link: Link,
//! }
//!
//! impl_entry! { impl Entry for Job { link } }
//!
//! let job = |number| KBox::pin_init(pin_init!(Job { number, link <- Link::new() }), GFP_KERNEL);
//! let mut jobs = KBox::pin_init(List::<Pin<KBox<Job>>>::new(), GFP_KERNEL)?;
//!
//! jobs.as_mut().push_back(job(2)?)?;
//! jobs.as_mut().push_back(job(3)?)?;
//! jobs.as_mut().push_front(job(1)?)?;
//! assert!(jobs.iter().map(|job| job.number).eq([1, 2, 3]));
//! assert!(jobs.iter().rev().map(|job| job.number).eq([3, 2, 1]));
//!
//! // Removal while iterating.
//! let mut cursor = jobs.as_mut().cursor_front();
//! while let Some(job) = cursor.current() {
//!     if job.number == 2 {
//!         cursor.remove();
//!     } else {
//!         cursor.move_next();
//!     }
//! }
//! assert!(jobs.iter().map(|job| job.number).eq([1, 3]));
//! ```
//!
//! Entries that C owns, linked through a field of a field:
//!
//! ```ignore
//! #[repr(transparent)]
//! struct Flb(Opaque<bindings::liveupdate_flb>);
//!
//! // SAFETY: Only lists of this type touch `private.list`, and drivers start with it zeroed.
//! impl_entry! { unsafe impl Entry for Flb as bindings::liveupdate_flb { private.list } }
//!
//! let mut flbs = KBox::pin_init(List::<EntryRef<Flb>>::new(), GFP_KERNEL)?;
//!
//! // SAFETY: The driver keeps `flb` as it is until it is removed below.
//! flbs.as_mut().push_back(unsafe { EntryRef::new(flb.cast()) })?;
//!
//! let flb = flbs.as_mut().remove(flb.as_ptr().cast())?;
//! assert!(!flb.is_linked());
//! ```

use core::{
    iter::FusedIterator,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::offset_of,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/list_private.rs"]
mod tests;

/// A `list_head`: the link of an entry, or the head of a list.
///
/// It is linked unless `prev` is null (zeroed memory), the link itself (as after
/// `INIT_LIST_HEAD()`) or misaligned (as after `list_del()`, which leaves `LIST_POISON2` there).
///
/// # Invariants
///
/// If it is linked, `next` and `prev` are the neighbours in a ring of links.
#[pin_data]
#[repr(C)]
pub(crate) struct Link {
    next: Atomic<*mut Link>,
    prev: Atomic<*mut Link>,
    #[pin]
    _pin: PhantomPinned,
}

static_assert!(size_of::<Link>() == size_of::<bindings::list_head>());
static_assert!(align_of::<Link>() == align_of::<bindings::list_head>());
static_assert!(offset_of!(Link, next) == offset_of!(bindings::list_head, next));
static_assert!(offset_of!(Link, prev) == offset_of!(bindings::list_head, prev));
// What tells a poisoned link: `LIST_POISON2` is this in its lower bits.
static_assert!(0x122 % align_of::<Link>() != 0);

impl Link {
    /// A link that is not linked.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(&this in Self {
            next: Atomic::new(this.as_ptr()),
            prev: Atomic::new(this.as_ptr()),
            _pin: PhantomPinned,
        })
    }

    fn is_linked(&self) -> bool {
        self.is_linked_by(self.prev.load(Relaxed))
    }

    fn is_linked_by(&self, prev: *mut Link) -> bool {
        !prev.is_null() && prev.is_aligned() && !ptr::eq(prev, self)
    }

    /// Makes `prev` the predecessor of this link if it is not linked; of several callers at a time,
    /// one is told that it succeeded.
    fn claim(&self, prev: *mut Link) -> bool {
        let old = self.prev.load(Relaxed);

        !self.is_linked_by(old) && self.prev.cmpxchg(old, prev, Acquire).is_ok()
    }

    /// Makes this link one that is not linked, and that others may claim.
    fn reset(&self) {
        let this = ptr::from_ref(self).cast_mut();

        self.next.store(this, Relaxed);
        self.prev.store(this, Release);
    }
}

/// A type whose values can be put on a [`List`]. Implement it with [`impl_entry!`].
///
/// # Safety
///
/// At [`OFFSET`](Self::OFFSET) in each value lies a [`Link`], or a `list_head` in an
/// [`Opaque`](kernel::types::Opaque), that is zeroed, or initialised, be it by
/// [`EntryRef::init_link`] before anything else, and that nothing but this module changes while the
/// value exists in Rust's eyes, unless Rust handed the list to C code.
pub(crate) unsafe trait Entry: Sized {
    /// Where the link is, in bytes from the start.
    const OFFSET: usize;

    /// Whether the entry is on a list.
    ///
    /// The answer may be outdated, unless the caller sees to it that nobody links or unlinks the
    /// entry meanwhile.
    fn is_linked(&self) -> bool {
        // SAFETY: By the safety requirements of the trait there is a link at this offset.
        unsafe { &*ptr::from_ref(self).byte_add(Self::OFFSET).cast::<Link>() }.is_linked()
    }
}

/// Implements [`Entry`] for a struct with a [`Link`] in it, or for a wrapper of a C struct with a
/// `list_head` in it. The field may be one of an inner struct (`private.list`).
///
/// For examples see the [module documentation](self).
///
/// # Safety
///
/// For a C struct, whoever invokes the macro promises what [`Entry`] requires of the `list_head`.
macro_rules! impl_entry {
    (impl Entry for $self:ty { $($field:ident).+ }) => {
        // SAFETY: The field is a `Link`, as the function type says, and only this module can change
        // one.
        unsafe impl $crate::list_private::Entry for $self {
            const OFFSET: usize = {
                let _: fn(&$self) -> &$crate::list_private::Link = |entry| &entry.$($field).+;

                ::core::mem::offset_of!($self, $($field).+)
            };
        }
    };

    (unsafe impl Entry for $self:ty as $c:ty { $($field:ident).+ }) => {
        // SAFETY: The field is a `list_head` in an `Opaque`, as the function types say. The caller
        // guarantees the rest.
        unsafe impl $crate::list_private::Entry for $self {
            const OFFSET: usize = {
                let _: fn(&$self) -> &::kernel::types::Opaque<$c> = |entry| &entry.0;
                let _: fn(&$c) -> &::kernel::bindings::list_head = |entry| &entry.$($field).+;

                ::core::mem::offset_of!($self, 0) + ::core::mem::offset_of!($c, $($field).+)
            };
        }
    };
}
pub(crate) use impl_entry;

/// A pointer that keeps an entry valid and where it is, so that a list can hold it.
///
/// # Safety
///
/// From [`into_raw`](Self::into_raw) until [`from_raw`](Self::from_raw) the entry stays valid, is
/// not moved, and may be used through shared references. The raw pointer may be used for all of it.
pub(crate) unsafe trait EntryPtr: Sized {
    /// What it points to.
    type Entry: Entry;

    /// Turns the pointer into a raw one.
    fn into_raw(self) -> *const Self::Entry;

    /// Turns the pointer back into what it was.
    ///
    /// # Safety
    ///
    /// `entry` comes from [`into_raw`](Self::into_raw), has not been turned back since, and nobody
    /// uses a reference that was made from it.
    unsafe fn from_raw(entry: *const Self::Entry) -> Self;
}

// SAFETY: The box owns the entry, and so does the raw pointer made from it.
unsafe impl<T: Entry> EntryPtr for Pin<KBox<T>> {
    type Entry = T;

    fn into_raw(self) -> *const T {
        // SAFETY: The entry is not moved: only `from_raw()` uses the pointer as that of a box.
        KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) })
    }

    unsafe fn from_raw(entry: *const T) -> Self {
        // SAFETY: By the safety requirements it comes from `into_raw()`, of a box that was pinned.
        unsafe { Pin::new_unchecked(KBox::from_raw(entry.cast_mut())) }
    }
}

// SAFETY: The raw pointer keeps the reference that the `Arc` had, and what is in one is pinned.
unsafe impl<T: Entry> EntryPtr for Arc<T> {
    type Entry = T;

    fn into_raw(self) -> *const T {
        Arc::into_raw(self)
    }

    unsafe fn from_raw(entry: *const T) -> Self {
        // SAFETY: By the safety requirements it comes from `into_raw()`.
        unsafe { Arc::from_raw(entry) }
    }
}

/// A reference to an entry that C owns.
///
/// # Invariants
///
/// The entry is valid and stays where it is as long as the reference exists, and from
/// [`into_raw`](EntryPtr::into_raw) to [`from_raw`](EntryPtr::from_raw).
pub(crate) struct EntryRef<T: Entry>(NonNull<T>);

impl<T: Entry> EntryRef<T> {
    /// Creates a reference.
    ///
    /// # Safety
    ///
    /// The entry is valid, stays where it is and is only used as a shared reference allows, until
    /// the reference and its clones are dropped, be it by an owner or by the list that it was
    /// pushed to.
    pub(crate) unsafe fn new(entry: NonNull<T>) -> Self {
        // INVARIANT: The caller guarantees it.
        Self(entry)
    }

    /// Makes the entry one that is not linked, whatever C left in its link.
    ///
    /// # Safety
    ///
    /// The entry is not on a list.
    pub(crate) unsafe fn init_link(&self) {
        // SAFETY: By the safety requirements of `Entry` there is a link at this offset.
        unsafe { self.0.byte_add(T::OFFSET).cast::<Link>().as_ref() }.reset();
    }
}

impl<T: Entry> Clone for EntryRef<T> {
    fn clone(&self) -> Self {
        // INVARIANT: Who made the first reference guarantees it for the clones as well.
        Self(self.0)
    }
}

// SAFETY: It gives out nothing but shared references.
unsafe impl<T: Entry + Sync> Send for EntryRef<T> {}

// SAFETY: As above.
unsafe impl<T: Entry + Sync> Sync for EntryRef<T> {}

impl<T: Entry> Deref for EntryRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the entry is valid.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: By the type invariants the entry is valid and stays where it is.
unsafe impl<T: Entry> EntryPtr for EntryRef<T> {
    type Entry = T;

    fn into_raw(self) -> *const T {
        self.0.as_ptr()
    }

    unsafe fn from_raw(entry: *const T) -> Self {
        // INVARIANT: By the safety requirements it comes from `into_raw()`.
        // SAFETY: For the same reason it is not null.
        Self(unsafe { NonNull::new_unchecked(entry.cast_mut()) })
    }
}

/// An entry was not put on a list because it is on one. This is the pointer that was to hold it.
pub(crate) struct AlreadyLinked<P>(pub(crate) P);

impl<P> From<AlreadyLinked<P>> for Error {
    fn from(_: AlreadyLinked<P>) -> Self {
        EBUSY
    }
}

/// A place in the ring of a list: the head or an entry.
///
/// # Invariants
///
/// The link is one of a ring of valid links. Whoever has a place has also borrowed the list, and
/// does not use the place any more when what is there was removed.
#[derive(Clone, Copy, PartialEq)]
struct Place(*mut Link);

impl Place {
    fn link(&self) -> &Link {
        // SAFETY: By the type invariants the link is valid while the list is borrowed.
        unsafe { &*self.0 }
    }

    fn next(self) -> Self {
        // INVARIANT: It is a neighbour in the same ring.
        Self(self.link().next.load(Relaxed))
    }

    fn prev(self) -> Self {
        // INVARIANT: It is a neighbour in the same ring.
        Self(self.link().prev.load(Relaxed))
    }

    fn join(self, next: Self) {
        self.link().next.store(next.0, Relaxed);
        next.link().prev.store(self.0, Relaxed);
    }
}

/// A list of the entries that pointers of type `P` lead to.
///
/// Dropping it removes the entries and drops the pointers.
///
/// # Invariants
///
/// `head` is linked to itself or in a ring with the links of valid entries. Each of these entries
/// is held by a `P` that was turned into a raw pointer.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub(crate) struct List<P: EntryPtr> {
    #[pin]
    head: Link,
    _entries: PhantomData<P>,
}

impl<P: EntryPtr> List<P> {
    /// An empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: A new link is linked to itself.
        pin_init!(Self {
            head <- Link::new(),
            _entries: PhantomData,
        })
    }

    /// The list that has its head in memory of C, to change it. A head that is zeroed or poisoned
    /// becomes that of an empty list.
    ///
    /// # Safety
    ///
    /// - `head` is valid and not moved for `'a`, and for as long as entries are on the list.
    /// - It is zeroed, poisoned, or the initialised head of a list. Each entry of that is valid, of
    ///   type `P::Entry` and linked by its [`Link`], and `P::from_raw` may be called for it.
    /// - Nobody else touches the list for `'a`.
    pub(crate) unsafe fn from_raw<'a>(head: *mut bindings::list_head) -> Pin<&'a mut Self> {
        // INVARIANT: The caller guarantees what is on the list; a head that is not linked is reset.
        // SAFETY: The layout is that of a `list_head`; the caller guarantees the rest.
        let list = unsafe { Pin::new_unchecked(&mut *head.cast::<Self>()) };

        if !list.head.is_linked() {
            list.head.reset();
        }

        list
    }

    /// The list that has its head in memory of C, to look at it.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), but the head is initialised, and others may look at the
    /// list as well.
    pub(crate) unsafe fn from_raw_ref<'a>(head: *const bindings::list_head) -> &'a Self {
        // INVARIANT: The caller guarantees what is on the list.
        // SAFETY: The layout is that of a `list_head`; the caller guarantees the rest.
        unsafe { &*head.cast() }
    }

    /// The list that has its head in memory of C, made an empty one whatever C left there.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), but the head may hold anything.
    pub(crate) unsafe fn init_raw<'a>(head: *mut bindings::list_head) -> Pin<&'a mut Self> {
        // INVARIANT: The head is linked to itself before anything else is done with the list.
        // SAFETY: The layout is that of a `list_head`, any bytes are one; the caller guarantees
        // the rest.
        let list = unsafe { Pin::new_unchecked(&mut *head.cast::<Self>()) };

        list.head.reset();
        list
    }

    fn head(&self) -> Place {
        // INVARIANT: By the type invariants the head is in a ring of valid links.
        Place(ptr::from_ref(&self.head).cast_mut())
    }

    fn raw_entry(&self, at: Place) -> Option<*const P::Entry> {
        if at == self.head() {
            return None;
        }

        // SAFETY: By the type invariants a link other than the head lies in an entry.
        Some(unsafe { at.0.byte_sub(P::Entry::OFFSET) }.cast())
    }

    fn entry(&self, at: Place) -> Option<&P::Entry> {
        // SAFETY: By the type invariants the entry is valid, and it cannot be removed while the
        // list is borrowed.
        self.raw_entry(at).map(|entry| unsafe { &*entry })
    }

    fn find(&self, entry: *const P::Entry) -> Result<Place> {
        let mut at = self.head().next();

        while let Some(found) = self.entry(at) {
            if ptr::eq(found, entry) {
                return Ok(at);
            }
            at = at.next();
        }

        Err(ENOENT)
    }

    fn insert(prev: Place, next: Place, entry: P) -> Result<(), AlreadyLinked<P>> {
        let raw = entry.into_raw();
        // INVARIANT: The entry is valid as it was turned into a raw pointer, and in the ring below.
        // SAFETY: By the safety requirements of `Entry` there is a link at this offset.
        let new = Place(unsafe { raw.byte_add(P::Entry::OFFSET) }.cast_mut().cast());

        if !new.link().claim(prev.0) {
            // SAFETY: It was just turned into a raw pointer, and no list took it.
            return Err(AlreadyLinked(unsafe { P::from_raw(raw) }));
        }

        prev.join(new);
        new.join(next);
        Ok(())
    }

    fn take(self: Pin<&mut Self>, at: Place) -> Option<P> {
        let entry = self.raw_entry(at)?;

        at.prev().join(at.next());
        at.link().reset();

        // SAFETY: By the type invariants the entry is held by a `P` that was turned into a raw
        // pointer. As the list is borrowed exclusively, nobody has a reference out of it, and now
        // that the entry is not on the list any more, this is the only use of the raw pointer.
        Some(unsafe { P::from_raw(entry) })
    }

    fn range(&self, front: Place, end: Place) -> Iter<'_, P> {
        Iter {
            list: self,
            front,
            end,
        }
    }

    /// All entries, first to last.
    pub(crate) fn iter(&self) -> Iter<'_, P> {
        self.range(self.head().next(), self.head())
    }

    /// Puts an entry after all others.
    pub(crate) fn push_back(self: Pin<&mut Self>, entry: P) -> Result<(), AlreadyLinked<P>> {
        Self::insert(self.head().prev(), self.head(), entry)
    }

    /// Removes the first entry.
    pub(crate) fn pop_front(self: Pin<&mut Self>) -> Option<P> {
        let at = self.head().next();

        self.take(at)
    }

    /// Removes an entry.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn remove(self: Pin<&mut Self>, entry: *const P::Entry) -> Result<P> {
        let at = self.find(entry)?;

        self.take(at).ok_or(ENOENT)
    }
}

/// What `linux/list_private.h` has, and LUO does not need at the moment.
#[cfg_attr(not(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST), expect(dead_code))]
impl<P: EntryPtr> List<P> {
    fn splice(self: Pin<&mut Self>, prev: Place, next: Place, other: Pin<&mut Self>) {
        if other.is_empty() {
            return;
        }

        let head = other.head();

        prev.join(head.next());
        head.prev().join(next);
        head.link().reset();
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        !self.head.is_linked()
    }

    /// The first entry.
    pub(crate) fn first(&self) -> Option<&P::Entry> {
        self.entry(self.head().next())
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<&P::Entry> {
        self.entry(self.head().prev())
    }

    /// The entry after `entry`, if that is not the last.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn next(&self, entry: *const P::Entry) -> Result<Option<&P::Entry>> {
        Ok(self.entry(self.find(entry)?.next()))
    }

    /// The entry before `entry`, if that is not the first.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn prev(&self, entry: *const P::Entry) -> Result<Option<&P::Entry>> {
        Ok(self.entry(self.find(entry)?.prev()))
    }

    /// The entry after `entry`, or the first if that is the last.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn next_circular(&self, entry: *const P::Entry) -> Result<&P::Entry> {
        self.next(entry)?.or_else(|| self.first()).ok_or(ENOENT)
    }

    /// The entry before `entry`, or the last if that is the first.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn prev_circular(&self, entry: *const P::Entry) -> Result<&P::Entry> {
        self.prev(entry)?.or_else(|| self.last()).ok_or(ENOENT)
    }

    /// The entries from `entry` on, itself included.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn iter_from(&self, entry: *const P::Entry) -> Result<Iter<'_, P>> {
        Ok(self.range(self.find(entry)?, self.head()))
    }

    /// The entries after `entry`.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn iter_after(&self, entry: *const P::Entry) -> Result<Iter<'_, P>> {
        Ok(self.range(self.find(entry)?.next(), self.head()))
    }

    /// The entries before `entry`.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn iter_before(&self, entry: *const P::Entry) -> Result<Iter<'_, P>> {
        Ok(self.range(self.head().next(), self.find(entry)?))
    }

    /// The entries up to `entry`, itself included.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn iter_through(&self, entry: *const P::Entry) -> Result<Iter<'_, P>> {
        Ok(self.range(self.head().next(), self.find(entry)?.next()))
    }

    /// Puts an entry before all others.
    pub(crate) fn push_front(self: Pin<&mut Self>, entry: P) -> Result<(), AlreadyLinked<P>> {
        Self::insert(self.head(), self.head().next(), entry)
    }

    /// Moves all entries of `other` to the front of this list, in their order.
    pub(crate) fn splice_front(self: Pin<&mut Self>, other: Pin<&mut Self>) {
        let (prev, next) = (self.head(), self.head().next());

        self.splice(prev, next, other);
    }

    /// Moves all entries of `other` to the back of this list, in their order.
    pub(crate) fn splice_back(self: Pin<&mut Self>, other: Pin<&mut Self>) {
        let (prev, next) = (self.head().prev(), self.head());

        self.splice(prev, next, other);
    }

    /// A cursor at the first entry, or at the head if there is none.
    pub(crate) fn cursor_front(self: Pin<&mut Self>) -> CursorMut<'_, P> {
        let at = self.head().next();

        CursorMut { list: self, at }
    }

    /// A cursor at the last entry, or at the head if there is none.
    pub(crate) fn cursor_back(self: Pin<&mut Self>) -> CursorMut<'_, P> {
        let at = self.head().prev();

        CursorMut { list: self, at }
    }

    /// A cursor at `entry`.
    ///
    /// Returns `ENOENT` if `entry` is not on this list.
    pub(crate) fn cursor_at(
        self: Pin<&mut Self>,
        entry: *const P::Entry,
    ) -> Result<CursorMut<'_, P>> {
        let at = self.find(entry)?;

        Ok(CursorMut { list: self, at })
    }
}

#[pinned_drop]
impl<P: EntryPtr> PinnedDrop for List<P> {
    fn drop(mut self: Pin<&mut Self>) {
        while self.as_mut().pop_front().is_some() {}
    }
}

impl<'a, P: EntryPtr> IntoIterator for &'a List<P> {
    type Item = &'a P::Entry;
    type IntoIter = Iter<'a, P>;

    fn into_iter(self) -> Iter<'a, P> {
        self.iter()
    }
}

/// An iterator over entries of a [`List`].
///
/// # Invariants
///
/// Going forward from `front`, `end` is reached, and the head is not passed before.
pub(crate) struct Iter<'a, P: EntryPtr> {
    list: &'a List<P>,
    front: Place,
    end: Place,
}

impl<P: EntryPtr> Clone for Iter<'_, P> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, P: EntryPtr> Iterator for Iter<'a, P> {
    type Item = &'a P::Entry;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front == self.end {
            return None;
        }

        let at = self.front;
        self.front = at.next();
        self.list.entry(at)
    }
}

impl<P: EntryPtr> DoubleEndedIterator for Iter<'_, P> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front == self.end {
            return None;
        }

        self.end = self.end.prev();
        self.list.entry(self.end)
    }
}

impl<P: EntryPtr> FusedIterator for Iter<'_, P> {}

/// A place in a [`List`] from which the list can be changed.
///
/// It is at an entry, or at the head, which lies between the last entry and the first.
pub(crate) struct CursorMut<'a, P: EntryPtr> {
    list: Pin<&'a mut List<P>>,
    at: Place,
}

#[cfg_attr(not(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST), expect(dead_code))]
impl<P: EntryPtr> CursorMut<'_, P> {
    /// The entry that the cursor is at, or [`None`] for the head.
    pub(crate) fn current(&self) -> Option<&P::Entry> {
        self.list.entry(self.at)
    }

    /// Goes one further. From the last entry this leads to the head, from there to the first.
    pub(crate) fn move_next(&mut self) {
        self.at = self.at.next();
    }

    /// Goes one back. From the first entry this leads to the head, from there to the last.
    pub(crate) fn move_prev(&mut self) {
        self.at = self.at.prev();
    }

    /// Removes the entry that the cursor is at, which is then at the one after it.
    pub(crate) fn remove(&mut self) -> Option<P> {
        let at = self.at;

        self.list.entry(at)?;
        self.move_next();
        self.list.as_mut().take(at)
    }
}
