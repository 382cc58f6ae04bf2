//! The options of `#[task(..)]`, expanded to builder calls on the `Call`.
//!
//! A value may be any self-contained expression, such as a constant. Literals are checked here, so that the compiler
//! refuses what the addition would refuse.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Lit, LitStr, Path, Token, UnOp};

use crate::duration;

/// The known options, with an example of each.
const OPTIONS: [(&str, &str); 14] = [
    ("queue", "queue = \"mail\""),
    ("name", "name = \"Send a mail\""),
    ("tag", "tag = \"mail\""),
    ("priority", "priority = 5"),
    ("max_retries", "max_retries = 5"),
    ("retry_if", "retry_if = path::to::function"),
    ("timeout", "timeout = \"30s\""),
    ("kind", "kind = \"mail.send\""),
    ("aliases", "aliases = [\"old::path\"]"),
    ("set", "set = PATH"),
    ("local", "local"),
    ("blocking", "blocking"),
    ("at_most_once", "at_most_once"),
    ("auto_remove", "auto_remove"),
];

/// Names of these options in other systems.
const SYNONYMS: [(&str, &str); 8] = [
    ("retries", "max_retries"),
    ("retry", "max_retries"),
    ("max_attempts", "max_retries"),
    ("attempts", "max_retries"),
    ("tags", "tag"),
    ("alias", "aliases"),
    ("time_limit", "timeout"),
    ("sync", "blocking"),
];

/// Maximum length of a stored name in bytes; the default of the setting `name_bytes_max`.
const NAME_BYTES_MAX: usize = 255;

/// The parsed options.
#[derive(Default)]
pub(crate) struct Options {
    /// Builder calls: `.queue("mail").priority(5)`…
    pub(crate) builder: TokenStream,
    /// A kind to use instead of the path.
    pub(crate) kind: Option<Expr>,
    /// Former kinds, as a slice.
    pub(crate) aliases: Option<TokenStream>,
    /// Function that decides which errors of the body are retried.
    pub(crate) retry_if: Option<Expr>,
    /// Whether the body stays on the thread that created it: the position of the option.
    pub(crate) local: Option<Span>,
    /// Whether the body has a thread of its own.
    pub(crate) blocking: bool,
    /// The slice that the function is added to; the program's slice if `None`.
    pub(crate) set: Option<Path>,
}

struct Entry {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("an option of `#[task]` begins with its name, as in `queue = \"mail\"`"));
        }
        let name = Ident::parse_any(input)?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse::<Expr>()?),
            None => None,
        };
        Ok(Self { name, value })
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        let mut given = HashSet::new();
        for Entry { name, value } in Punctuated::<Entry, Token![,]>::parse_terminated(input)? {
            let text = name.to_string();
            let Some((_, example)) = OPTIONS.iter().find(|(known, _)| *known == text) else {
                return Err(Error::new(name.span(), unknown(&text)));
            };
            if text != "tag" && !given.insert(text.clone()) {
                return Err(Error::new(name.span(), format!("`{text}` is given twice")));
            }
            match value {
                Some(value) => options.set(&name, &text, value, example)?,
                None => options.switch(&name, &text, example)?,
            }
        }
        Ok(options)
    }
}

impl Options {
    /// Sets an option without a value.
    fn switch(&mut self, name: &Ident, text: &str, example: &str) -> syn::Result<()> {
        match text {
            "local" => self.local = Some(name.span()),
            "blocking" => self.blocking = true,
            "at_most_once" => self.builder.extend(quote!(.at_most_once())),
            "auto_remove" => self.builder.extend(quote!(.auto_remove())),
            _ => return Err(Error::new(name.span(), format!("`{text}` needs a value: `{example}`"))),
        }
        Ok(())
    }

