//! Tests of durations: every text that one of the earlier parsers read has the value that it had.

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Texts that settings and options accepted and schedules did not: numbers alone, spaces, and more than microseconds.
const LOOSE: [(&str, Duration); 9] = [
    ("30", ms(30_000)),
    ("1.5", ms(1_500)),
    ("0", ms(0)),
    (".5", ms(500)),
    ("30 ", ms(30_000)),
    ("0.000000001", Duration::from_nanos(1)),
    ("0.3333333333333333", Duration::from_nanos(333_333_333)),
    ("0.0001ms", Duration::from_nanos(100)),
    ("3162240000.5", Duration::new(3_162_240_000, 500_000_000)),
];

/// Texts that each of the parsers accepted, in their own part of the grammar.
const BOTH: [(&str, Duration); 20] = [
    ("0s", ms(0)),
    ("250ms", ms(250)),
    ("0.5ms", Duration::from_micros(500)),
    ("30s", ms(30_000)),
    ("1.5s", ms(1_500)),
    ("5.s", ms(5_000)),
    (".5s", ms(500)),
    ("5m", ms(300_000)),
    ("2h", ms(7_200_000)),
    ("7d", ms(604_800_000)),
    ("1.5d", ms(129_600_000)),
    ("36600d", MAX),
    ("30 s", ms(30_000)),
    ("30  ms ", ms(30_000 / 1_000)),
    ("1h30m", ms(5_400_000)),
    ("0.25h", ms(900_000)),
    ("0.5h30m", ms(3_600_000)),
    ("1w2d3h4m5s6ms", ms(788_645_006)),
    ("1m1s", ms(61_000)),
    ("007s", ms(7_000)),
];

#[test]
fn all_texts_of_the_earlier_parsers_are_accepted() {
    for (text, value) in LOOSE.iter().chain(&BOTH) {
        assert_eq!(parse(text), Ok(*value), "{text}");
    }
    for (text, value) in BOTH {
        assert_eq!(parse_exact(text), Ok(value), "{text}");
    }
}

#[test]
fn errors_name_the_reason_and_the_place() {
    let refused_by_both = [
        ("", "empty (character 1)"),
        ("  ", "empty (character 3)"),
        ("soon", "number is expected here (character 1)"),
        ("m", "number"),
        (".", "number"),
        (".s", "number"),
        ("1..5s", "number"),
        ("-1s", "number"),
        ("+1s", "number"),
        ("½h", "number"),
        ("1h½", "number is expected here (character 3)"),
        ("1h-5m", "number is expected here (character 3)"),
        ("1h, 5m", "number"),
        ("1x", "unit is w, d, h, m, s or ms (character 2)"),
        ("1e3", "unit"),
        ("1_000", "unit"),
        ("1h30", "unit"),
        ("30 1s", "unit"),
        ("300y", "unit"),
        ("5us", "unit"),
        ("1hour", "unit"),
        ("6M", "unit"),
        ("1H", "unit"),
        ("1s1h", "larger units come first"),
        ("1s1s", "larger"),
        ("36601d", "hundred years"),
        ("99999999999999999999s", "hundred"),
        ("999999999999999999999999999999999999999999999w", "hundred"),
        ("36600d1s", "hundred years (character 7)"),
        ("5'; DROP", "unit"),
    ];
    for (text, why) in refused_by_both {
        for error in [parse(text).unwrap_err(), parse_exact(text).unwrap_err()] {
            assert!(error.contains(why) && error.contains("is not a duration"), "{text}: {error}");
        }
    }
    let refused_if_exact =
        [("5", "unit"), ("1.5 ", "unit"), ("0.0000001s", "finer"), ("1.0000000000000000000000001s", "finer")];
    for (text, why) in refused_if_exact {
        let error = parse_exact(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn people_read_two_units() {
    for (duration, shown) in [
        (ms(850), "850ms"),
        (ms(4_200), "4.2s"),
        (ms(59_000), "59s"),
        (ms(200_000), "3m 20s"),
        (Duration::from_secs(5 * 3_600 + 12 * 60), "5h 12m"),
        (Duration::from_secs(9 * 86_400 + 3 * 3_600), "9d 3h"),
    ] {
        assert_eq!(rounded(duration), shown);
        assert_eq!(parse(shown), Ok(duration), "what is shown is read");
    }
}

#[test]
fn an_exact_text_is_short() {
    for (micros, text) in [(0, "0s"), (1, "0.000001s"), (5_400_000_000, "1h30m"), (90_061_500_000, "1d1h1m1.5s")] {
        assert_eq!(exact(Duration::from_micros(micros)), text);
    }
}

/// Reads a text as settings did before this module: one number and one unit, as a float.
fn of_settings(text: &str) -> Option<f64> {
    let at = text.find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    let units = [("", 1.0), ("s", 1.0), ("ms", 0.001), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    let unit = units.iter().find(|(unit, _)| *unit == text[at..].trim())?.1;
    let seconds = Duration::try_from_secs_f64(number * unit).ok()?;
    (seconds.as_secs() <= MAX.as_secs()).then_some(number * unit)
}

/// Reads a text in the friendly format of jiff, with days of 24 hours.
fn of_jiff(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

proptest! {
    #[test]
    fn exact_texts_read_back(micros in 0_u64..3_162_240_000_000_000) {
        let duration = Duration::from_micros(micros);
        prop_assert_eq!(parse_exact(&exact(duration)), Ok(duration));
        prop_assert_eq!(of_jiff(&exact(duration)), Some(duration));
    }

    #[test]
    fn settings_have_the_values_that_they_had(text in r"[0-9]{0,9}\.?[0-9]{0,9} ?(|ms|s|m|h|d|w|x)") {
        match of_settings(&text) {
            Some(seconds) => {
                let read = parse(&text).unwrap().as_secs_f64();
                // A float of many seconds has no nanoseconds.
                prop_assert!((read - seconds).abs() <= 1e-9 + seconds * 1e-15, "{text}: {read} for {seconds}");
            }
            None if text.trim_end().ends_with('w') => {}
            None => prop_assert!(parse(&text).is_err(), "{text}"),
        }
    }

    /// Texts that both read have one value; only this module reads fractions that are not last, or of days and weeks.
    #[test]
    fn jiff_reads_the_same(parts in prop::collection::vec((r"[0-9]{1,4}(\.[0-9]{1,6})?", r" ?(w|d|h|m|s|ms|y|x| ) ?"), 1..4)) {
        let text: String = parts.iter().flat_map(|(number, unit)| [number.as_str(), unit]).collect();
        if let (Ok(ours), Some(theirs)) = (parse_exact(text.trim()), of_jiff(text.trim())) {
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }

    #[test]
    fn every_of_cron_reads_the_same(text in r"([0-9]{1,3}h)?([0-9]{1,3}m)?([0-9]{1,5}s)?") {
        if let Ok(taskyard_cron::Rule::Every(interval)) = taskyard_cron::Rule::parse(&format!("@every {text}")) {
            prop_assert_eq!(parse_exact(&text), Ok(interval));
        }
    }

    #[test]
    fn no_text_panics(text in r"\PC{0,12}") {
        let (loose, exact) = (parse(&text), parse_exact(&text));
        prop_assert!(exact.is_err() || exact == loose);
    }
}
