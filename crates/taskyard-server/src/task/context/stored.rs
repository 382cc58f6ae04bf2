//! The part of a running task that is stored while it runs: context, progress and log lines.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use taskyard_core::context::Context;
use taskyard_core::task::LogLine;
use taskyard_core::{Error, Limits, Result, payload};

use super::TaskContext;
use crate::ProgressTracker;
use crate::attempt::{Gauge, Live};

impl TaskContext {
    /// Sets the value at a dotted path. The change is stored soon, at the latest with the task's end.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskContext, task};
    ///
    /// #[task]
    /// async fn import(context: TaskContext) -> Result<Option<u32>, Error> {
    ///     context.set("rows.read", 200)?;
    ///     context.get("rows.read")
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, Some(200));
    /// assert_eq!(task.context().await?["rows"]["read"], 200);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the value cannot be written as JSON without loss, [`Error::OverLimit`] if the
    /// context would become too large or too deeply nested, [`Error::InvalidArgument`] for a path with an empty
    /// segment. The context is then unchanged.
    pub fn set(&self, path: &str, value: impl Serialize) -> Result<()> {
        let limits = self.0.host.limits();
        let value = to_value(&value, &limits)?;
        self.change(|live| set(live, path, value, &limits))
    }

    /// Returns the value at a dotted path.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let value = self.with_context(|context| context.get(path).cloned())?;
        value.map(serde_json::from_value).transpose().map_err(|error| Error::NotRepresentable {
            what: format!("context value `{}`", path.escape_debug()),
            why: error.to_string(),
        })
    }

    /// Returns the whole context.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the stored context is not a JSON object.
    pub fn context_map(&self) -> Result<Map<String, Value>> {
        self.with_context(|context| context.as_map().clone())
    }

    /// Replaces the whole context; an empty map clears it.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if the context is too large or too deeply nested; it is then unchanged.
    pub fn replace_context(&self, map: Map<String, Value>) -> Result<()> {
        let limits = self.0.host.limits();
        let mut context = Context::default();
        for (name, value) in &map {
            let depth = 1 + taskyard_core::context::depth(value);
            Limits::check_size("context", "nesting_max", depth, limits.nesting_max)?;
            let _ = name;
        }
        context.replace(map);
        let size = context.to_bytes(&limits)?.len();
        self.change(|live| {
            live.context = Some(context);
            live.size_bound = size;
            Ok(())
        })
    }

    /// Completes when every change made so far is durable.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskContext, task};
    ///
    /// #[task]
    /// async fn import(context: TaskContext) -> Result<(), Error> {
    ///     context.set("file", "rows-7.csv")?;
    ///     context.save_context().await // the next attempt reads it, even if the server is killed now
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.context().await?["file"], "rows-7.csv");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another attempt may already run; [`Error::NotStorable`] or a similar error if the
    /// database can never store the context. The change was then not stored.
    pub async fn save_context(&self) -> Result<()> {
        if self.0.host.store.is_none() {
            return Ok(());
        }
        let limits = self.0.host.limits();
        let wanted = self.0.live(|live| {
            live.take_progress(self.attempt(), &limits);
            live.urgent = true;
            live.changed
        });
        self.0.offer();
        // The record may already be held back for coalescing.
        self.0.host.outbox.records.notify();
        loop {
            let recorded = self.0.recorded();
            tokio::pin!(recorded);
            recorded.as_mut().enable();
            if self.0.live(|live| live.lost) || self.0.is_decided() {
                return Err(Error::LeaseLost(self.id()));
            }
            let refused = self.0.live(|live| live.not_storable.clone().filter(|(change, _)| *change >= wanted));
            if let Some((_, error)) = refused {
                return Err(error);
            }
            if self.0.live(|live| live.stored >= wanted) {
                return Ok(());
            }
            recorded.await;
        }
    }

    /// Sets `progress.total`, `progress.completed` and `progress.percentage` (0 to 100) in the context. Cheap: any
    /// number of calls result in a few writes, and the last value is always stored.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// async fn import(rows: u64, context: TaskContext) {
    ///     for row in 1..=rows {
    ///         context.progress(row, rows);
    ///     }
    /// }
    ///
    /// let task = queue.add(import(200)).await?;
    /// queue.drain().await?;
    /// let progress = task.progress().await?.expect("it was reported");
    /// assert_eq!((progress.completed, progress.total), (Some(200.0), Some(200.0)));
    /// # Ok(()) }
    /// ```
    pub fn progress(&self, completed: u64, total: u64) {
        let percentage = if total == 0 { 100.0 } else { (completed as f64 * 100.0 / total as f64).min(100.0) };
        let limits = self.0.host.limits();
        let changed = self.change(|live| {
            set(live, "progress.total", total.into(), &limits)?;
            set(live, "progress.completed", completed.into(), &limits)?;
            set(live, "progress.percentage", percentage.into(), &limits)
        });
        if let Err(error) = changed {
            // Missing progress must not fail a task. Only a context that is already at its size limit leads here.
            tracing::warn!(task = %self.id(), %error, "progress cannot be stored");
        }
    }

    /// Returns the tracker that counts this attempt's steps from 0; every call returns the same one. Its counts are
    /// stored as `progress` in the context.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskContext, task};
    ///
    /// #[task]
    /// async fn import(rows: Vec<String>, context: TaskContext) -> Result<(), Error> {
    ///     let progress = context.progress_tracker()?;
    ///     progress.set_total(rows.len())?;
    ///     for row in rows {
    ///         progress.set_message(row);
    ///         progress.advance(1)?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let task = queue.add(import(vec!["one".into(), "two".into()])).await?;
    /// queue.drain().await?;
    /// let progress = task.progress().await?.expect("it was reported");
    /// assert_eq!((progress.percentage, progress.message.as_deref()), (Some(100.0), Some("two")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the stored context is not a JSON object.
    pub fn progress_tracker(&self) -> Result<ProgressTracker> {
        self.tracker(false)
    }

    /// As [`Self::progress_tracker`], but the first call of an attempt continues from the counts of the previous
    /// attempt.
    ///
    /// # Errors
    /// As [`Self::progress_tracker`].
    pub fn resume_progress(&self) -> Result<ProgressTracker> {
        self.tracker(true)
    }

    fn tracker(&self, resume: bool) -> Result<ProgressTracker> {
        let gauge = self.0.live(|live| {
            self.load(live)?;
            let stored = live.context.as_ref().and_then(|context| context.get("progress"));
            Ok::<_, Error>(Arc::clone(live.gauge.get_or_insert_with(|| Arc::new(Gauge::of(stored, resume)))))
        })?;
        if gauge.is_fresh() {
            self.0.offer();
        }
        Ok(ProgressTracker::of(&self.0, gauge))
    }

    /// Logs one line under the task's kind. Levels: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// async fn import(context: TaskContext) {
    ///     context.log(30, "row 7 has no date");
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// let line = &task.logs().await?[0].line;
    /// assert_eq!((line.level, line.message.as_str()), (30, "row 7 has no date"));
    /// # Ok(()) }
    /// ```
    pub fn log(&self, level: i16, message: impl Into<String>) {
        let (logger, message) = (self.kind().to_owned(), message.into());
        self.log_line(LogLine { level, logger, message, fields: None, traceback: None });
    }

    /// Logs a whole line. A line over the size limit is replaced by a line that reports its size, with the same logger
    /// and level.
    pub fn log_line(&self, mut line: LogLine) {
        if self.0.host.store.is_none() || self.0.is_decided() {
            return;
        }
        let (size, max) = (crate::attempt::line_bytes(&line), self.0.host.limits().log_line_bytes_max);
        if size > max {
            let message =
                format!("a log line of {size} bytes was dropped: over the limit of {max} (setting log_line_bytes_max)");
            let logger = line.logger.chars().take(100).collect();
            line = LogLine { level: line.level, logger, message, fields: None, traceback: None };
        }
        self.0.live(|live| live.push_line(line));
        self.0.offer();
    }

    fn with_context<T>(&self, f: impl FnOnce(&Context) -> T) -> Result<T> {
        self.0.live(|live| Ok(f(self.load(live)?)))
    }

    fn change(&self, f: impl FnOnce(&mut Live) -> Result<()>) -> Result<()> {
        self.0.live(|live| {
            self.load(live)?;
            let before = live.changed;
            live.changed += 1;
            let done = f(live);
            if done.is_err() {
                live.changed = before;
            }
            done
        })?;
        self.0.offer();
        Ok(())
    }

    /// Returns the context, decoding the stored one on first use.
    fn load<'a>(&self, live: &'a mut Live) -> Result<&'a mut Context> {
        if live.context.is_none() {
            live.context = Some(match &self.0.claimed.context {
                Some(bytes) => {
                    live.size_bound = bytes.len();
                    Context::from_bytes(bytes)?
                }
                None => Context::default(),
            });
        }
        Ok(live.context.as_mut().expect("just set"))
    }
}

