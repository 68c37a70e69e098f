// SPDX-License-Identifier: GPL-2.0

//! All groups of tests, in the order in which a file's life goes.

mod arguments;
mod blocks;
mod cache;
mod chain;
mod chain_memfd;
mod contents;
mod descriptors;
mod errors;
mod failures;
mod fellows;
mod first_open;
mod flb;
mod formats;
mod handler;
pub mod hostile;
pub mod hostile_memfds;
mod inside;
mod listed;
pub mod luoctl;
mod memfd;
mod memfd_memory;
mod memfd_where;
mod module;
mod names;
mod old_kexec;
mod other_pages;
mod races;
mod ram;
mod reboot;
mod refused;
mod retrieve;
mod rust_driver;
mod slow;
mod stalled;
mod traced;
mod undo;
mod vmm;

use crate::Group;

pub const ALL: &[Group] = &[
    errors::GROUP,
    arguments::GROUP,
    names::GROUP,
    descriptors::GROUP,
    undo::GROUP,
    reboot::GROUP,
    retrieve::GROUP,
    contents::GROUP,
    memfd::GROUP,
    memfd::RUNS,
    memfd::UNKNOWN,
    memfd_memory::group::<false>("memfd-memory"),
    memfd_memory::group::<true>("memfd-runs-memory"),
    memfd_where::group::<false>("memfd-where"),
    memfd_where::group::<true>("memfd-runs-where"),
    chain::GROUP,
    chain::LONG,
    chain_memfd::GROUP,
    blocks::group::<0, 0>("blocks-none"),
    blocks::group::<0, 1>("blocks-one"),
    blocks::group::<1, 0>("blocks-full"),
    blocks::group::<1, 1>("blocks-over"),
    blocks::group::<2, 1>("blocks-twice-over"),
    blocks::group::<0, 1000>("blocks-1000"),
    blocks::REFUSED,
    refused::GROUP,
    handler::GROUP,
    flb::GROUP,
    flb::REFERENCED,
    failures::GROUP,
    fellows::GROUP,
    fellows::OTHER,
    races::GROUP,
    module::GROUP,
    rust_driver::GROUP,
    rust_driver::MODULE,
    stalled::GROUP,
    first_open::GROUP,
    old_kexec::GROUP,
    other_pages::GROUP,
    luoctl::GROUP,
    cache::GROUP,
    ram::GROUP,
    inside::GROUP,
    slow::GROUP,
    traced::GROUP,
    listed::GROUP,
    formats::group::<0, 0>("formats-0"),
    formats::group::<0, 1>("formats-1"),
    formats::group::<1, -1>("formats-below"),
    formats::group::<1, 0>("formats-full"),
    formats::group::<1, 1>("formats-over"),
    formats::group::<0, 1000>("formats-1000"),
];

/// Those that are run on kernels with KVM, on machines that can have it.
pub const KVM: &[Group] = &[vmm::GROUP];
