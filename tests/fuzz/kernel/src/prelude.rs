// SPDX-License-Identifier: GPL-2.0

//! What every file of a kernel crate imports.

pub use crate::alloc::flags::*;
pub use crate::alloc::KBox;
pub use crate::alloc::KVVec;
pub use crate::alloc::KVec;
pub use crate::alloc::VVec;
pub use crate::error::code::*;
pub use crate::error::Error;
pub use crate::error::Result;
pub use crate::module;
pub use crate::module::ThisModule;
pub use crate::pr_err;
pub use crate::pr_info;
pub use crate::pr_notice;
pub use crate::pr_warn;
pub use crate::static_assert;
pub use crate::str::CStrExt as _;
pub use crate::try_pin_init;
pub use crate::uaccess::UserPtr;
pub use core::ffi::c_char;
pub use core::ffi::c_int;
pub use core::ffi::c_uint;
pub use core::ffi::c_void;
pub use core::ffi::CStr;
pub use core::format_args as fmt;
pub use core::mem::align_of;
pub use core::mem::size_of;
pub use core::pin::Pin;
pub use macros::export;
pub use macros::vtable;
pub use pin_init::pin_data;
pub use pin_init::pin_init;
pub use pin_init::pinned_drop;
pub use pin_init::Init;
pub use pin_init::PinInit;
pub use pin_init::Zeroable;
pub use zerocopy::FromBytes;
pub use zerocopy::IntoBytes;
pub use zerocopy_derive::FromBytes;
pub use zerocopy_derive::IntoBytes;

/// The kernel's `long` is the size of a pointer.
#[allow(non_camel_case_types)]
pub type c_long = isize;

/// As above.
#[allow(non_camel_case_types)]
pub type c_ulong = usize;
