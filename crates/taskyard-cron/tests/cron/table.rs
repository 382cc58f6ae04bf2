//! The dialect, form by form: the times of each form in UTC from Friday, 2026-11-20 on.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::{Cron, Options, Rule};

/// Static, because iterators that outlive a statement borrow it.
static UTC: TimeZone = TimeZone::UTC;
const FROM: &str = "2026-11-20T00:00Z";

/// Returns the first times, without the year if it is 2026 and without the time if it is midnight.
fn times_with(text: &str, options: &Options<'_>, count: usize) -> String {
    let cron = Cron::parse_with(text, options).unwrap_or_else(|error| panic!("{text}\n{}", error.diagram()));
    let from: Timestamp = FROM.parse().unwrap();
    let times = cron.upcoming(from, &UTC).take(count);
    let shown = times.map(|time| {
        let full = time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let short = full.strip_suffix(":00").unwrap_or(&full);
        let short = short.strip_suffix(" 00:00").unwrap_or(short);
        short.strip_prefix("2026-").unwrap_or(short).to_owned()
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let count = expected.split(", ").count();
        assert_eq!(times_with(text, &Options::default(), count), *expected, "{text}");
    }
}

#[test]
fn a_day_needs_one_of_the_two_day_fields() {
    check(&[
        ("0 0 1 * MON", "11-23, 11-30, 12-01, 12-07"),
        ("0 0 1 * *", "12-01, 2027-01-01"),
        ("0 0 * * MON", "11-23, 11-30"),
        // Only `*` and `?` themselves are "not given".
        ("0 0 */2 * MON", "11-21, 11-23, 11-25, 11-27, 11-29, 11-30, 12-01"),
        ("0 0 *,10 * MON", "11-21, 11-22, 11-23"),
        ("0 0 1-31 * MON", "11-21, 11-22, 11-23"),
        ("0 0 10 * 0-6", "11-21, 11-22, 11-23"),
        ("0 0 13 * 1#1", "12-07, 12-13, 2027-01-04, 2027-01-13"),
        ("0 0 ? * MON", "11-23, 11-30"),
        ("0 0 1 * ?", "12-01, 2027-01-01"),
        ("0 0 ? * ?", "11-21, 11-22"),
        ("0 0 31 2 0", "2027-02-07, 2027-02-14, 2027-02-21, 2027-02-28, 2028-02-06"),
    ]);
    let both = Options { day_and: true, ..Options::default() };
    assert_eq!(times_with("0 0 1 * MON", &both, 3), "2027-02-01, 2027-03-01, 2027-11-01");
    assert_eq!(times_with("0 0 13 * FRI", &both, 3), "2027-08-13, 2028-10-13, 2029-04-13");
    let vixie = Options { vixie_star: true, ..Options::default() };
    assert_eq!(times_with("0 0 */2 * MON", &vixie, 3), "11-23, 12-07, 12-21");
    assert_eq!(times_with("0 0 *,10 * MON", &vixie, 2), "11-23, 11-30");
    assert_eq!(times_with("0 0 1-31 * MON", &vixie, 2), "11-21, 11-22");
    assert_eq!(times_with("0 0 1 * */2", &vixie, 2), "12-01, 2027-04-01");
}

#[test]
fn values_ranges_lists_and_steps() {
    check(&[
        ("0 0 * * 0", "11-22, 11-29"),
        ("0 0 * * 7", "11-22, 11-29"),
        ("0 0 * * 0-7", "11-21, 11-22, 11-23"),
        ("0 0 * * 6-7", "11-21, 11-22, 11-28"),
        ("0 0 * * 7-1", "11-22, 11-23, 11-29"),
        ("0 0 * * 7-7", "11-22, 11-29"),
        ("0 0 * * SAT-SUN", "11-21, 11-22, 11-28"),
        ("0 0 * * 5-7/2", "11-22, 11-27, 11-29"),
        ("0 0 * * 7/3", "11-21, 11-22, 11-25, 11-28"),
        ("0 0 * * FRI-MON", "11-21, 11-22, 11-23, 11-27"),
        ("0 22-2 * * *", "11-20 01:00, 11-20 02:00, 11-20 22:00, 11-20 23:00, 11-21"),
        ("0 0 1 NOV-FEB *", "12-01, 2027-01-01, 2027-02-01, 2027-11-01"),
        // Steps continue across the field's end.
        ("0 22-2/3 * * *", "11-20 01:00, 11-20 22:00, 11-21 01:00"),
        ("0 0 1 NOV-FEB/2 *", "2027-01-01, 2027-11-01, 2028-01-01"),
        ("0 0 1-1 * *", "12-01, 2027-01-01"),
        ("5/15 * * * *", "11-20 00:05, 11-20 00:20, 11-20 00:35, 11-20 00:50, 11-20 01:05"),
        ("59/15 * * * *", "11-20 00:59, 11-20 01:59"),
        ("*,10 0 1 1 *", "2027-01-01, 2027-01-01 00:01, 2027-01-01 00:02"),
        ("10,* 0 1 1 *", "2027-01-01, 2027-01-01 00:01, 2027-01-01 00:02"),
        ("1,2,4-6,50-59/9 0 1 1 *", "2027-01-01 00:01, 2027-01-01 00:02, 2027-01-01 00:04"),
        ("05 08 01 09 00", "2027-09-01 08:05, 2027-09-05 08:05"),
        ("000000000005 8 * * *", "11-20 08:05"),
        ("\t5   8\t \t* * * \t", "11-20 08:05"),
        ("0 0 */5 * *", "11-21, 11-26, 12-01, 12-06, 12-11, 12-16, 12-21, 12-26, 12-31, 2027-01-01"),
        ("*/59 0 20 11 *", "11-20 00:59, 2027-11-20, 2027-11-20 00:59"),
        ("0 0 31 * *", "12-31, 2027-01-31, 2027-03-31"),
        ("0 0 29 2 *", "2028-02-29, 2032-02-29"),
        ("59 23 31 12 *", "12-31 23:59, 2027-12-31 23:59"),
    ]);
}

#[test]
fn names_are_whole_words_in_any_case() {
    check(&[
        ("0 0 1 jan *", "2027-01-01, 2028-01-01"),
        ("0 0 1 January,JUNE,sep *", "2027-01-01, 2027-06-01, 2027-09-01"),
        ("0 0 * * Friday", "11-27, 12-04"),
        ("0 0 * * mon-WEDNESDAY", "11-23, 11-24, 11-25, 11-30"),
        ("0 0 1 JAN-DECEMBER/6 *", "2027-01-01, 2027-07-01"),
        ("0 0 1 MAY/3 *", "2027-05-01, 2027-08-01, 2027-11-01, 2028-05-01"),
        ("0 0 * * 1-FRI", "11-23, 11-24, 11-25, 11-26, 11-27, 11-30"),
    ]);
    for text in
        ["SUN * * * *", "* MAR * * *", "* * MAR * *", "* * 1JAN * *", "* * * MON *", "* * * * JAN", "* * * JA *"]
    {
        assert!(Cron::parse(text).is_err(), "{text}");
    }
}

#[test]
fn days_counted_from_the_end_workdays_and_weekdays_of_the_month() {
    check(&[
        ("0 0 L * *", "11-30, 12-31, 2027-01-31, 2027-02-28"),
        ("0 0 L-3 * *", "11-27, 12-28, 2027-01-28, 2027-02-25"),
        ("0 0 L-30 * *", "12-01, 2027-01-01, 2027-03-01"),
        ("0 0 LW * *", "11-30, 12-31, 2027-01-29, 2027-02-26"),
        ("0 0 15W * *", "12-15, 2027-01-15, 2027-02-15, 2027-03-15, 2027-04-15, 2027-05-14"),
        // 2027-05-01 is a Saturday, 2027-08-01 a Sunday: the nearest weekday of the same month.
        ("0 0 1W 5,8 *", "2027-05-03, 2027-08-02"),
        ("0 0 31W * *", "12-31, 2027-01-29, 2027-03-31, 2027-05-31"),
        ("0 0 28W 2 *", "2027-02-26, 2028-02-28"),
        ("0 0 1,15W,L * *", "11-30, 12-01, 12-15, 12-31"),
        ("0 0 * * FRIL", "11-27, 12-25, 2027-01-29"),
        ("0 0 * * fridayl", "11-27, 12-25, 2027-01-29"),
        ("0 0 * * 5L", "11-27, 12-25, 2027-01-29"),
        ("0 0 * * L5", "11-27, 12-25, 2027-01-29"),
        ("0 0 * * 7L", "11-29, 12-27, 2027-01-31"),
        ("0 0 * * 5#2", "12-11, 2027-01-08, 2027-02-12"),
        ("0 0 * * FRI#2", "12-11, 2027-01-08, 2027-02-12"),
        ("0 0 * * MON-FRI#2", "12-08, 12-09, 12-10, 12-11, 12-14, 2027-01-08"),
        ("0 0 * * SAT-SUN#1,WED", "11-25, 12-02, 12-05, 12-06, 12-09"),
        ("0 0 * * 7#5", "11-29, 2027-01-31"),
        ("0 0 * 2 TUE#5", "2028-02-29, 2056-02-29"),
    ]);
}

#[test]
fn six_fields_begin_with_seconds() {
    check(&[
        ("30 0 12 * * *", "11-20 12:00:30, 11-21 12:00:30"),
        ("*/20 59 23 * * *", "11-20 23:59, 11-20 23:59:20, 11-20 23:59:40, 11-21 23:59"),
        ("* * * * * *", "11-20 00:00:01, 11-20 00:00:02"),
        ("0 0 0 1 1 ?", "2027-01-01"),
    ]);
}

#[test]
fn aliases_in_any_case() {
    check(&[
        ("@yearly", "2027-01-01, 2028-01-01"),
        ("@annually", "2027-01-01, 2028-01-01"),
        ("@Monthly", "12-01, 2027-01-01"),
        ("@WEEKLY", "11-22, 11-29"),
        ("@daily", "11-21, 11-22"),
        (" @midnight ", "11-21, 11-22"),
        ("@hourly", "11-20 01:00, 11-20 02:00"),
        ("CRON_TZ=Europe/Berlin @daily", "11-21, 11-22"),
    ]);
    let every = |text: &str| match Rule::parse(text) {
        Ok(Rule::Every(interval)) => interval.as_secs(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(every("@every 5m"), 300);
    assert_eq!(every("@EVERY 1h30m"), 5_400);
    assert_eq!(every("@every 90s"), 90);
    assert_eq!(every("@every 1h1s"), 3_601);
    assert_eq!(Rule::parse("@Reboot"), Ok(Rule::Reboot));
    assert!(Cron::parse("@reboot").is_err() && Cron::parse("@every 5m").is_err());
}

#[test]
fn a_time_zone_stands_in_front() {
    for (text, name) in [
        ("CRON_TZ=Europe/Berlin 0 9 * * *", Some("Europe/Berlin")),
        ("TZ=UTC @daily", Some("UTC")),
        ("TZ=America/Argentina/Buenos_Aires\t0 0 9 * * *", Some("America/Argentina/Buenos_Aires")),
        ("0 9 * * *", None),
    ] {
        assert_eq!(Cron::parse(text).unwrap().zone_name(), name, "{text}");
    }
}

#[test]
fn h_is_a_value_that_the_seed_chooses() {
    let with = |seed| Options { hash_seed: Some(seed), ..Options::default() };
    // These values must never change.
    assert_eq!(times_with("H H * * *", &with("nightly report"), 2), "11-20 06:01, 11-21 06:01");
    assert_eq!(
        times_with("H H H H H", &with("nightly report"), 1),
        times_with("H H H H H", &with("nightly report"), 1)
    );
    for job in 0..500 {
        let name = format!("job {job}");
        let options = Options { hash_seed: Some(&name), ..Options::default() };
        let minutes = |text: &str| -> Vec<i64> {
            let cron = Cron::parse_with(text, &options).unwrap();
            let from: Timestamp = "2026-11-19T23:59:59Z".parse().unwrap();
            let times = cron.upcoming(from, &UTC).take(10);
            times.map(|time| (time.as_second() - from.as_second()) / 60).take_while(|minute| *minute < 60).collect()
        };
        let quarters = minutes("H/15 * * * *");
        assert!(quarters.len() == 4 && quarters[0] < 15 && quarters.windows(2).all(|pair| pair[1] - pair[0] == 15));
        assert!(matches!(minutes("H(10-29) * * * *")[..], [10..=29]));
        assert!(matches!(minutes("H(0-29)/10 * * * *")[..], [a @ 0..=9, b, c] if b == a + 10 && c == b + 10));
        assert!(matches!(minutes("H * * * *")[..], [0..=59]));
        // Every month has the day.
        let monthly = times_with("0 0 H * *", &options, 12);
        assert_eq!(monthly.split(", ").count(), 12);
        assert!(monthly.split(", ").all(|time| time[time.len() - 2..] <= *"28"), "{monthly}");
        assert!(Cron::parse_with("H H H(29-31) H H", &options).is_ok());
    }
}
