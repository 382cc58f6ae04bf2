//! Pauses between tries while the database is away: growing, jittered so that servers do not return as one herd, and
//! never longer than two seconds, so that work goes on soon after the database is back.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// The next pause.
    pub fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.0.min(10)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// How many pauses there were.
    pub fn tries(&self) -> u32 {
        self.0
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

/// A time around `middle`, so that servers started together do not stay in step.
pub(crate) fn jittered(middle: Duration) -> Duration {
    middle.mul_f64(0.8 + rand::random::<f64>() * 0.4)
}
