// SPDX-License-Identifier: GPL-2.0

//! Arguments of system calls that may grow: structs in user memory that begin with their size.
//!
//! A program says how large it believes the struct to be, and may know a shorter or a longer one
//! than the kernel. What it does not know is zero to the kernel; what the kernel does not know has to
//! be zero.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h), where
//! `copy_struct_from_user()` does the same for a size that is known beforehand.

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    uaccess::UserPtr, //
};
use core::ptr;
use zerocopy::Immutable;

/// The argument of a system call, of which there may be shorter and longer versions.
pub trait Extensible: FromBytes + IntoBytes + Immutable {
    /// The smallest size, in bytes, that a caller may claim: up to the last field that the first
    /// version had.
    const MIN_SIZE: usize;
}

/// An argument in user memory, which begins with its size as a `u32`.
///
/// # Examples
///
/// ```no_run
/// use kernel::uaccess::{
///     extensible::{
///         Argument,
///         Extensible, //
///     },
///     UserPtr, //
/// };
///
/// #[repr(C)]
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// struct Double {
///     size: u32,
///     number: u32,
/// }
///
/// impl Extensible for Double {
///     const MIN_SIZE: usize = 8;
/// }
/// # use zerocopy_derive::Immutable;
///
/// fn ioctl(arg: usize) -> Result {
///     let arg = Argument::new(UserPtr::from_addr(arg))?;
///     let mut request: Double = arg.read()?;
///
///     request.number = request.number.checked_mul(2).ok_or(EINVAL)?;
///     arg.respond(&request)
/// }
/// ```
pub struct Argument {
    ptr: UserPtr,
    size: usize,
}

impl Argument {
    /// Reads the size, in bytes. May sleep.
    ///
    /// Returns `EFAULT` if it cannot be read.
    #[inline]
    pub fn new(ptr: UserPtr) -> Result<Self> {
        let mut size = 0;

        // SAFETY: The size may be written to; the function copes with any address of the user's.
        to_result(unsafe { bindings::get_user_u32(&mut size, ptr.as_const_ptr().cast()) })?;

        Ok(Self {
            ptr,
            size: size as usize,
        })
    }

    /// Reads the struct. May sleep.
    ///
    /// Returns `EINVAL` if it is shorter than any caller may believe it to be, `E2BIG` if something
    /// stands behind what this kernel knows, `EFAULT` if it cannot be read.
    pub fn read<T: Extensible>(&self) -> Result<T> {
        if self.size < T::MIN_SIZE {
            return Err(EINVAL);
        }

        if let Some(rest @ 1..) = self.size.checked_sub(size_of::<T>()) {
            let from = self.ptr.wrapping_byte_add(size_of::<T>()).as_const_ptr();

            // SAFETY: The function copes with any address and any size.
            match unsafe { bindings::check_zeroed_user(from, rest) } {
                1 => {}
                0 => return Err(E2BIG),
                err => return Err(Error::from_errno(err)),
            }
        }

        let mut value = T::new_zeroed();
        let to = (&raw mut value).cast();
        let len = self.size.min(size_of::<T>());

        // SAFETY: The value may be written to, in `len` bytes at least, and may hold any bytes. The
        // function copes with any address of the user's.
        match unsafe { bindings::_copy_from_user(to, self.ptr.as_const_ptr(), len) } {
            0 => Ok(value),
            _ => Err(EFAULT),
        }
    }

    /// Writes the struct back, as far as the caller knows it. May sleep.
    ///
    /// Returns `EFAULT` if it cannot be written.
    pub fn respond<T: Extensible>(&self, value: &T) -> Result {
        let from = ptr::from_ref(value).cast();
        let len = self.size.min(size_of::<T>());

        // SAFETY: The value may be read, in `len` bytes at least, and has no padding. The function
        // copes with any address of the user's.
        match unsafe { bindings::_copy_to_user(self.ptr.as_mut_ptr(), from, len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}
