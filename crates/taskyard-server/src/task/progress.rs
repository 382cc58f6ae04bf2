//! Progress tracking: a body updates a tracker as often as it likes, and the values are stored in the task's context
//! under `progress`: `total`, `completed`, `percentage`, `message`, `rate`, `elapsed`, `eta_seconds`, `indeterminate`,
//! `updated_at`, `attempt`.
//!
//! The numbers themselves, and how they are read for the store, are in `attempt/gauge.rs`.
//! Values are never NaN, infinite or negative.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use taskyard_core::{Error, Result};

use crate::attempt::{Attempt, Gauge};

/// A number of steps: any integer, or a finite float; not negative.
pub trait Amount {
    /// Converts to a float. The result is negative or not finite if the value is not a valid number of steps.
    fn amount(self) -> f64;
}

macro_rules! amounts {
    ($($number:ty)*) => {
        $(impl Amount for $number {
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "beyond 2^53 one more step makes no difference")]
            fn amount(self) -> f64 {
                self as f64
            }
        })*
    };
}

amounts! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 }

/// Counts progress towards a total. Cheap to clone and to call, from any thread.
#[derive(Clone)]
pub struct ProgressTracker {
    gauge: Arc<Gauge>,
    attempt: Option<Arc<Attempt>>,
}

impl fmt::Debug for ProgressTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressTracker")
            .field("current", &self.current())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

impl Default for ProgressTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressTracker {
    /// Creates a tracker that belongs to no task: it counts, and nothing is stored.
    #[must_use]
    pub fn new() -> Self {
        Self { gauge: Arc::default(), attempt: None }
    }

    /// Creates a tracker that belongs to no task, with a monotonic clock in seconds.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { gauge: Arc::new(Gauge::new(Arc::new(clock))), attempt: None }
    }

    /// Returns the tracker whose values the attempt stores.
    pub(crate) fn of(attempt: &Arc<Attempt>, gauge: Arc<Gauge>) -> Self {
        Self { gauge, attempt: Some(Arc::clone(attempt)) }
    }

    /// Sets the total number of steps; may be called again whenever it changes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the number is negative or not finite; nothing is changed then.
    pub fn set_total(&self, total: impl Amount) -> Result<()> {
        self.gauge.set_total(Some(checked("total", total)?));
        self.changed();
        Ok(())
    }

    /// Marks the total number of steps as unknown.
    pub fn unset_total(&self) {
        self.gauge.set_total(None);
        self.changed();
    }

    /// Adds completed steps.
    ///
    /// # Errors
    /// As [`Self::set_total`].
    pub fn advance(&self, by: impl Amount) -> Result<()> {
        self.gauge.advance(checked("advance", by)?);
        self.changed();
        Ok(())
    }

    /// Sets the number of completed steps, which may be lower than before.
    ///
    /// # Errors
    /// As [`Self::set_total`].
    pub fn update(&self, completed: impl Amount) -> Result<()> {
        self.gauge.set_current(checked("update", completed)?);
        self.changed();
        Ok(())
    }

    /// Sets the message that describes the current step.
    pub fn set_message(&self, message: impl Into<String>) {
        self.gauge.set_message(message.into());
        self.changed();
    }

    /// Returns the number of completed steps as reported; may exceed the total.
    #[must_use]
    pub fn current(&self) -> f64 {
        self.gauge.current()
    }

    /// Returns the total number of steps, if it is known.
    #[must_use]
    pub fn total(&self) -> Option<f64> {
        self.gauge.total()
    }

    /// Returns true if the total is unknown.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        self.total().is_none()
    }

    /// Returns the percentage, 0 to 100: 0 without a total, 100 if the total is zero.
    #[must_use]
    pub fn percentage(&self) -> f64 {
        self.gauge.percentage()
    }

    /// Returns the current message.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        self.gauge.message()
    }

    /// Returns the recent rate in steps per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.gauge.rate()
    }

    /// Returns the time since the tracker began to count.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.gauge.elapsed()).unwrap_or_default()
    }

    /// Returns the estimated seconds until completion at the current rate; the estimate grows while nothing advances.
    /// `None` without a total, before the second sample, and in the first second.
    #[must_use]
    pub fn eta_seconds(&self) -> Option<f64> {
        self.gauge.eta()
    }

    fn changed(&self) {
        // Only the first change since the last read has to queue the attempt.
        if self.gauge.touch()
            && let Some(attempt) = &self.attempt
            && !attempt.is_decided()
        {
            attempt.offer();
        }
    }
}

fn checked(what: &'static str, amount: impl Amount) -> Result<f64> {
    let amount = amount.amount();
    if amount.is_finite() && amount >= 0.0 {
        return Ok(amount);
    }
    Err(Error::InvalidArgument {
        what,
        why: format!("{amount} is not a number of steps: give a finite number, 0 or more"),
    })
}

#[cfg(test)]
mod tests;
