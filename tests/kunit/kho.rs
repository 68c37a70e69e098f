// SPDX-License-Identifier: GPL-2.0

//! Tests of [`kernel::kho`]: what KHO has noted for the next kernel while memory is preserved and
//! after that, and what is seen of the pages of a previous kernel.

use crate::common::{
    free_pages,
    preserved_order,
    HandedOverPages, //
};
use core::slice;
use kernel::{
    bindings,
    kho::{
        Extent,
        HandedOver,
        Memory,
        Preserved, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::CString, //
};

// See tests/kunit/glue.h.
unsafe extern "C" {
    fn luo_kunit_published(name: *const c_char, phys: *mut u64, size: *mut u64) -> bool;
}

/// The physical address and the size of what the next kernel will find as `name`.
pub(crate) fn published(name: &CStr) -> Option<(u64, u64)> {
    let mut phys = 0;
    let mut size = 0;

    // SAFETY: The name is NUL-terminated, and both results may be written.
    unsafe { luo_kunit_published(name.as_char_ptr(), &mut phys, &mut size) }.then_some((phys, size))
}

/// What this kernel preserves, as the next one will see it.
///
/// The tests do not change what they look at.
pub(crate) struct Preservations;

impl Memory for Preservations {
    fn copy(&self, extent: Extent, offset: usize, to: &mut [u8]) -> Option<()> {
        let Extent { phys, size } = extent;

        if preserved_order(phys) != Some(extent.order()) {
            return None;
        }
        // SAFETY: These are pages that somebody allocated and preserved.
        let bytes: &[u8] = unsafe {
            slice::from_raw_parts(bindings::phys_to_virt(phys).cast_const().cast(), size)
        };

        to.copy_from_slice(bytes.get(offset..)?.get(..to.len())?);
        Some(())
    }

    fn release(&mut self, _extents: impl IntoIterator<Item = Extent>) {}
}

/// The real thing, once more. The first one sees nothing in a kernel that no other one started.
pub(crate) fn handed_over() -> HandedOver {
    // SAFETY: Tests release what they made, when nobody looks at it.
    unsafe { HandedOver::new() }
}

#[kunit_tests(luo_kho)]
mod suite {
    use super::*;

    type Page = [u8; PAGE_SIZE];

    #[test]
    fn preserved_memory_is_zeroed() -> Result {
        // The second time, these are pages that were used before.
        for _ in 0..2 {
            let mut pages = KVec::new();

            for _ in 0..32 {
                pages.push(Preserved::<Page>::new()?, GFP_KERNEL)?;
            }
            for page in &mut pages {
                assert!(page.iter().all(|&byte| byte == 0));
                page.fill(0xff);
            }
        }
        Ok(())
    }

    #[test]
    fn preserved_memory_is_tracked_until_it_is_dropped() -> Result {
        let page = Preserved::<Page>::new()?;
        let phys = page.phys();

        assert_eq!(preserved_order(phys), Some(0));
        drop(page);
        assert_eq!(preserved_order(phys), None);
        Ok(())
    }

    #[test]
    fn dropping_leaves_what_others_preserve() -> Result {
        let pages = [Preserved::<Page>::new()?, Preserved::<Page>::new()?];
        let phys = pages.each_ref().map(Preserved::phys);
        let [first, second] = pages;

        drop(first);
        assert_eq!(preserved_order(phys[1]), Some(0));
        drop(second);
        assert_eq!(preserved_order(phys[1]), None);
        Ok(())
    }

    #[test]
    fn memory_of_several_pages_is_preserved_as_one() -> Result {
        let memory = Preserved::<[u8; 2 * PAGE_SIZE + 1]>::new()?;
        let phys = memory.phys();

        assert_eq!(phys % (4 * PAGE_SIZE as u64), 0);
        assert_eq!(preserved_order(phys), Some(2));
        assert_eq!(preserved_order(phys + PAGE_SIZE as u64), None);
        drop(memory);
        assert_eq!(preserved_order(phys), None);
        Ok(())
    }

    #[test]
    fn bytes_are_preserved_in_as_many_pages_as_they_take() -> Result {
        for (size, order) in [
            (1, 0),
            (PAGE_SIZE, 0),
            (PAGE_SIZE + 1, 1),
            (2 * PAGE_SIZE, 1),
            (3 * PAGE_SIZE, 2),
            (16 * PAGE_SIZE, 4),
        ] {
            let mut bytes = Preserved::zeroed(size)?;
            let phys = bytes.phys();

            assert!(bytes.len() == size && bytes.iter().all(|&byte| byte == 0));
            bytes.fill(0xff);
            assert_eq!(preserved_order(phys), Some(order));
            drop(bytes);
            assert_eq!(preserved_order(phys), None);
        }
        assert!(Preserved::zeroed(0).is_err_and(|err| err == EINVAL));
        Ok(())
    }

    #[test]
    fn dropped_memory_is_freed() -> Result {
        const MEGABYTE: usize = 1 << 20;

        let before = free_pages();
        for _ in 0..64 {
            drop(Preserved::<[u8; MEGABYTE]>::new()?);
        }
        let lost = before.saturating_sub(free_pages());
        assert!(lost < 32 * MEGABYTE / PAGE_SIZE);
        Ok(())
    }

    #[test]
    fn what_is_written_is_found_at_the_physical_address() -> Result {
        let mut number = Preserved::<u64>::new()?;

        *number = 0x1234_5678_9abc_def0;
        assert_eq!(*number, 0x1234_5678_9abc_def0);
        assert_eq!(number.phys() % PAGE_SIZE as u64, 0);
        assert_eq!(
            Preservations.read::<u64>(Extent::page(number.phys())),
            Some(0x1234_5678_9abc_def0)
        );
        Ok(())
    }

    #[test]
    fn an_entry_says_where_and_how_large() -> Result {
        let memory = Preserved::<[u64; 5]>::new()?;
        let phys = memory.phys();

        assert_eq!(published(c"kunit"), None);
        let mut entry = memory.publish(c"kunit")?;
        assert_eq!(published(c"kunit"), Some((phys, 40)));

        entry[4] = 7;
        assert_eq!(
            Preservations.read::<[u64; 5]>(Extent { phys, size: 40 }),
            Some([0, 0, 0, 0, 7])
        );
        Ok(())
    }

    #[test]
    fn an_entry_of_bytes_says_how_many() -> Result {
        let bytes = Preserved::zeroed(PAGE_SIZE + 5)?;
        let phys = bytes.phys();

        let _entry = bytes.publish(c"kunit")?;
        assert_eq!(published(c"kunit"), Some((phys, PAGE_SIZE as u64 + 5)));
        Ok(())
    }

    #[test]
    fn a_dropped_entry_is_gone_with_its_memory() -> Result {
        let memory = Preserved::<u64>::new()?;
        let phys = memory.phys();

        drop(memory.publish(c"kunit")?);
        assert_eq!(published(c"kunit"), None);
        assert_eq!(preserved_order(phys), None);

        // The name may be used again.
        drop(Preserved::<u64>::new()?.publish(c"kunit")?);
        Ok(())
    }

    #[test]
    fn a_name_is_published_once() -> Result {
        let first = Preserved::<u64>::new()?;
        let second = Preserved::<u64>::new()?;
        let phys = [first.phys(), second.phys()];

        let _entry = first.publish(c"kunit")?;
        assert!(second.publish(c"kunit").is_err_and(|err| err == EEXIST));
        assert_eq!(published(c"kunit"), Some((phys[0], 8)));
        assert_eq!(preserved_order(phys[1]), None);
        Ok(())
    }

    #[test]
    fn a_full_tree_takes_no_more() -> Result {
        let luo = published(c"LUO");
        let mut entries = KVec::new();

        let (refusal, phys) = loop {
            let name = CString::try_from_fmt(fmt!("kunit-{}", entries.len()))?;
            let memory = Preserved::<u64>::new()?;

            let phys = memory.phys();
            match memory.publish(&name) {
                Ok(entry) => entries.push(entry, GFP_KERNEL)?,
                Err(err) => break (err, phys),
            }
            assert!(entries.len() < PAGE_SIZE);
        };
        assert!(refusal == ENOMEM);
        assert!(!entries.is_empty());
        assert_eq!(preserved_order(phys), None);

        drop(entries);
        assert_eq!(published(c"kunit-0"), None);
        assert!(luo.is_some());
        assert_eq!(published(c"LUO"), luo);
        Ok(())
    }

    #[test]
    fn what_was_handed_over_is_taken_once() {
        // Early init took it.
        assert!(HandedOver::take().is_none());
    }

    #[test]
    fn memory_of_this_kernel_was_not_handed_over() -> Result {
        let page = Preserved::<Page>::new()?;
        let phys = page.phys();

        assert!(handed_over().read::<u64>(Extent::page(phys)).is_none());
        drop(page);
        assert!(handed_over().read::<u64>(Extent::page(phys)).is_none());
        Ok(())
    }

    #[test]
    fn any_address_may_be_asked_for() {
        let memory = handed_over();

        for bit in 0..u64::BITS {
            for phys in [1 << bit, (1 << bit) - 1, u64::MAX << bit] {
                assert!(memory.read::<u64>(Extent::page(phys)).is_none());
            }
        }
    }

    #[test]
    fn a_page_that_was_handed_over_is_found() -> Result {
        let mut page = HandedOverPages::new(0)?;
        let memory = handed_over();

        page.words()[0] = 0x1234;
        page.words()[PAGE_SIZE / 8 - 1] = 0x5678;
        let mut last = [0; 8];
        let first = memory.read::<u64>(page.extent()).ok_or(ENOENT)?;
        memory
            .copy(page.extent(), PAGE_SIZE - 8, &mut last)
            .ok_or(ENOENT)?;
        assert_eq!((first, u64::from_ne_bytes(last)), (0x1234, 0x5678));

        // Nothing is behind the end.
        for (offset, len) in [(PAGE_SIZE - 7, 8), (PAGE_SIZE, 1), (usize::MAX, 8)] {
            assert!(memory
                .copy(page.extent(), offset, &mut last[..len])
                .is_none());
        }
        assert_eq!(u64::from_ne_bytes(last), 0x5678);
        Ok(())
    }

    #[test]
    fn a_page_is_found_at_its_first_byte_only() -> Result {
        let page = HandedOverPages::new(0)?;
        let memory = handed_over();

        for bit in 0..PAGE_SIZE.ilog2() {
            assert!(memory
                .read::<u8>(Extent::page(page.phys() + (1 << bit)))
                .is_none());
        }
        // The next word is not beyond the page, but it is not its beginning.
        assert!(memory.read::<u64>(Extent::page(page.phys() + 8)).is_none());
        assert!(memory
            .read::<u64>(Extent::page(page.phys() | 1 << 63))
            .is_none());
        Ok(())
    }

    #[test]
    fn several_pages_in_one_are_no_page() -> Result {
        let pages = HandedOverPages::new(1)?;
        let memory = handed_over();

        assert!(memory.read::<u64>(Extent::page(pages.phys())).is_none());
        assert!(memory
            .read::<u64>(Extent::page(pages.phys() + PAGE_SIZE as u64))
            .is_none());
        Ok(())
    }

    #[test]
    fn several_pages_are_found_by_their_size() -> Result {
        for order in 0..6 {
            let mut pages = HandedOverPages::new(order)?;
            let memory = handed_over();
            let phys = pages.phys();

            if let Some(last) = pages.words().last_mut() {
                *last = 0x1234;
            }
            for size in (0..7).map(|other| PAGE_SIZE << other) {
                let mut last = [0; 8];
                let found = memory.copy(Extent { phys, size }, size - 8, &mut last);
                assert_eq!(found.is_some(), size == PAGE_SIZE << order);
                if found.is_some() {
                    assert_eq!(last, 0x1234u64.to_ne_bytes());
                }
            }

            // A size in between takes as many pages, and nothing but the first address will do.
            for (offset, less, there) in [(0, 1, true), (0, PAGE_SIZE / 2 - 1, true), (8, 0, false)]
            {
                let size = (PAGE_SIZE << order) - less;
                let phys = phys + offset;
                assert_eq!(memory.read::<u64>(Extent { phys, size }).is_some(), there);
            }
        }
        Ok(())
    }

    #[test]
    fn several_pages_are_released_as_one() -> Result {
        for order in 1..5 {
            let pages = HandedOverPages::new(order)?;
            let mut memory = handed_over();
            let Extent { phys, size } = pages.extent();

            memory.release([size / 2, size * 2].map(|size| Extent { phys, size }));
            assert!(memory.read::<u64>(pages.extent()).is_some());
            memory.release([pages.extent()]);
            assert!(memory.read::<u64>(pages.extent()).is_none());
        }
        Ok(())
    }

    #[test]
    fn neighbours_are_released_one_by_one() -> Result {
        let [first, second] = HandedOverPages::new(1)?.halves();
        let mut memory = handed_over();

        memory.release([Extent {
            phys: first.phys(),
            size: 2 * PAGE_SIZE,
        }]);
        assert!(first.are_there() && second.are_there());
        memory.release([first.extent()]);
        assert!(!first.are_there() && second.are_there());
        Ok(())
    }

    #[test]
    fn released_pages_are_free() -> Result {
        const ORDER: u32 = 8;

        let before = free_pages();
        for _ in 0..64 {
            let pages = HandedOverPages::new(ORDER)?;

            handed_over().release([pages.extent()]);
        }
        assert!(before.saturating_sub(free_pages()) < 32 << ORDER);
        Ok(())
    }

    #[test]
    fn a_released_page_is_gone() -> Result {
        let pages = [HandedOverPages::new(0)?, HandedOverPages::new(0)?];
        let mut memory = handed_over();

        memory.release([pages[0].extent()]);
        assert!(memory.read::<u64>(Extent::page(pages[0].phys())).is_none());
        assert!(memory.read::<u64>(Extent::page(pages[1].phys())).is_some());
        Ok(())
    }

    #[test]
    fn releasing_passes_over_what_is_not_there() -> Result {
        let page = HandedOverPages::new(0)?;
        let pages = HandedOverPages::new(1)?;
        let own = Preserved::<u64>::new()?;
        let mut memory = handed_over();

        // A page twice, memory of this kernel, no page, nowhere: KHO would warn.
        memory.release(
            [
                page.phys(),
                page.phys(),
                own.phys(),
                pages.phys(),
                page.phys() + 1,
                0,
                u64::MAX,
            ]
            .map(Extent::page),
        );
        assert!(memory.read::<u64>(Extent::page(page.phys())).is_none());
        assert_eq!(preserved_order(own.phys()), Some(0));
        assert!(pages.are_there());
        Ok(())
    }
}
