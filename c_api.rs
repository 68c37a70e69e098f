// SPDX-License-Identifier: GPL-2.0

//! The boundary with C: the functions that C links against, the callbacks it makes, and the calls
//! that the kernel crate has no safe name for.
//!
//! C headers: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h) for the functions
//! of LUO, and `luo_glue.h` for those between here and `luo_glue.c`.

use crate::abi::put;
use crate::abi::uapi::Request;
use crate::abi::uapi::NAME_LENGTH;
use crate::luo_flb::Flb;
use crate::luo_flb::Holder;
use crate::luo_session::Direction;
use crate::luo_session::Session;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::from_err_ptr;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::fs::file::FileDescriptorReservation;
use kernel::fs::File;
use kernel::fs::LocalFile;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::ForeignOwnable;
use kernel::types::Opaque;
use kernel::uaccess::UserPtr;

extern "C" {
    fn luo_get_user(to: *mut u32, from: *const u32) -> c_int;
    fn luo_module_get(module: *mut c_void) -> bool;
    fn luo_module_put(module: *mut c_void);
    fn luo_image_for_kho() -> bool;

    #[cfg(CONFIG_LIVEUPDATE_TEST)]
    fn liveupdate_test_register(fh: *mut c_void);
}

/// `liveupdate=` was seen on the command line.
#[no_mangle]
extern "C" fn luo_set_enabled(enable: bool) {
    crate::set_enabled(enable);
}

/// `liveupdate.abi=` was seen on the command line.
///
/// # Safety
///
/// `name` has to end with a NUL.
#[no_mangle]
unsafe extern "C" fn luo_set_abi(name: *const c_char) {
    // SAFETY: The caller guarantees that it ends with a NUL.
    crate::set_abi(unsafe { CStr::from_char_ptr(name) }.to_bytes());
}

/// `liveupdate.damaged=` was seen on the command line.
///
/// # Safety
///
/// `name` has to end with a NUL.
#[no_mangle]
unsafe extern "C" fn luo_set_damaged(name: *const c_char) {
    // SAFETY: The caller guarantees that it ends with a NUL.
    crate::set_damaged(unsafe { CStr::from_char_ptr(name) }.to_bytes());
}

/// See [`crate::early_init`].
#[no_mangle]
extern "C" fn luo_early_init() -> c_int {
    from_result(|| crate::early_init().map(|()| 0))
}

/// See [`crate::late_init`].
#[no_mangle]
extern "C" fn luo_late_init() -> c_int {
    from_result(|| crate::late_init().map(|()| 0))
}

/// See [`crate::report`].
#[no_mangle]
extern "C" fn luo_report() -> c_int {
    crate::report();
    0
}

/// Whether live update is enabled.
///
/// # Safety
///
/// May be called from anywhere.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_enabled() -> bool {
    crate::enabled()
}

/// Called by `kernel_kexec()` before it jumps; see [`crate::reboot`].
///
/// # Safety
///
/// Has to be called from where sleeping is allowed, with kexec locked.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_reboot() -> c_int {
    from_result(|| crate::reboot().map(|()| 0))
}

/// Registers a file handler.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as [`Registry::register`].
///
/// [`Registry::register`]: crate::luo_file::Registry::register
///
/// # Safety
///
/// `fh` has to be valid, with a NUL in its compatible string, and to stay so until it is
/// unregistered and its module is not in use. Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_file_handler(
    fh: *mut bindings::liveupdate_file_handler,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;

        // SAFETY: The caller promises what is asked for.
        unsafe { registry.register(NonNull::new(fh).ok_or(EINVAL)?) }?;

        // SAFETY: The handler was just registered.
        #[cfg(CONFIG_LIVEUPDATE_TEST)]
        unsafe {
            liveupdate_test_register(fh.cast())
        };

        Ok(0)
    })
}

/// Unregisters a file handler. Nothing happens if it is not registered.
///
/// # Safety
///
/// Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_file_handler(
    fh: *mut bindings::liveupdate_file_handler,
) {
    if let (Ok(sessions), Some(fh)) = (crate::sessions(), NonNull::new(fh)) {
        sessions.registry.unregister(fh);
    }
}

