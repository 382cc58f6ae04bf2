//! The expansion of `local!`: a closure as a task of its own, known by a hash of its text.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ExprClosure, Ident, Pat, Type};

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let text = input.to_string();
    let closure: ExprClosure = syn::parse2(input)?;
    let mut names: Vec<&Ident> = Vec::new();
    let mut types: Vec<&Type> = Vec::new();
    for input in &closure.inputs {
        match input {
            Pat::Type(typed) => match typed.pat.as_ref() {
                Pat::Ident(pattern) => {
                    names.push(&pattern.ident);
                    types.push(&typed.ty);
                }
                other => return Err(syn::Error::new_spanned(other, "a capture needs a plain name")),
            },
            other => return Err(syn::Error::new_spanned(other, "write the capture's type out: |name: Type|")),
        }
    }
    let texts: Vec<String> = names.iter().map(|name| crate::task::plain(name)).collect();
    let kind = format!("::local-{:016x}", fnv1a(text.as_bytes()));
    let body = &closure.body;

    Ok(quote! {{
        #[allow(unused_imports)]
        use ::taskyard::__private::{self, Plain as _, PlainResult as _};

        const KIND: &str = ::core::concat!(::core::module_path!(), #kind);
        const NAMES: &[&str] = &[#(#texts),*];

        #[__private::linkme::distributed_slice(__private::TASKS)]
        #[linkme(crate = ::taskyard::__private::linkme)]
        static __TASK: __private::TaskDef = __private::TaskDef {
            kind: || KIND,
            aliases: &[],
            names: NAMES,
            run: __private::Run::Async(|__context| __private::must_be_send_or_declared_local(async move {
                let (#(#names,)*): (#(#types,)*) = __private::decode(&__context, NAMES)?;
                __private::Returned((#body).await).finish(&__context)
            })),
            location: ::core::concat!(::core::file!(), ":", ::core::line!()),
        };

        // Never called: it only tells the compiler the type of the result.
        let __result = __private::result_of(|#(#names: #types),*| #body);
        __result.call(KIND, &(#(#names,)*))
    }})
}

/// FNV-1a (Fowler, Noll, Vo): stable over compilers, which `Hash` is not; it tells closures of one module apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
