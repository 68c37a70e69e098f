// SPDX-License-Identifier: GPL-2.0

//! Runs an operation out of memory at each of its allocations, by the kernel's fault injection.

use crate::common::check;
use kernel::{
    error::to_result,
    prelude::*, //
};

extern "C" {
    fn luo_kunit_fault_init() -> c_int;
    fn luo_kunit_fault_begin(n: c_uint, onwards: bool);
    fn luo_kunit_fault_end() -> bool;
}

/// Runs `operation` with its 1st, 2nd, ... allocation failing, until it has no more: first with
/// that one alone, then with all from it on, as what has another way to get its memory fails then
/// only. Each time it finds what `setup` returns, and `verify` gets that and the result.
///
/// Fails if the operation never did, did with no allocation failing, or if `verify` fails.
pub(crate) fn at_each_allocation<S, T, E>(
    name: &str,
    mut setup: impl FnMut() -> Result<S>,
    mut operation: impl FnMut(&mut S) -> Result<T, E>,
    mut verify: impl FnMut(S, Result<T, E>) -> Result,
) -> Result {
    // SAFETY: May be called from where sleeping is allowed.
    to_result(unsafe { luo_kunit_fault_init() })?;

    let mut total = 0;

    for onwards in [false, true] {
        let mut failures = 0;

        for n in 1.. {
            let mut state = setup()?;

            // SAFETY: It is for this thread to cope with what fails now.
            unsafe { luo_kunit_fault_begin(n, onwards) };
            let result = operation(&mut state);
            // SAFETY: As above.
            let reached = unsafe { luo_kunit_fault_end() };

            failures += u32::from(result.is_err());
            check(reached || result.is_ok())?;
            verify(state, result)?;
            if !reached {
                let how = if onwards {
                    "from the nth on"
                } else {
                    "the nth"
                };

                pr_info!(
                    "{name}, {how}: {} allocations, {failures} failures\n",
                    n - 1
                );
                break;
            }
        }
        total += failures;
    }
    check(total > 0)
}