/// Makes the files of handler `fh` depend on `flb`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as
/// [`Registry::register_flb`].
///
/// [`Registry::register_flb`]: crate::luo_file::Registry::register_flb
///
/// # Safety
///
/// `flb` has to be valid, with a NUL in its compatible string and a private part that was zeroed
/// and left to LUO since, and to stay so until it hangs on no handler and its module is not in use.
/// Has to be called from where sleeping is allowed.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_flb(
    fh: *mut bindings::liveupdate_file_handler,
    flb: *mut bindings::liveupdate_flb,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(registry, NonNull::new(flb).ok_or(EINVAL)?) };

        registry.register_flb(NonNull::new(fh).ok_or(EINVAL)?, flb)?;
        Ok(0)
    })
}

/// Undoes [`liveupdate_register_flb`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
    flb: *mut bindings::liveupdate_flb,
) {
    let (Ok(sessions), Some(fh), Some(flb)) =
        (crate::sessions(), NonNull::new(fh), NonNull::new(flb))
    else {
        return;
    };
    let registry = &sessions.registry;

    // SAFETY: The caller promises what is asked for.
    let flb = unsafe { Flb::new(registry, flb) };

    if let Err(err) = registry.unregister_flb(fh, &flb) {
        pr_warn!("cannot take an FLB from its file handler: {err:?}\n");
    }
}

/// Takes a reference to what `flb` was in the previous kernel, and stores the object in `objp`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, `-ENODATA` before early init, and otherwise
/// as [`Flb::get_incoming`]; `-EIO` is that for a hand-over that was refused.
///
/// # Safety
///
/// As [`liveupdate_register_flb`], except that `flb` need not be registered; `objp` has to be valid
/// for a write.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_incoming(
    flb: *mut bindings::liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let registry = match crate::sessions() {
            Ok(sessions) => &sessions.registry,
            Err(_) if crate::enabled() => return Err(ENODATA),
            Err(err) => return Err(err),
        };
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(registry, NonNull::new(flb).ok_or(EINVAL)?) };
        let obj = flb.get_incoming(registry)?;

        // SAFETY: The caller promises that this is valid.
        unsafe { *objp = obj };
        Ok(0)
    })
}

/// Puts a reference of [`liveupdate_flb_get_incoming`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_incoming(flb: *mut bindings::liveupdate_flb) {
    if let (Some(registry), Some(flb)) = (crate::registry(), NonNull::new(flb)) {
        // SAFETY: The caller promises what is asked for.
        unsafe { Flb::new(registry, flb) }.put_incoming(registry, Holder::Reference);
    }
}

/// Takes a reference to what `flb` preserves, and stores the object in `objp`.
///
/// Returns `-EOPNOTSUPP` if live update is not enabled, and otherwise as [`Flb::get_outgoing`].
///
/// # Safety
///
/// As [`liveupdate_flb_get_incoming`].
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_outgoing(
    flb: *mut bindings::liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let registry = &crate::sessions()?.registry;
        // SAFETY: The caller promises what is asked for.
        let flb = unsafe { Flb::new(registry, NonNull::new(flb).ok_or(EINVAL)?) };
        let obj = flb.get_outgoing()?;

        // SAFETY: The caller promises that this is valid.
        unsafe { *objp = obj };
        Ok(0)
    })
}

/// Puts a reference of [`liveupdate_flb_get_outgoing`].
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_outgoing(flb: *mut bindings::liveupdate_flb) {
    if let (Some(registry), Some(flb)) = (crate::registry(), NonNull::new(flb)) {
        // SAFETY: The caller promises what is asked for.
        unsafe { Flb::new(registry, flb) }.put_outgoing(Holder::Reference);
    }
}

/// Whether the image that is loaded for the next kexec tells its kernel what KHO holds.
pub(crate) fn is_image_for_kho() -> bool {
    // SAFETY: `kernel_kexec()`, from which this is called, has locked the image.
    unsafe { luo_image_for_kho() }
}

/// Ends this kernel, and says why.
pub(crate) fn panic(why: &CStr) -> ! {
    // SAFETY: Both strings end with a NUL, and the format asks for the one that it gets.
    unsafe { bindings::panic(c"%s".as_char_ptr(), why.as_char_ptr()) }
}

