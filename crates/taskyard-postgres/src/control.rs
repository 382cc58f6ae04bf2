//! Operator commands on tasks and queues: cancel, stop, retry, edit, purge, pause and limits.

use std::time::{Duration, Instant};

use taskyard_core::store::{ControlReply, StepReport, TaskEdit};
use taskyard_core::{Error, Rate, Result, TaskId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{get, state};
use crate::text::{clean, micros};
use crate::upkeep;

/// Maximum number of tasks in one statement: each is processed on its own, and its locks are held until the last one is
/// done.
const CHUNK_MAX: usize = 500;
/// Maximum number of rows that one step moves between partitions.
const SETTLE_ROWS: i32 = 5_000;
/// Maximum number of rows for one step of setting a queue apart: claims skip locked rows, and each step scans the whole
/// range.
const APART_ROWS: i32 = 20_000;

/// Maximum time without progress that a retry waits until the children of its tasks have been notified of their end.
/// Children that are locked, or whose change the database refuses, are left alone for longer than this.
const TOLD_MAX: Duration = Duration::from_secs(15);

const CANCEL: &str = "SELECT place, reply, state FROM taskyard.task_cancel($1)";
const STOP: &str = "SELECT place, reply, state FROM taskyard.task_stop($1)";
const SET_PRIORITY: &str = "SELECT place, reply, state FROM taskyard.task_set_priority($1, $2)";
const CANCEL_BECAUSE: &str = "SELECT place, reply, state FROM taskyard.task_cancel_because($1, $2)";
const RETRY: &str = "SELECT place, reply, state, holder FROM taskyard.task_retry_unique($1)";

pub(crate) async fn cancel(store: &Inner, ids: &[TaskId], reason: Option<&str>) -> Result<Vec<ControlReply>> {
    let mut replies = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_MAX) {
        let answer = match reason {
            Some(reason) => {
                let ids: Vec<Uuid> = chunk.iter().map(|id| id.0).collect();
                let params = [(&ids as _, Type::UUID_ARRAY), (&clean(reason) as _, Type::TEXT)];
                answer(ids.len(), &store.pool.query(Role::Client, CANCEL_BECAUSE, &params).await?)?
            }
            None => call(store, CANCEL, chunk).await?,
        };
        if answer.replies.contains(&Some(ControlReply::Requested)) {
            store.notify_signal();
        }
        if answer.woken {
            store.notify_work();
        }
        if answer.ended {
            store.notify_finished();
        }
        replies.extend(complete(answer.replies)?);
    }
    Ok(replies)
}

pub(crate) async fn stop(store: &Inner, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
    let mut replies = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_MAX) {
        let answer = call(store, STOP, chunk).await?;
        if answer.replies.contains(&Some(ControlReply::Requested)) {
            store.notify_signal();
        }
        replies.extend(complete(answer.replies)?);
    }
    Ok(replies)
}

