//! Compares with the brute-force oracles around changes of offset of every kind, in many zones.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::Cron;

use crate::expression::{Expression, Item};
use crate::oracle::Window;
use crate::random::{Dialect, OURS, Random};
use crate::zones::bundled;

/// A zone, a time shortly before a change, and the number of minutes by which the clock jumps there.
pub const CHANGES: [(&str, &str, i64); 33] = [
    ("America/New_York", "2026-03-07T12:00Z", 60),
    ("America/New_York", "2026-10-31T12:00Z", -60),
    ("Europe/London", "2026-03-28T12:00Z", 60),
    ("Europe/London", "2026-10-24T12:00Z", -60),
    // Midnight does not exist; later it occurs twice.
    ("America/Havana", "2026-03-07T12:00Z", 60),
    ("America/Havana", "2026-10-31T12:00Z", -60),
    ("Asia/Beirut", "2026-03-28T12:00Z", 60),
    ("Asia/Beirut", "2026-10-24T12:00Z", -60),
    ("Africa/Cairo", "2026-04-23T12:00Z", 60),
    ("Africa/Cairo", "2026-10-29T12:00Z", -60),
    ("Asia/Tehran", "2022-03-21T12:00Z", 60),
    ("Asia/Tehran", "2022-09-21T12:00Z", -60),
    ("America/Sao_Paulo", "2018-11-03T12:00Z", 60),
    ("America/Sao_Paulo", "2019-02-16T12:00Z", -60),
    // Half an hour.
    ("Australia/Lord_Howe", "2026-10-03T12:00Z", 30),
    ("Australia/Lord_Howe", "2026-04-04T12:00Z", -30),
    // Back for Ramadan, forward after it.
    ("Africa/Casablanca", "2026-02-14T12:00Z", -60),
    ("Africa/Casablanca", "2026-03-21T12:00Z", 60),
    // Two hours.
    ("Antarctica/Troll", "2026-03-28T12:00Z", 120),
    ("Antarctica/Troll", "2026-10-24T12:00Z", -120),
    // The last hour of a day does not exist.
    ("America/Nuuk", "2026-03-28T12:00Z", 60),
    ("America/Nuuk", "2026-10-24T12:00Z", -60),
    // A whole day does not exist, or occurs twice.
    ("Pacific/Apia", "2011-12-29T12:00Z", 1_440),
    ("Pacific/Kwajalein", "1993-08-20T02:00Z", 1_440),
    ("Pacific/Kwajalein", "1969-09-30T02:00Z", -1_380),
    // Three hours: the largest gap that is caught up.
    ("Antarctica/Casey", "2009-10-17T12:00Z", 180),
    ("Antarctica/Casey", "2010-03-04T12:00Z", -180),
    // Seven hours.
    ("Antarctica/Vostok", "1994-01-31T12:00Z", -420),
    ("Antarctica/Vostok", "1994-10-31T12:00Z", 420),
    ("Antarctica/Davis", "2009-10-17T12:00Z", -120),
    ("Asia/Pyongyang", "2018-05-04T12:00Z", 30),
    ("America/Caracas", "2007-12-09T01:00Z", -30),
    ("Asia/Kathmandu", "1985-12-31T12:00Z", 15),
];

/// Returns the change after the given time.
pub fn change(zone: &TimeZone, after: &str, minutes: i64) -> i64 {
    let after: Timestamp = after.parse().unwrap();
    let offset = zone.to_offset(after).seconds();
    let change = zone.following(after).find(|change| change.offset().seconds() != offset).expect("a change follows");
    let width = i64::from(change.offset().seconds() - offset) / 60;
    let shown = format!("{} at {}", zone.iana_name().unwrap(), change.timestamp());
    assert_eq!(width, minutes, "{shown}");
    assert!(change.timestamp().duration_since(after).as_hours() < 48, "{shown}");
    change.timestamp().as_second()
}

/// Returns an expression with times near those that the clock shows around the change.
pub fn near(random: &mut Random, dialect: Dialect, zone: &TimeZone, change: i64) -> Expression {
    let mut expression = dialect.expression(random);
    let shown = |second: i64| zone.to_datetime(Timestamp::from_second(change + second).unwrap());
    let hour = |random: &mut Random| {
        let side = if random.chance(50) { shown(-1) } else { shown(0) };
        let hour = side.hour() as u32 + 24 + random.within(0, 4) - 2;
        hour % 24
    };
    if random.chance(60) {
        let count = random.within(1, 3);
        expression.parts[2].items = (0..count).map(|_| Item::One(hour(random))).collect();
    } else if random.chance(50) {
        let (mut first, mut last) = (hour(random), hour(random));
        if !dialect.own {
            (first, last) = (first.min(last), first.max(last));
        }
        let step = if first == last { 1 } else { random.within(1, 3) };
        expression.parts[2].items = vec![Item::Range(first, last, step)];
    }
    if random.chance(30) {
        expression.parts[1].items = vec![Item::One(random.within(0, 3) * 15)];
    }
    if random.chance(80) {
        for part in &mut expression.parts[3..] {
            part.items = vec![Item::Any(1)];
        }
    }
    if random.chance(20) {
        expression.parts[3].items = vec![Item::One(shown(-1).day() as u32), Item::One(shown(0).day() as u32)];
    }
    expression
}

/// Compares both directions of the search with the window's oracles.
pub fn compare(window: &Window, expression: &Expression) {
    let text = expression.text();
    let cron = match Cron::parse(&text) {
        Ok(cron) => cron,
        Err(error) => {
            assert!(error.message().contains("ever has such a day") || error.message().contains("no day of any year"));
            return;
        }
    };
    let expected = window.times(expression);
    let stamp = |second| Timestamp::from_second(second).unwrap();
    let upcoming: Vec<i64> = cron
        .upcoming(stamp(window.from), &window.zone)
        .map(|time| time.as_second())
        .take_while(|second| *second < window.to)
        .collect();
    assert_eq!(upcoming, expected, "{text}");
    let before = |before| cron.previous_before(before, &window.zone);
    let mut past: Vec<i64> = std::iter::successors(before(stamp(window.to)), |last| before(*last))
        .map(|time| time.as_second())
        .take_while(|second| *second > window.from)
        .collect();
    past.reverse();
    assert_eq!(past, expected, "backwards: {text}");
}

#[test]
fn seven_hundred_expressions_around_every_change() {
    for (name, after, minutes) in CHANGES {
        let zone = bundled(name);
        let change = change(&zone, after, minutes);
        let day = 86_400;
        // Deliberately not aligned to the hour; full minutes.
        let window = Window::new(&zone, change - 2 * day - 420, change + 2 * day + 660, 60);
        let mut random = Random(change as u64);
        for _ in 0..700 {
            compare(&window, &near(&mut random, OURS, &zone, change));
        }
    }
}

#[test]
fn with_seconds_around_every_change() {
    for (name, after, minutes) in CHANGES {
        let zone = bundled(name);
        let change = change(&zone, after, minutes);
        let window = Window::new(&zone, change - 6_001, change + 6_001, 1);
        let mut random = Random(change as u64);
        for _ in 0..12 {
            compare(&window, &near(&mut random, Dialect { seconds: true, ..OURS }, &zone, change));
        }
    }
}
