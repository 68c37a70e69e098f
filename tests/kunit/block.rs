// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::block`]: sets of blocks in real preserved memory, and chains, sound and
//! damaged, in memory that only these tests, or KHO as well, believe to have been handed over.

use super::*;
use crate::{
    abi::record as wire,
    common::{
        free_pages,
        preserved_order,
        HandedOverPages, //
    },
    kho_tests::{
        handed_over,
        Preservations, //
    }, //
};
use kernel::page::PAGE_SIZE;

/// What holds for pages of 4, of 16 and of 64 KiB: the one of the three for the pages of this kernel.
pub(crate) const fn by_page_size<T: Copy>(of: [T; 3]) -> T {
    match PAGE_SIZE {
        0x1000 => of[0],
        0x4000 => of[1],
        0x10000 => of[2],
        _ => panic!("nothing is written down for pages of this size"),
    }
}

/// The entries of a block of one page, as written down here.
pub(crate) const FILES_PER_BLOCK: usize = by_page_size([63, 255, 1023]);
pub(crate) const SESSIONS_PER_BLOCK: usize = by_page_size([51, 204, 819]);

/// The same of larger blocks.
pub(crate) const FILES_IN_2_PAGES: usize = by_page_size([127, 511, 2047]);
pub(crate) const FILES_IN_16_PAGES: usize = by_page_size([1023, 4095, 16383]);
pub(crate) const SESSIONS_IN_16_PAGES: usize = by_page_size([819, 3276, 13107]);

/// How many FLBs there is room for.
pub(crate) const FLBS_ON_A_PAGE: usize = by_page_size([63, 255, 1023]);

/// A size of blocks, and how many files go into such a block.
#[derive(Clone, Copy)]
struct Size {
    pages: usize,
    files: usize,
}

const SIZES: [Size; 3] = [
    Size {
        pages: 1,
        files: FILES_PER_BLOCK,
    },
    Size {
        pages: 2,
        files: FILES_IN_2_PAGES,
    },
    Size {
        pages: 16,
        files: FILES_IN_16_PAGES,
    },
];

type FileSet = BlockSet<wire::File>;

impl Size {
    fn bytes(self) -> usize {
        self.pages * PAGE_SIZE
    }

    fn order(self) -> u32 {
        self.pages.ilog2()
    }

    /// Numbers of files at and around every boundary.
    fn counts(self) -> [usize; 8] {
        let full = self.files;
        // Some blocks of one page, the last of which is not full.
        let many = 8 * FILES_PER_BLOCK - 4;

        [0, 1, full - 1, full, full + 1, 2 * full, 2 * full + 1, many]
    }

    /// A set without blocks.
    fn set(self) -> FileSet {
        FileSet::new(self.bytes())
    }

    /// A set with room for `count` files, and those files in it.
    fn written(self, count: usize) -> Result<FileSet> {
        let mut set = self.set();

        set.reserve(count)?;
        write(&mut set, count)?;
        Ok(set)
    }

    fn follow(self, memory: &impl Memory, head: u64) -> Result<Followed, ReadError> {
        follow(memory, self.bytes(), head)
    }

    /// Whether the next kernel will find `count` files in the set, and its blocks are as many as
    /// that takes, each preserved.
    fn is_read_back(self, set: &FileSet, count: usize) -> bool {
        let Ok(chain) = self.follow(&Preservations, set.head()) else {
            return false;
        };
        let mut found = chain.files.iter().enumerate();

        chain.files.len() == count
            && chain.claimed.len() == count.div_ceil(self.files)
            && set.blocks.iter().map(Preserved::phys).eq(chain.addresses())
            && found.all(|(number, it)| it.as_bytes() == file(number).as_bytes())
    }
}

/// What is in a chain, and its blocks.
struct Followed {
    files: KVVec<wire::File>,
    claimed: Claimed,
}

