//! Stores the log lines and contexts of running attempts: log lines at once when idle and grouped while a write is in
//! flight; the context of one task at most every 100 ms, unless a caller waits for it.
//!
//! Only one write is in flight at a time, so that an attempt's records are in order. If an attempt ends while its
//! record is in flight, its end is stored here and sent after the reply, together with whatever the record did not
//! contain.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::failpoint;
use taskyard_core::store::{Record, Store, WriteReply};
use taskyard_core::{Error, TaskId, Token};

use crate::attempt::{Attempt, Host, Live};
use crate::loops::bisect::{self, Failed, Piece};
use taskyard_core::backoff::Backoff;

/// Minimum time between two writes of one task's context.
const CONTEXT_EVERY: Duration = Duration::from_millis(100);
/// Delay before records of locked tasks are retried.
const LOCKED_EVERY: Duration = Duration::from_millis(200);
/// Maximum number of attempts in one write.
const BATCH_MAX: usize = 500;
/// Maximum number of bytes in one write, so that no statement grows without bound.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A write without a reply after this time is repeated.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Number of times that a batch is tried as a whole before it is split.
const WHOLE_TRIES: u32 = 3;
/// Delay before a refused record is retried.
const REFUSED_REST: Duration = Duration::from_secs(1);

type Key = (TaskId, Token);

/// Runs until it is dropped.
pub(crate) async fn run(host: Arc<Host>, store: Arc<dyn Store>) {
    let mut held: HashMap<Key, Arc<Attempt>> = HashMap::new();
    // Records of tasks that are locked by other sessions, and when they are retried. Their attempts count as being
    // recorded, so that no later write of theirs overtakes them.
    let mut locked: Vec<(Arc<Attempt>, Record)> = Vec::new();
    let mut again_at = Instant::now();
    loop {
        let due = held.values().filter_map(|attempt| attempt.live(|live| rested_at(live))).min();
        tokio::select! {
            () = host.outbox.records.filled() => {}
            () = until(due), if !held.is_empty() => {}
            () = tokio::time::sleep_until(again_at.into()), if !locked.is_empty() => {}
        }
        loop {
            for attempt in host.outbox.records.take() {
                held.insert((attempt.id(), attempt.claimed.token), attempt);
            }
            let (attempts, batch): (Vec<_>, Vec<_>) = if !locked.is_empty() && Instant::now() >= again_at {
                std::mem::take(&mut locked).into_iter().unzip()
            } else {
                let (batch, attempts) = collect(&host, &mut held);
                (attempts, batch)
            };
            if batch.is_empty() {
                break;
            }
            let replies = persist(store.as_ref(), &batch).await;
            for ((attempt, record), reply) in attempts.into_iter().zip(batch).zip(replies) {
                if matches!(reply, Piece::Written(WriteReply::Locked)) {
                    if locked.is_empty() {
                        again_at = Instant::now() + LOCKED_EVERY;
                    }
                    locked.push((attempt, record));
                } else if answer(&host, &attempt, &record, reply) {
                    held.insert((attempt.id(), attempt.claimed.token), attempt);
                }
            }
        }
    }
}

/// Returns when an attempt that is held back may be written again.
fn rested_at(live: &Live) -> Option<Instant> {
    live.refused_at.map(|at| at + REFUSED_REST).or(live.sent_at.map(|at| at + CONTEXT_EVERY))
}

async fn until(at: Option<Instant>) {
    // Held back without a time: something was refused a moment ago; check again soon.
    let at = at.unwrap_or_else(|| Instant::now() + CONTEXT_EVERY);
    tokio::time::sleep_until(at.into()).await;
}

