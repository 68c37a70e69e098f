// SPDX-License-Identifier: GPL-2.0

//! Operations that run out of memory, at each of their allocations: they say so, leave nothing
//! behind, and can be repeated.

use super::{
    tests::{
        name_of,
        next_fd,
        Fd, //
    },
    *, //
};
use crate::{
    abi::luo_v5::LuoV5,
    block::{
        tests::SESSIONS_PER_BLOCK,
        ReadError, //
    },
    common::check,
    fault::at_each_allocation,
    handover::tests::{
        contents_of,
        flbs_at, //
    },
    kho_tests::Preservations,
    luo_file::{
        tests::world,
        Fellows, //
    },
    mock::{
        World,
        FILES_PER_BLOCK, //
    },
    tests::UserPage, //
};
use kernel::page::PAGE_SIZE;

/// Fails unless this is a success, or `ENOMEM`.
fn check_errno<T>(result: &Result<T>) -> Result {
    check(!result.as_ref().is_err_and(|&err| err != ENOMEM))
}

/// The token of file `number`, for a callback that may ask again.
fn token_of(world: &World, files: &OutgoingFiles, number: u64) -> Result<u64> {
    Fellows::Outgoing(files, number).token_of(&*world.file_of(number)?)
}

/// Preserves file `count` when `count` files are preserved already, with FLBs that are preserved
/// with them or with this one.
fn preserve(count: u64, flbs: &str) -> Result {
    at_each_allocation(
        "preserve",
        || {
            let mut world = World::new()?;
            let handler = world.registered('a', 0..1000)?;
            let files = world.preserved(0..count)?;

            world.flbs(handler, flbs)?;
            let fd = world.file(count)?;
            Ok((world, files, fd))
        },
        |(world, files, fd)| files.preserve_fd(world.registry(), count, *fd),
        |(world, files, fd), result| {
            let registry = world.registry();
            let before = count as isize;
            let after = before + 1 + flbs.len() as isize;

            check_errno(&result)?;
            if result.is_err() {
                check(world.count_preserved() == before)?;
                check(world.references(count)? == 0)?;

                // No block is left over, either.
                let set = files.freeze()?;
                let (incoming, blocks) = world.read(&set).map_err(|_| EIO)?;
                check(blocks == before.unsigned_abs().div_ceil(FILES_PER_BLOCK))?;
                drop(incoming);
                files.unfreeze();

                files.preserve_fd(registry, count, fd)?;
            }
            check(world.count_preserved() == after)?;

            drop(files);
            world.settled()
        },
    )
}

/// Adds a session when there are `count`.
fn add_session(count: usize) -> Result {
    at_each_allocation(
        "create a session",
        || {
            let world = World::new()?;

            for number in 0..count {
                let sessions = world.sessions();

                sessions.outgoing.lock().add(sessions, &name_of(number)?)?;
            }
            Ok(world)
        },
        |world| {
            let sessions = world.sessions();
            let mut table = sessions.outgoing.lock();

            table.add(sessions, &name_of(count)?)
        },
        |world, result| {
            let sessions = world.sessions();
            let mut table = sessions.outgoing.lock();
            let entry = wire::Session {
                name: [0; uapi::NAME_LENGTH],
                file_set: wire::FileSet { files: 0, count: 0 },
            };

            check_errno(&result)?;
            let session = match result {
                Ok(session) => session,
                Err(_) => {
                    let room = count.next_multiple_of(SESSIONS_PER_BLOCK);

                    check(table.sessions.len() == count)?;
                    check(table.blocks.write(room, entry).is_err())?;
                    table.add(sessions, &name_of(count)?)?
                }
            };
            check(table.sessions.len() == count + 1)?;

            table.remove(&session);
            check(table.sessions.len() == count)
        },
    )
}

#[kunit_tests(luo_alloc)]
mod suite {
    use super::*;

    #[test]
    fn create_session() -> Result {
        add_session(0)?;
        add_session(1)?;
        // The table of sessions gets an index.
        add_session(8)?;
        add_session(SESSIONS_PER_BLOCK)
    }

    #[test]
    fn create_session_for_its_owner() -> Result {
        let page = UserPage::new()?;
        let free = next_fd()?;
        let request = uapi::CreateSession {
            size: size_of::<uapi::CreateSession>() as u32,
            fd: -1,
            name: name_of(1)?.to_field(),
        };

        at_each_allocation(
            "create a session and its file",
            || Ok((World::new()?, page.argument(&request)?)),
            |(world, arg)| world.sessions().create(&Argument::new(*arg)?),
            |(world, arg), result| {
                let sessions = world.sessions();
                let count = || sessions.outgoing.lock().sessions.len();

                check_errno(&result)?;
                if result.is_err() {
                    // Neither it nor a descriptor is there, and the name can be taken.
                    check((count(), next_fd()?) == (0, free))?;
                    sessions.create(&Argument::new(arg)?)?;
                }
                let fd = Fd(page.answer::<uapi::CreateSession>()?.fd);
                check(count() == 1)?;
                drop(fd);
                check(count() == 0)
            },
        )
    }

