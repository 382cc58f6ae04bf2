//! Reads a `.env` file: `NAME=value` lines, of which only the names of settings are used. The environment is not changed.
//!
//! Supported are `export NAME=…`, comments, and values in single or double quotes. `$` is not expanded, so that a password
//! may contain it. Lines with other names are never an error, because the file belongs to the application; the name of a
//! setting without `=` is.

use std::path::Path;

use taskyard_core::settings::Layer;

use crate::project::error::ConfigError;
use crate::project::root::Root;

/// Returns the settings in the file in order; an empty list without a file.
///
/// # Errors
/// [`ConfigError`] if the file is not trusted or cannot be decoded, or if a setting's name is not followed by `=`.
pub(super) fn read(root: &Root, path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = super::read_optional(root, path)?.unwrap_or_default();
    let mut values = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match parse(line) {
            Some((name, value)) if Layer::reads(&name) => values.push((name, value)),
            Some(_) => {}
            None => {
                if let Some(name) = first_word(line).filter(|name| Layer::reads(name)) {
                    let (path, name) = (path.to_owned(), name.to_owned());
                    return Err(ConfigError::Dotenv { path, line: number + 1, name });
                }
            }
        }
    }
    Ok(values)
}

/// Returns the name at the beginning of a line.
fn first_word(line: &str) -> Option<&str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.split(|char: char| char != '_' && !char.is_ascii_alphanumeric()).next()
}

fn parse(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let plain = !name.is_empty() && name.chars().all(|char| char == '_' || char.is_ascii_alphanumeric());
    plain.then(|| (name.to_owned(), unquoted(value)))
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        let Some(rest) = value.strip_prefix(quote) else { continue };
        let Some(end) = rest.find(quote) else { continue };
        return rest[..end].to_owned();
    }
    // Without quotes, a comment begins at a `#` after a space; a `#` within a word belongs to the value.
    match value.find(" #") {
        Some(at) => value[..at].trim_end().to_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_people_write_them() {
        for (line, expected) in [
            ("A=b", Some(("A", "b"))),
            (" export A = \"b # c\" # d", Some(("A", "b # c"))),
            ("A='it''s'", Some(("A", "it"))),
            ("A=p#w$x # note", Some(("A", "p#w$x"))),
            ("A=\"open", Some(("A", "\"open"))),
            ("A=", Some(("A", ""))),
            ("# A=b", None),
            ("no value", None),
            ("A B=c", None),
        ] {
            assert_eq!(parse(line), expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "{line}");
        }
    }
}
