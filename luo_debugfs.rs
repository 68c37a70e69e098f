// SPDX-License-Identifier: GPL-2.0

//! What root sees of live update: `/sys/kernel/debug/liveupdate/`.
//!
//! Each file tells how one thing stands when it is read, for people and programs: words in lines,
//! separated by tabs. `Documentation/observing.rst` says which. Nothing can be changed here.
//!
//! Reading takes no lock for longer than a line, or a table of what drivers have registered. While
//! a reboot is under way it waits for none that is held until the drivers have answered.

use crate::{
    abi::Escaped,
    luo_file::Registry,
    luo_session::{
        Direction,
        Incoming,
        Outgoing,
        Sessions, //
    },
    Luo, //
};
use core::marker::PhantomData;
use kernel::{
    debugfs::{
        RecordWriter,
        Scope,
        ScopedDir, //
    },
    fmt,
    kexec::{
        Image,
        Lock, //
    },
    module_ref::ModuleRef,
    prelude::*,
    sync::SetOnce, //
};

/// The directory, made at late init for good.
static DIRECTORY: SetOnce<Pin<KBox<Scope<Directory>>>> = SetOnce::new();

/// What the files of the directory show.
struct Directory {
    luo: Option<&'static Luo>,
    sessions: Option<(List<Outgoing>, List<Incoming>)>,
}

/// The sessions of one direction.
struct List<D>(&'static Sessions, PhantomData<D>);

impl<D: Direction> RecordWriter for List<D> {
    fn seek(&self, position: u64) -> Result<Option<u64>> {
        Ok(D::next(self.0, position)?.map(|(position, _)| position))
    }

    fn write(&self, position: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match D::next(self.0, position) {
            Ok(Some((found, session))) if found == position => session.show(f),
            _ => Ok(()),
        }
    }
}

/// A word, or `-` if there is none.
fn or_dash<T: fmt::Display>(f: &mut fmt::Formatter<'_>, word: Option<T>) -> fmt::Result {
    match word {
        Some(word) => f.write_fmt(fmt!("{word}")),
        None => f.write_str("-"),
    }
}

/// The end of a line about what is in a module, or built in.
fn module(f: &mut fmt::Formatter<'_>, module: Option<ModuleRef>) -> fmt::Result {
    let name = module.as_ref().and_then(ModuleRef::name);

    or_dash(f, name.map(|name| Escaped(name.to_bytes())))?;
    f.write_str("\n")
}

/// The file handlers, in the order of their registration.
fn handlers(registry: &Registry, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let registrations = registry.registrations.read();
    let mut handlers = registrations.handlers().iter();

    handlers.try_for_each(|handler| {
        let compatible = Escaped(handler.compatible());
        let files = handler.files();

        f.write_fmt(fmt!("{compatible}\t{files}\t"))?;
        module(f, handler.pin_module())
    })
}

/// The FLBs, in the order of their registration.
fn flbs(registry: &Registry, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let registrations = registry.registrations.read();
    let mut flbs = registrations.flbs().iter();

    flbs.try_for_each(|flb| {
        let compatible = Escaped(flb.compatible());
        let (outgoing, incoming) = (flb.outgoing_files(), flb.incoming_files(registry));

        f.write_fmt(fmt!("{compatible}\t{outgoing}\t{incoming}\t"))?;
        module(f, flb.pin_module().ok())
    })
}

/// Adds the files of a LUO that is on.
fn add_files<'data>(luo: &'data &'static Luo, directory: &ScopedDir<'data, '_>) {
    directory.read_callback_file(c"number", luo, &|luo: &&Luo, f: &mut fmt::Formatter<'_>| {
        let number = luo.sessions.registry.handed_over.lock().liveupdate_num();

        writeln!(f, "{number}")
    });
    directory.read_callback_file(
        c"format_incoming",
        luo,
        &|luo: &&Luo, f: &mut fmt::Formatter<'_>| {
            let format = luo.sessions.registry.handed_over.lock().format();

            or_dash(f, format.map(|format| format.name()))?;
            f.write_str("\n")
        },
    );
    directory.read_callback_file(
        c"format_outgoing",
        luo,
        &|_: &&Luo, f: &mut fmt::Formatter<'_>| writeln!(f, "{}", crate::outgoing_format().name()),
    );
    directory.read_callback_file(
        c"handover",
        luo,
        &|luo: &&Luo, f: &mut fmt::Formatter<'_>| {
            luo.sessions.write_handed_over(f)?;
            f.write_str("\n")
        },
    );
    directory.read_callback_file(c"image", luo, &|_: &&Luo, f: &mut fmt::Formatter<'_>| {
        // Who wants to enter the image is not to find kexec locked for longer than that.
        let image = Lock::try_lock().map(|lock| lock.image());

        f.write_str(match image {
            Ok(Image::None) => "none\n",
            Ok(Image::Carries) => "carries\n",
            Ok(Image::Loses) => "loses\n",
            Err(_) => "busy\n",
        })
    });
    directory.read_callback_file(
        c"handlers",
        luo,
        &|luo: &&Luo, f: &mut fmt::Formatter<'_>| handlers(&luo.sessions.registry, f),
    );
    directory.read_callback_file(c"flbs", luo, &|luo: &&Luo, f: &mut fmt::Formatter<'_>| {
        flbs(&luo.sessions.registry, f)
    });
}

/// Makes the directory; in a kernel where LUO is off, it says no more than that. Without memory, or
/// without debugfs, there is none.
pub(crate) fn init(luo: Option<&'static Luo>) {
    let directory = Directory {
        luo,
        sessions: luo.map(|luo| {
            let sessions = &luo.sessions;

            (List(sessions, PhantomData), List(sessions, PhantomData))
        }),
    };
    let directory = Scope::dir(directory, c"liveupdate", |shown, directory| {
        directory.read_callback_file(
            c"enabled",
            shown,
            &|_: &Directory, f: &mut fmt::Formatter<'_>| {
                f.write_str(if crate::enabled() { "Y\n" } else { "N\n" })
            },
        );
        if let Some(luo) = &shown.luo {
            add_files(luo, directory);
        }
        if let Some((outgoing, incoming)) = &shown.sessions {
            let sessions = directory.dir(c"sessions");

            sessions.read_record_file(c"outgoing", outgoing);
            sessions.read_record_file(c"incoming", incoming);
        }
    });

    if let Ok(directory) = KBox::pin_init(directory, GFP_KERNEL) {
        DIRECTORY.populate(directory);
    }
}
