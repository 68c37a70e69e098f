// SPDX-License-Identifier: GPL-2.0

//! Drivers of live update, and in place of the LUO that calls them somebody who [asks](retrieve) for
//! a file, or [finishes](finish) it.

use crate::error::code::ENOENT;
use crate::error::Result;
use crate::fs::File;
use crate::machine;
use crate::sync::aref::ARef;
use core::ffi::CStr;
use core::marker::PhantomData;
use macros::vtable;

/// Whether there is a LUO.
pub fn is_enabled() -> bool {
    true
}

/// What is preserved as long as it exists.
pub trait HandOver: Send + 'static {
    /// The number by which the next kernel finds it.
    fn data(&self) -> u64;
}

/// The number that the kernel before left.
pub struct Handle(u64);

impl Handle {
    /// The number.
    pub fn into_data(self) -> u64 {
        self.0
    }
}

/// A session.
pub struct Session<'a>(PhantomData<&'a ()>);

/// A file handler.
#[vtable]
pub trait FileHandler: Sized + 'static {
    /// What it is called.
    const COMPATIBLE: &'static CStr;

    /// A file that is preserved.
    type Preserved: HandOver;

    /// What was handed over of a file.
    type Restored: Send;

    /// Whether a file is one of its.
    fn can_preserve(file: &File) -> bool;

    /// Preserves a file.
    fn preserve(file: &File, session: &Session<'_>) -> Result<Self::Preserved>;

    /// Puts down what has changed.
    fn freeze(file: &File, preserved: &mut Self::Preserved, session: &Session<'_>) -> Result;

    /// Goes on.
    fn unfreeze(file: &File, preserved: &mut Self::Preserved, session: &Session<'_>);

    /// Takes over what was handed over.
    fn restore(handle: Handle) -> Result<Self::Restored>;

    /// Makes the file of it.
    fn retrieve(restored: Self::Restored, session: &Session<'_>) -> Result<ARef<File>>;

    /// What tells the file from others.
    fn get_id(file: &File) -> usize;
}

/// What a handler does with what was handed over.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    retrieve: fn(u64) -> Result<ARef<File>>,
    finish: fn(u64) -> Result,
}

/// A handler, to be registered.
pub struct Handler<T>(PhantomData<fn(T)>);

/// A file-lifecycle-bound object; there are none.
pub struct NoFlb;

impl<T: FileHandler> Handler<T> {
    /// Makes one.
    pub const fn new(_: &'static [NoFlb]) -> Self {
        Self(PhantomData)
    }

    /// Registers it.
    pub fn register(&'static self) -> Result<Registration<T>> {
        machine::set_handler(
            T::COMPATIBLE,
            Callbacks {
                retrieve: |data| T::retrieve(T::restore(Handle(data))?, &Session(PhantomData)),
                finish: |data| T::restore(Handle(data)).map(drop),
            },
        );
        Ok(Registration(PhantomData))
    }
}

/// That a handler is registered.
pub struct Registration<T>(PhantomData<fn(T)>);

/// Asks for a file that was handed over.
pub fn retrieve(handler: &CStr, data: u64) -> Result<ARef<File>> {
    (machine::handler(handler).ok_or(ENOENT)?.retrieve)(data)
}

/// Finishes one that nobody has asked for.
pub fn finish(handler: &CStr, data: u64) -> Result {
    (machine::handler(handler).ok_or(ENOENT)?.finish)(data)
}