pub(crate) async fn retry(store: &Inner, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
    let mut replies = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_MAX) {
        let mut left: Vec<(usize, TaskId)> = chunk.iter().copied().enumerate().collect();
        let mut found: Vec<Option<ControlReply>> = vec![None; chunk.len()];
        let mut told_at = Instant::now();
        while !left.is_empty() {
            let ids: Vec<TaskId> = left.iter().map(|(_, id)| *id).collect();
            let answer = call(store, RETRY, &ids).await?;
            if answer.woken {
                store.notify_work();
            }
            let mut waiting = Vec::new();
            for ((at, id), reply) in left.into_iter().zip(answer.replies) {
                if reply.is_some() {
                    found[at] = reply;
                } else {
                    waiting.push((at, id));
                }
            }
            left = waiting;
            if !left.is_empty() {
                // A cascade of these tasks is still under way and is completed first.
                let step = upkeep::cascade(store).await?;
                if step.tasks > 0 {
                    told_at = Instant::now();
                } else {
                    if told_at.elapsed() > TOLD_MAX {
                        let (_, first) = left[0];
                        return Err(Error::Locked(format!(
                            "the children of task {first} are still being updated after its end"
                        )));
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        replies.extend(complete(found)?);
    }
    Ok(replies)
}

pub(crate) async fn set_priority(store: &Inner, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>> {
    let mut replies = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_MAX) {
        let ids: Vec<Uuid> = chunk.iter().map(|id| id.0).collect();
        let params = [(&ids as _, Type::UUID_ARRAY), (&priority as _, Type::INT4)];
        let answer = answer(chunk.len(), &store.pool.query(Role::Client, SET_PRIORITY, &params).await?)?;
        if answer.woken {
            // A claim may have skipped the rows while they were being moved.
            store.notify_work();
        }
        replies.extend(complete(answer.replies)?);
    }
    Ok(replies)
}

pub(crate) async fn edit(store: &Inner, id: TaskId, edit: &TaskEdit) -> Result<ControlReply> {
    let (seen, payload) = edit.payload.as_ref().map(|new| (&new.seen, &new.payload)).unzip();
    let retries = edit.max_retries.map(i64::from);
    let plain = edit.payload.as_ref().is_some_and(|new| !new.encoded);
    let rows = store
        .pool
        .query(
            Role::Client,
            "SELECT 1, reply, state FROM taskyard.task_edit($1, $2, $3, $4, $5, $6, $7)",
            &[
                (&id.0, Type::UUID),
                (&seen, Type::BYTEA),
                (&payload, Type::BYTEA),
                (&edit.queue, Type::TEXT),
                (&edit.priority, Type::INT4),
                (&retries, Type::INT8),
                (&plain, Type::BOOL),
            ],
        )
        .await?;
    match rows.first() {
        Some(row) => reply(row)?.ok_or(Error::EditedMeanwhile(id)),
        None => Err(Error::Database("an edit returned no row".into())),
    }
}

struct Answer {
    /// `None` for a task whose call must be repeated.
    replies: Vec<Option<ControlReply>>,
    woken: bool,
    ended: bool,
}

async fn call(store: &Inner, sql: &str, ids: &[TaskId]) -> Result<Answer> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    answer(ids.len(), &store.pool.query(Role::Client, sql, &[(&ids, Type::UUID_ARRAY)]).await?)
}

fn answer(count: usize, rows: &[Row]) -> Result<Answer> {
    let mut answer = Answer { replies: vec![None; count], woken: false, ended: false };
    for row in rows {
        match usize::try_from(get::<i32>(row, 0)?) {
            Ok(place) if place > 0 && place <= count => answer.replies[place - 1] = reply(row)?,
            _ => {
                answer.woken = get::<i16>(row, 1)? != 0;
                answer.ended = get::<i16>(row, 2)? != 0;
            }
        }
    }
    Ok(answer)
}

fn reply(row: &Row) -> Result<Option<ControlReply>> {
    let now = state(get(row, 2)?);
    Ok(match get::<i16>(row, 1)? {
        0 => Some(ControlReply::Applied(now)),
        1 => Some(ControlReply::Requested),
        2 => Some(ControlReply::Refused(now)),
        3 => Some(ControlReply::NotFound),
        5 => Some(ControlReply::KeyHeld(TaskId(get(row, 3)?))),
        _ => None,
    })
}

fn complete(replies: Vec<Option<ControlReply>>) -> Result<Vec<ControlReply>> {
    replies
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::Database("a task was neither changed nor refused".into()))
}

pub(crate) async fn set_paused(store: &Inner, queue: &str, paused: bool) -> Result<()> {
    configure(store, queue, Some(paused), None).await
}

/// Returns a queue's stored concurrency limit and rate. A call that sets the stored value again need not touch the
/// queue's rows.
async fn kept(store: &Inner, queue: &str) -> Result<(Option<i64>, Option<i32>, Option<i64>)> {
    let sql = "SELECT q.running_max, q.rate_count, q.rate_us FROM taskyard.queue q WHERE q.name = $1";
    let rows = store.pool.query_idempotent(Role::Client, sql, &[(&queue, Type::TEXT)]).await?;
    rows.first().map_or(Ok((None, None, None)), |row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?)))
}

pub(crate) async fn set_limit(store: &Inner, queue: &str, running_max: Option<u32>) -> Result<()> {
    if running_max.is_some() && kept(store, queue).await?.0 == running_max.map(i64::from) {
        return Ok(());
    }
    configure(store, queue, None, Some(running_max.map_or(-1, i64::from))).await
}

