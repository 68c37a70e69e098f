// SPDX-License-Identifier: GPL-2.0

//! Tests of [`kernel::kho::claim`]: what was handed over is claimed, read, taken or left.

use crate::common::{
    check,
    Area,
    HandedOverPages, //
};
use kernel::{
    kho::{
        claim::Claims,
        AreaDescriptor, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Three blocks of numbers.
fn numbers(order: u32) -> Result<(Area, usize)> {
    let count = (3 * PAGE_SIZE / size_of::<u64>()) << order;
    let mut words = KVVec::with_capacity(count, GFP_KERNEL)?;

    for word in 1..=count as u64 {
        words.push(word, GFP_KERNEL)?;
    }
    Ok((Area::new(&words, order)?, count))
}

/// Where an area is.
fn descriptor(area: &Area) -> AreaDescriptor {
    zerocopy::transmute!(area.words())
}

#[kunit_tests(luo_kho_claim)]
mod suite {
    use super::*;

    #[test]
    fn an_area_is_read_across_its_pages() -> Result {
        for order in 0..3 {
            let (area, count) = numbers(order)?;
            let mut claims = Claims::new();
            let mut reader = claims.claim_area(descriptor(&area), 8 * count)?;

            for word in 1..=count as u64 {
                check(reader.read(&claims) == Some(word))?;
            }
            assert_eq!(reader.read::<u64>(&claims), None);
            assert!(!area.is_there());

            // What others have claimed is not read.
            let mut reader = claims.read_area(descriptor(&area), 8 * count)?;
            assert_eq!(reader.read::<u64>(&Claims::new()), None);
            drop(claims);
            assert!(area.is_there());
        }
        Ok(())
    }

    #[test]
    fn an_area_with_damage_is_not_claimed() -> Result {
        let damages: &[fn(&mut Area)] = &[
            // A page is missing, is twice, is one too many, is nowhere, is of another size.
            |area| area.chunk.words()[3] = 0,
            |area| area.chunk.words()[2] = area.chunk.words()[1],
            |area| area.chunk.words()[4] = area.blocks[0].phys(),
            |area| area.chunk.words()[1] = PAGE_SIZE as u64,
            |area| area.order = 1,
            // The next pages of addresses, where there are none.
            |area| area.chunk.words()[0] = area.chunk.phys(),
        ];

        for damage in damages {
            let (mut area, count) = numbers(0)?;
            damage(&mut area);
            let mut claims = Claims::new();

            assert!(claims.claim_area(descriptor(&area), 8 * count).is_err());
            drop(claims);
            assert!(area.is_there());
        }
        Ok(())
    }

    #[test]
    fn an_area_of_which_somebody_has_a_page_is_not_claimed() -> Result {
        let (area, count) = numbers(0)?;
        let mut other = Claims::new();
        assert_eq!(other.claim(area.blocks[2].phys(), 0, 0), Ok(0));

        let mut claims = Claims::new();
        assert!(claims.claim_area(descriptor(&area), 8 * count).is_err());
        drop(claims);
        assert!(area.chunk.are_there() && area.blocks[0].are_there());
        assert_eq!(other.order(area.blocks[2].phys()), Some(0));

        drop(other);
        assert!(Claims::new()
            .claim_area(descriptor(&area), 8 * count)
            .is_ok());
        // No area is larger than it is.
        assert!(Claims::new()
            .claim_area(descriptor(&area), 8 * count + 1)
            .is_err());
        assert!(area.is_there());
        Ok(())
    }

    #[test]
    fn what_is_claimed_and_not_taken_is_left() -> Result {
        let [first, second] = HandedOverPages::new(3)?.halves();
        let (phys, behind) = (first.phys(), second.phys());
        let mut claims = Claims::new();

        assert_eq!(claims.claim(phys, 8, 0), Ok(2));
        assert_eq!(claims.claim(behind, 12, 0), Ok(2));
        assert_eq!(claims.claim(behind, 12, 0), Err(EIO));
        drop(claims.take(1).ok_or(ENOENT)?);
        let next = claims.next().ok_or(ENOENT)?;
        assert_eq!((next.index, next.order), (10, 1));

        drop(claims);
        assert!(!first.are_there() && second.are_there());
        let mut claims = Claims::new();
        assert_eq!(claims.claim(phys + 2 * PAGE_SIZE as u64, 0, 0), Ok(1));
        claims.free();
        Ok(())
    }
}
