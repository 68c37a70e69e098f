// SPDX-License-Identifier: GPL-2.0

//! The machine that the kernel runs on: what it remembers of the kernel before, what the kernel
//! makes of that, and what it logs.

use crate::bindings;
use crate::liveupdate;
use crate::memfd;
use crate::page::PAGE_SIZE;
use core::cell::Cell;
use core::cell::RefCell;
use core::ffi::c_void;
use core::ffi::CStr;
use core::fmt;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

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

/// What is claimed.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) order: u32,
    pub(crate) index: u64,
    pub(crate) folio_order: u32,
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
    handlers: BTreeMap<&'static CStr, liveupdate::Callbacks>,
    owners: u32,
    /// Blocks that are not there to be restored any more.
    gone: BTreeSet<u64>,
    /// What is claimed, by whom, in order.
    claims: BTreeMap<u32, VecDeque<(u64, Claim)>>,
    /// What was filled since it was handed over.
    filled: BTreeSet<u64>,
    /// The frames of all folios that are in use.
    used: BTreeSet<u64>,
    /// The frames of all that were, and are not.
    freed: BTreeSet<u64>,
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
        memory.block(phys) == Some(order)
    })
}

impl Memory {
    /// The order of what begins there, and is there to be restored.
    fn block(&self, phys: u64) -> Option<u32> {
        let pages = self.handed_over.get(&phys)?;
        let order = (pages.layout.size() / PAGE_SIZE).ilog2();

        (!self.gone.contains(&phys)).then_some(order)
    }
}

/// The highest order of a folio that a file can have here.
pub const MAX_FILE_ORDER: u32 = 2;

/// The orders that a folio of a file could have at a page: bit 1 is for order 1.
pub(crate) fn allowed_orders(index: u64) -> usize {
    if index & 8 == 0 {
        (2 << MAX_FILE_ORDER) - 1
    } else {
        1
    }
}

/// What was handed over and is there to be restored, and what is claimed.
pub fn claims() -> (Vec<u64>, Vec<u64>) {
    with(|memory| {
        let blocks = memory.handed_over.keys().copied();

        (
            blocks.filter(|phys| !memory.gone.contains(phys)).collect(),
            memory
                .claims
                .values()
                .flatten()
                .map(|(phys, _)| *phys)
                .collect(),
        )
    })
}

/// The addresses of all pages that were taken: those in use, and those that are free again.
pub fn taken() -> [BTreeSet<u64>; 2] {
    with(|memory| [memory.used.clone(), memory.freed.clone()])
}

pub(crate) fn new_owner() -> u32 {
    with(|memory| {
        memory.owners += 1;
        memory.owners
    })
}

pub(crate) fn claim(phys: u64, owner: u32, index: u64, folio_order: u32) -> Option<u32> {
    with(|memory| {
        memory.questions += 1;

        let order = memory.block(phys)?;
        let claim = Claim {
            order,
            index,
            folio_order: folio_order.min(order),
        };

        memory.gone.insert(phys);
        memory
            .claims
            .entry(owner)
            .or_default()
            .push_back((phys, claim));
        Some(order)
    })
}

pub(crate) fn first_claim(owner: u32) -> Option<(u64, Claim)> {
    with(|memory| memory.claims.get(&owner)?.front().copied())
}

pub(crate) fn claimed_order(phys: u64, owner: u32) -> Option<u32> {
    with(|memory| {
        let mut claims = memory.claims.get(&owner)?.iter();

        claims
            .find(|(at, _)| *at == phys)
            .map(|(_, claim)| claim.order)
    })
}

pub(crate) fn unclaim(owner: u32) {
    with(|memory| {
        for (phys, claim) in memory.claims.remove(&owner).unwrap_or_default() {
            memory.gone.remove(&phys);
            assert_eq!(
                memory.block(phys),
                Some(claim.order),
                "a part is left as it was"
            );
        }
    });
}

/// What is behind a pointer was filled.
pub(crate) fn note_filled(at: *const c_void) {
    with(|memory| {
        let filled = memory
            .handed_over
            .iter()
            .find(|(_, pages)| core::ptr::eq(pages.ptr.cast(), at));

        if let Some((&phys, _)) = filled {
            memory.filled.insert(phys);
        }
    });
}

/// The pages of a block.
fn pages(phys: u64, order: u32) -> impl Iterator<Item = u64> {
    (phys..).step_by(PAGE_SIZE).take(1 << order)
}

/// Makes a folio of what was claimed first, or of the first part of it.
pub(crate) fn take_claim(owner: u32, max_order: u32) -> Option<bindings::folio> {
    with(|memory| {
        let claims = memory.claims.get_mut(&owner)?;
        let (phys, mut claim) = claims.pop_front()?;
        let zeroed = memory.filled.contains(&phys);

        while claim.order > max_order {
            claim.order -= 1;
            claim.folio_order = claim.folio_order.min(claim.order);

            let half = Claim {
                index: claim.index + (1 << claim.order),
                ..claim
            };
            let at = phys + ((PAGE_SIZE as u64) << claim.order);

            claims.push_front((at, half));
            if zeroed {
                memory.filled.insert(at);
            }
        }
        if claims.is_empty() {
            memory.claims.remove(&owner);
        }
        for page in pages(phys, claim.order) {
            assert!(!memory.freed.contains(&page), "{page:#x} was freed");
            assert!(memory.used.insert(page), "{page:#x} is taken twice");
        }
        Some(bindings::folio {
            phys,
            order: claim.order,
            index: claim.index,
            zeroed,
        })
    })
}

pub(crate) fn free(phys: u64, order: u32) {
    with(|memory| {
        for page in pages(phys, order) {
            assert!(memory.used.remove(&page), "{page:#x} was not in use");
            memory.freed.insert(page);
        }
    });
}

pub(crate) fn set_handler(name: &'static CStr, handler: liveupdate::Callbacks) {
    with(|memory| memory.handlers.insert(name, handler));
}

pub(crate) fn handler(name: &CStr) -> Option<liveupdate::Callbacks> {
    with(|memory| memory.handlers.get(name).copied())
}

/// Opens a file that was made of memory.
pub(crate) fn open_memfd(made: memfd::Made, folios: memfd::Folios) -> *mut bindings::file {
    const OPERATIONS: &bindings::file_operations = &bindings::file_operations {
        release: Some(memfd::Open::release),
        ..pin_init::zeroed()
    };
    let open = Box::new(memfd::Open {
        made,
        _folios: folios,
    });

    // SAFETY: What is behind the file is for its operations.
    unsafe {
        bindings::anon_inode_getfile(core::ptr::null(), OPERATIONS, Box::into_raw(open).cast(), 0)
    }
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
