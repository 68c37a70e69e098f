// SPDX-License-Identifier: GPL-2.0

//! Kexec Handover (KHO) with owners: memory that the next kernel will get, and memory that the
//! previous kernel left.
//!
//! Outgoing memory is a value, [`Preserved`]; dropping it takes the memory back from KHO. Incoming
//! memory belongs to nobody at first, and its addresses may be wrong. There are two ways to it:
//!
//! - Who knows what is at an address takes it over, as a [`Restored`] value; dropping that frees the
//!   memory. An address at which nothing was preserved, or not so much, or that somebody has taken
//!   already, gives an error and nothing else.
//! - Who has to look at everything before any of it is believed gets no reference to it. What is read
//!   is copied out through [`Memory`], which answers for every address whether there is anything to
//!   copy, and leaves everything where it is unless told to release it.
//!
//! Large areas that need no contiguous memory go through [`PreservedArea`] and [`RestoredArea`]. Who
//! has to check a list of memory before any of it is taken claims it: see [`claim`].
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)
//!
//! # Examples
//!
//! Preserve a number, tell the next kernel where it is, and look what the previous one left there:
//!
//! ```
//! use kernel::kho::{
//!     self,
//!     Extent,
//!     HandedOver,
//!     Memory as _,
//!     Preserved, //
//! };
//!
//! # if !kho::is_enabled() { return Ok(()); }
//! let mut number = Preserved::<u64>::new()?;
//! *number = 17;
//!
//! // As long as this exists, a kexec hands the number over.
//! let published = number.publish(c"example")?;
//! assert_eq!(*published, 17);
//!
//! // SAFETY: This one releases nothing.
//! let memory = unsafe { HandedOver::new() };
//!
//! match memory.find(c"example") {
//!     Ok((phys, size)) => {
//!         let number = memory.read::<u64>(Extent { phys, size }).ok_or(EINVAL)?;
//!         pr_info!("the previous kernel left {number}\n");
//!     }
//!     // The first time, or after a cold boot.
//!     Err(err) => assert_eq!(err, ENOENT),
//! }
//! # Ok::<(), Error>(())
//! ```

use crate::{
    alloc::flags::*,
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    static_assert,
    str::CStrExt as _,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use core::{
    mem,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};
use zerocopy::FromZeros;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

pub mod claim;

/// Whether KHO is enabled (`kho=`).
pub fn is_enabled() -> bool {
    // SAFETY: May be called from anywhere.
    unsafe { bindings::kho_is_enabled() }
}

/// Allocates and preserves `size` bytes of zeroes.
///
/// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
fn alloc(size: usize) -> Result<NonNull<u8>> {
    // SAFETY: May be called from where sleeping is allowed.
    let ptr = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;

    NonNull::new(ptr.cast()).ok_or(ENOMEM)
}

/// A `T` in memory that the next kernel will find as it was left.
///
/// Dropped, the memory is taken out of KHO and freed. Nothing has to be done to hand it over: what
/// is still preserved when the machine jumps, is.
///
/// # Invariants
///
/// `ptr` came from `kho_alloc_preserve()`, or is a page that was allocated and preserved likewise;
/// it is aligned to a page, holds a valid `T`, and belongs to this value alone.
pub struct Preserved<T: ?Sized> {
    ptr: NonNull<T>,
}

// SAFETY: `Preserved<T>` owns its `T`, and preserved memory belongs to no thread.
unsafe impl<T: ?Sized + Send> Send for Preserved<T> {}

// SAFETY: A shared `Preserved<T>` gives shared access to `T` only.
unsafe impl<T: ?Sized + Sync> Sync for Preserved<T> {}

impl<T: FromZeros> Preserved<T> {
    /// Allocates and preserves a `T` of zeroes.
    ///
    /// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
    pub fn new() -> Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PAGE_SIZE) };

        let ptr = alloc(size_of::<T>())?.cast();

        // INVARIANT: KHO returned zeroed memory of at least `T`'s size, aligned to a page; a `T`
        // of zeroes is valid, and nobody else knows of it.
        Ok(Self { ptr })
    }
}

impl Preserved<[u8]> {
    /// Allocates and preserves `size` bytes of zeroes, aligned to a page.
    ///
    /// Returns `ENOMEM` if there is no memory, and what else KHO may answer. May sleep.
    pub fn zeroed(size: usize) -> Result<Self> {
        let ptr = NonNull::slice_from_raw_parts(alloc(size)?, size);

        // INVARIANT: KHO returned so many bytes, aligned to a page, and nobody else knows of them.
        Ok(Self { ptr })
    }
}

