// SPDX-License-Identifier: GPL-2.0

//! Error numbers.

use crate::alloc::AllocError;
use crate::alloc::PushError;
use crate::fs::BadFdError;
use core::ffi::c_int;
use core::fmt;
use core::num::NonZeroI32;

/// An error number, as the kernel has them: negative.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

/// What a function of the kernel returns.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

macro_rules! codes {
    ($($name:ident = $number:literal)*) => {
        /// The numbers, by name.
        pub mod code {
            $(
                #[doc = concat!("Error number ", $number, ".")]
                pub const $name: super::Error =
                    super::Error(core::num::NonZeroI32::new(-$number).unwrap());
            )*
        }

        impl Error {
            fn name(&self) -> Option<&'static str> {
                match *self {
                    $(code::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    ENOENT = 2
    EINTR = 4
    EIO = 5
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    ENOMEM = 12
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    ENODEV = 19
    EINVAL = 22
    ENFILE = 23
    EMFILE = 24
    EFBIG = 27
    ENOSPC = 28
    ELOOP = 40
    ENODATA = 61
    EOPNOTSUPP = 95
    ENOIOCTLCMD = 515
}

impl Error {
    /// Takes a negative number.
    pub fn from_errno(errno: c_int) -> Self {
        NonZeroI32::new(errno).map_or(code::EINVAL, Self)
    }

    /// The negative number.
    pub fn to_errno(self) -> c_int {
        self.0.get()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl<T> From<PushError<T>> for Error {
    fn from(_: PushError<T>) -> Self {
        code::EINVAL
    }
}

impl From<BadFdError> for Error {
    fn from(_: BadFdError) -> Self {
        code::EBADF
    }
}

impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Self {
        code::EINVAL
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

/// What a C function returned.
pub fn to_result(err: c_int) -> Result {
    if err < 0 {
        Err(Error::from_errno(err))
    } else {
        Ok(())
    }
}

/// What a C function is to return.
pub fn from_result<T: From<i16>>(result: impl FnOnce() -> Result<T>) -> T {
    result().unwrap_or_else(|err| T::from(err.to_errno() as i16))
}

/// A pointer that may be an error number.
pub fn from_err_ptr<T>(ptr: *mut T) -> Result<*mut T> {
    match ptr.addr() as isize {
        errno @ -4095..0 => Err(Error::from_errno(errno as c_int)),
        _ => Ok(ptr),
    }
}