/// Returns the records that can be written now. Attempts with nothing left to write are removed from `held`.
fn collect(host: &Host, held: &mut HashMap<Key, Arc<Attempt>>) -> (Vec<Record>, Vec<Arc<Attempt>>) {
    let limits = host.limits();
    let now = Instant::now();
    let (mut batch, mut attempts) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    held.retain(|_, attempt| {
        if attempt.is_decided() {
            // The end of the attempt carries the rest.
            return false;
        }
        if batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX {
            return true;
        }
        let (id, token) = (attempt.id(), attempt.claimed.token);
        attempt.live(|live| {
            if live.refused_at.is_some_and(|at| now.saturating_duration_since(at) < REFUSED_REST) {
                live.queued = true;
                return true;
            }
            let rested = live.sent_at.is_none_or(|at| now.saturating_duration_since(at) >= CONTEXT_EVERY);
            let with_context = live.is_changed() && (live.urgent || rested);
            let Some(record) = live.record((id, attempt.claimed.attempt), token, with_context, &limits) else {
                // Held back if only the interval of its context has not passed.
                live.queued = live.is_changed();
                return live.queued;
            };
            bytes += record.context.as_ref().map_or(0, Vec::len)
                + record.logs.iter().map(crate::attempt::line_bytes).sum::<usize>();
            batch.push(record);
            attempts.push(attempt.clone());
            false
        })
    });
    (batch, attempts)
}

/// Applies the reply to a record. Returns true if the attempt has more to write.
fn answer(host: &Host, attempt: &Arc<Attempt>, record: &Record, reply: Piece<WriteReply>) -> bool {
    let limits = host.limits();
    let (parting, more) = attempt.live(|live| {
        live.recording = false;
        match reply {
            Piece::Written(WriteReply::Lost) => live.lost = true,
            Piece::Written(_) if record.context.is_some() => live.stored = live.stored.max(live.in_flight),
            Piece::Written(_) => {}
            Piece::Refused { error, alone: true } if error.is_about_the_value() => {
                tracing::error!(task = %record.id, %error, lines = record.logs.len(),
                    context = record.context.is_some(), "the database refuses every form of this write; it is dropped");
                live.refuse(record, &error);
            }
            // Not the record's fault: written later, or with the end.
            Piece::Refused { .. } => live.take_back(record),
        }
        let mut parting = live.parting.take();
        if let Some(ended) = &mut parting {
            live.part(&mut ended.finish, attempt.claimed.attempt, &limits);
        }
        let more = parting.is_none() && !live.lost && (live.is_changed() || live.has_lines() || live.urgent);
        live.queued = more;
        (parting, more)
    });
    attempt.notify_recorded();
    if let Some(ended) = parting {
        host.outbox.ends.push(ended);
        host.outbox.parting.fetch_sub(1, Ordering::AcqRel);
    }
    more
}

/// Writes a batch, and repeats it while the database is unavailable. A refused batch is split; records that are refused
/// even then are returned as such, so that one attempt's record does not hold up the others.
async fn persist(store: &dyn Store, batch: &[Record]) -> Vec<Piece<WriteReply>> {
    let (mut backoff, mut refusals) = (Backoff::default(), 0);
    loop {
        let failed = match Failed::check(attempt(store, batch).await, store).await {
            Ok(replies) => return replies.into_iter().map(Piece::Written).collect(),
            Err(failed) => failed,
        };
        let error = &failed.error;
        if !failed.away {
            refusals += 1;
            if error.is_about_the_value() || refusals >= WHOLE_TRIES {
                tracing::warn!(%error, tasks = batch.len(), "the database refuses log lines and context of tasks");
                let part = |range: Range<usize>| -> BoxFuture<'_, _> {
                    Box::pin(async move { Failed::check(attempt(store, &batch[range]).await, store).await })
                };
                return bisect::write(batch.len(), failed, bisect::PROBES_MAX, part).await;
            }
        }
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, tasks = batch.len(), "cannot store log lines and context of tasks; trying again");
        }
        backoff.pause().await;
    }
}

async fn attempt(store: &dyn Store, batch: &[Record]) -> Result<Vec<WriteReply>, Error> {
    failpoint!("record", Before);
    match tokio::time::timeout(ANSWER_MAX, store.record(batch)).await {
        Ok(Ok(replies)) => {
            failpoint!("record", After);
            Ok(replies)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}
