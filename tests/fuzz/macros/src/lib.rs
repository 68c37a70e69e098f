// SPDX-License-Identifier: GPL-2.0

//! The attribute `#[export]`, which only a crate of its own can define.

use proc_macro::TokenStream;

/// Makes a function one that C code can call by its name.
#[proc_macro_attribute]
pub fn export(_: TokenStream, function: TokenStream) -> TokenStream {
    let mut exported: TokenStream = "#[no_mangle]".parse().expect("an attribute");

    exported.extend(function);
    exported
}
