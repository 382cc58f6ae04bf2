//! Stores `tracing` events inside a running task as its log lines in the database, in addition to any other layers.
//!
//! Levels are Python's numbers (trace 5, debug 10, info 20, warn 30, error 40), the logger is the event's target, and
//! the fields are stored as JSON. Events outside of tasks are ignored. Filter it like any layer, for example
//! `TaskLogLayer::new().with_filter(LevelFilter::INFO)`.

use std::fmt;

use serde_json::{Map, Value};
use taskyard_core::task::LogLine;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::TaskContext;

/// The layer; see the module.
///
/// ```
/// use taskyard::TaskLogLayer;
/// use tracing_subscriber::filter::LevelFilter;
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer()) // all events, on stdout
///     .with(TaskLogLayer::new().with_filter(LevelFilter::INFO)); // those of tasks, in the database
/// # drop(subscriber);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskLogLayer(());

impl TaskLogLayer {
    /// Creates a layer that stores events of every level.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TaskLogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let Some(task) = TaskContext::current() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let kept = (!fields.map.is_empty()).then(|| serde_json::to_vec(&fields.map).unwrap_or_default());
        task.log_line(LogLine {
            level: level_number(*metadata.level()),
            logger: metadata.target().to_owned(),
            message: fields.message,
            fields: kept,
            traceback: None,
        });
    }
}

const fn level_number(level: Level) -> i16 {
    match level {
        Level::TRACE => 5,
        Level::DEBUG => 10,
        Level::INFO => 20,
        Level::WARN => 30,
        Level::ERROR => 40,
    }
}

/// Collects an event's fields; the field `message` is the line's text.
#[derive(Default)]
struct Fields {
    message: String,
    map: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
        } else {
            self.map.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN or infinity, so these are stored as text.
        let number = serde_json::Number::from_f64(value);
        self.put(field, number.map_or_else(|| Value::String(value.to_string()), Value::Number));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        for _ in 0..100 {
            let Some(next) = cause else { break };
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        self.put(field, Value::String(text));
    }
}
