// SPDX-License-Identifier: GPL-2.0

//! Tests of how files of one session meet: what a handler may ask for in each callback, and what
//! becomes of everybody else who wants a file while somebody works on it.

use super::{
    tests::{
        handed_over,
        world, //
    },
    *, //
};
use crate::{
    common::check,
    handover,
    kho_tests::Preservations,
    mock::{
        another_id,
        lasting,
        new_file,
        number_of,
        session_name,
        until,
        Elsewhere,
        Mortal,
        World, //
    }, //
};
use kernel::{
    liveupdate::{
        self,
        HandOver,
        Handle,
        Handler,
        Retrieval,
        Session, //
    },
    module_ref::BuiltIn,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The error with which a file was not to be had.
fn error(file: Result<ARef<File>>) -> Option<Error> {
    file.err()
}

/// How many threads wait for a change.
fn waiting(files: &IncomingFiles) -> u32 {
    files.set.lock().waiting
}

/// Nobody works on a file, waits, or asks for another one.
fn at_rest(files: &IncomingFiles) -> bool {
    let set = files.set.lock();
    let here = |place: &IncomingPlace| matches!(place, IncomingPlace::Here(_));

    set.retrieving == 0
        && set.waiting == 0
        && !set.finishing
        && set.files.iter().all(|(_, place)| here(place))
}

/// A driver in Rust for the files of some numbers. Its files hand over under which token they were
/// preserved, and each but that of token 1 needs the one before it.
struct Linked;

/// What it hands over.
struct Token(u64);

impl HandOver for Token {
    fn data(&self) -> u64 {
        self.0
    }
}

static LINKED: Handler<Linked> = Handler::new(&[]);

/// Whether a callback that cannot refuse was called as it should not have been.
static WRONG: Atomic<bool> = Atomic::new(false);

#[vtable]
impl liveupdate::FileHandler for Linked {
    const COMPATIBLE: &'static CStr = c"luo-kunit-linked";

    type Preserved = Token;
    type Restored = u64;
    type OwnerModule = BuiltIn;

    fn can_preserve(file: &File) -> bool {
        (0x7e57_0001..0x7e57_0009).contains(&number_of(file))
    }

    fn preserve(file: &File, session: &Session<'_>) -> Result<Token> {
        check(session.token_of(file) == Err(ENOENT))?;
        check(error(session.file(1)) == Some(EINVAL))?;
        Ok(Token(0))
    }

    fn freeze(file: &File, preserved: &mut Token, session: &Session<'_>) -> Result {
        preserved.0 = session.token_of(file)?;
        Ok(())
    }

    fn unfreeze(file: &File, preserved: &mut Token, session: &Session<'_>) {
        if session.token_of(file) != Ok(preserved.0) {
            WRONG.store(true, Relaxed);
        }
    }

    fn restore(handle: Handle) -> Result<u64> {
        Ok(handle.into_data())
    }

    fn retrieve(token: u64, session: &Session<'_>) -> Result<ARef<File>> {
        let file = new_file(token)?;

        check(session.token_of(&file) == Err(EINVAL))?;
        check(error(session.file(token)) == Some(ELOOP))?;
        if token > 1 {
            check(number_of(&*session.file(token - 1)?) == token - 1)?;
        }
        Ok(file)
    }

    // Only what was retrieved can be finished, and what comes before it is there.
    fn can_finish(retrieval: Retrieval<'_>, session: &Session<'_>) -> bool {
        matches!(retrieval, Retrieval::Done(file) if number_of(file) == 1 || session.file(1).is_ok())
    }

    fn finish(retrieval: Retrieval<'_>, session: &Session<'_>) {
        let first = session.file(1).map(|file| number_of(&file));

        match retrieval {
            Retrieval::Done(file) if number_of(file) == 1 && first == Err(ENOENT) => {}
            Retrieval::Done(file) if number_of(file) > 1 && first == Ok(1) => {}
            _ => WRONG.store(true, Relaxed),
        }
    }

    fn get_id(file: &File) -> usize {
        number_of(file) as usize
    }
}

#[kunit_tests(luo_fellows)]
mod suite {
    use super::*;

    #[test]
    fn needed_files_come_first() -> Result {
        let (world, files) = handed_over(3)?;

        world.play(|what, number, fellows| match (what, number) {
            ("retrieve", 2..) => {
                let fellow = fellows.file(number - 1)?;

                check(number_of(&fellow) == number - 1)
            }
            _ => Ok(()),
        })?;
        let file = files.retrieve(world.registry(), 3)?;
        assert_eq!(number_of(&file), 3);
        world.expect("a.retrieve(-,1103,0) a.retrieve(-,1102,0) a.retrieve(-,1101,0)")?;
        assert!(at_rest(&files));
        // The one that was asked for is somebody's, those that it needs are not.
        assert_eq!((world.references(3)?, world.references(2)?), (2, 1));
        drop(file);

        for number in 1..4 {
            let file = files.retrieve(world.registry(), number)?;
            assert_eq!(number_of(&file), number);
        }
        world.expect("")?;
        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(1,1101,1) a.can_finish(2,1102,1) a.can_finish(3,1103,1) \
             a.finish(3,1103,1) a.finish(2,1102,1) a.finish(1,1101,1)",
        )?;
        world.settled()
    }

    #[test]
    fn more_than_a_stack_has_room_for() -> Result {
        let (world, files) = handed_over(99)?;

        world.play(|what, number, fellows| match (what, number) {
            ("retrieve", 2..) => fellows.file(number - 1).map(drop),
            _ => Ok(()),
        })?;
        assert_eq!(number_of(&*files.retrieve(world.registry(), 99)?), 99);
        assert!(at_rest(&files));
        files.finish(world.registry())?;
        world.settled()
    }

    #[test]
    fn circles_are_refused() -> Result {
        // Of one file, of two, of three, and a file that needs one in a circle.
        for (count, first) in [(1, 1), (2, 1), (3, 1), (3, 2)] {
            let (world, files) = handed_over(count)?;

            world.play(move |what, number, fellows| match what {
                "retrieve" => {
                    let needed = if number == count { first } else { number + 1 };

                    fellows.file(needed).map(drop)
                }
                _ => Ok(()),
            })?;
            for _ in 0..2 {
                for number in 1..=count {
                    let refused = error(files.retrieve(world.registry(), number));
                    assert_eq!(refused, Some(ELOOP));
                }
            }
            assert!(at_rest(&files));
            files.finish(world.registry())?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn a_circle_of_two_threads_is_refused() -> Result {
        let (world, files) = handed_over(2)?;
        let (files, registry) = (lasting(&files), world.registry());

        world.play(move |what, number, fellows| match (what, number) {
            ("retrieve", 1) => {
                let other = Elsewhere::begin(move || files.retrieve(registry, 2).map(drop))?;

                until(|| files.set.lock().retrieving == 2);
                // It waits for the other one, and is told of its failure.
                check(error(fellows.file(2)) == Some(ELOOP))?;
                check(other.end() == Err(ELOOP))
            }
            ("retrieve", 2) => {
                until(|| files.set.lock().asked_by(1).is_some_and(|it| it.len() == 1));
                fellows.file(1).map(drop)
            }
            _ => Ok(()),
        })?;
        // The first one has ended in spite of that.
        assert_eq!(number_of(&*files.retrieve(registry, 1)?), 1);
        assert_eq!(error(files.retrieve(registry, 2)), Some(ELOOP));
        assert!(at_rest(files));
        files.finish(registry)?;
        world.settled()
    }

    #[test]
    fn failures_are_remembered_for_each() -> Result {
        let (world, files) = handed_over(4)?;

        world.play(|what, number, fellows| match (what, number) {
            ("retrieve", 1) => Err(EILSEQ),
            ("retrieve", 2) => fellows.file(1).map(drop),
            // This one can do without.
            ("retrieve", 3) => check(error(fellows.file(2)) == Some(EILSEQ)),
            ("retrieve", _) => check(error(fellows.file(1)) == Some(EILSEQ)),
            _ => Ok(()),
        })?;
        assert_eq!(number_of(&*files.retrieve(world.registry(), 3)?), 3);
        assert_eq!(number_of(&*files.retrieve(world.registry(), 4)?), 4);
        for number in [1, 2, 1] {
            let refused = error(files.retrieve(world.registry(), number));
            assert_eq!(refused, Some(EILSEQ));
        }
        world.expect(
            "a.retrieve(-,1103,0) a.retrieve(-,1102,0) a.retrieve(-,1101,0) a.retrieve(-,1104,0)",
        )?;
        files.finish(world.registry())?;
        world.settled()
    }

    #[test]
    fn asked_in_the_wrong_direction_or_for_nothing() -> Result {
        let (mut world, files) = handed_over(2)?;
        let other = world.preserved(3..4)?;
        let file = world.file_of(3)?;

        world.play(move |what, _, fellows| match what {
            "retrieve" => {
                check(fellows.token_of(&file) == Err(EINVAL))?;
                // Nor is there a file of another session.
                check(error(fellows.file(3)) == Some(ENOENT))
            }
            "unpreserve" => check(error(fellows.file(1)) == Some(EINVAL)),
            _ => Ok(()),
        })?;
        drop(files.retrieve(world.registry(), 1)?);
        files.finish(world.registry())?;
        drop(other);
        world.play(|_, _, _| Ok(()))?;
        world.settled()
    }

    #[test]
    fn tokens_of_fellows() -> Result {
        let mut world = world()?;
        let files = OutgoingFiles::none()?;
        let mut opened = KVec::new();

        for number in 0..20 {
            world.file(number)?;
            opened.push(world.file_of(number)?, GFP_KERNEL)?;
        }
        // Each file asks for all, and finds those that are preserved: with `preserve`, those before
        // it, and without it, itself and those that are not yet undone.
        world.play(move |what, number, fellows| {
            for (other, file) in (0..).zip(&opened) {
                let there = match what {
                    "preserve" => other < number,
                    "unpreserve" => other <= number,
                    _ => true,
                };
                let due = if there { Ok(other + 100) } else { Err(ENOENT) };

                check(fellows.token_of(file) == due)?;
            }
            Ok(())
        })?;
        for number in 0..20 {
            let file = world.file_of(number)?;

            files.preserve(world.registry(), number + 100, || Ok(file))?;
        }
        files.freeze()?;
        files.unfreeze();
        drop(files);
        world.play(|_, _, _| Ok(()))?;
        world.settled()
    }

    #[test]
    fn tokens_that_nobody_asked_for_before() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..4)?;
        let other = OutgoingFiles::none()?;
        world.file(4)?;
        let [first, last, stranger] = [1, 3, 4].map(|number| world.file_of(number));
        let (first, last, stranger) = (first?, last?, stranger?);
        let of_other = stranger.clone();
        other.preserve(world.registry(), 4, || Ok(of_other))?;

        // The last file is undone before the others.
        world.play(move |what, number, fellows| {
            let there = what != "unpreserve" || number == 3;
            let due = if there { Ok(3) } else { Err(ENOENT) };

            check(fellows.token_of(&first) == Ok(1))?;
            check(fellows.token_of(&last) == due)?;
            check(fellows.token_of(&stranger) == Err(ENOENT))
        })?;
        files.freeze()?;
        files.unfreeze();
        files.clear();
        world.play(|_, _, _| Ok(()))?;
        drop(other);
        world.settled()
    }

    #[test]
    fn a_file_under_two_tokens_is_known_by_the_first() -> Result {
        let mut world = World::new()?;
        let handler = world.handler('a', 0..1000)?;
        world.edit(handler, |ops| ops.get_id = Some(another_id));
        world.register(handler)?;
        let files = world.preserved(1..3)?;
        let file = world.file_of(1)?;
        let preserve = |token| files.preserve(world.registry(), token, || Ok(file.clone()));
        let asked = file.clone();

        // Before anybody asks, when somebody does, and after that.
        preserve(3)?;
        world.play(move |_, _, fellows| check(fellows.token_of(&asked) == Ok(1)))?;
        preserve(4)?;
        preserve(5)?;
        files.freeze()?;
        files.unfreeze();

        // When the other file is undone, the first one has lost but the first of its tokens.
        let asked = file.clone();
        world.play(move |_, number, fellows| match number {
            2 => check(fellows.token_of(&asked) == Ok(1)),
            _ => Ok(()),
        })?;
        drop(files);
        world.play(|_, _, _| Ok(()))?;
        drop(file);
        world.settled()
    }

    #[test]
    fn a_token_is_taken_while_its_file_is_preserved() -> Result {
        let mut world = world()?;
        let files = world.preserved(1..2)?;
        let others = [2, 3, 4];
        for number in others {
            world.file(number)?;
        }
        let [two, nested, four] = others.map(|number| world.file_of(number));
        let (two, nested, four) = (two?, nested?, four?);
        let asked = two.clone();
        let (all, registry) = (lasting(&files), world.registry());

        world.forget();
        world.play(move |what, number, fellows| match (what, number) {
            ("preserve", 2) => {
                let get = || Ok(nested.clone());

                check(all.preserve(registry, 1, get) == Err(EEXIST))?;
                check(all.preserve(registry, 2, get) == Err(EEXIST))?;
                check(fellows.token_of(&asked) == Err(ENOENT))?;
                all.preserve(registry, 3, get)?;
                check(fellows.token_of(&nested) == Ok(3))
            }
            _ => Ok(()),
        })?;
        files.preserve(registry, 2, || Ok(two))?;
        world.play(|_, _, _| Ok(()))?;
        files.preserve(registry, 4, || Ok(four))?;
        world.forget();

        // What counts is when the token was taken, not when the file was ready.
        let set = files.freeze()?;
        files.unfreeze();
        assert_eq!(set.count, 4);
        world.expect(
            "a.freeze(1,101,0) a.freeze(2,102,0) a.freeze(3,103,0) a.freeze(4,104,0) \
             a.unfreeze(4,1104,0) a.unfreeze(3,1103,0) a.unfreeze(2,1102,0) a.unfreeze(1,1101,0)",
        )?;
        drop(files);
        world.expect(
            "a.unpreserve(4,1104,0) a.unpreserve(3,1103,0) a.unpreserve(2,1102,0) \
             a.unpreserve(1,1101,0)",
        )?;
        world.settled()
    }

    #[test]
    fn a_refused_file_leaves_those_after_it() -> Result {
        let mut world = world()?;
        let files = OutgoingFiles::none()?;
        let (mut first, mut rest) = (None, KVec::new());

        for number in 1..30 {
            world.file(number)?;
            match number {
                1 => first = Some(world.file_of(number)?),
                _ => rest.push(world.file_of(number)?, GFP_KERNEL)?,
            }
        }
        let first = first.ok_or(ENOENT)?;
        let again = first.clone();
        let (all, registry) = (lasting(&files), world.registry());

        world.play(move |what, number, fellows| match (what, number) {
            ("preserve", 1) => {
                for (number, file) in (2..).zip(&rest) {
                    all.preserve(registry, number, || Ok(file.clone()))?;
                    check(fellows.token_of(file) == Ok(number))?;
                }
                Err(EILSEQ)
            }
            _ => Ok(()),
        })?;
        let refused = files.preserve(registry, 1, || Ok(first));
        assert_eq!(refused, Err(EILSEQ));
        world.play(|_, _, _| Ok(()))?;
        files.preserve(registry, 1, || Ok(again))?;

        // It has come last now.
        let (incoming, _) = world.read(&files.freeze()?).map_err(|_| EIO)?;
        let set = incoming.set.lock();
        let tokens = set.files.iter().map(|(token, _)| *token);
        assert!(tokens.eq(Iterator::chain(2..30, [1])));
        drop(set);
        drop(incoming);
        drop(files);
        world.settled()
    }

    #[test]
    fn a_place_moves_while_its_file_is_preserved() -> Result {
        let mut world = world()?;
        let files = OutgoingFiles::none()?;
        for number in 1..5 {
            world.file(number)?;
        }
        let [one, two, three, four] = [1, 2, 3, 4].map(|number| world.file_of(number));
        let (one, two, three, four) = (one?, two?, three?, four?);
        let (all, registry) = (lasting(&files), world.registry());
        let place = move |token| all.set.lock().places.files.place(&token);

        world.play(move |what, number, _| match (what, number) {
            // This one leaves a gap before the second one.
            ("preserve", 1) => {
                until(|| place(2).is_some());
                Err(EILSEQ)
            }
            // Those who come now need the gap to be closed.
            ("preserve", 2) => {
                until(|| place(1).is_none());
                check(place(2) == Some(1))?;
                all.preserve(registry, 3, || Ok(three.clone()))?;
                all.preserve(registry, 4, || Ok(four.clone()))?;
                check(place(2) == Some(0))
            }
            _ => Ok(()),
        })?;
        let other = Elsewhere::begin(move || all.preserve(registry, 1, || Ok(one)))?;
        until(|| place(1).is_some());
        files.preserve(registry, 2, || Ok(two))?;
        assert_eq!(other.end(), Err(EILSEQ));
        world.play(|_, _, _| Ok(()))?;
        world.forget();

        files.freeze()?;
        files.unfreeze();
        world.expect(
            "a.freeze(2,102,0) a.freeze(3,103,0) a.freeze(4,104,0) \
             a.unfreeze(4,1104,0) a.unfreeze(3,1103,0) a.unfreeze(2,1102,0)",
        )?;
        drop(files);
        drop(other);
        world.settled()
    }

    #[test]
    fn others_are_retrieved_meanwhile() -> Result {
        let (world, files) = handed_over(2)?;
        let (files, registry) = (lasting(&files), world.registry());

        world.play(move |what, number, _| match (what, number) {
            ("retrieve", 1) => Elsewhere::begin(move || {
                check(number_of(&*files.retrieve(registry, 2)?) == 2)?;
                check(error(files.retrieve(registry, 3)) == Some(ENOENT))
            })?
            .end(),
            _ => Ok(()),
        })?;
        assert_eq!(number_of(&*files.retrieve(registry, 1)?), 1);
        world.expect("a.retrieve(-,1101,0) a.retrieve(-,1102,0)")?;
        files.finish(registry)?;
        world.settled()
    }

    #[test]
    fn the_second_who_asks_waits_for_the_first() -> Result {
        for answer in [Ok(()), Err(EILSEQ)] {
            let (world, files) = handed_over(1)?;
            let (files, registry) = (lasting(&files), world.registry());
            let others: Pin<KBox<Mutex<KVec<Elsewhere>>>> =
                KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?;
            let began = lasting(&others);

            world.play(move |what, _, _| {
                if what != "retrieve" {
                    return Ok(());
                }
                for others in 1..4 {
                    let other = Elsewhere::begin(move || {
                        let came = files.retrieve(registry, 1);

                        check(
                            came.as_ref().is_ok_and(|file| number_of(file) == 1) == came.is_ok(),
                        )?;
                        came.map(drop)
                    })?;

                    began.lock().push(other, GFP_KERNEL)?;
                    until(|| waiting(files) == others);
                }
                answer
            })?;
            assert_eq!(files.retrieve(registry, 1).map(drop), answer);
            while let Some(other) = others.lock().pop() {
                assert_eq!(other.end(), answer);
            }
            world.expect("a.retrieve(-,1101,0)")?;
            assert!(at_rest(files));
            files.finish(registry)?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn who_is_killed_waits_no_longer() -> Result {
        let (world, files) = handed_over(1)?;
        let (files, registry) = (lasting(&files), world.registry());

        world.play(move |what, _, _| {
            if what == "retrieve" {
                let retrieves = Mortal::begin(move || files.retrieve(registry, 1).map(drop))?;
                let finishes = Mortal::begin(move || files.finish(registry))?;

                until(|| waiting(files) == 2);
                let killed = [retrieves.kill(), finishes.kill()];
                check(killed == [Err(EINTR); 2] && waiting(files) == 0)?;
            }
            Ok(())
        })?;
        // Nothing has changed for the one that they have waited for, and for those who come later.
        assert_eq!(number_of(&*files.retrieve(registry, 1)?), 1);
        assert!(at_rest(files));
        world.expect("a.retrieve(-,1101,0)")?;
        assert_eq!(number_of(&*files.retrieve(registry, 1)?), 1);
        files.finish(registry)?;
        world.expect("a.can_finish(1,1101,1) a.finish(1,1101,1)")?;
        world.settled()
    }

    #[test]
    fn a_file_at_work_is_left_alone() -> Result {
        let (world, files) = handed_over(1)?;
        let mut set = files.set.lock();

        let file = set.take_away(0).ok_or(ENOENT)?;
        set.asked_by(1).ok_or(ENOENT)?.push(2, GFP_KERNEL)?;
        // Nobody else gets it, and what it asks for stays known.
        assert!(set.take_away(0).is_none());
        assert!(matches!(set.find(1), Ok(Found::Away)));
        assert!(set.asked_by(1).is_some_and(|it| **it == [2]));

        set.put(0, file);
        assert!(matches!(set.find(1), Ok(Found::Waiting(0))));
        drop(set);
        drop(files);
        world.settled()
    }

    #[test]
    fn a_file_that_is_back_is_in_no_circle() -> Result {
        let (world, files) = handed_over(3)?;
        let mut set = files.set.lock();

        // What the first one has asked for is back, and it has not come to notice that.
        let first = set.take_away(0).ok_or(ENOENT)?;
        set.asked_by(1).ok_or(ENOENT)?.push(2, GFP_KERNEL)?;
        let third = set.take_away(2).ok_or(ENOENT)?;
        assert_eq!(set.is_circle(3, 1), Ok(false));

        set.put(2, third);
        set.put(0, first);
        drop(set);
        drop(files);
        world.settled()
    }

    #[test]
    fn finish_waits_for_who_retrieves() -> Result {
        let (world, files) = handed_over(1)?;
        let (files, registry) = (lasting(&files), world.registry());
        let other: Pin<KBox<Mutex<Option<Elsewhere>>>> =
            KBox::pin_init(new_mutex!(None), GFP_KERNEL)?;
        let began = lasting(&other);

        world.play(move |what, _, _| {
            if what == "retrieve" {
                *began.lock() = Some(Elsewhere::begin(move || files.finish(registry))?);
                until(|| waiting(files) == 1);
            }
            Ok(())
        })?;
        drop(files.retrieve(registry, 1)?);
        let other = other.lock().take().ok_or(ENOENT)?;
        other.end()?;
        world.expect("a.retrieve(-,1101,0) a.can_finish(1,1101,1) a.finish(1,1101,1)")?;
        assert!(at_rest(files));
        assert_eq!(error(files.retrieve(registry, 1)), Some(ENOENT));
        world.settled()
    }

    #[test]
    fn who_retrieves_or_finishes_waits_for_finish() -> Result {
        // What came of it: the handler agrees to finish, or does not.
        for agrees in [true, false] {
            let (world, files) = handed_over(2)?;
            let (files, registry) = (lasting(&files), world.registry());
            let others: Pin<KBox<Mutex<KVec<Elsewhere>>>> =
                KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?;
            let began = lasting(&others);

            world.play(move |what, number, _| {
                if (what, number) != ("can_finish", 2) || !began.lock().is_empty() {
                    return Ok(());
                }
                let retrieves = Elsewhere::begin(move || files.retrieve(registry, 1).map(drop))?;
                began.lock().push(retrieves, GFP_KERNEL)?;
                until(|| waiting(files) == 1);
                if agrees {
                    let finishes = Elsewhere::begin(move || files.finish(registry))?;
                    began.lock().push(finishes, GFP_KERNEL)?;
                    until(|| waiting(files) == 2);
                    return Ok(());
                }
                Err(EBUSY)
            })?;
            let due = if agrees { Ok(()) } else { Err(EBUSY) };
            assert_eq!(files.finish(registry), due);
            if agrees {
                let finishes = others.lock().pop().ok_or(ENOENT)?;
                assert_eq!(finishes.end(), Ok(()));
            }
            let retrieves = others.lock().pop().ok_or(ENOENT)?;
            let due = if agrees { Err(ENOENT) } else { Ok(()) };
            assert_eq!(retrieves.end(), due);
            assert!(at_rest(files));
            world.play(|_, _, _| Ok(()))?;
            files.finish(registry)?;
            world.settled()?;
        }
        Ok(())
    }

    #[test]
    fn what_finish_may_ask_for() -> Result {
        let (world, files) = handed_over(3)?;

        world.play(|what, number, fellows| {
            let ask = |token| fellows.file(token).map(|file| number_of(&file));

            match (what, number) {
                // All are there, as far as nobody works on them.
                ("can_finish", 1) => check(ask(1) == Err(ELOOP) && ask(2) == Ok(2)),
                // What was preserved before it is still there, and can be retrieved.
                ("finish", 2) => {
                    check(ask(2) == Err(ENOENT) && ask(3) == Err(ENOENT) && ask(1) == Ok(1))
                }
                _ => Ok(()),
            }
        })?;
        files.finish(world.registry())?;
        world.expect(
            "a.can_finish(-,1101,0) a.retrieve(-,1102,0) a.can_finish(2,1102,1) \
             a.can_finish(-,1103,0) a.finish(-,1103,0) a.finish(2,1102,1) a.retrieve(-,1101,0) \
             a.finish(1,1101,1)",
        )?;
        assert!(at_rest(&files));
        world.settled()
    }

    #[test]
    fn drivers_in_rust() -> Result {
        let registry = &crate::sessions()?.registry;
        let registration = LINKED.register()?;
        let files = OutgoingFiles::none()?;

        for token in 1..4 {
            let file = new_file(0x7e57_0000 + token)?;

            files.preserve(registry, token, || Ok(file))?;
        }
        let same = new_file(0x7e57_0001)?;
        assert_eq!(files.preserve(registry, 4, || Ok(same)), Err(EBUSY));
        files.freeze()?;
        files.unfreeze();
        let (records, _) =
            handover::tests::files_of(&Preservations, &files.freeze()?).map_err(|_| EIO)?;
        let incoming = KBox::pin_init(
            IncomingFiles::adopt(registry, session_name()?, &records)?,
            GFP_KERNEL,
        )?;
        drop(files);

        assert_eq!(incoming.finish(registry), Err(EBUSY));
        assert_eq!(number_of(&*incoming.retrieve(registry, 3)?), 3);
        assert_eq!(incoming.finish(registry), Ok(()));
        drop(registration);
        assert!(!WRONG.load(Relaxed));
        Ok(())
    }
}
