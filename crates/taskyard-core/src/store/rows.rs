//! Result of a user's own SQL query: `taskyard db query`.

use serde::Serialize;
use serde_json::value::RawValue;

/// Rows of a read-only statement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rows {
    /// Column names, in order; may contain duplicates.
    pub columns: Vec<String>,
    /// The values of each row in that order, as JSON with every digit from the database: numbers, booleans, strings,
    /// null and JSON as such, everything else as text.
    pub rows: Vec<Vec<Box<RawValue>>>,
    /// Whether there were more rows than the limit.
    pub more: bool,
}

/// Returns whether a statement, after comments and opening parentheses, begins with a keyword that only reads.
///
/// The read-only modes of the databases are the actual protection; this refuses early what they allow although it has
/// side effects (`COPY … TO PROGRAM`, `ATTACH`, `VACUUM`, `SET`).
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
