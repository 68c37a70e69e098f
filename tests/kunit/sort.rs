// SPDX-License-Identifier: GPL-2.0

//! Sorting, judged by what it leaves: the same elements, in order.

use super::*;

/// So many elements in an order that looks random; a step that has no divisor in common with
/// `count` reaches each number below it once.
fn shuffled(count: usize, step: usize) -> Result<KVVec<(u64, usize)>> {
    let mut elements = KVVec::with_capacity(count, GFP_KERNEL)?;

    for index in 0..count {
        elements.push(((index * step % count) as u64, index), GFP_KERNEL)?;
    }
    Ok(elements)
}

#[kunit_tests(luo_sort)]
mod suite {
    use super::*;

    #[test]
    fn elements_are_put_in_order() -> Result {
        for (count, step) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (9, 8),
            (64, 63),
            (1009, 617),
            (8191, 5000),
        ] {
            let mut elements = shuffled(count, step)?;

            sort(&mut elements);
            assert!(elements.iter().map(|it| it.0).eq(0..count as u64));
            // Each is still itself.
            assert!(elements
                .iter()
                .all(|&(it, index)| it == (index * step % count) as u64));
        }
        Ok(())
    }

    #[test]
    fn equal_elements_are_kept() {
        let mut elements = [3, 1, 3, 1, 2, 3, 1];

        sort(&mut elements);
        assert_eq!(elements, [1, 1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn many_elements_are_put_in_order() -> Result {
        let count: usize = 1 << 20;
        let mut elements = KVVec::with_capacity(count, GFP_KERNEL)?;

        for index in 0..count {
            // As good as random.
            let number = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let number = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);

            elements.push((number ^ (number >> 32), index), GFP_KERNEL)?;
        }
        sort(&mut elements);
        assert!(elements.is_sorted());
        Ok(())
    }
}
