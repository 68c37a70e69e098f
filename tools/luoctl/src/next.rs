// SPDX-License-Identifier: GPL-2.0

//! The next kernel, as the command line names it: its image, its initramfs, its parameters.

use crate::failure::{Failure, Trying};
use clap::Args;
use std::{fs, path::PathBuf};

/// The next kernel.
#[derive(Args, Default)]
pub struct Next {
    /// The image of the next kernel
    #[arg(long, value_name = "IMAGE")]
    pub kernel: Option<PathBuf>,
    /// Its initramfs
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Give it the command line of this kernel
    #[arg(long, requires = "kernel", conflicts_with = "command_line")]
    pub reuse_cmdline: bool,
    /// Give it this command line
    #[arg(long, value_name = "PARAMETERS", requires = "kernel")]
    pub command_line: Option<String>,
}

impl Next {
    /// Its command line, if it was told.
    pub fn cmdline(&self) -> Result<Option<String>, Failure> {
        if !self.reuse_cmdline {
            return Ok(self.command_line.clone());
        }
        let cmdline = fs::read_to_string("/proc/cmdline").trying("/proc/cmdline")?;
        Ok(Some(without_boot_image(cmdline.trim_end()).to_owned()))
    }
}

/// A command line without the boot loader's word for the image that it had loaded.
fn without_boot_image(cmdline: &str) -> &str {
    match cmdline.split_once(' ') {
        Some((word, rest)) if word.starts_with("BOOT_IMAGE=") => rest,
        None if cmdline.starts_with("BOOT_IMAGE=") => "",
        _ => cmdline,
    }
}

#[cfg(test)]
mod tests {
    use super::without_boot_image;

    #[test]
    fn boot_image() {
        for (cmdline, due) in [
            ("BOOT_IMAGE=/vmlinuz quiet a=\"b  c\"", "quiet a=\"b  c\""),
            ("BOOT_IMAGE=/vmlinuz", ""),
            ("quiet BOOT_IMAGE=x", "quiet BOOT_IMAGE=x"),
            ("", ""),
        ] {
            assert_eq!(without_boot_image(cmdline), due);
        }
    }
}
