// SPDX-License-Identifier: GPL-2.0

//! Open files without a place in a file system: a value of Rust code behind a file descriptor.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)
//!
//! # Examples
//!
//! A file that knows a number:
//!
//! ```
//! use kernel::{
//!     bindings,
//!     fs::anon_inode::{
//!         AnonFile,
//!         Ioctl,
//!         Operations, //
//!     },
//!     module_ref::BuiltIn,
//!     sync::{
//!         Arc,
//!         ArcBorrow, //
//!     }, //
//! };
//!
//! struct Number(i32);
//!
//! #[vtable]
//! impl Operations for Number {
//!     type Ptr = Arc<Number>;
//!     // What `module!` defines, in a module.
//!     type OwnerModule = BuiltIn;
//!
//!     fn ioctl(number: ArcBorrow<'_, Number>, ioctl: &Ioctl) -> Result<i32> {
//!         match ioctl.cmd() {
//!             0x17 => Ok(number.0),
//!             _ => Err(ENOTTY),
//!         }
//!     }
//! }
//!
//! let number = Arc::new(Number(17), GFP_KERNEL)?;
//! let file = AnonFile::<Number>::new(b"[number]\0", 0, number.clone())?;
//!
//! // `file.install(fd)` would give it to userspace. Dropped before that, nobody has seen it.
//! drop(file);
//! assert!(Arc::into_unique_or_drop(number).is_some());
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    error::from_err_ptr,
    fs::{
        file::FileDescriptorReservation,
        File,
        LocalFile, //
    },
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        NotThreadSafe, //
    },
    uaccess::UserPtr, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// An ioctl that the current task is in.
pub struct Ioctl {
    cmd: u32,
    arg: usize,
    _not_send: NotThreadSafe,
}

impl Ioctl {
    /// Makes one of what C passes to `unlocked_ioctl`.
    ///
    /// # Safety
    ///
    /// The current task has to be in an ioctl as long as this exists, or in a kernel thread, which
    /// has no file descriptors.
    #[inline]
    pub unsafe fn new(cmd: u32, arg: usize) -> Self {
        Self {
            cmd,
            arg,
            _not_send: NotThreadSafe,
        }
    }

    /// The command.
    #[inline]
    pub fn cmd(&self) -> u32 {
        self.cmd
    }

    /// The argument, if it is a pointer.
    #[inline]
    pub fn arg(&self) -> UserPtr {
        UserPtr::from_addr(self.arg)
    }

    /// The file behind a file descriptor of the current task.
    ///
    /// Returns `EBADF` if there is none.
    #[inline]
    pub fn fget(&self, fd: i32) -> Result<ARef<File>> {
        let file = LocalFile::fget(fd as u32)?;

        // SAFETY: The current task is in an ioctl, which does not hold its file by `fdget_pos()`,
        // and a task is in one system call at a time.
        Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
    }
}

/// What a file of an anonymous inode does.
///
/// There is no `compat_ioctl`: to 32-bit programs such a file knows no ioctl.
#[vtable]
pub trait Operations: Sized + 'static {
    /// What is behind the file.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Answers an ioctl. May sleep.
    fn ioctl(this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, ioctl: &Ioctl) -> Result<i32>;

    /// Shows what is behind the file in `/proc/PID/fdinfo`, after what is shown of any file; nothing
    /// unless this is said. May sleep.
    fn show_fdinfo(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _seq: &SeqFile) {}

    /// The last reference to the file is gone. May sleep.
    fn release(this: Self::Ptr) {
        drop(this);
    }
}

/// A new file, that nobody has seen yet.
///
/// Dropped, it goes without [`Operations::release`]: what was to be behind it is dropped.
///
/// # Invariants
///
/// `file` is a new file with the operations of `T` and a `T::Ptr` in its private data, and this
/// value has its only reference.
pub struct AnonFile<T: Operations> {
    file: NonNull<bindings::file>,
    _ptr: PhantomData<T::Ptr>,
}

impl<T: Operations> AnonFile<T> {
    const OPS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::unlocked_ioctl),
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    /// Makes a file that `/proc` shows under `name`, which goes to the first NUL and has one at its
    /// end; `flags` are those of [`kernel::fs::file::flags`]. May sleep.
    ///
    /// Returns `EINVAL` if there is no NUL at the end, `ENOMEM`, or `ENFILE` if there are too many
    /// files.
    pub fn new(name: &[u8], flags: u32, ptr: T::Ptr) -> Result<Self> {
        if name.last() != Some(&0) {
            return Err(EINVAL);
        }

        let private_data = ptr.into_foreign();

        // SAFETY: The name ends with a NUL, and is copied. The file operations are static and go with
        // the private data.
        let file = from_err_ptr(unsafe {
            bindings::anon_inode_getfile(
                name.as_ptr().cast(),
                const { &Self::OPS },
                private_data,
                flags as c_int,
            )
        })
        .and_then(|file| NonNull::new(file).ok_or(ENOMEM))
        // SAFETY: Nobody got it.
        .inspect_err(|_| drop(unsafe { T::Ptr::from_foreign(private_data) }))?;

        // INVARIANT: Just made so.
        Ok(Self {
            file,
            _ptr: PhantomData,
        })
    }

    /// Gives the file a file descriptor. From now on it is the user's.
    pub fn install(self, fd: FileDescriptorReservation) {
        let this = ManuallyDrop::new(self);

        // SAFETY: By the type invariants this is a file with a reference that is ours, and nobody
        // has seen it, so nobody holds its position.
        fd.fd_install(unsafe { ARef::from_raw(this.file.cast()) });
    }

    /// # Safety
    ///
    /// `file` has to be one that an [`AnonFile<T>`] made, and that nobody uses any more.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the invariants of `AnonFile`, the private data is a `T::Ptr` or, if it was
        // dropped, null. Nobody uses the file any more.
        if let Some(ptr) = unsafe { T::Ptr::try_from_foreign((*file).private_data) } {
            T::release(ptr);
        }
        0
    }

    /// # Safety
    ///
    /// `file` has to be one that an [`AnonFile<T>`] made and installed, and open.
    unsafe extern "C" fn unlocked_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: By the invariants of `AnonFile`, the private data is a `T::Ptr` until the file is
        // released.
        let this = unsafe { T::Ptr::borrow((*file).private_data) };
        // SAFETY: This is an ioctl.
        let ioctl = unsafe { Ioctl::new(cmd, arg) };

        match T::ioctl(this, &ioctl) {
            Ok(answer) => answer as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// `file` has to be one that an [`AnonFile<T>`] made and installed, and open; `seq` has to be
    /// valid, and nobody else may use it during the call.
    unsafe extern "C" fn show_fdinfo(seq: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: By the invariants of `AnonFile`, the private data is a `T::Ptr` until the file is
        // released.
        let this = unsafe { T::Ptr::borrow((*file).private_data) };

        // SAFETY: The caller guarantees that it is valid, and for nobody else to use.
        T::show_fdinfo(this, unsafe { SeqFile::from_raw(seq) });
    }
}

impl<T: Operations> Drop for AnonFile<T> {
    fn drop(&mut self) {
        let file = self.file.as_ptr();

        // SAFETY: By the type invariants nobody else knows the file, so its private data can be
        // taken out of it, and what there is after that is a file with nothing behind it.
        unsafe {
            let private_data = ptr::replace(&raw mut (*file).private_data, ptr::null_mut());

            drop(T::Ptr::from_foreign(private_data));
            bindings::fput(file);
        }
    }
}
