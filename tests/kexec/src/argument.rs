// SPDX-License-Identifier: GPL-2.0

//! Ioctl arguments byte by byte, in memory that ends where they end: a kernel that reads or
//! writes a byte too many gets `EFAULT`.

use anyhow::{Context, Result};
use luo_guest::PAGE;
use nix::sys::mman::{mmap_anonymous, mprotect, munmap, MapFlags, ProtFlags};
use std::{
    ffi::{c_ulong, c_void},
    io,
    num::NonZero,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    slice,
};

/// The argument of CREATE_SESSION and of RETRIEVE_SESSION; `name` is used as it is.
pub fn session(name: &[u8]) -> Vec<u8> {
    let mut bytes = [&72u32.to_ne_bytes()[..], &(-1i32).to_ne_bytes(), name].concat();
    bytes.resize(72, 0);
    bytes
}

/// The argument of PRESERVE_FD and of RETRIEVE_FD.
pub fn file(fd: i32, token: u64) -> Vec<u8> {
    [
        &16u32.to_ne_bytes()[..],
        &fd.to_ne_bytes(),
        &token.to_ne_bytes(),
    ]
    .concat()
}

/// The argument of FINISH.
pub fn finish(reserved: u32) -> Vec<u8> {
    [8u32.to_ne_bytes(), reserved.to_ne_bytes()].concat()
}

/// The argument of GET_NAME.
pub fn get_name(reserved: u32) -> Vec<u8> {
    let mut bytes = [72u32.to_ne_bytes(), reserved.to_ne_bytes()].concat();
    bytes.resize(72, 0xff);
    bytes
}

/// `argument` made `size` bytes long, zeros added at its end, and saying so.
pub fn resized(argument: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut bytes = argument.to_vec();
    bytes[..4].copy_from_slice(&u32::try_from(size)?.to_ne_bytes());
    bytes.resize(size.max(4), 0);
    Ok(bytes)
}

/// Bytes with inaccessible memory right behind them.
pub struct Guarded {
    map: NonNull<c_void>,
    /// The bytes of the map before the inaccessible page that ends it.
    accessible: usize,
    /// The bytes of the whole map.
    whole: NonZero<usize>,
    /// How many bytes at the end of the accessible ones are the argument.
    length: usize,
}

impl Guarded {
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let accessible = (bytes.len() + 1).next_multiple_of(*PAGE);
        let whole = NonZero::new(accessible + *PAGE).context("empty map")?;
        // SAFETY: A new map takes no other memory's place.
        let map =
            unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE)? };
        let this = Self {
            map,
            accessible,
            whole,
            length: bytes.len(),
        };
        this.protect(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        // SAFETY: The argument lies in the accessible part of the map, which is ours alone.
        unsafe { slice::from_raw_parts_mut(this.pointer().cast(), bytes.len()) }
            .copy_from_slice(bytes);
        Ok(this)
    }

    /// Makes the bytes readable only, so that no answer can be copied out.
    pub fn read_only(self) -> Result<Self> {
        self.protect(ProtFlags::PROT_READ)?;
        Ok(self)
    }

    /// Does an ioctl of LUO with the bytes as its argument.
    pub fn ioctl(&mut self, fd: impl AsFd, number: c_ulong) -> io::Result<()> {
        // SAFETY: These ioctls write at and behind the pointer: to the argument, or nowhere.
        unsafe { liveupdate::raw::raw_ioctl(fd.as_fd(), number, self.pointer()) }
    }

    /// The bytes as the kernel left them.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: The argument lies in the accessible part of the map.
        unsafe { slice::from_raw_parts(self.pointer().cast(), self.length) }
    }

    /// The descriptor that a successful ioctl answered.
    ///
    /// # Safety
    ///
    /// The ioctl was one that makes a descriptor, and this is called once after it.
    pub unsafe fn descriptor(&self) -> Result<OwnedFd> {
        let fd = i32::from_ne_bytes(self.bytes()[4..8].try_into()?);
        same!(fd >= 0, true);
        // SAFETY: The kernel made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn pointer(&self) -> *mut c_void {
        // SAFETY: The argument is not longer than the accessible part of the map.
        unsafe { self.map.as_ptr().byte_add(self.accessible - self.length) }
    }

    fn protect(&self, access: ProtFlags) -> nix::Result<()> {
        // SAFETY: No reference into the map outlives a call of this type's functions.
        unsafe { mprotect(self.map, self.accessible, access) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: The map is ours, and `bytes()` does not outlive it.
        let unmapped = unsafe { munmap(self.map, self.whole.get()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Does an ioctl with `bytes` as its argument; the answer is not looked at.
pub fn ioctl(fd: impl AsFd, number: c_ulong, bytes: &[u8]) -> Result<io::Result<()>> {
    Ok(Guarded::new(bytes)?.ioctl(fd, number))
}

/// Does an ioctl with a pointer to memory that is not ours to access.
pub fn ioctl_nowhere(fd: BorrowedFd<'_>, number: c_ulong, address: usize) -> io::Result<()> {
    // SAFETY: Nothing is mapped at the addresses that the tests use.
    unsafe { liveupdate::raw::raw_ioctl(fd, number, address as *mut c_void) }
}