pub(crate) async fn set_rate(store: &Inner, queue: &str, rate: Option<Rate>) -> Result<()> {
    let count = rate.map(|rate| i32::try_from(rate.count).unwrap_or(i32::MAX));
    let per = rate.map(|rate| micros(rate.per));
    if rate.is_some() {
        let (_, count_kept, per_kept) = kept(store, queue).await?;
        if (count_kept, per_kept) == (count, per) {
            return Ok(());
        }
    }
    let params = [(&queue as _, Type::TEXT), (&count as _, Type::INT4), (&per as _, Type::INT8)];
    store.pool.query(Role::Client, "SELECT taskyard.queue_set_rate($1, $2, $3)", &params).await?;
    settle(store, queue).await?;
    store.notify_work();
    Ok(())
}

/// Changes a queue's row, which takes effect at once, then moves its ready rows to the partition where they now belong.
async fn configure(store: &Inner, queue: &str, paused: Option<bool>, running_max: Option<i64>) -> Result<()> {
    store
        .pool
        .query(
            Role::Client,
            "SELECT taskyard.queue_configure($1, $2, $3, false)",
            &[(&queue, Type::TEXT), (&paused, Type::BOOL), (&running_max, Type::INT8)],
        )
        .await?;
    settle(store, queue).await?;
    store.notify_work();
    Ok(())
}

/// Moves a queue's ready rows to the partition where they belong.
pub(crate) async fn settle(store: &Inner, queue: &str) -> Result<()> {
    let sql = "SELECT taskyard.queue_settle($1, $2)";
    loop {
        let rows = store.pool.query(Role::Client, sql, &[(&queue, Type::TEXT), (&SETTLE_ROWS, Type::INT4)]).await?;
        if rows.first().map_or(Ok(0), |row| get::<i32>(row, 0))? < SETTLE_ROWS {
            return Ok(());
        }
    }
}

pub(crate) async fn set_apart(store: &Inner, queues: &[String]) -> Result<StepReport> {
    let rows = store
        .pool
        .query(
            Role::Claim,
            "SELECT moved, more FROM taskyard.queue_set_apart($1, $2)",
            &[(&queues, Type::TEXT_ARRAY), (&APART_ROWS, Type::INT4)],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(StepReport::default()) };
    let report = StepReport { tasks: get::<i32>(row, 0)?.unsigned_abs() as usize, more: get(row, 1)? };
    if report.tasks > 0 {
        // A claim may have skipped the rows while they were being moved.
        store.notify_work();
    }
    Ok(report)
}

pub(crate) async fn purge(store: &Inner, ids: &[TaskId]) -> Result<usize> {
    let mut gone = 0;
    for chunk in ids.chunks(1_000) {
        let chunk: Vec<Uuid> = chunk.iter().map(|id| id.0).collect();
        gone += purge_of(store, &chunk).await?;
    }
    Ok(gone)
}

/// Deletes a part of the tasks to purge. Tasks that the database refuses to delete (for example because of a foreign
/// key of the application) do not keep the others from being deleted: the part is halved. Returns the refusal as an
/// error only if nothing was deleted.
async fn purge_of(store: &Inner, ids: &[Uuid]) -> Result<usize> {
    const SQL: &str = "SELECT coalesce(pg_catalog.cardinality(taskyard.task_purge($1)), 0)";
    let mut parts = vec![ids];
    let mut gone = 0;
    let mut refusal = None;
    while let Some(part) = parts.pop() {
        match store.pool.query(Role::Client, SQL, &[(&part, Type::UUID_ARRAY)]).await {
            Ok(rows) => gone += rows.first().map_or(Ok(0), |row| get::<i32>(row, 0))?.unsigned_abs() as usize,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) if part.len() > 1 => parts.extend([&part[..part.len() / 2], &part[part.len() / 2..]]),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if gone == 0 => Err(error),
        Some(error) => {
            tracing::warn!(%error, "the database refuses to delete some of these tasks");
            Ok(gone)
        }
        None => Ok(gone),
    }
}
