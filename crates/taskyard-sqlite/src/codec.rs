//! Converts between columns and values.
//!
//! Reading is lenient: a column of an unexpected type (a row edited by hand) yields a neutral value, never an error
//! that would affect other rows. Callers that need certainty check for themselves.

use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use taskyard_core::task::Failure;
use taskyard_core::{Rate, TaskId, TaskState, Timestamp};
use uuid::Uuid;

/// 128 bits as stored.
pub(crate) type Bits = [u8; 16];

/// Reads an integer; 0 for any other type.
pub(crate) fn int(row: &Row<'_>, at: usize) -> i64 {
    opt_int(row, at).unwrap_or(0)
}

/// Reads an integer; `None` for any other type.
pub(crate) fn opt_int(row: &Row<'_>, at: usize) -> Option<i64> {
    match row.get_ref(at) {
        Ok(ValueRef::Integer(value)) => Some(value),
        _ => None,
    }
}

/// Reads a count; 0 for any other type or range.
pub(crate) fn count(row: &Row<'_>, at: usize) -> u32 {
    u32::try_from(int(row, at)).unwrap_or(0)
}

/// Reads a flag.
pub(crate) fn flag(row: &Row<'_>, at: usize) -> bool {
    int(row, at) != 0
}

/// Reads 128 bits, if the column holds as many.
pub(crate) fn bits(row: &Row<'_>, at: usize) -> Option<Bits> {
    match row.get_ref(at) {
        Ok(ValueRef::Blob(bytes)) => bytes.try_into().ok(),
        _ => None,
    }
}

/// Reads an id of any type.
pub(crate) fn id<T: From<Uuid>>(row: &Row<'_>, at: usize) -> Option<T> {
    bits(row, at).map(|bits| Uuid::from_bytes(bits).into())
}

/// Reads text, with U+FFFD for invalid UTF-8.
pub(crate) fn opt_text(row: &Row<'_>, at: usize) -> Option<String> {
    match row.get_ref(at) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Ok(ValueRef::Integer(value)) => Some(value.to_string()),
        Ok(ValueRef::Real(value)) => Some(value.to_string()),
        _ => None,
    }
}

/// Reads text; empty for any other type.
pub(crate) fn text(row: &Row<'_>, at: usize) -> String {
    opt_text(row, at).unwrap_or_default()
}

/// Reads bytes, also of a text.
pub(crate) fn bytes(row: &Row<'_>, at: usize) -> Option<Vec<u8>> {
    match row.get_ref(at) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// Reads an instant, if the column holds one within the range of [`Timestamp`].
pub(crate) fn instant(row: &Row<'_>, at: usize) -> Option<Timestamp> {
    opt_int(row, at).and_then(taskyard_core::time::from_micros)
}

/// Reads an error from the three columns from `at` on.
pub(crate) fn failure(row: &Row<'_>, at: usize) -> Option<Failure> {
    let error_type = opt_text(row, at)?;
    Some(Failure { error_type, message: text(row, at + 1), traceback: opt_text(row, at + 2) })
}

/// Reads the start rate of a queue from two columns.
pub(crate) fn rate(row: &Row<'_>, at: usize) -> Option<Rate> {
    let (count, per) = (opt_int(row, at)?, opt_int(row, at + 1)?);
    Rate::new(u32::try_from(count).ok()?, duration(per)).ok()
}

/// Decodes a state; `None` for an unknown number.
pub(crate) fn state(code: i64) -> Option<TaskState> {
    i16::try_from(code).ok().and_then(TaskState::from_code)
}

/// Returns the bits of an id.
pub(crate) fn id_bits(id: TaskId) -> Bits {
    id.0.into_bytes()
}

/// Returns a duration in microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Returns the instant `by` after `from`, at most the maximum of [`Timestamp`].
pub(crate) fn later(from: i64, by: Duration) -> i64 {
    from.saturating_add(micros(by)).min(Timestamp::MAX.as_microsecond())
}

/// Converts microseconds to a duration; zero if negative.
pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Returns 128 random bits, for a token.
pub(crate) fn random_bits() -> Bits {
    rand::random()
}
