//! Read-only queries: tasks, their attempts, logs and relatives, queues, and the status of the store.

use std::collections::{HashMap, HashSet};

use taskyard_core::store::{Final, ParentResult, QueueStatus, StoreStatus, TaskFilter};
use taskyard_core::task::{Attempt, AttemptOutcome, LogLine, StoredLogLine};
use taskyard_core::{Result, ServerId, TaskId, TaskRecord, TaskState};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{count, failure, get, instant, interval, number, rate, record, state};

const GET: &str = include_str!("sql/task/get.sql");
const PRESENT: &str = include_str!("sql/task/present.sql");
const LIST: &str = include_str!("sql/task/list.sql");
const COUNT: &str = include_str!("sql/task/count.sql");
const SELECT: &str = include_str!("sql/task/select.sql");
const ATTEMPTS: &str = include_str!("sql/task/attempts.sql");
const CONTEXT: &str = include_str!("sql/task/context.sql");
const LOGS: &str = include_str!("sql/task/logs.sql");
const PARENT_RESULTS: &str = include_str!("sql/task/parent_results.sql");
const PARENT_SIZES: &str = include_str!("sql/task/parent_sizes.sql");
const CHILDREN: &str = include_str!("sql/task/children.sql");
const QUEUES: &str = include_str!("sql/queue/list.sql");

const CHUNK_MAX: usize = 2_000;

pub(crate) async fn get_all(store: &Inner, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
    let mut records: HashMap<TaskId, TaskRecord> = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_MAX) {
        let chunk: Vec<Uuid> = chunk.iter().map(|id| id.0).collect();
        for row in store.pool.query_idempotent(Role::Client, GET, &[(&chunk, Type::UUID_ARRAY)]).await? {
            let record = record(&row)?;
            records.insert(record.id, record);
        }
    }
    Ok(ids.iter().map(|id| records.get(id).cloned()).collect())
}

pub(crate) async fn list(store: &Inner, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
    let ids = ids(store, LIST, filter, filter.before, filter.records_max()).await?;
    Ok(get_all(store, &ids).await?.into_iter().flatten().collect())
}

pub(crate) async fn select(
    store: &Inner,
    filter: &TaskFilter,
    after: Option<TaskId>,
    limit: usize,
) -> Result<Vec<TaskId>> {
    ids(store, SELECT, filter, after, limit).await
}

async fn ids(store: &Inner, sql: &str, filter: &TaskFilter, edge: Option<TaskId>, limit: usize) -> Result<Vec<TaskId>> {
    let (states, place) = states_and_place(filter);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = store
        .pool
        .query_idempotent(
            Role::Client,
            sql,
            &[
                (&states, Type::INT2_ARRAY),
                (&filter.queue, Type::TEXT),
                (&filter.kind, Type::TEXT),
                (&filter.tag, Type::TEXT),
                (&filter.finished_before, Type::TIMESTAMPTZ),
                (&edge.map(|id| id.0), Type::UUID),
                (&limit, Type::INT8),
                (&place, Type::INT4),
                (&filter.finished_after, Type::TIMESTAMPTZ),
                (&filter.error_type, Type::TEXT),
                (&filter.message, Type::TEXT),
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(TaskId(get(row, 0)?))).collect()
}

/// Returns the codes of the states, and a number for the table to search: rare states have small tables of their own,
/// and the wide table has no index on the state.
fn states_and_place(filter: &TaskFilter) -> (Option<Vec<i16>>, i32) {
    let states = (!filter.states.is_empty()).then(|| filter.states.iter().map(|state| state.code()).collect());
    let place = match filter.states.as_slice() {
        [TaskState::Failed] => 1,
        [TaskState::Waiting] => 2,
        [TaskState::Doing] => 3,
        _ => 0,
    };
    (states, place)
}

pub(crate) async fn count_all(store: &Inner, filter: &TaskFilter) -> Result<u64> {
    let (states, place) = states_and_place(filter);
    let rows = store
        .pool
        .query_idempotent(
            Role::Client,
            COUNT,
            &[
                (&states, Type::INT2_ARRAY),
                (&filter.queue, Type::TEXT),
                (&filter.kind, Type::TEXT),
                (&filter.tag, Type::TEXT),
                (&filter.finished_before, Type::TIMESTAMPTZ),
                (&filter.finished_after, Type::TIMESTAMPTZ),
                (&filter.error_type, Type::TEXT),
                (&filter.message, Type::TEXT),
                (&place, Type::INT4),
            ],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| count(row, 0))
}

pub(crate) async fn finals(store: &Inner, ids: &[TaskId]) -> Result<Vec<Final>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let sql =
        "SELECT id, state, result, error_type, error_message, error_traceback, encoded FROM taskyard.task_ends($1)";
    let rows = store.pool.query_idempotent(Role::Client, sql, &[(&ids, Type::UUID_ARRAY)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Final {
                id: TaskId(get(row, 0)?),
                state: state(get(row, 1)?),
                result: get(row, 2)?,
                result_encoded: get(row, 6)?,
                error: failure(row, 3)?,
            })
        })
        .collect()
}

pub(crate) async fn present(store: &Inner, ids: &[TaskId]) -> Result<Vec<bool>> {
    let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = store.pool.query_idempotent(Role::Client, PRESENT, &[(&asked, Type::UUID_ARRAY)]).await?;
    let found = rows.iter().map(|row| get(row, 0).map(TaskId)).collect::<Result<HashSet<TaskId>>>()?;
    Ok(ids.iter().map(|id| found.contains(id)).collect())
}

