//! How far a task is: a tracker that a body tells, as often as it likes, and that is stored in the task's context under
//! `progress`: `total`, `completed`, `percentage`, `message`, `rate`, `elapsed`, `eta_seconds`, `indeterminate`,
//! `updated_at`, `attempt`.
//!
//! A call changes two numbers without a lock. They are read when the recorder comes by, at most ten times a second, and
//! with the attempt's end: the last value is always stored before the final state, and a million calls are a few writes.
//! Figures are never NaN, infinite or negative.

mod rate;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use taskyard_core::{Error, Result, Timestamp};

use crate::attempt::Attempt;
use crate::engine::lock;
use rate::Rate;

/// A number of steps: any integer, or a float that is finite and not negative.
pub trait Amount {
    /// As a float; not finite, or negative, if it is none.
    fn amount(self) -> f64;
}

macro_rules! amounts {
    ($($number:ty)*) => {
        $(impl Amount for $number {
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "beyond 2^53 a step more is no step")]
            fn amount(self) -> f64 {
                self as f64
            }
        })*
    };
}

amounts! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 }

/// Seconds that never go back.
type Clock = Arc<dyn Fn() -> f64 + Send + Sync>;

/// What is counted, apart from any attempt.
pub(crate) struct Gauge {
    clock: Clock,
    /// Floats as bits; the total is NaN while it is not known.
    current: AtomicU64,
    total: AtomicU64,
    /// Something changed since it was read for the store.
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

    /// Looks at the clock, and answers what `read` makes of the rate then.
    fn rated<T>(&self, read: impl FnOnce(&Rate) -> T) -> T {
        let mut rate = lock(&self.rate);
        rate.sample((self.clock)(), self.current());
        read(&rate)
    }

    fn eta(&self) -> Option<f64> {
        let left = (self.total()? - self.current()).max(0.0);
        self.rated(|rate| rate.eta(left))
    }

    /// Goes on where another attempt stopped, as far as its entry can be read.
    fn resume(&self, stored: &Value) {
        let figure = |name: &str| stored.get(name).and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
        let current = figure("completed").unwrap_or(0.0);
        self.current.store(current.to_bits(), Ordering::Relaxed);
        self.total.store(figure("total").unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
        *lock(&self.message) = stored.get("message").and_then(Value::as_str).map(Into::into);
        *lock(&self.rate) = Rate::from((self.clock)(), current);
    }

    /// Whether it must be stored.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Acquire)
    }

    /// The entry to store, if something changed since the last time.
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

/// Whole numbers as such.
#[allow(clippy::cast_possible_truncation, reason = "checked")]
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// Counts towards a total. Cheap to clone and to call, from any thread.
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
    /// A tracker of no task: it counts, and nothing is stored.
    #[must_use]
    pub fn new() -> Self {
        let begun = Instant::now();
        Self { gauge: Arc::new(Gauge::new(Arc::new(move || begun.elapsed().as_secs_f64()))), attempt: None }
    }

    /// The same on a clock of the caller's: seconds that never go back.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { gauge: Arc::new(Gauge::new(Arc::new(clock))), attempt: None }
    }

    /// The one that the attempt stores.
    pub(crate) fn of(attempt: &Arc<Attempt>, gauge: Arc<Gauge>) -> Self {
        Self { gauge, attempt: Some(Arc::clone(attempt)) }
    }

    /// Says how many steps there are in all; may be said again as often as that changes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is negative or no number; nothing was changed then.
    pub fn set_total(&self, total: impl Amount) -> Result<()> {
        self.gauge.total.store(checked("total", total)?.to_bits(), Ordering::Relaxed);
        self.changed();
        Ok(())
    }

    /// Says that nobody knows how many steps there are in all.
    pub fn unset_total(&self) {
        self.gauge.total.store(f64::NAN.to_bits(), Ordering::Relaxed);
        self.changed();
    }

    /// So many steps more.
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

    /// So many steps are done; may be fewer than before.
    ///
    /// # Errors
    /// As [`Self::set_total`].
    pub fn update(&self, completed: impl Amount) -> Result<()> {
        self.gauge.current.store(checked("update", completed)?.to_bits(), Ordering::Relaxed);
        self.changed();
        Ok(())
    }

    /// Says what it is at.
    pub fn set_message(&self, message: impl Into<String>) {
        *lock(&self.gauge.message) = Some(message.into());
        self.changed();
    }

    /// Steps done, as they were told: may be more than the total.
    #[must_use]
    pub fn current(&self) -> f64 {
        self.gauge.current()
    }

    /// Steps in all, once that was said.
    #[must_use]
    pub fn total(&self) -> Option<f64> {
        self.gauge.total()
    }

    /// Whether the total is unknown.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        self.total().is_none()
    }

    /// 0 to 100; 0 without a total, 100 of nothing.
    #[must_use]
    pub fn percentage(&self) -> f64 {
        self.gauge.percentage()
    }

    /// What it is at.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        lock(&self.gauge.message).clone()
    }

    /// Steps in a second, lately.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.gauge.rated(Rate::per_second)
    }

    /// Since it began to count.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.gauge.rated(Rate::elapsed)).unwrap_or_default()
    }

    /// Seconds until it is through, as it goes now; grows while nothing moves. None without a total, before the second
    /// sample, and in the first second.
    #[must_use]
    pub fn eta_seconds(&self) -> Option<f64> {
        self.gauge.eta()
    }

    fn changed(&self) {
        // Only the first change since it was read for the store has to tell anybody.
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

/// A gauge on the process's clock, of an attempt in whose context an earlier one has left this entry: it goes on from there, or
/// begins anew, and then the entry is not true any more.
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
