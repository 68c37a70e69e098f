// SPDX-License-Identifier: GPL-2.0

//! What C defines: the structs of `include/linux/liveupdate.h`, and the functions that LUO calls,
//! which ask the [`machine`].

#![allow(missing_docs, non_camel_case_types, non_upper_case_globals)]

use crate::error::code::*;
use crate::error::Error;
use crate::error::Result;
use crate::machine;
use core::ffi::c_char;
use core::ffi::c_int;
use core::ffi::c_uint;
use core::ffi::c_void;
use core::ffi::CStr;
use core::hash::Hash;
use core::hash::Hasher;
use pin_init::Zeroable;
use std::hash::DefaultHasher;

type c_long = isize;
type c_ulong = usize;

#[repr(C)]
#[derive(Zeroable)]
pub struct list_head {
    pub next: *mut list_head,
    pub prev: *mut list_head,
}

#[repr(C)]
pub struct liveupdate_file_op_args {
    pub handler: *mut liveupdate_file_handler,
    pub session: *mut liveupdate_session,
    pub retrieve_status: c_int,
    pub file: *mut file,
    pub serialized_data: u64,
    pub private_data: *mut c_void,
}

impl Default for liveupdate_file_op_args {
    fn default() -> Self {
        Self {
            handler: core::ptr::null_mut(),
            session: core::ptr::null_mut(),
            retrieve_status: 0,
            file: core::ptr::null_mut(),
            serialized_data: 0,
            private_data: core::ptr::null_mut(),
        }
    }
}

type file_op<R> = Option<unsafe extern "C" fn(*mut liveupdate_file_op_args) -> R>;

#[repr(C)]
#[derive(Zeroable)]
pub struct liveupdate_file_ops {
    pub can_preserve: Option<unsafe extern "C" fn(*mut liveupdate_file_handler, *mut file) -> bool>,
    pub preserve: file_op<c_int>,
    pub unpreserve: file_op<()>,
    pub freeze: file_op<c_int>,
    pub unfreeze: file_op<()>,
    pub retrieve: file_op<c_int>,
    pub can_finish: file_op<bool>,
    pub finish: file_op<()>,
    pub get_id: Option<unsafe extern "C" fn(*mut file) -> c_ulong>,
    pub owner: *mut module,
}

#[repr(C)]
#[derive(Zeroable)]
pub struct liveupdate_file_handler {
    pub ops: *const liveupdate_file_ops,
    pub compatible: [u8; 48],
    pub list: list_head,
    pub flb_list: list_head,
    pub files: atomic_long_t,
}

#[repr(C)]
#[derive(Zeroable)]
pub struct atomic_long_t {
    pub counter: i64,
}

#[repr(C)]
pub struct liveupdate_flb_op_args {
    pub flb: *mut liveupdate_flb,
    pub data: u64,
    pub obj: *mut c_void,
}

type flb_op<R> = Option<unsafe extern "C" fn(*mut liveupdate_flb_op_args) -> R>;

#[repr(C)]
#[derive(Zeroable)]
pub struct liveupdate_flb_ops {
    pub preserve: flb_op<c_int>,
    pub unpreserve: flb_op<()>,
    pub retrieve: flb_op<c_int>,
    pub finish: flb_op<()>,
    pub owner: *mut module,
}

#[repr(C)]
#[derive(Zeroable)]
pub struct luo_flb_private {
    pub list: list_head,
    pub initialized: bool,
    pub state: room,
}

#[repr(C, align(8))]
#[derive(Zeroable)]
pub struct room([u8; 256]);

#[repr(C)]
#[derive(Zeroable)]
pub struct liveupdate_flb {
    pub ops: *const liveupdate_flb_ops,
    pub compatible: [u8; 48],
    pub private: luo_flb_private,
}

#[repr(C)]
pub struct liveupdate_session([u8; 0]);

#[repr(C)]
pub struct module([u8; 0]);

#[repr(C)]
pub struct inode([u8; 0]);

#[repr(C)]
pub struct lock_class_key([u8; 0]);

#[repr(C)]
pub struct file {
    pub f_op: *const file_operations,
    pub private_data: *mut c_void,
    pub references: u32,
}

