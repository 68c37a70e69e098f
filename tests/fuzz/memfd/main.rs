// SPDX-License-Identifier: GPL-2.0

//! The fuzz target for memfds: asks the handler of this tree for files of which the hand-over is made
//! of the fuzzer's bytes ([`image`]), or finishes them.
//!
//! Beside what the checks of the compiler find, and of the machine, in which nothing can be taken
//! twice, the target fails if a file that is refused leaves anything claimed or taken, or says not
//! one thing; if one that is not is not made of what its entries say, or leaves anything; and if one
//! is refused with which nothing is wrong.

#![no_main]

mod image;

use arbitrary::Unstructured;
use image::Image;
use kernel::error::code::EIO;
use kernel::error::code::EOPNOTSUPP;
use kernel::fs::File;
use kernel::liveupdate;
use kernel::machine;
use kernel::machine::Level;
use kernel::memfd;
use kernel::sync::aref::ARef;

/// How many errors were logged.
fn errors() -> usize {
    let messages = machine::messages();

    messages.iter().filter(|(it, _)| *it == Level::Err).count()
}

/// Asks for a file, or finishes it.
fn take(file: &image::File) -> kernel::error::Result<Option<ARef<File>>> {
    match file.asked {
        true => liveupdate::retrieve(file.format.name(), file.data).map(Some),
        false => liveupdate::finish(file.format.name(), file.data).map(|()| None),
    }
}

fn check(image: &Image) {
    for (&phys, bytes) in &image.blocks {
        machine::hand_over(phys, bytes);
    }

    let module = luo_memfd::init_module().expect("a module");
    let mut kept = vec![];

    for file in &image.files {
        let (there, _) = machine::claims();
        let taken = machine::taken();
        let logged = errors();

        match take(file) {
            Err(err) => {
                assert!(err == EIO || err == EOPNOTSUPP, "{err:?}");
                assert!(!image.sound, "refused: {:?}", machine::messages());
                assert_eq!(errors(), logged + 1);
                assert_eq!(machine::taken(), taken, "taken, though refused");
                assert_eq!(machine::claims().0, there, "not as it was");
            }
            Ok(open) => {
                assert_eq!(errors(), logged);

                // It was read before, and so it can be now.
                let due = image.made(file).expect("what was taken is sound");
                let [used, freed] = machine::taken();
                let [was_used, was_freed] = taken;
                let more: Vec<_> = used.union(&freed).copied().collect();
                let new = more.len() - was_used.union(&was_freed).count();
                assert_eq!(new, due.pages.len() + due.other, "taken");

                if let Some(open) = open {
                    // SAFETY: The file was made by the handler.
                    assert_eq!(unsafe { memfd::look(&open) }, due.made);
                    assert_eq!(used.len() - was_used.len(), due.pages.len());
                    kept.push(open);
                } else {
                    assert_eq!(used, was_used, "not freed");
                }
            }
        }
        assert!(machine::claims().1.is_empty(), "claimed by nobody");
    }

    drop(kept);
    assert!(machine::taken()[0].is_empty(), "not freed");
    drop(module);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(image) = Image::build(&mut Unstructured::new(data)) else {
        return;
    };

    machine::power_off();
    check(&image);
    machine::power_off();
});