/// Pages that lie next to each other, to be preserved one by one.
///
/// The next kernel sees to preserved memory before it is up, run by run: so pages that are
/// preserved together had better be few runs.
///
/// # Invariants
///
/// From `next` on there are `left` pages of zeroes that belong to this value alone, each of which
/// can be freed on its own.
pub struct Row {
    next: NonNull<u8>,
    left: usize,
}

// SAFETY: The pages belong to no thread.
unsafe impl Send for Row {}

impl Row {
    /// Allocates `1 << order` pages of zeroes, if that is possible without effort. May be called
    /// from any context.
    pub fn new(order: u32) -> Option<Self> {
        let flags = GFP_NOWAIT | __GFP_ZERO | __GFP_NOWARN;
        // SAFETY: May be called from any context.
        let page = NonNull::new(unsafe { bindings::alloc_pages(flags.as_raw(), order) })?;

        // SAFETY: These are so many pages that were allocated as one, and nobody else knows of them.
        unsafe { bindings::split_page(page.as_ptr(), order) };
        // SAFETY: Without `__GFP_HIGHMEM` a page has an address.
        let next = NonNull::new(unsafe { bindings::page_address(page.as_ptr()) })?.cast();

        // INVARIANT: So many pages were just allocated and split.
        Some(Self {
            next,
            left: 1 << order,
        })
    }

    /// Whether there is none left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Takes a page, and preserves it.
    ///
    /// Returns `ENOMEM` if there is none, or no memory for KHO to note it down. May sleep.
    pub fn preserve(&mut self) -> Result<Preserved<[u8]>> {
        if self.is_empty() {
            return Err(ENOMEM);
        }
        let page = self.next;

        // SAFETY: By the type invariants, this is a page of ours.
        to_result(unsafe {
            bindings::kho_preserve_pages(bindings::virt_to_page(page.as_ptr().cast()), 1)
        })?;
        // INVARIANT: The page goes to what is returned; the one behind it, if any, is the next.
        // SAFETY: The page's end is in the allocation that the page is in, or its end.
        self.next = unsafe { page.add(PAGE_SIZE) };
        self.left -= 1;

        // INVARIANT: A page as `kho_alloc_preserve()` returns it: of zeroes, aligned, and ours.
        Ok(Preserved {
            ptr: NonNull::slice_from_raw_parts(page, PAGE_SIZE),
        })
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        for page in 0..self.left {
            // SAFETY: By the type invariants, so many pages are left, each to be freed on its own.
            unsafe { bindings::free_pages(self.next.as_ptr().addr() + page * PAGE_SIZE, 0) };
        }
    }
}

impl<T: ?Sized> Preserved<T> {
    /// The physical address, under which the next kernel finds it.
    #[inline]
    pub fn phys(&self) -> u64 {
        // SAFETY: By the type invariants, this is an address of the direct map.
        unsafe { bindings::virt_to_phys(self.ptr.as_ptr().cast()) }
    }

    /// Enters this into KHO's tree as `name`, for the next kernel to begin with.
    ///
    /// Returns `EEXIST` if there is such an entry already, `ENOMEM` if KHO's tree is full. May
    /// sleep.
    pub fn publish(self, name: &CStr) -> Result<Published<T>> {
        // SAFETY: The name is NUL-terminated and copied by KHO; the memory is preserved and, by
        // `Published`'s invariants, stays so for as long as the entry is there.
        to_result(unsafe {
            let size = size_of_val(&*self);

            bindings::kho_add_subtree(name.as_char_ptr(), self.ptr.as_ptr().cast(), size)
        })?;

        // INVARIANT: The entry was just made.
        Ok(Published { memory: self })
    }
}

