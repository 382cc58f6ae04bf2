//! Owns the comparison with croner, where its dialect and ours say the same.

use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::Cron;

use crate::random::{Dialect, Random};

const COMMON: Dialect = Dialect { seconds: false, own: false, special: true, any_day: 40 };

fn croner(text: &str) -> Option<croner::Cron> {
    CronParser::builder().seconds(Seconds::Optional).build().parse(text).ok()
}

/// The next times of both engines; croner's end at its first error.
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