    #[test]
    fn make_room_where_there_is_no_row() -> Result {
        let room = 4 * SESSIONS_PER_BLOCK;
        let entry = || wire::Session {
            name: [0; uapi::NAME_LENGTH],
            file_set: wire::FileSet { files: 0, count: 0 },
        };
        let mut only_the_row = true;

        at_each_allocation(
            "make a set of blocks longer",
            || {
                let mut set = BlockSet::new(PAGE_SIZE);

                set.expect_blocks(5)?;
                set.reserve(room)?;
                Ok(set)
            },
            |set| set.reserve(room + 1),
            |mut set, result| {
                check_errno(&result)?;
                // The row is what it asks for first. It can do without.
                check(result.is_ok() || !only_the_row)?;
                only_the_row = false;
                if result.is_err() {
                    check(set.write(room, entry()) == Err(ENOSPC))?;
                    set.reserve(room + 1)?;
                }
                set.write(room, entry())
            },
        )
    }

    #[test]
    fn preserve_a_file() -> Result {
        preserve(0, "")?;
        preserve(1, "")?;
        // The table of files gets an index.
        preserve(8, "")?;
        preserve(FILES_PER_BLOCK as u64, "")
    }

    #[test]
    fn preserve_a_file_with_flbs() -> Result {
        preserve(0, "xyz")?;
        preserve(1, "xyz")?;
        preserve(1, "uvwxyz")?;
        preserve(FILES_PER_BLOCK as u64, "xyz")
    }

    #[test]
    fn preserve_a_file_when_tokens_are_known() -> Result {
        // The table of tokens gets larger, and an index.
        for count in [1, 8] {
            at_each_allocation(
                "preserve a file when tokens are known",
                || {
                    let mut world = world()?;
                    let files = world.preserved(0..count)?;
                    let fd = world.file(count)?;

                    check(token_of(&world, &files, 0) == Ok(0))?;
                    Ok((world, files, fd))
                },
                |(world, files, fd)| files.preserve_fd(world.registry(), count, *fd),
                |(world, files, fd), result| {
                    check_errno(&result)?;
                    if result.is_err() {
                        check(token_of(&world, &files, count) == Err(ENOENT))?;
                        files.preserve_fd(world.registry(), count, fd)?;
                    }
                    for number in 0..=count {
                        check(token_of(&world, &files, number) == Ok(number))?;
                    }
                    drop(files);
                    world.settled()
                },
            )?;
        }
        Ok(())
    }

    #[test]
    fn ask_for_a_token() -> Result {
        at_each_allocation(
            "ask for a token",
            || {
                let mut world = world()?;
                let files = world.preserved(0..20)?;

                Ok((world, files))
            },
            |(world, files)| token_of(world, files, 7),
            |(world, files), result| {
                check_errno(&result)?;
                for number in 0..20 {
                    check(token_of(&world, &files, number) == Ok(number))?;
                }
                drop(files);
                world.settled()
            },
        )
    }

    #[test]
    fn read_files() -> Result {
        let mut this = World::new()?;
        let handler = this.handler('a', 0..1000)?;
        this.edit(handler, |ops| ops.get_id = None);
        this.register(handler)?;
        let files = this.preserved(0..FILES_PER_BLOCK as u64 + 1)?;
        let set = files.freeze()?;
        let mut next = World::new()?;
        next.registered('a', 0..0)?;

        at_each_allocation(
            "read files",
            || Ok(()),
            |()| next.read(&set),
            |(), result| {
                let enomem = matches!(result, Err(ReadError::Kernel(ENOMEM)));

                check(enomem || result.is_ok_and(|(_, blocks)| blocks == 2))?;
                next.settled()
            },
        )
    }

    #[test]
    fn retrieve_a_file() -> Result {
        at_each_allocation(
            "retrieve a file",
            || {
                let mut this = World::new()?;
                let mut next = World::new()?;
                this.registered('a', 0..1000)?;
                next.registered('a', 0..1000)?;
                next.file(1)?;
                let files = this.preserved(1..2)?;
                let (incoming, _) = next.read(&files.freeze()?).map_err(|_| EIO)?;
                Ok((next, incoming))
            },
            |(next, files)| files.retrieve(next.registry(), 1),
            |(next, files), result| {
                check_errno(&result)?;
                if result.is_err() {
                    // It is not remembered as the handler's refusal.
                    next.expect("")?;
                    files.retrieve(next.registry(), 1)?;
                }
                next.expect("a.retrieve(-,1101,0)")?;
                drop(result);
                files.finish(next.registry())?;
                next.settled()
            },
        )
    }

