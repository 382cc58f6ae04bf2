//! Expected times by hand: what runs in the gaps and folds of zones with unusual changes of offset.

use crate::zones::bundled;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use taskyard_cron::Cron;

/// Returns the schedule's times in the zone after an instant, as civil times of the zone.
fn times(text: &str, zone: &str, after: &str, count: usize) -> String {
    let cron = Cron::parse(text).unwrap();
    let zone = bundled(zone);
    let after: Timestamp = after.parse().unwrap();
    let shown = cron.upcoming(after, &zone).take(count).map(|time| {
        let time = time.to_zoned(zone.clone());
        time.strftime("%d %H:%M:%S %:z").to_string().replace(":00 ", " ")
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_fixed_schedule_runs_once_for_what_a_gap_swallows() {
    let new_york = |text: &str, count| times(text, "America/New_York", "2026-03-08T04:00Z", count);
    assert_eq!(new_york("30 2 * * *", 2), "08 03:00 -04:00, 09 02:30 -04:00");
    assert_eq!(new_york("0,30 2 * * *", 3), "08 03:00 -04:00, 09 02:00 -04:00, 09 02:30 -04:00");
    assert_eq!(new_york("0 2,14 * * *", 2), "08 03:00 -04:00, 08 14:00 -04:00");
    assert_eq!(new_york("30 1-3 * * *", 3), "08 01:30 -05:00, 08 03:00 -04:00, 08 03:30 -04:00");
    // Two times at the same instant are one run.
    assert_eq!(new_york("0 2,3 * * *", 2), "08 03:00 -04:00, 09 02:00 -04:00");
    // The hour before a gap is not special.
    assert_eq!(new_york("30 1 * * *", 2), "08 01:30 -05:00, 09 01:30 -04:00");
    // Seconds do not make a schedule a wildcard: all of them are in the gap, and one run makes up for them.
    assert_eq!(new_york("*/20 59 2 * * *", 2), "08 03:00 -04:00, 09 02:59 -04:00");
}

#[test]
fn a_wildcard_runs_by_what_the_clock_shows() {
    let new_york = |text: &str, count| times(text, "America/New_York", "2026-03-08T06:20Z", count);
    assert_eq!(new_york("*/30 * * * *", 3), "08 01:30 -05:00, 08 03:00 -04:00, 08 03:30 -04:00");
    assert_eq!(new_york("*/30 2 * * *", 2), "09 02:00 -04:00, 09 02:30 -04:00");
    assert_eq!(new_york("30 * * * *", 2), "08 01:30 -05:00, 08 03:30 -04:00");
    let back = |text: &str, count| times(text, "America/New_York", "2026-11-01T04:50Z", count);
    assert_eq!(back("*/30 1 * * *", 4), "01 01:00 -04:00, 01 01:30 -04:00, 01 01:00 -05:00, 01 01:30 -05:00");
    assert_eq!(back("30 * * * *", 3), "01 01:30 -04:00, 01 01:30 -05:00, 01 02:30 -05:00");
    // Fixed schedules are not repeated.
    assert_eq!(back("0,30 1 * * *", 3), "01 01:00 -04:00, 01 01:30 -04:00, 02 01:00 -05:00");
    assert_eq!(back("*/20 30 1 * * *", 4), "01 01:30 -04:00, 01 01:30:20 -04:00, 01 01:30:40 -04:00, 02 01:30 -05:00");
    // Starting in the middle of the repetition.
    assert_eq!(times("45 1 * * *", "America/New_York", "2026-11-01T06:10Z", 1), "02 01:45 -05:00");
}

#[test]
fn midnight_that_does_not_exist() {
    for (zone, after, expected) in [
        ("America/Havana", "2026-03-07T12:00Z", "08 01:00 -04:00, 09 00:00 -04:00"),
        ("Asia/Beirut", "2026-03-28T12:00Z", "29 01:00 +03:00, 30 00:00 +03:00"),
        ("Africa/Cairo", "2026-04-23T12:00Z", "24 01:00 +03:00, 25 00:00 +03:00"),
        ("Asia/Tehran", "2022-03-21T12:00Z", "22 01:00 +04:30, 23 00:00 +04:30"),
        ("America/Sao_Paulo", "2018-11-03T12:00Z", "04 01:00 -02:00, 05 00:00 -02:00"),
    ] {
        assert_eq!(times("@daily", zone, after, 2), expected, "{zone}");
    }
    // A midnight that occurs twice is one run of a fixed schedule.
    assert_eq!(times("@daily", "America/Havana", "2026-10-31T12:00Z", 2), "01 00:00 -04:00, 02 00:00 -05:00");
}

#[test]
fn a_gap_that_ends_on_the_next_day() {
    let nuuk = |text: &str| times(text, "America/Nuuk", "2026-03-27T12:00Z", 1);
    assert_eq!(nuuk("30 23 28 3 *"), "29 00:00 -01:00");
    assert_eq!(nuuk("30 22 28 3 *"), "28 22:30 -02:00");
    assert_eq!(
        times("30 23 * * *", "America/Nuuk", "2026-03-27T12:00Z", 3),
        "27 23:30 -02:00, 29 00:00 -01:00, 29 23:30 -01:00"
    );
}

#[test]
fn a_day_that_does_not_exist_is_lost() {
    let apia = |text: &str, count| times(text, "Pacific/Apia", "2011-12-29T00:00Z", count);
    assert_eq!(apia("0 9 * * *", 3), "29 09:00 -10:00, 31 09:00 +14:00, 01 09:00 +14:00");
    assert_eq!(apia("0 9 30 * *", 1), "30 09:00 +14:00");
    let kwajalein = times("0 9 * * *", "Pacific/Kwajalein", "1993-08-19T12:00Z", 3);
    assert_eq!(kwajalein, "19 09:00 -12:00, 20 09:00 -12:00, 22 09:00 +12:00");
}

#[test]
fn half_an_hour_two_hours_and_ramadan() {
    let howe = |text: &str| times(text, "Australia/Lord_Howe", "2026-10-03T12:00Z", 2);
    assert_eq!(howe("15 2 * * *"), "04 02:30 +11:00, 05 02:15 +11:00");
    assert_eq!(howe("*/15 2 * * *"), "04 02:30 +11:00, 04 02:45 +11:00");
    let back = times("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:20Z", 5);
    assert_eq!(back, "05 01:30 +11:00, 05 01:45 +11:00, 05 01:30 +10:30, 05 01:45 +10:30, 06 01:00 +10:30");
    let troll = |text: &str| times(text, "Antarctica/Troll", "2026-03-28T12:00Z", 2);
    assert_eq!(troll("30 1,2 * * *"), "29 03:00 +02:00, 30 01:30 +02:00");
    let casablanca = |text: &str, after| times(text, "Africa/Casablanca", after, 2);
    assert_eq!(casablanca("30 2 * * *", "2026-02-14T12:00Z"), "15 02:30 +01:00, 16 02:30 +00:00");
    assert_eq!(casablanca("30 2 * * *", "2026-03-21T12:00Z"), "22 03:00 +01:00, 23 02:30 +01:00");
}

#[test]
fn two_changes_within_an_hour() {
    // On 10 April the clock goes from 01:00 back to 00:00, and half an hour later from 00:30 forward to 01:30.
    let zone = TimeZone::posix("AAA0BBB-1,J100/0:30,J100/1:00").unwrap();
    let times = |text: &str| {
        let cron = Cron::parse(text).unwrap();
        let times = cron.upcoming("2026-04-09T22:00Z".parse().unwrap(), &zone).take(2);
        let shown: Vec<String> = times.map(|time| time.strftime("%d %H:%M").to_string()).collect();
        shown.join(", ")
    };
    // Shown before the first change, again after it, and skipped by the second one: once.
    assert_eq!(times("15 0 * * *"), "09 23:15, 10 23:15");
    assert_eq!(times("45 0 * * *"), "09 23:45, 10 23:45");
    // Never shown, but caught up.
    assert_eq!(times("15 1 * * *"), "10 00:30, 11 00:15");
    assert_eq!(times("*/45 0 * * *"), "09 23:00, 09 23:45");
}

#[test]
fn the_tz_database_is_built_in() {
    // Not the machine's: a container without /usr/share/zoneinfo has the same zones.
    let bundled = TimeZoneDatabase::bundled();
    assert!(bundled.get("Europe/Berlin").is_ok() && bundled.get("America/Nuuk").is_ok());
}
