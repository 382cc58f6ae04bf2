//! Encodes values for the database.

use std::borrow::Cow;
use std::time::Duration;

use taskyard_core::{Timestamp, time};

/// Maximum interval, 5,000 years: the sum of an interval and the present stays within the range of instants.
const MICROS_MAX: i64 = 5_000 * 366 * 86_400 * 1_000_000;

/// Returns an interval in microseconds, capped at [`MICROS_MAX`].
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX).min(MICROS_MAX)
}

/// Returns an interval in milliseconds, capped like [`micros`].
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(MICROS_MAX / 1_000).min(MICROS_MAX / 1_000)
}

/// Returns a time limit in milliseconds, rounded up.
pub(crate) fn limit_millis(limit: Duration) -> i64 {
    i64::try_from(time::limit_millis(limit)).unwrap_or(MICROS_MAX / 1_000).min(MICROS_MAX / 1_000)
}

/// Returns a start time, clamped to the beginning of PostgreSQL's calendar (4713 BC).
pub(crate) fn start(at: Timestamp) -> Timestamp {
    const EARLIEST_SECOND: i64 = -180_000_000_000;
    Timestamp::from_second(EARLIEST_SECOND).map_or(at, |earliest| at.max(earliest))
}

/// Replaces NUL characters, which PostgreSQL's text cannot store, by U+FFFD. For human-readable text only: payloads are
/// bytes and stay exact.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Returns the reason why a task is parked, cut to 2,000 bytes: the column is indexed, and an index entry takes at most
/// 2,704 bytes.
pub(crate) fn reason(text: &str) -> Cow<'_, str> {
    const BYTES_MAX: usize = 2_000;
    if text.len() <= BYTES_MAX {
        return clean(text);
    }
    let end = (0..=BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}… ({} bytes)", clean(&text[..end]), text.len()))
}

/// Formats a list of texts as an array literal: PostgreSQL has no arrays of lists with different lengths.
pub(crate) fn array_literal(items: &[String]) -> String {
    let mut literal = String::from("{");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            literal.push(',');
        }
        literal.push('"');
        for character in item.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_literals_quote_everything() {
        assert_eq!(array_literal(&["a".into(), "b\"\\,{}".into(), String::new()]), r#"{"a","b\"\\,{}",""}"#);
    }

    #[test]
    fn the_longest_interval_is_capped() {
        assert_eq!(micros(Duration::MAX), MICROS_MAX);
        assert_eq!(millis(Duration::from_secs(1)), 1_000);
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
    }
}