/// A module that cannot be unloaded as long as this exists; null is the kernel itself.
pub(crate) struct ModuleRef(*mut bindings::module);

// SAFETY: The count of references to a module is not bound to a thread.
unsafe impl Send for ModuleRef {}

// SAFETY: As above.
unsafe impl Sync for ModuleRef {}

impl ModuleRef {
    /// Returns [`None`] if the module is going already.
    pub(crate) fn get(module: *mut bindings::module) -> Option<Self> {
        // SAFETY: This is the owner of a registered handler or FLB, or of an FLB whose caller is in
        // it: null, or a module that cannot go away before it has unregistered them.
        unsafe { luo_module_get(module.cast()) }.then(|| Self(module))
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference was taken in `get()`.
        unsafe { luo_module_put(self.0.cast()) };
    }
}

/// The file behind a file descriptor of the current task, which has to be in an ioctl.
///
/// Returns `EBADF` if there is none.
pub(crate) fn fget(fd: i32) -> Result<ARef<File>> {
    let file = LocalFile::fget(fd as u32)?;

    // SAFETY: An ioctl does not hold its file by `fdget_pos()`, and a task is in one system call
    // at a time.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}

/// The argument of an ioctl: a struct in user memory that begins with its size.
///
/// The caller may know a longer struct than this kernel, if it leaves zero what this kernel does
/// not know.
pub(crate) struct Argument {
    ptr: UserPtr,
    size: usize,
}

impl Argument {
    /// Reads the size, in bytes.
    ///
    /// Returns `EFAULT` if it cannot be read.
    pub(crate) fn new(ptr: UserPtr) -> Result<Self> {
        let mut size = 0;

        // SAFETY: The size may be written to; the function copes with any address of the user's.
        to_result(unsafe { luo_get_user(&mut size, ptr.as_const_ptr().cast()) })?;
        Ok(Self {
            ptr,
            size: size as usize,
        })
    }

    /// Reads the struct.
    ///
    /// Returns `EINVAL` if it is shorter than any caller may believe it to be, `E2BIG` if something
    /// stands behind what this kernel knows, `EFAULT` if it cannot be read.
    pub(crate) fn read<T: Request>(&self) -> Result<T> {
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

        let mut request = T::new_zeroed();
        let to = (&raw mut request).cast();
        let from = self.ptr.as_const_ptr();
        let len = self.size.min(size_of::<T>());

        // SAFETY: The request may be written to, in `len` bytes at least, and may hold any bytes.
        // The function copes with any address of the user's.
        match unsafe { bindings::_copy_from_user(to, from, len) } {
            0 => Ok(request),
            _ => Err(EFAULT),
        }
    }

    /// Writes the struct back, as far as the caller knows it.
    ///
    /// Returns `EFAULT` if it cannot be written.
    pub(crate) fn respond<T: Request>(&self, request: &T) -> Result {
        let to = self.ptr.as_mut_ptr();
        let len = self.size.min(size_of::<T>());

        // SAFETY: The request may be read, and has no padding, in `len` bytes at least. The
        // function copes with any address of the user's.
        match unsafe { bindings::_copy_to_user(to, ptr::from_ref(request).cast(), len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}

/// A `struct file` for a session that no file descriptor refers to yet.
///
/// Dropping it does not close the session.
///
/// # Invariants
///
/// `file` is a new file with [`SessionFops<D>`] and an `Arc<Session<D>>` in `private_data`, and
/// this value has its only reference.
pub(crate) struct SessionFile<D: Direction> {
    file: NonNull<bindings::file>,
    _session: PhantomData<Arc<Session<D>>>,
}

impl<D: Direction> SessionFile<D> {
    /// Makes a file for `session`, which `/proc` will show under its name.
    ///
    /// Returns `ENOMEM` or `ENFILE`. May sleep.
    pub(crate) fn new(session: Arc<Session<D>>) -> Result<Self> {
        const PREFIX: &[u8] = b"[luo_session] ";

        let mut name = [0u8; PREFIX.len() + NAME_LENGTH];
        let (prefix, rest) = name.split_at_mut(PREFIX.len());
        put(prefix, PREFIX);
        put(rest, session.name().as_bytes());

        let session = session.into_foreign();
        // SAFETY: The name has at most 63 bytes, so at least one NUL is left behind it. The file
        // operations are static and go with the private data.
        let file = from_err_ptr(unsafe {
            bindings::anon_inode_getfile(
                name.as_ptr().cast(),
                SessionFops::<D>::OPS,
                session,
                bindings::O_RDWR as c_int,
            )
        })
        .and_then(|file| NonNull::new(file).ok_or(ENOMEM))
        // SAFETY: Nobody got it.
        .inspect_err(|_| drop(unsafe { Arc::<Session<D>>::from_foreign(session) }))?;

        // INVARIANT: Just made so.
        Ok(Self {
            file,
            _session: PhantomData,
        })
    }

    /// Gives the file a file descriptor. From now on, closing it closes the session.
    pub(crate) fn install(self, fd: FileDescriptorReservation) {
        let this = ManuallyDrop::new(self);

        // SAFETY: By the type invariants this is a file with a reference that is ours, and nobody
        // has seen it.
        fd.fd_install(unsafe { ARef::from_raw(this.file.cast()) });
    }
}

impl<D: Direction> Drop for SessionFile<D> {
    fn drop(&mut self) {
        let file = self.file.as_ptr();

        // SAFETY: By the type invariants nobody else knows the file, so its private data can be
        // taken out of it, and what there is after that is a file without a session.
        unsafe {
            let session = ptr::replace(&raw mut (*file).private_data, ptr::null_mut());

            drop(Arc::<Session<D>>::from_foreign(session));
            bindings::fput(file);
        }
    }
}

/// The file operations of sessions in one direction.
struct SessionFops<D: Direction>(PhantomData<D>);

impl<D: Direction> SessionFops<D> {
    const OPS: &'static bindings::file_operations = &bindings::file_operations {
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `file` has to be one that [`SessionFile`] made, in its last moment.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the invariants of `SessionFile`, the private data is a session or, if it was
        // dropped, null. Nobody uses the file any more.
        let session = unsafe { Arc::<Session<D>>::try_from_foreign((*file).private_data) };

        if let Some(session) = session {
            D::close(&session);
        }
        0
    }

    /// # Safety
    ///
    /// `file` has to be one that [`SessionFile`] made and installed, and open.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: By the invariants of `SessionFile`, the private data is a session until the file
        // is released.
        let session: ArcBorrow<'_, Session<D>> =
            unsafe { Arc::<Session<D>>::borrow((*file).private_data) };

        ioctl_result(session.ioctl(cmd, UserPtr::from_addr(arg)))
    }
}

fn ioctl_result(result: Result) -> c_long {
    result.map_or_else(|err| err.to_errno() as c_long, |()| 0)
}

/// The file operations of `/dev/liveupdate`.
const DEVICE_OPS: &bindings::file_operations = &bindings::file_operations {
    open: Some(device_open),
    release: Some(device_release),
    unlocked_ioctl: Some(device_ioctl),
    ..pin_init::zeroed()
};

extern "C" fn device_open(_inode: *mut bindings::inode, _file: *mut bindings::file) -> c_int {
    from_result(|| crate::open().map(|()| 0))
}

extern "C" fn device_release(_inode: *mut bindings::inode, _file: *mut bindings::file) -> c_int {
    crate::release();
    0
}

extern "C" fn device_ioctl(_file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    ioctl_result(crate::ioctl(cmd, UserPtr::from_addr(arg)))
}

/// Registers `/dev/liveupdate`, for good.
///
/// Returns what `misc_register()` answers, or `ENOMEM`. May sleep.
pub(crate) fn register_device() -> Result {
    let device = KBox::new(
        Opaque::new(bindings::miscdevice {
            minor: bindings::MISC_DYNAMIC_MINOR as c_int,
            name: c"liveupdate".as_char_ptr(),
            fops: DEVICE_OPS,
            ..pin_init::zeroed()
        }),
        GFP_KERNEL,
    )?;

    // SAFETY: The device is complete. If it is registered, it is never freed.
    to_result(unsafe { bindings::misc_register(device.get()) })?;
    let _ = KBox::into_raw(device);

    Ok(())
}
