// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::handover`]: which root record is believed, when a verdict is final, what is
//! copied and what is released. What damage is noticed in the records is tested beside those who
//! use them, in `session.rs`, `flb.rs` and `hostile.rs`.

use super::*;
use crate::{
    abi::{
        format::FORMATS,
        luo_v5::LuoV5, //
    },
    block::tests::Pages,
    common::HandedOverPages,
    kho_tests::handed_over,
    luo_session::tests::logged, //
};
use kernel::fdt::Writer;

impl HandOver {
    /// None.
    pub(crate) fn nothing() -> Self {
        Self::sound(Contents::nothing())
    }

    /// One that was read, from wherever.
    pub(crate) fn sound(contents: Contents) -> Self {
        Self {
            verdict: Verdict::Sound(contents),
            ..Self::new(handed_over())
        }
    }

    /// One that cannot be believed.
    pub(crate) fn damaged() -> Self {
        Self {
            verdict: Verdict::Damaged(
                None,
                Damage::new("record", "field", Found::Nothing, "for a test"),
            ),
            ..Self::nothing()
        }
    }
}

impl Contents {
    /// Only FLBs, if there are any.
    pub(crate) fn of_flbs(flbs: Option<KVec<FlbRecord>>) -> Self {
        Self {
            flbs,
            ..Self::nothing()
        }
    }

    /// The pages that it was read from.
    pub(crate) fn pages(&self) -> &Claimed {
        &self.pages
    }

    /// The sessions.
    pub(crate) fn sessions(&self) -> &Table<SessionRecord> {
        &self.sessions
    }
}

/// Reads the hand-over whose first block of sessions is at `sessions_pa`. What is refused is in the
/// log, and `EIO`.
pub(crate) fn contents_of(
    memory: &impl Memory,
    format: &dyn Format,
    sessions_pa: u64,
    flbs_pa: u64,
) -> Result<Contents> {
    let root = format::Root {
        liveupdate_num: 1,
        sessions_pa,
        flbs_pa,
    };

    told(|session| read_records(memory, format, &root, true, session))
}

fn told(read: impl FnOnce(&mut Option<Name>) -> Result<Contents, ReadError>) -> Result<Contents> {
    let mut session = None;

    read(&mut session).map_err(|reason| {
        let verdict = verdict(reason, session);

        verdict.err().unwrap_or(EIO)
    })
}

/// Reads a hand-over from its root record on.
pub(crate) fn contents_from_root(memory: &impl Memory, phys: u64, size: usize) -> Result<Contents> {
    told(|session| {
        let (format, root) = read_root(memory, phys, size)?;

        read_records(memory, format, &root, true, session)
    })
}

/// Reads the files of a session; and in how many blocks they are.
pub(crate) fn files_of(
    memory: &impl Memory,
    set: &wire::FileSet,
) -> Result<(Table<wire::File>, usize), ReadError> {
    let mut reader = Reader::new(memory);
    let mut records = KVVec::new();

    reader.read_chain(PAGE_SIZE, ("set", "files"), set.files, &mut records)?;
    Ok((read_files(&records)?, reader.claimed.len()))
}

/// Reads a page of FLBs whose address was found in `record.field`.
pub(crate) fn flbs_at(
    memory: &impl Memory,
    phys: u64,
) -> Result<Option<KVec<FlbRecord>>, ReadError> {
    read_flbs(memory, ("record", "field"), phys)
}

/// A root record in page 0.
fn root_record(compatible: &[u8; 8]) -> Result<Pages> {
    let mut pages = Pages::chain(&[0])?;

    for (at, word) in [u64::from_ne_bytes(*compatible), 1, 2, 3]
        .into_iter()
        .enumerate()
    {
        pages.word(0, at, word);
    }
    Ok(pages)
}

/// The record and the field for which a root record is refused.
fn refusal(
    root: Result<(&dyn Format, format::Root), ReadError>,
) -> Option<(&'static str, &'static str)> {
    match root {
        Err(ReadError::Damaged(Damage { record, field, .. })) => Some((record, field)),
        _ => None,
    }
}

