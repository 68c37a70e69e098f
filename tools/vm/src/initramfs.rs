// SPDX-License-Identifier: GPL-2.0

//! An initramfs, packed by the kernel build's own tool.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const SKELETON: &str = "\
dir /bin 0755 0 0
dir /boot 0755 0 0
dir /dev 0755 0 0
dir /lib 0755 0 0
nod /dev/console 0600 0 0 c 5 1
";

/// Packs `files`, each a path here and its path in the guest, into `scratch`.
pub fn pack(build: &Path, files: &[(PathBuf, String)], scratch: &TempDir) -> Result<PathBuf> {
    let mut list = SKELETON.to_owned();
    for (from, to) in files {
        let from = from
            .canonicalize()
            .with_context(|| from.display().to_string())?;
        writeln!(list, "file {to} {} 0755 0 0", from.display())?;
    }
    let list_path = scratch.path().join("list");
    fs::write(&list_path, list)?;

    let image = scratch.path().join("initramfs");
    let tool = build.join("usr/gen_init_cpio");
    let status = Command::new(&tool)
        .arg("-o")
        .args([&image, &list_path])
        .status()
        .with_context(|| tool.display().to_string())?;
    ensure!(status.success(), "{}: {status}", tool.display());
    Ok(image)
}
