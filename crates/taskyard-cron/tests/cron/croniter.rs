//! Compares with the results of croniter 7.0.0 in `tests/oracles/from_croniter.txt`; the script beside it generates
//! them and documents what is left out.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::Cron;

#[test]
fn five_thousand_expressions_in_utc() {
    let lines = include_str!("../oracles/from_croniter.txt").lines();
    let mut compared = 0;
    for line in lines {
        let (text, numbers) = line.split_once('\t').unwrap();
        let mut minute = 0;
        let minutes: Vec<i64> = numbers
            .split(' ')
            .map(|number| {
                minute += number.parse::<i64>().unwrap();
                minute
            })
            .collect();
        let cron = Cron::parse(text).unwrap_or_else(|error| panic!("{text}\n{}", error.diagram()));
        let from = Timestamp::from_second(minutes[0] * 60).unwrap();
        let found: Vec<i64> =
            cron.upcoming(from, &TimeZone::UTC).take(minutes.len() - 1).map(|time| time.as_second() / 60).collect();
        assert_eq!(found, minutes[1..], "{text} after {from}");
        compared += 1;
    }
    assert_eq!(compared, 5_000);
}
