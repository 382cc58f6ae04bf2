//! Owns the way from civil times to instants: the rule for gaps and folds, and the walk over the pieces of a time zone
//! in which the offset stays the same.
//!
//! Within a piece an instant and its civil time differ by a constant, so the civil search does the work; only the
//! piece's beginning needs a rule. The rule is that of Vixie cron, told in one sentence for each kind:
//!
//! - a *wildcard* schedule fires at every instant whose civil time its fields admit;
//! - a *fixed* schedule fires at the instant at which the civil clock passes an admitted time that it had not passed
//!   before; when the clock jumps forward by more than [`CATCH_UP`], what it jumps over is lost.
//!
//! Both searches below walk the same set of instants, one from below and one from above; that is why they agree.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::{DAY, date_of};
use crate::civil::{Bound, Fields};

/// A clock that jumps forward by more than this runs nothing of what it jumped over.
const CATCH_UP: i64 = 3 * 3_600;
/// A day of the Gregorian calendar with a given weekday comes back within 40 years: 29 February across 2100.
const YEARS: i64 = 40;
/// More than two offsets can differ by (52 hours): what happened longer ago has no say in what is repeated.
const WINDOW: i64 = 3 * DAY;

/// Before all instants, and far enough from the end of the integers to be subtracted from.
const FIRST: i64 = i64::MIN / 2;

/// The instants of one schedule in one time zone.
pub(crate) struct Search<'a> {
    pub(crate) fields: &'a Fields,
    /// The minute or the hour field begins with `*`.
    pub(crate) wildcard: bool,
    pub(crate) zone: &'a TimeZone,
}

impl Search<'_> {
    /// The first instant strictly after the given one, and how many steps it took.
    pub(crate) fn next(&self, after: Timestamp) -> (Option<Timestamp>, u32) {
        let mut bound = Bound { year: 0, steps: 0 };
        // Truncation goes towards zero: before 1970 a fraction is counted back.
        let instant = after.as_second() + i64::from(after.subsec_nanosecond() >= 0);
        bound.year = self.year(instant) + YEARS;
        let found = self.next_from(instant, &mut bound);
        (found.and_then(|second| Timestamp::from_second(second).ok()), bound.steps)
    }

    fn next_from(&self, mut instant: i64, bound: &mut Bound) -> Option<i64> {
        loop {
            bound.steps += 1;
            let at = stamp(instant)?;
            let offset = self.offset(at);
            let local = instant + offset;
            let from = if self.wildcard { local } else { self.unpassed(instant, local) };
            let civil = self.fields.next(from, bound)?;
            if civil < local {
                // The clock has jumped over it.
                return Some(instant);
            }
            let end = self.zone.following(at).next().map_or(i64::MAX, |change| change.timestamp().as_second());
            let found = civil - offset;
            if found < end {
                return Some(found);
            }
            // Nothing until the end of this piece. A piece that begins later than every repetition of what lies behind
            // us, and ends before the time found by more than an offset can be, holds nothing either.
            let near = found - WINDOW;
            instant = if end - instant > WINDOW && near > end { near } else { end };
        }
    }

    /// The last instant strictly before the given one, and how many steps it took.
    pub(crate) fn previous(&self, before: Timestamp) -> (Option<Timestamp>, u32) {
        let mut bound = Bound { year: 0, steps: 0 };
        let instant = before.as_second() - i64::from(before.subsec_nanosecond() <= 0);
        bound.year = self.year(instant) - YEARS;
        let found = self.previous_from(instant, &mut bound);
        (found.and_then(|second| Timestamp::from_second(second).ok()), bound.steps)
    }

    fn previous_from(&self, mut instant: i64, bound: &mut Bound) -> Option<i64> {
        loop {
            bound.steps += 1;
            let offset = self.offset(stamp(instant)?);
            let civil = self.fields.previous(instant + offset, bound)?;
            let found = civil - offset;
            let start = self.start(instant);
            if found >= start && (self.wildcard || found - start > WINDOW) {
                return Some(found);
            }
            if !self.wildcard && civil >= self.unpassed(start, start + offset) {
                // Either passed in this piece, or jumped over at its beginning.
                return Some(found.max(start));
            }
            let near = found + WINDOW;
            instant = if instant - start > WINDOW && near < start { near } else { start - 1 };
        }
    }

    /// The first civil second that the clock has not passed before the instant, whose civil time is `local`: later than
    /// `local` where time is repeated, earlier where the clock has just jumped forward.
    fn unpassed(&self, instant: i64, local: i64) -> i64 {
        let mut passed = i64::MIN;
        let mut jumps_here = false;
        for change in self.zone.preceding(clamped(instant + 1)) {
            let change = change.timestamp().as_second();
            if instant - change > WINDOW {
                break;
            }
            jumps_here |= change == instant;
            passed = passed.max(change + self.offset(clamped(change - 1)));
        }
        if jumps_here && local - passed <= CATCH_UP { passed } else { local.max(passed) }
    }

    /// The first instant with the offset of the given one, as far as the time zone tells.
    fn start(&self, instant: i64) -> i64 {
        let change = self.zone.preceding(clamped(instant + 1)).next();
        change.map_or(FIRST, |change| change.timestamp().as_second())
    }

    fn offset(&self, at: Timestamp) -> i64 {
        i64::from(self.zone.to_offset(at).seconds())
    }

    fn year(&self, instant: i64) -> i64 {
        date_of((instant + self.offset(clamped(instant))).div_euclid(DAY)).year
    }
}

fn stamp(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

fn clamped(second: i64) -> Timestamp {
    stamp(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
