// SPDX-License-Identifier: GPL-2.0

//! Turns bytes into a hand-over: mostly one that a kernel could have written, with damage here and
//! there, so that what lies behind a check is reached as well.

use arbitrary::Result;
use arbitrary::Unstructured;
use kernel::page::PAGE_SIZE;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// Where the pages begin.
const BASE: u64 = 0x10_0000;

/// The compatible strings that somebody here knows, and one that nobody does.
pub const KNOWN: [&str; 3] = ["memfd-v2", "b", "nobody"];

/// What the kernel before left.
pub struct Image {
    /// The address and the size of the entry of LUO.
    pub entry: Option<(u64, usize)>,
    /// The pages, by physical address.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// The format in which the kernel that reads this hands over to the next.
    pub next_format: &'static CStr,
}

/// What a page is meant to be.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sessions,
    Files,
    Flbs,
}

/// A page with what is needed to refer to it.
struct Page {
    kind: Kind,
    taken: bool,
    next: usize,
    entries: u64,
}

struct Builder<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    /// One field in so many is damaged.
    odds: u16,
    pages: Vec<Page>,
}

impl Builder<'_, '_> {
    /// Almost always. What is missing at the end of the input is no damage.
    fn sane(&mut self) -> Result<bool> {
        self.u.ratio(self.odds - 1, self.odds)
    }

    /// A number, or something else.
    fn number(&mut self, number: u64) -> Result<u64> {
        if self.sane()? {
            return Ok(number);
        }
        Ok(match self.u.int_in_range(0..=5)? {
            0 => number.wrapping_add(1),
            1 => number.wrapping_sub(1),
            2 => 0,
            3 => u64::MAX,
            // One more than fits into a page.
            4 => *self.u.choose(&[52, 64])?,
            _ => self.u.arbitrary()?,
        })
    }

    /// The address of page `index`, or something else.
    fn address(&mut self, index: usize) -> Result<u64> {
        if self.sane()? {
            return Ok(if index == 0 { 0 } else { address_of(index) });
        }
        Ok(match self.u.int_in_range(0..=3)? {
            // One of those behind the last does not exist.
            0 => address_of(self.u.int_in_range(0..=self.pages.len() + 1)?),
            1 => address_of(index) + self.u.int_in_range(0..=PAGE_SIZE as u64)?,
            2 => 0,
            _ => self.u.arbitrary()?,
        })
    }

    /// Any page of a kind that nothing leads to yet, or none.
    fn head(&mut self, kind: Kind) -> Result<usize> {
        let again = !self.sane()?;
        let fitting: Vec<usize> = (1..self.pages.len())
            .filter(|&index| self.pages[index].kind == kind)
            .filter(|&index| again || !self.pages[index].taken)
            .collect();
        let choice = self.u.int_in_range(0..=fitting.len())?;
        let Some(choice) = choice.checked_sub(1) else {
            return Ok(0);
        };

        self.pages[fitting[choice]].taken = true;
        Ok(fitting[choice])
    }

    /// How many entries a chain has.
    fn length(&self, head: usize) -> u64 {
        let chain = std::iter::successors(Some(head), |&index| Some(self.pages[index].next));

        chain
            .take_while(|&index| index != 0)
            .take(self.pages.len())
            .map(|index| self.pages[index].entries)
            .sum()
    }

    /// A string in a field of `N` bytes.
    fn text<const N: usize>(&mut self, text: &str) -> Result<[u8; N]> {
        let mut field = [0; N];

        if self.sane()? {
            field[..text.len()].copy_from_slice(text.as_bytes());
            return Ok(field);
        }
        match self.u.int_in_range(0..=3)? {
            0 => {}
            1 => field = [b'x'; N],
            2 => field[..N - 1].fill(b'x'),
            _ => self.u.fill_buffer(&mut field)?,
        }
        Ok(field)
    }

