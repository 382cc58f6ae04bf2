//! Compares with the oracles in every zone of the tz database: a sample of all changes from 1970 to 2040.

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use crate::oracle::Window;
use crate::random::{OURS, Random};
use crate::transitions::{compare, near};
use crate::zones::bundled;

/// Every n-th change is compared; 1 compares all, which takes minutes.
const STRIDE: usize = 23;

#[test]
fn a_sample_of_all_changes() {
    let (from, to) = ("1970-01-03T00:00Z".parse::<Timestamp>().unwrap(), "2040-01-01T00:00Z".parse().unwrap());
    let mut changes = Vec::new();
    for name in TimeZoneDatabase::bundled().available() {
        let zone = bundled(name.as_str());
        let mut before = zone.to_offset(from).seconds();
        for change in zone.following(from).take_while(|change| change.timestamp() < to) {
            let after = change.offset().seconds();
            // The oracles count in minutes.
            if before != after && before % 60 == 0 && after % 60 == 0 {
                changes.push((zone.clone(), change.timestamp().as_second()));
            }
            before = after;
        }
    }
    assert!(changes.len() > 10_000, "{}", changes.len());
    let mut random = Random(changes.len() as u64);
    for (zone, change) in changes.iter().step_by(STRIDE) {
        let day = 86_400;
        let window = Window::new(zone, change - day - 420, change + day + 660, 60);
        for _ in 0..4 {
            compare(&window, &near(&mut random, OURS, zone, *change));
        }
    }
}
