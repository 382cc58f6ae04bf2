//! Fuzzing: a million texts, no panic, and a bounded amount of work for any text. The bound is on counted steps,
//! because the clock of a busy machine proves nothing about a single text; the clock is used only for the average.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{Cron, Options, Rule};

/// Maximum number of steps of a search: every month of 40 years and both changes of offset in each, with a margin for
/// zones that change more often.
const STEPS: u32 = 1_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // The generator of Steele, Lea and Flood (SplitMix64).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const PIECES: [&str; 64] = [
    "*",
    "*",
    "*",
    "?",
    "0",
    "1",
    "2",
    "5",
    "7",
    "12",
    "15",
    "23",
    "28",
    "29",
    "30",
    "31",
    "59",
    "60",
    "99999999999999999999",
    "/",
    "/",
    "-",
    "-",
    ",",
    ",",
    "#",
    "#5",
    "L",
    "LW",
    "W",
    "15W",
    "L-3",
    "5L",
    "H",
    "H(",
    ")",
    "(",
    "H/15",
    "H(0-29)/10",
    "JAN",
    "february",
    "MON",
    "Sunday",
    "FRI#2",
    " ",
    " ",
    " ",
    " ",
    " ",
    "\t",
    "@",
    "@daily",
    "@every ",
    "5m",
    "1h30m",
    "TZ=UTC ",
    "CRON_TZ=Europe/Berlin ",
    "\0",
    "\u{e9}",
    "\u{1f600}",
    "+",
    ".",
    "\n",
    "%",
];

/// Values that are valid in most fields.
const FIELDS: [&str; 16] =
    ["*", "*", "*", "1", "2", "5", "7", "12", "1-5", "*/2", "1,2", "3/2", "6-3", "2-6/3,*", "1-1", "4,5,6,7"];

const VALID: [&str; 16] = [
    "* * * * *",
    "*/5 9-17 * * MON-FRI",
    "0 0 29 2 *",
    "0 0 29 2 1#5",
    "30 2 * * *",
    "0 0 L-3 * *",
    "0 0 LW * *",
    "0 0 15W 1,4,7,10 ?",
    "0 0 * * FRIL",
    "0 0 31 2 0",
    "0 22-2 * NOV-FEB FRI-MON",
    "*/10 30 2 * * *",
    "H H(1-3) * * *",
    "@monthly",
    "@every 1h30m",
    "CRON_TZ=Africa/Cairo 0 0 * * *",
];

fn text(random: &mut Random) -> String {
    match random.below(4) {
        0 => (0..random.below(40)).map(|_| char::from(random.below(256) as u8)).collect(),
        1 => (0..random.below(24)).map(|_| random.pick(&PIECES)).collect(),
        // Five or six fields, most of them valid.
        2 => {
            let fields = (0..5 + random.below(2)).map(|_| match random.below(10) {
                0 => (0..1 + random.below(3)).map(|_| random.pick(&PIECES[..44])).collect::<String>(),
                _ => random.pick(&FIELDS).to_owned(),
            });
            fields.collect::<Vec<_>>().join(" ")
        }
        _ => {
            let mut bytes = random.pick(&VALID).as_bytes().to_vec();
            for _ in 0..1 + random.below(4) / 2 {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.pick(b"0123456789*/-,#LWH? \t@()"),
                    1 => bytes.insert(at, random.pick(b"0123456789*/-,#LWH? \t@()")),
                    _ if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

/// Parses one text and, if it is a schedule, searches in both directions. Returns the steps of the longer search.
fn try_one(text: &str, options: &Options<'_>, zone: &TimeZone, at: Timestamp) -> Option<u32> {
    match Rule::parse_with(text, options) {
        Err(error) => {
            // The positions are on character boundaries; otherwise these would panic.
            assert!(error.diagram().len() + error.to_string().len() < 10_000);
            None
        }
        Ok(rule) => {
            assert_eq!(Rule::parse_with(&rule.to_string(), options).as_ref(), Ok(&rule));
            let Rule::Cron(cron) = rule else { return None };
            let (next, forward) = cron.search(zone).next(at);
            let (previous, backward) = cron.search(zone).previous(at);
            assert!(next.is_none_or(|next| next > at) && previous.is_none_or(|previous| previous < at));
            Some(forward.max(backward))
        }
    }
}

#[test]
fn a_million_texts() {
    let mut random = Random(7);
    let zones =
        ["UTC", "America/New_York", "Pacific/Apia", "Africa/Casablanca", "Australia/Lord_Howe", "Europe/Dublin"];
    let zones = zones.map(|name| TimeZone::get(name).unwrap());
    let mut schedules = 0;
    let mut most = (0, String::new());
    let began = Instant::now();
    for _ in 0..1_000_000 {
        let text = text(&mut random);
        let options = Options {
            hash_seed: Some("fuzz").filter(|_| random.below(2) == 0),
            day_and: random.below(2) == 0,
            vixie_star: random.below(2) == 0,
        };
        let zone = &zones[random.below(zones.len())];
        let at = Timestamp::from_second(random.below(12_000_000_000) as i64 - 6_000_000_000).unwrap();
        if let Some(steps) = try_one(&text, &options, zone, at) {
            schedules += 1;
            if steps > most.0 {
                most = (steps, text);
            }
        }
    }
    let each = began.elapsed() / 1_000_000;
    assert!(schedules > 100_000, "{schedules} of the texts are schedules");
    assert!(most.0 <= STEPS, "{} steps for {}", most.0, most.1);
    assert!(each < Duration::from_micros(100), "{each:?} for each text");
    println!("{schedules} schedules, {each:?} each, at most {} steps for {}", most.0, most.1);
}

#[test]
fn the_longest_searches_are_bounded() {
    let both = Options { day_and: true, ..Options::default() };
    let zone = TimeZone::get("America/New_York").unwrap();
    // Days that occur every 40 years, and times that no year has.
    for (text, at) in [
        ("*/30 2 * 3 SUN#2", "2026-01-01T00:00Z"),
        ("*/30 2 * * SUN#2", "2026-01-01T00:00Z"),
        ("0 0 29 2 THU", "1872-03-01T00:00Z"),
        ("* * 29 2 1#5", "2072-03-01T00:00Z"),
    ] {
        let cron = Cron::parse_with(text, &both).unwrap();
        for at in [at.parse().unwrap(), Timestamp::MIN, Timestamp::MAX] {
            let steps = cron.search(&zone).next(at).1.max(cron.search(&zone).previous(at).1);
            assert!(steps <= STEPS, "{text} at {at}: {steps} steps");
        }
    }
}
