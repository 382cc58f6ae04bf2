//! Durations in options, such as `timeout = "1h30m"`, read at compile time.
//!
//! The grammar is that of `taskyard_core::duration::parse_exact`, and a test compares the two. It is repeated here
//! because a macro that depends on the core would make every application compile the core a second time, for the
//! compiler itself.

/// The units in their required order, in microseconds.
const UNITS: [(&str, u128); 6] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];
/// A hundred years.
const MAX_SECONDS: u128 = 100 * 366 * 86_400;

/// Parses numbers with their units, and returns microseconds; `None` for any other text.
pub(crate) fn micros(text: &str) -> Option<u64> {
    let (mut rest, mut micros, mut units) = (text.trim(), 0_u128, UNITS.as_slice());
    while !rest.is_empty() || units.len() == UNITS.len() {
        let (number, behind) = split(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (word, next) = split(behind.trim_start(), |letter| letter.is_ascii_alphabetic());
        let place = units.iter().position(|(unit, _)| *unit == word)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let scaled = format!("{whole}{fraction}").parse::<u128>().ok()?.checked_mul(units[place].1)?;
        if scaled % scale != 0 {
            return None;
        }
        micros = micros.checked_add(scaled / scale)?;
        (rest, units) = (next.trim_start(), &units[place + 1..]);
    }
    u64::try_from(micros).ok().filter(|_| micros / 1_000_000 <= MAX_SECONDS)
}

/// Splits a text behind its leading letters of a class.
fn split(text: &str, is_one: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !is_one(letter)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use taskyard_core::duration::parse_exact;

    use super::*;

    #[test]
    fn the_core_reads_the_same() {
        let numbers = ["0", "7", "007", "1.5", "0.25", "5.", ".5", "0.000001", "36600", "99999999999999999999"];
        let wrong = ["", ".", "1..5", "-1", "+1", "1_0", "1e3", "½", "0.0000001", "1.0000000000000000000000001"];
        let units =
            ["w", "d", "h", "m", "s", "ms", "", "x", "M", "us", "hour", " s", "  ms ", "s1", "m 5", "h30m", "s1h"];
        let more = ["1w2d3h4m5s6ms", "0.5h30m", "1s1s", "1h-5m", "1h, 5m", "half an hour", " 90s ", "36600d1s", "  "];
        let numbers = || numbers.into_iter().chain(wrong);
        let texts = numbers().flat_map(|number| units.map(|unit| format!("{number}{unit}")));
        let mut accepted = 0;
        for text in texts.chain(more.map(str::to_owned)) {
            let read = parse_exact(&text).ok().map(|duration| duration.as_micros() as u64);
            assert_eq!(micros(&text), read, "`{text}`");
            accepted += u32::from(read.is_some());
        }
        assert!(accepted > 70, "{accepted}");
    }
}
