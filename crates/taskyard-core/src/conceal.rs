//! Addresses of databases in the wrong place: whatever repeats what was given leaves out what may be a password.

use std::borrow::Cow;

/// A text for a message: what follows the `://` of an address, or the word `password` and its `=`, is left out.
#[must_use]
pub fn conceal(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    let keyword = lower.match_indices("password").find_map(|(at, word)| {
        let rest = &lower[at + word.len()..];
        let value = rest.trim_start().strip_prefix('=')?;
        Some(lower.len() - value.len())
    });
    let address = text.find("://").map(|at| at + 3);
    match keyword.into_iter().chain(address).min() {
        Some(end) if end < text.len() => Cow::Owned(format!("{}***", &text[..end])),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::conceal;

    #[test]
    fn only_what_may_be_a_password_is_left_out() {
        for (text, shown) in [
            ("postgresql://u:s3cret@h/d", "postgresql://***"),
            ("--database=postgres://h", "--database=postgres://***"),
            ("host=h PassWord = s3cret dbname=d", "host=h PassWord =***"),
            ("Ünicode password=s3cret", "Ünicode password=***"),
            ("password", "password"),
            ("10m", "10m"),
            ("://", "://"),
        ] {
            assert_eq!(conceal(text), shown);
        }
    }
}
