// SPDX-License-Identifier: GPL-2.0

//! The machine that the kernel runs on: what it remembers of the kernel before, what the kernel
//! makes of that, and what it logs.

use crate::bindings;
use crate::page::PAGE_SIZE;
use core::cell::Cell;
use core::cell::RefCell;
use core::ffi::c_void;
use core::ffi::CStr;
use core::fmt;
use std::alloc::Layout;
use std::collections::BTreeMap;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Something does not work.
    Err,
    /// Something may not work.
    Warn,
    /// All is well.
    Info,
}

/// Pages in a row.
struct Pages {
    ptr: *mut u8,
    layout: Layout,
}

impl Pages {
    /// As many pages as `size` bytes take, a power of two, zeroed. Each allocation has an end of its
    /// own, for tools that watch over such ends.
    fn new(size: usize) -> Self {
        let pages = size.div_ceil(PAGE_SIZE).next_power_of_two();
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE)
            .expect("a size that there can be");
        // SAFETY: The size is not 0.
        let ptr = unsafe { std::alloc::alloc_zeroed(layout) };

        assert!(!ptr.is_null(), "out of memory");
        Self { ptr, layout }
    }
}

impl Clone for Pages {
    fn clone(&self) -> Self {
        let pages = Self::new(self.layout.size());

        // SAFETY: Both are of that size.
        unsafe {
            pages
                .ptr
                .copy_from_nonoverlapping(self.ptr, self.layout.size())
        };
        pages
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: This was allocated so.
        unsafe { std::alloc::dealloc(self.ptr, self.layout) };
    }
}

/// What the machine remembers until it is switched off.
#[derive(Default)]
struct Memory {
    entry: Option<(u64, usize)>,
    handed_over: BTreeMap<u64, Pages>,
    released: Vec<u64>,
    preserved: BTreeMap<u64, Pages>,
    published: Option<(u64, usize)>,
    jumped: bool,
    log: Vec<(Level, String)>,
    questions: usize,
    modules: isize,
    device: Option<&'static bindings::file_operations>,
    descriptors: Vec<*mut bindings::file>,
    at_power_off: Vec<Box<dyn FnOnce()>>,
}

thread_local! {
    static BOOT: Cell<u64> = const { Cell::new(1) };
    static MEMORY: RefCell<Memory> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Memory) -> R) -> R {
    MEMORY.with_borrow_mut(f)
}

/// The number of times that the machine was switched on.
pub fn boot() -> u64 {
    BOOT.get()
}

/// Does something when the machine is switched off.
pub(crate) fn at_power_off(last: impl FnOnce() + 'static) {
    with(|memory| memory.at_power_off.push(Box::new(last)));
}

/// Jumps into the next kernel, which is handed over what this one preserves.
///
/// After that, `last` drops what outside the kernel refers to this one.
pub fn kexec(last: impl FnOnce()) {
    let (entry, handed_over) = with(|memory| {
        memory.jumped = true;
        (memory.published, memory.preserved.clone())
    });

    last();
    power_off();
    with(|memory| {
        memory.entry = entry;
        memory.handed_over = handed_over;
    });
}

/// Whether the kernel has jumped into the next one. What it drops then is of no interest any more.
pub(crate) fn has_jumped() -> bool {
    with(|memory| memory.jumped)
}

/// Switches the machine off and on. It remembers nothing, and static variables are as at first.
pub fn power_off() {
    for last in with(|memory| std::mem::take(&mut memory.at_power_off)) {
        last();
    }
    BOOT.set(BOOT.get() + 1);
    MEMORY.take();
}

