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

/// The values that an option may take.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// None: the option stands alone, and calls the builder without an argument.
    Nothing,
    /// A text that is a stored name.
    Name,
    /// Any whole number.
    Integer,
    /// A whole number that is not negative.
    Count,
    /// A text with a unit, or a `Duration`.
    Time,
    /// The option is not a method of the builder: see [`Options::declare`] and [`Options::switch`].
    Other,
}

/// Defines the table of options: their names, values and examples; and `examples!`, their list for the documentation.
macro_rules! options {
    ($($name:ident: $takes:ident, $example:literal;)+) => {
        /// The known options. One that does not take `Other` calls the method of its name of the `Call`.
        const OPTIONS: &[(&str, Takes, &str)] = &[$((stringify!($name), Takes::$takes, $example)),+];

        macro_rules! examples {
            () => {
                concat!($("- `", $example, "`\n"),+)
            };
        }
    };
}

options! {
    queue: Name, "queue = \"mail\"";
    name: Name, "name = \"Send a mail\"";
    tag: Name, "tag = \"mail\"";
    priority: Integer, "priority = 5";
    max_retries: Count, "max_retries = 5";
    retry_if: Other, "retry_if = path::to::function";
    timeout: Time, "timeout = \"30s\"";
    kind: Other, "kind = \"mail.send\"";
    aliases: Other, "aliases = [\"old::path\"]";
    set: Other, "set = PATH";
    local: Other, "local";
    blocking: Other, "blocking";
    at_most_once: Nothing, "at_most_once";
    auto_remove: Nothing, "auto_remove";
}

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
            let Some((_, takes, example)) = OPTIONS.iter().find(|(known, ..)| *known == text) else {
                return Err(Error::new(name.span(), unknown(&text)));
            };
            if text != "tag" && !given.insert(text.clone()) {
                return Err(Error::new(name.span(), format!("`{text}` is given twice")));
            }
            match value {
                Some(value) if *takes == Takes::Other => options.declare(&text, value, example)?,
                Some(value) => options.set(&name, &text, *takes, value, example)?,
                None => options.switch(&name, &text, *takes, example)?,
            }
        }
        Ok(options)
    }
}

impl Options {
    /// Sets an option without a value.
    fn switch(&mut self, name: &Ident, text: &str, takes: Takes, example: &str) -> syn::Result<()> {
        match text {
            "local" => self.local = Some(name.span()),
            "blocking" => self.blocking = true,
            _ if takes == Takes::Nothing => self.builder.extend(quote!(.#name())),
            _ => return Err(Error::new(name.span(), format!("`{text}` needs a value: `{example}`"))),
        }
        Ok(())
    }

    /// Sets an option of the `Call` that has a value.
    fn set(&mut self, name: &Ident, text: &str, takes: Takes, value: Expr, example: &str) -> syn::Result<()> {
        let given = match (takes, literal(&value)) {
            (Takes::Nothing | Takes::Other, _) => return Err(stands_alone(text, &value)),
            (Takes::Count, _) if is_negative(&value) => return Err(wrong(text, &value, takes.words(), example)),
            (Takes::Integer | Takes::Count, Some(Lit::Int(_))) | (_, None) => quote!(#value),
            (Takes::Name, Some(Lit::Str(name))) => {
                check_name(text, name)?;
                quote!(#value)
            }
            (Takes::Time, Some(Lit::Str(text))) => {
                let Some(micros) = duration::micros(&text.value()) else {
                    let why = "`timeout` takes numbers with their units, the largest first, and at most a hundred years: \"250ms\", \"30s\", \"1h30m\"";
                    return Err(Error::new(text.span(), why));
                };
                quote!(::core::time::Duration::from_micros(#micros))
            }
            (_, Some(_)) => return Err(wrong(text, &value, takes.words(), example)),
        };
        self.builder.extend(quote!(.#name(#given)));
        Ok(())
    }

    /// Sets an option of the declaration.
    fn declare(&mut self, text: &str, value: Expr, example: &str) -> syn::Result<()> {
        match (text, value) {
            ("kind", value) => {
                match literal(&value) {
                    Some(Lit::Str(name)) => check_name(text, name)?,
                    Some(_) => return Err(wrong(text, &value, Takes::Name.words(), example)),
                    None => {}
                }
                self.kind = Some(value);
            }
            ("aliases", Expr::Array(list)) => {
                for alias in &list.elems {
                    match literal(alias) {
                        Some(Lit::Str(name)) => check_name(text, name)?,
                        Some(_) => return Err(wrong(text, alias, "a list of texts", example)),
                        None => {}
                    }
                }
                self.aliases = Some(quote!(&#list));
            }
            ("aliases", value @ Expr::Lit(_)) => return Err(wrong(text, &value, "a list of texts", example)),
            ("aliases", slice) => self.aliases = Some(quote!(#slice)),
            ("retry_if", value) if literal(&value).is_none() => self.retry_if = Some(value),
            ("retry_if", value) => {
                return Err(wrong(text, &value, "a function `fn(&E) -> bool` of the task's error", example));
            }
            ("set", Expr::Path(path)) => self.set = Some(path.path),
            ("set", other) => {
                return Err(wrong(text, &other, "the path of a set that `taskyard::task_set!` declares", example));
            }
            (_, value) => return Err(stands_alone(text, &value)),
        }
        Ok(())
    }
}

impl Takes {
    /// Returns the words for messages.
    const fn words(self) -> &'static str {
        match self {
            Self::Name => "a text",
            Self::Integer => "a whole number",
            Self::Count => "a whole number, 0 or more",
            Self::Time => "a number with its unit (\"250ms\", \"30s\", \"5m\", \"2h\"), or a `Duration`",
            Self::Nothing | Self::Other => "",
        }
    }
}

fn wrong(option: &str, value: &Expr, what: &str, example: &str) -> Error {
    Error::new_spanned(value, format!("`{option}` takes {what}: `{example}`"))
}

fn stands_alone(option: &str, value: &Expr) -> Error {
    Error::new_spanned(value, format!("`{option}` stands alone: write it to switch it on"))
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
    let close = || OPTIONS.iter().map(|(option, ..)| *option).find(|option| distance(option, name) <= 2);
    match synonym.or_else(close) {
        Some(option) => {
            let example = OPTIONS.iter().find(|(known, ..)| *known == option).map_or("", |(_, _, example)| *example);
            format!("a task has no option `{name}`: did you mean `{example}`?")
        }
        None => {
            let all: Vec<_> = OPTIONS.iter().map(|(option, ..)| *option).collect();
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
