// SPDX-License-Identifier: GPL-2.0

//! Tests of [`crate::luo_flb`]: when an FLB is preserved, retrieved and finished, who counts, and
//! which FLBs a handler may have.

use super::*;
use crate::{
    abi::{
        until_nul,
        Damage, //
    },
    block::{
        tests::Pages,
        ReadError, //
    },
    handover::{
        tests::flbs_at as read,
        HandOver, //
    },
    kho_tests::Preservations,
    luo_file::{
        IncomingFiles,
        OutgoingFiles, //
    },
    luo_session::tests::logged,
    mock::{
        flb_data,
        incoming_obj,
        outgoing_obj,
        HandlerPtr,
        World, //
    }, //
};
use kernel::{
    bindings,
    kho::Preserved, //
};

/// A world with a handler `a` for all files, and the FLBs `names`.
fn world(names: &str) -> Result<(World, HandlerPtr)> {
    let mut world = World::new()?;
    let handler = world.registered('a', 0..1000)?;

    world.flbs(handler, names)?;
    Ok((world, handler))
}

/// The page that the next kernel would get.
fn page(world: &World) -> Result<Preserved<wire::FlbPage>> {
    let mut page: Preserved<wire::FlbPage> = Preserved::new()?;

    page.header.pgcnt = 1;
    world.registry().serialize_flbs(&mut page);
    Ok(page)
}

/// The FLBs that are written in a page: names, data and counts.
fn check_page(page: &wire::FlbPage, expected: &[(char, u64)]) -> Result {
    let entries = page.entries.iter().take(page.header.count as usize);
    let same = page.header.count as usize == expected.len()
        && entries.zip(expected).all(|(entry, &(name, count))| {
            until_nul(&entry.name) == Some(&[b'f', b'l', b'b', b' ', name as u8])
                && entry.data == flb_data(name)
                && entry.count == count
        });

    crate::common::check(same)
}

/// Files 1 to 3 with the FLBs x and y, in the next kernel, whose handler has the FLB z as well.
///
/// Whoever takes it apart has to bind the world first, so that it goes last.
struct Next {
    files: Pin<KBox<IncomingFiles>>,
    x: EntryRef<Flb>,
    z: EntryRef<Flb>,
    world: World,
}

fn next() -> Result<Next> {
    next_with(|_| ())
}

/// As [`next`], after `edit` has changed what was handed over.
fn next_with(edit: impl FnOnce(&mut wire::FlbPage)) -> Result<Next> {
    let (mut this, _) = world("xy")?;
    let files = this.preserved(1..4)?;
    let set = files.freeze()?;
    let mut page = page(&this)?;
    edit(&mut page);

    let mut world = World::with(read(&Preservations, page.phys()).map_err(|_| EIO)?)?;
    let handler = world.registered('a', 0..0)?;
    let x = world.flb('x')?;
    world.registry().register_flb(handler, x.clone())?;
    world.flbs(handler, "y")?;
    let z = world.flb('z')?;
    world.registry().register_flb(handler, z.clone())?;

    let (files, _) = world.read(&set).map_err(|_| EIO)?;
    Ok(Next { files, x, z, world })
}

/// FLBs: name, data, and number of files of each.
pub(crate) type Meaning = KVec<(KVec<u8>, u64, u64)>;

/// What was read, in order.
pub(crate) fn meaning(read: Option<&mut KVec<FlbRecord>>) -> Result<Meaning> {
    let mut flbs = KVec::new();

    for flb in read.into_iter().flatten() {
        let mut name = KVec::new();

        name.extend_from_slice(flb.compatible(), GFP_KERNEL)?;
        flbs.push((name, flb.data, flb.files.get().into()), GFP_KERNEL)?;
    }
    Ok(flbs)
}

/// The errno for a page of FLBs.
fn refusal(pages: &Pages) -> Option<(&'static str, &'static str)> {
    match read(pages, Pages::phys(0)) {
        Err(ReadError::Damaged(damage)) => Some((damage.record, damage.field)),
        _ => None,
    }
}

#[kunit_tests(luo_flb)]
mod suite {
    use super::*;

