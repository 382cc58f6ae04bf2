//! Namespaces: a prefix for the kinds of one application, so that applications whose modules share a name can share a
//! queue.
//!
//! A kind in a namespace is written `shop/app:report`. The functions that an application declares are in its own
//! namespace. A kind that is passed as text may name another namespace: see [`kind_in`].

use std::fmt;
use std::str::FromStr;

/// Maximum length of a namespace in bytes. It counts toward the length of every kind.
const BYTES_MAX: usize = 63;

/// A namespace: 1 to 63 ASCII letters, digits, `_`, `-` and `.`.
///
/// ```
/// # use taskyard_core::namespace::{Namespace, kind_in};
/// let shop: Namespace = "shop".parse()?;
/// assert_eq!(shop.own("app:report"), "shop/app:report");
/// assert_eq!(kind_in(Some(&shop), "app:report"), "shop/app:report");
/// assert_eq!(kind_in(Some(&shop), "bank/app:report"), "bank/app:report");
/// assert_eq!(kind_in(Some(&shop), "/app:report"), "app:report");
/// assert!("a/b".parse::<Namespace>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// Returns the namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the kind of a function that an application in this namespace declares.
    #[must_use]
    pub fn own(&self, kind: &str) -> String {
        format!("{}/{kind}", self.0)
    }

    /// Returns the name under which an application in this namespace declared a kind; `None` for kinds outside of it.
    #[must_use]
    pub fn name_of<'a>(&self, kind: &'a str) -> Option<&'a str> {
        kind.strip_prefix(&self.0)?.strip_prefix('/')
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("it is empty; leave the setting out for no namespace".into());
        }
        if let Some(wrong) = text.chars().find(|one| !is_allowed(*one)) {
            let shown = if wrong == '`' { "a backtick".into() } else { format!("`{}`", wrong.escape_debug()) };
            return Err(format!("it contains {shown}; allowed are ASCII letters, digits, `_`, `-` and `.`"));
        }
        if text.len() > BYTES_MAX {
            return Err(format!("it takes {} bytes, over the limit of {BYTES_MAX}", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Returns the stored kind for a kind given as text.
///
/// Text that names a namespace (`bank/app:report`) is in that namespace, text that begins with a slash (`/app:report`)
/// is in none, and any other text is in `namespace`, the caller's own.
#[must_use]
pub fn kind_in(namespace: Option<&Namespace>, text: &str) -> String {
    match (text.split_once('/'), namespace) {
        (Some(("", rest)), _) if !rest.is_empty() => rest.to_owned(),
        (Some((named, rest)), _) if !rest.is_empty() && named.parse::<Namespace>().is_ok() => text.to_owned(),
        (_, Some(namespace)) => namespace.own(text),
        (_, None) => text.to_owned(),
    }
}

fn is_allowed(one: char) -> bool {
    one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_keep_kinds_apart_is_refused() {
        for (text, part) in [
            ("", "empty"),
            ("a/b", "`/`"),
            ("a:b", "`:`"),
            ("a b", "` `"),
            ("a\u{1b}b", "\\u{1b}"),
            ("a\nb", "\\n"),
            ("a`b", "backtick"),
            ("<a>", "`<`"),
            ("löwe", "`ö`"),
            (&"n".repeat(64), "limit of 63"),
        ] {
            let why = text.parse::<Namespace>().unwrap_err();
            assert!(why.contains(part) && !why.contains(char::is_control), "{text:?}: {why}");
        }
        for text in ["shop", "Shop_2.eu-west", &"n".repeat(63)] {
            assert_eq!(text.parse::<Namespace>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_kind_is_in_one_namespace() {
        let shop: Namespace = "shop".parse().unwrap();
        for (text, inside, outside) in [
            ("app:f", "shop/app:f", "app:f"),
            ("shop/app:f", "shop/app:f", "shop/app:f"),
            ("bank/app:f", "bank/app:f", "bank/app:f"),
            ("/app:f", "app:f", "app:f"),
            ("/", "shop//", "/"),
            ("bank/", "shop/bank/", "bank/"),
            ("app::f<a/b>", "shop/app::f<a/b>", "app::f<a/b>"),
        ] {
            assert_eq!(kind_in(Some(&shop), text), inside, "{text}");
            assert_eq!(kind_in(None, text), outside, "{text}");
        }
        assert_eq!(shop.name_of("shop/app:f"), Some("app:f"));
        assert_eq!(shop.name_of("shopper/app:f"), None);
        assert_eq!(shop.name_of("app:f"), None);
    }
}
