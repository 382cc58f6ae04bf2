//! Tests of the tracker on a manual clock, and a property test of random use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use super::ProgressTracker;

/// Returns a manual clock in milliseconds, and a tracker on it.
fn tracker() -> (Arc<AtomicU64>, ProgressTracker) {
    let clock = Arc::new(AtomicU64::new(0));
    let seconds = Arc::clone(&clock);
    (clock, ProgressTracker::with_clock(move || seconds.load(Ordering::Relaxed) as f64 / 1_000.0))
}

fn pass(clock: &AtomicU64, millis: u64) {
    clock.fetch_add(millis, Ordering::Relaxed);
}

#[test]
fn it_begins_with_nothing_and_counts() {
    let (_, tracker) = tracker();
    assert_eq!((tracker.current(), tracker.total(), tracker.percentage(), tracker.message()), (0.0, None, 0.0, None));
    assert_eq!((tracker.rate(), tracker.eta_seconds()), (0.0, None));
    tracker.set_total(4).unwrap();
    tracker.advance(1).unwrap();
    tracker.advance(0.5).unwrap();
    tracker.set_message("at it");
    assert_eq!((tracker.current(), tracker.percentage()), (1.5, 37.5));
    assert_eq!(tracker.message().as_deref(), Some("at it"));
    tracker.update(9_u64).unwrap();
    assert_eq!((tracker.current(), tracker.percentage()), (9.0, 100.0), "over the total");
    tracker.set_total(0).unwrap();
    assert_eq!(tracker.percentage(), 100.0, "of nothing all is done");
}

#[test]
fn what_is_not_an_amount_is_refused_and_changes_nothing() {
    let (_, tracker) = tracker();
    tracker.set_total(10).unwrap();
    tracker.update(3).unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        assert!(tracker.set_total(bad).is_err() && tracker.advance(bad).is_err() && tracker.update(bad).is_err());
    }
    assert!(tracker.advance(-1_i64).is_err());
    assert_eq!((tracker.current(), tracker.total()), (3.0, Some(10.0)));
}

#[test]
fn a_constant_rate_is_met_within_a_twentieth_after_ten_samples() {
    for (every, step) in [(100, 1.0), (250, 7.0), (1_000, 0.25), (5_000, 1_000.0)] {
        let (clock, tracker) = tracker();
        tracker.set_total(step * 1_000.0).unwrap();
        for _ in 0..10 {
            pass(&clock, every);
            tracker.advance(step).unwrap();
            let _ = tracker.rate();
        }
        let expected = step * 1_000.0 / every as f64;
        assert!((tracker.rate() / expected - 1.0).abs() < 0.05, "{} of {expected}", tracker.rate());
        let eta = tracker.eta_seconds().unwrap() / (990.0 * every as f64 / 1_000.0);
        assert!((eta - 1.0).abs() < 0.05, "{eta}");
    }
}

#[test]
fn there_is_no_estimate_before_two_samples_and_a_second() {
    let (clock, tracker) = tracker();
    tracker.set_total(100).unwrap();
    pass(&clock, 5_000);
    tracker.advance(1).unwrap();
    assert_eq!(tracker.eta_seconds(), None, "one sample");
    let (clock, tracker) = self::tracker();
    tracker.set_total(100).unwrap();
    for _ in 0..5 {
        pass(&clock, 100);
        tracker.advance(1).unwrap();
        assert_eq!(tracker.eta_seconds(), None, "half a second");
    }
    pass(&clock, 600);
    tracker.advance(1).unwrap();
    assert!(tracker.eta_seconds().is_some());
}

