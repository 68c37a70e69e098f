// SPDX-License-Identifier: GPL-2.0

//! A driver, as C code would be one: two file handlers and two FLBs, which write down what they are
//! asked to do.

use crate::image::KNOWN;
use core::ffi::c_int;
use core::ffi::c_void;
use core::ptr;
use kernel::bindings::*;
use kernel::error::code::EINVAL;
use kernel::error::Error;
use std::cell::RefCell;

extern "C" {
    fn liveupdate_register_file_handler(handler: *mut liveupdate_file_handler) -> c_int;
    fn liveupdate_unregister_file_handler(handler: *mut liveupdate_file_handler);
    fn liveupdate_register_flb(
        handler: *mut liveupdate_file_handler,
        flb: *mut liveupdate_flb,
    ) -> c_int;
    fn liveupdate_flb_get_incoming(flb: *mut liveupdate_flb, obj: *mut *mut c_void) -> c_int;
    fn liveupdate_flb_put_incoming(flb: *mut liveupdate_flb);
}

/// A file that went through a handler: the compatible string and the data.
pub type Handled = (Vec<u8>, u64);

thread_local! {
    static FINISHED: RefCell<Vec<Handled>> = RefCell::default();
}

/// What handlers finished since this was asked last.
pub fn finished() -> Vec<Handled> {
    FINISHED.take()
}

/// The number of a handler, to whom a file belongs.
unsafe fn number_of(args: *const liveupdate_file_op_args) -> usize {
    // SAFETY: The arguments and the handler in them are valid.
    let compatible = unsafe { &(*(*args).handler).compatible };

    usize::from(!compatible.starts_with(KNOWN[0].as_bytes()))
}

/// What a file is, in place of the file operations of a real one.
static FILES: [file_operations; 2] = [const { pin_init::zeroed() }; 2];

unsafe extern "C" fn can_preserve(handler: *mut liveupdate_file_handler, it: *mut file) -> bool {
    let args = liveupdate_file_op_args {
        handler,
        ..Default::default()
    };

    // SAFETY: The handler and the file are valid.
    unsafe { ptr::eq((*it).f_op, &FILES[number_of(&args)]) }
}

unsafe extern "C" fn preserve(args: *mut liveupdate_file_op_args) -> c_int {
    // SAFETY: The arguments and the file in them are valid.
    unsafe { (*args).serialized_data = (*(*args).file).private_data.addr() as u64 };
    0
}

unsafe extern "C" fn unpreserve(_: *mut liveupdate_file_op_args) {}

unsafe extern "C" fn retrieve(args: *mut liveupdate_file_op_args) -> c_int {
    // SAFETY: The arguments are valid.
    unsafe {
        let data = ptr::without_provenance_mut((*args).serialized_data as usize);

        (*args).file = anon_inode_getfile(ptr::null(), &FILES[number_of(args)], data, 0);
    }
    0
}

unsafe extern "C" fn finish(args: *mut liveupdate_file_op_args) {
    // SAFETY: The arguments are valid.
    let (number, data) = unsafe { (number_of(args), (*args).serialized_data) };

    FINISHED.with_borrow_mut(|all| all.push((KNOWN[number].into(), data)));
}

/// What a file is made of: the number of its handler and its data.
///
/// # Safety
///
/// The file is one that a handler here made.
pub unsafe fn look(it: *const file) -> Handled {
    // SAFETY: The caller guarantees it.
    let it = unsafe { &*it };
    let number = usize::from(ptr::eq(it.f_op, &FILES[1]));

    (KNOWN[number].into(), it.private_data.addr() as u64)
}

unsafe extern "C" fn flb_preserve(_: *mut liveupdate_flb_op_args) -> c_int {
    0
}

unsafe extern "C" fn flb_retrieve(args: *mut liveupdate_flb_op_args) -> c_int {
    // SAFETY: The arguments are valid.
    unsafe { (*args).obj = ptr::without_provenance_mut((*args).data as usize) };
    0
}

unsafe extern "C" fn flb_ignore(_: *mut liveupdate_flb_op_args) {}

/// The module that all this is in, of which nobody needs more than to count it.
const OWNER: *mut module = ptr::dangling_mut();

const FILE_OPS: &liveupdate_file_ops = &liveupdate_file_ops {
    can_preserve: Some(can_preserve),
    preserve: Some(preserve),
    unpreserve: Some(unpreserve),
    retrieve: Some(retrieve),
    finish: Some(finish),
    owner: OWNER,
    ..pin_init::zeroed()
};

const FLB_OPS: &liveupdate_flb_ops = &liveupdate_flb_ops {
    preserve: Some(flb_preserve),
    unpreserve: Some(flb_ignore),
    retrieve: Some(flb_retrieve),
    finish: Some(flb_ignore),
    owner: OWNER,
};

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];

    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

/// A handler and its FLB, registered.
pub struct Driver {
    handler: *mut liveupdate_file_handler,
    flb: *mut liveupdate_flb,
}

impl Driver {
    /// Registers both under `name`.
    pub fn new(name: &str) -> Self {
        let handler = Box::into_raw(Box::new(liveupdate_file_handler {
            ops: FILE_OPS,
            compatible: padded(name),
            ..pin_init::zeroed()
        }));
        let flb = Box::into_raw(Box::new(liveupdate_flb {
            ops: FLB_OPS,
            compatible: padded(name),
            ..pin_init::zeroed()
        }));

        // SAFETY: Both are valid until they are unregistered.
        unsafe {
            assert_eq!(liveupdate_register_file_handler(handler), 0);
            assert_eq!(liveupdate_register_flb(handler, flb), 0);
        }
        Self { handler, flb }
    }

    /// The data that the kernel before handed over with the FLB.
    pub fn flb(&self) -> Result<u64, Error> {
        let mut obj = ptr::null_mut();

        // SAFETY: The FLB is registered; what is got is put.
        match unsafe { liveupdate_flb_get_incoming(self.flb, &mut obj) } {
            0 => {
                // SAFETY: As above.
                unsafe { liveupdate_flb_put_incoming(self.flb) };
                Ok(obj.addr() as u64)
            }
            err if err < 0 => Err(Error::from_errno(err)),
            _ => Err(EINVAL),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: Both came from boxes, and the handler takes the FLB with it.
        unsafe {
            liveupdate_unregister_file_handler(self.handler);
            drop(Box::from_raw(self.handler));
            drop(Box::from_raw(self.flb));
        }
    }
}
