// SPDX-License-Identifier: GPL-2.0

//! Memory files, and how live update shows on them: a preserved one keeps its size.

use anyhow::Result;
use nix::{
    errno::Errno::EPERM,
    fcntl::{fallocate, FallocateFlags},
    sys::memfd::{memfd_create, MFdFlags},
};
use std::{fs::File, io, os::unix::fs::FileExt};

/// A memory file with the given content, at position 0, which may be sealed.
pub fn memfd(content: &[u8]) -> Result<File> {
    let file = File::from(memfd_create(
        "luo",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?);
    file.write_all_at(content, 0)?;
    Ok(file)
}

/// All that is in a file, whatever its position.
pub fn content(file: &File) -> Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Expects the size of a non-empty memory file to be fixed, and its content not.
pub fn expect_frozen(file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    refused!(file.write_at(b"+", size), EPERM);
    refused!(file.set_len(size + 1), EPERM);
    refused!(file.set_len(size - 1), EPERM);
    refused!(allocate(file), EPERM);
    same!(file.metadata()?.len(), size);
    let first = &content(file)?[..1];
    same!(done!(file.write_at(first, 0)), 1);
    Ok(())
}

/// Expects a non-empty memory file to change its size as it is told, and leaves it as it was.
pub fn expect_thawed(file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    same!(done!(file.write_at(b"+", size)), 1);
    same!(file.metadata()?.len(), size + 1);
    done!(file.set_len(size + 8192));
    done!(file.set_len(size));
    done!(allocate(file));
    Ok(())
}

fn allocate(file: &File) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1)?)
}
