//! A `.env` file: `NAME=value` lines, of which only our names are read. Nothing is put into the environment.
//!
//! Understood are `export NAME=…`, comments, and values in single or double quotes; `$` means nothing, so that a
//! password with one survives. A line of other names is never an error, because the file is the application's; one of our
//! names without a value is.

use std::path::Path;

use taskyard_core::settings::Layer;

use crate::failure::Failure;
use crate::project::Root;

/// The values of our names, in order; empty without a file.
pub(super) fn read(root: &Root, path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = super::read_optional(root, path)?.unwrap_or_default();
    let mut values = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match parse(line) {
            Some((name, value)) if Layer::reads(&name) => values.push((name, value)),
            Some(_) => {}
            None => {
                if let Some(name) = first_word(line).filter(|name| Layer::reads(name)) {
                    let place = path.display();
                    return Err(Failure::usage(format!("{place}, line {}: {name} is not followed by `=`", number + 1)));
                }
            }
        }
    }
    Ok(values)
}

/// The name that a line begins with.
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
    // Without quotes a comment begins at a `#` behind a space; one inside a word belongs to it.
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
