//! Passes the engine's log to Python's `logging`: a Python thread takes the lines from here, so that no thread of the
//! engine ever waits for the interpreter.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Maximum number of lines stored for a slow reader; the oldest are dropped first.
const LINES_MAX: usize = 10_000;

/// Python's level, the target, the text.
type Line = (u8, String, String);

/// The log of one process.
struct Log {
    process: u32,
    /// The lines, and whether the log has ended.
    lines: Mutex<(VecDeque<Line>, bool)>,
    changed: Condvar,
}

/// Never dropped, and replaced after a fork, because a thread of the parent may have held its lock.
static LOG: AtomicPtr<Log> = AtomicPtr::new(std::ptr::null_mut());

fn log() -> &'static Log {
    let process = std::process::id();
    let found = LOG.load(Ordering::Acquire);
    // SAFETY: the pointer is null or was leaked.
    #[allow(unsafe_code)]
    if let Some(log) = unsafe { found.as_ref() }
        && log.process == process
    {
        return log;
    }
    let made = Box::leak(Box::new(Log { process, lines: Mutex::default(), changed: Condvar::new() }));
    match LOG.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(_) => log(),
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Line>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes to the engine's events; has no effect in the command, which has a subscriber of its own.
pub fn start() {
    let _ = tracing_subscriber::registry().with(ToPython.with_filter(LevelFilter::INFO)).try_init();
}

/// Adds a line of this crate.
pub fn push(level: u8, text: String) {
    let log = log();
    let mut lines = log.lock();
    if lines.0.len() >= LINES_MAX {
        lines.0.pop_front();
    }
    lines.0.push_back((level, "taskyard".into(), text));
    log.changed.notify_one();
}

/// Waits up to `timeout` seconds for lines `[(level, logger, text)]`; returns `None` after `end_logs`.
#[pyfunction]
pub fn next_logs(py: Python<'_>, timeout: f64) -> Option<Vec<Line>> {
    py.detach(|| {
        let wait = Duration::from_secs_f64(timeout.clamp(0.0, 3600.0));
        let log = log();
        let waiting = log.changed.wait_timeout_while(log.lock(), wait, |(lines, ended)| lines.is_empty() && !*ended);
        let (mut lines, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<Line> = lines.0.drain(..).collect();
        (!taken.is_empty() || !lines.1).then_some(taken)
    })
}

/// Makes `next_logs` return `None` once no lines are left.
#[pyfunction]
pub fn end_logs() {
    log().lock().1 = true;
    log().changed.notify_all();
}

struct ToPython;

impl<S: Subscriber> Layer<S> for ToPython {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        push(level, text.message + &text.fields);
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}
