//! Compares with croner, for expressions that have the same meaning in both dialects.

use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::Cron;

use crate::random::{Dialect, Random};
use crate::transitions::{CHANGES, change, near};
use crate::zones::bundled;

const COMMON: Dialect = Dialect { seconds: false, own: false, special: true, any_day: 40 };

fn croner(text: &str) -> Option<croner::Cron> {
    CronParser::builder().seconds(Seconds::Optional).build().parse(text).ok()
}

/// Compares the next times of both engines, up to croner's first error.
fn compare(text: &str, zone: &TimeZone, from: i64, count: usize) -> bool {
    let from = Timestamp::from_second(from).unwrap();
    let theirs = croner(text).unwrap_or_else(|| panic!("croner refuses {text}"));
    let Ok(ours) = Cron::parse(text) else {
        let found = theirs.find_next_occurrence(&from.to_zoned(zone.clone()), false);
        assert!(found.is_err(), "we refuse {text}, croner finds {found:?}");
        return false;
    };
    let expected: Vec<Timestamp> =
        theirs.iter_after(from.to_zoned(zone.clone())).take(count).map(|time| time.timestamp()).collect();
    let found: Vec<Timestamp> = ours.upcoming(from, zone).take(expected.len()).collect();
    assert_eq!(found, expected, "{text} after {from}");
    true
}

#[test]
fn six_thousand_expressions_in_utc() {
    let mut random = Random(20_261_121);
    let mut compared = 0;
    for _ in 0..6_000 {
        let dialect = Dialect { seconds: random.chance(20), ..COMMON };
        let text = dialect.expression(&mut random).text();
        let from = random.instant(1_500_000_000, 2_500_000_000);
        compared += usize::from(compare(&text, &TimeZone::UTC, from, 5));
    }
    assert!(compared > 5_000, "{compared}");
}

/// Returns whether both engines treat the expression as the same kind: a single minute in a single hour is fixed for
/// both, a field with `*` in the minute or hour a wildcard. In between, croner takes a list for a wildcard and this
/// crate does not.
fn kinds_agree(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let single = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    words[0].starts_with('*') || words[1].starts_with('*') || (single(words[0]) && single(words[1]))
}

#[test]
fn around_changes_of_offset_where_the_kinds_agree() {
    let mut compared = 0;
    for (name, after, minutes) in CHANGES {
        // croner does not run times skipped by a gap before midnight, and ends at gaps of more than a day.
        if minutes > 180 || name == "America/Nuuk" {
            continue;
        }
        let zone = bundled(name);
        let change = change(&zone, after, minutes);
        let mut random = Random(change as u64);
        for _ in 0..700 {
            let text = near(&mut random, COMMON, &zone, change).text();
            if kinds_agree(&text) {
                compared += usize::from(compare(&text, &zone, change - 90_000, 12));
            }
        }
    }
    assert!(compared > 7_000, "{compared}");
}
