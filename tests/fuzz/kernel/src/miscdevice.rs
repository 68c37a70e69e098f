// SPDX-License-Identifier: GPL-2.0

//! Devices with a name and nothing else.

use crate::bindings;
use crate::error::from_result;
use crate::error::Error;
use crate::error::Result;
use crate::fs::File;
use crate::machine;
use crate::types::ForeignOwnable;
use core::ffi::c_int;
use core::ffi::c_uint;
use core::ffi::CStr;
use core::marker::PhantomData;
use pin_init::PinInit;

/// What a device is to be.
pub struct MiscDeviceOptions {
    /// Its name.
    pub name: &'static CStr,
}

/// A device that is registered, for good.
pub struct MiscDeviceRegistration<T>(PhantomData<T>);

/// What a device does. Nobody looks at its file.
#[macros::vtable]
pub trait MiscDevice: Sized + 'static {
    /// What is behind an open file.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Opens it.
    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr>;

    /// Closes it.
    fn release(ptr: Self::Ptr, file: &File);

    /// Answers an ioctl.
    fn ioctl(
        ptr: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        file: &File,
        cmd: u32,
        arg: usize,
    ) -> Result<isize>;
}

/// A file that nobody looks at.
fn file() -> &'static File {
    static FILE: u64 = 0;

    // SAFETY: It is never looked at.
    unsafe { &*(&raw const FILE).cast() }
}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    const OPS: bindings::file_operations = bindings::file_operations {
        owner: core::ptr::null_mut(),
        open: Some(Self::open),
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        show_fdinfo: None,
    };

    /// Registers a device.
    pub fn register(_: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        machine::set_device(const { &Self::OPS });
        Ok::<_, Error>(Self(PhantomData))
    }

    extern "C" fn open(_: *mut bindings::inode, _: *mut bindings::file) -> c_int {
        from_result(|| T::open(file(), &Self(PhantomData)).map(|_| 0))
    }

    extern "C" fn release(_: *mut bindings::inode, _: *mut bindings::file) -> c_int {
        // SAFETY: Nothing is behind it.
        T::release(
            unsafe { T::Ptr::from_foreign(core::ptr::dangling_mut()) },
            file(),
        );
        0
    }

    extern "C" fn ioctl(_: *mut bindings::file, cmd: c_uint, arg: usize) -> isize {
        // SAFETY: Nothing is behind it.
        let ptr = unsafe { T::Ptr::borrow(core::ptr::dangling_mut()) };

        T::ioctl(ptr, file(), cmd, arg).unwrap_or_else(|err| err.to_errno() as isize)
    }
}
