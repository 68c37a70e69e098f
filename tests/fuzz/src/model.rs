// SPDX-License-Identifier: GPL-2.0

//! What a hand-over says, if it can be believed: `Documentation/abi.rst` once more, with no concern
//! for anything but being right.

use crate::image::Image;
use crate::image::KNOWN;
use kernel::page::PAGE_SIZE;
use std::collections::BTreeSet;

/// A file: token, compatible string, data.
pub type File = (u64, Vec<u8>, u64);

/// A session, and its files in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The name.
    pub name: Vec<u8>,
    /// The files.
    pub files: Vec<File>,
}

/// An FLB.
#[derive(Debug)]
pub struct Flb {
    /// The compatible string.
    pub name: Vec<u8>,
    /// Its data.
    pub data: u64,
}

/// What stands in a sound hand-over.
#[derive(Default)]
pub struct Contents {
    /// The FLBs, if there is a page of them.
    pub flbs: Option<Vec<Flb>>,
    /// The sessions, in order.
    pub sessions: Vec<Session>,
    /// The pages that nobody needs any more.
    pub pages: BTreeSet<u64>,
}

impl Contents {
    /// The compatible strings of files that nobody here knows.
    pub fn unknown(&self) -> BTreeSet<&[u8]> {
        let files = self.sessions.iter().flat_map(|session| &session.files);

        files
            .map(|(_, compatible, _)| compatible.as_slice())
            .filter(|compatible| !KNOWN[..2].iter().any(|it| it.as_bytes() == *compatible))
            .collect()
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// What stands before the first NUL.
fn string(field: &[u8]) -> Option<Vec<u8>> {
    let end = field.iter().position(|&byte| byte == 0)?;

    Some(field[..end].to_vec())
}

/// The entries in a page, if there is room for so many.
fn entries(page: &[u8], size: usize) -> Option<impl Iterator<Item = &[u8]>> {
    let count = u64_at(page, 8);
    let room = (PAGE_SIZE - 16) / size;

    (count <= room as u64).then(|| page[16..].chunks_exact(size).take(count as usize))
}

/// The entries of a chain of blocks, and where the blocks are.
fn chain(image: &Image, head: u64, size: usize) -> Option<(Vec<Vec<u8>>, Vec<u64>)> {
    let mut found = Vec::new();
    let mut blocks = Vec::new();
    let mut address = head;

    while address != 0 {
        if blocks.contains(&address) {
            return None;
        }

        let block = image.pages.get(&address)?;
        let (next, count) = (u64_at(block, 0), u64_at(block, 8));

        // Empty is only the last of several, which C may write.
        if count == 0 && (blocks.is_empty() || next != 0) {
            return None;
        }
        found.extend(entries(block, size)?.map(<[u8]>::to_vec));
        blocks.push(address);
        address = next;
    }
    Some((found, blocks))
}

/// Whether two of them are the same.
fn twice<T: Ord>(all: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();

    !all.into_iter().all(|it| seen.insert(it))
}

impl Image {
    fn flbs(&self, address: u64) -> Option<Vec<Flb>> {
        let page = self.pages.get(&address)?;

        if u64_at(page, 0) != 1 {
            return None;
        }

        let flbs = entries(page, 64)?
            .map(|entry| {
                let name = string(&entry[..48])?;
                let files = u64_at(entry, 56);
                let data = u64_at(entry, 48);

                (!name.is_empty() && (1..=u32::MAX.into()).contains(&files))
                    .then_some(Flb { name, data })
            })
            .collect::<Option<Vec<_>>>()?;

        (!twice(flbs.iter().map(|flb| &flb.name))).then_some(flbs)
    }

    /// The root record.
    fn root(&self) -> Option<&[u8]> {
        let (address, size) = self.entry?;
        let root = self.pages.get(&address)?;

        (size >= 32 && root.starts_with(b"luo-v5\0\0")).then_some(root)
    }

    /// The number of live updates up to now.
    pub fn number(&self) -> u64 {
        self.root().map_or(0, |root| u64_at(root, 8))
    }

    fn session(&self, record: &[u8], pages: &mut Vec<u64>) -> Option<Session> {
        let name = string(&record[..64]).filter(|name| !name.is_empty())?;
        let (head, count) = (u64_at(record, 64), u64_at(record, 72));
        let (files, blocks) = chain(self, head, 64)?;

        let files = files
            .iter()
            .map(|file| {
                let compatible = string(&file[..48])?;

                Some((u64_at(file, 56), compatible, u64_at(file, 48)))
            })
            .collect::<Option<Vec<_>>>()?;

        pages.extend(blocks);
        (files.len() as u64 == count && !twice(files.iter().map(|(token, ..)| token)))
            .then_some(Session { name, files })
    }

    /// What stands in it; [`None`] if that cannot be believed.
    pub fn contents(&self) -> Option<Contents> {
        let Some((address, _)) = self.entry else {
            return Some(Contents::default());
        };
        let root = self.root()?;
        let (records, mut pages) = chain(self, u64_at(root, 16), 80)?;
        let sessions = records
            .iter()
            .map(|record| self.session(record, &mut pages))
            .collect::<Option<Vec<_>>>()?;
        let flbs = match u64_at(root, 24) {
            0 => None,
            address => {
                pages.push(address);
                Some(self.flbs(address)?)
            }
        };

        pages.push(address);
        if twice(sessions.iter().map(|session| &session.name)) || twice(&pages) {
            return None;
        }
        Some(Contents {
            flbs,
            sessions,
            pages: pages.into_iter().collect(),
        })
    }
}
