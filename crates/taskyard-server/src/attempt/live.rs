//! What a running attempt wants stored: its context and the log lines that are not recorded yet.
//!
//! Writes are in order: while a record is in flight nothing else of this attempt is written, its end included, so a
//! line never arrives after the token has gone. The last value is never lost: what no record took, the end carries.

use std::sync::Arc;
use std::time::Instant;

use taskyard_core::context::Context;
use taskyard_core::store::{Finish, Record};
use taskyard_core::task::LogLine;
use taskyard_core::{Error, Limits, TaskId, Token};

use crate::engine::Ended;
use crate::progress::Gauge;

/// Lines that may wait for the database per attempt; beyond that a line is refused and counted.
const LINES_MAX: usize = 20_000;
/// The same in bytes.
const LINES_BYTES_MAX: usize = 32 << 20;
/// What one record takes at most, so that no statement grows without bound.
const RECORD_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The context, once something asked for it.
    pub context: Option<Context>,
    /// An upper bound of its encoded size.
    pub size_bound: usize,
    /// Grows with each change of the context.
    pub changed: u64,
    /// The change that was last handed to a write.
    pub sent: u64,
    /// The change that the record in flight carries.
    pub in_flight: u64,
    /// The change that is durable.
    pub stored: u64,
    /// Someone waits for the context: do not hold it back.
    pub urgent: bool,
    /// When the context was last sent.
    pub sent_at: Option<Instant>,
    /// When the database refused the last record, if it did.
    pub refused_at: Option<Instant>,
    /// The change of the context that the database stores in no way, and its words.
    pub not_storable: Option<(u64, Error)>,
    /// In the recorder's tray, or held back by it.
    pub queued: bool,
    /// A record is in flight.
    pub recording: bool,
    /// The end that waits for it.
    pub parting: Option<Ended>,
    /// A write answered that the lease is over.
    pub lost: bool,
    /// What the body counts, once it asked for a tracker.
    pub gauge: Option<Arc<Gauge>>,
    logs: Vec<LogLine>,
    logs_bytes: usize,
    refused: usize,
}

impl Live {
    /// Takes a line, or refuses it with a count when too many wait.
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

    /// Puts what was counted since the last time into the context.
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
                // Progress is no reason to fail a task; only a context that fills its limit already leads here.
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
                // Sizes are checked at every change; only a limit that was lowered since can lead here.
                tracing::error!(%error, "a task's context cannot be stored");
                None
            }
        }
    }

    /// What to record now; marks the attempt as being recorded.
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

    /// The database refused a record through no fault of the record: all of it is written another time.
    pub fn take_back(&mut self, record: &Record) {
        self.refused_at = Some(Instant::now());
        let mut logs = record.logs.clone();
        self.logs_bytes += logs.iter().map(line_bytes).sum::<usize>();
        logs.append(&mut self.logs);
        self.logs = logs;
        if record.context.is_some() {
            // What was sent was not stored: it counts as changed again.
            self.changed += 1;
            self.urgent = true;
        }
    }

    /// The database stores a record in no way. Who waits for its context hears of it.
    pub fn refuse(&mut self, record: &Record, error: &Error) {
        if record.context.is_some() {
            self.not_storable = Some((self.in_flight, error.clone()));
        }
    }

    /// Puts all that is left into the attempt's end.
    pub fn part(&mut self, finish: &mut Finish, attempt: u32, limits: &Limits) {
        self.take_progress(attempt, limits);
        finish.logs = self.take_lines(usize::MAX);
        finish.context = self.take_context(limits);
    }
}

/// The size of a line that counts against the limit.
pub(crate) fn line_bytes(line: &LogLine) -> usize {
    line.message.len()
        + line.logger.len()
        + line.fields.as_ref().map_or(0, Vec::len)
        + line.traceback.as_ref().map_or(0, String::len)
}
