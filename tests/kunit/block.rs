// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::block`]: sets of blocks in real preserved memory, and chains, sound and
//! damaged, in memory that only these tests, or KHO as well, believe to have been handed over.

use super::*;
use crate::abi::luo_v5 as wire;
use crate::kho::tests::handed_over;
use crate::kho::tests::preserved_order;
use crate::kho::tests::HandedOverPages;
use crate::kho::tests::Preservations;

const WORDS: usize = kernel::page::PAGE_SIZE / size_of::<u64>();
const FILES: usize = wire::FILES_PER_BLOCK;

type FileSet = BlockSet<wire::File, FILES>;
type FileChain = Chain<wire::File, FILES>;

/// Numbers of files at and around every boundary.
const COUNTS: [usize; 8] = [
    0,
    1,
    FILES - 1,
    FILES,
    FILES + 1,
    2 * FILES,
    2 * FILES + 1,
    500,
];

/// Pages that were "handed over", at addresses of their own choice.
pub(crate) struct Pages(KVVec<KVVec<u64>>);

impl Pages {
    /// One page a count, each a block linked to the next.
    pub(crate) fn chain(counts: &[u64]) -> Result<Self> {
        let mut pages = KVVec::new();

        for (index, &count) in counts.iter().enumerate() {
            let mut page = KVVec::from_elem(0, WORDS, GFP_KERNEL)?;

            page[0] = if index + 1 < counts.len() {
                Self::phys(index + 1)
            } else {
                0
            };
            page[1] = count;
            pages.push(page, GFP_KERNEL)?;
        }

        Ok(Self(pages))
    }

    /// The address of a page.
    pub(crate) const fn phys(index: usize) -> u64 {
        ((index + 7) * kernel::page::PAGE_SIZE) as u64
    }

    /// Writes one of the 64-bit words of a page.
    pub(crate) fn word(&mut self, page: usize, at: usize, value: u64) {
        self.0[page][at] = value;
    }

    fn follow(&self) -> Result<FileChain, ReadError> {
        FileChain::follow(self, "record", "head", Self::phys(0))
    }
}

impl Memory for Pages {
    fn page<T: FromBytes + Immutable + KnownLayout>(&self, phys: u64) -> Option<&T> {
        let index = (0..self.0.len()).find(|&index| Self::phys(index) == phys)?;

        T::ref_from_prefix(self.0[index].as_bytes())
            .ok()
            .map(|(page, _)| page)
    }

    fn release(&mut self, _pages: &[u64]) {}
}

/// The field and the value that a chain is refused for.
fn refusal(chain: Result<FileChain, ReadError>) -> Option<(&'static str, u64)> {
    match chain {
        Err(ReadError::Damaged(Damage {
            field,
            found: Found::Number(value),
            ..
        })) => Some((field, value)),
        _ => None,
    }
}

/// A file that tells its number with all its bytes.
fn file(number: usize) -> wire::File {
    wire::File {
        compatible: [number as u8; 48],
        data: number as u64,
        token: !number as u64,
    }
}

/// A set with room for `count` files, and those files in it.
fn written(count: usize) -> Result<FileSet> {
    let mut set = FileSet::new();

    set.reserve(count)?;
    write(&mut set, count)?;
    Ok(set)
}

fn write(set: &mut FileSet, count: usize) -> Result {
    (0..count).try_for_each(|number| set.write(number, file(number)))
}

/// Whether the next kernel will find `count` files in the set, and its blocks are as many as that
/// takes, each preserved.
fn is_read_back(set: &FileSet, count: usize) -> bool {
    let Ok(chain) = FileChain::follow(&Preservations, "record", "head", set.head()) else {
        return false;
    };
    let mut found = chain.iter(&Preservations).enumerate();

    chain.len() == count as u64
        && chain.pages().len() == count.div_ceil(FILES)
        && set
            .blocks
            .iter()
            .map(Preserved::phys)
            .eq(chain.pages().iter().copied())
        && found.all(|(number, it)| it.as_bytes() == file(number).as_bytes())
        && chain.iter(&Preservations).count() == count
}

#[kunit_tests(luo_block)]
mod suite {
    use super::*;

