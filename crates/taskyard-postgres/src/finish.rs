//! Writes the ends of attempts, and the context and logs of running ones.

mod columns;

use std::collections::HashSet;
use std::time::Duration;

use taskyard_core::store::{Finish, Outcome, Record, WriteReply};
use taskyard_core::{ClaimId, Error, Result, TaskId, TaskState};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use self::columns::{Any, Logs, contexts, result};
use crate::inner::Inner;
use crate::locks;
use crate::pool::{Interrupted, Role, rerunning};
use crate::row::{get, state};

// Arguments are evaluated before the function is called, so `lock_timeout` is set when it runs, without another round
// trip. The setting is local to the transaction: behind a connection pooler it does not leak into another client's
// session.
const DONE: &str = "SELECT place, reply, state FROM taskyard.task_finish_done($1, $2, $3, \
                    CASE WHEN pg_catalog.set_config('lock_timeout', $5, true) IS NOT NULL THEN $4 END)";
const ANY: &str = "SELECT place, reply, state FROM taskyard.task_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                   $13, $14, $15, $16, CASE WHEN pg_catalog.set_config('lock_timeout', $18, true) IS NOT NULL THEN $17 END)";
const RECORD: &str = "SELECT place, reply, state FROM taskyard.task_record($1, $2, $3, $4, $5, $6, $7, $8, $9, \
                      CASE WHEN pg_catalog.set_config('lock_timeout', $11, true) IS NOT NULL THEN $10 END)";

/// Ends attempts, and closes claims. Ends that meet a lock are written without the locked tasks, whose reply is
/// `Locked`.
pub(crate) async fn finish(store: &Inner, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>> {
    if batch.is_empty() && closed.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = HashSet::with_capacity(batch.len());
    let single = batch.iter().all(|item| seen.insert(item.id));
    let closed: Vec<Uuid> = closed.iter().map(|claim| claim.0).collect();
    if !single {
        // A task occurs twice: its ends are written one after the other, in one transaction.
        let written = rerunning(|| finish_rounds(store, batch, &closed)).await;
        return match written {
            Ok((replies, effects)) => Ok(notify(store, replies, effects)),
            Err(Error::Locked(_)) => Ok(vec![WriteReply::Locked; batch.len()]),
            Err(error) => Err(error),
        };
    }
    // The first refusal of a kind waits for transactions that change the recorded capabilities of builds; no other end
    // should wait with it.
    let (refused, others): (Vec<usize>, Vec<usize>) =
        (0..batch.len()).partition(|at| matches!(batch[*at].outcome, Outcome::Refused { .. }));
    let parts =
        if refused.is_empty() || others.is_empty() { vec![[others, refused].concat()] } else { vec![others, refused] };
    let closed_with = if parts.len() == 1 { closed.as_slice() } else { &[] };
    let mut replies = vec![WriteReply::Locked; batch.len()];
    let mut is_closed = !closed_with.is_empty();
    for part in &parts {
        let items: Vec<&Finish> = part.iter().map(|at| &batch[*at]).collect();
        let answers = match finish_single(store, &items, closed_with, locks::WAIT).await {
            Err(Error::Locked(_)) => {
                is_closed = false;
                finish_around_locks(store, &items).await?
            }
            written => written?,
        };
        part.iter().zip(answers).for_each(|(at, answer)| replies[*at] = answer);
    }
    if !closed.is_empty() && !is_closed && !replies.contains(&WriteReply::Locked) {
        finish_single(store, &[], &closed, locks::WAIT).await?;
    }
    Ok(replies)
}

/// Writes the ends that no lock of another transaction blocks.
async fn finish_around_locks(store: &Inner, items: &[&Finish]) -> Result<Vec<WriteReply>> {
    let ids: Vec<TaskId> = items.iter().map(|item| item.id).collect();
    let are_refused = items.iter().all(|item| matches!(item.outcome, Outcome::Refused { .. }));
    let bound = if are_refused { locks::DIVIDE_REFUSED_MAX } else { locks::DIVIDE_MAX };
    locks::divide(store, &ids, bound, |part| {
        let part: Vec<&Finish> = part.into_iter().map(|at| items[at]).collect();
        async move { finish_single(store, &part, &[], locks::WAIT_AGAIN).await }
    })
    .await
}

/// Ends attempts of different tasks in one statement.
async fn finish_single(store: &Inner, batch: &[&Finish], closed: &[Uuid], lock_wait: &str) -> Result<Vec<WriteReply>> {
    let plain =
        |item: &&Finish| matches!(item.outcome, Outcome::Done { .. }) && item.context.is_none() && item.logs.is_empty();
    let (replies, effects) = if batch.iter().all(plain) {
        finish_done(store, batch, closed, lock_wait).await?
    } else {
        let call = Any::of(batch.iter().copied(), closed);
        let mut params = call.params().to_vec();
        params.push((&lock_wait, Type::TEXT));
        let rows = store.pool.query_frequent(Role::Attempt, ANY, &params).await?;
        read(&rows, batch.len())?
    };
    Ok(notify(store, replies, effects))
}

fn notify(store: &Inner, replies: Vec<WriteReply>, effects: Effects) -> Vec<WriteReply> {
    if effects.woken {
        store.notify_work();
    }
    if effects.ended {
        store.notify_finished();
    }
    replies
}

#[derive(Clone, Copy, Debug, Default)]
struct Effects {
    woken: bool,
    ended: bool,
}

async fn finish_done(
    store: &Inner,
    batch: &[&Finish],
    closed: &[Uuid],
    lock_wait: &str,
) -> Result<(Vec<WriteReply>, Effects)> {
    // In id order, the order in which every writer locks.
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by_key(|at| batch[*at].id);
    let ids: Vec<Uuid> = order.iter().map(|at| batch[*at].id.0).collect();
    let tokens: Vec<Uuid> = order.iter().map(|at| batch[*at].token.0).collect();
    let results: Vec<&[u8]> = order.iter().map(|at| result(&batch[*at].outcome).unwrap_or_default()).collect();
    let rows = store
        .pool
        .query_frequent(
            Role::Attempt,
            DONE,
            &[
                (&ids, Type::UUID_ARRAY),
                (&tokens, Type::UUID_ARRAY),
                (&results, Type::BYTEA_ARRAY),
                (&closed, Type::UUID_ARRAY),
                (&lock_wait, Type::TEXT),
            ],
        )
        .await?;
    let mut replies = vec![WriteReply::Applied(TaskState::Done); batch.len()];
    let mut effects = Effects { woken: false, ended: !batch.is_empty() };
    for row in &rows {
        match usize::try_from(get::<i32>(row, 0)?) {
            Ok(place) if place > 0 && place <= order.len() => replies[order[place - 1]] = reply(row)?,
            _ => effects.woken = true,
        }
    }
    Ok((replies, effects))
}

async fn finish_rounds(
    store: &Inner,
    batch: &[Finish],
    closed: &[Uuid],
) -> Result<(Vec<WriteReply>, Effects), Interrupted> {
    let transaction = store.pool.begin(Role::Attempt, Duration::from_millis(250)).await?;
    let mut replies = vec![WriteReply::Lost; batch.len()];
    let mut effects = Effects::default();
    let mut left: Vec<usize> = (0..batch.len()).collect();
    while !left.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|at| seen.insert(batch[*at].id));
        let call = Any::of(round.iter().map(|at| &batch[*at]), closed);
        let mut params = call.params().to_vec();
        params.push((&locks::WAIT, Type::TEXT));
        let rows = match transaction.query(ANY, &params).await {
            Ok(rows) => rows,
            Err(interrupted) => {
                transaction.rollback().await;
                return Err(interrupted);
            }
        };
        let (answers, news) = read(&rows, round.len())?;
        for (at, answer) in round.into_iter().zip(answers) {
            replies[at] = answer;
        }
        effects.woken |= news.woken;
        effects.ended |= news.ended;
        left = later;
    }
    transaction.commit().await?;
    Ok((replies, effects))
}

