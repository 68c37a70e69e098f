// SPDX-License-Identifier: GPL-2.0

//! What userspace does with `/dev/liveupdate`.

use crate::driver;
use crate::model::Session;
use core::ffi::c_uint;
use core::ptr;
use kernel::bindings;
use kernel::bindings::file;
use kernel::bindings::file_operations;
use kernel::error::code::EINVAL;
use kernel::error::code::ENOENT;
use kernel::error::Error;
use kernel::machine;

/// The argument of every ioctl here, which is larger than any of them needs.
#[repr(C)]
struct Argument {
    size: u32,
    fd: i32,
    /// A name, or a token in its first bytes.
    name: [u8; 64],
}

const CREATE_SESSION: c_uint = 0xba00;
const RETRIEVE_SESSION: c_uint = 0xba01;
const PRESERVE_FD: c_uint = 0xba40;
const RETRIEVE_FD: c_uint = 0xba41;

fn name(bytes: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];

    field[..bytes.len()].copy_from_slice(bytes);
    field
}

/// Makes an ioctl, and returns the descriptor in its answer.
fn ioctl(
    ops: &file_operations,
    it: *mut file,
    cmd: c_uint,
    fd: i32,
    name: [u8; 64],
) -> Result<i32, Error> {
    let mut arg = Argument {
        size: size_of::<Argument>() as u32,
        fd,
        name,
    };
    let ioctl = ops.unlocked_ioctl.ok_or(EINVAL)?;

    // SAFETY: The file is open and has these operations, and the argument can be written.
    match unsafe { ioctl(it, cmd, ptr::from_mut(&mut arg).expose_provenance()) } {
        0 => Ok(arg.fd),
        err => Err(Error::from_errno(err as i32)),
    }
}

/// An open file, of a descriptor that is as good as closed.
pub struct Descriptor(*mut file);

impl Descriptor {
    fn new(fd: i32) -> Self {
        let it = machine::take_file(fd as u32);

        assert!(!it.is_null(), "no file behind a descriptor");
        Self(it)
    }

    fn ioctl(&self, cmd: c_uint, fd: i32, name: [u8; 64]) -> Result<i32, Error> {
        // SAFETY: The file is open, and its operations are static.
        let ops = unsafe { &*(*self.0).f_op };

        ioctl(ops, self.0, cmd, fd, name)
    }

    /// A descriptor for somebody to look at.
    fn lend(&self) -> i32 {
        // SAFETY: The file is open.
        unsafe { bindings::get_file(self.0) };
        machine::open_fd(self.0) as i32
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::fput(self.0) };
    }
}

/// `/dev/liveupdate`, open.
pub struct Device(&'static file_operations);

impl Device {
    /// Opens it.
    pub fn open() -> Result<Self, Error> {
        let ops = machine::device().expect("a device is registered");
        let open = ops.open.ok_or(EINVAL)?;

        // SAFETY: The device looks at neither of them.
        match unsafe { open(ptr::null_mut(), ptr::null_mut()) } {
            0 => Ok(Self(ops)),
            err => Err(Error::from_errno(err)),
        }
    }

    fn ioctl(&self, cmd: c_uint, of: &Session) -> Result<Descriptor, Error> {
        ioctl(self.0, ptr::null_mut(), cmd, -1, name(&of.name)).map(Descriptor::new)
    }

    /// Retrieves a session and its files, which have to be those of `model`, and finishes it.
    pub fn retrieve(&self, model: &Session) -> Vec<Descriptor> {
        let session = self.ioctl(RETRIEVE_SESSION, model).expect("a session");
        let files: Vec<_> = model
            .files
            .iter()
            .map(|(token, compatible, data)| {
                let fd = session.ioctl(RETRIEVE_FD, -1, name(&token.to_ne_bytes()));
                let file = Descriptor::new(fd.expect("a file"));

                // SAFETY: It comes from a handler.
                assert_eq!(unsafe { driver::look(file.0) }, (compatible.clone(), *data));
                file
            })
            .collect();

        driver::finished();
        drop(session);

        let order = model.files.iter().rev();
        let order: Vec<_> = order.map(|(_, it, data)| (it.clone(), *data)).collect();
        assert_eq!(driver::finished(), order, "finished");
        assert_eq!(self.ioctl(RETRIEVE_SESSION, model).err(), Some(ENOENT));

        files
    }

    /// Creates a session like `model`, and preserves `files` in it.
    pub fn preserve(&self, model: &Session, files: Vec<Descriptor>) -> Descriptor {
        let session = self.ioctl(CREATE_SESSION, model).expect("a new session");

        for ((token, ..), file) in model.files.iter().zip(files) {
            session
                .ioctl(PRESERVE_FD, file.lend(), name(&token.to_ne_bytes()))
                .expect("a file that can be preserved");
        }
        session
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: The device was opened.
            unsafe { release(ptr::null_mut(), ptr::null_mut()) };
        }
    }
}
