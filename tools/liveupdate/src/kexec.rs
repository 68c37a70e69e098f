// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Loading the next kernel in the one way that lets it receive what this one hands over.

use nix::{errno::Errno, libc};
use std::{
    ffi::{c_ulong, CStr},
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// There is no initramfs.
const NO_INITRAMFS: c_ulong = 0x4;

/// Loads a kernel by `kexec_file_load(2)`, to be entered by a `reboot()`.
pub fn load(
    kernel: BorrowedFd<'_>,
    initramfs: Option<BorrowedFd<'_>>,
    cmdline: &CStr,
) -> io::Result<()> {
    let cmdline = cmdline.to_bytes_with_nul();
    let flags = match initramfs {
        Some(_) => 0,
        None => NO_INITRAMFS,
    };
    // SAFETY: The kernel only reads, from the descriptors and the command line, whose length
    // includes its NUL.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.map_or(-1, |file| file.as_raw_fd()),
            cmdline.len(),
            cmdline.as_ptr(),
            flags,
        )
    };
    Errno::result(loaded)?;
    Ok(())
}
