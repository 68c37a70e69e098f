// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::luo_session`]: names, and what becomes of a hand-over that is sound or
//! damaged, in memory that only these tests believe to have been handed over.

use super::*;
use crate::block::tests::Pages;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::types::Opaque;

struct Ops(bindings::liveupdate_file_ops);

// SAFETY: The callbacks are functions, and there is no module.
unsafe impl Sync for Ops {}

/// A handler that nobody calls: reading a hand-over only looks for its name.
fn handler() -> Result<NonNull<bindings::liveupdate_file_handler>> {
    extern "C" fn can_preserve(
        _: *mut bindings::liveupdate_file_handler,
        _: *mut bindings::file,
    ) -> bool {
        false
    }
    extern "C" fn fails(_: *mut bindings::liveupdate_file_op_args) -> c_int {
        EINVAL.to_errno()
    }
    extern "C" fn nothing(_: *mut bindings::liveupdate_file_op_args) {}

    static OPS: Ops = Ops(bindings::liveupdate_file_ops {
        can_preserve: Some(can_preserve),
        preserve: Some(fails),
        unpreserve: Some(nothing),
        retrieve: Some(fails),
        finish: Some(nothing),
        ..pin_init::zeroed()
    });
    let mut compatible = [0; 48];
    crate::abi::put(&mut compatible, b"kunit");

    let handler = KBox::new(
        Opaque::new(bindings::liveupdate_file_handler {
            ops: &OPS.0,
            compatible,
            ..pin_init::zeroed()
        }),
        GFP_KERNEL,
    )?;
    NonNull::new(Opaque::cast_into(KBox::into_raw(handler))).ok_or(EINVAL)
}

/// An orchestrator of the tests' own, with a handler "kunit". It is never freed, as sessions keep
/// it for ever.
fn sessions() -> Result<&'static Sessions> {
    let sessions = KBox::pin_init(
        Sessions::new(Handover::Restored, HandedOver::nothing()),
        GFP_KERNEL,
    )?;
    let leaked: *const Sessions = &*sessions;
    mem::forget(sessions);
    // SAFETY: It is pinned, and never freed.
    let sessions = unsafe { &*leaked };

    // SAFETY: The handler is complete, and never freed.
    unsafe { sessions.registry.register(handler()?) }?;
    Ok(sessions)
}

const SESSION: usize = size_of::<wire::Session>() / 8;
const FILE: usize = size_of::<wire::File>() / 8;

/// Two sessions, "a" and "b", in page 0, with three and one files in pages 1 and 2.
fn hand_over() -> Result<Pages> {
    let mut pages = Pages::chain(&[2, 3, 1])?;

    for page in 0..3 {
        pages.word(page, 0, 0);
    }
    for (session, files) in [3, 1].into_iter().enumerate() {
        let at = 2 + session * SESSION;

        pages.word(0, at, u64::from(b'a') + session as u64);
        pages.word(0, at + 8, Pages::phys(1 + session));
        pages.word(0, at + 9, files);
        for file in 0..files as usize {
            let at = 2 + file * FILE;

            pages.word(1 + session, at, u64::from_le_bytes(*b"kunit\0\0\0"));
            pages.word(1 + session, at + 6, 1000);
            pages.word(1 + session, at + 7, file as u64);
        }
    }
    Ok(pages)
}

/// Reads a hand-over that begins in page 0.
fn read(sessions: &'static Sessions, pages: &Pages) -> Result<usize> {
    let chain = Blocks::follow(pages, "luo_ser", "sessions_pa", Pages::phys(0));
    let chain = chain.map_err(|reason| refuse(reason, None))?;
    let mut blocks = KVVec::new();

    let table = IncomingTable::read(sessions, pages, &chain, &mut blocks)?;
    assert_eq!(blocks.len(), 3);
    Ok(table.iter().count())
}

#[kunit_tests(luo_session)]
mod suite {
    use super::*;

    #[test]
    fn names() {
        let mut field = [0; 64];

        assert!(Name::new(&field).is_none());
        field[1] = b'x';
        assert!(Name::new(&field).is_none());

        let mut field = [b'n'; 64];
        assert!(Name::new(&field).is_none());
        field[63] = 0;
        assert!(Name::new(&field).is_some_and(|name| name.as_bytes() == &field[..63]));

        // What stands behind the NUL is no part of the name.
        field[5] = 0;
        let mut short = [0; 64];
        short[..5].fill(b'n');
        assert!(Name::new(&field) == Name::new(&short));
        assert!(Name::new(&field).is_some_and(|name| name.as_bytes() == b"nnnnn"));

        // Any other byte is one like all others.
        let mut field = [0xff; 64];
        field[63] = 0;
        assert!(Name::new(&field).is_some_and(|name| name.as_bytes().len() == 63));
    }

