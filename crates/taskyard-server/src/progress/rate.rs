//! How fast something goes, of samples of a clock and a count.
//!
//! Lately: an average whose weights halve every 15 s of time, however many samples there are, corrected for what it has
//! not seen yet. Early on the mean since the beginning counts as well; the more has been seen, the less.

/// Seconds after which a sample counts half.
const HALF_LIFE: f64 = 15.0;
/// There is no estimate before so many seconds, nor before the second sample.
const ETA_AFTER: f64 = 1.0;
/// Samples nearer to each other are one.
const GAP: f64 = 0.01;
/// A longer estimate is none.
const ETA_MAX: f64 = 1e10;

#[derive(Debug)]
pub(super) struct Rate {
    begun: f64,
    now: f64,
    /// The sample before, and the count there.
    at: f64,
    count: f64,
    /// Steps since the beginning, without those that were taken back.
    moved: f64,
    average: f64,
    /// How much of the average's weight has been seen: 0 to 1.
    weight: f64,
    samples: u32,
}

impl Rate {
    pub fn new(begun: f64) -> Self {
        Self::from(begun, 0.0)
    }

    /// One that begins at a count: what was done before says nothing of the speed now.
    pub fn from(begun: f64, count: f64) -> Self {
        Self { begun, now: begun, at: begun, count, moved: 0.0, average: 0.0, weight: 0.0, samples: 0 }
    }

    /// The count at a time. One that went back is a new beginning for the next sample, and so is one whose steps are more
    /// than a number can say.
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

    /// Steps in a second.
    pub fn per_second(&self) -> f64 {
        let elapsed = self.elapsed();
        if elapsed < GAP || self.weight <= 0.0 {
            return 0.0;
        }
        let (lately, in_all) = (self.average / self.weight, self.moved / elapsed);
        let rate = lately * self.weight + in_all * (1.0 - self.weight);
        if rate.is_finite() { rate.max(0.0) } else { 0.0 }
    }

    /// Seconds since the beginning.
    pub fn elapsed(&self) -> f64 {
        (self.now - self.begun).max(0.0)
    }

    /// Seconds for so many steps more.
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
