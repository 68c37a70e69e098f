// SPDX-License-Identifier: GPL-2.0

//! Turns bytes into what a kernel could have handed over of memfds, with some words of it changed;
//! and tells, without a look at the handler, which memory each file is made of.

use arbitrary::Result;
use arbitrary::Unstructured;
use kernel::memfd;
use kernel::page::PAGE_SIZE;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// Where the memory begins.
const BASE: u64 = 0x10_0000;
/// The flags of a folio: dirty, and up to date.
const FLAGS: u64 = 3 << 52;
const UP_TO_DATE: u64 = 2 << 52;
const FRAME: u64 = (1 << 52) - 1;

/// A format.
#[derive(Clone, Copy, PartialEq)]
pub enum Format {
    Folios,
    Runs,
}

impl Format {
    /// The compatible string.
    pub fn name(self) -> &'static CStr {
        match self {
            Self::Folios => c"memfd-v2",
            Self::Runs => c"memfd-runs-v1",
        }
    }
}

/// How many words an entry has.
const WORDS: usize = 2;

/// Above the frame of a run, or its index, the order, or the pages.
const ORDER_SHIFT: u32 = 52;
const PAGES_SHIFT: u32 = 40;

/// A file that was handed over.
pub struct File {
    pub format: Format,
    /// The address of the record.
    pub data: u64,
    /// Whether somebody asks for it.
    pub asked: bool,
}

/// What a file is made of.
pub struct Due {
    pub made: memfd::Made,
    /// All pages that belong to it, by their addresses.
    pub pages: Vec<u64>,
    /// How many pages the record and the entries are in.
    pub other: usize,
}

/// What the kernel before left.
pub struct Image {
    /// What was preserved as one, by physical address.
    pub blocks: BTreeMap<u64, Vec<u8>>,
    pub files: Vec<File>,
    /// Whether nothing was changed.
    pub sound: bool,
}

struct Builder<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    blocks: BTreeMap<u64, Vec<u8>>,
    end: u64,
    /// Where there are words to be changed: their block, and how many there are.
    words: Vec<(u64, usize)>,
}

impl Builder<'_, '_> {
    /// The address of some pages, so aligned.
    fn allocate(&mut self, pages: u64, order: u32) -> Result<u64> {
        let align = (PAGE_SIZE as u64) << order;
        let gap = u64::from(self.u.ratio(1u8, 4u8)?);
        let at = (self.end + gap * PAGE_SIZE as u64).next_multiple_of(align);

        self.end = at + pages * PAGE_SIZE as u64;
        Ok(at)
    }

    /// Hands over a page of these words.
    fn page(&mut self, words: &[u64]) -> Result<u64> {
        let at = self.allocate(1, 0)?;
        let mut page: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();

        page.resize(PAGE_SIZE, 0);
        self.blocks.insert(at, page);
        self.words.push((at, (words.len() + 1).min(PAGE_SIZE / 8)));
        Ok(at)
    }

    /// Hands over so many pages, as KHO divides them.
    fn contents(&mut self, at: u64, pages: u64) {
        let mut at = at / PAGE_SIZE as u64;
        let end = at + pages;

        while at < end {
            let order = at.trailing_zeros().min((end - at).ilog2());

            self.blocks
                .insert(at * PAGE_SIZE as u64, vec![0; PAGE_SIZE << order]);
            at += 1 << order;
        }
    }

    /// The entries of a file, and how many pages it has.
    fn entries(&mut self, format: Format) -> Result<(Vec<u64>, u64)> {
        let mut entries = vec![];
        let mut end = 0u64;
        let count = match self.u.int_in_range(0..=7)? {
            0..=6 => self.u.int_in_range(0..=6)?,
            // More than fit into a page, or into two.
            _ => *self.u.choose(&[255, 256, 257, 350, 512])?,
        };

        for _ in 0..count {
            let order = match self.u.ratio(1, 4)? {
                true => self.u.int_in_range(0..=3u32)?,
                false => 0,
            };

            match format {
                Format::Folios => {
                    if !end.is_multiple_of(1 << order) {
                        continue;
                    }

                    let at = self.allocate(1 << order, order)?;
                    let flags = *self.u.choose(&[FLAGS, FLAGS, UP_TO_DATE, 0])?;
                    self.blocks.insert(at, vec![0; PAGE_SIZE << order]);
                    entries.extend([flags | (at / PAGE_SIZE as u64), end]);
                    end += 1 << order;
                }
                Format::Runs => {
                    let hole = self.u.int_in_range(0..=2u64)?;
                    let pages = self.u.int_in_range(1..=5u64)? << order;
                    let at = self.allocate(pages, order)?;

                    end = (end + hole).next_multiple_of(1 << order);
                    self.contents(at, pages);
                    entries.extend([
                        (u64::from(order) << ORDER_SHIFT) | (at / PAGE_SIZE as u64),
                        (pages << PAGES_SHIFT) | end,
                    ]);
                    end += pages;
                }
            }
        }
        if format == Format::Runs {
            end += self.u.int_in_range(0..=2u64)?;
        }
        Ok((entries, end))
    }