/// Memory whose page 1 is gone after so many looks at it.
struct Vanishing(Pages, Atomic<u32>);

impl Memory for Vanishing {
    fn copy(&self, extent: Extent, offset: usize, to: &mut [u8]) -> Option<()> {
        if extent.phys == Pages::phys(1) && self.1.fetch_sub(1, Relaxed) == 0 {
            return None;
        }
        self.0.copy(extent, offset, to)
    }

    fn release(&mut self, _: impl IntoIterator<Item = Extent>) {}
}

/// What the log says of a hand-over that is refused as its page 1 is gone after so many looks.
fn refusal_without(pages: Pages, looks: u32, sessions_pa: u64, flbs_pa: u64) -> Result<KVec<u8>> {
    let memory = Vanishing(pages, Atomic::new(looks));
    let mut result = Ok(());
    let log = logged(|| {
        result = contents_of(&memory, &LuoV5, sessions_pa, flbs_pa).map(drop);
    })?;

    assert_eq!(result, Err(EIO));
    Ok(log)
}

#[kunit_tests(luo_handover)]
mod suite {
    use super::*;

    #[test]
    fn a_root_record_of_this_version_is_believed() -> Result {
        let pages = root_record(b"luo-v5\0\0")?;

        for size in [32, 33, PAGE_SIZE] {
            let Ok((format, root)) = read_root(&pages, Pages::phys(0), size) else {
                return Err(EINVAL);
            };
            assert_eq!(format.name(), "luo-v5");
            assert_eq!(root.liveupdate_num, 1);
            assert_eq!((root.sessions_pa, root.flbs_pa), (2, 3));
        }
        Ok(())
    }

    #[test]
    fn a_root_blob_is_recognised_by_what_is_in_it() -> Result {
        let mut page = HandedOverPages::new(0)?;
        let content = format::Root {
            liveupdate_num: 1,
            sessions_pa: 2,
            flbs_pa: 3,
        };

        for format in FORMATS {
            let size = format.blob_size();

            format.write(page.words().as_mut_bytes(), &content)?;
            let Ok((found, root)) = read_root(&handed_over(), page.phys(), size) else {
                return Err(EINVAL);
            };
            assert_eq!((found.name(), root), (format.name(), content));

            // A blob larger than a page does not exist, whatever KHO's entry says.
            let root = read_root(&handed_over(), page.phys(), usize::MAX);
            assert!(root.is_ok_and(|(_, root)| root == content));
        }
        Ok(())
    }

    #[test]
    fn a_device_tree_of_another_version_is_refused() -> Result {
        let mut page = HandedOverPages::new(0)?;

        Writer::write(page.words().as_mut_bytes(), |tree| {
            tree.property(c"compatible", b"luo-v2\0")?;
            tree.property(c"liveupdate-number", &[0; 8])
        })?;
        let root = read_root(&handed_over(), page.phys(), PAGE_SIZE);
        assert!(refusal(root).is_some_and(|what| what == ("luo-fdt", "compatible")));
        Ok(())
    }

    #[test]
    fn a_root_record_of_another_version_is_refused() -> Result {
        for version in [
            b"luo-v4\0\0",
            b"luo-v6\0\0",
            b"LUO-V5\0\0",
            b"luo-v5xx",
            b"luo-v5\0x",
            b"luo-v\0\0\0",
            b"\0\0\0\0\0\0\0\0",
        ] {
            let root = read_root(&root_record(version)?, Pages::phys(0), 32);
            assert!(refusal(root).is_some_and(|what| what == ("luo_ser", "compatible")));
        }
        Ok(())
    }

    #[test]
    fn a_root_record_too_short_is_refused() -> Result {
        let pages = root_record(b"luo-v5\0\0")?;

        for size in 0..32 {
            let root = read_root(&pages, Pages::phys(0), size);
            assert!(refusal(root).is_some_and(|what| what == ("LUO", "blob-size")));
        }
        Ok(())
    }

