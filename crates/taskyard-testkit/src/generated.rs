//! Files that tests generate and that are committed, so that a change of their contents is seen in a review.

use std::path::Path;

/// Environment variable that makes [`compare`] write the files.
const WRITE: &str = "TASKYARD_WRITE_SCHEMA";

/// Compares a committed file with its newly generated text, or writes it if `TASKYARD_WRITE_SCHEMA` is set.
///
/// `test` is the arguments of `cargo test` that run the caller.
///
/// # Panics
/// If the texts differ, with the first line that does and the command that writes the file; or if the file cannot be
/// written.
pub fn compare(path: &Path, text: &str, test: &str) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    if let Some(difference) = difference(&committed, text) {
        panic!("{} is outdated: {difference}\nTo update the file: {WRITE}=1 cargo test {test}", path.display());
    }
}

/// Returns a description of the first line that differs.
fn difference(committed: &str, text: &str) -> Option<String> {
    if committed == text {
        return None;
    }
    let (mut old, mut new) = (committed.lines(), text.lines());
    let mut number = 1;
    loop {
        match (old.next(), new.next()) {
            (None, None) => return Some("the line ends differ".into()),
            (old, new) if old == new => number += 1,
            (old, new) => {
                let shown = |line: Option<&str>| line.map_or("(the end)".into(), |line| format!("`{line}`"));
                return Some(format!("line {number} is\n  {}\nand should be\n  {}", shown(old), shown(new)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_line_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "line 2 is\n  `b`\nand should be\n  `c`");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "line 2 is\n  (the end)\nand should be\n  `b`");
        assert_eq!(difference("a\r\n", "a\n").unwrap(), "the line ends differ");
    }

    #[test]
    #[should_panic(expected = "TASKYARD_WRITE_SCHEMA=1 cargo test --package p")]
    fn the_message_contains_the_command() {
        compare(Path::new("does/not/exist.sql"), "a\n", "--package p");
    }
}