    #[test]
    fn names_are_unique() -> Result {
        let sessions = sessions()?;
        let name = |byte| {
            let mut field = [0; 64];

            field[0] = byte;
            Name::new(&field).ok_or(EINVAL)
        };
        let mut table = sessions.outgoing.lock();

        let first = table.add(sessions, name(b'a')?)?;
        let second = table.add(sessions, name(b'b')?)?;
        assert!(table
            .add(sessions, name(b'a')?)
            .is_err_and(|err| err == EEXIST));
        assert_eq!(table.count, 2);

        table.remove(&first);
        // Removed twice is removed once.
        table.remove(&first);
        assert_eq!(table.count, 1);
        let third = table.add(sessions, name(b'a')?)?;
        assert!(third.number > second.number);

        table.remove(&second);
        table.remove(&third);
        assert_eq!(table.count, 0);
        assert_eq!(table.blocks.head(), 0);
        Ok(())
    }

    #[test]
    fn a_refused_name_takes_no_block() -> Result {
        let sessions = sessions()?;
        let mut table = sessions.outgoing.lock();
        let mut field = [0; 64];

        for index in 0..wire::SESSIONS_PER_BLOCK {
            field[0] = index as u8 + 1;
            table.add(sessions, Name::new(&field).ok_or(EINVAL)?)?;
        }
        assert!(table
            .add(sessions, Name::new(&field).ok_or(EINVAL)?)
            .is_err());
        // One block holds them all: one entry more does not fit.
        let count = table.count;
        let (name, file_set) = ([0; 64], wire::FileSet { files: 0, count: 0 });
        assert!(table
            .blocks
            .write(count, wire::Session { name, file_set })
            .is_err());
        Ok(())
    }

    #[test]
    fn a_sound_hand_over() -> Result {
        assert_eq!(read(sessions()?, &hand_over()?)?, 2);
        Ok(())
    }

    #[test]
    fn damaged_hand_overs() -> Result {
        let sessions = sessions()?;
        let all = u64::MAX;
        let b = 2 + SESSION;
        let second_file = 2 + FILE;

        for (page, at, value) in [
            // Names: empty, without a NUL from here on, of another session.
            (0, 2, 0),
            (0, b, u64::from(b'a')),
            // Files: nowhere, unaligned, the sessions' own block, the other session's block.
            (0, 2 + 8, 0),
            (0, 2 + 8, Pages::phys(1) + 8),
            (0, 2 + 8, Pages::phys(77)),
            (0, 2 + 8, Pages::phys(0)),
            (0, 2 + 8, Pages::phys(2)),
            // Counts: one off, none, all.
            (0, 2 + 9, 2),
            (0, 2 + 9, 4),
            (0, 2 + 9, 0),
            (0, 2 + 9, all),
            (1, 1, 2),
            (1, 1, 0),
            (1, 1, all),
            // Links: to itself, to the sessions' block, to the other session's.
            (1, 0, Pages::phys(1)),
            (1, 0, Pages::phys(0)),
            (1, 0, Pages::phys(2)),
            // A handler that nobody knows.
            (1, second_file, u64::from_le_bytes(*b"kunix\0\0\0")),
            // The token of the first file.
            (1, second_file + 7, 0),
        ] {
            let mut pages = hand_over()?;

            pages.word(page, at, value);
            assert_eq!(read(sessions, &pages), Err(EIO));
        }

        let mut pages = hand_over()?;
        for word in 0..8 {
            pages.word(0, 2 + word, all);
        }
        assert_eq!(read(sessions, &pages), Err(EIO));

        let mut pages = hand_over()?;
        for word in 0..6 {
            pages.word(1, 2 + word, all);
        }
        assert_eq!(read(sessions, &pages), Err(EIO));
        Ok(())
    }

    #[test]
    fn a_block_of_two_sessions() -> Result {
        let mut pages = hand_over()?;

        // Both have one file now, and it is the same.
        pages.word(0, 2 + 8, Pages::phys(2));
        pages.word(0, 2 + 9, 1);
        assert_eq!(read(sessions()?, &pages), Err(EIO));
        Ok(())
    }
}
