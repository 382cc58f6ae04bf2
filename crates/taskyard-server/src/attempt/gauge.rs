//! [`Gauge`]: the progress of an attempt, as its body counts it and the recorder reads it.
//!
//! A call changes two numbers without a lock. They are read by the recorder, at most ten times a second, and at the
//! attempt's end: the last value is always stored before the final state, and a million calls result in a few writes.
//! Values are never NaN, infinite or negative. The handle of a body is `ProgressTracker`.

mod rate;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Map, Value, json};
use taskyard_core::Timestamp;

use crate::primitives::lock::lock;
use rate::Rate;

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

impl Default for Gauge {
    fn default() -> Self {
        let begun = Instant::now();
        Self::new(Arc::new(move || begun.elapsed().as_secs_f64()))
    }
}

impl Gauge {
    /// Creates a gauge for an attempt whose context contains the entry of an earlier one. Continues from that entry if
    /// `resume`; otherwise starts anew, and the stale entry is to be overwritten.
    pub fn of(stored: Option<&Value>, resume: bool) -> Self {
        let gauge = Self::default();
        if let Some(stored) = stored.filter(|stored| stored.is_object()) {
            if resume {
                gauge.resume(stored);
            } else {
                gauge.is_fresh.store(true, Ordering::Release);
            }
        }
        gauge
    }

    pub fn new(clock: Clock) -> Self {
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

    pub fn set_current(&self, current: f64) {
        self.current.store(current.to_bits(), Ordering::Relaxed);
    }

    pub fn advance(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).min(f64::MAX).to_bits());
        let _ = self.current.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub fn set_total(&self, total: Option<f64>) {
        self.total.store(total.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    pub fn set_message(&self, message: String) {
        *lock(&self.message) = Some(message);
    }

    /// Notes that a value has changed. Returns true if this is the first change since the values were read.
    pub fn touch(&self) -> bool {
        !self.is_fresh.swap(true, Ordering::AcqRel)
    }

    pub fn current(&self) -> f64 {
        f64::from_bits(self.current.load(Ordering::Relaxed))
    }

    pub fn total(&self) -> Option<f64> {
        Some(f64::from_bits(self.total.load(Ordering::Relaxed))).filter(|total| !total.is_nan())
    }

    pub fn percentage(&self) -> f64 {
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

    pub fn message(&self) -> Option<String> {
        lock(&self.message).clone()
    }

    pub fn rate(&self) -> f64 {
        self.rated(Rate::per_second)
    }

    pub fn elapsed(&self) -> f64 {
        self.rated(Rate::elapsed)
    }

    pub fn eta(&self) -> Option<f64> {
        let left = (self.total()? - self.current()).max(0.0);
        self.rated(|rate| rate.eta(left))
    }

    /// Continues from the stored entry of another attempt, as far as it can be read.
    fn resume(&self, stored: &Value) {
        let figure = |name: &str| stored.get(name).and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
        let current = figure("completed").unwrap_or(0.0);
        self.set_current(current);
        self.set_total(figure("total"));
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
