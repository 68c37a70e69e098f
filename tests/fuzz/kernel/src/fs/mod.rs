// SPDX-License-Identifier: GPL-2.0

//! Files and their descriptors.

pub mod file;

pub use file::BadFdError;
pub use file::File;
pub use file::LocalFile;
