// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A virtual machine monitor whose guest survives the kernel of its host: see `x86_64.rs`, as the
//! state of a processor, and what its guest runs, is something else on each kind.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
fn main() -> anyhow::Result<()> {
    x86_64::run()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("vmm: this example is for x86-64");
    std::process::exit(1)
}
