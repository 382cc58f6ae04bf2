//! The expansion of `local!`: a closure as a task, identified by a hash of its text.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, ExprClosure, Ident, Pat, Type};

use crate::parameter::{ARGUMENTS_MAX, check_type, is_supplied, refuse, too_many};

const FORM: &str = "`local!` takes a closure whose captures are written out: `|name: Type| async move { .. }`";

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let text = input.to_string();
    let closure: ExprClosure = match syn::parse2::<Expr>(input)? {
        Expr::Closure(closure) => closure,
        other => return Err(Error::new_spanned(other, FORM)),
    };
    let mut names: Vec<&Ident> = Vec::new();
    let mut types: Vec<&Type> = Vec::new();
    let mut refused = None;
    for input in &closure.inputs {
        match capture(input) {
            Ok((name, ty)) => {
                names.push(name);
                types.push(ty);
            }
            Err(error) => refuse(&mut refused, error),
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    if let Some(name) = names.get(ARGUMENTS_MAX) {
        return Err(too_many(name));
    }
    let texts: Vec<String> = names.iter().map(|name| crate::task::plain(name)).collect();
    let kind = format!("::local-{:016x}", fnv1a(text.as_bytes()));
    if closure.asyncness.is_none() && !may_be_a_future(&closure.body) {
        return Err(Error::new_spanned(
            &closure.body,
            "the closure of `local!` is async: write `|name: Type| async move { .. }`",
        ));
    }
    let body = match (&closure.asyncness, &closure.body) {
        (Some(_), body) => quote!(async move { #body }),
        (None, body) => quote!(#body),
    };
    let arguments = quote!(__private::Arguments::<(#(#types,)*)>);

    Ok(quote! {{
        #[allow(unused_imports)]
        use ::taskyard::__private::{self, NotStored as _, Plain as _, PlainResult as _};

        const __KIND: &str = ::core::concat!(::core::module_path!(), #kind);
        const __NAMES: &[&str] = &[#(#texts),*];

        const _: fn() = || {
            #(__private::checks::is_stored::<#types>();)*
        };

        #[__private::linkme::distributed_slice(__private::TASKS)]
        #[linkme(crate = ::taskyard::__private::linkme)]
        static __TASK: __private::TaskDef = __private::TaskDef {
            kind: || __KIND,
            aliases: &[],
            names: __NAMES,
            states: &[],
            run: __private::Run::Async(|__context| __private::must_be_send_or_declared_local(async move {
                let (#(#names,)*): (#(#types,)*) = #arguments::decode(&__context, __NAMES)?;
                __private::Returned((#body).await).finish(&__context)
            })),
            location: ::core::concat!(::core::file!(), ":", ::core::line!()),
        };

        // Never called: it only determines the type of the result for the compiler.
        let __result = __private::result_of(|#(#names: #types),*| #body);
        __result.of(#arguments::call(__KIND, &(#(#names,)*)))
    }})
}

fn capture(input: &Pat) -> syn::Result<(&Ident, &Type)> {
    let Pat::Type(typed) = input else {
        return Err(Error::new_spanned(input, "a capture is stored: write its type out, as in `|name: Type|`"));
    };
    let Pat::Ident(pattern) = typed.pat.as_ref() else {
        return Err(Error::new_spanned(&typed.pat, "a capture has the plain name of the variable that it takes"));
    };
    if is_supplied(&typed.ty) {
        let what = "a closure is given nothing by its server: call `TaskContext::current()` in it, and `state` of that";
        return Err(Error::new_spanned(&typed.ty, what));
    }
    check_type(&typed.ty)?;
    Ok((&pattern.ident, &typed.ty))
}

/// Returns whether the body may be a future, judging by its syntax; the compiler checks the type.
fn may_be_a_future(body: &Expr) -> bool {
    match body {
        Expr::Block(block) => {
            matches!(block.block.stmts.last(), Some(syn::Stmt::Expr(last, None)) if may_be_a_future(last))
        }
        Expr::Lit(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Tuple(_) | Expr::Array(_) | Expr::Assign(_) => false,
        _ => true,
    }
}

/// Computes FNV-1a (Fowler, Noll, Vo), which distinguishes the closures of a module. Stable across compilers, unlike
/// `Hash`.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
