// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::block`]: sets of blocks in real preserved memory, and chains, sound and
//! damaged, in memory that only these tests believe to have been handed over.

use super::*;
use crate::abi::luo_v5 as wire;

const WORDS: usize = kernel::page::PAGE_SIZE / size_of::<u64>();
const FILES: usize = wire::FILES_PER_BLOCK;
const SESSIONS: usize = wire::SESSIONS_PER_BLOCK;

type FileChain = Chain<wire::File, FILES>;

/// Pages that were "handed over", at addresses of their own choice.
pub(crate) struct Pages(KVVec<KVBox<[u64; WORDS]>>);

impl Pages {
    /// One page a count, each a block linked to the next.
    pub(crate) fn chain(counts: &[u64]) -> Result<Self> {
        let mut pages = KVVec::new();

        for (index, &count) in counts.iter().enumerate() {
            let mut page = KVBox::new([0; WORDS], GFP_KERNEL)?;

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
    pub(crate) fn phys(index: usize) -> u64 {
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

#[kunit_tests(luo_block)]
mod suite {
    use super::*;

    fn check_set<E: FromBytes, const N: usize>(set: &BlockSet<E, N>, count: usize) {
        assert_eq!(set.blocks.len(), count.div_ceil(N));
        assert_eq!(set.head() != 0, count != 0);

        let mut link = set.head();
        for block in &set.blocks {
            assert_eq!(block.phys(), link);
            assert_eq!(link % kernel::page::PAGE_SIZE as u64, 0);
            link = block.next;
        }
        assert_eq!(link, 0);
    }

    #[test]
    fn capacities() {
        assert_eq!(SESSIONS, 51);
        assert_eq!(FILES, 63);
    }

    #[test]
    fn grow_and_shrink_at_every_boundary() -> Result {
        let counts = [0, 1, SESSIONS - 1, SESSIONS, SESSIONS + 1, 5 * SESSIONS + 1];

        for from in counts {
            for to in counts {
                let mut set = BlockSet::<wire::Session, SESSIONS>::new();

                set.reserve(from)?;
                check_set(&set, from);
                set.reserve(to)?;
                check_set(&set, from.max(to));
                set.shrink(to);
                check_set(&set, to);
            }
        }
        Ok(())
    }

    #[test]
    fn write_and_clear() -> Result {
        let mut set = BlockSet::<u64, 510>::new();

        set.reserve(511)?;
        for index in 0..511 {
            set.write(index, index as u64 + 1)?;
        }
        assert_eq!(set.write(1020, 0), Err(ENOSPC));

        let counts = |set: &BlockSet<u64, 510>| (set.blocks[0].count, set.blocks[1].count);
        assert_eq!(counts(&set), (510, 1));
        assert_eq!(set.blocks[0].entries[509], 510);
        assert_eq!(set.blocks[1].entries[0], 511);

        set.clear();
        assert_eq!(counts(&set), (0, 0));
        for block in &set.blocks {
            assert!(block.entries.iter().all(|&entry| entry == 0));
        }
        check_set(&set, 511);
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
}