impl<T: ?Sized> Deref for Preserved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Preserved<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`, which
        // is borrowed exclusively.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T: ?Sized> Drop for Preserved<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is as if it came from `kho_alloc_preserve()`, and has
        // no other owner.
        unsafe { bindings::kho_unpreserve_free(self.ptr.as_ptr().cast()) };
    }
}

/// Preserved memory with an entry in KHO's tree.
///
/// # Invariants
///
/// KHO's tree has an entry that points to `memory`.
pub struct Published<T: ?Sized> {
    memory: Preserved<T>,
}

impl<T: ?Sized> Deref for Published<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.memory
    }
}

impl<T: ?Sized> DerefMut for Published<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.memory
    }
}

impl<T: ?Sized> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is such an entry; the memory outlives it, as fields
        // are dropped after this.
        unsafe { bindings::kho_remove_subtree(self.memory.ptr.as_ptr().cast()) };
    }
}

/// Pages that were preserved as one.
#[derive(Clone, Copy)]
pub struct Extent {
    /// The physical address of the first page.
    pub phys: u64,
    /// How many bytes of them are used.
    pub size: usize,
}

impl Extent {
    /// The order of the pages, as KHO preserves so many bytes.
    #[inline]
    pub const fn order(&self) -> u32 {
        self.size
            .div_ceil(PAGE_SIZE)
            .next_power_of_two()
            .trailing_zeros()
    }

    /// The single page at `phys`.
    #[inline]
    pub const fn page(phys: u64) -> Self {
        Self {
            phys,
            size: PAGE_SIZE,
        }
    }
}

/// Whether these pages were handed over, as one, and are still there.
fn is_there(extent: Extent) -> bool {
    // SAFETY: Any address may be asked for.
    unsafe { bindings::kho_is_restorable(extent.phys, extent.order()) }
}

/// Takes over the pages of `extent`, which belong to the caller then.
///
/// Returns `EIO` unless they were handed over as one, and are still there.
fn restore(extent: Extent) -> Result<NonNull<u8>> {
    if !is_there(extent) {
        return Err(EIO);
    }

    // SAFETY: The pages are there to be restored. If somebody else does so at this moment, one of us
    // gets null.
    let folio = unsafe { bindings::kho_restore_folio(extent.phys) };
    if folio.is_null() {
        return Err(EIO);
    }

    // SAFETY: What KHO preserves is in the direct map.
    NonNull::new(unsafe { bindings::phys_to_virt(extent.phys) }.cast()).ok_or(EIO)
}

/// A `T` in memory that the previous kernel preserved, and this one has taken over.
///
/// Dropped, the memory is freed. It is ordinary memory: what is to get to the next kernel as well
/// has to be preserved again.
///
/// # Examples
///
/// An address that was not handed over is refused, whatever it is:
///
/// ```
/// use kernel::kho::Restored;
///
/// assert_eq!(Restored::<u64>::new(0x17).err(), Some(EIO));
/// assert_eq!(Restored::<u64>::new(u64::MAX).err(), Some(EIO));
/// assert_eq!(Restored::bytes(0, 0).err(), Some(EIO));
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `ptr` is aligned to a page and points to a `T` in as many pages as KHO preserves for it, which
/// are not free and belong to this value alone.
pub struct Restored<T: ?Sized> {
    ptr: NonNull<T>,
}

// SAFETY: `Restored<T>` owns its `T`, and its memory belongs to no thread.
unsafe impl<T: ?Sized + Send> Send for Restored<T> {}

// SAFETY: A shared `Restored<T>` gives shared access to `T` only.
unsafe impl<T: ?Sized + Sync> Sync for Restored<T> {}

impl<T: FromBytes> Restored<T> {
    /// Takes over the `T` at `phys`, which [`Preserved::phys`] said in the previous kernel.
    ///
    /// Returns `EIO` unless so much memory was handed over there, and nobody has taken it. Nothing
    /// else is checked: of what is in it, any bytes are a `T`. May sleep.
    pub fn new(phys: u64) -> Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PAGE_SIZE) };

        let size = size_of::<T>();

        // INVARIANT: These are pages for a `T`, which any bytes are, and they are ours.
        Ok(Self {
            ptr: restore(Extent { phys, size })?.cast(),
        })
    }
}

impl Restored<[u8]> {
    /// Takes over `size` bytes at `phys`, as [`Self::new`] does. There have to be as many pages as
    /// KHO takes for so many bytes.
    pub fn bytes(phys: u64, size: usize) -> Result<Self> {
        if size == 0 {
            return Err(EIO);
        }

        // INVARIANT: These are pages for so many bytes, and they are ours.
        Ok(Self {
            ptr: NonNull::slice_from_raw_parts(restore(Extent { phys, size })?, size),
        })
    }
}