/// Sets one value if the whole context still fits. The exact size is computed only when a cheap upper bound reaches the
/// limit.
fn set(live: &mut Live, path: &str, value: Value, limits: &Limits) -> Result<()> {
    // Each segment may become an object of its own, and control characters take six bytes each.
    let added = path.len() * 6 + path.split('.').count() * 6 + bound(&value);
    let context = live.context.as_mut().expect("loaded before a change");
    if live.size_bound + added + 2 > limits.context_bytes_max {
        let mut next = context.clone();
        next.set(path, value, limits)?;
        live.size_bound = next.to_bytes(limits)?.len();
        *context = next;
    } else {
        // A counter that is set repeatedly makes the bound grow; the size is computed exactly when the bound reaches
        // the limit.
        context.set(path, value, limits)?;
        live.size_bound += added;
    }
    Ok(())
}

/// Upper bound of the encoded size in bytes.
fn bound(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 32,
        Value::String(text) => text.len() * 6 + 2,
        Value::Array(items) => 2 + items.iter().map(|item| bound(item) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(name, item)| name.len() * 6 + 4 + bound(item)).sum::<usize>(),
    }
}

/// Converts the value to JSON; returns an error if the conversion would change it.
fn to_value<T: Serialize>(value: &T, limits: &Limits) -> Result<Value> {
    let limits = Limits { result_bytes_max: limits.context_bytes_max, ..*limits };
    payload::encode_result(value, &limits).map_err(|error| match error {
        Error::NotRepresentable { why, .. } => Error::NotRepresentable { what: "context value".into(), why },
        Error::OverLimit { setting, size, max, list_bytes, .. } => {
            let setting = if setting == "result_bytes_max" { "context_bytes_max" } else { setting };
            Error::OverLimit { what: "context value", setting, size, max, list_bytes }
        }
        other => other,
    })?;
    serde_json::to_value(value)
        .map_err(|error| Error::NotRepresentable { what: "context value".into(), why: error.to_string() })
}
