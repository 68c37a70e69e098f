// SPDX-License-Identifier: GPL-2.0

//! Memfds that are preserved, frozen and retrieved out of memory, at each of the allocations: nothing
//! is lost or left behind, and what failed works the next time.

use super::{
    tests::*,
    *, //
};
use crate::{
    common::{
        check,
        free_pages,
        preserved_order, //
    },
    fault::at_each_allocation, //
};

/// Fails unless this is a success, or `ENOMEM`.
fn check_errno<T>(result: &Result<T>) -> Result {
    check(!result.as_ref().is_err_and(|&err| err != ENOMEM))
}

/// Preserves a file with data and holes.
fn preserve_file<F: Stated>(name: &str) -> Result {
    const DATA: [u64; 4] = [0, 1, 3, 7];

    let before = preserved_pages();
    let check_data = |file: &File| check_contents(file, |page| DATA.contains(&page));

    at_each_allocation(
        name,
        || memfd(8 * PAGE, &DATA),
        |file| preserve::<F>(file),
        |file, result| {
            check_errno(&result)?;
            if result.is_err() {
                check_data(&file)?;
                check_let_go(&file, before)?;
                resize(&file, 8 * PAGE)?;
                write(&file, 0)?;
                write(&file, 7)?;
            }

            let outgoing = result.or_else(|_| preserve::<F>(&file))?;
            outgoing.check_pages(&file, (0..8).filter(|page| in_memory::<F>(&DATA, *page)))?;
            check_data(&file)?;
            drop(outgoing);
            check_let_go(&file, before)
        },
    )
}

/// Freezes a file that is preserved with data in every second page from `first` on, so many, after
/// pages were written before, between and behind them.
fn freeze_file(first: u64, count: u64) -> Result {
    let end = first + 2 * count;
    let before = preserved_pages();
    let preserved = || (first..end).step_by(2);
    let is_preserved = |page: u64| (first..end).contains(&page) && (page - first).is_multiple_of(2);
    let written = [0, first + 1, end];
    let late = end + 1;

    at_each_allocation(
        "freeze runs",
        || {
            let file = memfd((end + 3) * PAGE, &[])?;

            for page in preserved() {
                write(&file, page)?;
            }
            let outgoing = preserve::<Runs>(&file)?;
            for page in written {
                write(&file, page)?;
            }
            Ok((file, outgoing))
        },
        |(_, outgoing)| outgoing.freeze(),
        |(file, mut outgoing), result| {
            let failed = result.is_err();

            check_errno(&result)?;
            if failed {
                // What was preserved is still, and something may come into the holes.
                for page in preserved() {
                    let page = page_of(&file, page).ok_or(ENOENT)?;

                    check(page.pinned && preserved_order(page.phys).is_some())?;
                }
                check_frozen(&file)?;
                write(&file, late)?;
                outgoing.freeze()?;
            }

            outgoing.check_pages(
                &file,
                (0..=late).filter(|page| {
                    is_preserved(*page) || written.contains(page) || failed && *page == late
                }),
            )?;
            check(write(&file, end + 2) == Err(EBUSY))?;
            drop(outgoing);
            check_let_go(&file, before)
        },
    )
}

/// Retrieves a file.
fn retrieve_file<F: Stated>(name: &str) -> Result {
    const SINGLE: Range<u64> = 512..580;

    let mut folios = KVec::new();
    let mut lost = 0;

    // A loss of the first one does not go unnoticed; the others come in more than one batch.
    folios.push((0, 9), GFP_KERNEL)?;
    for index in SINGLE {
        folios.push((index, 0), GFP_KERNEL)?;
    }
    let before = free_pages();

    at_each_allocation(
        name,
        || {
            let sent = Sent::new::<F>(SINGLE.end * PAGE, &folios)?;
            let incoming = sent.receive::<F>()?;

            Ok((sent, Some(incoming)))
        },
        |(_, incoming)| incoming.take().ok_or(EINVAL)?.into_file(),
        |(sent, _), result| {
            // It is `ENOSPC` if there is no memory for an inode.
            check(
                !result
                    .as_ref()
                    .is_err_and(|err| ![ENOMEM, ENOSPC].contains(err)),
            )?;
            check(sent.is_taken())?;
            if let Ok(file) = result {
                check_contents(&file, |_| true)?;
            }
            forget_files();
            lost = before.saturating_sub(free_pages());
            Ok(())
        },
    )?;
    check(lost < 512)
}

#[kunit_tests(luo_memfd_alloc)]
mod suite {
    use super::*;

    #[test]
    fn preserve_folios() -> Result {
        preserve_file::<Folios>("preserve folios")
    }

    #[test]
    fn preserve_runs() -> Result {
        preserve_file::<Runs>("preserve runs")
    }

    #[test]
    fn freeze_runs() -> Result {
        freeze_file(1, 1)?;
        freeze_file(2, 3)?;
        // A page is full of their entries: then there have to be two.
        freeze_file(1, PAGE / 16 - 1)
    }

    #[test]
    fn retrieve_folios() -> Result {
        retrieve_file::<Folios>("retrieve folios")
    }

    #[test]
    fn retrieve_runs() -> Result {
        retrieve_file::<Runs>("retrieve runs")
    }
}