#[repr(C)]
#[derive(Zeroable)]
pub struct file_operations {
    pub owner: *mut module,
    pub open: Option<unsafe extern "C" fn(*mut inode, *mut file) -> c_int>,
    pub release: Option<unsafe extern "C" fn(*mut inode, *mut file) -> c_int>,
    pub unlocked_ioctl: Option<unsafe extern "C" fn(*mut file, c_uint, c_ulong) -> c_long>,
    pub show_fdinfo: Option<unsafe extern "C" fn(*mut seq_file, *mut file)>,
}

// SAFETY: There is one thread.
unsafe impl Sync for file_operations {}

#[repr(C)]
pub struct seq_file([u8; 0]);

#[repr(C)]
pub struct page([u8; 0]);

pub struct folio {
    pub phys: u64,
    pub order: c_uint,
    pub index: u64,
    pub zeroed: bool,
}

/// The list is with the machine.
#[repr(C)]
pub struct kho_claims {
    pub owner: c_uint,
}

// SAFETY: A number.
unsafe impl pin_init::Zeroable for kho_claims {}

#[repr(C)]
pub struct folio_batch {
    pub nr: u8,
    pub i: u8,
    pub percpu_pvec_drained: bool,
    pub folios: [*mut folio; 31],
}

// SAFETY: Numbers and null pointers.
unsafe impl pin_init::Zeroable for folio_batch {}

#[repr(C)]
pub struct kho_vmalloc {
    pub first: u64,
    pub total_pages: c_uint,
    pub flags: u16,
    pub order: u16,
}

#[repr(C)]
pub struct kexec_segment {
    pub bufsz: usize,
}

#[repr(C)]
pub struct kimage_kho {
    pub scratch: *mut kexec_segment,
    pub fdt: u64,
}

#[repr(C)]
pub struct kimage {
    pub kho: kimage_kho,
}

/// An image that hands over what KHO has is always loaded.
pub static mut kexec_image: *mut kimage = {
    static mut SEGMENT: kexec_segment = kexec_segment { bufsz: 1 };
    static mut IMAGE: kimage = kimage {
        kho: kimage_kho {
            scratch: &raw mut SEGMENT,
            fdt: 1,
        },
    };

    &raw mut IMAGE
};

#[repr(C)]
pub struct hsiphash_key_t {
    pub key: [c_ulong; 2],
}

impl hsiphash_key_t {
    fn hash<T: Hash>(&self, data: &[T]) -> u32 {
        let mut hasher = DefaultHasher::new();

        self.key.hash(&mut hasher);
        data.hash(&mut hasher);
        hasher.finish() as u32
    }
}

/// Ends the kernel.
///
/// # Safety
///
/// As its namesake in C.
pub unsafe fn panic(_format: *const c_char, why: *const c_char) -> ! {
    // SAFETY: The caller guarantees that it ends with a NUL.
    core::panic!("{:?}", unsafe { CStr::from_ptr(why) })
}

/// How many hold it to read, or -1 for one that writes.
#[repr(C)]
pub struct rw_semaphore(i32);

pub const FDT_MAGIC: u32 = 0xd00d_feed;
pub const FDT_BEGIN_NODE: u32 = 1;
pub const FDT_END_NODE: u32 = 2;
pub const FDT_PROP: u32 = 3;
pub const FDT_NOP: u32 = 4;
pub const FDT_END: u32 = 9;

#[repr(C)]
pub struct fdt_header([u32; 10]);

extern "C" {
    pub fn fdt_create(fdt: *mut c_void, size: c_int) -> c_int;
    pub fn fdt_finish_reservemap(fdt: *mut c_void) -> c_int;
    pub fn fdt_begin_node(fdt: *mut c_void, name: *const c_char) -> c_int;
    pub fn fdt_property(
        fdt: *mut c_void,
        name: *const c_char,
        value: *const c_void,
        len: c_int,
    ) -> c_int;
    pub fn fdt_end_node(fdt: *mut c_void) -> c_int;
    pub fn fdt_finish(fdt: *mut c_void) -> c_int;
    pub fn fdt_check_header(fdt: *const c_void) -> c_int;
    pub fn fdt_next_tag(fdt: *const c_void, offset: c_int, next: *mut c_int) -> u32;
    pub fn fdt_get_name(fdt: *const c_void, node: c_int, len: *mut c_int) -> *const c_char;
    pub fn fdt_getprop_by_offset(
        fdt: *const c_void,
        offset: c_int,
        name: *mut *const c_char,
        len: *mut c_int,
    ) -> *const c_void;
}

