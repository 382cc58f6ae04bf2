//! Durations as text: the one grammar of settings, options, rates and schedules, and both ways to print a duration.
//!
//! A duration is one or more numbers with their units, the largest unit first: `90s`, `1h30m`, `1.5d`, `250 ms`. Texts
//! that the friendly format of jiff reads as well have the same value there (a test compares them). jiff itself cannot
//! read them: it refuses `1.5d` and `0.5h30m`, accepts months and negative durations, and does not say which character
//! is wrong. Units are in lower case, because `6M` might mean months.
//!
//! Two readers of durations remain elsewhere, because they cannot depend on this crate: `#[task(timeout = "…")]`
//! accepts the texts of [`parse_exact`] at compile time (`taskyard-macros`), and [`taskyard_cron`] has an `@every` of
//! its own, with hours, minutes and seconds.
//! Must hold: [`parse_exact`] of [`exact`] returns the same microseconds.

use std::time::Duration;

/// The units in their required order, in nanoseconds.
const UNITS: [(&str, u128); 6] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", SECOND),
    ("ms", 1_000_000),
];
const SECOND: u128 = 1_000_000_000;

/// A hundred years: a longer duration is a mistake in the unit, and would exceed the databases' range of instants.
pub const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Digits of a fraction that count. A unit of the next one is less than a thousandth of a nanosecond.
const FRACTION_MAX: usize = 18;

/// Parses a duration. A number alone is in seconds. The result is rounded to a nanosecond.
///
/// ```
/// use std::time::Duration;
/// use taskyard_core::duration::parse;
///
/// assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5_400)));
/// assert_eq!(parse("1.5"), Ok(Duration::from_millis(1_500)));
/// assert!(parse("soon").is_err());
/// ```
///
/// # Errors
/// The reason as a sentence, with the position and examples.
pub fn parse(text: &str) -> Result<Duration, String> {
    read(text, true)
}

/// Parses a duration that is stored as text: each number has its unit, and the result is exact to the microsecond.
///
/// # Errors
/// The reason as a sentence, with the position and examples.
pub fn parse_exact(text: &str) -> Result<Duration, String> {
    read(text, false)
}

/// `is_loose`: a number may be alone, and finer than a microsecond.
fn read(text: &str, is_loose: bool) -> Result<Duration, String> {
    let wrong = |rest: &str, why: &str| {
        let at = text.chars().count() - rest.chars().count() + 1;
        let seconds = if is_loose { "30 (seconds), " } else { "" };
        Err(format!(
            "`{}` is not a duration: {why} (character {at}); write for example {seconds}90s, 1h30m, 2d or 1.5s",
            text.escape_debug()
        ))
    };
    let (mut rest, mut nanos, mut units) = (text.trim_start(), 0_u128, UNITS.as_slice());
    if rest.is_empty() {
        return wrong(rest, "it is empty");
    }
    while !rest.is_empty() {
        let (number, behind) = split(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return wrong(rest, "a number is expected here");
        }
        let fraction = fraction.trim_end_matches('0');
        let (word, next) = split(behind.trim_start(), |letter| letter.is_ascii_alphabetic());
        let is_alone = is_loose && word.is_empty() && next.is_empty() && units.len() == UNITS.len();
        let word = if is_alone { "s" } else { word };
        let has_name = |(unit, _): &(&str, u128)| *unit == word;
        let Some(place) = units.iter().position(has_name) else {
            let is_known = UNITS.iter().any(has_name);
            let why =
                if is_known { "larger units come first, each at most once" } else { "a unit is w, d, h, m, s or ms" };
            return wrong(behind, why);
        };
        let unit = units[place].1;
        units = &units[place + 1..];
        let counted = &fraction[..fraction.len().min(FRACTION_MAX)];
        let scale = 10_u128.pow(counted.len() as u32);
        let part = counted.parse::<u128>().unwrap_or(0) * unit;
        if !is_loose && (part % (scale * 1_000) != 0 || counted.len() < fraction.len()) {
            return wrong(rest, "it is finer than a microsecond");
        }
        // A number of more digits than fit is too long as well.
        let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u128::MAX) };
        nanos = whole.saturating_mul(unit).saturating_add(nanos + (part + scale / 2) / scale);
        if nanos / SECOND > u128::from(MAX.as_secs()) {
            return wrong(rest, "it is over a hundred years");
        }
        rest = next.trim_start();
    }
    Ok(Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32))
}

/// Splits a text behind its leading letters of a class.
fn split(text: &str, is_one: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !is_one(letter)).unwrap_or(text.len()))
}

/// Formats a duration so that it parses back to the same value: `1h30m`, `1.5s`. Fractions of a microsecond are cut
/// off.
#[must_use]
pub fn exact(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut words = String::new();
    for (unit, size) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)] {
        if micros >= size {
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

/// Formats a duration for people, in its two largest units: `850ms`, `4.2s`, `3m 20s`, `5h 12m`, `9d 3h`.
#[must_use]
pub fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests;
