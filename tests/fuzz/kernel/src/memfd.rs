// SPDX-License-Identifier: GPL-2.0

//! Files in memory. None is preserved; new ones remember which memory they were made of.

use crate::bindings;
use crate::error::code::*;
use crate::error::Result;
use crate::folio;
use crate::fs::File;
use crate::machine;
use crate::page::PAGE_SIZE;
use crate::sync::aref::ARef;
use core::cell::Cell;
use core::cell::RefCell;
use core::ops::Range;
use core::ptr::NonNull;
use std::collections::BTreeMap;

/// All permissions that a file can have.
pub const PERMISSIONS: u16 = 0o777;

/// The permissions to execute it.
pub const EXECUTE: u16 = 0o111;

/// How many pages can be allocated.
pub fn available_pages() -> u64 {
    unreachable!("nothing is preserved")
}

/// Nobody else is there to run, or to kill the task.
pub fn checkpoint() -> Result {
    Ok(())
}

/// An open file in memory.
pub struct Memfd(());

impl Memfd {
    /// Nobody preserves one.
    pub fn of(_: &File) -> Option<&Self> {
        None
    }

    /// An address.
    pub fn id(&self) -> usize {
        unreachable!("nothing is preserved")
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        unreachable!("nothing is preserved")
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        unreachable!("nothing is preserved")
    }

    /// How many of these are in memory.
    pub fn pages_in_memory(&self) -> u64 {
        unreachable!("nothing is preserved")
    }

    /// The seals.
    pub fn seals(&self) -> u32 {
        unreachable!("nothing is preserved")
    }

    /// The position.
    pub fn position(&self) -> u64 {
        unreachable!("nothing is preserved")
    }

    /// The permissions.
    pub fn permissions(&self) -> u16 {
        unreachable!("nothing is preserved")
    }

    /// How it is open.
    pub fn open_flags(&self) -> u32 {
        unreachable!("nothing is preserved")
    }

    /// Lets nobody change its size.
    pub fn freeze(&self) -> Frozen {
        unreachable!("nothing is preserved")
    }
}

/// A file that stays as large as it is.
pub struct Frozen(Memfd);

impl Frozen {
    /// The file.
    pub fn memfd(&self) -> &Memfd {
        &self.0
    }

    /// Lets nothing come into the holes.
    pub fn freeze_holes(&self, _: bool) {}

    /// The first pages that are no hole.
    pub fn next_data(&self, _: Range<u64>) -> Option<Range<u64>> {
        unreachable!("nothing is preserved")
    }
}

/// What is preserved as one.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// A folio.
    Folio,
    /// Neighbours.
    Run,
}

/// Memory of a file.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Its first page, in the file.
    pub index: u64,
    /// The number of the first page frame.
    pub frame: u64,
    /// How many pages it has.
    pub pages: u64,
    /// The order of the folios in it.
    pub order: u32,
}

/// Memory that is preserved.
pub struct PreservedFolios(());

impl PreservedFolios {
    /// None.
    pub fn new(_: Unit) -> Self {
        unreachable!("nothing is preserved")
    }

    /// Preserves some.
    pub fn add(
        &mut self,
        _: &Frozen,
        _: Range<u64>,
        _: impl FnMut(Piece) -> Result,
    ) -> Result<u64> {
        unreachable!("nothing is preserved")
    }
}

/// What a file was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// Where in memory each page is, by its number; [`None`] if it was filled with zeroes.
    pub pages: BTreeMap<u64, Option<u64>>,
    /// How many bytes it has.
    pub size: u64,
    /// The position.
    pub position: u64,
    /// The seals.
    pub seals: u32,
}

/// A file that nobody can use yet.
pub struct NewMemfd {
    made: RefCell<Made>,
    folios: RefCell<Folios>,
    size: Cell<u64>,
}

impl NewMemfd {
    /// How a file is open if nothing else is asked for.
    pub const READ_WRITE: u32 = 2;

    const ACCESS: u32 = 3;
    const APPEND: u32 = 0o2000;

    /// Makes an empty file.
    pub fn new(permissions: u16, seals: u32) -> Result<Self> {
        assert!(permissions & !0o777 == 0, "no permissions");
        assert!(seals & !0x3f == 0, "no seals");
        Ok(Self {
            made: RefCell::new(Made {
                seals,
                ..Made::default()
            }),
            folios: RefCell::default(),
            size: Cell::new(0),
        })
    }

    /// Makes it so large.
    pub fn set_size(&self, size: u64) {
        assert!(size <= i64::MAX as u64, "larger than any file");
        self.size.set(size);
    }

    /// Whether it can be open in that way.
    pub fn can_be_open(open_flags: u32) -> bool {
        open_flags & !(Self::ACCESS | Self::APPEND) == 0
            && open_flags & Self::ACCESS != Self::ACCESS
    }

    /// The orders that a folio could have there: some.
    pub fn allowed_orders(&self, index: u64) -> usize {
        machine::allowed_orders(index)
    }

    /// Makes folios pages of the file.
    pub fn add(&self, batch: &mut folio::Batch) -> Result {
        // SAFETY: The folios in it are there, and their references are ours when there is none left.
        let folios = unsafe {
            let batch = &mut *batch.as_raw();

            &batch.folios[..usize::from(core::mem::take(&mut batch.nr))]
        };

        for &ptr in folios {
            // SAFETY: As above.
            let folio = unsafe { &*ptr };
            let pages = 1 << folio.order;
            let index = folio.index;

            assert!(index.is_multiple_of(pages), "not where the folio can be");
            for page in 0..pages {
                let at = (!folio.zeroed).then_some(folio.phys + page * PAGE_SIZE as u64);
                let was = self.made.borrow_mut().pages.insert(index + page, at);

                assert!(was.is_none(), "a page of the file twice");
            }
            self.folios.borrow_mut().0.push(ptr);
        }
        Ok(())
    }

    /// Opens it.
    pub fn into_file(self, position: u64, open_flags: u32) -> Result<ARef<File>> {
        assert!(position <= i64::MAX as u64, "beyond any file");
        assert!(Self::can_be_open(open_flags), "no way to open a file");

        let made = Made {
            size: self.size.get(),
            position,
            ..self.made.take()
        };
        let file = machine::open_memfd(made, self.folios.take());

        // SAFETY: The reference is ours.
        Ok(unsafe { ARef::from_raw(NonNull::new(file).ok_or(ENOMEM)?.cast()) })
    }
}

/// What an open file was made of.
///
/// # Safety
///
/// It comes from [`NewMemfd::into_file`].
pub unsafe fn look(file: &File) -> Made {
    // SAFETY: The caller guarantees that this is what is behind it.
    unsafe { (*(*file.as_ptr()).private_data.cast::<Open>()).made.clone() }
}

/// The folios of a file.
#[derive(Default)]
pub(crate) struct Folios(Vec<*mut bindings::folio>);

impl Drop for Folios {
    fn drop(&mut self) {
        for &folio in &self.0 {
            // SAFETY: The reference is ours.
            unsafe { bindings::folio_put(folio) };
        }
    }
}

/// What is behind an open file.
pub(crate) struct Open {
    pub(crate) made: Made,
    pub(crate) _folios: Folios,
}

impl Open {
    /// Gives it all back.
    ///
    /// # Safety
    ///
    /// The file is one of these, and goes.
    pub(crate) unsafe extern "C" fn release(
        _: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> core::ffi::c_int {
        // SAFETY: The caller guarantees it.
        drop(unsafe { Box::from_raw((*file).private_data.cast::<Self>()) });
        0
    }
}
