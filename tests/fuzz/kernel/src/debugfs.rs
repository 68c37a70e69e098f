// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs, which nobody reads.

use crate::error::Result;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use pin_init::pin_data;
use pin_init::pin_init;
use pin_init::PinInit;

/// Records, to be written one by one.
pub trait RecordWriter {
    /// The first record at a position or behind it.
    fn seek(&self, pos: u64) -> Result<Option<u64>>;

    /// Writes the record at a position.
    fn write(&self, pos: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A directory.
pub struct ScopedDir<'data, 'dir>(PhantomData<(&'data (), &'dir ())>);

impl<'data> ScopedDir<'data, '_> {
    /// Makes a directory.
    pub fn dir<'dir>(&'dir self, _name: &CStr) -> ScopedDir<'data, 'dir> {
        ScopedDir(PhantomData)
    }

    /// Makes a file.
    pub fn read_callback_file<T, F>(&self, _name: &CStr, _data: &'data T, _f: &'static F)
    where
        F: Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
    {
    }

    /// Makes a file of records.
    pub fn read_record_file<T: RecordWriter>(&self, _name: &CStr, _data: &'data T) {}
}

/// What the files of a directory show.
#[pin_data]
pub struct Scope<T> {
    #[pin]
    data: T,
}

// SAFETY: There is one thread.
unsafe impl<T> Sync for Scope<T> {}

impl<T> Scope<T> {
    /// Makes a directory.
    pub fn dir<'a, E: 'a>(
        data: impl PinInit<T, E> + 'a,
        _name: &'a CStr,
        init: impl for<'data, 'dir> FnOnce(&'data T, &'dir ScopedDir<'data, 'dir>) + 'a,
    ) -> impl PinInit<Self, E> + 'a
    where
        T: 'a,
    {
        pin_init!(Self { data <- data }? E).pin_chain(|scope| {
            init(&scope.data, &ScopedDir(PhantomData));
            Ok(())
        })
    }
}
