// SPDX-License-Identifier: GPL-2.0

//! Memory of the previous kernel that is claimed before it is taken.
//!
//! What is restored cannot be given back. So who has a list of memory to restore claims all of it
//! first: what is claimed can be read, and nobody else can restore it. If there is anything wrong,
//! all of it is left as it was; if not, it is taken, one folio after the other.
//!
//! To claim needs no memory: KHO keeps what is claimed in a list of its own.
//!
//! # Examples
//!
//! What was not handed over cannot be claimed:
//!
//! ```
//! use kernel::kho::claim::Claims;
//!
//! let mut claims = Claims::new();
//!
//! for phys in [0, 0x17, 0x1000, u64::MAX, !0xfff] {
//!     assert_eq!(claims.claim(phys, 0, 0).err(), Some(EIO));
//!     assert_eq!(claims.order(phys), None);
//! }
//! assert!(claims.take(u32::MAX).is_none());
//! # Ok::<(), Error>(())
//! ```

use super::{
    AreaDescriptor,
    AreaPage,
    AreaPages, //
};
use crate::{
    bindings,
    folio::Folio,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::ptr::NonNull;

/// What one owner has claimed, in order.
///
/// Dropped, what is still claimed is left as it was.
///
/// # Invariants
///
/// The list is one that KHO made, and all in it is claimed for no other one.
pub struct Claims {
    inner: bindings::kho_claims,
}

// SAFETY: Claims belong to no thread.
unsafe impl Send for Claims {}

// SAFETY: What a shared value gives is read from memory that only an exclusive one changes.
unsafe impl Sync for Claims {}

/// What is taken next.
pub struct Next {
    /// The index for which it was claimed.
    pub index: u64,
    /// Its order.
    pub order: u32,
    /// The order that its folios may have at least.
    pub folio_order: u32,
}

impl Claims {
    /// Nothing is claimed.
    pub fn new() -> Self {
        let mut inner = pin_init::zeroed();

        // SAFETY: Nobody else uses it.
        unsafe { bindings::kho_claims_init(&mut inner) };
        // INVARIANT: KHO made it, and it is empty.
        Self { inner }
    }

    /// Claims what begins at `phys`, which may be anything, for folios that follow each other from
    /// `index` on. These may have `folio_order`, or a higher one, as far as the memory allows it.
    ///
    /// Returns the order with which it was preserved, or `EIO` if nothing was preserved there, or
    /// somebody has taken or claimed it.
    #[inline]
    pub fn claim(&mut self, phys: u64, index: u64, folio_order: u32) -> Result<u32> {
        // SAFETY: By the type invariants, this is a list. Any address may be given.
        let order =
            unsafe { bindings::kho_claim(&mut self.inner, phys, index as c_ulong, folio_order) };

        u32::try_from(order).map_err(|_| EIO)
    }

    /// Claims the pages of an area of at least `size` bytes, and reads it.
    ///
    /// Returns `EIO` if the descriptor is not one of such an area; some of it may be claimed then.
    pub fn claim_area(&mut self, descriptor: AreaDescriptor, size: usize) -> Result<Reader> {
        let mut pages = AreaPages::new(descriptor, size)?;

        // What is claimed here was not before, so this ends.
        while let Some(page) = pages.next(|phys, offset| self.number(phys, offset))? {
            let (phys, order) = match page {
                AreaPage::Chunk(phys) => (phys, 0),
                AreaPage::Block(phys) => (phys, descriptor.order.into()),
            };

            if self.claim(phys, 0, 0)? != order {
                return Err(EIO);
            }
        }

        self.read_area(descriptor, size)
    }

    /// Reads an area of at least `size` bytes that is claimed.
    ///
    /// Returns `EIO` if the descriptor is not one of such an area.
    pub fn read_area(&self, descriptor: AreaDescriptor, size: usize) -> Result<Reader> {
        Ok(Reader {
            pages: AreaPages::new(descriptor, size)?,
            block: 0,
            offset: PAGE_SIZE << descriptor.order,
            size: PAGE_SIZE << descriptor.order,
            buffer: [0; _],
            at: Reader::BUFFER,
        })
    }

    /// The order of what is claimed at `phys`; [`None`] if nothing is.
    pub fn order(&self, phys: u64) -> Option<u32> {
        // SAFETY: Any address may be given.
        let order = unsafe { bindings::kho_claimed_order(&self.inner, phys) };

        u32::try_from(order).ok()
    }

    /// The address of `len` bytes from `offset` on in what is claimed at `phys`.
    fn at(&self, phys: u64, offset: usize, len: usize) -> Option<*mut c_void> {
        let size = PAGE_SIZE << self.order(phys)?;

        if offset.checked_add(len)? > size {
            return None;
        }
        // SAFETY: What is claimed is in the direct map.
        Some(unsafe { bindings::phys_to_virt(phys) }.wrapping_byte_add(offset))
    }

    /// Fills `to` with what is `offset` bytes into what is claimed at `phys`.
    ///
    /// Returns [`None`], and leaves `to` as it is, if nothing is claimed, or it is not as large.
    pub fn copy(&self, phys: u64, offset: usize, to: &mut [u8]) -> Option<()> {
        let from = self.at(phys, offset, to.len())?;

        // SAFETY: So many bytes are claimed there. Only the owner can take them, for which it has to
        // be borrowed exclusively. If the address is a wrong one, who preserved it may write there
        // meanwhile, which changes what is copied and no more: any bytes are bytes, and it is C that
        // reads them.
        unsafe { bindings::memcpy(to.as_mut_ptr().cast(), from, to.len()) };
        Some(())
    }

    /// The number `offset` bytes into what is claimed at `phys`.
    fn number(&self, phys: u64, offset: usize) -> Option<u64> {
        let mut bytes = [0; 8];

        self.copy(phys, offset, &mut bytes)?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// Fills what is claimed at `phys` with zeroes.
    pub fn zero(&mut self, phys: u64) {
        let Some(order) = self.order(phys) else {
            return;
        };
        let size = PAGE_SIZE << order;

        if let Some(memory) = self.at(phys, 0, size) {
            // SAFETY: So many bytes are claimed there, and nobody has a reference to them.
            unsafe { bindings::memset(memory, 0, size) };
        }
    }

    /// What is taken next.
    #[inline]
    pub fn next(&self) -> Option<Next> {
        let mut index = 0;
        let mut folio_order = 0;
        // SAFETY: By the type invariants, this is a list.
        let order = unsafe { bindings::kho_next_claim(&self.inner, &mut index, &mut folio_order) };

        Some(Next {
            index: index as u64,
            order: u32::try_from(order).ok()?,
            folio_order,
        })
    }

    /// Takes the next folio, which has at most `max_order`: what is behind it is claimed still.
    ///
    /// Returns [`None`] if there is none.
    #[inline]
    pub fn take(&mut self, max_order: u32) -> Option<Folio> {
        // SAFETY: By the type invariants, this is a list, and it is ours.
        let folio =
            NonNull::new(unsafe { bindings::kho_restore_claim(&mut self.inner, max_order) })?;

        // SAFETY: The folio is the caller's now, with its only reference.
        Some(unsafe { Folio::from_raw(folio) })
    }

    /// Frees all that is claimed. May sleep.
    pub fn free(&mut self) {
        // SAFETY: By the type invariants, this is a list, and it is ours.
        unsafe { bindings::kho_free_claims(&mut self.inner) };
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is a list, and it is ours.
        unsafe { bindings::kho_unclaim(&mut self.inner) };
    }
}

/// Reads an area that is claimed, and lies nowhere in one piece.
pub struct Reader {
    pages: AreaPages,
    block: u64,
    offset: usize,
    size: usize,
    buffer: [u8; Self::BUFFER],
    at: usize,
}

impl Reader {
    /// How much is read at once, in bytes: a part of any page.
    const BUFFER: usize = 512;

    /// Reads on. As many values fill a page, so none lies across the border of two.
    ///
    /// Returns [`None`] if there are no more, or these are not the `claims` that it was made with.
    #[inline]
    pub fn read<T: FromBytes>(&mut self, claims: &Claims) -> Option<T> {
        const { assert!(Self::BUFFER.is_multiple_of(size_of::<T>())) };

        if self.at == Self::BUFFER {
            self.fill(claims)?;
        }

        let end = self.at + size_of::<T>();
        let value = T::read_from_bytes(self.buffer.get(self.at..end)?).ok()?;

        self.at = end;
        Some(value)
    }

    /// Fills the buffer.
    fn fill(&mut self, claims: &Claims) -> Option<()> {
        if self.offset == self.size {
            self.block = loop {
                match self
                    .pages
                    .next(|phys, offset| claims.number(phys, offset))
                    .ok()??
                {
                    AreaPage::Chunk(_) => continue,
                    AreaPage::Block(phys) => break phys,
                }
            };
            self.offset = 0;
        }

        claims.copy(self.block, self.offset, &mut self.buffer)?;
        self.offset += Self::BUFFER;
        self.at = 0;
        Some(())
    }
}
