//! Properties of every schedule in every zone: order, agreement of both directions, texts that parse to themselves.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use taskyard_cron::{Cron, Options, Rule};

use crate::random::{Dialect, OURS, Random};
use crate::transitions::CHANGES;
use crate::zones::bundled;

fn zones() -> Vec<TimeZone> {
    let mut names: Vec<&str> = CHANGES.iter().map(|(name, ..)| *name).collect();
    names.dedup();
    let mut zones: Vec<TimeZone> = names.into_iter().map(bundled).collect();
    zones.push(TimeZone::UTC);
    zones.push(TimeZone::fixed(Offset::from_seconds(5 * 3_600 + 2_700).unwrap()));
    zones.push(TimeZone::fixed(Offset::from_seconds(-12 * 3_600 + 1).unwrap()));
    zones.push(TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap());
    zones
}

fn random_cron(random: &mut Random) -> Cron {
    loop {
        let dialect = Dialect { seconds: random.chance(20), ..OURS };
        let options = Options { day_and: random.chance(20), vixie_star: random.chance(20), ..Options::default() };
        if let Ok(cron) = Cron::parse_with(&dialect.expression(random).text(), &options) {
            return cron;
        }
    }
}

#[test]
fn ten_thousand_steps_go_forward() {
    let mut random = Random(1);
    for zone in zones() {
        for _ in 0..6 {
            let cron = random_cron(&mut random);
            let mut last = Timestamp::from_second(random.instant(0, 1_800_000_000)).unwrap();
            for time in cron.upcoming(last, &zone).take(10_000) {
                assert!(time > last, "{cron} after {last} in {zone:?}: {time}");
                last = time;
            }
        }
    }
}

#[test]
fn both_directions_find_the_same_times() {
    let mut random = Random(2);
    let zones = zones();
    for _ in 0..20_000 {
        let cron = random_cron(&mut random);
        let zone = &zones[random.within(0, zones.len() as u32 - 1) as usize];
        let nanosecond = if random.chance(50) { 0 } else { random.within(0, 999_999_999) };
        // From 1800 on, to include fractions before 1970 and local mean times.
        let at = Timestamp::new(random.instant(-5_364_662_400, 4_102_444_800), nanosecond as i32).unwrap();
        let shown = || format!("{cron} at {at} in {:?}", zone.iana_name());
        let next = cron.next_after(at, zone);
        let previous = cron.previous_before(at, zone);
        if let Some(next) = next {
            assert!(next > at && next.subsec_nanosecond() == 0, "{}", shown());
            let back = cron.previous_before(next, zone);
            assert!(back <= Some(at), "{}", shown());
            assert_eq!(back.and_then(|back| cron.next_after(back, zone)).unwrap_or(next), next, "{}", shown());
            // There is no time in between.
            let within = Timestamp::from_nanosecond(next.as_nanosecond() - 1).unwrap();
            assert_eq!(cron.next_after(within, zone), Some(next), "{}", shown());
        }
        if let Some(previous) = previous {
            assert!(previous < at, "{}", shown());
            let forth = cron.next_after(previous, zone);
            assert!(forth >= Some(at), "{}", shown());
            assert_eq!(forth.and_then(|forth| cron.previous_before(forth, zone)), Some(previous), "{}", shown());
        }
        if let (Some(next), Some(previous)) = (next, previous) {
            let after_previous = cron.next_after(previous, zone);
            assert!(after_previous == Some(next) || after_previous == Some(at), "{}", shown());
        }
    }
}

#[test]
fn texts_come_back() {
    let mut random = Random(3);
    for _ in 0..5_000 {
        let cron = random_cron(&mut random);
        let text = cron.to_string();
        if let Ok(again) = text.parse::<Cron>() {
            assert_eq!(again.to_string(), text);
            assert_eq!(Cron::parse(&text), Ok(again));
        }
    }
    for text in ["@daily", "@reboot", "@every 1h30m", "@every 1m1s", "TZ=UTC  1 2 * * *", "\t0 0 1W * 5L "] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    let rule = Rule::parse("@every 90m").unwrap();
    assert_eq!(rule.to_string(), "@every 1h30m");
    assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
    let and = Options { day_and: true, ..Options::default() };
    assert_ne!(Cron::parse_with("0 0 1 * 1", &and), Cron::parse("0 0 1 * 1"));
}