impl<T: ?Sized> Deref for Restored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Restored<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants, `ptr` points to a valid `T` that is owned by `self`, which
        // is borrowed exclusively.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T: ?Sized> Drop for Restored<T> {
    fn drop(&mut self) {
        let extent = Extent {
            phys: 0,
            size: size_of_val(&**self),
        };

        // SAFETY: By the type invariants, these are so many pages, and they are ours.
        unsafe { bindings::free_pages(self.ptr.as_ptr().cast::<u8>().addr(), extent.order()) };
    }
}

/// Where the pages of an area are, for the next kernel: goes into what is handed over besides.
///
/// `struct kho_vmalloc` of [`include/linux/kho/abi/kexec_handover.h`](srctree/include/linux/kho/abi/kexec_handover.h).
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, PartialEq)]
pub struct AreaDescriptor {
    /// The physical address of the first chunk of addresses.
    first: u64,
    total_pages: u32,
    flags: u16,
    order: u16,
}

static_assert!(size_of::<AreaDescriptor>() == size_of::<bindings::kho_vmalloc>());
static_assert!(align_of::<AreaDescriptor>() == align_of::<bindings::kho_vmalloc>());

/// Values that lie next to each other only virtually, and that the next kernel gets.
///
/// Dropped, they are taken out of KHO and freed.
///
/// # Examples
///
/// ```
/// use kernel::kho::{
///     self,
///     PreservedArea, //
/// };
///
/// # if !kho::is_enabled() { return Ok(()); }
/// let mut bytes = VVec::from_elem(17u8, 3 * kernel::page::PAGE_SIZE, GFP_KERNEL)?;
/// let mut area = PreservedArea::new(&mut bytes)?;
///
/// area[0] = 18;
/// // To be handed over in memory that the next kernel finds, together with the length.
/// let descriptor = area.descriptor();
/// # let _ = descriptor;
///
/// // Not to be handed over, after all.
/// assert_eq!(area.into_values()[0], 18);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `descriptor` is what KHO said when it preserved the allocation of `values`, which is not empty.
pub struct PreservedArea<T: IntoBytes = u8> {
    values: VVec<T>,
    descriptor: AreaDescriptor,
}

impl<T: IntoBytes> PreservedArea<T> {
    /// Preserves these values, and takes them; if it fails, they are left.
    ///
    /// Returns `EINVAL` if there are none, `ENOMEM`. May sleep.
    pub fn new(values: &mut VVec<T>) -> Result<Self> {
        let mut descriptor = AreaDescriptor::new_zeroed();

        if values.is_empty() || size_of::<T>() == 0 {
            return Err(EINVAL);
        }

        // SAFETY: The allocation is one of vmalloc's, and stays as it is for as long as it is
        // preserved: nothing here lets the vector grow or shrink. The descriptor has the layout of
        // the C struct.
        to_result(unsafe {
            bindings::kho_preserve_vmalloc(values.as_mut_ptr().cast(), (&raw mut descriptor).cast())
        })?;

        // INVARIANT: KHO has just preserved the allocation.
        Ok(Self {
            values: mem::take(values),
            descriptor,
        })
    }

    /// Takes the values out of KHO.
    pub fn into_values(mut self) -> VVec<T> {
        // The drop of the rest takes them out; there are none left to free.
        mem::take(&mut self.values)
    }

    /// Where it is.
    pub fn descriptor(&self) -> AreaDescriptor {
        self.descriptor
    }
}

impl<T: IntoBytes> Deref for PreservedArea<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: IntoBytes> DerefMut for PreservedArea<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T: IntoBytes> Drop for PreservedArea<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is what KHO said of the allocation, which outlives
        // the call. The descriptor has the layout of the C struct.
        unsafe { bindings::kho_unpreserve_vmalloc((&raw mut self.descriptor).cast()) };
    }
}

/// A part of a handed-over area.
enum AreaPage {
    /// A page of addresses: of the next such page, and of blocks up to one that is 0.
    Chunk(u64),
    /// Pages of the area itself.
    Block(u64),
}

/// The pages that a descriptor leads to, chunks before the blocks that they lead to.
///
/// No address is believed: whoever asks for the next page says what is at an address of a chunk,
/// once there is that chunk.
struct AreaPages {
    chunk: u64,
    /// Of the next address in the chunk; 0 if the chunk itself is next.
    offset: usize,
    /// How many pages there are to come.
    left: u64,
    order: u16,
}

