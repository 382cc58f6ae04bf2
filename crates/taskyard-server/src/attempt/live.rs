//! The data of a running attempt that is still to be stored: its context and log lines.
//!
//! Writes are ordered: while a record is in flight, nothing else of this attempt is written, not even its end, so a
//! line never arrives after the token has been invalidated. The latest values are never lost: the end carries whatever
//! no record has taken.

use std::sync::Arc;
use std::time::Instant;

use taskyard_core::context::Context;
use taskyard_core::store::{Finish, Record};
use taskyard_core::task::LogLine;
use taskyard_core::{Error, Limits, TaskId, Token};

use super::ended::{Ended, line_bytes};
use super::gauge::Gauge;

/// Maximum number of log lines per attempt that wait for the database; further lines are dropped and counted.
const LINES_MAX: usize = 20_000;
/// Maximum number of bytes of log lines per attempt that wait for the database.
const LINES_BYTES_MAX: usize = 32 << 20;
/// Maximum number of bytes of log lines in one record, so that no statement grows without bound.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// Unstored data of one attempt, with counters that order the changes of its context.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The context, once it was first used.
    pub context: Option<Context>,
    /// Upper bound of the context's encoded size in bytes.
    pub size_bound: usize,
    /// Incremented with each change of the context.
    pub changed: u64,
    /// The change that was last passed to a write.
    pub sent: u64,
    /// The change that the record in flight carries.
    pub in_flight: u64,
    /// The change that is durable.
    pub stored: u64,
    /// Set while a caller waits for the context: it must not be held back.
    pub urgent: bool,
    /// When the context was last sent.
    pub sent_at: Option<Instant>,
    /// When the database refused the last record, if it did.
    pub refused_at: Option<Instant>,
    /// The change of the context that the database can never store, and the error that it returned.
    pub not_storable: Option<(u64, Error)>,
    /// Set while the attempt is in the recorder's queue or held back by the recorder.
    pub queued: bool,
    /// Set while a record is in flight.
    pub recording: bool,
    /// The end of the attempt, if it waits for the record in flight.
    pub parting: Option<Ended>,
    /// Set once a write has returned that the lease is over.
    pub lost: bool,
    /// The progress counter, once the body has requested a tracker.
    pub gauge: Option<Arc<Gauge>>,
    logs: Vec<LogLine>,
    logs_bytes: usize,
    refused: usize,
}

impl Live {
    /// Queues a line, or drops and counts it if too many lines wait already.
    pub fn push_line(&mut self, line: LogLine) {
        if self.logs.len() >= LINES_MAX || self.logs_bytes >= LINES_BYTES_MAX {
            self.refused += 1;
            return;
        }
        self.logs_bytes += line_bytes(&line);
        self.logs.push(line);
    }

    pub fn has_lines(&self) -> bool {
        !self.logs.is_empty()
    }

    pub fn is_changed(&self) -> bool {
        self.changed > self.sent || self.gauge.as_ref().is_some_and(|gauge| gauge.is_fresh())
    }

    /// Copies the progress counted since the last call into the context.
    pub fn take_progress(&mut self, attempt: u32, limits: &Limits) {
        let Some(entry) = self.gauge.as_ref().and_then(|gauge| gauge.take(attempt)) else { return };
        let context = self.context.get_or_insert_default();
        let before = context.get("progress").cloned();
        let set = context.set("progress", entry, limits).and_then(|()| context.to_bytes(limits));
        match set {
            Ok(bytes) => {
                self.size_bound = bytes.len();
                self.changed += 1;
            }
            Err(error) => {
                // Missing progress must not fail a task. Only a context that is already at its size limit leads here.
                tracing::warn!(%error, "progress cannot be stored");
                let mut map = context.as_map().clone();
                match before {
                    Some(before) => map.insert("progress".into(), before),
                    None => map.remove("progress"),
                };
                context.replace(map);
            }
        }
    }

    fn take_lines(&mut self, bytes_max: usize) -> Vec<LogLine> {
        let mut bytes = 0;
        let mut count = 0;
        while count < self.logs.len() && (count == 0 || bytes < bytes_max) {
            bytes += line_bytes(&self.logs[count]);
            count += 1;
        }
        let rest = self.logs.split_off(count);
        let mut taken = std::mem::replace(&mut self.logs, rest);
        self.logs_bytes = self.logs_bytes.saturating_sub(bytes);
        if self.refused > 0 && self.logs.is_empty() {
            let message =
                format!("{} log lines were dropped: they came faster than the database stores them", self.refused);
            self.refused = 0;
            taken.push(LogLine { level: 30, logger: "taskyard".into(), message, fields: None, traceback: None });
        }
        taken
    }

    fn take_context(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        if self.changed == self.sent {
            return None;
        }
        self.sent = self.changed;
        match self.context.as_ref()?.to_bytes(limits) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                // Sizes are checked at every change, so only a limit that was lowered since can lead here.
                tracing::error!(%error, "a task's context cannot be stored");
                None
            }
        }
    }

    /// Returns the next record to write and marks the attempt as being recorded; `None` if there is nothing to write.
    pub fn record(
        &mut self,
        (id, attempt): (TaskId, u32),
        token: Token,
        with_context: bool,
        limits: &Limits,
    ) -> Option<Record> {
        let logs = self.take_lines(RECORD_BYTES_MAX);
        if with_context {
            self.take_progress(attempt, limits);
        }
        let context = if with_context { self.take_context(limits) } else { None };
        if logs.is_empty() && context.is_none() {
            return None;
        }
        self.recording = true;
        self.refused_at = None;
        if context.is_some() {
            self.sent_at = Some(Instant::now());
            self.in_flight = self.sent;
            self.urgent = false;
        }
        Some(Record { id, token, context, logs })
    }

    /// Takes a record back that the database refused through no fault of the record; all of it is written again later.
    pub fn take_back(&mut self, record: &Record) {
        self.refused_at = Some(Instant::now());
        let mut logs = record.logs.clone();
        self.logs_bytes += logs.iter().map(line_bytes).sum::<usize>();
        logs.append(&mut self.logs);
        self.logs = logs;
        if record.context.is_some() {
            // The context was not stored, so it counts as changed again.
            self.changed += 1;
            self.urgent = true;
        }
    }

    /// Notes that the database can never store this record. Callers that wait for its context receive `error`.
    pub fn refuse(&mut self, record: &Record, error: &Error) {
        if record.context.is_some() {
            self.not_storable = Some((self.in_flight, error.clone()));
        }
    }

    /// Moves all remaining data into the attempt's end.
    pub fn part(&mut self, finish: &mut Finish, attempt: u32, limits: &Limits) {
        self.take_progress(attempt, limits);
        finish.logs = self.take_lines(usize::MAX);
        finish.context = self.take_context(limits);
    }
}