    #[test]
    fn register_an_flb() -> Result {
        at_each_allocation(
            "register an FLB",
            || {
                let mut world = World::new()?;
                let handler = world.registered('a', 0..1000)?;
                let flb = world.flb('x')?;
                let same_name = world.flb('x')?;
                Ok((world, handler, flb, same_name))
            },
            |(world, handler, flb, _)| world.registry().register_flb(*handler, flb.clone()),
            |(mut world, handler, flb, same_name), result| {
                let registry = world.registry();

                check_errno(&result)?;
                if result.is_err() {
                    check(registry.unregister_flb(handler, &flb) == Err(ENOENT))?;
                    // Its name is free.
                    registry.register_flb(handler, same_name.clone())?;
                    registry.unregister_flb(handler, &same_name)?;
                    registry.register_flb(handler, flb.clone())?;
                }
                check(registry.register_flb(handler, flb.clone()) == Err(EEXIST))?;
                drop(world.preserved(1..2)?);
                world.expect(
                    "a.can_preserve(1) x.preserve a.preserve(1,0,0) \
                     a.unpreserve(1,101,0) x.unpreserve",
                )?;

                // It is there once, and not left over.
                registry.unregister_flb(handler, &flb)?;
                registry.register_flb(handler, same_name)?;
                world.settled()
            },
        )
    }

    #[test]
    fn read_flbs() -> Result {
        let mut world = World::new()?;
        let handler = world.registered('a', 0..1000)?;
        world.flbs(handler, "xyz")?;
        let files = world.preserved(1..2)?;
        let mut page: Preserved<wire::FlbPage> = Preserved::new()?;
        page.header.pgcnt = 1;
        world.registry().serialize_flbs(&mut page);

        at_each_allocation(
            "read FLBs",
            || Ok(()),
            |()| flbs_at(&Preservations, page.phys()),
            |(), result| check(matches!(result, Ok(_) | Err(ReadError::Kernel(ENOMEM)))),
        )?;
        drop(files);
        Ok(())
    }

    #[test]
    fn read_and_restore_sessions() -> Result {
        let mut this = World::new()?;
        let handler = this.handler('a', 0..1000)?;
        this.edit(handler, |ops| ops.get_id = None);
        this.register(handler)?;
        let mut blocks = BlockSet::<wire::Session>::new(PAGE_SIZE);
        let mut files = KVec::new();
        let mut next = World::new()?;
        next.registered('a', 0..0)?;

        blocks.reserve(3)?;
        for number in 0..3 {
            let preserved = this.preserved(3 * number..3 * number + 3)?;
            let entry = wire::Session {
                name: name_of(number as usize)?.to_field(),
                file_set: preserved.freeze()?,
            };

            blocks.write(number as usize, entry)?;
            files.push(preserved, GFP_KERNEL)?;
        }

        at_each_allocation(
            "read a hand-over",
            || Ok(()),
            |()| contents_of(&Preservations, &LuoV5, blocks.head(), 0),
            |(), result| {
                check_errno(&result)?;
                if let Ok(contents) = result {
                    check(contents.sessions().len() == 3)?;
                    check(contents.pages().len() == 4)?;
                }
                Ok(())
            },
        )?;

        // Nothing of it is final, and the second try gets everything.
        let contents = || contents_of(&Preservations, &LuoV5, blocks.head(), 0);
        at_each_allocation(
            "restore sessions",
            || Ok(IncomingTable::waiting(contents()?.take_sessions())),
            |table| table.restore(next.sessions()),
            |mut table, result| {
                check_errno(&result)?;
                if result.is_err() {
                    check(table.sessions.len() == 0)?;
                    next.settled()?;
                    table.restore(next.sessions())?;
                }
                check(table.sessions.len() == 3)?;
                let files = table.sessions.iter().map(|it| it.files.count());
                check(files.eq([3, 3, 3]))?;

                drop(table);
                next.settled()
            },
        )
    }

    #[test]
    fn make_a_table_larger() -> Result {
        // Whether it has an index or not, and gaps or not.
        for (count, gaps) in [(0, 0), (7, 0), (8, 7), (8, 0), (16, 0), (40, 5)] {
            at_each_allocation(
                "make a table larger",
                || {
                    let mut table = Table::new();

                    for key in 0..count {
                        table.vacant(&key)?.ok_or(EEXIST)?.insert((key, ()))?;
                    }
                    for key in 0..gaps {
                        table.remove(&key);
                    }
                    Ok(table)
                },
                |table: &mut Table<(u64, ())>| table.reserve(30),
                |mut table, result| {
                    check_errno(&result)?;
                    // It works all the same, to the last that there is memory for.
                    for key in 1000..1040 {
                        table.vacant(&key)?.ok_or(EEXIST)?.insert((key, ()))?;
                        check(table.get(&(key + 1)).is_none())?;
                    }
                    check(table.len() as u64 == count - gaps + 40)
                },
            )?;
        }
        Ok(())
    }
}
