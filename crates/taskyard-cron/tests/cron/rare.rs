//! Schedules whose times are far apart, and the limits of representable time.

use crate::zones::bundled;
use jiff::civil::{Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use taskyard_cron::{Cron, Options};

const BOTH: Options<'_> = Options { hash_seed: None, day_and: true, vixie_star: false };

fn midnight(date: civil::Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(date.into()).unwrap()
}

#[test]
fn leap_days_across_a_century() {
    let cron = Cron::parse("0 0 29 2 *").unwrap();
    let years = [2096, 2104, 2108, 2112];
    let found: Vec<Timestamp> = cron.upcoming(midnight(date(2095, 6, 1)), &TimeZone::UTC).take(4).collect();
    assert_eq!(found, years.map(|year| midnight(date(year, 2, 29))));
    for pair in found.windows(2) {
        assert_eq!(cron.previous_before(pair[1], &TimeZone::UTC), Some(pair[0]));
    }
}

#[test]
fn a_leap_day_on_each_weekday_over_four_hundred_years() {
    for weekday in 0..7 {
        let cron = Cron::parse_with(&format!("0 0 29 2 {weekday}"), &BOTH).unwrap();
        let mut expected = Vec::new();
        for year in 1800..2260 {
            if let Ok(day) = civil::Date::new(year, 2, 29)
                && day.weekday() == Weekday::from_sunday_zero_offset(weekday).unwrap()
            {
                expected.push(midnight(day));
            }
        }
        let mut at = expected[0];
        for next in &expected[1..] {
            assert_eq!(cron.next_after(at, &TimeZone::UTC), Some(*next), "{cron} after {at}");
            assert_eq!(cron.previous_before(*next, &TimeZone::UTC), Some(at), "{cron} before {next}");
            at = *next;
        }
        // The same days in another notation.
        let fifth = Cron::parse(&format!("0 0 * 2 {weekday}#5")).unwrap();
        assert!(fifth.upcoming(expected[0], &TimeZone::UTC).take(expected.len() - 1).eq(expected[1..].iter().copied()));
    }
}

#[test]
fn the_year_changes() {
    let zone = bundled("Pacific/Auckland");
    let cron = Cron::parse("59,0 23,0 31,1 12,1 *").unwrap();
    let from = zone.to_timestamp(date(2026, 12, 31).at(22, 0, 0, 0)).unwrap();
    let found: Vec<String> =
        cron.upcoming(from, &zone).take(4).map(|time| zone.to_datetime(time).to_string()).collect();
    assert_eq!(found, ["2026-12-31T23:00:00", "2026-12-31T23:59:00", "2027-01-01T00:00:00", "2027-01-01T00:59:00"]);
}

#[test]
fn the_ends_of_time() {
    let texts = ["* * * * * *", "* * * * *", "0 0 29 2 *", "59 23 31 12 *", "0 0 1 1 *", "30 2 * * *", "0 0 LW 2 5#5"];
    for name in ["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Apia", "Antarctica/Troll", "Etc/GMT+12"] {
        let zone = bundled(name);
        for text in texts {
            let cron = Cron::parse(text).unwrap();
            assert_eq!(cron.next_after(Timestamp::MAX, &zone), None, "{text} in {name}");
            assert_eq!(cron.previous_before(Timestamp::MIN, &zone), None, "{text} in {name}");
            let last = cron.previous_before(Timestamp::MAX, &zone).unwrap();
            assert!(cron.next_after(last, &zone).is_none_or(|next| next == Timestamp::MAX), "{text} in {name}");
            let first = cron.next_after(Timestamp::MIN, &zone).unwrap();
            assert!(cron.previous_before(first, &zone).is_none_or(|first| first == Timestamp::MIN), "{text} in {name}");
        }
    }
}

#[test]
fn a_wildcard_that_lies_in_a_gap_every_year_never_runs() {
    let zone = bundled("America/New_York");
    let from = midnight(date(2026, 1, 1));
    // The second Sunday of March, between two and three o'clock.
    assert_eq!(Cron::parse("*/30 2 * 3 SUN#2").unwrap().next_after(from, &zone), None);
    let fixed = Cron::parse("0,30 2 * 3 SUN#2").unwrap();
    let found: Vec<String> = fixed.upcoming(from, &zone).take(2).map(|time| time.to_string()).collect();
    assert_eq!(found, ["2026-03-08T07:00:00Z", "2027-03-14T07:00:00Z"]);
}
