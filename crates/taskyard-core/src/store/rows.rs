//! What a person's own SQL query answers: `taskyard db query`.

use serde::Serialize;
use serde_json::value::RawValue;

/// The rows of one reading statement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rows {
    /// The columns' names, in order; they need not differ.
    pub columns: Vec<String>,
    /// Each row's values in that order, as JSON with every digit that the database gave: numbers, booleans, texts, null and
    /// JSON as such, everything else as text.
    pub rows: Vec<Vec<Box<RawValue>>>,
    /// Whether there were more rows than the limit.
    pub more: bool,
}

/// Whether a statement begins with a word that only reads, behind comments and opening parentheses.
///
/// The databases' own read-only modes do the real work; this refuses early what they would let through although it
/// does something (`COPY … TO PROGRAM`, `ATTACH`, `VACUUM`, `SET`).
#[must_use]
pub fn begins_reading(sql: &str) -> bool {
    let mut rest = sql.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after).trim_start();
        } else if let Some(inner) = rest.strip_prefix('(') {
            rest = inner.trim_start();
        } else {
            break;
        }
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    matches!(word.to_ascii_lowercase().as_str(), "select" | "with" | "values" | "table" | "show" | "explain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_statements_begin_so() {
        for sql in
            ["select 1", " -- a\n /* b */ ( SELECT 1)", "With a as (select 1) table a", "explain select 1", "show x"]
        {
            assert!(begins_reading(sql), "{sql}");
        }
        for sql in ["", "--", "copy t to program 'x'", "attach 'x' as y", "selectx", "delete from t", "/* select"] {
            assert!(!begins_reading(sql), "{sql}");
        }
    }
}