#[test]
fn a_stall_raises_the_estimate_and_a_lasting_change_is_followed() {
    let (clock, tracker) = tracker();
    tracker.set_total(1_000).unwrap();
    for _ in 0..100 {
        pass(&clock, 100);
        tracker.advance(1).unwrap();
        let _ = tracker.rate();
    }
    let mut before = tracker.eta_seconds().unwrap();
    for _ in 0..20 {
        pass(&clock, 2_000);
        let now = tracker.eta_seconds().unwrap();
        assert!(now > before, "{now} after {before}");
        before = now;
    }
    // Ten times the rate from here on.
    for _ in 0..600 {
        pass(&clock, 100);
        tracker.set_total(1_000_000).unwrap();
        tracker.advance(10).unwrap();
        let _ = tracker.rate();
    }
    assert!((tracker.rate() / 100.0 - 1.0).abs() < 0.1, "{}", tracker.rate());
}

/// As for ten gigabytes in steps of eight kilobytes: a call must cost next to nothing. The bound is generous because
/// the test runs unoptimised and beside others.
#[test]
fn a_call_costs_little() {
    let tracker = ProgressTracker::new();
    tracker.set_total(1_300_000).unwrap();
    let begun = Instant::now();
    for _ in 0..1_300_000 {
        tracker.advance(1).unwrap();
    }
    let each = begun.elapsed().as_nanos() / 1_300_000;
    eprintln!("{each} ns a call");
    assert!(each < 2_000, "{each} ns");
    assert_eq!(tracker.current(), 1_300_000.0);
}

#[test]
fn what_is_stored_has_every_key_and_whole_numbers() {
    let (clock, tracker) = tracker();
    assert!(tracker.gauge.take(1).is_none(), "nothing was said");
    tracker.set_total(10).unwrap();
    pass(&clock, 2_000);
    tracker.advance(1).unwrap();
    let entry = tracker.gauge.take(2).unwrap();
    let keys: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "total",
        "completed",
        "percentage",
        "message",
        "rate",
        "elapsed",
        "eta_seconds",
        "indeterminate",
        "updated_at",
        "attempt",
    ];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!((&entry["total"], &entry["completed"], &entry["attempt"]), (&10.into(), &1.into(), &2.into()));
    assert_eq!((&entry["percentage"], &entry["indeterminate"]), (&10.0.into(), &false.into()));
    assert!(entry["updated_at"].as_str().unwrap().ends_with('Z'));
    assert!(tracker.gauge.take(2).is_none(), "nothing new");
}

#[derive(Clone, Debug)]
enum Step {
    Total(f64),
    Advance(f64),
    Update(f64),
    Pass(u64),
    Back(u64),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = prop_oneof![Just(0.0), 0.0..1e3, 0.0..1e300, Just(f64::MAX), Just(f64::NAN), Just(-3.0)];
    prop_oneof![
        amount.clone().prop_map(Step::Total),
        amount.clone().prop_map(Step::Advance),
        amount.prop_map(Step::Update),
        (0_u64..100_000).prop_map(Step::Pass),
        (0_u64..1_000).prop_map(Step::Back),
        Just(Step::Read),
    ]
}

proptest! {
    #[test]
    fn figures_are_always_figures(steps in proptest::collection::vec(step(), 0..60)) {
        let (clock, tracker) = tracker();
        for step in steps {
            match step {
                Step::Total(total) => drop(tracker.set_total(total)),
                Step::Advance(by) => drop(tracker.advance(by)),
                Step::Update(to) => drop(tracker.update(to)),
                Step::Pass(millis) => pass(&clock, millis),
                Step::Back(millis) => {
                    let now = clock.load(Ordering::Relaxed);
                    clock.store(now.saturating_sub(millis), Ordering::Relaxed);
                }
                Step::Read => {}
            }
            prop_assert!(tracker.current().is_finite() && tracker.current() >= 0.0);
            prop_assert!((0.0..=100.0).contains(&tracker.percentage()));
            prop_assert!(tracker.rate().is_finite() && tracker.rate() >= 0.0, "{}", tracker.rate());
            prop_assert!(tracker.eta_seconds().is_none_or(|eta| eta.is_finite() && eta >= 0.0));
            if let Some(entry) = tracker.gauge.take(1) {
                let again: serde_json::Value = serde_json::from_str(&entry.to_string()).unwrap();
                prop_assert_eq!(&again["rate"].is_number(), &true);
            }
        }
    }
}
