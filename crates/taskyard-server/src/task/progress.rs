//! Progress tracking: a body updates a tracker as often as it likes, and the values are stored in the task's context
//! under `progress`: `total`, `completed`, `percentage`, `message`, `rate`, `elapsed`, `eta_seconds`, `indeterminate`,
//! `updated_at`, `attempt`.
//!
//! A call changes two numbers without a lock. They are read by the recorder, at most ten times a second, and at the
//! attempt's end: the last value is always stored before the final state, and a million calls result in a few writes.
//! Values are never NaN, infinite or negative.

mod rate;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use taskyard_core::{Error, Result, Timestamp};

use crate::attempt::Attempt;
use crate::primitives::lock::lock;
use rate::Rate;

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

/// A monotonic clock in seconds.
type Clock = Arc<dyn Fn() -> f64 + Send + Sync>;

/// The counters of a tracker, independent of any attempt.
pub(crate) struct Gauge {
    clock: Clock,
    /// `current` and `total` are floats stored as bits; the total is NaN while it is unknown.
    current: AtomicU64,
    total: AtomicU64,
    /// Set when a value has changed since it was last read for the store.
    is_fresh: AtomicBool,
    message: Mutex<Option<String>>,
    rate: Mutex<Rate>,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("current", &self.current()).field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Gauge {
    fn new(clock: Clock) -> Self {
        let begun = clock();
        Self {
            clock,
            current: AtomicU64::new(0.0_f64.to_bits()),
            total: AtomicU64::new(f64::NAN.to_bits()),
            is_fresh: AtomicBool::new(false),
            message: Mutex::default(),
            rate: Mutex::new(Rate::new(begun)),
        }
    }

    fn current(&self) -> f64 {
        f64::from_bits(self.current.load(Ordering::Relaxed))
    }

    fn total(&self) -> Option<f64> {
        Some(f64::from_bits(self.total.load(Ordering::Relaxed))).filter(|total| !total.is_nan())
    }

    fn percentage(&self) -> f64 {
        match self.total() {
            None => 0.0,
            Some(total) if total > 0.0 => (self.current() / total * 100.0).clamp(0.0, 100.0),
            Some(_) => 100.0,
        }
    }

    /// Takes a sample of the clock and returns the result of `read` on the rate.
    fn rated<T>(&self, read: impl FnOnce(&Rate) -> T) -> T {
        let mut rate = lock(&self.rate);
        rate.sample((self.clock)(), self.current());
        read(&rate)
    }

    fn eta(&self) -> Option<f64> {
        let left = (self.total()? - self.current()).max(0.0);
        self.rated(|rate| rate.eta(left))
    }

    /// Continues from the stored entry of another attempt, as far as it can be read.
    fn resume(&self, stored: &Value) {
        let figure = |name: &str| stored.get(name).and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
        let current = figure("completed").unwrap_or(0.0);
        self.current.store(current.to_bits(), Ordering::Relaxed);
        self.total.store(figure("total").unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
        *lock(&self.message) = stored.get("message").and_then(Value::as_str).map(Into::into);
        *lock(&self.rate) = Rate::from((self.clock)(), current);
    }

    /// Returns true if the values must be stored.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Acquire)
    }

    /// Returns the entry to store, if a value has changed since the last call.
    pub fn take(&self, attempt: u32) -> Option<Value> {
        self.is_fresh.swap(false, Ordering::AcqRel).then(|| {
            let (rate, elapsed) = self.rated(|rate| (rate.per_second(), rate.elapsed()));
            let updated_at = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default();
            let mut entry = Map::new();
            entry.insert("total".into(), self.total().map_or(Value::Null, number));
            entry.insert("completed".into(), number(self.current()));
            entry.insert("percentage".into(), json!(self.percentage()));
            entry.insert("message".into(), json!(*lock(&self.message)));
            entry.insert("rate".into(), json!(rate));
            entry.insert("elapsed".into(), json!(elapsed));
            entry.insert("eta_seconds".into(), json!(self.eta()));
            entry.insert("indeterminate".into(), json!(self.total().is_none()));
            entry.insert("updated_at".into(), json!(updated_at));
            entry.insert("attempt".into(), json!(attempt));
            Value::Object(entry)
        })
    }
}

/// Converts whole numbers to integers.
#[allow(clippy::cast_possible_truncation, reason = "checked")]
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

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
        let begun = Instant::now();
        Self { gauge: Arc::new(Gauge::new(Arc::new(move || begun.elapsed().as_secs_f64()))), attempt: None }
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
        self.gauge.total.store(checked("total", total)?.to_bits(), Ordering::Relaxed);
        self.changed();
        Ok(())
    }

    /// Marks the total number of steps as unknown.
    pub fn unset_total(&self) {
        self.gauge.total.store(f64::NAN.to_bits(), Ordering::Relaxed);
        self.changed();
    }

    /// Adds completed steps.
    ///
    /// # Errors
    /// As [`Self::set_total`].
    pub fn advance(&self, by: impl Amount) -> Result<()> {
        let by = checked("advance", by)?;
        let add = |bits| Some((f64::from_bits(bits) + by).min(f64::MAX).to_bits());
        let _ = self.gauge.current.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.changed();
        Ok(())
    }

    /// Sets the number of completed steps, which may be lower than before.
    ///
    /// # Errors
    /// As [`Self::set_total`].
    pub fn update(&self, completed: impl Amount) -> Result<()> {
        self.gauge.current.store(checked("update", completed)?.to_bits(), Ordering::Relaxed);
        self.changed();
        Ok(())
    }

    /// Sets the message that describes the current step.
    pub fn set_message(&self, message: impl Into<String>) {
        *lock(&self.gauge.message) = Some(message.into());
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
        lock(&self.gauge.message).clone()
    }

    /// Returns the recent rate in steps per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.gauge.rated(Rate::per_second)
    }

    /// Returns the time since the tracker began to count.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.gauge.rated(Rate::elapsed)).unwrap_or_default()
    }

    /// Returns the estimated seconds until completion at the current rate; the estimate grows while nothing advances.
    /// `None` without a total, before the second sample, and in the first second.
    #[must_use]
    pub fn eta_seconds(&self) -> Option<f64> {
        self.gauge.eta()
    }

    fn changed(&self) {
        // Only the first change since the last read has to queue the attempt.
        if !self.gauge.is_fresh.swap(true, Ordering::AcqRel)
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

/// Returns a gauge on the process's clock for an attempt whose context contains the entry of an earlier one. Continues
/// from that entry if `resume`; otherwise starts anew, and the stale entry is to be overwritten.
pub(crate) fn gauge(stored: Option<&Value>, resume: bool) -> Arc<Gauge> {
    let gauge = ProgressTracker::new().gauge;
    if let Some(stored) = stored.filter(|stored| stored.is_object()) {
        if resume {
            gauge.resume(stored);
        } else {
            gauge.is_fresh.store(true, Ordering::Release);
        }
    }
    gauge
}

#[cfg(test)]
mod tests;
