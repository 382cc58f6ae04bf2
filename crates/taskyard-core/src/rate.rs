//! Rate limits: how many tasks of a queue may start in a period, as a token bucket that fills up evenly.
//!
//! The only stored state of the bucket is the time at which it will be full. Both stores implement the same
//! computation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, duration};

/// Longest period.
const PER_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Tolerance for a stored time further ahead than a full bucket allows. More than this comes from another clock; less
/// may come from a transaction that began earlier.
const AHEAD_MAX_US: i64 = 1_000_000;

/// A rate over all servers: up to `count` starts at once, and one more each time that `per / count` has passed.
///
/// ```
/// # fn main() -> taskyard::Result<()> {
/// use std::time::Duration;
/// use taskyard::Rate;
///
/// let rate: Rate = "100/m".parse()?;
/// assert_eq!(rate, Rate::new(100, Duration::from_secs(60))?);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    /// Number of starts, at least 1.
    pub count: u32,
    /// The period, from 1 ms to 366 days.
    pub per: Duration,
}

impl Rate {
    /// Creates a rate of `count` starts per period.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a count of zero, or a period outside of 1 ms to 366 days.
    pub fn new(count: u32, per: Duration) -> Result<Self> {
        let wrong = |why: &str| Err(Error::InvalidArgument { what: "rate", why: why.into() });
        if count == 0 {
            return wrong("0 would stop the queue: pause the queue instead");
        }
        if per < Duration::from_millis(1) || per > PER_MAX {
            return wrong("its period must be between 1 ms and 366 days");
        }
        Ok(Self { count, per })
    }

    /// Returns the missing part of the bucket in microseconds. Never more than the whole bucket, even if the clock went
    /// back or the rate was changed.
    fn missing(self, full_at: i64, now: i64) -> i128 {
        i128::from(full_at.saturating_sub(now).max(0)).min(self.per_us())
    }

    fn per_us(self) -> i128 {
        self.per.as_micros() as i128
    }

    /// Returns the time to store instead of `full_at` if that is further ahead than filling the whole bucket takes,
    /// because it was written by a clock that was ahead or for a longer period. The bucket is then empty and fills from
    /// now on. `None` if the stored time is valid.
    #[must_use]
    pub fn rebased(self, full_at: i64, now: i64) -> Option<i64> {
        let full = now.saturating_add(i64::try_from(self.per_us()).unwrap_or(i64::MAX));
        (full_at > full.saturating_add(AHEAD_MAX_US)).then_some(full)
    }

    /// Returns how many tasks may start now if the bucket is full at `full_at`; times in microseconds.
    #[must_use]
    pub fn free(self, full_at: i64, now: i64) -> u32 {
        let missing = self.missing(full_at, now) * i128::from(self.count);
        let free = i128::from(self.count) - div_ceil(missing, self.per_us());
        u32::try_from(free.max(0)).unwrap_or(self.count)
    }

    /// Returns the time at which the bucket is full after `started` further starts.
    #[must_use]
    pub fn after(self, full_at: i64, now: i64, started: u32) -> i64 {
        let cost = div_ceil(i128::from(started) * self.per_us(), i128::from(self.count));
        let missing = (self.missing(full_at, now) + cost).min(self.per_us());
        now.saturating_add(i64::try_from(missing).unwrap_or(i64::MAX))
    }