    /// Writes a page of the kind that it is meant to be.
    fn page(&mut self, index: usize) -> Result<Vec<u8>> {
        let Page {
            kind,
            next,
            entries,
            ..
        } = self.pages[index];
        let mut page = Vec::with_capacity(PAGE_SIZE);
        let link = match kind {
            Kind::Flbs => self.number(1)?,
            _ => self.address(next)?,
        };
        let count = self.number(entries)?;

        page.extend(link.to_ne_bytes());
        page.extend(count.to_ne_bytes());
        for entry in 0..entries {
            // What names and tokens tell entries apart by; damaged, it may be that of another.
            let id = self.number((index as u64) << 8 | entry)?;

            match kind {
                Kind::Sessions => {
                    let files = self.head(Kind::Files)?;
                    let count = self.length(files);

                    page.extend(self.text::<64>(&format!("session {id}"))?);
                    page.extend(self.address(files)?.to_ne_bytes());
                    page.extend(self.number(count)?.to_ne_bytes());
                }
                Kind::Files => {
                    let handler = KNOWN[entry as usize % 2];

                    page.extend(self.text::<48>(handler)?);
                    page.extend(self.u.arbitrary::<u64>()?.to_ne_bytes());
                    page.extend(id.to_ne_bytes());
                }
                Kind::Flbs => {
                    let name = match id & 0xff {
                        it @ 0..2 => KNOWN[it as usize].to_string(),
                        _ => format!("flb {id}"),
                    };

                    page.extend(self.text::<48>(&name)?);
                    page.extend(self.u.arbitrary::<u64>()?.to_ne_bytes());
                    page.extend(self.number(1 + entry)?.to_ne_bytes());
                }
            }
        }
        page.resize(PAGE_SIZE, 0);
        Ok(page)
    }
}

fn address_of(index: usize) -> u64 {
    BASE + (index * PAGE_SIZE) as u64
}

impl Image {
    /// Builds a hand-over.
    pub fn build(u: &mut Unstructured<'_>) -> Result<Self> {
        let count = u.int_in_range(0..=12)?;
        let odds = *u.choose(&[32, 1000])?;
        let mut this = Builder {
            u,
            odds,
            pages: Vec::new(),
        };

        // Page 0 is the root record.
        this.pages.push(Page {
            kind: Kind::Flbs,
            taken: true,
            next: 0,
            entries: 0,
        });
        for _ in 0..count {
            let (kind, most) = match this.u.int_in_range(0..=4)? {
                0..=1 => (Kind::Sessions, 51),
                2..=3 => (Kind::Files, 63),
                _ => (Kind::Flbs, 63),
            };
            // Mostly few, at times as many as there can be.
            let entries = match this.u.int_in_range(0..=7)? {
                0..=5 => this.u.int_in_range(1..=3)?,
                6 => most,
                _ => 0,
            };
            // Only to pages that are there already, so without circles.
            let next = match this.u.ratio(1, 2)? {
                true => this.head(kind)?,
                false => 0,
            };

            this.pages.push(Page {
                kind,
                taken: false,
                next,
                entries,
            });
        }

        let mut pages = BTreeMap::new();
        for index in 1..this.pages.len() {
            let page = this.page(index)?;

            pages.insert(address_of(index), page);
        }

        let mut root = Vec::new();
        let count = this.pages.len();
        let sessions = this.head(Kind::Sessions)?;
        let flbs = this.head(Kind::Flbs)?;
        root.extend(this.text::<8>("luo-v5")?);
        root.extend(this.u.arbitrary::<u64>()?.to_ne_bytes());
        root.extend(this.address(sessions)?.to_ne_bytes());
        root.extend(this.address(flbs)?.to_ne_bytes());
        let size = this.number(root.len() as u64)?;
        root.resize(PAGE_SIZE, 0);
        pages.insert(address_of(0), root);

        let at = address_of(0).wrapping_add(this.number(0)?);
        let mut image = Self {
            entry: this.sane()?.then_some((at, size as usize)),
            pages,
            next_format: this.u.choose(&[c"luo-v5", c"luo-fdt"])?,
        };

        // Whatever the above does not think of.
        while !this.u.is_empty() {
            let (index, at, value) = this.u.arbitrary::<(u8, u16, u8)>()?;

            if let Some(page) = image.pages.get_mut(&address_of(index as usize % count)) {
                page[at as usize % PAGE_SIZE] = value;
            }
        }
        Ok(image)
    }
}
