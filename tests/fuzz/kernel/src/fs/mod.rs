// SPDX-License-Identifier: GPL-2.0

//! Files and their descriptors.

#[path = "../../../../../rust/kernel/fs/anon_inode.rs"]
pub mod anon_inode;
pub mod file;

pub use file::BadFdError;
pub use file::File;
pub use file::LocalFile;
