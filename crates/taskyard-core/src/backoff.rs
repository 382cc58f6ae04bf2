//! Backoff: pauses that grow with each attempt in vain, up to a limit. Owns their limits and the computation.
//!
//! A pause is the first one times `factor` for each earlier attempt, at most `longest`, times a random share. Shares
//! keep processes that failed together from returning together. Not here are the limits of a task's retries, which the
//! task has ([`crate::RetryPolicy`]), the pace of a watch, which follows the cost of its query, and the limits of the workers in
//! the Python package, which have no engine (`workers.py`).

use std::time::Duration;

/// The limits of one use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pauses {
    /// The first pause.
    pub first: Duration,
    /// Factor from one pause to the next.
    pub factor: f64,
    /// The longest pause.
    pub longest: Duration,
    /// The smallest and the largest share of a pause that is waited, drawn uniformly.
    pub shares: (f64, f64),
}

const ALL: (f64, f64) = (1.0, 1.0);
const HALF_TO_ALL: (f64, f64) = (0.5, 1.0);

/// Loops of a server, the batcher of a client and the listening connection while the database is away: jittered, so
/// that not all of them return at once, and short, so that work resumes soon after the database is back.
pub const AWAY: Pauses =
    Pauses { first: Duration::from_millis(50), factor: 2.0, longest: Duration::from_secs(2), shares: HALF_TO_ALL };

/// Attempts of a pool to connect: a caller that repeats a failed call waits for the next one, and must not connect each
/// time.
pub const CONNECT: Pauses = Pauses { first: Duration::from_millis(100), ..AWAY };

/// Reads of a client on behalf of callers that wait, and the opening of its database: the callers of one process, which
/// are not many enough to disturb a database that returns.
pub const READ: Pauses = Pauses { shares: ALL, ..AWAY };

/// Groups of additions that are set aside: what holds them, a lock of another transaction, may end at any time.
pub const ASIDE: Pauses = Pauses { longest: Duration::from_secs(1), ..READ };

/// Child processes that fail to start: usually the application's code is broken, and a start costs seconds of a
/// processor.
pub const CHILD: Pauses = Pauses { first: Duration::from_millis(200), longest: Duration::from_secs(30), ..READ };

/// Statements after a deadlock or a serialization failure: the transaction that won is over within milliseconds.
pub const RERUN: Pauses =
    Pauses { first: Duration::from_millis(2), factor: 2.0, longest: Duration::from_millis(64), shares: (0.5, 1.5) };

/// The lock of an SQLite file that another process holds. A busy writer leaves a gap of the longest pause, and shares
/// keep two processes that wait for each other's gap from running in step.
pub const FILE_LOCK: Pauses =
    Pauses { first: Duration::from_micros(50), factor: 1.5, longest: Duration::from_millis(2), shares: HALF_TO_ALL };

impl Pauses {
    /// Returns the pause after `earlier` others; `draw`, from 0 to 1, chooses its share.
    #[must_use]
    pub fn at(&self, earlier: u32, draw: f64) -> Duration {
        let factor = self.factor.powi(i32::try_from(earlier).unwrap_or(i32::MAX));
        let whole = (self.first.as_secs_f64() * factor).min(self.longest.as_secs_f64()).max(0.0);
        let (least, most) = self.shares;
        let draw = if draw.is_nan() { 0.0 } else { draw.clamp(0.0, 1.0) };
        let share = least + draw * (most - least);
        Duration::try_from_secs_f64(whole * share).unwrap_or(self.longest)
    }

    /// Returns the pause after `earlier` others.
    #[must_use]
    pub fn draw(&self, earlier: u32) -> Duration {
        self.at(earlier, rand::random())
    }
}

/// The pauses of one series of attempts in vain; [`AWAY`] by default.
#[derive(Debug)]
pub struct Backoff {
    pauses: Pauses,
    tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(AWAY)
    }
}

impl Backoff {
    /// Begins a series.
    #[must_use]
    pub const fn new(pauses: Pauses) -> Self {
        Self { pauses, tries: 0 }
    }

    /// Returns the next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pauses.draw(self.tries);
        self.tries = self.tries.saturating_add(1);
        pause
    }

    /// Returns the number of pauses so far.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Waits for the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }
}

/// Returns a random time within 20% of `middle`, so that servers started together do not stay in step.
#[must_use]
pub fn jittered(middle: Duration) -> Duration {
    middle.mul_f64(0.8 + rand::random::<f64>() * 0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_has_its_limits() {
        // The first three pauses, the last and its number, all in milliseconds and without their shares.
        let table = [
            (AWAY, [50.0, 100.0, 200.0], (6, 2_000.0)),
            (CONNECT, [100.0, 200.0, 400.0], (5, 2_000.0)),
            (READ, [50.0, 100.0, 200.0], (6, 2_000.0)),
            (ASIDE, [50.0, 100.0, 200.0], (5, 1_000.0)),
            (CHILD, [200.0, 400.0, 800.0], (8, 30_000.0)),
            (RERUN, [2.0, 4.0, 8.0], (5, 64.0)),
            (FILE_LOCK, [0.05, 0.075, 0.1125], (10, 2.0)),
        ];
        for (pauses, first, (at, longest)) in table {
            let (least, most) = pauses.shares;
            let whole = Pauses { shares: ALL, ..pauses };
            let millis = |earlier| whole.at(earlier, 0.5).as_secs_f64() * 1_000.0;
            let is_near = |one: f64, other: f64| (one - other).abs() < 1e-5;
            for (earlier, expected) in (0..).zip(first) {
                assert!(is_near(millis(earlier), expected), "{pauses:?}: {}", millis(earlier));
                assert!(is_near(pauses.at(earlier, 0.0).as_secs_f64() * 1_000.0, expected * least));
                assert!(is_near(pauses.at(earlier, 1.0).as_secs_f64() * 1_000.0, expected * most));
            }
            assert!(millis(at - 1) < longest && is_near(millis(at), longest), "{pauses:?}: {}", millis(at));
            assert!(is_near(millis(u32::MAX), longest), "{pauses:?}");
        }
    }

    #[test]
    fn a_series_grows() {
        let mut backoff = Backoff::new(READ);
        let pauses = [backoff.next_pause(), backoff.next_pause(), backoff.next_pause()].map(|pause| pause.as_millis());
        assert_eq!((pauses, backoff.tries()), ([50, 100, 200], 3));
        let drawn = Backoff::default().next_pause();
        assert!(drawn >= AWAY.first / 2 && drawn <= AWAY.first, "{drawn:?}");
    }
}
