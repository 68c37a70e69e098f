// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! `include/uapi/linux/liveupdate.h` in Rust, for programs that have to say exactly what the
//! kernel gets to see.
//!
//! Each structure begins with its own size, by which the kernel tells older and newer callers
//! apart; the constructors fill it in.

use nix::{errno::Errno, libc, request_code_none};
use std::{
    ffi::{c_int, c_ulong, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The ioctl type byte.
pub const TYPE: u8 = 0xba;

/// The bytes of a name field; the last of them is a NUL at the latest.
pub const NAME_LENGTH: usize = 64;

/// Ioctl: creates a session (device).
pub const CREATE_SESSION: c_ulong = request_code_none!(TYPE, 0x00) as c_ulong;
/// Ioctl: retrieves a session of the previous kernel (device).
pub const RETRIEVE_SESSION: c_ulong = request_code_none!(TYPE, 0x01) as c_ulong;
/// Ioctl: preserves a file (created session).
pub const PRESERVE_FD: c_ulong = request_code_none!(TYPE, 0x40) as c_ulong;
/// Ioctl: retrieves a file (retrieved session).
pub const RETRIEVE_FD: c_ulong = request_code_none!(TYPE, 0x41) as c_ulong;
/// Ioctl: ends a retrieved session's hold on its files (retrieved session).
pub const FINISH: c_ulong = request_code_none!(TYPE, 0x42) as c_ulong;
/// Ioctl: reads a session's name (any session).
pub const GET_NAME: c_ulong = request_code_none!(TYPE, 0x43) as c_ulong;

/// The ioctl that a structure is the argument of.
///
/// # Safety
///
/// `Self` is plain data of which every bit pattern is valid, and `Self::NUMBER` writes no further
/// than the size with which `Self` begins, which is at most `size_of::<Self>()`.
pub unsafe trait Argument: sealed::Sealed {
    /// The ioctl's number.
    const NUMBER: c_ulong;
}

/// What keeps [`Argument`] to the structures here: others have [`raw_ioctl`].
mod sealed {
    pub trait Sealed {}

    impl Sealed for super::CreateSession {}
    impl Sealed for super::RetrieveSession {}
    impl Sealed for super::PreserveFd {}
    impl Sealed for super::RetrieveFd {}
    impl Sealed for super::Finish {}
    impl Sealed for super::GetName {}
}

/// Argument of [`CREATE_SESSION`].
#[repr(C)]
#[derive(Debug)]
pub struct CreateSession {
    size: u32,
    /// Out: the new session's descriptor.
    pub fd: c_int,
    /// In: the name, NUL-terminated.
    pub name: [u8; NAME_LENGTH],
}

impl CreateSession {
    /// An argument of the structure's own size with the given input.
    pub const fn new(name: [u8; NAME_LENGTH]) -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            fd: -1,
            name,
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `new()` made it.
unsafe impl Argument for CreateSession {
    const NUMBER: c_ulong = CREATE_SESSION;
}

/// Argument of [`RETRIEVE_SESSION`].
#[repr(C)]
#[derive(Debug)]
pub struct RetrieveSession {
    size: u32,
    /// Out: the retrieved session's descriptor.
    pub fd: c_int,
    /// In: the name, NUL-terminated.
    pub name: [u8; NAME_LENGTH],
}

impl RetrieveSession {
    /// An argument of the structure's own size with the given input.
    pub const fn new(name: [u8; NAME_LENGTH]) -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            fd: -1,
            name,
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `new()` made it.
unsafe impl Argument for RetrieveSession {
    const NUMBER: c_ulong = RETRIEVE_SESSION;
}

/// Argument of [`PRESERVE_FD`].
#[repr(C)]
#[derive(Debug)]
pub struct PreserveFd {
    size: u32,
    /// In: the descriptor of the file to preserve.
    pub fd: c_int,
    /// In: what the file is asked for by in the next kernel.
    pub token: u64,
}

impl PreserveFd {
    /// An argument of the structure's own size with the given input.
    pub const fn new(fd: c_int, token: u64) -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            fd,
            token,
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `new()` made it.
unsafe impl Argument for PreserveFd {
    const NUMBER: c_ulong = PRESERVE_FD;
}

/// Argument of [`RETRIEVE_FD`].
#[repr(C)]
#[derive(Debug)]
pub struct RetrieveFd {
    size: u32,
    /// Out: a new descriptor of the retrieved file.
    pub fd: c_int,
    /// In: what the file was preserved under.
    pub token: u64,
}

impl RetrieveFd {
    /// An argument of the structure's own size with the given input.
    pub const fn new(token: u64) -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            fd: -1,
            token,
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `new()` made it.
unsafe impl Argument for RetrieveFd {
    const NUMBER: c_ulong = RETRIEVE_FD;
}

/// Argument of [`FINISH`].
#[repr(C)]
#[derive(Debug)]
pub struct Finish {
    size: u32,
    /// In: zero.
    pub reserved: u32,
}

impl Default for Finish {
    fn default() -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            reserved: 0,
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `default()` made it.
unsafe impl Argument for Finish {
    const NUMBER: c_ulong = FINISH;
}

/// Argument of [`GET_NAME`].
#[repr(C)]
#[derive(Debug)]
pub struct GetName {
    size: u32,
    /// In: zero.
    pub reserved: u32,
    /// Out: the name, NUL-terminated.
    pub name: [u8; NAME_LENGTH],
}

impl Default for GetName {
    fn default() -> Self {
        Self {
            size: mem::size_of::<Self>() as u32,
            reserved: 0,
            name: [0; NAME_LENGTH],
        }
    }
}

// SAFETY: Integers only, and the private `size` is what `default()` made it.
unsafe impl Argument for GetName {
    const NUMBER: c_ulong = GET_NAME;
}

const _: () = {
    assert!(mem::size_of::<CreateSession>() == 72);
    assert!(mem::size_of::<RetrieveSession>() == 72);
    assert!(mem::size_of::<PreserveFd>() == 16);
    assert!(mem::size_of::<RetrieveFd>() == 16);
    assert!(mem::size_of::<Finish>() == 8);
    assert!(mem::size_of::<GetName>() == 72);
    assert!(CREATE_SESSION == 0xba00 && GET_NAME == 0xba43);
};

/// Does the ioctl that `arg` belongs to.
pub fn call<A: Argument>(fd: BorrowedFd<'_>, arg: &mut A) -> io::Result<()> {
    // SAFETY: The kernel writes within `arg` only, by the requirement of `Argument`.
    unsafe { raw_ioctl(fd, A::NUMBER, (&raw mut *arg).cast()) }
}

/// Does any ioctl with any pointer.
///
/// # Safety
///
/// Whatever the ioctl writes through `arg` is memory that the caller may have changed: the size
/// that begins the structure counts, not the structure's type. Memory that cannot be accessed is
/// allowed and gives `EFAULT`.
pub unsafe fn raw_ioctl(fd: BorrowedFd<'_>, number: c_ulong, arg: *mut c_void) -> io::Result<()> {
    // SAFETY: By this function's requirement.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number as libc::Ioctl, arg) })?;
    Ok(())
}
