// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What LUO builds upon: kexec, and the Kexec Handover (KHO).

use super::{lines, malformed, word};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The directory `kho` of a debugfs, which root can read if KHO is on.
#[derive(Clone, Debug)]
pub struct Kho(PathBuf);

/// Memory from one address on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Area {
    /// Its physical address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

impl Default for Kho {
    /// Where debugfs is usually mounted.
    fn default() -> Self {
        Self(PathBuf::from("/sys/kernel/debug/kho"))
    }
}

impl Kho {
    /// The same at another place.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether the previous kernel handed anything over.
    pub fn incoming(&self) -> io::Result<bool> {
        fs::metadata(self.0.join("out"))?;
        self.0.join("in").try_exists()
    }

    /// The memory that is kept free for the next kernel to boot in.
    pub fn scratch(&self) -> io::Result<Vec<Area>> {
        let column = |file| -> io::Result<Vec<_>> {
            let lines = lines(&self.0.join(file))?;
            lines.iter().map(|line| hexadecimal(line)).collect()
        };
        let areas = column("out/scratch_phys")?
            .into_iter()
            .zip(column("out/scratch_len")?);
        Ok(areas
            .map(|(address, size)| Area { address, size })
            .collect())
    }
}

fn hexadecimal(text: &[u8]) -> io::Result<u64> {
    word::<super::Token>("address or size", text).map(|number| number.0)
}

/// What `/sys` and `/proc/sys` tell of kexec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kexec;

impl Kexec {
    /// Whether the image of a kernel is loaded.
    pub fn loaded(self) -> io::Result<bool> {
        flag(Path::new("/sys/kernel/kexec_loaded"))
    }

    /// Whether loading is switched off until the next boot.
    pub fn load_disabled(self) -> io::Result<bool> {
        flag(Path::new("/proc/sys/kernel/kexec_load_disabled"))
    }
}

fn flag(path: &Path) -> io::Result<bool> {
    match fs::read(path)?.trim_ascii() {
        b"0" => Ok(false),
        b"1" => Ok(true),
        text => Err(malformed("0 or 1", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_of_scratch() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let kho = Kho::at(directory.path());
        let missing = kho.incoming().map_err(|error| error.kind());
        assert_eq!(missing, Err(io::ErrorKind::NotFound));
        fs::create_dir(directory.path().join("out"))?;
        assert!(!kho.incoming()?);
        fs::create_dir(directory.path().join("in"))?;
        assert!(kho.incoming()?);
        fs::write(
            directory.path().join("out/scratch_phys"),
            "0x1000\n0x7c0000000\n",
        )?;
        fs::write(
            directory.path().join("out/scratch_len"),
            "0x200000\n0x10000000\n",
        )?;
        let area = |address, size| Area { address, size };
        assert_eq!(
            kho.scratch()?,
            [area(0x1000, 2 << 20), area(0x7_c000_0000, 256 << 20)]
        );
        fs::write(directory.path().join("out/scratch_len"), "large\n")?;
        let kind = kho.scratch().map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::InvalidData));
        Ok(())
    }
}
