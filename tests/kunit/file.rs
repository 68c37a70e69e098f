// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::luo_file`]: which callbacks are made in the life of a preserved file, in which
//! order, and what is undone when one of them refuses.

use super::*;
use crate::{
    block::ReadError,
    common::preserved_order,
    mock::{
        number_of,
        World,
        FILES_PER_BLOCK, //
    }, //
};
use kernel::bindings;

/// The errno with which reading failed.
fn errno<T>(result: Result<T, ReadError>) -> Option<Error> {
    match result {
        Ok(_) => None,
        Err(ReadError::Kernel(err)) => Some(err),
        Err(ReadError::Damaged(_)) => Some(EIO),
    }
}

/// A world with a handler `a` for all files.
pub(crate) fn world() -> Result<World> {
    let mut world = World::new()?;

    world.registered('a', 0..1000)?;
    Ok(world)
}

/// What the next kernel makes of files 1 to `count`.
pub(super) fn handed_over(count: u64) -> Result<(World, Pin<KBox<IncomingFiles>>)> {
    let mut this = world()?;
    let mut next = world()?;
    let files = this.preserved(1..count + 1)?;

    for number in 1..count + 1 {
        next.file(number)?;
    }
    let (incoming, _) = next.read(&files.freeze()?).map_err(|_| EIO)?;
    Ok((next, incoming))
}

/// Nobody holds the ids of these files: they can be preserved.
fn check_ids(world: &mut World, numbers: core::ops::Range<u64>) -> Result {
    drop(world.preserved(numbers)?);
    world.forget();
    world.settled()
}

/// Files: token and data of each.
pub(crate) type Meaning = KVec<(u64, u64)>;

impl IncomingFiles {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.set.lock().files.len()
    }

    /// What was read, in order.
    pub(crate) fn meaning(&self) -> Result<Meaning> {
        let set = self.set.lock();
        let mut files = KVec::with_capacity(set.files.len(), GFP_KERNEL)?;

        for (token, file) in set.files.iter() {
            if let IncomingPlace::Here(it) = file {
                files.push((*token, it.file.data()), GFP_KERNEL)?;
            }
        }
        Ok(files)
    }
}

#[kunit_tests(luo_file)]
mod suite {
    use super::*;