    /// Returns how long until one more task may start than now.
    #[must_use]
    pub fn next(self, full_at: i64, now: i64) -> Duration {
        let missing = self.missing(full_at, now);
        // Missing starts; the wait ends when there is one less.
        let starts = div_ceil(missing * i128::from(self.count), self.per_us());
        let wait = match starts {
            0 => div_ceil(self.per_us(), i128::from(self.count)),
            _ => missing - (starts - 1) * self.per_us() / i128::from(self.count),
        };
        Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn div_ceil(number: i128, by: i128) -> i128 {
    (number + by - 1) / by
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, micros) = (self.count, self.per.as_micros());
        for (unit, size) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)] {
            if micros.is_multiple_of(size) {
                let number = micros / size;
                return if number == 1 { write!(f, "{count}/{unit}") } else { write!(f, "{count}/{number}{unit}") };
            }
        }
        write!(f, "{count}/{}ms", self.per.as_secs_f64() * 1_000.0)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for Rate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Rate {
    type Err = Error;

    /// Parses text like `100/m`, `5/s`, `20/10m` or `1/1.5s`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::InvalidArgument { what: "rate", why };
        let unclear = || wrong(format!("`{text}` is not a rate: write it as 100/m, 5/s or 20/10m"));
        let (count, per) = text.split_once('/').ok_or_else(unclear)?;
        let (count, per) = (count.trim().parse().map_err(|_| unclear())?, per.trim());
        let is_unit = per.chars().all(|letter| letter.is_ascii_alphabetic());
        let per = if is_unit { format!("1{per}") } else { per.to_owned() };
        if per.ends_with(|last: char| last.is_ascii_digit()) {
            return Err(unclear());
        }
        Self::new(count, duration::parse(&per).map_err(wrong)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_read_and_shown() {
        for (text, count, per) in
            [("100/m", 100, 60_000), ("5/s", 5, 1_000), ("20/10m", 20, 600_000), ("1/250ms", 1, 250)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count, rate.per), (count, Duration::from_millis(per)));
            assert_eq!(rate.to_string(), text);
        }
        for (text, shown) in [("7 / 1h", "7/h"), ("1/.5s", "1/500ms"), ("9/1h30m", "9/90m")] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
        for text in [
            "", "5", "/s", "5/", "5/x", "0/s", "-1/s", "5/0s", "5/10", "1.5/s", "5/500d", "1/0.1ms", "10/h30m", "5/-1s",
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("rate"), "{text}: {error}");
        }
    }

    #[test]
    fn a_full_bucket_empties_and_fills_evenly() {
        let rate = Rate::new(3, Duration::from_secs(1)).unwrap();
        assert_eq!(rate.free(0, 1_000_000), 3);
        let full_at = rate.after(0, 1_000_000, 3);
        assert_eq!(rate.free(full_at, 1_000_000), 0);
        assert_eq!(rate.next(full_at, 1_000_000), Duration::from_micros(333_334));
        // Starts before the rate was in force, or under a clock that went back, count for at most one period.
        assert_eq!(rate.after(full_at, 1_000_000, 1_000), full_at);
        assert_eq!(rate.free(full_at, 0), 0);
        assert_eq!(rate.next(full_at, 0), Duration::from_micros(333_334));
        assert_eq!(rate.free(full_at, 1_333_334), 1);
        assert_eq!(rate.free(full_at, 2_000_000), 3);
    }

    #[test]
    fn a_bucket_that_met_a_clock_ahead_is_empty_and_fills() {
        let rate = Rate::new(60, Duration::from_secs(60)).unwrap();
        let now = 1_000_000_000_000;
        let ahead = rate.after(0, now + 3_600_000_000, 60);
        assert_eq!(rate.free(ahead, now + 2_000_000), 0, "as it is, nothing would start for an hour");
        let full_at = rate.rebased(ahead, now).unwrap();
        assert_eq!((rate.free(full_at, now), rate.free(full_at, now + 1_000_000)), (0, 1));
        assert_eq!(rate.rebased(full_at, now), None);
        assert_eq!(rate.rebased(full_at, now - 500_000), None, "a transaction that began earlier");
        assert_eq!(rate.rebased(i64::MAX, i64::MAX - 1), None);
    }

    proptest! {
        /// Never more starts than a full bucket and its refill since; nothing is lost except by rounding.
        #[test]
        fn it_keeps_its_promise(count in 1_u32..2_000, per in 1_u64..100_000, steps in prop::collection::vec((0_u64..50_000, 0_u32..3_000), 1..60)) {
            let rate = Rate::new(count, Duration::from_millis(per)).unwrap();
            let (mut now, mut full_at, mut started) = (0_i64, 0_i64, 0_u64);
            for (passed, wanted) in &steps {
                now += i64::try_from(*passed).unwrap();
                let free = rate.free(full_at, now);
                prop_assert!(free <= count);
                let taken = free.min(*wanted);
                full_at = rate.after(full_at, now, taken);
                started += u64::from(taken);
                let allowed = u64::from(count) + u64::try_from(now).unwrap() * u64::from(count) / (per * 1_000);
                prop_assert!(started <= allowed, "{started} of {allowed}");
            }
            // Once the bucket is full again, `count` tasks may start.
            prop_assert_eq!(rate.free(full_at, full_at), count);
            let soon = now + i64::try_from(rate.next(full_at, now).as_micros()).unwrap();
            prop_assert!(rate.free(full_at, soon) > rate.free(full_at, now) || rate.free(full_at, now) == count);
        }
    }
}
