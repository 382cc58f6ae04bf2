//! Durations in `@every` and `@after`, exact to the microsecond in both directions.
//!
//! Numbers with their units, the largest unit first: `90s`, `1h30m`, `2d`, `1.5s`, `250ms`.

use std::time::Duration;

use crate::{Error, Result};

/// The units in their required order, in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];
/// Longest duration: a hundred years.
const LONGEST_US: u64 = 100 * 366 * 86_400_000_000;

/// Parses a duration.
///
/// # Errors
/// [`Error::InvalidSchedule`] with the position.
pub(crate) fn parse(text: &str) -> Result<Duration> {
    let wrong = |rest: &str, why: &str| {
        let at = text.chars().count() - rest.chars().count() + 1;
        Error::InvalidSchedule(format!(
            "`{}`: {why} (character {at}); write for example 90s, 1h30m, 2d or 1.5s",
            text.escape_debug()
        ))
    };
    let (mut rest, mut micros, mut units) = (text, 0_u64, UNITS.as_slice());
    while !rest.is_empty() {
        let number = &rest[..rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len())];
        let behind = &rest[number.len()..];
        let word = &behind[..behind.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(behind.len())];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_number = whole.chars().all(|digit| digit.is_ascii_digit()) && !whole.is_empty();
        let has_fraction = number.contains('.');
        if !is_number || (has_fraction && (fraction.is_empty() || fraction.contains('.'))) {
            return Err(wrong(rest, "a number is expected here"));
        }
        let place = units.iter().position(|(unit, _)| *unit == word);
        let Some(place) = place else {
            let known = UNITS.iter().any(|(unit, _)| *unit == word);
            let why =
                if known { "larger units come first, each at most once" } else { "a unit is w, d, h, m, s or ms" };
            return Err(wrong(behind, why));
        };
        let unit = units[place].1;
        units = &units[place + 1..];
        let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit));
        let part = match fraction.get(..fraction.len().min(18)) {
            Some(digits) if !digits.is_empty() => {
                let scale = 10_u128.pow(digits.len() as u32);
                let scaled = digits.parse::<u128>().unwrap_or(0) * u128::from(unit);
                if scaled % scale != 0 || digits.len() < fraction.len() {
                    return Err(wrong(rest, "it is finer than a microsecond"));
                }
                u64::try_from(scaled / scale).unwrap_or(u64::MAX)
            }
            _ => 0,
        };
        let sum = whole.and_then(|whole| micros.checked_add(whole)?.checked_add(part));
        micros = sum.filter(|sum| *sum <= LONGEST_US).ok_or_else(|| wrong(rest, "it is over a hundred years"))?;
        rest = &behind[word.len()..];
    }
    if text.is_empty() {
        return Err(wrong(text, "the length is missing"));
    }
    Ok(Duration::from_micros(micros))
}

/// Formats a duration so that it parses back to the same value; fractions of a microsecond are cut off.
#[must_use]
pub fn words(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut words = String::new();
    for (unit, size) in &UNITS[1..4] {
        if micros >= *size {
            words += &format!("{}{unit}", micros / size);
            micros %= size;
        }
    }
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest > 0 {
        words += format!("{seconds}.{rest:06}").trim_end_matches('0');
        words.push('s');
    } else if seconds > 0 || words.is_empty() {
        words += &format!("{seconds}s");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for micros in [0, 1, 999, 1_000, 1_500_000, 60_000_000, 5_400_000_000, 86_400_000_000, 90_061_000_001] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse(&words(duration)).unwrap(), duration, "{}", words(duration));
        }
        assert_eq!(words(Duration::from_secs(5_400)), "1h30m");
        assert_eq!(parse("1w2d3h4m5s6ms").unwrap(), Duration::from_millis(788_645_006));
        assert_eq!(parse("0.25h").unwrap(), Duration::from_secs(900));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            ("", "missing"),
            ("5", "unit"),
            ("m", "number"),
            ("1x", "unit"),
            ("-1s", "number"),
            ("1s1h", "larger"),
            ("1s1s", "larger"),
            ("1.s", "number"),
            ("1..5s", "number"),
            ("1 s", "unit"),
            ("300y", "unit"),
            ("36601d", "hundred"),
            ("99999999999999999999s", "hundred"),
            ("0.0000001s", "finer"),
            ("½h", "number"),
            ("1h½", "number"),
            ("1.0000000000000000000000001s", "finer"),
        ];
        for (text, word) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(parse("1h-5m").unwrap_err().to_string().contains("character 3"));
    }
}