fn errno(result: Result) -> c_int {
    result.map_or_else(Error::to_errno, |()| 0)
}

macro_rules! c_functions {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        /// # Safety
        ///
        /// As its namesake in C.
        $(#[$meta])*
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $ret)? {
            // SAFETY: What callers in C promise, this one has promised.
            #[allow(unused_unsafe)]
            unsafe { $body }
        }
    )*};
}

c_functions! {
    fn kho_is_enabled() -> bool {
        true
    }

    fn kho_alloc_preserve(size: usize) -> *mut c_void {
        machine::preserve(size)
    }

    fn kho_unpreserve_free(memory: *mut c_void) {
        machine::unpreserve(memory);
    }

    fn kho_add_subtree(_name: *const c_char, memory: *mut c_void, size: usize) -> c_int {
        machine::add_subtree(memory, size);
        0
    }

    fn kho_remove_subtree(_memory: *mut c_void) {
        machine::remove_subtree();
    }

    fn kho_retrieve_subtree(name: *const c_char, phys: *mut u64, size: *mut usize) -> c_int {
        errno(match machine::entry(CStr::from_ptr(name)) {
            Some(found) => {
                (*phys, *size) = found;
                Ok(())
            }
            None => Err(ENOENT),
        })
    }

    fn kho_is_restorable(phys: u64, order: c_uint) -> bool {
        machine::is_restorable(phys, order)
    }

    fn kho_restore_free(memory: *mut c_void) {
        machine::restore_free(memory);
    }

    fn get_random_bytes(to: *mut c_void, len: usize) {
        to.write_bytes(1, len);
    }

    fn hsiphash_2u32(a: u32, b: u32, key: *const hsiphash_key_t) -> u32 {
        (*key).hash(&[a, b])
    }

    fn hsiphash(data: *const c_void, len: usize, key: *const hsiphash_key_t) -> u32 {
        (*key).hash(core::slice::from_raw_parts(data.cast::<u8>(), len))
    }

    fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
        to.copy_from_nonoverlapping(from, len);
        to
    }

    fn memset(to: *mut c_void, byte: c_int, len: usize) -> *mut c_void {
        to.write_bytes(byte as u8, len);
        machine::note_filled(to);
        to
    }

    fn free_pages(_addr: c_ulong, _order: c_uint) {
        unreachable!("there are no rows of pages")
    }

    fn alloc_pages(_flags: u32, _order: c_uint) -> *mut page {
        core::ptr::null_mut()
    }

    fn split_page(_page: *mut page, _order: c_uint) {
        unreachable!("there are no rows of pages")
    }

    fn page_address(_page: *const page) -> *mut c_void {
        unreachable!("there are no rows of pages")
    }

    fn virt_to_page(_memory: *const c_void) -> *mut page {
        unreachable!("there are no rows of pages")
    }

    fn kho_preserve_pages(_page: *mut page, _number: usize) -> c_int {
        unreachable!("there are no rows of pages")
    }

    fn kho_restore_folio(_phys: u64) -> *mut folio {
        unreachable!("there are no drivers in Rust")
    }

    fn kho_claims_init(claims: *mut kho_claims) {
        (*claims).owner = machine::new_owner();
    }

    fn kho_claim(
        claims: *mut kho_claims,
        phys: u64,
        index: c_ulong,
        folio_order: c_uint
    ) -> c_int {
        machine::claim(phys, (*claims).owner, index as u64, folio_order)
            .map_or(ENOENT.to_errno(), |order| order as c_int)
    }

    fn kho_claimed_order(claims: *const kho_claims, phys: u64) -> c_int {
        machine::claimed_order(phys, (*claims).owner)
            .map_or(ENOENT.to_errno(), |order| order as c_int)
    }

    fn kho_next_claim(
        claims: *const kho_claims,
        index: *mut c_ulong,
        folio_order: *mut c_uint
    ) -> c_int {
        let Some((_, claim)) = machine::first_claim((*claims).owner) else {
            return ENOENT.to_errno();
        };

        *index = claim.index as c_ulong;
        *folio_order = claim.folio_order;
        claim.order as c_int
    }

    fn kho_restore_claim(claims: *mut kho_claims, max_order: c_uint) -> *mut folio {
        match machine::take_claim((*claims).owner, max_order) {
            Some(folio) => Box::into_raw(Box::new(folio)),
            None => core::ptr::null_mut(),
        }
    }

    fn kho_free_claims(claims: *mut kho_claims) {
        while let Some(folio) = machine::take_claim((*claims).owner, c_uint::MAX) {
            machine::free(folio.phys, folio.order);
        }
    }

    fn kho_unclaim(claims: *mut kho_claims) {
        machine::unclaim((*claims).owner);
    }

    fn cond_resched() {}

    fn folio_max_file_order() -> c_uint {
        machine::MAX_FILE_ORDER
    }

    fn folio_put(it: *mut folio) {
        let it = Box::from_raw(it);

        machine::free(it.phys, it.order);
    }

    fn folios_put(folios: *mut folio_batch) {
        let folios = &mut *folios;

        for &it in &folios.folios[..usize::from(folios.nr)] {
            folio_put(it);
        }
        folios.nr = 0;
    }

    fn kho_preserve_vmalloc(_area: *mut c_void, _descriptor: *mut kho_vmalloc) -> c_int {
        unreachable!("there are no drivers in Rust")
    }

    fn kho_unpreserve_vmalloc(_descriptor: *mut kho_vmalloc) {
        unreachable!("there are no drivers in Rust")
    }

    fn kho_restore_vmalloc(_descriptor: *const kho_vmalloc) -> *mut c_void {
        unreachable!("there are no drivers in Rust")
    }

    fn vfree(_area: *const c_void) {
        unreachable!("there are no drivers in Rust")
    }

    fn virt_to_phys(memory: *const c_void) -> u64 {
        memory.addr() as u64
    }

    fn phys_to_virt(phys: u64) -> *mut c_void {
        machine::phys_to_virt(phys)
    }

    fn kexec_trylock() -> bool {
        true
    }

    fn kexec_unlock() {}

    fn try_module_get(_module: *mut module) -> bool {
        machine::count_modules(1);
        true
    }

    fn __module_get(_module: *mut module) {
        machine::count_modules(1);
    }

    fn module_name(_module: *mut module) -> *const c_char {
        c"kernel".as_ptr()
    }

    fn module_put(_module: *mut module) {
        machine::count_modules(-1);
    }

    fn check_zeroed_user(from: *const c_void, size: usize) -> c_int {
        core::slice::from_raw_parts(from.cast::<u8>(), size)
            .iter()
            .all(|&byte| byte == 0)
            .into()
    }

    fn get_user_u32(to: *mut u32, from: *const u32) -> c_int {
        *to = *from;
        0
    }

    fn _copy_from_user(to: *mut c_void, from: *const c_void, size: usize) -> c_ulong {
        to.copy_from_nonoverlapping(from, size);
        0
    }

    fn _copy_to_user(to: *mut c_void, from: *const c_void, size: usize) -> c_ulong {
        to.copy_from_nonoverlapping(from, size);
        0
    }

    fn anon_inode_getfile(
        _name: *const c_char,
        f_op: *const file_operations,
        private_data: *mut c_void,
        _flags: c_int
    ) -> *mut file {
        Box::into_raw(Box::new(file {
            f_op,
            private_data,
            references: 1,
        }))
    }

    fn get_file(it: *mut file) {
        (*it).references += 1;
    }

    fn fput(it: *mut file) {
        (*it).references -= 1;
        if (*it).references == 0 {
            if let Some(release) = (*it).f_op.as_ref().and_then(|ops| ops.release) {
                release(core::ptr::null_mut(), it);
            }
            drop(Box::from_raw(it));
        }
    }

    fn __init_rwsem(it: *mut rw_semaphore, _name: *const c_char, _class: *mut lock_class_key) {
        it.write(rw_semaphore(0));
    }

    fn down_read(it: *mut rw_semaphore) {
        assert!((*it).0 >= 0 || machine::has_jumped(), "the semaphore is held to write");
        (*it).0 += 1;
    }

    fn down_read_trylock(it: *mut rw_semaphore) -> c_int {
        if (*it).0 < 0 {
            return 0;
        }
        (*it).0 += 1;
        1
    }

    fn up_read(it: *mut rw_semaphore) {
        (*it).0 -= 1;
    }

    fn down_write(it: *mut rw_semaphore) {
        assert!((*it).0 == 0, "the semaphore is held");
        (*it).0 = -1;
    }

    fn up_write(it: *mut rw_semaphore) {
        (*it).0 = 0;
    }
}
