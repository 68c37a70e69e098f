// SPDX-License-Identifier: GPL-2.0

//! Sorting for a small stack: a slice's own `sort_unstable()` calls itself, for n elements in a bad
//! order 2 * log2(n) times, and takes 800 bytes of stack each time.
//!
//! C header: [`include/linux/sort.h`](srctree/include/linux/sort.h).

use kernel::prelude::*;

#[cfg(CONFIG_LIVEUPDATE_RUST_KUNIT_TEST)]
#[path = "tests/kunit/sort.rs"]
mod tests;

type Compare = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;
type Swap = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int);

extern "C" {
    fn sort_nonatomic(base: *mut c_void, num: usize, size: usize, cmp: Compare, swap: Option<Swap>);
}

/// Sorts `slice` in ascending order; at once if it is. May sleep.
pub(crate) fn sort<T: Copy + Ord>(slice: &mut [T]) {
    if slice.is_sorted() {
        return;
    }

    // SAFETY: There are so many elements of that size, borrowed exclusively. What is given to
    // `compare()` are two of them, and copying them around is what `Copy` allows.
    unsafe {
        let base = slice.as_mut_ptr().cast();

        sort_nonatomic(base, slice.len(), size_of::<T>(), compare::<T>, None);
    }
}

/// Returns -1, 0 or 1.
///
/// # Safety
///
/// Both have to point to a `T`.
unsafe extern "C" fn compare<T: Ord>(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: The caller guarantees that.
    let (a, b) = unsafe { (&*a.cast::<T>(), &*b.cast::<T>()) };

    a.cmp(b) as c_int
}
