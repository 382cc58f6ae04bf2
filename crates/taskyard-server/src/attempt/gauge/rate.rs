//! Rate estimation from samples of a clock and a count.
//!
//! The recent rate is an average whose weights halve every 15 s, independent of the number of samples, corrected for
//! the weight that has not been observed yet. Early on the mean since the beginning counts as well; the more has been
//! observed, the less it counts.

/// Seconds after which a sample counts half.
const HALF_LIFE: f64 = 15.0;
/// Seconds without an estimate at the beginning. An estimate also needs two samples.
const ETA_AFTER: f64 = 1.0;
/// Samples closer together than this many seconds count as one.
const GAP: f64 = 0.01;
/// Maximum estimate in seconds; there is none if it would be longer.
const ETA_MAX: f64 = 1e10;

/// Samples and weighted average of one tracker.
#[derive(Debug)]
pub(super) struct Rate {
    begun: f64,
    now: f64,
    /// The previous sample, and the count at that time.
    at: f64,
    count: f64,
    /// Steps since the beginning, without those that were taken back.
    moved: f64,
    average: f64,
    /// Share of the average's weight that has been observed: 0 to 1.
    weight: f64,
    samples: u32,
}

impl Rate {
    pub fn new(begun: f64) -> Self {
        Self::from(begun, 0.0)
    }

    /// Creates a rate that begins at a count: earlier steps do not contribute to the rate.
    pub fn from(begun: f64, count: f64) -> Self {
        Self { begun, now: begun, at: begun, count, moved: 0.0, average: 0.0, weight: 0.0, samples: 0 }
    }

    /// Adds a sample. A count that went back starts afresh for the next sample, and so does a number of steps that
    /// overflows.
    pub fn sample(&mut self, now: f64, count: f64) {
        self.now = self.now.max(now);
        let passed = self.now - self.at;
        if passed < GAP {
            return;
        }
        let steps = (count - self.count).max(0.0);
        if !(self.moved + steps / GAP).is_finite() {
            *self = Self { now: self.now, at: self.now, count, ..Self::new(self.begun) };
            return;
        }
        if count != self.count {
            self.samples = self.samples.saturating_add(1);
        }
        let kept = 0.5_f64.powf(passed / HALF_LIFE);
        self.average = self.average * kept + steps / passed * (1.0 - kept);
        self.weight = self.weight * kept + (1.0 - kept);
        self.moved += steps;
        (self.at, self.count) = (self.now, count);
    }

    /// Returns the rate in steps per second.
    pub fn per_second(&self) -> f64 {
        let elapsed = self.elapsed();
        if elapsed < GAP || self.weight <= 0.0 {
            return 0.0;
        }
        let (lately, in_all) = (self.average / self.weight, self.moved / elapsed);
        let rate = lately * self.weight + in_all * (1.0 - self.weight);
        if rate.is_finite() { rate.max(0.0) } else { 0.0 }
    }

    /// Returns the seconds since the beginning.
    pub fn elapsed(&self) -> f64 {
        (self.now - self.begun).max(0.0)
    }

    /// Returns the estimated seconds for `left` more steps.
    pub fn eta(&self, left: f64) -> Option<f64> {
        if self.samples < 2 || self.elapsed() < ETA_AFTER {
            return None;
        }
        if left <= 0.0 {
            return Some(0.0);
        }
        Some(left / self.per_second()).filter(|eta| eta.is_finite() && (0.0..ETA_MAX).contains(eta))
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_leap_beyond_all_numbers_is_forgotten() {
        let mut rate = Rate::new(0.0);
        rate.sample(1.0, f64::MAX);
        rate.sample(2.0, 0.0);
        for second in 1..=100_u32 {
            rate.sample(f64::from(second) + 2.0, f64::from(second) * 5.0);
        }
        assert!((rate.per_second() / 5.0 - 1.0).abs() < 0.1, "{}", rate.per_second());
        assert!((rate.eta(50.0).unwrap() / 10.0 - 1.0).abs() < 0.1);
    }
}
