// SPDX-License-Identifier: GPL-2.0

//! The fuzz target: boots the LUO of this tree on a hand-over made of the fuzzer's bytes, and
//! compares what comes of it with what the hand-over says ([`model`]).
//!
//! The LUO is called as C code and userspace call it. Beside what the checks of the compiler find,
//! the target fails if the two differ in whether the hand-over can be believed, in what is in it,
//! and in which pages are released; if one refused says nothing, or more than one thing; if it
//! takes too many looks; and if the next kernel does not get the same again.

#![no_main]

mod driver;
mod image;
mod model;
mod userspace;

use arbitrary::Unstructured;
use core::ffi::c_char;
use core::ffi::c_int;
use core::ffi::CStr;
use driver::Driver;
use image::Image;
use image::KNOWN;
use kernel::error::code::EIO;
use kernel::error::code::ENODATA;
use kernel::error::code::ENOENT;
use kernel::machine;
use kernel::machine::Level;
use luo_core as _;
use model::Session;
use std::collections::BTreeSet;
use userspace::Device;

extern "C" {
    fn luo_set_enabled(enable: bool);
    fn luo_set_abi(name: *const c_char);
    fn luo_early_init() -> c_int;
    fn luo_late_init() -> c_int;
    fn liveupdate_reboot() -> c_int;
}

/// Boots, up to where drivers are loaded, a kernel that will hand over in this format.
fn boot(format: &CStr) {
    // SAFETY: This is what happens first when the kernel boots.
    unsafe {
        luo_set_enabled(true);
        luo_set_abi(format.as_ptr());
        assert_eq!(luo_early_init(), 0);
        assert_eq!(luo_late_init(), 0);
    }
}

/// How often a message of this level was logged.
fn count(level: Level) -> usize {
    let messages = machine::messages();

    messages.iter().filter(|(it, _)| *it == level).count()
}

/// Jumps into the next kernel, which has to find `sessions`, and the number of this live update.
fn kexec(number: u64, sessions: &[Session], last: impl FnOnce()) {
    // SAFETY: This is what happens last.
    assert_eq!(unsafe { liveupdate_reboot() }, 0);
    machine::kexec(last);
    boot(c"luo-v5");

    let says = format!("number: {number}\n");
    assert!(machine::messages()
        .iter()
        .any(|(_, it)| it.ends_with(&says)));

    let drivers = [Driver::new(KNOWN[0]), Driver::new(KNOWN[1])];
    let device = Device::open().expect("what this LUO wrote is sound");
    for session in sessions {
        device.retrieve(session);
    }
    drop(device);
    drop(drivers);
    assert_eq!(count(Level::Err), 0);
}

fn check(image: &Image) {
    let contents = image.contents();
    let number = image.number().wrapping_add(1);

    for (&phys, bytes) in &image.pages {
        machine::hand_over(phys, bytes);
    }
    if let Some((phys, size)) = image.entry {
        machine::publish(phys, size);
    }

    boot(image.next_format);
    let released = machine::released();
    let once: BTreeSet<_> = released.iter().copied().collect();
    let expected = contents
        .as_ref()
        .map_or_else(BTreeSet::new, |it| it.pages.clone());
    assert_eq!(released.len(), once.len(), "released twice");
    assert_eq!(once, expected, "released");
    // Twice to read a page, and once to release it.
    assert!(machine::questions() <= 3 * image.pages.len() + 2);
    assert_eq!(count(Level::Err), usize::from(contents.is_none()));

    let drivers = [Driver::new(KNOWN[0]), Driver::new(KNOWN[1])];
    for (driver, name) in drivers.iter().zip(KNOWN) {
        let expected = contents.as_ref().ok_or(EIO).and_then(|contents| {
            let flbs = contents.flbs.as_ref().ok_or(ENODATA)?;
            let flb = flbs.iter().find(|flb| flb.name == name.as_bytes());

            flb.map(|flb| flb.data).ok_or(ENOENT)
        });

        assert_eq!(driver.flb(), expected, "FLB {name}");
    }
    let pinned = machine::modules();

    let unknown = contents.as_ref().map_or(0, |it| it.unknown().len());
    let Some(contents) = contents.filter(|_| unknown == 0) else {
        for _ in 0..2 {
            assert_eq!(Device::open().err(), Some(EIO));
        }
        assert_eq!(machine::released(), released, "released, though refused");
        // What is unknown is told one by one, up to a number.
        let told = unknown.clamp(1, 16);
        assert_eq!(count(Level::Err), told, "{:?}", machine::messages());
        assert_eq!(machine::modules(), pinned);
        return kexec(number, &[], || drop(drivers));
    };

    let files: usize = contents.sessions.iter().map(|it| it.files.len()).sum();
    let device = Device::open().expect("a sound hand-over");
    assert_eq!(machine::released(), released, "released twice");
    assert_eq!(machine::modules(), pinned + files as isize);
    assert_eq!(count(Level::Err), 0, "{:?}", machine::messages());

    let kept: Vec<_> = contents
        .sessions
        .iter()
        .map(|it| device.retrieve(it))
        .collect();
    assert!(machine::modules() <= pinned);
    let kept: Vec<_> = kept
        .into_iter()
        .zip(&contents.sessions)
        .map(|(files, session)| device.preserve(session, files))
        .collect();

    drop(device);
    kexec(number, &contents.sessions, || drop((kept, drivers)));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(image) = Image::build(&mut Unstructured::new(data)) else {
        return;
    };

    machine::power_off();
    check(&image);
    machine::power_off();
});