/// Follows a chain of which nothing is known.
fn follow(memory: &impl Memory, block_size: usize, head: u64) -> Result<Followed, ReadError> {
    let mut reader = Reader::new(memory);
    let mut files = KVVec::new();

    // What was there before is forgotten.
    files.push(file(0), GFP_KERNEL)?;
    reader.read_chain(block_size, ("record", "head"), head, &mut files)?;
    let claimed = reader.claimed;

    Ok(Followed { files, claimed })
}

impl Followed {
    fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.claimed.iter().map(|block| block.phys)
    }
}

/// Blocks that were "handed over", at addresses of their own choice.
pub(crate) struct Pages {
    block_size: usize,
    blocks: KVVec<KVVec<u64>>,
}

impl Pages {
    /// One page a count, each a block linked to the next.
    pub(crate) fn chain(counts: &[u64]) -> Result<Self> {
        Self::chain_of(PAGE_SIZE, counts)
    }

    /// As [`Self::chain`], of larger blocks.
    pub(crate) fn chain_of(block_size: usize, counts: &[u64]) -> Result<Self> {
        let mut blocks = KVVec::new();

        for (index, &count) in counts.iter().enumerate() {
            let mut block = KVVec::from_elem(0, block_size / 8, GFP_KERNEL)?;

            block[0] = if index + 1 < counts.len() {
                Self::phys(index + 1)
            } else {
                0
            };
            block[1] = count;
            blocks.push(block, GFP_KERNEL)?;
        }

        Ok(Self { block_size, blocks })
    }

    /// How far the addresses of two blocks are apart: as far as the largest pages that there are, so
    /// that they are the same in all kernels.
    pub(crate) const APART: u64 = 0x1_0000;

    /// The address of a block.
    pub(crate) const fn phys(index: usize) -> u64 {
        (index as u64 + 7) * Self::APART
    }

    /// Writes one of the 64-bit words of a block.
    pub(crate) fn word(&mut self, block: usize, at: usize, value: u64) {
        self.blocks[block][at] = value;
    }

    /// Writes all words of a block.
    pub(crate) fn words(&mut self, block: usize, values: &[u64]) {
        self.blocks[block].copy_from_slice(values);
    }

    fn follow(&self) -> Result<Followed, ReadError> {
        follow(self, self.block_size, Self::phys(0))
    }
}

impl Memory for Pages {
    fn copy(&self, extent: Extent, offset: usize, to: &mut [u8]) -> Option<()> {
        let index = (0..self.blocks.len()).find(|&index| Self::phys(index) == extent.phys)?;
        let block = self.blocks[index].as_bytes();

        if extent.size != self.block_size {
            return None;
        }
        to.copy_from_slice(block.get(offset..)?.get(..to.len())?);
        Some(())
    }

    fn release(&mut self, _extents: impl IntoIterator<Item = Extent>) {}
}