/// Writes context and logs of running attempts.
pub(crate) async fn record(store: &Inner, batch: &[Record]) -> Result<Vec<WriteReply>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<&Record> = batch.iter().collect();
    match record_all(store, &all, locks::WAIT).await {
        Err(Error::Locked(_)) => {}
        written => return written,
    }
    let ids: Vec<TaskId> = batch.iter().map(|item| item.id).collect();
    locks::divide(store, &ids, locks::DIVIDE_MAX, |part| {
        let part: Vec<&Record> = part.into_iter().map(|at| &batch[at]).collect();
        async move { record_all(store, &part, locks::WAIT_AGAIN).await }
    })
    .await
}

async fn record_all(store: &Inner, batch: &[&Record], lock_wait: &str) -> Result<Vec<WriteReply>> {
    let ids: Vec<Uuid> = batch.iter().map(|item| item.id.0).collect();
    let tokens: Vec<Uuid> = batch.iter().map(|item| item.token.0).collect();
    let contexts = contexts(batch.iter().map(|item| item.context.as_deref()));
    let logs = Logs::of(batch.iter().map(|item| (item.id, item.token, item.logs.as_slice())));
    let rows = store
        .pool
        .query(
            Role::Attempt,
            RECORD,
            &[
                (&ids, Type::UUID_ARRAY),
                (&tokens, Type::UUID_ARRAY),
                (&contexts, Type::BYTEA_ARRAY),
                (&logs.ids, Type::UUID_ARRAY),
                (&logs.tokens, Type::UUID_ARRAY),
                (&logs.levels, Type::INT2_ARRAY),
                (&logs.loggers, Type::TEXT_ARRAY),
                (&logs.messages, Type::TEXT_ARRAY),
                (&logs.fields, Type::BYTEA_ARRAY),
                (&logs.traces, Type::TEXT_ARRAY),
                (&lock_wait, Type::TEXT),
            ],
        )
        .await?;
    Ok(read(&rows, batch.len())?.0)
}

fn read(rows: &[Row], count: usize) -> Result<(Vec<WriteReply>, Effects)> {
    let mut replies = vec![WriteReply::Lost; count];
    let mut effects = Effects::default();
    for row in rows {
        match usize::try_from(get::<i32>(row, 0)?) {
            Ok(place) if place > 0 && place <= count => replies[place - 1] = reply(row)?,
            _ => {
                effects.woken = get::<i16>(row, 1)? != 0;
                effects.ended = get::<i16>(row, 2)? != 0;
            }
        }
    }
    Ok((replies, effects))
}

fn reply(row: &Row) -> Result<WriteReply> {
    reply_of(get(row, 1)?, get(row, 2)?)
}

/// Decodes the reply to a fenced write from its two numbers.
pub(crate) fn reply_of(code: i16, now: i16) -> Result<WriteReply> {
    let now = state(now);
    match code {
        0 => Ok(WriteReply::Applied(now)),
        1 => Ok(WriteReply::AlreadyApplied(now)),
        2 => Ok(WriteReply::Lost),
        other => Err(Error::Database(format!("a fenced write returned {other}"))),
    }
}
