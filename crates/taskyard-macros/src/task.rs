//! The expansion of `#[task]`.
//!
//! The body moves unchanged into an inner function; the outer function keeps name, visibility and documentation, and
//! only creates the call. The entry for servers is inside the function as well, so that a task can be declared in any
//! block. Generated names begin with `__`, because the body can see them and must not lose names of its module to them.
//!
//! Whether the function returns a `Result` is not read from its text, where an alias would hide it: the expansion lets
//! the compiler decide (`__private::Returned`).
//!
//! A refused function is replaced by a stub of the same signature, so that calls of it are not errors of their own.
//! Errors of the compiler are reported once, at the argument or the result: see `__private::checks`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericParam, Ident, ItemFn, ReturnType, Signature, Type};

use crate::options::Options;
use crate::parameter::{Parameter, parameters, refuse};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        // Syntax errors are left to the compiler, whose messages are better.
        Err(_) if !is_another_item(&item) => return item,
        Err(_) => {
            let error = Error::new_spanned(&item, "`#[task]` declares a function as a task: this is not a function")
                .to_compile_error();
            return quote!(#error #item);
        }
    };
    let stub = stub(&function);
    declare(options, function).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote!(#error #stub)
    })
}

/// Returns whether this is a complete item that is not a function.
fn is_another_item(item: &TokenStream) -> bool {
    syn::parse2::<syn::Item>(item.clone()).is_ok()
}

