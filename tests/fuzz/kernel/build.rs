// SPDX-License-Identifier: GPL-2.0

//! Compiles the libfdt of the kernel tree.

fn main() {
    let dir = "../linux/scripts/dtc/libfdt";

    cc::Build::new()
        .files(["fdt.c", "fdt_ro.c", "fdt_sw.c"].map(|file| format!("{dir}/{file}")))
        .include(dir)
        .compile("fdt");
}