    /// Sets an option with a value.
    fn set(&mut self, name: &Ident, text: &str, value: Expr, example: &str) -> syn::Result<()> {
        let wrong =
            |value: &Expr, what: &str| Err(Error::new_spanned(value, format!("`{text}` takes {what}: `{example}`")));
        let builder = match text {
            "queue" | "name" | "tag" | "kind" => {
                match literal(&value) {
                    Some(Lit::Str(name)) => check_name(text, name)?,
                    Some(_) => return wrong(&value, "a text"),
                    None => {}
                }
                if text == "kind" {
                    self.kind = Some(value);
                    return Ok(());
                }
                quote!(.#name(#value))
            }
            "priority" => match literal(&value) {
                Some(Lit::Int(_)) | None => quote!(.priority(#value)),
                Some(_) => return wrong(&value, "a whole number"),
            },
            "max_retries" => match (literal(&value), is_negative(&value)) {
                (Some(Lit::Int(_)) | None, false) => quote!(.max_retries(#value)),
                _ => return wrong(&value, "a whole number, 0 or more"),
            },
            "timeout" => match literal(&value) {
                Some(Lit::Str(text)) => {
                    let Some(micros) = duration::micros(&text.value()) else {
                        let why = "`timeout` takes a number with its unit: \"250ms\", \"30s\", \"5m\" or \"2h\"";
                        return Err(Error::new(text.span(), why));
                    };
                    quote!(.timeout(::core::time::Duration::from_micros(#micros)))
                }
                Some(_) => {
                    return wrong(
                        &value,
                        "a number with its unit (\"250ms\", \"30s\", \"5m\", \"2h\"), or a `Duration`",
                    );
                }
                None => quote!(.timeout(#value)),
            },
            "aliases" => {
                self.aliases = Some(match value {
                    Expr::Array(list) => {
                        for alias in &list.elems {
                            match literal(alias) {
                                Some(Lit::Str(name)) => check_name("aliases", name)?,
                                Some(_) => return wrong(alias, "a list of texts"),
                                None => {}
                            }
                        }
                        quote!(&#list)
                    }
                    Expr::Lit(_) => return wrong(&value, "a list of texts"),
                    slice => quote!(#slice),
                });
                return Ok(());
            }
            "retry_if" => match literal(&value) {
                Some(_) => return wrong(&value, "a function `fn(&E) -> bool` of the task's error"),
                None => {
                    self.retry_if = Some(value);
                    return Ok(());
                }
            },
            "set" => match value {
                Expr::Path(path) => {
                    self.set = Some(path.path);
                    return Ok(());
                }
                other => return wrong(&other, "the path of a set that `taskyard::task_set!` declares"),
            },
            _ => return Err(Error::new_spanned(value, format!("`{text}` stands alone: write it to switch it on"))),
        };
        self.builder.extend(builder);
        Ok(())
    }
}

/// Returns the literal of an expression, which may have a sign.
fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => literal(&unary.expr),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

fn is_negative(value: &Expr) -> bool {
    matches!(value, Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)))
}

/// Checks a name as `Limits::check_name` does, reporting errors at its position.
fn check_name(option: &str, name: &LitStr) -> syn::Result<()> {
    let value = name.value();
    let why = if value.is_empty() {
        format!("`{option}` is empty: give it a name, or leave the option out")
    } else if value.len() > NAME_BYTES_MAX {
        format!("`{option}` takes {} bytes, over the limit of {NAME_BYTES_MAX} for names", value.len())
    } else if value.chars().any(char::is_control) {
        format!("`{option}` contains a control character, which would forge lines of logs and tables")
    } else {
        return Ok(());
    };
    Err(Error::new(name.span(), why))
}

/// Returns the message for an unknown option.
fn unknown(name: &str) -> String {
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, option)| *option);
    let close = || OPTIONS.iter().map(|(option, _)| *option).find(|option| distance(option, name) <= 2);
    match synonym.or_else(close) {
        Some(option) => {
            let example = OPTIONS.iter().find(|(known, _)| *known == option).map_or("", |(_, example)| *example);
            format!("a task has no option `{name}`: did you mean `{example}`?")
        }
        None => {
            let all: Vec<_> = OPTIONS.iter().map(|(option, _)| *option).collect();
            format!("a task has no option `{name}`; there are {}", all.join(", "))
        }
    }
}

/// Returns the number of letters to change, add or remove (Levenshtein distance).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut corner = at;
        row[0] = at + 1;
        for (place, other) in right.iter().enumerate() {
            let changed = corner + usize::from(letter != *other);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
        }
    }
    row[right.len()]
}