fn declare(options: TokenStream, mut function: ItemFn) -> syn::Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let signature = &function.sig;
    let is_async = signature.asyncness.is_some();
    if let Some(local) = options.local.filter(|_| !is_async || options.blocking) {
        return Err(Error::new(local, "a blocking task has a thread of its own anyhow: leave `local` out"));
    }
    let (parameters, returned) = read(signature)?;
    let value = value(&returned);

    let name = signature.ident.clone();
    let visibility = function.vis.clone();
    let (shown, kept): (Vec<_>, Vec<_>) = function
        .attrs
        .drain(..)
        .partition(|attribute| attribute.path().is_ident("doc") || attribute.path().is_ident("deprecated"));
    let allowed: Vec<_> = kept.iter().filter(|attribute| attribute.path().is_ident("allow")).cloned().collect();
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
    let arguments = quote!(__private::Arguments::<(#(#argument_types,)*)>);

    let decode = quote! {
        let (#(#argument_names,)*): (#(#argument_types,)*) = #arguments::decode(&__context, __NAMES)?;
        #(let #supplied_names = __private::Supply::<#supplied_types>::supply(&__context)?;)*
    };
    let finish = |body: TokenStream| {
        // The compiler's error about the result points at the return type of the function.
        let at = match &function.sig.output {
            ReturnType::Default => Span::call_site(),
            ReturnType::Type(_, ty) => ty.span(),
        };
        match &options.retry_if {
            Some(retry_if) => {
                quote_spanned!(at=> __private::Returned::<#returned>(#body).finish_asking(&__context, #retry_if))
            }
            None => quote_spanned!(at=> __private::Returned::<#returned>(#body).finish(&__context)),
        }
    };
    let call = quote!(__body(#(#all_names),*));
    let (run, body_type, body) = if !is_async {
        let finish = finish(call);
        (quote!(Blocking), quote!(BodyResult), quote!({ #decode #finish }))
    } else {
        let finish = finish(quote!(#call.await));
        let body = quote!(async move { #decode #finish });
        if options.blocking {
            let body = quote!({ let __task = __context.clone(); __private::block_on(&__task, #body) });
            (quote!(Blocking), quote!(BodyResult), body)
        } else if options.local.is_some() {
            (quote!(Local), quote!(LocalBody), quote!(::std::boxed::Box::pin(#body)))
        } else {
            // An error about a body that cannot move between threads points at the function's name.
            let at = name.span();
            (quote!(Async), quote!(AsyncBody), quote_spanned!(at=> __private::must_be_send_or_declared_local(#body)))
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
    let asks = options.retry_if.iter().map(|retry_if| {
        let at = retry_if.span();
        quote_spanned!(at=> __private::checks::asks_about_an_error::<#returned>();)
    });
    let aliases = options.aliases.clone().unwrap_or_else(|| quote!(&[]));
    let builder = &options.builder;
    Ok(quote! {
        #(#shown)*
        #(#allowed)*
        #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
        #visibility fn #name(#(#argument_names: #argument_types),*) -> ::taskyard::Call<#value> {
            #[allow(unused_imports)]
            use ::taskyard::__private::{self, NotStored as _, NotSupplied as _, Plain as _};

            #function

            const __NAMES: &[&str] = &[#(#argument_texts),*];

            // Never called: the compiler checks each argument at its type.
            const _: fn() = || {
                #(__private::checks::is_stored::<#argument_types>();)*
                #(__private::checks::is_supplied::<#supplied_types>();)*
                #(#asks)*
            };

            fn __kind() -> &'static str {
                #kind
            }

            fn __run(__context: __private::TaskContext) -> __private::#body_type {
                #body
            }

            // A separate function, so that no argument shadows a constant of the same name.
            fn __with_options<__T>(__call: ::taskyard::Call<__T>) -> ::taskyard::Call<__T> {
                __call #builder
            }

            #[__private::linkme::distributed_slice(#set)]
            #[linkme(crate = ::taskyard::__private::linkme)]
            static __TASK: __private::TaskDef = __private::TaskDef {
                kind: __kind,
                aliases: #aliases,
                names: __NAMES,
                states: &[#(__private::Supply::<#supplied_types>::state),*],
                run: __private::Run::#run(__run),
                location: ::core::concat!(::core::file!(), ":", ::core::line!()),
            };

            __with_options(#arguments::call(__kind(), &(#(#argument_names,)*)).parameters(__NAMES))
        }
    })
}

/// Returns the parameters and the return type of the function. The error contains all problems of the signature.
fn read(signature: &Signature) -> syn::Result<(Vec<Parameter>, Type)> {
    let mut refused = None;
    if signature.generics.params.iter().any(|generic| !matches!(generic, GenericParam::Lifetime(_))) {
        let what = "a task cannot be generic: a stored call names one function, not a family of them";
        return Err(Error::new_spanned(&signature.generics, what));
    }
    if let Some(unsafety) = &signature.unsafety {
        let what =
            "a task cannot be unsafe: servers call it with whatever is stored; check the arguments in a safe function";
        refuse(&mut refused, Error::new_spanned(unsafety, what));
    }
    let parameters = parameters(&signature.inputs).map_err(|error| refuse(&mut refused, error));
    let returned = returned(&signature.output).map_err(|error| refuse(&mut refused, error));
    if refused.is_none() && !signature.generics.params.is_empty() {
        let what = "a task's arguments are stored and own their data: leave the lifetimes out";
        refuse(&mut refused, Error::new_spanned(&signature.generics, what));
    }
    match (refused, parameters, returned) {
        (None, Ok(parameters), Ok(returned)) => Ok((parameters, returned)),
        (Some(error), ..) => Err(error),
        (None, ..) => unreachable!("what is refused has an error"),
    }
}

/// Returns the return type of the function.
fn returned(output: &ReturnType) -> syn::Result<Type> {
    match output {
        ReturnType::Default => Ok(syn::parse_quote!(())),
        ReturnType::Type(_, ty) => match ty.as_ref() {
            Type::ImplTrait(_) => {
                Err(Error::new_spanned(ty, "a task's result is stored and has one type: write the type out"))
            }
            Type::Never(_) => Err(Error::new_spanned(ty, "a task ends, and its result is stored: leave `-> !` out")),
            _ => Ok(ty.as_ref().clone()),
        },
    }
}

/// Returns the type of the result: the first type of a `Result`, under any name, and any other type itself.
fn value(returned: &Type) -> TokenStream {
    // These cannot be a `Result`, and are more readable as they are in the function's documentation.
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

/// Returns the stub of a refused function: its name and its parameters, so that calls of it are not errors too.
fn stub(function: &ItemFn) -> TokenStream {
    let Signature { ident, generics, inputs, output, .. } = &function.sig;
    let visibility = &function.vis;
    let is_stored = |input: &&FnArg| match input {
        FnArg::Typed(typed) => !crate::parameter::is_supplied(&typed.ty),
        FnArg::Receiver(_) => true,
    };
    let inputs = inputs.iter().filter(is_stored);
    let value = returned(output).map_or_else(|_| quote!(()), |returned| value(&returned));
    quote! {
        #[allow(unused, clippy::all)]
        #visibility fn #ident #generics (#(#inputs),*) -> ::taskyard::Call<#value> {
            ::core::unreachable!()
        }
    }
}

/// Returns a name without `r#`.
pub(crate) fn plain(name: &Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}
