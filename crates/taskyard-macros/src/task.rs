//! The expansion of `#[task]`.
//!
//! The body moves, unchanged, into an inner function; the outer one keeps name, visibility and documentation and only
//! describes the call. The entry for the servers stands inside as well, so that a task can be declared in any block.
//!
//! Whether the function returns a `Result` is not read from its text, where an alias would hide it: the expansion asks
//! the compiler (`__private::Returned`).

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, ItemFn, Pat, ReturnType, Type};

use crate::options::Options;

/// One parameter of the function.
struct Parameter {
    name: Ident,
    ty: Type,
    supplied: bool,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let mut function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new(
            signature.generics.span(),
            "a task cannot be generic: a stored call names one function, not a family of them",
        ));
    }
    let parameters = signature.inputs.iter().map(parameter).collect::<syn::Result<Vec<_>>>()?;
    let returned = returned(&signature.output)?;
    let value = value(&returned);

    let name = signature.ident.clone();
    let visibility = function.vis.clone();
    let (shown, kept): (Vec<_>, Vec<_>) = function
        .attrs
        .drain(..)
        .partition(|attribute| attribute.path().is_ident("doc") || attribute.path().is_ident("deprecated"));
    let is_async = signature.asyncness.is_some();
    if let Some(local) = options.local.filter(|_| !is_async || options.blocking) {
        return Err(syn::Error::new(local, "a blocking task has a thread of its own anyhow: leave `local` out"));
    }
    function.attrs = kept;
    function.vis = syn::Visibility::Inherited;
    function.sig.ident = format_ident!("__body");

    let arguments: Vec<&Parameter> = parameters.iter().filter(|parameter| !parameter.supplied).collect();
    let argument_names: Vec<&Ident> = arguments.iter().map(|parameter| &parameter.name).collect();
    let argument_types: Vec<&Type> = arguments.iter().map(|parameter| &parameter.ty).collect();
    let argument_texts: Vec<String> = argument_names.iter().map(|name| plain(name)).collect();
    let (supplied_names, supplied_types): (Vec<&Ident>, Vec<&Type>) = parameters
        .iter()
        .filter(|parameter| parameter.supplied)
        .map(|parameter| (&parameter.name, &parameter.ty))
        .unzip();
    let all_names: Vec<&Ident> = parameters.iter().map(|parameter| &parameter.name).collect();

    let decode = quote! {
        let (#(#argument_names,)*): (#(#argument_types,)*) = __private::decode(&__context, NAMES)?;
        #(let #supplied_names = <#supplied_types as __private::Supplied>::supply(&__context)?;)*
    };
    let finish = quote!(__private::Returned::<#returned>);
    let call = quote!(__body(#(#all_names),*));
    let (run, body_type, body) = if !is_async {
        (quote!(Blocking), quote!(BodyResult), quote!({ #decode #finish(#call).finish(&__context) }))
    } else {
        let body = quote!(async move { #decode #finish(#call.await).finish(&__context) });
        if options.blocking {
            let body = quote!({ let __task = __context.clone(); __private::block_on(&__task, #body) });
            (quote!(Blocking), quote!(BodyResult), body)
        } else if options.local.is_some() {
            (quote!(Local), quote!(LocalBody), quote!(::std::boxed::Box::pin(#body)))
        } else {
            (quote!(Async), quote!(AsyncBody), quote!(__private::must_be_send_or_declared_local(#body)))
        }
    };
    let kind = match &options.kind {
        Some(kind) => quote!(#kind),
        None => quote! {{
            struct Task;
            __private::kind_of::<Task>("::__kind::Task")
        }},
    };
    let set = match &options.set {
        Some(set) => quote!(#set),
        None => quote!(__private::TASKS),
    };
    let (builder, aliases) = (&options.builder, &options.aliases);
    Ok(quote! {
        #(#shown)*
        #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
        #visibility fn #name(#(#argument_names: #argument_types),*) -> ::taskyard::Call<#value> {
            #[allow(unused_imports)]
            use ::taskyard::__private::{self, Plain as _};

            #function

            const NAMES: &[&str] = &[#(#argument_texts),*];

            fn __kind() -> &'static str {
                #kind
            }

            fn __run(__context: __private::TaskContext) -> __private::#body_type {
                #body
            }

            #[__private::linkme::distributed_slice(#set)]
            #[linkme(crate = ::taskyard::__private::linkme)]
            static __TASK: __private::TaskDef = __private::TaskDef {
                kind: __kind,
                aliases: &[#(#aliases),*],
                names: NAMES,
                run: __private::Run::#run(__run),
                location: ::core::concat!(::core::file!(), ":", ::core::line!()),
            };

            ::taskyard::Call::new(__kind(), &(#(#argument_names,)*)).declared().parameters(NAMES) #builder
        }
    })
}

fn parameter(input: &FnArg) -> syn::Result<Parameter> {
    let FnArg::Typed(typed) = input else {
        return Err(syn::Error::new(
            input.span(),
            "a method cannot be a task, because its object is not stored: write a function that takes what it needs",
        ));
    };
    let Pat::Ident(pattern) = typed.pat.as_ref() else {
        return Err(syn::Error::new(
            typed.pat.span(),
            "a task's parameter needs a plain name: other languages call it by that",
        ));
    };
    if let Type::Reference(reference) = typed.ty.as_ref() {
        return Err(syn::Error::new(
            reference.span(),
            "a task's parameter is stored and must own its data: take String for &str, Vec<T> for &[T]",
        ));
    }
    let supplied = matches!(typed.ty.as_ref(), Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == "TaskContext" || last.ident == "State"));
    Ok(Parameter { name: pattern.ident.clone(), ty: typed.ty.as_ref().clone(), supplied })
}

/// The type that the function returns.
fn returned(output: &ReturnType) -> syn::Result<Type> {
    match output {
        ReturnType::Default => Ok(syn::parse_quote!(())),
        ReturnType::Type(_, ty) => match ty.as_ref() {
            Type::ImplTrait(other) => {
                Err(syn::Error::new(other.span(), "a task's result is stored and needs a named type"))
            }
            _ => Ok(ty.as_ref().clone()),
        },
    }
}

/// The type of the result: of a `Result`, under whatever name, its first type; of all else the type itself.
fn value(returned: &Type) -> TokenStream {
    // These can be no `Result`, and read better in the function's documentation as they are.
    if matches!(returned, Type::Tuple(_) | Type::Array(_) | Type::Reference(_)) {
        return quote!(#returned);
    }
    quote! {
        <#returned as ::taskyard::__private::Output<{
            #[allow(unused_imports)]
            use ::taskyard::__private::Plain as _;
            ::taskyard::__private::Returned::<#returned>::FALLIBLE
        }>>::Value
    }
}

/// A name as people write it, without `r#`.
pub(crate) fn plain(name: &Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}
