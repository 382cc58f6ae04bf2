//! Checks that no literal in PostgreSQL's functions and migrations depends on the setting `standard_conforming_strings`.
//!
//! A role or a database may switch it off, and then a backslash in a plain literal is an escape. A literal with a backslash is
//! therefore written `E'…'` with each backslash doubled, which has the same meaning under either setting.

use std::fs;
use std::path::Path;

use super::twins::files;

const SOURCES: [&str; 2] = ["crates/taskyard-postgres/src/sql", "crates/taskyard-postgres/src/migrations"];

/// Returns a line for each breach.
pub fn check() -> std::io::Result<Vec<String>> {
    let mut problems = Vec::new();
    for source in SOURCES {
        for path in files(Path::new(source), "sql")? {
            let shown = path.display();
            problems.extend(dependent(&fs::read_to_string(&path)?).into_iter().map(|line| {
                format!("{shown}:{line}: a backslash in a plain literal: write E'…' and double it (standard_conforming_strings)")
            }));
        }
    }
    Ok(problems)
}

/// Returns the lines with a backslash in a literal without `E`.
fn dependent(text: &str) -> Vec<usize> {
    let (mut found, mut line, mut quote, mut is_escaping) = (Vec::new(), 1, None, false);
    let mut before = [' '; 2];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '-') if letters.peek() == Some(&'-') => while letters.next_if(|letter| *letter != '\n').is_some() {},
            (None, '\'' | '"') => {
                is_escaping =
                    before[1].eq_ignore_ascii_case(&'e') && !(before[0].is_alphanumeric() || before[0] == '_');
                quote = Some(letter);
            }
            (Some('\''), '\\') if is_escaping => {
                letters.next();
            }
            (Some('\''), '\\') => found.push(line),
            // A doubled quote ends one literal and begins the next of the same kind.
            (Some(open), letter) if letter == open && letters.next_if_eq(&open).is_none() => quote = None,
            _ => {}
        }
        line += usize::from(letter == '\n');
        before = [before[1], letter];
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_in_plain_literals_are_found() {
        let text = r#"-- it's '\d'
            SELECT 'a''\d',
                E'\\d\'', e'\\', 'x', "a\b",
                '\x00'::bytea, some'\\', 'ab'
                || E'\\', '\'"#;
        assert_eq!(dependent(text), [2, 4, 5]);
        assert!(dependent("SELECT 'it''s', E'\\\\', 'plain'\n").is_empty());
    }
}
