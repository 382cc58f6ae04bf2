//! Formats times, sizes and numbers for people.

use std::time::Duration;

pub use taskyard_core::duration::rounded as span;
use taskyard_core::store::StoreStatus;
use taskyard_core::{TaskState, Timestamp};

/// Formats the time between an instant and `now` (of the database's clock): `5.0s ago`, `in 20s`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let micros = now.as_microsecond().saturating_sub(then.as_microsecond());
    match u64::try_from(micros) {
        Ok(micros) => format!("{} ago", span(Duration::from_micros(micros))),
        Err(_) => format!("in {}", span(Duration::from_micros(micros.unsigned_abs()))),
    }
}

/// Formats an instant in UTC with milliseconds.
pub fn instant(timestamp: Timestamp) -> String {
    format!("{timestamp:.3}")
}

/// Formats an instant as [`instant`] does; `-` for none.
pub fn maybe(timestamp: Option<Timestamp>) -> String {
    timestamp.map_or_else(|| "-".into(), instant)
}

/// Formats a number of bytes: `12 B`, `3.4 KiB`, `1.2 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while amount >= 1_023.95 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// Formats a number with separators: `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Formats an estimate with two significant digits: `about 950`, `about 45,000`, `about 3.2 million`.
pub fn about(value: u64) -> String {
    let scale = 10_u64.pow(value.checked_ilog10().unwrap_or(0).saturating_sub(1));
    let rounded = value.saturating_add(scale / 2) / scale * scale;
    let (unit, name) = match rounded {
        1_000_000_000.. => (1e9, "billion"),
        1_000_000.. => (1e6, "million"),
        _ => return format!("about {}", number(rounded)),
    };
    format!("about {} {name}", rounded as f64 / unit)
}

/// Formats the number of tasks in a state, marked with `about` if the database only estimates it.
pub fn tasks(status: &StoreStatus, state: TaskState) -> String {
    let at = state.code() as usize;
    if status.estimated[at] { about(status.by_state[at]) } else { number(status.by_state[at]) }
}

/// Returns the states whose numbers are estimates, for JSON output.
pub fn estimated(status: &StoreStatus) -> Vec<&'static str> {
    TaskState::ALL.iter().filter(|state| status.estimated[state.code() as usize]).map(|state| state.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_look_like_estimates() {
        for (value, shown) in [
            (0, "about 0"),
            (7, "about 7"),
            (949, "about 950"),
            (45_321, "about 45,000"),
            (999_999, "about 1 million"),
            (3_198_244, "about 3.2 million"),
            (12_000_000, "about 12 million"),
            (1_449_000_000, "about 1.4 billion"),
        ] {
            assert_eq!(about(value), shown);
        }
        assert!(about(u64::MAX).ends_with(" billion"));
    }

    #[test]
    fn words_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_536, 1_048_575].map(size), ["0 B", "1023 B", "1.5 KiB", "1.0 MiB"]);
        let then = Timestamp::from_second(100).unwrap();
        assert_eq!(ago(Timestamp::from_second(105).unwrap(), then), "5.0s ago");
        assert_eq!(ago(then, Timestamp::from_second(120).unwrap()), "in 20s");
        assert_eq!(instant(then), "1970-01-01T00:01:40.000Z");
    }
}
