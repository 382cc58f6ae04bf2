//! Writes what running attempts want stored: log lines at once when idle, grouped while a write is in flight; the
//! context of one task at most every 100 ms, unless someone waits for it.
//!
//! One write at a time, so that an attempt's records are in order. An attempt that ends while its record is in flight
//! leaves its end here; it is sent on after the answer, with what the record did not take.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::store::{Record, Store, WriteReply};
use taskyard_core::{Error, TaskId, Token};

use crate::attempt::Attempt;
use crate::backoff::Backoff;
use crate::engine::Engine;

/// The shortest time between two writes of one task's context.
const CONTEXT_EVERY: Duration = Duration::from_millis(100);
/// How long records of locked tasks wait before they are tried again.
const LOCKED_EVERY: Duration = Duration::from_millis(200);
/// Attempts in one write.
const BATCH_MAX: usize = 500;
/// Bytes in one write, so that no statement grows without bound.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A write that has not answered by then is repeated.
const ANSWER_MAX: Duration = Duration::from_secs(30);

type Key = (TaskId, Token);

/// Runs until it is dropped.
pub(crate) async fn run(engine: Arc<Engine>, store: Arc<dyn Store>) {
    let mut held: HashMap<Key, Arc<Attempt>> = HashMap::new();
    // Records of tasks that somebody else holds locked, and when they are tried again. Their attempts count as being recorded,
    // so nothing of theirs overtakes them.
    let mut locked: Vec<(Arc<Attempt>, Record)> = Vec::new();
    let mut again_at = Instant::now();
    loop {
        let due = held.values().filter_map(|attempt| attempt.live(|live| live.sent_at)).min();
        tokio::select! {
            () = engine.records.filled() => {}
            () = until(due.map(|at| at + CONTEXT_EVERY)), if !held.is_empty() => {}
            () = tokio::time::sleep_until(again_at.into()), if !locked.is_empty() => {}
        }
        loop {
            for attempt in engine.records.take() {
                held.insert((attempt.id(), attempt.claimed.token), attempt);
            }
            let (attempts, batch): (Vec<_>, Vec<_>) = if !locked.is_empty() && Instant::now() >= again_at {
                std::mem::take(&mut locked).into_iter().unzip()
            } else {
                let (batch, attempts) = collect(&engine, &mut held);
                (attempts, batch)
            };
            if batch.is_empty() {
                break;
            }
            let replies = persist(store.as_ref(), &batch).await;
            for ((attempt, record), reply) in attempts.into_iter().zip(batch).zip(replies) {
                if reply == WriteReply::Locked {
                    if locked.is_empty() {
                        again_at = Instant::now() + LOCKED_EVERY;
                    }
                    locked.push((attempt, record));
                } else if answer(&engine, &attempt, &record, reply) {
                    held.insert((attempt.id(), attempt.claimed.token), attempt);
                }
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    // Held back without a time: something was refused a moment ago; look again soon.
    let at = at.unwrap_or_else(|| Instant::now() + CONTEXT_EVERY);
    tokio::time::sleep_until(at.into()).await;
}

/// What can be written now. Attempts with nothing left to write leave `held`.
fn collect(engine: &Engine, held: &mut HashMap<Key, Arc<Attempt>>) -> (Vec<Record>, Vec<Arc<Attempt>>) {
    let limits = engine.limits();
    let now = Instant::now();
    let (mut batch, mut attempts) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    held.retain(|_, attempt| {
        if attempt.is_decided() {
            // Its end carries what is left.
            return false;
        }
        if batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX {
            return true;
        }
        let (id, token) = (attempt.id(), attempt.claimed.token);
        attempt.live(|live| {
            let rested = live.sent_at.is_none_or(|at| now.saturating_duration_since(at) >= CONTEXT_EVERY);
            let with_context = live.is_changed() && (live.urgent || rested);
            let Some(record) = live.record((id, attempt.claimed.attempt), token, with_context, &limits) else {
                // Held back if only its context's turn has not come.
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

/// Notes an answer. Whether the attempt has more to write.
fn answer(engine: &Engine, attempt: &Arc<Attempt>, record: &Record, reply: WriteReply) -> bool {
    let limits = engine.limits();
    let (parting, more) = attempt.live(|live| {
        live.recording = false;
        match reply {
            WriteReply::Lost => live.lost = true,
            _ if record.context.is_some() => live.stored = live.stored.max(live.in_flight),
            _ => {}
        }
        let mut parting = live.parting.take();
        if let Some(ended) = &mut parting {
            live.part(&mut ended.finish, attempt.claimed.attempt, &limits);
        }
        let more = parting.is_none() && !live.lost && (live.is_changed() || live.has_lines() || live.urgent);
        live.queued = more;
        (parting, more)
    });
    attempt.ring_recorded();
    if let Some(ended) = parting {
        engine.ends.push(ended);
        engine.parting.fetch_sub(1, Ordering::AcqRel);
    }
    more
}

/// Repeats while the database is away; what the database refuses for itself is dropped, loudly.
async fn persist(store: &dyn Store, batch: &[Record]) -> Vec<WriteReply> {
    let mut backoff = Backoff::default();
    loop {
        failpoint!("record", Before);
        let error = match tokio::time::timeout(ANSWER_MAX, store.record(batch)).await {
            Ok(Ok(replies)) => {
                failpoint!("record", After);
                return replies;
            }
            Ok(Err(error)) => error,
            Err(_) => Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        };
        let own_fault = matches!(error, Error::Database(_) | Error::NotRepresentable { .. } | Error::OverLimit { .. });
        if own_fault && backoff.tries() >= 3 {
            if batch.len() == 1 {
                tracing::error!(task = %batch[0].id, %error, "the database refuses what this task logged or set");
                return vec![WriteReply::Lost];
            }
            let (left, right) = batch.split_at(batch.len() / 2);
            let mut replies = Box::pin(persist(store, left)).await;
            replies.extend(Box::pin(persist(store, right)).await);
            return replies;
        }
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, tasks = batch.len(), "cannot record what tasks log and set; trying again");
        }
        backoff.pause().await;
    }
}
