// SPDX-License-Identifier: GPL-2.0

//! The ioctls of `/dev/liveupdate` and of session file descriptors.
//!
//! C header: `include/uapi/linux/liveupdate.h`. Every argument is an extensible struct: its first
//! field says how large the caller believes it to be.

use kernel::{
    ioctl::_IO,
    prelude::*,
    static_assert,
    uaccess::extensible::Extensible, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The room for a session name, its NUL included: `LIVEUPDATE_SESSION_NAME_LENGTH`.
pub(crate) const NAME_LENGTH: usize = 64;

const TYPE: u32 = 0xba;

/// The argument of one ioctl.
pub(crate) trait Request: Extensible {
    /// The command number.
    const CMD: u32;
}

/// The numbers (`_IOC_NR`) of the device's ioctls.
pub(crate) const DEVICE_NUMBERS: core::ops::RangeInclusive<u32> = 0x00..=0x01;

/// The numbers (`_IOC_NR`) of the ioctls of a session.
pub(crate) const SESSION_NUMBERS: core::ops::RangeInclusive<u32> = 0x40..=0x43;

macro_rules! requests {
    ($($(#[$meta:meta])* $name:ident = $nr:literal, $size:literal bytes {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub(crate) struct $name {
            /// In: the size of this struct as the caller knows it, in bytes.
            pub(crate) size: u32,
            $($(#[$field_meta])* pub(crate) $field: $type,)*
        }

        static_assert!(size_of::<$name>() == $size);

        impl Request for $name {
            const CMD: u32 = _IO(TYPE, $nr);
        }

        impl Extensible for $name {
            const MIN_SIZE: usize = $size;
        }
    )*};
}

requests! {
    /// `LIVEUPDATE_IOCTL_CREATE_SESSION`: make a session to preserve files in.
    CreateSession = 0x00, 72 bytes {
        /// Out: the session's file descriptor.
        fd: i32,
        /// In: the name, NUL-terminated.
        name: [u8; NAME_LENGTH],
    }

    /// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`: get a session of the previous kernel.
    RetrieveSession = 0x01, 72 bytes {
        /// Out: the session's file descriptor.
        fd: i32,
        /// In: the name, NUL-terminated.
        name: [u8; NAME_LENGTH],
    }

    /// `LIVEUPDATE_SESSION_PRESERVE_FD`: put a file into a session.
    PreserveFd = 0x40, 16 bytes {
        /// In: the file descriptor.
        fd: i32,
        /// In: what the file is called from now on.
        token: u64,
    }

    /// `LIVEUPDATE_SESSION_RETRIEVE_FD`: get a file of the previous kernel.
    RetrieveFd = 0x41, 16 bytes {
        /// Out: the file descriptor.
        fd: i32,
        /// In: what the file was called.
        token: u64,
    }

    /// `LIVEUPDATE_SESSION_FINISH`: release what the session still holds.
    Finish = 0x42, 8 bytes {
        /// In: has to be zero.
        reserved: u32,
    }

    /// `LIVEUPDATE_SESSION_GET_NAME`: what is this session called?
    GetName = 0x43, 72 bytes {
        /// In: has to be zero.
        reserved: u32,
        /// Out: the name, NUL-terminated.
        name: [u8; NAME_LENGTH],
    }
}