pub(crate) async fn attempts(store: &Inner, id: TaskId) -> Result<Vec<Attempt>> {
    let rows = store.pool.query_idempotent(Role::Client, ATTEMPTS, &[(&id.0, Type::UUID)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Attempt {
                number: number(row, 0)?,
                server: get::<Option<Uuid>>(row, 1)?.map(ServerId),
                started_at: instant(row, 2),
                ended_at: instant(row, 3),
                outcome: AttemptOutcome::from_code(get(row, 4)?).unwrap_or(AttemptOutcome::Failed),
                error: failure(row, 5)?,
            })
        })
        .collect()
}

pub(crate) async fn context(store: &Inner, id: TaskId) -> Result<Option<Vec<u8>>> {
    let rows = store.pool.query_idempotent(Role::Client, CONTEXT, &[(&id.0, Type::UUID)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(get::<Option<Vec<u8>>>(row, 0)?.unwrap_or_else(|| b"{}".to_vec())))
}

pub(crate) async fn logs(store: &Inner, id: TaskId, after: i64, limit: usize) -> Result<Vec<StoredLogLine>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = store
        .pool
        .query_idempotent(Role::Client, LOGS, &[(&id.0, Type::UUID), (&after, Type::INT8), (&limit, Type::INT8)])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredLogLine {
                sequence: get(row, 0)?,
                attempt: number(row, 1)?,
                created_at: instant(row, 2).unwrap_or(taskyard_core::Timestamp::UNIX_EPOCH),
                line: LogLine {
                    level: get(row, 3)?,
                    logger: get(row, 4)?,
                    message: get(row, 5)?,
                    fields: get(row, 6)?,
                    traceback: get(row, 7)?,
                },
            })
        })
        .collect()
}

pub(crate) async fn parent_results(store: &Inner, id: TaskId) -> Result<Vec<ParentResult>> {
    let rows = store.pool.query_idempotent(Role::Client, PARENT_RESULTS, &[(&id.0, Type::UUID)]).await?;
    rows.iter()
        .map(|row| {
            Ok(ParentResult {
                id: TaskId(get(row, 0)?),
                state: state(get(row, 1)?),
                result: get(row, 2)?,
                result_encoded: get(row, 6)?,
                error: failure(row, 3)?,
            })
        })
        .collect()
}

pub(crate) async fn parent_sizes(store: &Inner, id: TaskId) -> Result<Vec<(TaskId, usize)>> {
    let rows = store.pool.query_idempotent(Role::Client, PARENT_SIZES, &[(&id.0, Type::UUID)]).await?;
    rows.iter()
        .map(|row| Ok((TaskId(get(row, 0)?), usize::try_from(get::<i64>(row, 1)?).unwrap_or(usize::MAX))))
        .collect()
}

pub(crate) async fn children(store: &Inner, id: TaskId, limit: usize) -> Result<Vec<TaskId>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows =
        store.pool.query_idempotent(Role::Client, CHILDREN, &[(&id.0, Type::UUID), (&limit, Type::INT8)]).await?;
    rows.iter().map(|row| Ok(TaskId(get(row, 0)?))).collect()
}

pub(crate) async fn queues(store: &Inner) -> Result<Vec<QueueStatus>> {
    let rows = store.pool.query_idempotent(Role::Client, QUEUES, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(QueueStatus {
                name: get(row, 0)?,
                paused: get(row, 1)?,
                running_max: get::<Option<i64>>(row, 2)?.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
                enqueued: count(row, 3)?,
                waiting: count(row, 4)?,
                doing: count(row, 5)?,
                oldest_enqueued: interval(get(row, 6)?),
                ageing: interval(get(row, 7)?),
                rate: rate(get(row, 8)?, interval(get(row, 9)?)),
            })
        })
        .collect()
}

pub(crate) async fn status(store: &Inner) -> Result<StoreStatus> {
    const SQL: &str = "SELECT p.by_state, p.servers, p.oldest_us, p.parked, taskyard.ready_sample(), p.estimated, \
                       (SELECT pg_catalog.count(*) FROM taskyard.end_aside), \
                       (SELECT coalesce(pg_catalog.sum(s.ends_held), 0)::bigint FROM taskyard.server s \
                        WHERE s.dead_at IS NULL AND s.lease_until > taskyard.now()), \
                       (SELECT pg_catalog.substr(s.value, pg_catalog.strpos(s.value, ' ') + 1) FROM taskyard.setting s \
                        WHERE s.name = 'upkeep_refused' AND pg_catalog.split_part(s.value, ' ', 1)::bigint \
                            > extract(epoch FROM taskyard.now())::bigint - 180) \
                       FROM taskyard.task_figures() p";
    let rows = store.pool.query_idempotent(Role::Client, SQL, &[]).await?;
    let Some(row) = rows.first() else { return Ok(StoreStatus::default()) };
    let counts: Vec<i64> = get(row, 0)?;
    let mut status = StoreStatus {
        servers_alive: count(row, 1)?,
        oldest_enqueued: interval(get(row, 2)?),
        parked: count(row, 3)?,
        misplaced: count(row, 4)?,
        ends_aside: count(row, 6)?,
        ends_held: count(row, 7)?,
        upkeep_refused: get(row, 8)?,
        ..StoreStatus::default()
    };
    for at in get::<Option<Vec<i32>>>(row, 5)?.unwrap_or_default() {
        if let Some(place) = usize::try_from(at).ok().and_then(|at| status.estimated.get_mut(at)) {
            *place = true;
        }
    }
    for (place, count) in status.by_state.iter_mut().zip(counts) {
        *place = u64::try_from(count).unwrap_or(0);
    }
    Ok(status)
}
