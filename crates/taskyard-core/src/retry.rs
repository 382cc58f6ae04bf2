//! The retry policy: whether and after what pause a failed attempt runs again.
//!
//! Only failures of the body count. The death of a server and a graceful shutdown use up no retry (see
//! [`crate::store`]). The pause before retry *n* (from 1) is uniformly distributed between 0 and
//! `min(cap, backoff × factor^(n-1))` ("full jitter": Brooker, "Exponential Backoff And Jitter", AWS 2015).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Pauses;

/// Number of retries of a failed task, and the pauses between them.
///
/// ```
/// use std::time::Duration;
/// use taskyard::RetryPolicy;
///
/// let never = vec!["BadAddress".into()];
/// let policy = RetryPolicy { backoff_ms: 500, jitter: false, never, ..RetryPolicy::default() };
/// let pause = |failures| policy.next_pause(failures, &["Timeout"], 0.0).map(|pause| pause.as_millis());
/// assert_eq!([1, 2, 3, 4].map(pause), [Some(500), Some(1_000), Some(2_000), None]); // three retries
/// assert_eq!(policy.next_pause(1, &["BadAddress"], 0.0), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Retries after the first failure (default 3).
    pub max_retries: u32,
    /// Upper bound of the first pause in milliseconds (default 2,000).
    pub backoff_ms: u64,
    /// Factor by which the upper bound grows with each retry (default 2).
    pub factor: f64,
    /// Upper bound of any pause in milliseconds (default 600,000: ten minutes).
    pub cap_ms: u64,
    /// Whether the pause is drawn uniformly between 0 and its upper bound (default), or is always the upper bound.
    pub jitter: bool,
    /// Error types that are retried; empty (default) means all.
    pub only: Vec<String>,
    /// Error types that are never retried. Takes precedence over `only` for the same type.
    pub never: Vec<String>,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    #[serde(skip)]
    pub unlisted: crate::Unlisted,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff_ms: 2_000,
            factor: 2.0,
            cap_ms: 600_000,
            jitter: true,
            only: Vec::new(),
            never: Vec::new(),
            unlisted: crate::Unlisted::default(),
        }
    }
}

impl RetryPolicy {
    /// Returns a policy without retries.
    #[must_use]
    pub fn none() -> Self {
        Self { max_retries: 0, ..Self::default() }
    }

    /// Returns the pause before the next attempt, or `None` if the task is a dead letter.
    ///
    /// `failures` counts the body's failures including this one. `error_types` are the type names of the error, the
    /// most specific first: the first one that `only` or `never` contains decides. `draw` is a random number in
    /// `0.0..1.0`.
    #[must_use]
    pub fn next_pause(&self, failures: u32, error_types: &[&str], draw: f64) -> Option<Duration> {
        let place = |names: &[String]| error_types.iter().position(|error| names.iter().any(|name| name == error));
        let refused = match (place(&self.never), place(&self.only)) {
            (Some(never), Some(only)) => never <= only,
            (never, only) => never.is_some() || (only.is_none() && !self.only.is_empty()),
        };
        if refused || failures > self.max_retries {
            return None;
        }
        let pauses = Pauses {
            first: Duration::from_millis(self.backoff_ms),
            factor: self.factor,
            longest: Duration::from_millis(self.cap_ms),
            shares: (if self.jitter { 0.0 } else { 1.0 }, 1.0),
        };
        Some(pauses.at(failures.saturating_sub(1), draw.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = RetryPolicy { jitter: false, max_retries: 20, ..RetryPolicy::default() };
        let pause = |failures| policy.next_pause(failures, &["E"], 0.5).map(|pause| pause.as_secs());
        assert_eq!([1, 2, 3, 9, 10, 20].map(pause), [2, 4, 8, 512, 600, 600].map(Some));
        assert_eq!(pause(21), None);
    }

    #[test]
    fn jitter_draws_from_zero_to_the_longest() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.next_pause(1, &["E"], 0.0), Some(Duration::ZERO));
        assert_eq!(policy.next_pause(2, &["E"], 0.5), Some(Duration::from_secs(2)));
    }

    #[test]
    fn error_types_decide_first() {
        let policy = RetryPolicy { only: vec!["Io".into()], never: vec!["Fatal".into()], ..RetryPolicy::default() };
        assert!(policy.next_pause(1, &["Io"], 0.0).is_some());
        assert_eq!(policy.next_pause(1, &["Fatal"], 0.0), None);
        assert_eq!(policy.next_pause(1, &["Other"], 0.0), None);
        assert!(policy.next_pause(1, &["Timeout", "Io"], 0.0).is_some(), "a kind of Io");
        assert_eq!(policy.next_pause(1, &["Fatal", "Io"], 0.0), None, "the closer name decides");
        assert!(policy.next_pause(1, &["Io", "Fatal"], 0.0).is_some());
        assert_eq!(RetryPolicy::none().next_pause(1, &["Io"], 0.0), None);
    }
}
