//! Two brute-force implementations of the rule, with which the crate is compared: one queries jiff for every civil time
//! of a window, the other watches a clock tick through its instants. Both must agree with each other.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::expression::Expression;

const CATCH_UP: i64 = 3 * 3_600;

/// All ticks of a window of one zone, as civil times and as instants.
pub struct Window {
    pub zone: TimeZone,
    pub from: i64,
    pub to: i64,
    /// Every civil tick with its instants according to jiff: all for a wildcard, at most one for a fixed schedule.
    civil: Vec<(DateTime, Vec<i64>, Option<i64>)>,
    /// Every tick of the clock.
    clock: Vec<Tick>,
}

struct Tick {
    instant: i64,
    shown: DateTime,
    /// Whether the clock has not shown this time before.
    fresh: bool,
    /// The times it has just jumped over, if they are caught up.
    missed: Vec<DateTime>,
}

impl Window {
    /// Creates a window. `from` and `to` are instants in seconds on full ticks; everything strictly between them
    /// belongs to it.
    pub fn new(zone: &TimeZone, from: i64, to: i64, tick: i64) -> Window {
        let stamp = |second| Timestamp::from_second(second).unwrap();
        let step = SignedDuration::from_secs(tick);
        // Includes the civil times of two more days on each side, as repeated and skipped ones may be that far away.
        let mut at = zone.to_datetime(stamp(from)).checked_sub(SignedDuration::from_hours(48)).unwrap();
        let end = zone.to_datetime(stamp(to)).checked_add(SignedDuration::from_hours(48)).unwrap();
        let mut civil = Vec::new();
        while at <= end {
            let ambiguous = zone.to_ambiguous_timestamp(at);
            let second = |stamp: Result<Timestamp, _>| stamp.unwrap().as_second();
            let (all, first) = match ambiguous.offset() {
                AmbiguousOffset::Unambiguous { .. } => {
                    let one = second(ambiguous.unambiguous());
                    (vec![one], Some(one))
                }
                AmbiguousOffset::Fold { .. } => {
                    let (one, two) = (second(ambiguous.earlier()), second(ambiguous.later()));
                    (vec![one, two], Some(one))
                }
                AmbiguousOffset::Gap { before, after } => {
                    let width = i64::from(after.seconds() - before.seconds());
                    let change = zone.following(ambiguous.earlier().unwrap()).next().unwrap();
                    (Vec::new(), (width <= CATCH_UP).then(|| change.timestamp().as_second()))
                }
            };
            civil.push((at, all, first));
            at = at.checked_add(step).unwrap();
        }
        let mut clock = Vec::new();
        let mut expected = zone.to_datetime(stamp(from - 2 * 86_400));
        for instant in (from - 2 * 86_400..=to).step_by(tick as usize) {
            let shown = zone.to_datetime(stamp(instant));
            let mut missed = Vec::new();
            if (1..=CATCH_UP).contains(&shown.duration_since(expected).as_secs()) {
                missed.extend(expected.series(jiff::Span::new().seconds(tick)).take_while(|time| *time < shown));
            }
            clock.push(Tick { instant, shown, fresh: shown >= expected, missed });
            expected = expected.max(shown.checked_add(step).unwrap());
        }
        Window { zone: zone.clone(), from, to, civil, clock }
    }

    /// Returns the times of the expression within the window.
    pub fn times(&self, expression: &Expression) -> Vec<i64> {
        let by_civil_time = self.by_civil_time(expression);
        let by_clock = self.by_clock(expression);
        assert_eq!(by_civil_time, by_clock, "the oracles differ: {}", expression.text());
        by_clock
    }

    fn by_civil_time(&self, expression: &Expression) -> Vec<i64> {
        let admits = expression.test();
        let mut found = BTreeSet::new();
        for (time, all, first) in &self.civil {
            if admits(*time) {
                if expression.is_wildcard() {
                    found.extend(all);
                } else {
                    found.extend(first);
                }
            }
        }
        found.range(self.from + 1..self.to).copied().collect()
    }

    fn by_clock(&self, expression: &Expression) -> Vec<i64> {
        let admits = expression.test();
        let wildcard = expression.is_wildcard();
        let fires = |tick: &&Tick| {
            (self.from + 1..self.to).contains(&tick.instant)
                && if wildcard {
                    admits(tick.shown)
                } else {
                    tick.fresh && (admits(tick.shown) || tick.missed.iter().any(|missed| admits(*missed)))
                }
        };
        self.clock.iter().filter(fires).map(|tick| tick.instant).collect()
    }
}
