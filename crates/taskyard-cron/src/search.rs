//! The conversion from civil times to instants: the rule for gaps and folds, and the walk over the pieces of a time
//! zone in which the offset is constant.
//!
//! Within a piece an instant and its civil time differ by a constant, so the civil search is sufficient; only the
//! beginning of a piece needs a rule. It is that of Vixie cron:
//!
//! - a *wildcard* schedule fires at every instant whose civil time its fields admit;
//! - a *fixed* schedule fires at the instant at which the civil clock passes an admitted time for the first time; if
//!   the clock jumps forward by more than [`CATCH_UP`], the skipped times are lost.
//!
//! Both searches below walk the same set of instants, one forwards and one backwards, and therefore agree.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::{DAY, date_of};
use crate::civil::{Bound, Fields};

/// Largest forward jump of the clock after which skipped times are run.
const CATCH_UP: i64 = 3 * 3_600;
/// Every day of the Gregorian calendar with a given weekday recurs within 40 years: 29 February across 2100.
const YEARS: i64 = 40;
/// More than the largest difference of two offsets (52 hours): earlier changes do not affect which times are repeated.
const WINDOW: i64 = 3 * DAY;

/// Before all instants, and far enough from the smallest integer to subtract from.
const FIRST: i64 = i64::MIN / 2;

/// The instants of one schedule in one time zone.
pub(crate) struct Search<'a> {
    pub(crate) fields: &'a Fields,
    /// Whether the minute or the hour field begins with `*`.
    pub(crate) wildcard: bool,
    pub(crate) zone: &'a TimeZone,
}

impl Search<'_> {
    /// Returns the first instant strictly after the given one, and the number of steps.
    pub(crate) fn next(&self, after: Timestamp) -> (Option<Timestamp>, u32) {
        let mut bound = Bound { year: 0, steps: 0 };
        // Truncation rounds towards zero: before 1970 the fraction is counted backwards.
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
            // There is none until the end of this piece. A piece that begins later than every repetition of earlier
            // times, and ends before the time found by more than the largest offset, contains none either.
            let near = found - WINDOW;
            instant = if end - instant > WINDOW && near > end { near } else { end };
        }
    }

    /// Returns the last instant strictly before the given one, and the number of steps.
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
                // Either passed in this piece, or skipped at its beginning.
                return Some(found.max(start));
            }
            let near = found + WINDOW;
            instant = if instant - start > WINDOW && near < start { near } else { start - 1 };
        }
    }

    /// Returns the first civil second that the clock has not passed before the instant, whose civil time is `local`:
    /// later than `local` where time is repeated, earlier where the clock has just jumped forward.
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

    /// Returns the first instant with the offset of the given one, as far as the time zone data goes.
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