/// The field and the value that a chain is refused for.
fn refusal(chain: Result<Followed, ReadError>) -> Option<(&'static str, u64)> {
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

fn write(set: &mut FileSet, count: usize) -> Result {
    (0..count).try_for_each(|number| set.write(number, file(number)))
}

#[kunit_tests(luo_block)]
mod suite {
    use super::*;

    #[test]
    fn as_many_entries_as_fit_into_a_block() {
        for size in SIZES {
            assert_eq!(capacity::<wire::File>(size.bytes()), size.files);
        }
        assert_eq!(capacity::<wire::Session>(PAGE_SIZE), SESSIONS_PER_BLOCK);
        assert_eq!(
            capacity::<wire::Session>(16 * PAGE_SIZE),
            SESSIONS_IN_16_PAGES
        );

        assert_eq!(capacity::<wire::File>(16 + 64), 1);
        assert_eq!(capacity::<wire::File>(16 + 63), 0);
        assert_eq!(capacity::<wire::File>(15), 0);
    }

    #[test]
    fn there_are_as_many_blocks_as_were_reserved() -> Result {
        for size in SIZES {
            for from in size.counts() {
                for to in size.counts() {
                    let mut set = size.set();

                    set.reserve(from)?;
                    assert_eq!(set.blocks.len(), from.div_ceil(size.files));
                    set.reserve(to)?;
                    assert_eq!(set.blocks.len(), from.max(to).div_ceil(size.files));
                    set.shrink(to);
                    assert_eq!(set.blocks.len(), to.div_ceil(size.files));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn blocks_are_linked_by_physical_address() -> Result {
        for size in SIZES {
            for from in size.counts() {
                for to in size.counts() {
                    let mut set = size.set();

                    set.reserve(from)?;
                    set.shrink(to);
                    set.reserve(to)?;

                    let mut link = set.head();
                    for block in set.blocks.iter() {
                        assert_eq!(block.phys(), link);
                        link = u64::from_ne_bytes(*block.first_chunk().ok_or(EINVAL)?);
                    }
                    assert_eq!(link, 0);
                }
            }
        }
        Ok(())
    }

    /// How many blocks do not follow the one before in memory.
    fn runs(set: &FileSet) -> usize {
        let mut end = 0;

        set.blocks
            .iter()
            .filter(|block| {
                let goes_on = block.phys() == end;

                end = block.phys() + PAGE_SIZE as u64;
                !goes_on
            })
            .count()
    }

    #[test]
    fn many_blocks_are_few_runs() -> Result {
        let mut set = FileSet::new(PAGE_SIZE);
        let mut others = KVVec::new();

        for count in 1..=500 {
            set.reserve(count * FILES_PER_BLOCK)?;
            // Somebody else always takes the next page.
            others.push(Preserved::zeroed(PAGE_SIZE)?, GFP_KERNEL)?;
        }
        // 4 alone, then in rows of 4, 8, 16, 32, and of 64.
        assert!((1..=4 + 4 + 7).contains(&runs(&set)));
        assert!(set
            .blocks
            .iter()
            .all(|it| preserved_order(it.phys()) == Some(0)));
        assert!(set
            .blocks
            .iter()
            .all(|it| it.iter().skip(8).all(|&byte| byte == 0)));

        // What goes is made up for, and what is left of a row goes with the last blocks.
        set.shrink(10 * FILES_PER_BLOCK);
        set.reserve(20 * FILES_PER_BLOCK)?;
        assert!(set.row.is_some());
        set.shrink(3 * FILES_PER_BLOCK);
        assert!(set.row.is_none());
        write(&mut set, 3 * FILES_PER_BLOCK)?;
        assert!(SIZES[0].is_read_back(&set, 3 * FILES_PER_BLOCK));
        Ok(())
    }

    #[test]
    fn a_row_that_is_not_used_up_is_freed() -> Result {
        let before = free_pages();

        for _ in 0..256 {
            let mut row = Row::new(6).ok_or(ENOMEM)?;
            let first = row.preserve()?;
            let phys = first.phys();

            assert_eq!(row.preserve()?.phys(), phys + PAGE_SIZE as u64);
            assert_eq!(preserved_order(phys), Some(0));
            drop(row);
            assert_eq!(preserved_order(phys), Some(0));
            drop(first);
            assert_eq!(preserved_order(phys), None);
        }
        assert!(before.saturating_sub(free_pages()) < 128 * 64);
        Ok(())
    }

    #[test]
    fn blocks_are_preserved_until_they_are_given_back() -> Result {
        for size in SIZES {
            let mut set = size.set();
            let order = Some(size.order());

            set.reserve(3 * size.files)?;
            let phys: [u64; 3] =
                core::array::from_fn(|at| set.blocks.iter().nth(at).map_or(0, Preserved::phys));
            assert!(phys.iter().all(|&phys| preserved_order(phys) == order));

            set.shrink(size.files + 1);
            let kept = phys.map(preserved_order);
            assert_eq!(kept, [order, order, None]);

            drop(set);
            assert!(phys.iter().all(|&phys| preserved_order(phys).is_none()));
        }
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_back() -> Result {
        for size in SIZES {
            for count in size.counts() {
                assert!(size.is_read_back(&size.written(count)?, count));
            }
        }
        Ok(())
    }

    #[test]
    fn blocks_of_another_size_are_not_read() -> Result {
        for size in SIZES {
            let set = size.written(1)?;

            for other in SIZES {
                let chain = other.follow(&Preservations, set.head());
                assert_eq!(chain.is_ok(), other.pages == size.pages);
                if chain.is_err() {
                    assert_eq!(refusal(chain), Some(("head", set.head())));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn there_is_no_room_behind_the_last_block() -> Result {
        for size in SIZES {
            for count in size.counts() {
                let mut set = size.written(count)?;
                let room = count.next_multiple_of(size.files);

                for number in count..room {
                    set.write(number, file(number))?;
                }
                assert_eq!(set.write(room, file(room)), Err(ENOSPC));
                assert_eq!(set.write(room + size.files, file(0)), Err(ENOSPC));
                assert!(size.is_read_back(&set, room));
            }
        }
        Ok(())
    }

    #[test]
    fn a_block_too_small_for_an_entry_has_no_room() -> Result {
        let mut set = FileSet::new(16 + 63);

        set.reserve(2)?;
        assert_eq!(set.write(0, file(0)), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn what_is_cleared_is_zero_and_still_linked() -> Result {
        for size in SIZES {
            for count in size.counts() {
                let mut set = size.written(count)?;

                set.clear();
                assert_eq!(set.blocks.len(), count.div_ceil(size.files));
                for block in set.blocks.iter() {
                    assert!(block.iter().skip(8).all(|&byte| byte == 0));
                }
                write(&mut set, count)?;
                assert!(size.is_read_back(&set, count));
            }
        }
        Ok(())
    }

    #[test]
    fn fewer_or_more_are_written_after_going_back() -> Result {
        for size in SIZES {
            for from in size.counts() {
                for to in size.counts() {
                    let mut set = size.written(from)?;

                    set.clear();
                    set.shrink(to);
                    set.reserve(to)?;
                    write(&mut set, to)?;
                    assert!(size.is_read_back(&set, to));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_set_knows_when_it_is_too_long_for_c() -> Result {
        let mut set = BlockSet::<u64>::new(16 + 8);

        set.reserve(10_000)?;
        assert!(!set.exceeds_c());
        set.reserve(10_001)?;
        assert!(set.exceeds_c());
        Ok(())
    }

    #[test]
    fn no_chain() -> Result {
        let pages = Pages::chain(&[1])?;
        let chain = follow(&pages, PAGE_SIZE, 0);

        assert!(chain.is_ok_and(|it| it.files.is_empty() && it.claimed.len() == 0));
        Ok(())
    }

    #[test]
    fn sound_chains() -> Result {
        for size in SIZES {
            let full = size.files as u64;

            for counts in [
                &[1][..],
                &[full],
                &[full, 1],
                &[full, full, full, 5],
                // The C LUO may leave an empty block at the end.
                &[full, 0],
            ] {
                let mut pages = Pages::chain_of(size.bytes(), counts)?;

                // The first field of each entry that is an integer tells its place.
                let mut expected = 0;
                for (block, &count) in pages.blocks.iter_mut().zip(counts) {
                    for entry in 0..count as usize {
                        block[2 + entry * 8 + 6] = expected;
                        expected += 1;
                    }
                }

                let Ok(chain) = pages.follow() else {
                    return Err(EINVAL);
                };
                assert_eq!(chain.files.len() as u64, counts.iter().sum::<u64>());
                assert_eq!(chain.claimed.len(), counts.len());

                let mut found = 0;
                for file in &chain.files {
                    assert_eq!(file.data, found);
                    found += 1;
                }
                assert_eq!(found, expected);
            }
        }
        Ok(())
    }

    #[test]
    fn wrong_counts() -> Result {
        for size in SIZES {
            let full = size.files as u64;

            for (counts, value) in [
                (&[full + 1][..], full + 1),
                (&[full, u64::MAX, 1], u64::MAX),
                (&[0], 0),
                (&[0, 1], 0),
                (&[full, 0, 1], 0),
                (&[full, 0, 0], 0),
            ] {
                let pages = Pages::chain_of(size.bytes(), counts)?;

                assert_eq!(refusal(pages.follow()), Some(("count", value)));
            }
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

        for size in SIZES {
            for phys in wrong {
                for at in 0..3 {
                    let mut pages = Pages::chain_of(size.bytes(), &[1, 1, 1])?;

                    pages.word(at, 0, phys);
                    assert_eq!(refusal(pages.follow()), Some(("next", phys)));
                }

                let pages = Pages::chain_of(size.bytes(), &[1])?;
                let chain = size.follow(&pages, phys);
                assert_eq!(refusal(chain), Some(("head", phys)));
            }
        }
        Ok(())
    }

    #[test]
    fn circles_at_every_place() -> Result {
        for len in 1..20 {
            for to in 0..len {
                let mut pages = Pages::chain(&[1; 20][..len])?;

                pages.word(len - 1, 0, Pages::phys(to));
                assert!(matches!(refusal(pages.follow()), Some(("next", _))));
            }
        }
        Ok(())
    }

    #[test]
    fn a_chain_of_pages_that_were_handed_over_is_read() -> Result {
        for size in SIZES {
            let mut pages = [
                HandedOverPages::new(size.order())?,
                HandedOverPages::new(size.order())?,
            ];
            let next = pages[1].phys();

            pages[0].words()[..2].copy_from_slice(&[next, size.files as u64]);
            pages[0].words()[2 + (size.files - 1) * 8 + 6] = 0x1234;
            pages[1].words()[1] = 1;
            pages[1].words()[2 + 6] = 0x5678;

            let memory = handed_over();
            let chain = size.follow(&memory, pages[0].phys()).map_err(|_| EINVAL)?;
            assert!(chain
                .addresses()
                .eq(pages.iter().map(HandedOverPages::phys)));

            let mut last = chain.files.iter().skip(size.files - 1);
            assert!(last.next().is_some_and(|file| file.data == 0x1234));
            assert!(last.next().is_some_and(|file| file.data == 0x5678));
            assert!(last.next().is_none());
        }
        Ok(())
    }

    #[test]
    fn addresses_that_kho_did_not_hand_over_are_refused() -> Result {
        const PAGE: u64 = PAGE_SIZE as u64;

        let mut page = HandedOverPages::new(0)?;
        let two_pages = HandedOverPages::new(1)?;
        let released = HandedOverPages::new(0)?;
        let own = Preserved::<wire::File>::new()?;
        let mut memory = handed_over();

        page.words()[1] = 1;
        memory.release([released.extent()]);
        for phys in [
            page.phys() + 1,
            page.phys() + 8,
            page.phys() + PAGE - 1,
            two_pages.phys(),
            two_pages.phys() + PAGE,
            released.phys(),
            own.phys(),
            PAGE,
            1 << 40,
            1 << 52,
            1 << 63,
            u64::MAX - (PAGE - 1),
        ] {
            let chain = follow(&memory, PAGE_SIZE, phys);
            assert_eq!(refusal(chain), Some(("head", phys)));

            page.words()[0] = phys;
            let chain = follow(&memory, PAGE_SIZE, page.phys());
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
        let chain = follow(&handed_over(), PAGE_SIZE, phys[0]);
        assert!(matches!(refusal(chain), Some(("next", _))));
        Ok(())
    }
}