    #[test]
    fn preserved_in_order_undone_in_reverse() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..4)?;

        world.expect(
            "a.can_preserve(1) a.preserve(1,0,0) \
             a.can_preserve(2) a.preserve(2,0,0) \
             a.can_preserve(3) a.preserve(3,0,0)",
        )?;
        assert_eq!(world.references(2)?, 1);

        drop(files);
        world.expect("a.unpreserve(3,103,0) a.unpreserve(2,102,0) a.unpreserve(1,101,0)")?;
        world.settled()?;
        check_ids(&mut world, 1..4)
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn module_pinned_by_each_file() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..4)?;

        assert_eq!(world.pins(), 3);
        let (incoming, _) = world.read(&files.freeze()?).map_err(|_| EIO)?;
        assert_eq!(world.pins(), 6);
        drop(files);
        assert_eq!(world.pins(), 3);
        drop(incoming);
        world.settled()
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn no_handler_whose_module_is_going() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..2)?;
        let set = files.freeze()?;
        let fd = world.file(2)?;
        world.forget();

        world.going(true);
        assert_eq!(files.preserve_fd(world.registry(), 2, fd), Err(ENOENT));
        assert_eq!(errno(world.read(&set)), Some(ENOENT));
        world.expect("a.can_preserve(2)")?;

        world.going(false);
        files.preserve_fd(world.registry(), 2, fd)?;
        drop(files);
        world.settled()
    }

    #[test]
    fn frozen_in_order_unfrozen_in_reverse() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..4)?;
        world.forget();

        assert_eq!(files.freeze()?.count, 3);
        world.expect("a.freeze(1,101,0) a.freeze(2,102,0) a.freeze(3,103,0)")?;
        files.unfreeze();
        world.expect("a.unfreeze(3,1103,0) a.unfreeze(2,1102,0) a.unfreeze(1,1101,0)")?;
        files.freeze()?;
        world.expect("a.freeze(1,1101,0) a.freeze(2,1102,0) a.freeze(3,1103,0)")?;
        files.unfreeze();
        world.forget();

        drop(files);
        world.expect("a.unpreserve(3,2103,0) a.unpreserve(2,2102,0) a.unpreserve(1,2101,0)")?;
        world.settled()
    }

    #[test]
    fn no_files() -> Result {
        let world = world()?;
        let files = OutgoingFiles::none()?;
        let set = files.freeze()?;

        assert_eq!((set.files, set.count), (0, 0));
        let (incoming, blocks) = world.read(&set).map_err(|_| EIO)?;
        assert_eq!(blocks, 0);
        incoming.finish(world.registry())?;
        world.expect("")
    }

    #[test]
    fn retrieved_by_token_once() -> Result {
        let (world, files) = handed_over(3)?;

        for number in [2, 3, 1] {
            let file = files.retrieve(world.registry(), number)?;

            assert_eq!(number_of(&file), number);
        }
        world.expect("a.retrieve(-,1102,0) a.retrieve(-,1103,0) a.retrieve(-,1101,0)")?;

        let again = files.retrieve(world.registry(), 2)?;
        assert_eq!(number_of(&again), 2);
        assert_eq!(world.references(2)?, 2);
        drop(again);
        assert_eq!(world.references(2)?, 1);
        assert!(files
            .retrieve(world.registry(), 4)
            .is_err_and(|err| err == ENOENT));
        world.expect("")?;

        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(1,1101,1) a.can_finish(2,1102,1) a.can_finish(3,1103,1) \
             a.finish(3,1103,1) a.finish(2,1102,1) a.finish(1,1101,1)",
        )?;
        world.settled()?;

        // They are gone.
        files.finish(world.registry())?;
        assert!(files
            .retrieve(world.registry(), 2)
            .is_err_and(|err| err == ENOENT));
        world.expect("")
    }

    #[test]
    fn a_handler_makes_its_file_once() -> Result {
        for answer in [Ok(()), Err(EILSEQ)] {
            let (world, files) = handed_over(1)?;
            let fellows = files.asker(world.registry(), 1).fellows();
            let mut file = files.set.lock().take_away(0).ok_or(ENOENT)?;

            if let Err(err) = answer {
                world.refuse("a.retrieve", 0, err);
            }
            for calls in ["a.retrieve(-,1101,0)", ""] {
                let made = file.file.retrieve(&fellows);

                assert_eq!(made.map(|file| number_of(&file)), answer.map(|()| 1));
                world.expect(calls)?;
            }
        }
        Ok(())
    }

    #[test]
    fn finished_unretrieved() -> Result {
        let (world, files) = handed_over(3)?;

        files.retrieve(world.registry(), 2)?;
        world.forget();
        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(2,1102,1) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(2,1102,1) a.finish(-,1101,0)",
        )?;
        world.settled()
    }

    #[test]
    fn dropped_unfinished() -> Result {
        let (world, files) = handed_over(3)?;

        files.retrieve(world.registry(), 2)?;
        world.forget();
        drop(files);
        world.expect("")?;
        world.settled()
    }

    #[test]
    fn none_finished_unless_all_can() -> Result {
        for (call, calls) in [
            ("a.can_finish(-,1101", "a.can_finish(-,1101,0)"),
            (
                "a.can_finish(2,1102",
                "a.can_finish(-,1101,0) a.can_finish(2,1102,1)",
            ),
            (
                "a.can_finish(-,1103",
                "a.can_finish(-,1101,0) a.can_finish(2,1102,1) a.can_finish(-,1103,0)",
            ),
        ] {
            let (world, files) = handed_over(3)?;

            files.retrieve(world.registry(), 2)?;
            world.forget();
            world.refuse(call, 0, EBUSY);
            assert_eq!(files.finish(world.registry()), Err(EBUSY));
            world.expect(calls)?;

            files.retrieve(world.registry(), 1)?;
            world.expect("a.retrieve(-,1101,0)")?;
            files.finish(world.registry())?;
            world.expect(
                "a.can_finish(1,1101,1) a.can_finish(2,1102,1) a.can_finish(-,1103,0) \
                 a.finish(-,1103,0) a.finish(2,1102,1) a.finish(1,1101,1)",
            )?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn refused_retrieve_is_remembered() -> Result {
        for refused in 1..4 {
            let (world, files) = handed_over(3)?;

            world.refuse("a.retrieve", refused - 1, EILSEQ);
            for number in 1..4 {
                let file = files.retrieve(world.registry(), number);

                assert_eq!(
                    file.is_err_and(|err| err == EILSEQ),
                    number == refused as u64
                );
            }
            world.expect("a.retrieve(-,1101,0) a.retrieve(-,1102,0) a.retrieve(-,1103,0)")?;

            let again = files.retrieve(world.registry(), refused as u64);
            assert!(again.is_err_and(|err| err == EILSEQ));
            world.expect("")?;

            files.finish(world.registry())?;
            world.expect(match refused {
                1 => {
                    "a.can_finish(-,1101,-84) a.can_finish(2,1102,1) a.can_finish(3,1103,1) \
                     a.finish(3,1103,1) a.finish(2,1102,1) a.finish(-,1101,-84)"
                }
                2 => {
                    "a.can_finish(1,1101,1) a.can_finish(-,1102,-84) a.can_finish(3,1103,1) \
                     a.finish(3,1103,1) a.finish(-,1102,-84) a.finish(1,1101,1)"
                }
                _ => {
                    "a.can_finish(1,1101,1) a.can_finish(2,1102,1) a.can_finish(-,1103,-84) \
                     a.finish(-,1103,-84) a.finish(2,1102,1) a.finish(1,1101,1)"
                }
            })?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn retrieve_that_makes_no_file() -> Result {
        let mut this = world()?;
        let next = world()?;
        let files = this.preserved(1..2)?;
        let (incoming, _) = next.read(&files.freeze()?).map_err(|_| EIO)?;

        // There is no such file in the next world, and `retrieve` says that all is well.
        for calls in ["a.retrieve(-,1101,0)", ""] {
            let file = incoming.retrieve(next.registry(), 1);

            assert!(file.is_err_and(|err| err == EINVAL));
            next.expect(calls)?;
        }
        Ok(())
    }

    #[test]
    fn retrieved_file_is_spoken_for() -> Result {
        let (mut world, files) = handed_over(3)?;
        let fd = world.file(101)?;
        let outgoing = OutgoingFiles::none()?;

        files.retrieve(world.registry(), 1)?;
        assert_eq!(outgoing.preserve_fd(world.registry(), 1, fd), Err(EBUSY));
        files.finish(world.registry())?;
        outgoing.preserve_fd(world.registry(), 1, fd)?;
        drop(outgoing);
        world.settled()
    }

    #[test]
    fn retrieved_though_its_id_is_taken() -> Result {
        let (mut world, files) = handed_over(3)?;
        let outgoing = world.preserved(101..102)?;

        assert_eq!(number_of(&*files.retrieve(world.registry(), 1)?), 1);
        files.finish(world.registry())?;

        // That did not free the id.
        let fd = world.file(1)?;
        let others = OutgoingFiles::none()?;
        assert_eq!(others.preserve_fd(world.registry(), 1, fd), Err(EBUSY));
        drop(outgoing);
        others.preserve_fd(world.registry(), 1, fd)
    }

    #[test]
    fn first_handler_that_can() -> Result {
        let mut world = World::new()?;
        world.registered('a', 0..10)?;
        world.registered('b', 5..20)?;

        let files = world.preserved(4..6)?;
        world.expect(
            "a.can_preserve(4) a.preserve(4,0,0) \
             a.can_preserve(5) a.preserve(5,0,0)",
        )?;
        let others = world.preserved(10..11)?;
        world.expect("a.can_preserve(10) b.can_preserve(10) b.preserve(10,0,0)")?;

        let fd = world.file(20)?;
        assert_eq!(files.preserve_fd(world.registry(), 20, fd), Err(ENOENT));
        world.expect("a.can_preserve(20) b.can_preserve(20)")?;

        drop(others);
        drop(files);
        world.expect("b.unpreserve(10,110,0) a.unpreserve(5,105,0) a.unpreserve(4,104,0)")?;
        world.settled()
    }

    #[test]
    fn each_file_to_its_handler() -> Result {
        let mut this = World::new()?;
        this.registered('a', 0..2)?;
        this.registered('b', 0..10)?;
        let files = this.preserved(1..4)?;
        let set = files.freeze()?;
        this.forget();

        // The order of registration is of no meaning here.
        let mut next = World::new()?;
        next.registered('b', 0..0)?;
        next.registered('a', 0..0)?;
        for number in 1..4 {
            next.file(number)?;
        }
        let (incoming, _) = next.read(&set).map_err(|_| EIO)?;
        for number in 1..4 {
            incoming.retrieve(next.registry(), number)?;
        }
        next.expect("a.retrieve(-,1101,0) b.retrieve(-,1102,0) b.retrieve(-,1103,0)")?;
        incoming.finish(next.registry())?;
        next.expect(
            "a.can_finish(1,1101,1) b.can_finish(2,1102,1) b.can_finish(3,1103,1) \
             b.finish(3,1103,1) b.finish(2,1102,1) a.finish(1,1101,1)",
        )?;
        next.settled()?;

        // Nor is anything kept of a hand-over with a handler that is missing.
        let mut last = World::new()?;
        last.registered('a', 0..0)?;
        assert_eq!(errno(last.read(&set)), Some(ENOENT));
        last.settled()
    }

    #[test]
    fn one_file_once() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..2)?;
        let fd = world.file(101)?;
        world.forget();

        assert_eq!(files.preserve_fd(world.registry(), 2, fd), Err(EBUSY));
        let others = OutgoingFiles::none()?;
        assert_eq!(others.preserve_fd(world.registry(), 1, fd), Err(EBUSY));
        world.expect("a.can_preserve(101) a.can_preserve(101)")?;

        drop(files);
        others.preserve_fd(world.registry(), 1, fd)?;
        drop(others);
        world.settled()
    }

    #[test]
    fn one_token_once() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..2)?;
        let fd = world.file(2)?;
        world.forget();

        // The token is looked at before the descriptor.
        assert_eq!(files.preserve_fd(world.registry(), 1, -1), Err(EEXIST));
        assert_eq!(files.preserve_fd(world.registry(), 1, fd), Err(EEXIST));
        assert_eq!(files.preserve_fd(world.registry(), 2, -1), Err(EBADF));
        world.expect("")?;

        // It is that of another session as well.
        let others = OutgoingFiles::none()?;
        others.preserve_fd(world.registry(), 1, fd)?;
        drop(others);
        drop(files);
        world.settled()
    }

    #[test]
    fn without_optional_callbacks() -> Result {
        let mut world = World::new()?;
        let handler = world.handler('a', 0..1000)?;
        world.edit(handler, |ops| {
            ops.freeze = None;
            ops.unfreeze = None;
            ops.can_finish = None;
            ops.get_id = None;
        });
        world.register(handler)?;

        let files = world.preserved(1..3)?;
        // Without ids of the handler, these are two files.
        let same_id = world.preserved(101..102)?;
        world.forget();

        let set = files.freeze()?;
        files.unfreeze();
        files.freeze()?;
        let (incoming, _) = world.read(&set).map_err(|_| EIO)?;
        world.expect("")?;
        incoming.finish(world.registry())?;
        world.expect("a.finish(-,102,0) a.finish(-,101,0)")?;

        // But one file is still one.
        let fd = world.file(3)?;
        files.preserve_fd(world.registry(), 3, fd)?;
        assert_eq!(same_id.preserve_fd(world.registry(), 3, fd), Err(EBUSY));
        drop(files);
        same_id.preserve_fd(world.registry(), 3, fd)?;
        drop(same_id);
        world.settled()
    }

    #[test]
    fn incomplete_handlers() -> Result {
        let mut world = World::new()?;
        let edits: [fn(&mut bindings::liveupdate_file_ops); 5] = [
            |ops| ops.can_preserve = None,
            |ops| ops.preserve = None,
            |ops| ops.unpreserve = None,
            |ops| ops.retrieve = None,
            |ops| ops.finish = None,
        ];

        for edit in edits {
            let handler = world.handler('a', 0..10)?;

            world.edit(handler, edit);
            assert_eq!(world.register(handler), Err(EINVAL));
        }
        let nameless = world.handler('\0', 0..10)?;
        assert_eq!(world.register(nameless), Err(EINVAL));

        world.registered('a', 0..10)?;
        Ok(())
    }

    #[test]
    fn one_handler_of_a_name() -> Result {
        let mut world = World::new()?;
        let first = world.registered('a', 0..10)?;
        let second = world.handler('a', 10..20)?;

        assert_eq!(world.register(first), Err(EEXIST));
        assert_eq!(world.register(second), Err(EEXIST));
        world.registry().unregister(first);
        world.register(second)?;

        let fd = world.file(1)?;
        let files = OutgoingFiles::none()?;
        assert_eq!(files.preserve_fd(world.registry(), 1, fd), Err(ENOENT));
        Ok(())
    }

    #[test]
    fn files_of_an_unregistered_handler() -> Result {
        let mut world = World::new()?;
        let handler = world.registered('a', 0..10)?;
        let files = world.preserved(1..3)?;
        world.forget();

        world.registry().unregister(handler);
        files.freeze()?;
        files.unfreeze();
        drop(files);
        world.expect(
            "a.freeze(1,101,0) a.freeze(2,102,0) a.unfreeze(2,1102,0) a.unfreeze(1,1101,0) \
             a.unpreserve(2,1102,0) a.unpreserve(1,1101,0)",
        )?;
        world.settled()
    }

    #[test]
    fn refused_preserve() -> Result {
        for refused in 1..4 {
            let mut world = world()?;
            let files = OutgoingFiles::none()?;
            let fds = [world.file(1)?, world.file(2)?, world.file(3)?];

            world.refuse("a.preserve", refused - 1, EILSEQ);
            for (token, &fd) in (1..).zip(&fds) {
                let result = files.preserve_fd(world.registry(), token, fd);

                assert_eq!(result.is_err(), token == refused as u64);
                assert_eq!(result.err().unwrap_or(EILSEQ), EILSEQ);
            }
            world.expect(
                "a.can_preserve(1) a.preserve(1,0,0) a.can_preserve(2) a.preserve(2,0,0) \
                 a.can_preserve(3) a.preserve(3,0,0)",
            )?;
            assert_eq!(world.references(refused as u64)?, 0);
            assert_eq!(files.freeze()?.count, 2);
            files.unfreeze();
            world.forget();

            // Neither its token nor its id is taken.
            files.preserve_fd(world.registry(), refused as u64, fds[refused - 1])?;
            assert_eq!(files.freeze()?.count, 3);
            drop(files);
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn refused_preserve_takes_no_block() -> Result {
        let full = FILES_PER_BLOCK as u64;

        for (count, blocks) in [(0, 0), (1, 1), (full - 1, 1), (full, 1), (full + 1, 2)] {
            let mut world = World::new()?;
            let handler = world.handler('a', 0..1000)?;
            world.edit(handler, |ops| ops.get_id = None);
            world.register(handler)?;
            let files = world.preserved(0..count)?;
            let fd = world.file(count)?;

            world.refuse("a.preserve", 0, EILSEQ);
            assert_eq!(files.preserve_fd(world.registry(), count, fd), Err(EILSEQ));

            // The C LUO takes an empty block at the end, but here it must not be.
            let set = files.freeze()?;
            let (incoming, found) = world.read(&set).map_err(|_| EIO)?;
            assert_eq!((set.count, found), (count, blocks));

            drop(incoming);
            drop(files);
            assert_eq!(preserved_order(set.files), None);
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn refused_freeze() -> Result {
        for (refused, calls) in [
            (0, "a.freeze(1,101,0)"),
            (
                1,
                "a.freeze(1,101,0) a.freeze(2,102,0) a.unfreeze(1,1101,0)",
            ),
            (
                2,
                "a.freeze(1,101,0) a.freeze(2,102,0) a.freeze(3,103,0) \
                 a.unfreeze(2,1102,0) a.unfreeze(1,1101,0)",
            ),
        ] {
            let mut world = world()?;
            let files = world.preserved(1..4)?;
            world.forget();

            world.refuse("a.freeze", refused, EILSEQ);
            assert!(files.freeze().is_err_and(|err| err == EILSEQ));
            world.expect(calls)?;
            // What was written is written no more.
            let set = wire::FileSet {
                files: files.set.lock().blocks.head(),
                count: refused as u64,
            };
            assert_eq!(errno(world.read(&set)), Some(EIO));

            // What was frozen in vain has the data of its handler; what refused has not.
            assert_eq!(files.freeze()?.count, 3);
            world.expect(match refused {
                0 => "a.freeze(1,101,0) a.freeze(2,102,0) a.freeze(3,103,0)",
                1 => "a.freeze(1,1101,0) a.freeze(2,102,0) a.freeze(3,103,0)",
                _ => "a.freeze(1,1101,0) a.freeze(2,1102,0) a.freeze(3,103,0)",
            })?;
            drop(files);
            world.settled()?;
        }
        Ok(())
    }
}
