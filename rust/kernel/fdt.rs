// SPDX-License-Identifier: GPL-2.0

//! Flattened device trees (FDT), by the kernel's libfdt: written from front to back, and read as a
//! sequence of [`Event`]s.
//!
//! What is read may be damaged in any way. libfdt itself stays within the size that the header
//! claims, so that is compared with the size of the blob; what libfdt points to is looked at as a
//! part of the blob only.
//!
//! C header: [`include/linux/libfdt.h`](srctree/include/linux/libfdt.h)
//!
//! # Examples
//!
//! ```
//! use kernel::fdt::{
//!     Event,
//!     Reader,
//!     Writer, //
//! };
//!
//! // libfdt wants its trees aligned.
//! let mut words = [0u64; 32];
//! let blob = words.as_mut_bytes();
//!
//! Writer::write(blob, |root| {
//!     root.property(c"compatible", b"example-v1\0")?;
//!     root.node(c"child", |child| child.property(c"number", &17u32.to_be_bytes()))
//! })?;
//!
//! let mut reader = Reader::new(blob).ok_or(EINVAL)?;
//! let mut nodes = 0;
//! let mut number = None;
//!
//! while let Some(event) = reader.next_event()? {
//!     match event {
//!         Event::Begin(_) => nodes += 1,
//!         Event::Property(b"number", value) => number = Some(value),
//!         _ => {}
//!     }
//! }
//! assert_eq!(nodes, 2);
//! assert_eq!(number, Some(&17u32.to_be_bytes()[..]));
//!
//! // There is no room for a tree in so little.
//! assert_eq!(Writer::write(&mut blob[..48], |_| Ok(())).err(), Some(ENOSPC));
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    prelude::*,
    str::CStrExt as _, //
};
use core::ptr;

/// The bytes before the first NUL; [`None`] if there is no NUL.
fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    CStr::from_bytes_until_nul(bytes).ok().map(CStr::to_bytes)
}

/// What a tree begins with, as a big-endian number.
pub const MAGIC: u32 = bindings::FDT_MAGIC;

/// A tree that is being written.
pub struct Writer<'a> {
    blob: &'a mut [u8],
}

/// Turns what libfdt returned into a [`Result`]. All that can happen to a writer of sound names is
/// that there is no more room.
fn written(ret: c_int) -> Result {
    if ret == 0 {
        Ok(())
    } else {
        Err(ENOSPC)
    }
}

impl<'a> Writer<'a> {
    /// Makes `blob` a tree, of which `root` writes the root node.
    ///
    /// Returns `ENOSPC` if there is no room for it, `EINVAL` if `blob` is not aligned to 8 bytes,
    /// or what `root` returns.
    pub fn write(blob: &'a mut [u8], root: impl FnOnce(&mut Self) -> Result) -> Result {
        let mut this = Self { blob };
        let size = c_int::try_from(this.blob.len())?;

        if !this.fdt().cast::<u64>().is_aligned() {
            return Err(EINVAL);
        }

        // SAFETY: So many bytes may be written.
        written(unsafe { bindings::fdt_create(this.fdt(), size) })?;
        // SAFETY: `fdt_create()` has noted how many bytes may be written.
        written(unsafe { bindings::fdt_finish_reservemap(this.fdt()) })?;
        this.node(c"", root)?;
        // SAFETY: `fdt_create()` has noted how many bytes may be written.
        written(unsafe { bindings::fdt_finish(this.fdt()) })
    }

    fn fdt(&mut self) -> *mut c_void {
        self.blob.as_mut_ptr().cast()
    }

    /// Writes a node, its properties and nodes by `content`.
    ///
    /// Returns `ENOSPC` if there is no room for it, or what `content` returns.
    pub fn node(&mut self, name: &CStr, content: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: `fdt_create()` has noted how many bytes may be written; the name ends with a NUL.
        written(unsafe { bindings::fdt_begin_node(self.fdt(), name.as_char_ptr()) })?;
        content(self)?;
        // SAFETY: `fdt_create()` has noted how many bytes may be written.
        written(unsafe { bindings::fdt_end_node(self.fdt()) })
    }

