//! The parameters of a task function or of a `local!` closure: which of them are stored, and the messages for invalid
//! ones.
//!
//! Only syntax is checked here. The compiler decides whether a type can be stored, in the checks of the expansion
//! (`__private::StoredArgument`).

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{Error, FnArg, GenericArgument, Ident, Pat, PathArguments, Type};

/// Maximum number of stored arguments: serde implements tuples of up to sixteen elements.
pub(crate) const ARGUMENTS_MAX: usize = 16;

/// A parameter of the function.
pub(crate) struct Parameter {
    /// The argument's name; a generated one for a supplied parameter, whose pattern stays with the body.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// Whether the server supplies it; otherwise it is part of the stored call.
    pub(crate) supplied: bool,
}

/// Parses all parameters. The error contains one message for each invalid parameter.
pub(crate) fn parameters<'a>(inputs: impl IntoIterator<Item = &'a FnArg>) -> syn::Result<Vec<Parameter>> {
    let read = inputs.into_iter().enumerate().map(|(at, input)| parameter(at, input));
    let mut refused: Option<Error> = None;
    let mut parameters = Vec::new();
    for one in read {
        match one {
            Ok(parameter) => parameters.push(parameter),
            Err(error) => refuse(&mut refused, error),
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    if let Some(one) = parameters.iter().filter(|parameter| !parameter.supplied).nth(ARGUMENTS_MAX) {
        return Err(too_many(&one.name));
    }
    Ok(parameters)
}

pub(crate) fn too_many(name: &Ident) -> Error {
    let what = "a task has at most 16 arguments: group some in a struct that derives `serde::Serialize` and `serde::Deserialize`";
    Error::new(name.span(), what)
}

pub(crate) fn refuse(all: &mut Option<Error>, error: Error) {
    match all {
        Some(first) => first.combine(error),
        None => *all = Some(error),
    }
}

fn parameter(at: usize, input: &FnArg) -> syn::Result<Parameter> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new_spanned(
            input,
            "a method cannot be a task, because its object is not stored: write a function that takes what it needs",
        ));
    };
    if let Some(cfg) = typed.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
        return Err(Error::new_spanned(
            cfg,
            "a task's parameters are the same in every build, because calls are stored: write one task for each build",
        ));
    }
    let ty = typed.ty.as_ref().clone();
    if is_supplied(&ty) {
        return Ok(Parameter { name: format_ident!("__supplied{at}"), ty, supplied: true });
    }
    let name = match typed.pat.as_ref() {
        Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
        Pat::Wild(wild) => {
            return Err(Error::new_spanned(
                wild,
                "a task's argument needs a name, by which other languages give it: `_name` is one",
            ));
        }
        pattern => {
            return Err(Error::new_spanned(
                pattern,
                "a task's argument needs a plain name, by which other languages give it: take it apart with `let` in the body",
            ));
        }
    };
    check_type(&ty)?;
    Ok(Parameter { name, ty, supplied: false })
}

/// Returns whether this is `TaskContext`, or `State` with a type parameter; a type `State` without one is the
/// application's own.
pub(crate) fn is_supplied(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| {
        last.ident == "TaskContext"
            || (last.ident == "State" && matches!(last.arguments, PathArguments::AngleBracketed(_)))
    })
}

/// Refuses types that can never be stored.
pub(crate) fn check_type(ty: &Type) -> syn::Result<()> {
    if contains(ty.to_token_stream(), "impl") {
        return Err(Error::new_spanned(
            ty,
            format!(
                "a task's argument is stored and has one type, unlike `{}`: write the type out, such as `String`, and convert where \
                 the task is called",
                shown(ty)
            ),
        ));
    }
    if contains(ty.to_token_stream(), "Self") {
        return Err(Error::new_spanned(ty, "a task cannot name `Self`: write the type out"));
    }
    let mut owned = ty.clone();
    if own(&mut owned) {
        return Err(Error::new_spanned(
            ty,
            format!(
                "a task's argument is stored and owns its data: write `{}` instead of `{}`",
                shown(&owned),
                shown(ty)
            ),
        ));
    }
    Ok(())
}

/// Returns whether a keyword occurs anywhere in the tokens.
fn contains(tokens: TokenStream, keyword: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == keyword,
        TokenTree::Group(group) => contains(group.stream(), keyword),
        _ => false,
    })
}

/// Replaces borrowed types by owned ones. Returns whether there were any.
fn own(ty: &mut Type) -> bool {
    match ty {
        Type::Reference(reference) => {
            let mut inner = reference.elem.as_ref().clone();
            own(&mut inner);
            *ty = match inner {
                Type::Slice(slice) => {
                    let item = slice.elem;
                    syn::parse_quote!(Vec<#item>)
                }
                Type::Path(path) if path.path.is_ident("str") => syn::parse_quote!(String),
                Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Path") => {
                    syn::parse_quote!(std::path::PathBuf)
                }
                other => other,
            };
            true
        }
        Type::Path(path) => {
            let mut borrowed = false;
            for segment in &mut path.path.segments {
                let PathArguments::AngleBracketed(list) = &mut segment.arguments else { continue };
                for argument in &mut list.args {
                    match argument {
                        GenericArgument::Type(inner) => borrowed |= own(inner),
                        GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
                            *lifetime = syn::Lifetime::new("'static", Span::call_site());
                            borrowed = true;
                        }
                        _ => {}
                    }
                }
            }
            borrowed
        }
        Type::Tuple(tuple) => tuple.elems.iter_mut().fold(false, |borrowed, item| own(item) | borrowed),
        Type::Array(array) => own(&mut array.elem),
        Type::Slice(slice) => own(&mut slice.elem),
        Type::Paren(inner) => own(&mut inner.elem),
        Type::Group(inner) => own(&mut inner.elem),
        _ => false,
    }
}

/// Formats a type without the spaces that the compiler's own text has between tokens.
pub(crate) fn shown(ty: &Type) -> String {
    let mut text = quote!(#ty).to_string();
    for (spaced, plain) in [
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" , ", ", "),
        (" :: ", "::"),
        (":: ", "::"),
        ("& ", "&"),
        ("' ", "'"),
        (" ;", ";"),
    ] {
        text = text.replace(spaced, plain);
    }
    text
}