    #[test]
    fn a_root_record_that_was_not_handed_over_is_refused() -> Result {
        let pages = root_record(b"luo-v5\0\0")?;

        for phys in [0, 1, Pages::phys(0) + 8, Pages::phys(1), u64::MAX] {
            let root = read_root(&pages, phys, 32);
            assert!(refusal(root).is_some_and(|what| what == ("LUO", "preserved-data")));
        }
        Ok(())
    }

    #[test]
    fn a_damaged_hand_over_stays_so() -> Result {
        let mut it = HandOver::damaged();

        for _ in 0..2 {
            assert_eq!(it.contents().err(), Some(EIO));
        }
        Ok(())
    }

    #[test]
    fn where_nothing_was_handed_over_there_is_nothing() -> Result {
        // KHO has no entry for LUO in a kernel that no other one started.
        for mut it in [HandOver::nothing(), HandOver::new(handed_over())] {
            let contents = it.contents()?;

            assert_eq!(contents.take_sessions().len(), 0);
            assert!(contents.flbs().is_none());
            it.release();
            assert_eq!(it.liveupdate_num(), 0);
        }
        Ok(())
    }

    /// As many links as there are blocks, the second of which is gone when it is due.
    #[test]
    fn a_block_that_is_gone_is_noticed() -> Result {
        for looks in 0..2 {
            let mut pages = Pages::chain(&[1, 1, 1])?;

            for page in 0..3 {
                pages.word(page, 2, u64::from(b'a') + page as u64);
            }
            let log = refusal_without(pages, looks, Pages::phys(0), 0)?;
            let line = b"luo: refused what the previous kernel handed over (session '-'): \
                kho_block_header_ser.next is 0x80000: not a page that was handed over\n";
            assert_eq!(*log, *line);
        }
        Ok(())
    }

    #[test]
    fn a_page_of_flbs_that_is_gone_is_noticed() -> Result {
        for looks in 0..2 {
            let mut pages = Pages::chain(&[0, 1])?;

            // One page, and in it an FLB of one file.
            for (at, word) in [(0, 1), (2, u64::from(b'x')), (2 + 7, 1)] {
                pages.word(1, at, word);
            }
            let log = refusal_without(pages, looks, 0, Pages::phys(1))?;
            let line = b"luo: refused what the previous kernel handed over (session '-'): \
                luo_ser.flbs_pa is 0x80000: not a page that was handed over\n";
            assert_eq!(*log, *line);
        }
        Ok(())
    }

    #[test]
    fn what_is_copied_does_not_change_with_its_memory() -> Result {
        let mut page = HandedOverPages::new(0)?;

        page.words()[1] = 1;
        page.words()[2] = u64::from(b'a');
        let contents = contents_of(&handed_over(), &LuoV5, page.phys(), 0)?;
        page.words().fill(u64::MAX);

        let mut names = contents.sessions().iter().map(|it| it.name.as_bytes());
        assert!(names.next() == Some(b"a".as_slice()) && names.next().is_none());
        Ok(())
    }

    #[test]
    fn pages_are_released_once_and_only_if_sound() -> Result {
        let mut page = HandedOverPages::new(0)?;

        page.words()[1] = 1;
        page.words()[2] = u64::from(b'a');
        let contents = contents_of(&handed_over(), &LuoV5, page.phys(), 0)?;
        let mut it = HandOver::sound(contents);

        assert!(handed_over().read::<u64>(page.extent()).is_some());
        it.release();
        assert!(handed_over().read::<u64>(page.extent()).is_none());
        it.release();
        assert_eq!(it.contents()?.take_sessions().len(), 1);

        let mut it = HandOver::damaged();
        let page = HandedOverPages::new(0)?;
        it.release();
        assert!(handed_over().read::<u64>(page.extent()).is_some());
        Ok(())
    }
}