/// The kernel before handed over `bytes` at the physical address `phys`.
pub fn hand_over(phys: u64, bytes: &[u8]) {
    let pages = Pages::new(bytes.len());

    // SAFETY: There is room for so much, and nobody else knows of it.
    unsafe {
        pages
            .ptr
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
    with(|memory| memory.handed_over.insert(phys, pages));
}

/// The kernel before published `size` bytes at `phys` as the entry of LUO.
pub fn publish(phys: u64, size: usize) {
    with(|memory| memory.entry = Some((phys, size)));
}

/// The pages that the kernel released, in order.
pub fn released() -> Vec<u64> {
    with(|memory| memory.released.clone())
}

/// What the kernel logged.
pub fn messages() -> Vec<(Level, String)> {
    with(|memory| memory.log.clone())
}

/// How often the kernel asked whether it may look at a page.
pub fn questions() -> usize {
    with(|memory| memory.questions)
}

/// How many references to modules there are.
pub fn modules() -> isize {
    with(|memory| memory.modules)
}

/// The operations of the device that the kernel registered.
pub fn device() -> Option<&'static bindings::file_operations> {
    with(|memory| memory.device)
}

/// Takes a file from its descriptor.
pub fn take_file(fd: u32) -> *mut bindings::file {
    with(|memory| std::mem::replace(&mut memory.descriptors[fd as usize], std::ptr::null_mut()))
}

/// Gives an open file a descriptor.
pub fn open_fd(file: *mut bindings::file) -> u32 {
    with(|memory| {
        memory.descriptors.push(file);
        memory.descriptors.len() as u32 - 1
    })
}

pub(crate) fn entry(name: &CStr) -> Option<(u64, usize)> {
    with(|memory| memory.entry).filter(|_| name == c"LUO")
}

pub(crate) fn is_restorable(phys: u64, order: u32) -> bool {
    with(|memory| {
        memory.questions += 1;
        memory
            .handed_over
            .get(&phys)
            .is_some_and(|pages| pages.layout.size() == PAGE_SIZE << order)
    })
}

pub(crate) fn phys_to_virt(phys: u64) -> *mut c_void {
    with(|memory| memory.handed_over.get(&phys).map(|pages| pages.ptr.cast()))
        .unwrap_or_else(|| panic!("{phys:#x} is looked at, and was not handed over"))
}

pub(crate) fn restore_free(ptr: *mut c_void) {
    with(|memory| {
        let (&phys, _) = memory
            .handed_over
            .iter()
            .find(|(_, pages)| pages.ptr.cast() == ptr)
            .expect("what is released was handed over");

        memory.handed_over.remove(&phys);
        memory.released.push(phys);
    });
}

pub(crate) fn preserve(size: usize) -> *mut c_void {
    let pages = Pages::new(size);
    let ptr = pages.ptr.cast();

    with(|memory| memory.preserved.insert(pages.ptr.addr() as u64, pages));
    ptr
}

pub(crate) fn unpreserve(ptr: *mut c_void) {
    with(|memory| memory.preserved.remove(&(ptr.addr() as u64)))
        .expect("what is no longer preserved was preserved");
}

pub(crate) fn add_subtree(ptr: *mut c_void, size: usize) {
    with(|memory| memory.published = Some((ptr.addr() as u64, size)));
}

pub(crate) fn remove_subtree() {
    with(|memory| memory.published = None);
}

pub(crate) fn count_modules(more: isize) {
    with(|memory| memory.modules += more);
}

pub(crate) fn set_device(device: &'static bindings::file_operations) {
    with(|memory| memory.device = Some(device));
}

pub(crate) fn reserve_fd() -> u32 {
    open_fd(std::ptr::null_mut())
}

pub(crate) fn install_fd(fd: u32, file: *mut bindings::file) {
    with(|memory| memory.descriptors[fd as usize] = file);
}

pub(crate) fn fget(fd: u32) -> *mut bindings::file {
    let file = with(|memory| memory.descriptors.get(fd as usize).copied());
    let file = file.unwrap_or(std::ptr::null_mut());

    if !file.is_null() {
        // SAFETY: Its descriptor has a reference.
        unsafe { bindings::get_file(file) };
    }
    file
}

#[doc(hidden)]
pub fn log(level: Level, _prefix: &[u8], message: fmt::Arguments<'_>) {
    with(|memory| memory.log.push((level, message.to_string())));
}