    /// Writes a property of the current node.
    ///
    /// Returns `ENOSPC` if there is no room for it.
    pub fn property(&mut self, name: &CStr, value: &[u8]) -> Result {
        let len = c_int::try_from(value.len())?;

        // SAFETY: `fdt_create()` has noted how many bytes may be written; the name ends with a NUL,
        // and so many bytes of the value may be read.
        written(unsafe {
            bindings::fdt_property(self.fdt(), name.as_char_ptr(), value.as_ptr().cast(), len)
        })
    }
}

/// What comes next in a tree.
pub enum Event<'a> {
    /// A node of this name begins.
    Begin(&'a [u8]),
    /// A property of the current node: its name and its value.
    Property(&'a [u8], &'a [u8]),
    /// The current node ends.
    End,
}

/// A tree that is being read.
///
/// # Invariants
///
/// The header at the beginning of `blob` is sound, and the tree is not larger than `blob`.
pub struct Reader<'a> {
    blob: &'a [u8],
    offset: c_int,
    depth: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Begins to read the tree in `blob`. Returns [`None`] if its header is not sound, or of a
    /// version that libfdt does not know.
    pub fn new(blob: &'a [u8]) -> Option<Self> {
        let header: &[u8; size_of::<bindings::fdt_header>()] = blob.first_chunk()?;

        // SAFETY: This reads the header, if it is aligned, and nothing else.
        if unsafe { bindings::fdt_check_header(header.as_ptr().cast()) } != 0 {
            return None;
        }

        let &[_, _, _, _, a, b, c, d, ..] = header;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;

        // INVARIANT: The header was just checked, and so is the size.
        (size <= blob.len()).then_some(Self {
            blob,
            offset: 0,
            depth: 0,
            ended: false,
        })
    }

    fn fdt(&self) -> *const c_void {
        self.blob.as_ptr().cast()
    }

    /// What `ptr` points to in the blob, and what is behind it.
    fn behind<T>(&self, ptr: *const T) -> Option<&'a [u8]> {
        self.blob.get(ptr.addr().checked_sub(self.fdt().addr())?..)
    }

    /// How many nodes have begun and not ended.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Returns what comes next, [`None`] at the end of the tree.
    ///
    /// Returns `EINVAL` if this is no tree.
    pub fn next_event(&mut self) -> Result<Option<Event<'a>>> {
        loop {
            let at = self.offset;
            // SAFETY: By the type invariants, libfdt stays within the blob.
            let tag = unsafe { bindings::fdt_next_tag(self.fdt(), at, &mut self.offset) };

            match tag {
                _ if self.offset < 0 => return Err(EINVAL),
                bindings::FDT_NOP => {}
                bindings::FDT_BEGIN_NODE if !self.ended => {
                    let name = self.name(at).ok_or(EINVAL)?;

                    // The root has none.
                    if self.depth == 0 && !name.is_empty() {
                        return Err(EINVAL);
                    }
                    self.depth += 1;
                    return Ok(Some(Event::Begin(name)));
                }
                bindings::FDT_PROP if self.depth > 0 => {
                    return self.property(at).map(Some).ok_or(EINVAL);
                }
                bindings::FDT_END_NODE if self.depth > 0 => {
                    self.depth -= 1;
                    self.ended = self.depth == 0;
                    return Ok(Some(Event::End));
                }
                bindings::FDT_END if self.ended => return Ok(None),
                _ => return Err(EINVAL),
            }
        }
    }

    fn name(&self, node: c_int) -> Option<&'a [u8]> {
        // SAFETY: By the type invariants, libfdt stays within the blob.
        let name = unsafe { bindings::fdt_get_name(self.fdt(), node, ptr::null_mut()) };

        self.behind(name).and_then(until_nul)
    }

    fn property(&self, at: c_int) -> Option<Event<'a>> {
        let mut name = ptr::null();
        let mut len = 0;
        // SAFETY: By the type invariants, libfdt stays within the blob; both results may be
        // written.
        let value = unsafe { bindings::fdt_getprop_by_offset(self.fdt(), at, &mut name, &mut len) };

        Some(Event::Property(
            self.behind(name).and_then(until_nul)?,
            self.behind(value)?.get(..usize::try_from(len).ok()?)?,
        ))
    }
}
