// SPDX-License-Identifier: GPL-2.0

//! Atomic variables.

use crate::machine;
use core::cell::Cell;
use core::ops::Add;
use core::ops::Sub;

/// An order of memory accesses.
pub struct Acquire;
/// As above.
pub struct Relaxed;
/// As above.
pub struct Release;

/// What an [`Atomic`] can hold.
pub trait AtomicType: Copy + PartialEq {
    /// What is stored beside the value.
    type Changed;

    /// If it has not changed.
    const UNCHANGED: Self::Changed;

    /// Reads it.
    fn get(atomic: &Atomic<Self>) -> Self {
        atomic.value.get()
    }

    /// Writes it.
    fn set(atomic: &Atomic<Self>, value: Self) {
        atomic.value.set(value);
    }
}

/// A variable.
#[repr(C)]
pub struct Atomic<T: AtomicType> {
    value: Cell<T>,
    changed: T::Changed,
}

// SAFETY: There is one thread.
unsafe impl<T: AtomicType> Sync for Atomic<T> {}

// SAFETY: As above.
unsafe impl<T: AtomicType> Send for Atomic<T> {}

impl<T> AtomicType for *mut T {
    type Changed = ();
    const UNCHANGED: () = ();
}

impl AtomicType for usize {
    type Changed = ();
    const UNCHANGED: () = ();
}

impl AtomicType for u64 {
    type Changed = ();
    const UNCHANGED: () = ();
}

impl AtomicType for i64 {
    type Changed = ();
    const UNCHANGED: () = ();
}

impl AtomicType for i32 {
    type Changed = ();
    const UNCHANGED: () = ();
}

/// A flag is what it was in the beginning when the machine has booted again.
impl AtomicType for bool {
    /// In which boot, and to what.
    type Changed = Cell<(u64, Self)>;
    const UNCHANGED: Self::Changed = Cell::new((0, false));

    fn get(atomic: &Atomic<Self>) -> Self {
        match atomic.changed.get() {
            (boot, value) if boot == machine::boot() => value,
            _ => atomic.value.get(),
        }
    }

    fn set(atomic: &Atomic<Self>, value: Self) {
        atomic.changed.set((machine::boot(), value));
    }
}

impl<T: AtomicType> Atomic<T> {
    /// Makes a variable.
    pub const fn new(value: T) -> Self {
        Self {
            value: Cell::new(value),
            changed: T::UNCHANGED,
        }
    }

    /// A variable of C code.
    ///
    /// # Safety
    ///
    /// It is used as an atomic one only.
    pub unsafe fn from_ptr<'a>(ptr: *mut T) -> &'a Self
    where
        T: AtomicType<Changed = ()>,
    {
        // SAFETY: The caller guarantees it, and the value comes first.
        unsafe { &*ptr.cast() }
    }

    /// Reads.
    pub fn load<O>(&self, _: O) -> T {
        T::get(self)
    }

    /// Writes.
    pub fn store<O>(&self, value: T, _: O) {
        T::set(self, value);
    }

    /// Writes, and returns what was there.
    pub fn xchg<O>(&self, value: T, _: O) -> T {
        let old = T::get(self);

        T::set(self, value);
        old
    }

    /// Writes if `old` is there; returns what was.
    pub fn cmpxchg<O>(&self, old: T, value: T, _: O) -> Result<T, T> {
        let found = T::get(self);

        if found != old {
            return Err(found);
        }
        T::set(self, value);
        Ok(found)
    }

    /// Adds.
    pub fn add<O>(&self, value: T, _: O)
    where
        T: Add<Output = T>,
    {
        T::set(self, T::get(self) + value);
    }

    /// Adds, and returns what was there.
    pub fn fetch_add<O>(&self, value: T, order: O) -> T
    where
        T: Add<Output = T>,
    {
        self.xchg(T::get(self) + value, order)
    }

    /// Subtracts, and returns what was there.
    pub fn fetch_sub<O>(&self, value: T, order: O) -> T
    where
        T: Sub<Output = T>,
    {
        self.xchg(T::get(self) - value, order)
    }
}
