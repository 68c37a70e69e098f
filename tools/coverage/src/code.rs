// SPDX-License-Identifier: GPL-2.0

//! Where the lines of the crate are in the kernel, read from its debug information.

use addr2line::Loader;
use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// The crate's directory, in the names of its files.
const DIRECTORY: &str = "kernel/liveupdate/rust/";
/// What is not measured of it; a module's path may lead there through another directory.
const TESTS: &str = "tests/";

/// The function that a derive of zerocopy leaves behind, and nobody calls.
const DERIVED: &str = "only_derive_is_allowed_to_implement_this_trait";

/// Code that is less than this apart is one range.
const GAP: u64 = 0x1000;

/// A line of a file, which is named relative to the crate's directory.
pub type Line = (String, u32);

/// The lines that each address belongs to: its own, and those that its function was inlined into.
pub struct Code(BTreeMap<u64, BTreeSet<Line>>);

impl Code {
    /// Reads the debug information of a kernel in which only the crate has some.
    pub fn read(vmlinux: &Path) -> Result<Self> {
        let context = || vmlinux.display().to_string();
        // The error of this crate cannot be sent to another thread, as anyhow's can.
        let loader = Loader::new(vmlinux).map_err(|error| anyhow!("{error}").context(context()))?;
        let code = Self::of(&loader)
            .map_err(|error| anyhow!("{error}"))
            .with_context(context)?;
        ensure!(!code.0.is_empty(), "{}: no debug information", context());
        Ok(code)
    }

    fn of(loader: &Loader) -> Result<Self, Box<dyn std::error::Error>> {
        let mut code = BTreeMap::new();
        for (start, len, _) in loader.find_location_range(0, u64::MAX)? {
            // A function need not end where a row of the line table does.
            for address in start..start + len {
                let mut lines = BTreeSet::new();
                let mut frames = loader.find_frames(address)?;
                while let Some(frame) = frames.next()? {
                    // What is in no function is padding.
                    let Some(function) = frame.function else {
                        break;
                    };
                    if function.raw_name()?.contains(DERIVED) {
                        break;
                    }
                    lines.extend(frame.location.and_then(|at| line(at.file?, at.line?)));
                }
                code.insert(address, lines);
            }
        }
        Ok(Self(code))
    }

    /// The lines of all code.
    pub fn lines(&self) -> BTreeSet<&Line> {
        self.0.values().flatten().collect()
    }

    /// The lines of the code at an address.
    pub fn lines_at(&self, address: u64) -> impl Iterator<Item = &Line> {
        self.0.get(&address).into_iter().flatten()
    }

    /// Where the code is, as QEMU's `-dfilter` takes it.
    pub fn ranges(&self) -> String {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &address in self.0.keys() {
            match ranges.last_mut() {
                Some(last) if address - last.end < GAP => last.end = address + 1,
                _ => ranges.push(address..address + 1),
            }
        }
        let ranges: Vec<_> = ranges
            .iter()
            .map(|range| format!("{:#x}+{:#x}", range.start, range.end - range.start))
            .collect();
        ranges.join(",")
    }
}

fn line(path: &str, number: u32) -> Option<Line> {
    let (_, file) = path.split_once(DIRECTORY)?;
    (number > 0 && !file.contains(TESTS)).then(|| (file.to_owned(), number))
}
