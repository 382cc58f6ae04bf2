//! Finds passwords in text that was meant as a database address, and removes them from messages.

use std::borrow::Cow;

/// Returns the byte offset of the value of a password keyword (`password=`, `passwd =`, `Pwd=`).
#[must_use]
pub fn password_at(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let value_of = |word: &str| {
        lower.match_indices(word).find_map(|(at, word)| {
            let value = lower[at + word.len()..].trim_start().strip_prefix('=')?;
            Some(lower.len() - value.len())
        })
    };
    ["password", "passwd", "pwd"].into_iter().filter_map(value_of).min()
}

/// Returns the byte offset of the password in text like `user:password@`.
#[must_use]
pub fn credentials_at(text: &str) -> Option<usize> {
    let at = text.find(':')? + 1;
    text[at..].contains('@').then_some(at)
}

/// Returns the byte offset of the password in a line of a password file (`~/.pgpass`:
/// `host:port:database:user:password`).
#[must_use]
pub fn password_line_at(text: &str) -> Option<usize> {
    let fields: Vec<&str> = text.splitn(5, ':').collect();
    let [_, port, _, _, password] = fields[..] else { return None };
    (port == "*" || port.parse::<u16>().is_ok()).then_some(text.len() - password.len())
}

/// Returns text for a message, with `***` in place of everything from the first secret on.
///
/// Secrets begin after the `://` of an address, after a password keyword, after `user:`, and at the password of a line
/// of a password file.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let address = text.find("://").map(|at| at + 3);
    let credentials = credentials_at(text).filter(|_| address.is_none());
    let line = password_line_at(text);
    match password_at(text).into_iter().chain(address).chain(credentials).chain(line).min() {
        Some(end) if end < text.len() => Cow::Owned(format!("{}***", &text[..end])),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn only_what_may_be_a_password_is_left_out() {
        for (text, shown) in [
            ("postgresql://u:s3cret@h/d", "postgresql://***"),
            ("--database=postgres://h", "--database=postgres://***"),
            ("host=h PassWord = s3cret dbname=d", "host=h PassWord =***"),
            ("Ünicode password=s3cret", "Ünicode password=***"),
            ("Server=h;Pwd=s3cret", "Server=h;Pwd=***"),
            ("u:s3cret@h/d", "u:***"),
            ("*:*:*:u:s3cret", "*:*:*:u:***"),
            ("h:5432:d:u:s3:cret", "h:5432:d:u:***"),
            ("a:b:c:d:e", "a:b:c:d:e"),
            ("password", "password"),
            ("10m", "10m"),
            ("app:send", "app:send"),
            ("://", "://"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