impl AreaPages {
    /// Those of an area of at least `size` bytes.
    ///
    /// Returns `EIO` if the descriptor is not one of such an area.
    fn new(descriptor: AreaDescriptor, size: usize) -> Result<Self> {
        let pages = Extent {
            phys: 0,
            size: PAGE_SIZE.checked_shl(descriptor.order.into()).ok_or(EIO)?,
        };

        // More than this, and nothing was handed over in that order.
        if pages.order() != descriptor.order.into()
            || size == 0
            || size.div_ceil(PAGE_SIZE) as u64 > descriptor.total_pages.into()
        {
            return Err(EIO);
        }
        Ok(Self {
            chunk: descriptor.first,
            offset: 0,
            left: descriptor.total_pages.into(),
            order: descriptor.order,
        })
    }

    /// The next one, where `read` tells the number at an offset into a chunk.
    ///
    /// Returns `EIO` if there is none and should be one, or one too many.
    fn next(&mut self, read: impl Fn(u64, usize) -> Option<u64>) -> Result<Option<AreaPage>> {
        loop {
            if self.offset == 0 {
                self.offset = size_of::<u64>();
                if self.chunk == 0 {
                    return if self.left == 0 { Ok(None) } else { Err(EIO) };
                }
                return Ok(Some(AreaPage::Chunk(self.chunk)));
            }

            let block = if self.offset < PAGE_SIZE {
                read(self.chunk, self.offset).ok_or(EIO)?
            } else {
                0
            };

            if block != 0 {
                self.left = self.left.checked_sub(1 << self.order).ok_or(EIO)?;
                self.offset += size_of::<u64>();
                return Ok(Some(AreaPage::Block(block)));
            }

            let next = read(self.chunk, 0).ok_or(EIO)?;

            // All but the last one are full, so this ends.
            if next != 0 && self.offset < PAGE_SIZE {
                return Err(EIO);
            }
            self.chunk = next;
            self.offset = 0;
        }
    }
}

/// An area that the previous kernel preserved, and this one has taken over.
///
/// Dropped, it is freed.
///
/// # Examples
///
/// What was not handed over is refused, whatever it is:
///
/// ```
/// use kernel::kho::{
///     AreaDescriptor,
///     RestoredArea, //
/// };
/// use zerocopy::FromBytes as _;
///
/// for byte in [0u8, 1, 0x17, 0xff] {
///     let descriptor = AreaDescriptor::read_from_bytes(&[byte; 16]).map_err(|_| EINVAL)?;
///
///     assert_eq!(RestoredArea::new(descriptor, 1).err(), Some(EIO));
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `bytes` are in an area of vmalloc's that belongs to this value alone.
pub struct RestoredArea {
    bytes: NonNull<[u8]>,
}

// SAFETY: The area belongs to no thread.
unsafe impl Send for RestoredArea {}

// SAFETY: A shared area gives shared access to bytes.
unsafe impl Sync for RestoredArea {}

impl RestoredArea {
    /// Takes over the `size` bytes that a [`PreservedArea`] was made of.
    ///
    /// Returns `EIO` if the descriptor is not one of an area of that size which was handed over and
    /// nobody has taken, `ENOMEM`. May sleep.
    pub fn new(descriptor: AreaDescriptor, size: usize) -> Result<Self> {
        Self::check(descriptor, size)?;

        // SAFETY: The descriptor has the layout of the C struct. All pages that C reads without
        // asking are there, as was just checked, and for each of them it asks again before it takes
        // it: what somebody else takes at this moment is refused, or only read.
        let area = unsafe { bindings::kho_restore_vmalloc((&raw const descriptor).cast()) };

        // INVARIANT: This is a new area, and its size was checked.
        Ok(Self {
            bytes: NonNull::slice_from_raw_parts(NonNull::new(area.cast()).ok_or(ENOMEM)?, size),
        })
    }

    /// Checks what KHO believes: that there are chunks where it is told, and as many pages in them,
    /// each handed over in the order it is told.
    fn check(descriptor: AreaDescriptor, size: usize) -> Result {
        let mut pages = AreaPages::new(descriptor, size)?;
        // SAFETY: This one releases nothing.
        let memory = unsafe { HandedOver::new() };
        let read = |phys, offset| {
            let mut bytes = [0; size_of::<u64>()];

            memory.copy(Extent::page(phys), offset, &mut bytes)?;
            Some(u64::from_ne_bytes(bytes))
        };

        while let Some(page) = pages.next(read)? {
            let extent = match page {
                AreaPage::Chunk(phys) => Extent::page(phys),
                AreaPage::Block(phys) => Extent {
                    phys,
                    size: PAGE_SIZE << descriptor.order,
                },
            };

            if !is_there(extent) {
                return Err(EIO);
            }
        }
        Ok(())
    }
}

