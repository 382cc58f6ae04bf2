//! Pauses between retries while the database is unavailable: growing, jittered so that servers do not all return at
//! once, and at most two seconds, so that work resumes soon after the database is back.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Exponential backoff with jitter; the number of pauses so far.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// Returns the next pause.
    pub fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.0.min(10)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Returns the number of pauses so far.
    pub fn tries(&self) -> u32 {
        self.0
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

/// Returns a random time within 20% of `middle`, so that servers started together do not stay in step.
pub(crate) fn jittered(middle: Duration) -> Duration {
    middle.mul_f64(0.8 + rand::random::<f64>() * 0.4)
}
