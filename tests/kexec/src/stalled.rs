// SPDX-License-Identifier: GPL-2.0

//! Memory that is read at once and written to when somebody lets it: a page under userfaultfd, as
//! the memory of whoever keeps the kernel waiting.

use anyhow::{ensure, Context, Result};
use luo_guest::PAGE;
use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags},
    sys::mman::{mmap_anonymous, munmap, MapFlags, ProtFlags},
};
use std::{
    ffi::{c_ulong, c_void},
    io,
    num::NonZero,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    slice,
};

/// How long to wait for what takes no time, in milliseconds.
const PATIENCE: u16 = 20_000;

/// The structs and numbers of `linux/userfaultfd.h`.
mod uffd {
    pub const API: u64 = 0xaa;
    pub const PAGEFAULT_FLAG_WP: u64 = 1 << 0;
    pub const REGISTER_MODE_WP: u64 = 1 << 1;
    pub const WRITEPROTECT_MODE_WP: u64 = 1 << 0;

    #[repr(C)]
    pub struct Api {
        pub api: u64,
        pub features: u64,
        pub ioctls: u64,
    }

    #[repr(C)]
    pub struct Range {
        pub start: u64,
        pub len: u64,
    }

    #[repr(C)]
    pub struct Register {
        pub range: Range,
        pub mode: u64,
        pub ioctls: u64,
    }

    #[repr(C)]
    pub struct WriteProtect {
        pub range: Range,
        pub mode: u64,
    }

    nix::ioctl_readwrite!(api, 0xaa, 0x3f, Api);
    nix::ioctl_readwrite!(register, 0xaa, 0x00, Register);
    nix::ioctl_readwrite!(write_protect, 0xaa, 0x06, WriteProtect);
}

/// Bytes at the beginning of a page that nobody can write to before [`Stalled::release`].
pub struct Stalled {
    server: OwnedFd,
    page: NonNull<c_void>,
    size: NonZero<usize>,
    length: usize,
}

// SAFETY: The page belongs to no thread, and is accessed by the kernel and, once that is through
// with it, by whoever asks for the bytes.
unsafe impl Sync for Stalled {}

impl Stalled {
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let size = NonZero::new(*PAGE).context("no page size")?;
        ensure!(bytes.len() <= size.get(), "more than a page");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new map takes no other memory's place.
        let page = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE)? };
        // SAFETY: The page is ours alone, and large enough.
        unsafe { slice::from_raw_parts_mut(page.as_ptr().cast(), bytes.len()) }
            .copy_from_slice(bytes);

        // One that blocks cannot be polled.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: The call takes flags only.
        let server = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let server = Errno::result(server).context("no userfaultfd")? as i32;
        let this = Self {
            // SAFETY: It was just opened, for us.
            server: unsafe { OwnedFd::from_raw_fd(server) },
            page,
            size,
            length: bytes.len(),
        };
        let mut api = uffd::Api {
            api: uffd::API,
            features: uffd::PAGEFAULT_FLAG_WP,
            ioctls: 0,
        };
        let mut register = uffd::Register {
            range: this.range(),
            mode: uffd::REGISTER_MODE_WP,
            ioctls: 0,
        };
        // SAFETY: Both arguments may be written to, and the range is our page.
        unsafe {
            uffd::api(this.server.as_raw_fd(), &mut api)?;
            uffd::register(this.server.as_raw_fd(), &mut register)?;
        }
        this.protect(uffd::WRITEPROTECT_MODE_WP)?;
        Ok(this)
    }

    fn range(&self) -> uffd::Range {
        uffd::Range {
            start: self.page.as_ptr().addr() as u64,
            len: self.size.get() as u64,
        }
    }

    fn protect(&self, mode: u64) -> Result<()> {
        let mut argument = uffd::WriteProtect {
            range: self.range(),
            mode,
        };
        // SAFETY: The range is our page.
        unsafe { uffd::write_protect(self.server.as_raw_fd(), &mut argument)? };
        Ok(())
    }

    /// Does an ioctl of LUO with the bytes as its argument; it returns after
    /// [`Self::release`], if it writes to them.
    pub fn ioctl(&self, fd: BorrowedFd<'_>, number: c_ulong) -> io::Result<()> {
        // SAFETY: These ioctls write to their argument only, which is ours.
        unsafe { liveupdate::raw::raw_ioctl(fd, number, self.page.as_ptr()) }
    }

    /// Waits until somebody waits to write.
    pub fn wait(&self) -> Result<()> {
        let mut fds = [PollFd::new(self.server.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PATIENCE)?;
        ensure!(
            fds[0].revents() == Some(PollFlags::POLLIN),
            "nobody writes: {fds:?}"
        );
        Ok(())
    }

    /// Lets everybody write.
    pub fn release(&self) -> Result<()> {
        self.protect(0)
    }

    /// The bytes as they are now; nobody may be writing to them.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: They lie in our page.
        unsafe { slice::from_raw_parts(self.page.as_ptr().cast(), self.length) }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // SAFETY: The map is ours, and `bytes()` does not outlive it.
        let unmapped = unsafe { munmap(self.page, self.size.get()) };
        debug_assert!(unmapped.is_ok());
    }
}
