// SPDX-License-Identifier: GPL-2.0

//! Files and their descriptors.

use crate::bindings;
use crate::error::Result;
use crate::machine;
use crate::sync::aref::ARef;
use crate::sync::aref::AlwaysRefCounted;
use crate::types::Opaque;
use core::ops::Deref;
use core::ptr::NonNull;

/// How descriptors are made.
pub mod flags {
    /// To be closed by `execve()`.
    pub const O_CLOEXEC: u32 = 0o2000000;
    /// To read and write.
    pub const O_RDWR: u32 = 2;
}

/// There is no such descriptor.
#[derive(Debug)]
pub struct BadFdError;

/// An open file.
#[repr(transparent)]
pub struct LocalFile(Opaque<bindings::file>);

/// An open file, of any task.
#[repr(transparent)]
pub struct File(LocalFile);

impl LocalFile {
    /// The file behind a descriptor.
    pub fn fget(fd: u32) -> Result<ARef<LocalFile>, BadFdError> {
        let file = NonNull::new(machine::fget(fd)).ok_or(BadFdError)?;

        // SAFETY: The reference was just taken.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }

    /// Makes it one of any task.
    ///
    /// # Safety
    ///
    /// None here.
    pub unsafe fn assume_no_fdget_pos(file: ARef<LocalFile>) -> ARef<File> {
        // SAFETY: The two are laid out alike, and so is how they are counted.
        unsafe { ARef::from_raw(ARef::into_raw(file).cast()) }
    }

    /// For C code.
    pub fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }
}

impl File {
    /// A file of C code.
    ///
    /// # Safety
    ///
    /// It is open as long as the result is there.
    pub unsafe fn from_raw_file<'a>(file: *const bindings::file) -> &'a Self {
        // SAFETY: The caller guarantees it, and the type is a transparent wrapper.
        unsafe { &*file.cast() }
    }
}

impl Deref for File {
    type Target = LocalFile;

    fn deref(&self) -> &LocalFile {
        &self.0
    }
}

// SAFETY: The count keeps the file.
unsafe impl AlwaysRefCounted for LocalFile {
    fn inc_ref(&self) {
        // SAFETY: The file is there.
        unsafe { bindings::get_file(self.as_ptr()) };
    }

    unsafe fn dec_ref(file: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::fput(file.as_ptr().cast()) };
    }
}

// SAFETY: As above.
unsafe impl AlwaysRefCounted for File {
    fn inc_ref(&self) {
        self.0.inc_ref();
    }

    unsafe fn dec_ref(file: NonNull<Self>) {
        // SAFETY: As above.
        unsafe { LocalFile::dec_ref(file.cast()) };
    }
}

// SAFETY: There is one thread.
unsafe impl Send for File {}

// SAFETY: As above.
unsafe impl Sync for File {}

/// A descriptor without a file.
pub struct FileDescriptorReservation(u32);

impl FileDescriptorReservation {
    /// Takes a descriptor.
    pub fn get_unused_fd_flags(_: u32) -> Result<Self> {
        Ok(Self(machine::reserve_fd()))
    }

    /// Its number.
    pub fn reserved_fd(&self) -> u32 {
        self.0
    }

    /// Puts a file behind it.
    pub fn fd_install(self, file: ARef<File>) {
        machine::install_fd(self.0, ARef::into_raw(file).as_ptr().cast());
    }
}