    #[test]
    fn preserved_with_the_first_file_until_the_last() -> Result {
        let (mut world, _) = world("xyz")?;
        let files = world.preserved(1..3)?;

        world.expect(
            "a.can_preserve(1) x.preserve y.preserve z.preserve a.preserve(1,0,0) \
             a.can_preserve(2) a.preserve(2,0,0)",
        )?;
        let others = world.preserved(3..4)?;
        world.forget();
        drop(files);
        world.expect("a.unpreserve(2,102,0) a.unpreserve(1,101,0)")?;
        drop(others);
        world.expect("a.unpreserve(3,103,0) z.unpreserve y.unpreserve x.unpreserve")?;
        world.settled()?;

        // And again.
        drop(world.preserved(4..5)?);
        world.expect(
            "a.can_preserve(4) x.preserve y.preserve z.preserve a.preserve(4,0,0) \
             a.unpreserve(4,104,0) z.unpreserve y.unpreserve x.unpreserve",
        )
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn module_pinned_by_each_flb() -> Result {
        let (mut world, _) = world("xy")?;
        let files = world.preserved(1..4)?;

        // Three files and two FLBs.
        assert_eq!(world.pins(), 5);
        drop(files);
        world.settled()
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn incoming_pins_its_module_while_it_lives() -> Result {
        let Next { world, files, x, z } = next()?;
        let registry = world.registry();

        assert_eq!(world.pins(), 3);
        // What cannot be had at all comes before what cannot be had now.
        world.going(true);
        assert_eq!(x.get_incoming(registry), Err(ENODEV));
        assert_eq!(z.get_incoming(registry), Err(ENOENT));
        world.going(false);
        assert_eq!(world.pins(), 3);
        world.expect("")?;

        x.get_incoming(registry)?;
        x.get_incoming(registry)?;
        assert_eq!(world.pins(), 4);
        files.finish(registry)?;
        assert_eq!(world.pins(), 1);
        x.put_incoming(registry, Holder::Reference);
        assert_eq!(world.pins(), 1);
        x.put_incoming(registry, Holder::Reference);
        world.settled()
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn no_flb_whose_module_is_going() -> Result {
        let mut world = World::new()?;
        let handler = world.handler('a', 0..10)?;
        world.edit(handler, |ops| ops.owner = ptr::null_mut());
        world.register(handler)?;
        world.flbs(handler, "x")?;
        let fd = world.file(1)?;
        let files = OutgoingFiles::none()?;

        world.going(true);
        assert_eq!(files.preserve_fd(world.registry(), 1, fd), Err(ENODEV));
        world.expect("a.can_preserve(1)")?;
        world.going(false);
        files.preserve_fd(world.registry(), 1, fd)?;
        drop(files);
        world.settled()
    }

    #[test]
    #[cfg(CONFIG_MODULE_UNLOAD)]
    fn not_finished_where_its_module_is_going() -> Result {
        let Next { world, files, .. } = next()?;

        world.going(true);
        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0)",
        )?;
        world.settled()
    }

    #[test]
    fn shared_by_two_handlers() -> Result {
        let mut world = World::new()?;
        let a = world.registered('a', 0..10)?;
        let b = world.registered('b', 10..20)?;
        let x = world.flb('x')?;
        world.registry().register_flb(a, x.clone())?;
        world.flbs(b, "y")?;
        world.registry().register_flb(b, x.clone())?;

        let of_a = world.preserved(1..2)?;
        let of_b = world.preserved(11..12)?;
        world.expect(
            "a.can_preserve(1) x.preserve a.preserve(1,0,0) \
             a.can_preserve(11) b.can_preserve(11) y.preserve b.preserve(11,0,0)",
        )?;
        drop(of_a);
        world.expect("a.unpreserve(1,101,0)")?;
        drop(of_b);
        world.expect("b.unpreserve(11,111,0) x.unpreserve y.unpreserve")?;
        world.settled()
    }

    #[test]
    fn refused_preserve_undoes_those_before() -> Result {
        for (refused, calls) in [
            ("x.preserve", "a.can_preserve(1) x.preserve"),
            (
                "y.preserve",
                "a.can_preserve(1) x.preserve y.preserve x.unpreserve",
            ),
            (
                "z.preserve",
                "a.can_preserve(1) x.preserve y.preserve z.preserve y.unpreserve x.unpreserve",
            ),
            (
                "a.preserve",
                "a.can_preserve(1) x.preserve y.preserve z.preserve a.preserve(1,0,0) \
                 z.unpreserve y.unpreserve x.unpreserve",
            ),
        ] {
            let (mut world, _) = world("xyz")?;
            let files = OutgoingFiles::none()?;
            let fd = world.file(1)?;

            world.refuse(refused, 0, EILSEQ);
            assert_eq!(files.preserve_fd(world.registry(), 1, fd), Err(EILSEQ));
            world.expect(calls)?;
            world.settled()?;

            files.preserve_fd(world.registry(), 1, fd)?;
            world.expect("a.can_preserve(1) x.preserve y.preserve z.preserve a.preserve(1,0,0)")?;
            drop(files);
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn many_of_one_handler() -> Result {
        let (mut world, _) = world("uvwxyz")?;
        let fd = world.file(1)?;
        let files = OutgoingFiles::none()?;

        world.refuse("z.preserve", 0, EILSEQ);
        assert_eq!(files.preserve_fd(world.registry(), 1, fd), Err(EILSEQ));
        world.expect(
            "a.can_preserve(1) u.preserve v.preserve w.preserve x.preserve y.preserve z.preserve \
             y.unpreserve x.unpreserve w.unpreserve v.unpreserve u.unpreserve",
        )?;

        files.preserve_fd(world.registry(), 1, fd)?;
        world.forget();
        drop(files);
        world.expect(
            "a.unpreserve(1,101,0) z.unpreserve y.unpreserve x.unpreserve w.unpreserve \
             v.unpreserve u.unpreserve",
        )?;
        world.settled()
    }

    #[test]
    fn refused_preserve_of_a_later_file() -> Result {
        let (mut world, handler) = world("x")?;
        let files = world.preserved(1..2)?;
        world.flbs(handler, "y")?;
        let fd = world.file(2)?;
        world.forget();

        // x has another file, and stays.
        world.refuse("y.preserve", 0, EILSEQ);
        assert_eq!(files.preserve_fd(world.registry(), 2, fd), Err(EILSEQ));
        world.expect("a.can_preserve(2) y.preserve")?;

        // The first file does not depend on y.
        files.preserve_fd(world.registry(), 2, fd)?;
        world.expect("a.can_preserve(2) y.preserve a.preserve(2,0,0)")?;
        drop(files);
        world.expect("a.unpreserve(2,102,0) y.unpreserve a.unpreserve(1,101,0) x.unpreserve")?;
        world.settled()
    }

    #[test]
    fn untouched_by_a_file_that_is_spoken_for() -> Result {
        let mut world = World::new()?;
        world.registered('a', 0..10)?;
        let b = world.registered('b', 0..200)?;
        world.flbs(b, "x")?;
        let files = world.preserved(1..2)?;
        let fd = world.file(101)?;
        let others = OutgoingFiles::none()?;
        world.forget();

        assert_eq!(others.preserve_fd(world.registry(), 1, fd), Err(EBUSY));
        world.expect("a.can_preserve(101) b.can_preserve(101)")?;
        drop(files);
        world.settled()
    }

    #[test]
    fn references_to_outgoing() -> Result {
        let (mut world, handler) = world("")?;
        let x = world.flb('x')?;
        world.registry().register_flb(handler, x.clone())?;

        assert_eq!(x.get_outgoing(), Err(ENOENT));
        let files = world.preserved(1..2)?;
        world.forget();
        assert_eq!(x.get_outgoing(), Ok(outgoing_obj('x')));
        assert_eq!(x.get_outgoing(), Ok(outgoing_obj('x')));
        drop(files);
        world.expect("a.unpreserve(1,101,0)")?;
        x.put_outgoing(Holder::Reference);
        world.expect("")?;
        x.put_outgoing(Holder::Reference);
        world.expect("x.unpreserve")?;
        world.settled()
    }

    #[test]
    fn reference_to_outgoing_that_nobody_has() -> Result {
        let (mut world, handler) = world("")?;
        let x = world.flb('x')?;
        world.registry().register_flb(handler, x.clone())?;

        x.put_outgoing(Holder::Reference);
        let files = world.preserved(1..2)?;
        world.forget();
        // This is not the file's.
        x.put_outgoing(Holder::Reference);
        world.expect("")?;
        drop(files);
        world.expect("a.unpreserve(1,101,0) x.unpreserve")?;
        world.settled()
    }

    #[test]
    fn no_object_to_refer_to() -> Result {
        let (mut world, handler) = world("")?;
        let flb = world.flb('-')?;
        world.registry().register_flb(handler, flb.clone())?;
        let files = world.preserved(1..2)?;

        assert_eq!(flb.get_outgoing(), Err(ENOENT));
        drop(files);
        world.settled()
    }

    #[test]
    fn handed_over_in_order_with_counts() -> Result {
        let mut world = World::new()?;
        let a = world.registered('a', 0..10)?;
        let b = world.registered('b', 10..20)?;
        world.flbs(a, "x")?;
        let y = world.flb('y')?;
        world.registry().register_flb(b, y.clone())?;
        world.flbs(a, "z")?;
        world.registry().register_flb(a, y.clone())?;
        let w = world.flb('w')?;
        world.registry().register_flb(b, w.clone())?;

        check_page(&*page(&world)?, &[])?;

        let of_a = world.preserved(1..3)?;
        y.get_outgoing()?;
        // In the order of registration, without w, on which nothing depends. References are not
        // files.
        check_page(&*page(&world)?, &[('x', 2), ('y', 2), ('z', 2)])?;
        world.forget();

        // What is handed over is preserved for good.
        drop(of_a);
        y.put_outgoing(Holder::Reference);
        world.expect("a.unpreserve(2,102,0) a.unpreserve(1,101,0)")
    }

    #[test]
    fn not_handed_over_for_a_reference() -> Result {
        let mut world = World::new()?;
        let handler = world.registered('a', 0..10)?;
        let x = world.flb('x')?;
        world.registry().register_flb(handler, x.clone())?;

        let files = world.preserved(1..2)?;
        x.get_outgoing()?;
        drop(files);
        world.forget();
        check_page(&*page(&world)?, &[])?;

        // So it is still to be given up.
        x.put_outgoing(Holder::Reference);
        world.expect("x.unpreserve")?;
        world.settled()
    }

    #[test]
    fn refused_with_the_hand_over() -> Result {
        let mut world = World::after(HandOver::damaged())?;
        let handler = world.registered('a', 0..10)?;
        let x = world.flb('x')?;
        let y = world.flb('y')?;
        world.registry().register_flb(handler, x.clone())?;

        for flb in [&x, &y, &x] {
            assert_eq!(flb.get_incoming(world.registry()), Err(EIO));
            flb.put_incoming(world.registry(), Holder::Reference);
        }

        // What is new has nothing to do with it.
        drop(world.preserved(1..2)?);
        world.expect(
            "a.can_preserve(1) x.preserve a.preserve(1,0,0) a.unpreserve(1,101,0) x.unpreserve",
        )?;
        assert_eq!(x.get_incoming(world.registry()), Err(EIO));
        world.settled()
    }

    #[test]
    fn unknown_ones_are_told_of() -> Result {
        let (mut this, _) = world("xyz")?;
        let files = this.preserved(1..2)?;
        let page = page(&this)?;
        let mut world = World::with(read(&Preservations, page.phys()).map_err(|_| EIO)?)?;
        let handler = world.registered('a', 0..10)?;
        let x = world.flb('x')?;

        world.flbs(handler, "y")?;
        // Who asks is known as well.
        x.get_incoming(world.registry())?;
        let log = logged(|| world.registry().report_unknown_flbs())?;
        assert_eq!(
            *log,
            *b"luo: the previous kernel handed over an FLB 'flb z' that nobody here knows\n"
        );
        x.put_incoming(world.registry(), Holder::Reference);
        drop(files);
        Ok(())
    }

    #[test]
    fn retrieved_when_first_asked_for() -> Result {
        let Next {
            world, files, x, ..
        } = next()?;
        let registry = world.registry();

        assert_eq!(x.get_incoming(registry), Ok(incoming_obj('x')));
        assert_eq!(x.get_incoming(registry), Ok(incoming_obj('x')));
        world.expect("x.retrieve")?;
        x.put_incoming(registry, Holder::Reference);
        x.put_incoming(registry, Holder::Reference);
        world.expect("")?;

        files.finish(registry)?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) \
             y.retrieve y.finish x.finish",
        )?;
        world.settled()?;

        assert_eq!(x.get_incoming(registry), Err(ENODATA));
        x.put_incoming(registry, Holder::Reference);
        assert_eq!(x.get_incoming(registry), Err(ENODATA));
        world.expect("")
    }

    #[test]
    fn finished_with_the_last_reference() -> Result {
        let Next {
            world, files, x, ..
        } = next()?;
        let registry = world.registry();

        x.get_incoming(registry)?;
        files.finish(registry)?;
        world.forget();
        assert_eq!(x.get_incoming(registry), Ok(incoming_obj('x')));
        x.put_incoming(registry, Holder::Reference);
        world.expect("")?;
        x.put_incoming(registry, Holder::Reference);
        world.expect("x.finish")?;
        assert_eq!(x.get_incoming(registry), Err(ENODATA));
        world.settled()
    }

    #[test]
    fn reference_to_incoming_that_nobody_has() -> Result {
        for retrieved in [false, true] {
            let Next {
                world, files, x, ..
            } = next()?;
            let registry = world.registry();

            if retrieved {
                x.get_incoming(registry)?;
                x.put_incoming(registry, Holder::Reference);
            }
            world.forget();
            // These are not the files'.
            for _ in 0..3 {
                x.put_incoming(registry, Holder::Reference);
            }
            world.expect("")?;
            files.finish(registry)?;
            world.expect(if retrieved {
                "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
                 a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) \
                 y.retrieve y.finish x.finish"
            } else {
                "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
                 a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) \
                 y.retrieve y.finish x.retrieve x.finish"
            })?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn more_files_than_were_counted() -> Result {
        let Next {
            world, files, x, ..
        } = next_with(|page| page.entries[0].count = 1)?;
        let registry = world.registry();

        x.get_incoming(registry)?;
        files.finish(registry)?;
        world.forget();
        // No file has put this reference.
        assert_eq!(x.get_incoming(registry), Ok(incoming_obj('x')));
        x.put_incoming(registry, Holder::Reference);
        world.expect("")?;
        x.put_incoming(registry, Holder::Reference);
        world.expect("x.finish")?;
        world.settled()
    }

    #[test]
    fn retrieved_and_finished_if_nobody_asks() -> Result {
        let Next { world, files, .. } = next()?;

        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) \
             y.retrieve y.finish x.retrieve x.finish",
        )?;
        world.settled()
    }

    #[test]
    fn refused_retrieve_is_remembered() -> Result {
        let Next {
            world, files, x, ..
        } = next()?;
        let registry = world.registry();

        world.refuse("x.retrieve", 0, EILSEQ);
        assert_eq!(x.get_incoming(registry), Err(EILSEQ));
        world.expect("x.retrieve")?;
        assert_eq!(x.get_incoming(registry), Err(EILSEQ));
        world.expect("")?;
        files.finish(registry)?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) y.retrieve y.finish",
        )?;
        assert_eq!(x.get_incoming(registry), Err(EILSEQ));
        world.settled()
    }

    #[test]
    fn refused_retrieve_of_the_last_file() -> Result {
        let Next {
            world, files, x, ..
        } = next()?;

        world.refuse("x.retrieve", 0, EILSEQ);
        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(-,1101,0) a.can_finish(-,1102,0) a.can_finish(-,1103,0) \
             a.finish(-,1103,0) a.finish(-,1102,0) a.finish(-,1101,0) \
             y.retrieve y.finish x.retrieve",
        )?;
        assert_eq!(x.get_incoming(world.registry()), Err(EILSEQ));
        world.settled()
    }

    #[test]
    fn not_handed_over() -> Result {
        let Next { world, files, x, z } = next()?;
        let registry = world.registry();

        assert_eq!(z.get_incoming(registry), Err(ENOENT));
        z.put_incoming(registry, Holder::Reference);
        assert_eq!(z.get_incoming(registry), Err(ENOENT));
        world.expect("")?;

        // Others were, so it is as before when these are gone.
        files.finish(registry)?;
        assert_eq!(x.get_incoming(registry), Err(ENODATA));
        assert_eq!(z.get_incoming(registry), Err(ENOENT));
        Ok(())
    }

    #[test]
    fn nothing_handed_over() -> Result {
        let mut world = World::new()?;
        let x = world.flb('x')?;

        assert_eq!(x.get_incoming(world.registry()), Err(ENODATA));
        x.put_incoming(world.registry(), Holder::Reference);
        assert_eq!(x.get_incoming(world.registry()), Err(ENODATA));
        world.expect("")
    }

    #[test]
    fn incomplete_flbs() -> Result {
        let (mut world, handler) = world("")?;
        let edits: [fn(&mut bindings::liveupdate_flb_ops); 4] = [
            |ops| ops.preserve = None,
            |ops| ops.unpreserve = None,
            |ops| ops.retrieve = None,
            |ops| ops.finish = None,
        ];

        for edit in edits {
            let flb = world.edited_flb('x', edit)?;

            assert_eq!(world.registry().register_flb(handler, flb), Err(EINVAL));
        }
        let nameless = world.flb('\0')?;
        assert_eq!(
            world.registry().register_flb(handler, nameless),
            Err(EINVAL)
        );

        let stranger = world.handler('b', 0..0)?;
        let x = world.flb('x')?;
        assert_eq!(
            world.registry().register_flb(stranger, x.clone()),
            Err(EINVAL)
        );
        world.registry().register_flb(handler, x.clone())
    }

    #[test]
    fn one_flb_of_a_name() -> Result {
        let (mut world, a) = world("")?;
        let b = world.registered('b', 0..0)?;
        let first = world.flb('x')?;
        let second = world.flb('x')?;
        let registry = world.registry();

        registry.register_flb(a, first.clone())?;
        assert_eq!(registry.register_flb(a, first.clone()), Err(EEXIST));
        assert_eq!(registry.register_flb(a, second.clone()), Err(EEXIST));
        assert_eq!(registry.register_flb(b, second.clone()), Err(EEXIST));

        // One less is not enough as long as there are two.
        registry.register_flb(b, first.clone())?;
        registry.unregister_flb(a, &first)?;
        assert_eq!(registry.register_flb(a, second.clone()), Err(EEXIST));
        registry.unregister_flb(b, &first)?;
        registry.register_flb(a, second.clone())
    }

    #[test]
    fn as_many_as_a_page_holds() -> Result {
        const COUNT: usize = wire::FLBS_PER_PAGE;

        let (mut world, a) = world("")?;
        let b = world.registered('b', 0..0)?;
        let names = ('0'..).take(COUNT);
        let mut flbs = KVec::new();

        for name in names.clone() {
            let flb = world.flb(name)?;

            world.registry().register_flb(a, flb.clone())?;
            flbs.push(flb, GFP_KERNEL)?;
        }
        let extra = world.flb('!')?;
        let registry = world.registry();
        assert_eq!(registry.register_flb(a, extra.clone()), Err(ENOSPC));
        // Where there is no room, what is there can still be shared.
        registry.register_flb(b, flbs[COUNT - 1].clone())?;

        let files = world.preserved(1..2)?;
        let page = page(&world)?;
        assert_eq!(page.header.count, COUNT as u64);
        for (entry, name) in page.entries.iter().zip(names) {
            assert_eq!(entry.data, flb_data(name));
        }
        assert!(read(&Preservations, page.phys()).is_ok());
        drop(files);

        registry.unregister_flb(a, &flbs[0])?;
        registry.register_flb(a, extra)
    }

    #[test]
    fn unregistered() -> Result {
        let (mut world, a) = world("y")?;
        let b = world.registered('b', 0..0)?;
        let x = world.flb('x')?;
        let registry = world.registry();

        assert_eq!(registry.unregister_flb(a, &x), Err(ENOENT));
        registry.register_flb(b, x.clone())?;
        assert_eq!(registry.unregister_flb(a, &x), Err(ENOENT));
        registry.register_flb(a, x.clone())?;

        // A file keeps what it was preserved with.
        let files = world.preserved(1..2)?;
        registry.unregister_flb(a, &x)?;
        assert_eq!(registry.unregister_flb(a, &x), Err(ENOENT));
        let others = world.preserved(2..3)?;
        world.expect(
            "a.can_preserve(1) y.preserve x.preserve a.preserve(1,0,0) \
             a.can_preserve(2) a.preserve(2,0,0)",
        )?;
        drop(files);
        world.expect("a.unpreserve(1,101,0) x.unpreserve")?;
        drop(others);
        world.settled()
    }

    #[test]
    fn unregistered_with_its_handler() -> Result {
        let (mut world, a) = world("")?;
        let b = world.registered('b', 0..10)?;
        let first = world.flb('x')?;
        let second = world.flb('x')?;
        let shared = world.flb('y')?;
        let registry = world.registry();
        registry.register_flb(a, first.clone())?;
        registry.register_flb(a, shared.clone())?;
        registry.register_flb(b, shared.clone())?;
        let files = world.preserved(1..2)?;
        world.forget();

        registry.unregister(a);
        assert_eq!(registry.unregister_flb(a, &first), Err(ENOENT));
        drop(files);
        world.expect("a.unpreserve(1,101,0) y.unpreserve x.unpreserve")?;

        // The name is free, and the other handler has kept what they shared.
        registry.register_flb(b, second.clone())?;
        drop(world.preserved(2..3)?);
        world.expect(
            "b.can_preserve(2) y.preserve x.preserve b.preserve(2,0,0) \
             b.unpreserve(2,102,0) x.unpreserve y.unpreserve",
        )?;
        world.settled()
    }

    #[test]
    fn c_code_that_takes_it_from_the_wrong_handler_is_told() -> Result {
        let mut world = World::new()?;
        let a = world.handler('a', 0..0)?.cast_mut().cast();
        let b = world.handler('b', 0..0)?.cast_mut().cast();
        let x = world.flb('x')?;
        let flb = ptr::from_ref(&*x).cast_mut().cast();

        // SAFETY: The handlers and the FLB live until the world ends. The FLB hangs on no handler
        // any more then, and no handler is registered.
        let (registered, log, still_there) = unsafe {
            let registered = [
                bindings::liveupdate_register_file_handler(a),
                bindings::liveupdate_register_file_handler(b),
                bindings::liveupdate_register_flb(a, flb),
            ];
            let log = logged(|| bindings::liveupdate_unregister_flb(b, flb));
            let still_there = bindings::liveupdate_register_flb(a, flb);

            bindings::liveupdate_unregister_file_handler(a);
            bindings::liveupdate_unregister_file_handler(b);
            (registered, log, still_there)
        };
        assert_eq!(registered, [0; 3]);
        assert_eq!(
            *log?,
            *b"luo: cannot take an FLB from its file handler: ENOENT\n"
        );
        assert_eq!(still_there, EEXIST.to_errno());
        Ok(())
    }

    #[test]
    fn damaged_pages() -> Result {
        const ENTRY: usize = size_of::<wire::Flb>() / 8;
        let full = wire::FLBS_PER_PAGE as u64;
        let name = u64::from_le_bytes(*b"flb x\0\0\0");
        let sound = || {
            let mut pages = Pages::chain(&[2])?;

            pages.word(0, 0, 1);
            for entry in 0..2 {
                pages.word(0, 2 + entry * ENTRY, name + entry as u64);
                pages.word(0, 2 + entry * ENTRY + 7, 1);
            }
            Ok::<_, Error>(pages)
        };

        assert!(read(&sound()?, Pages::phys(0)).is_ok());
        assert!(read(&sound()?, 0).is_ok());
        for phys in [1, Pages::phys(0) + 8, Pages::phys(1), u64::MAX] {
            assert!(matches!(
                read(&sound()?, phys),
                Err(ReadError::Damaged(Damage {
                    record: "record",
                    field: "field",
                    ..
                }))
            ));
        }

        for (at, value, record, field) in [
            (0, 0, "luo_flb_header_ser", "pgcnt"),
            (0, 2, "luo_flb_header_ser", "pgcnt"),
            (1, full + 1, "luo_flb_header_ser", "count"),
            (1, u64::MAX, "luo_flb_header_ser", "count"),
            // One entry more than there are, which has no name.
            (1, 3, "luo_flb_ser", "name"),
            (2, 0, "luo_flb_ser", "name"),
            (2 + ENTRY, name, "luo_flb_ser", "name"),
            (2 + 7, 0, "luo_flb_ser", "count"),
            (2 + ENTRY + 7, 0, "luo_flb_ser", "count"),
            (2 + 7, 1 << 32, "luo_flb_ser", "count"),
        ] {
            let mut pages = sound()?;

            pages.word(0, at, value);
            assert_eq!(refusal(&pages), Some((record, field)));
        }

        let mut pages = sound()?;
        for word in 0..6 {
            pages.word(0, 2 + word, u64::MAX);
        }
        assert_eq!(refusal(&pages), Some(("luo_flb_ser", "name")));

        // What stands behind the last entry means nothing.
        let mut pages = sound()?;
        pages.word(0, 1, 1);
        pages.word(0, 2 + ENTRY, 0);
        assert!(read(&pages, Pages::phys(0)).is_ok());
        Ok(())
    }
}
