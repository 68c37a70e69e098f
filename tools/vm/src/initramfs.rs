// SPDX-License-Identifier: GPL-2.0

//! An initramfs, packed by the kernel build's own tool.

use anyhow::{ensure, Context, Result};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SKELETON: &str = "\
dir /dev 0755 0 0
nod /dev/console 0600 0 0 c 5 1
";

/// Packs `files`, each a path here and its path in the guest, into an image in the directory
/// `scratch`.
pub fn pack(build: &Path, files: &[(PathBuf, String)], scratch: &Path) -> Result<PathBuf> {
    let mut list = SKELETON.to_owned();
    // In their order, each precedes what is in it.
    let directories: BTreeSet<_> = files
        .iter()
        .flat_map(|(_, to)| Path::new(to).ancestors().skip(1))
        .filter(|directory| directory.parent().is_some())
        .collect();
    for directory in directories {
        writeln!(list, "dir {} 0755 0 0", directory.display())?;
    }
    for (from, to) in files {
        let from = from
            .canonicalize()
            .with_context(|| from.display().to_string())?;
        writeln!(list, "file {to} {} 0755 0 0", from.display())?;
    }
    let list_path = scratch.join("list");
    fs::write(&list_path, list)?;

    let image = scratch.join("initramfs");
    let tool = build.join("usr/gen_init_cpio");
    let status = Command::new(&tool)
        .arg("-o")
        .args([&image, &list_path])
        .status()
        .with_context(|| tool.display().to_string())?;
    ensure!(status.success(), "{}: {status}", tool.display());
    Ok(image)
}