impl Deref for RestoredArea {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants, these bytes are owned by `self`.
        unsafe { self.bytes.as_ref() }
    }
}

impl DerefMut for RestoredArea {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the type invariants, these bytes are owned by `self`, which is borrowed
        // exclusively.
        unsafe { self.bytes.as_mut() }
    }
}

impl Drop for RestoredArea {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is an area of ours.
        unsafe { bindings::vfree(self.bytes.as_ptr().cast()) };
    }
}

/// The pages that a previous kernel handed over.
pub trait Memory {
    /// Fills `to` with what is `offset` bytes into `extent`.
    ///
    /// Returns [`None`], and leaves `to` as it is, unless as many pages as the extent takes were
    /// handed over there as one, and are still there. Any address may be asked for.
    fn copy(&self, extent: Extent, offset: usize, to: &mut [u8]) -> Option<()>;

    /// Copies the `T` at the beginning of `extent`; [`None`] as with [`Self::copy`].
    fn read<T: FromBytes + IntoBytes>(&self, extent: Extent) -> Option<T> {
        let mut value = T::new_zeroed();

        self.copy(extent, 0, value.as_mut_bytes())?;
        Some(value)
    }

    /// Gives pages back to the system.
    fn release(&mut self, extents: impl IntoIterator<Item = Extent>);
}

/// What KHO brought from the previous kernel.
///
/// [`Self::take`] gives one value of this type in the life of a kernel, so that nobody can release a
/// page that somebody else is reading.
pub struct HandedOver(());

impl HandedOver {
    /// Returns the only [`HandedOver`], when called for the first time.
    pub fn take() -> Option<Self> {
        static TAKEN: Atomic<bool> = Atomic::new(false);

        // SAFETY: Nobody has called this before.
        (!TAKEN.xchg(true, Relaxed)).then(|| unsafe { Self::new() })
    }

    /// Makes a [`HandedOver`].
    ///
    /// # Safety
    ///
    /// As long as it exists, no other one may be asked to release what this one is asked to copy.
    pub unsafe fn new() -> Self {
        Self(())
    }

    /// Looks up what the previous kernel published as `name`: its physical address, and its size
    /// in bytes.
    ///
    /// Returns `ENOENT` if there is no such entry, `EINVAL` if it is malformed.
    pub fn find(&self, name: &CStr) -> Result<(u64, usize)> {
        let mut phys = 0;
        let mut size = 0;

        // SAFETY: The name is NUL-terminated, and both results may be written.
        to_result(unsafe {
            bindings::kho_retrieve_subtree(name.as_char_ptr(), &mut phys, &mut size)
        })?;

        Ok((phys, size))
    }
}

impl Memory for HandedOver {
    #[inline]
    fn copy(&self, extent: Extent, offset: usize, to: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(to.len())?;

        if end > extent.size || !is_there(extent) {
            return None;
        }

        // SAFETY: From `phys` on there are pages that the previous kernel preserved as one and
        // nobody has restored. They are in the direct map, and `end` bytes are not more than they
        // have. Nobody frees them: they are reserved, and only `release()`, which borrows the only
        // `HandedOver` exclusively, and their owners restore them. If the address is a wrong one,
        // such an owner, another user of KHO, may write to them meanwhile: then some of the bytes
        // are old and some are new. That is none of Rust's business, as it is C that reads them,
        // and no harm, as bytes may have any value and what they mean is decided by the copy.
        unsafe {
            let from = bindings::phys_to_virt(extent.phys).wrapping_byte_add(offset);

            bindings::memcpy(to.as_mut_ptr().cast(), from, to.len());
        }
        Some(())
    }

    fn release(&mut self, extents: impl IntoIterator<Item = Extent>) {
        for extent in extents {
            // Restoring a page makes it an ordinary one, so a second time is seen here.
            if is_there(extent) {
                // SAFETY: The pages are there to be restored, and nobody reads them: that takes the
                // only `HandedOver`, which is borrowed exclusively.
                unsafe { bindings::kho_restore_free(bindings::phys_to_virt(extent.phys)) };
            }
        }
    }
}