    #[test]
    fn there_are_as_many_blocks_as_were_reserved() -> Result {
        for from in COUNTS {
            for to in COUNTS {
                let mut set = FileSet::new();

                set.reserve(from)?;
                assert_eq!(set.blocks.len(), from.div_ceil(FILES));
                set.reserve(to)?;
                assert_eq!(set.blocks.len(), from.max(to).div_ceil(FILES));
                set.shrink(to);
                assert_eq!(set.blocks.len(), to.div_ceil(FILES));
            }
        }
        Ok(())
    }

    #[test]
    fn blocks_are_linked_by_physical_address() -> Result {
        for from in COUNTS {
            for to in COUNTS {
                let mut set = FileSet::new();

                set.reserve(from)?;
                set.shrink(to);
                set.reserve(to)?;

                let mut link = set.head();
                for block in &set.blocks {
                    assert_eq!(block.phys(), link);
                    link = block.next;
                }
                assert_eq!(link, 0);
            }
        }
        Ok(())
    }

    #[test]
    fn blocks_are_preserved_until_they_are_given_back() -> Result {
        let mut set = FileSet::new();

        set.reserve(3 * FILES)?;
        let phys = [0, 1, 2].map(|block: usize| set.blocks[block].phys());
        assert!(phys.iter().all(|&phys| preserved_order(phys) == Some(0)));

        set.shrink(FILES + 1);
        let kept = phys.iter().map(|&phys| preserved_order(phys).is_some());
        assert!(kept.eq([true, true, false]));

        drop(set);
        assert!(phys.iter().all(|&phys| preserved_order(phys).is_none()));
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_back() -> Result {
        for count in COUNTS {
            assert!(is_read_back(&written(count)?, count));
        }
        Ok(())
    }

    #[test]
    fn there_is_no_room_behind_the_last_block() -> Result {
        for count in COUNTS {
            let mut set = written(count)?;
            let room = count.next_multiple_of(FILES);

            for number in count..room {
                set.write(number, file(number))?;
            }
            assert_eq!(set.write(room, file(room)), Err(ENOSPC));
            assert_eq!(set.write(room + FILES, file(0)), Err(ENOSPC));
            assert!(is_read_back(&set, room));
        }
        Ok(())
    }

    #[test]
    fn what_is_cleared_is_zero_and_still_linked() -> Result {
        for count in COUNTS {
            let mut set = written(count)?;

            set.clear();
            assert_eq!(set.blocks.len(), count.div_ceil(FILES));
            for block in &set.blocks {
                assert_eq!(block.count, 0);
                assert!(block.entries.as_bytes().iter().all(|&byte| byte == 0));
            }
            write(&mut set, count)?;
            assert!(is_read_back(&set, count));
        }
        Ok(())
    }

    #[test]
    fn fewer_or_more_are_written_after_going_back() -> Result {
        for from in COUNTS {
            for to in COUNTS {
                let mut set = written(from)?;

                set.clear();
                set.shrink(to);
                set.reserve(to)?;
                write(&mut set, to)?;
                assert!(is_read_back(&set, to));
            }
        }
        Ok(())
    }

    #[test]
    fn a_set_knows_when_it_is_too_long_for_c() -> Result {
        let mut set = BlockSet::<u64, 1>::new();

        set.reserve(10_000)?;
        assert!(!set.exceeds_c());
        set.reserve(10_001)?;
        assert!(set.exceeds_c());
        Ok(())
    }

    #[test]
    fn no_chain() -> Result {
        let pages = Pages::chain(&[1])?;
        let chain = FileChain::follow(&pages, "record", "head", 0);

        assert!(chain.is_ok_and(|chain| chain.len() == 0 && chain.pages().is_empty()));
        Ok(())
    }

    #[test]
    fn sound_chains() -> Result {
        let full = FILES as u64;

        for counts in [
            &[1][..],
            &[full],
            &[full, 1],
            &[full, full, full, 5],
            // The C LUO may leave an empty block at the end.
            &[full, 0],
        ] {
            let mut pages = Pages::chain(counts)?;

            // The first field of each entry that is an integer tells its place.
            let mut expected = 0;
            for (page, &count) in pages.0.iter_mut().zip(counts) {
                for entry in 0..count as usize {
                    page[2 + entry * 8 + 6] = expected;
                    expected += 1;
                }
            }

            let Ok(chain) = pages.follow() else {
                return Err(EINVAL);
            };
            assert_eq!(chain.len(), counts.iter().sum::<u64>());
            assert_eq!(chain.pages().len(), counts.len());

            let mut found = 0;
            for file in chain.iter(&pages) {
                assert_eq!(file.data, found);
                found += 1;
            }
            assert_eq!(found, expected);
        }
        Ok(())
    }

    #[test]
    fn wrong_counts() -> Result {
        let full = FILES as u64;

        for (counts, value) in [
            (&[full + 1][..], full + 1),
            (&[full, u64::MAX, 1], u64::MAX),
            (&[0], 0),
            (&[0, 1], 0),
            (&[full, 0, 1], 0),
            (&[full, 0, 0], 0),
        ] {
            let pages = Pages::chain(counts)?;

            assert_eq!(refusal(pages.follow()), Some(("count", value)));
        }
        Ok(())
    }

    #[test]
    fn wrong_addresses() -> Result {
        let wrong = [
            1,
            Pages::phys(0) + 1,
            Pages::phys(0) + 8,
            Pages::phys(9),
            u64::MAX,
        ];

        for phys in wrong {
            for at in 0..3 {
                let mut pages = Pages::chain(&[1, 1, 1])?;

                pages.0[at][0] = phys;
                assert_eq!(refusal(pages.follow()), Some(("next", phys)));
            }

            let pages = Pages::chain(&[1])?;
            let chain = FileChain::follow(&pages, "record", "head", phys);
            assert_eq!(refusal(chain), Some(("head", phys)));
        }
        Ok(())
    }

    #[test]
    fn circles_at_every_place() -> Result {
        for len in 1..20 {
            for to in 0..len {
                let mut pages = Pages::chain(&[1; 20][..len])?;

                pages.0[len - 1][0] = Pages::phys(to);
                assert!(matches!(refusal(pages.follow()), Some(("next", _))));
            }
        }
        Ok(())
    }

    #[test]
    fn a_chain_of_pages_that_were_handed_over_is_read() -> Result {
        let mut pages = [HandedOverPages::new(0)?, HandedOverPages::new(0)?];
        let next = pages[1].phys();

        pages[0].words()[..2].copy_from_slice(&[next, FILES as u64]);
        pages[1].words()[1] = 1;
        pages[1].words()[2 + 6] = 0x1234;

        let memory = handed_over();
        let chain = FileChain::follow(&memory, "record", "head", pages[0].phys());
        let chain = chain.map_err(|_| EINVAL)?;
        assert_eq!(chain.pages(), pages.each_ref().map(HandedOverPages::phys));
        assert!(chain
            .iter(&memory)
            .last()
            .is_some_and(|file| file.data == 0x1234));
        Ok(())
    }

    #[test]
    fn addresses_that_kho_did_not_hand_over_are_refused() -> Result {
        let mut page = HandedOverPages::new(0)?;
        let two_pages = HandedOverPages::new(1)?;
        let released = HandedOverPages::new(0)?;
        let own = Preserved::<wire::Root>::new()?;
        let mut memory = handed_over();

        page.words()[1] = FILES as u64;
        memory.release(&[released.phys()]);
        for phys in [
            page.phys() + 1,
            page.phys() + 8,
            page.phys() + 4095,
            two_pages.phys(),
            two_pages.phys() + 4096,
            released.phys(),
            own.phys(),
            4096,
            1 << 40,
            1 << 52,
            1 << 63,
            u64::MAX - 4095,
        ] {
            let chain = FileChain::follow(&memory, "record", "head", phys);
            assert_eq!(refusal(chain), Some(("head", phys)));

            page.words()[0] = phys;
            let chain = FileChain::follow(&memory, "record", "head", page.phys());
            assert_eq!(refusal(chain), Some(("next", phys)));
        }
        Ok(())
    }

    #[test]
    fn a_circle_of_pages_that_were_handed_over_is_refused() -> Result {
        let mut pages = [HandedOverPages::new(0)?, HandedOverPages::new(0)?];
        let phys = pages.each_ref().map(HandedOverPages::phys);

        for (page, next) in pages.iter_mut().zip([phys[1], phys[0]]) {
            page.words()[..2].copy_from_slice(&[next, 1]);
        }
        let chain = FileChain::follow(&handed_over(), "record", "head", phys[0]);
        assert!(matches!(refusal(chain), Some(("next", _))));
        Ok(())
    }
}
