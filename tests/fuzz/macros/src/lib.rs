// SPDX-License-Identifier: GPL-2.0

//! The attributes `#[export]` and `#[vtable]`, which only a crate of its own can define.

use proc_macro::Delimiter;
use proc_macro::Group;
use proc_macro::TokenStream;
use proc_macro::TokenTree;

/// Makes a function one that C code can call by its name.
#[proc_macro_attribute]
pub fn export(_: TokenStream, function: TokenStream) -> TokenStream {
    let mut exported: TokenStream = "#[no_mangle]".parse().expect("an attribute");

    exported.extend(function);
    exported
}

/// Gives a trait an owner module, which is that of the crate if who implements it names no other. There
/// are no methods that may be missing.
#[proc_macro_attribute]
pub fn vtable(_: TokenStream, item: TokenStream) -> TokenStream {
    let has = |tokens: &TokenStream, name: &str| {
        let mut tokens = tokens.clone().into_iter();

        tokens.any(|token| matches!(&token, TokenTree::Ident(word) if word.to_string() == name))
    };
    let is_trait = has(&item, "trait");
    let mut tokens: Vec<_> = item.into_iter().collect();

    if let Some(TokenTree::Group(body)) = tokens.last().cloned() {
        let owner = match (is_trait, has(&body.stream(), "OwnerModule")) {
            (true, _) => "/// Who it belongs to.\ntype OwnerModule: ::kernel::ModuleMetadata;",
            (false, false) => "type OwnerModule = crate::LocalModule;",
            (false, true) => "",
        };
        let mut content: TokenStream = owner.parse().expect("an associated type");

        content.extend(body.stream());
        tokens.pop();
        tokens.push(Group::new(Delimiter::Brace, content).into());
    }
    tokens.into_iter().collect()
}