    /// A file.
    fn file(&mut self) -> Result<File> {
        let format = *self.u.choose(&[Format::Folios, Format::Runs])?;
        let (mut entries, pages) = self.entries(format)?;
        let count = entries.len() / WORDS;
        let mut area = [0; 2];

        if count != 0 {
            if format == Format::Runs {
                entries.extend([0; WORDS]);
            }

            let mut addresses = vec![0];
            for page in entries.chunks(PAGE_SIZE / 8) {
                addresses.push(self.page(page)?);
            }
            let list = addresses.len() as u64 - 1;
            area = [self.page(&addresses)?, list];
        }

        // The last page may be there in part.
        let size = (pages * PAGE_SIZE as u64)
            .saturating_sub(self.u.int_in_range(0..=PAGE_SIZE as u64 - 1)?);
        let flags = match format {
            Format::Folios => 0,
            Format::Runs => u64::from(self.u.int_in_range(0..=0o777u16)?) | 2 << 16,
        };
        let seals = u64::from(self.u.int_in_range(0..=0x3fu8)?);
        let position = self.u.int_in_range(0..=i64::MAX as u64)?;
        let data = self.page(&[
            position,
            size,
            flags << 32 | seals,
            count as u64,
            area[0],
            area[1],
        ])?;

        Ok(File {
            format,
            data,
            asked: self.u.ratio(3, 4)?,
        })
    }

    /// Changes a word.
    fn damage(&mut self, files: &mut [File]) -> Result<()> {
        let choice = self
            .u
            .int_in_range(0..=self.words.len() + files.len() - 1)?;
        let known: Vec<u64> = self.blocks.keys().copied().collect();
        let other = *self.u.choose(&known)?;
        let change = |u: &mut Unstructured<'_>, word: u64| -> Result<u64> {
            Ok(match u.int_in_range(0..=8)? {
                0 => word.wrapping_add(1),
                1 => word.wrapping_sub(1),
                2 => 0,
                3 => u64::MAX,
                4 => word ^ (1 << u.int_in_range(0..=63)?),
                5 => other,
                6 => FLAGS | (other / PAGE_SIZE as u64),
                7 => other / PAGE_SIZE as u64,
                _ => u.arbitrary()?,
            })
        };

        if let Some(&(at, count)) = self.words.get(choice) {
            let word = self.u.int_in_range(0..=count - 1)?;
            let block = self.blocks.get_mut(&at).expect("a page of words");
            let bytes = &mut block[8 * word..][..8];
            let was = u64::from_ne_bytes(bytes.try_into().expect("a word"));

            bytes.copy_from_slice(&change(self.u, was)?.to_ne_bytes());
        } else {
            let file = &mut files[choice - self.words.len()];

            file.data = change(self.u, file.data)?;
        }
        Ok(())
    }
}

impl Image {
    /// Builds a hand-over.
    pub fn build(u: &mut Unstructured<'_>) -> Result<Self> {
        let count = u.int_in_range(1..=3)?;
        let mut this = Builder {
            u,
            blocks: BTreeMap::new(),
            end: BASE,
            words: vec![],
        };
        let mut files = (0..count)
            .map(|_| this.file())
            .collect::<Result<Vec<_>>>()?;
        let damages = this.u.int_in_range(0..=3)?;

        for _ in 0..damages {
            this.damage(&mut files)?;
        }
        Ok(Self {
            blocks: this.blocks,
            files,
            sound: damages == 0,
        })
    }

    /// So many words of what begins at an address.
    fn words(&self, at: u64, count: usize) -> Option<Vec<u64>> {
        let words = self.blocks.get(&at)?.chunks_exact(8).take(count);

        words
            .map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
            .collect()
    }

    /// The words of an area, and how many pages they are in.
    fn area(&self, first: u64, count: usize) -> Option<(Vec<u64>, usize)> {
        let mut words = vec![];
        let mut pages = 0;
        let mut chunk = first;

        while chunk != 0 {
            let addresses = self.words(chunk, PAGE_SIZE / 8)?;

            pages += 1;
            for &at in addresses[1..].iter().take_while(|at| **at != 0) {
                words.extend(self.words(at, PAGE_SIZE / 8)?);
                pages += 1;
            }
            chunk = addresses[0];
        }
        words.truncate(count);
        Some((words, pages))
    }

    /// What a file is made of that is not refused.
    pub fn made(&self, file: &File) -> Option<Due> {
        let record = self.words(file.data, 6)?;
        let [position, size, seals, count, first, _] = record[..] else {
            return None;
        };
        let (entries, other) = match count {
            0 => (vec![], 0),
            _ => self.area(first, count as usize * WORDS)?,
        };
        let mut due = Due {
            made: memfd::Made {
                pages: BTreeMap::new(),
                size,
                position,
                seals: seals as u32,
            },
            pages: vec![],
            other: other + 1,
        };

        for entry in entries.chunks_exact(WORDS) {
            let mut index = entry[1];
            let at = (entry[0] & FRAME) * PAGE_SIZE as u64;
            let (pages, contents) = match file.format {
                Format::Folios => {
                    let block = self.blocks.get(&at)?;

                    (block.len() / PAGE_SIZE, entry[0] & UP_TO_DATE != 0)
                }
                Format::Runs => {
                    index &= (1 << PAGES_SHIFT) - 1;
                    ((entry[1] >> PAGES_SHIFT) as usize, true)
                }
            };

            for page in 0..pages as u64 {
                let at = at + page * PAGE_SIZE as u64;

                due.pages.push(at);
                due.made.pages.insert(index + page, contents.then_some(at));
            }
        }
        Some(due)
    }
}
