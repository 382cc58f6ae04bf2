//! The options of `#[task(..)]`, as builder calls on the `Call`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitInt, LitStr, Path, Token, bracketed, token};

/// What stands in the parentheses.
#[derive(Default)]
pub(crate) struct Options {
    /// `.queue("mail").priority(5)`…
    pub(crate) builder: TokenStream,
    /// A kind other than the path.
    pub(crate) kind: Option<LitStr>,
    /// Kinds under which it was known before.
    pub(crate) aliases: Vec<LitStr>,
    /// Whether the body stays on the thread that made it, and where the option stands.
    pub(crate) local: Option<Span>,
    /// Whether the body has a thread of its own.
    pub(crate) blocking: bool,
    /// The slice that the function is added to; the program's if there is none.
    pub(crate) set: Option<Path>,
}

enum Value {
    Text(LitStr),
    Number(LitInt, bool),
    Path(Path),
    Texts(Vec<LitStr>),
    Flag,
}

struct Entry {
    name: Ident,
    value: Value,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name: Ident = input.parse()?;
        if !input.peek(Token![=]) {
            return Ok(Self { name, value: Value::Flag });
        }
        input.parse::<Token![=]>()?;
        let negative = input.parse::<Option<Token![-]>>()?.is_some();
        let value = if input.peek(token::Bracket) {
            let list;
            bracketed!(list in input);
            Value::Texts(Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?.into_iter().collect())
        } else if input.peek(LitStr) {
            Value::Text(input.parse()?)
        } else if input.peek(LitInt) || negative {
            Value::Number(input.parse()?, negative)
        } else {
            Value::Path(input.parse()?)
        };
        Ok(Self { name, value })
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        for Entry { name, value } in Punctuated::<Entry, Token![,]>::parse_terminated(input)? {
            let call = match (name.to_string().as_str(), value) {
                ("queue", Value::Text(queue)) => quote!(.queue(#queue)),
                ("name", Value::Text(label)) => quote!(.name(#label)),
                ("tag", Value::Text(tag)) => quote!(.tag(#tag)),
                ("priority", Value::Number(priority, false)) => quote!(.priority(#priority)),
                ("priority", Value::Number(priority, true)) => quote!(.priority(-#priority)),
                ("max_retries", Value::Number(retries, false)) => quote!(.max_retries(#retries)),
                ("timeout", Value::Text(text)) => {
                    let millis = millis(&text)?;
                    quote!(.timeout(::core::time::Duration::from_millis(#millis)))
                }
                ("at_most_once", Value::Flag) => quote!(.at_most_once()),
                ("auto_remove", Value::Flag) => quote!(.auto_remove()),
                ("local", Value::Flag) => {
                    options.local = Some(name.span());
                    TokenStream::new()
                }
                ("blocking", Value::Flag) => {
                    options.blocking = true;
                    TokenStream::new()
                }
                ("kind", Value::Text(kind)) => {
                    options.kind = Some(kind);
                    TokenStream::new()
                }
                ("aliases", Value::Texts(aliases)) => {
                    options.aliases = aliases;
                    TokenStream::new()
                }
                ("set", Value::Path(set)) => {
                    options.set = Some(set);
                    TokenStream::new()
                }
                _ => {
                    return Err(syn::Error::new(
                        name.span(),
                        "expected queue = \"..\", name = \"..\", tag = \"..\", priority = 0, max_retries = 3, \
                         timeout = \"300s\", kind = \"..\", aliases = [\"..\"], set = PATH, local, blocking, at_most_once or auto_remove",
                    ));
                }
            };
            options.builder.extend(call);
        }
        Ok(options)
    }
}

/// `"250ms"`, `"30s"`, `"5m"`, `"2h"` in milliseconds.
fn millis(text: &LitStr) -> syn::Result<u64> {
    let value = text.value();
    let digits = value.chars().take_while(char::is_ascii_digit).count();
    let unit = match &value[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match value[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(millis) if unit > 0 => Ok(millis),
        _ => Err(syn::Error::new(text.span(), "expected a number with its unit: \"250ms\", \"30s\", \"5m\" or \"2h\"")),
    }
}
