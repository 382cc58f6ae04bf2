//! The ends of attempts, and what running ones want stored.

mod columns;

use std::collections::HashSet;

use taskyard_core::store::{Finish, Outcome, Record, WriteReply};
use taskyard_core::{ClaimId, Error, Result, TaskState};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use self::columns::{Any, Logs, contexts, result};
use crate::pool::{Interrupted, Role, rerunning};
use crate::row::{get, state};
use crate::store::Inner;

const DONE: &str = "SELECT place, reply, state FROM taskyard.task_finish_done($1, $2, $3, $4)";
const ANY: &str = "SELECT place, reply, state FROM taskyard.task_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                   $12, $13, $14, $15, $16, $17)";
const RECORD: &str = "SELECT place, reply, state FROM taskyard.task_record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Ends attempts.
pub(crate) async fn finish(store: &Inner, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>> {
    if batch.is_empty() && closed.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = HashSet::with_capacity(batch.len());
    let single = batch.iter().all(|item| seen.insert(item.id));
    let plain =
        |item: &Finish| matches!(item.outcome, Outcome::Done { .. }) && item.context.is_none() && item.logs.is_empty();
    let closed: Vec<Uuid> = closed.iter().map(|claim| claim.0).collect();
    let (replies, news) = if single && batch.iter().all(plain) {
        finish_done(store, batch, &closed).await?
    } else if single {
        let call = Any::of(batch.iter(), &closed);
        let rows = store.pool.query(Role::Attempt, ANY, &call.params()).await?;
        read(&rows, batch.len())?
    } else {
        // One task twice: one after the other, in one transaction.
        rerunning(|| finish_rounds(store, batch, &closed)).await?
    };
    if news.woken {
        store.tell_work();
    }
    if news.ended {
        store.tell_finished();
    }
    Ok(replies)
}

#[derive(Clone, Copy, Debug, Default)]
struct Effects {
    woken: bool,
    ended: bool,
}

async fn finish_done(store: &Inner, batch: &[Finish], closed: &[Uuid]) -> Result<(Vec<WriteReply>, Effects)> {
    // In id order, as every writer locks.
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by_key(|at| batch[*at].id);
    let ids: Vec<Uuid> = order.iter().map(|at| batch[*at].id.0).collect();
    let tokens: Vec<Uuid> = order.iter().map(|at| batch[*at].token.0).collect();
    let results: Vec<&[u8]> = order.iter().map(|at| result(&batch[*at].outcome).unwrap_or_default()).collect();
    let rows = store
        .pool
        .query(
            Role::Attempt,
            DONE,
            &[
                (&ids, Type::UUID_ARRAY),
                (&tokens, Type::UUID_ARRAY),
                (&results, Type::BYTEA_ARRAY),
                (&closed, Type::UUID_ARRAY),
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
    let transaction = store.pool.begin(Role::Attempt).await?;
    let mut replies = vec![WriteReply::Lost; batch.len()];
    let mut effects = Effects::default();
    let mut left: Vec<usize> = (0..batch.len()).collect();
    while !left.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|at| seen.insert(batch[*at].id));
        let call = Any::of(round.iter().map(|at| &batch[*at]), closed);
        let rows = match transaction.query(ANY, &call.params()).await {
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
    let now = state(get(row, 2)?);
    match get::<i16>(row, 1)? {
        0 => Ok(WriteReply::Applied(now)),
        1 => Ok(WriteReply::AlreadyApplied(now)),
        2 => Ok(WriteReply::Lost),
        other => Err(Error::Database(format!("a fenced write answered {other}"))),
    }
}
