//! Values on their way into the database.

use std::borrow::Cow;
use std::time::Duration;

use taskyard_core::{Timestamp, time};

/// No interval is longer: 5,000 years, so that no sum of one and the present leaves the range of instants.
const MICROS_MAX: i64 = 5_000 * 366 * 86_400 * 1_000_000;

/// An interval in microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX).min(MICROS_MAX)
}

/// An interval in milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(MICROS_MAX / 1_000).min(MICROS_MAX / 1_000)
}

/// A time limit in milliseconds, rounded up.
pub(crate) fn limit_millis(limit: Duration) -> i64 {
    i64::try_from(time::limit_millis(limit)).unwrap_or(MICROS_MAX / 1_000).min(MICROS_MAX / 1_000)
}

/// A start time; one before PostgreSQL's calendar begins (4713 BC) is as past as any other.
pub(crate) fn start(at: Timestamp) -> Timestamp {
    const EARLIEST_SECOND: i64 = -180_000_000_000;
    Timestamp::from_second(EARLIEST_SECOND).map_or(at, |earliest| at.max(earliest))
}

/// Text for people as PostgreSQL can hold it: it has no NUL, which becomes U+FFFD. Payloads are bytes and stay exact.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Why a task is parked: it stands in an index, which takes no more than 2,704 bytes.
pub(crate) fn reason(text: &str) -> Cow<'_, str> {
    const BYTES_MAX: usize = 2_000;
    if text.len() <= BYTES_MAX {
        return clean(text);
    }
    let end = (0..=BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}… ({} bytes)", clean(&text[..end]), text.len()))
}

/// A list of texts in the form of an array literal: arrays of lists of different lengths do not exist.
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
