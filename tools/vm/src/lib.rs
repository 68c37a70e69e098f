// SPDX-License-Identifier: GPL-2.0

//! Virtual machines that live update, for whatever wants to watch one: tests,
//! the demonstration, benchmarks.
//!
//! A [`Vm`] says what to boot and what to run in it, [`Vm::run`] gives a [`Run`]:
//! the console of every kernel that booted, and how it ended.
//! [`Run::failure`] judges a stage by that alone, [`tap`] reads what a test
//! program printed, [`callbacks`] what the kernel's test code logged.

mod arch;
pub mod callbacks;
mod console;
mod initramfs;
mod run;
pub mod tap;
mod vm;

pub use console::Line;
pub use initramfs::pack;
pub use run::End;
pub use run::Failure;
pub use run::Run;
pub use vm::Accel;
pub use vm::Vm;
