//! Schedules: storing, changing and reading them, and the ticks that enqueue their tasks.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use taskyard_core::schedule::{
    CatchUp, DueSchedule, NewSchedule, OnConflict, OpenRun, Overlap, RUNS_KEPT, RunOutcome, ScheduleLook,
    ScheduleRecord, ScheduleRun, Tick, stored_task,
};
use taskyard_core::state::Runtime;
use taskyard_core::store::SchedulePut;
use taskyard_core::{Error, NewTask, Result, TaskId, TaskState, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::add;
use crate::inner::Inner;
use crate::notify::SCHEDULE;
use crate::pool::{Interrupted, Role, Transaction, rerunning};
use crate::row::{get, instant, interval, number};
use crate::text::{clean, micros};

const GET: &str = include_str!("sql/schedule/get.sql");
const NAMES: &str = include_str!("sql/schedule/names.sql");
const OPEN: &str = include_str!("sql/schedule/open.sql");
const RUNS: &str = include_str!("sql/schedule/runs.sql");
const LOOK: &str = include_str!("sql/schedule/look.sql");
const DECIDE: &str = include_str!("sql/schedule/decide.sql");
const RECORD: &str = "SELECT taskyard.schedule_record($1, $2, $3, $4, $5)";

/// Notifies all listening processes that the schedules have changed.
pub(crate) async fn notify(store: &Inner) {
    store.notifications.schedules.notify();
    if store.options.notify {
        let told = store
            .pool
            .query_idempotent(Role::Client, "SELECT pg_catalog.pg_notify($1, '')", &[(&SCHEDULE, Type::TEXT)])
            .await;
        if let Err(error) = told {
            tracing::debug!("NOTIFY: {error}");
        }
    }
}

pub(crate) async fn put(store: &Inner, new: &NewSchedule, on_conflict: OnConflict) -> Result<SchedulePut> {
    let task = &new.task;
    let rows = store
        .pool
        .query_idempotent(
            Role::Client,
            "SELECT taskyard.schedule_put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
            &[
                (&clean(&new.name), Type::TEXT),
                (&clean(&new.rule), Type::TEXT),
                (&clean(&new.zone), Type::TEXT),
                (&clean(&task.kind), Type::TEXT),
                (&task.runtime.code(), Type::INT2),
                (&clean(&task.queue), Type::TEXT),
                (&task.priority, Type::INT4),
                (&task.payload, Type::BYTEA),
                (&new.options(), Type::TEXT),
                (&new.overlap.code(), Type::INT2),
                (&new.catch_up.code(), Type::INT2),
                (&micros(new.catch_up_window), Type::INT8),
                (&micros(new.jitter), Type::INT8),
                (&new.starts_at, Type::TIMESTAMPTZ),
                (&new.ends_at, Type::TIMESTAMPTZ),
                (&new.runs_max.map(i64::from), Type::INT8),
                (&new.pause_after_failures.map(i64::from), Type::INT8),
                (&i32::from(on_conflict.code()), Type::INT4),
                (&task.plain_parts(), Type::INT2),
            ],
        )
        .await?;
    // The table's trigger has notified the other processes.
    store.notifications.schedules.notify();
    match rows.first().map_or(Ok(-1), |row| get::<i32>(row, 0))? {
        0 => Ok(SchedulePut::Added),
        1 => Ok(SchedulePut::Kept),
        2 => Ok(SchedulePut::Replaced),
        _ => Err(Error::DuplicateSchedule(new.name.clone())),
    }
}

pub(crate) async fn remove(store: &Inner, name: &str) -> Result<bool> {
    let sql = "SELECT taskyard.schedule_remove($1)";
    let rows = store.pool.query_idempotent(Role::Client, sql, &[(&clean(name), Type::TEXT)]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

pub(crate) async fn set_paused(store: &Inner, name: &str, paused: bool) -> Result<bool> {
    let sql = "SELECT taskyard.schedule_pause($1, $2)";
    let params = [(&clean(name) as _, Type::TEXT), (&paused as _, Type::BOOL)];
    let rows = store.pool.query_idempotent(Role::Client, sql, &params).await?;
    store.notifications.schedules.notify();
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

pub(crate) async fn find(store: &Inner, name: &str) -> Result<Option<DueSchedule>> {
    Ok(read(store, &[clean(name).into_owned()]).await?.pop())
}

pub(crate) async fn page(store: &Inner, after: Option<&str>, limit: usize) -> Result<Vec<DueSchedule>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [(&clean(after.unwrap_or_default()) as _, Type::TEXT), (&limit as _, Type::INT8)];
    let rows = store.pool.query_idempotent(Role::Client, NAMES, &params).await?;
    let names = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>>>()?;
    read(store, &names).await
}

pub(crate) async fn look(store: &Inner, limit: usize) -> Result<ScheduleLook> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = store.pool.query(Role::Claim, LOOK, &[(&limit, Type::INT8)]).await?;
    let Some(row) = rows.first() else {
        return Err(Error::Database("reading the due schedules returned no row".into()));
    };
    let names: Vec<String> = get(row, 3)?;
    Ok(ScheduleLook {
        now: get(row, 0)?,
        next_due: interval(get(row, 1)?),
        open: get(row, 2)?,
        due: if names.is_empty() { Vec::new() } else { read(store, &names).await? },
    })
}

/// Reads the rows first, then the open runs: a decision made in between shows in the version.
async fn read(store: &Inner, names: &[String]) -> Result<Vec<DueSchedule>> {
    let params = [(&names as _, Type::TEXT_ARRAY)];
    let rows = store.pool.query(Role::Claim, GET, &params).await?;
    let mut open: HashMap<String, Vec<OpenRun>> = HashMap::new();
    for row in &store.pool.query(Role::Claim, OPEN, &params).await? {
        open.entry(get(row, 0)?).or_default().push(OpenRun {
            sequence: get(row, 1)?,
            fire_at: instant(row, 2).unwrap_or(Timestamp::UNIX_EPOCH),
            task: get::<Option<Uuid>>(row, 3)?.map(TaskId),
            state: get::<Option<i16>>(row, 4)?.map(crate::row::state),
            finished_at: instant(row, 5),
            error: short_failure(row, 6)?,
        });
    }
    let dues = rows.iter().map(|row| {
        let record = record(row)?;
        Ok(DueSchedule { open: open.remove(&record.definition.name).unwrap_or_default(), record })
    });
    dues.collect()
}

fn record(row: &Row) -> Result<ScheduleRecord> {
    let options: String = get(row, 8)?;
    let runtime = Runtime::from_code(get(row, 4)?).unwrap_or_default();
    let (kind, queue, priority, payload) = (get(row, 3)?, get(row, 5)?, get(row, 6)?, get(row, 7)?);
    let (task, unreadable) = stored_task(kind, runtime, queue, priority, payload, get(row, 29)?, &options);
    let span = |column| -> Result<Duration> { Ok(interval(Some(get(row, column)?)).unwrap_or_default()) };
    let small = |column| -> Result<Option<u32>> {
        Ok(get::<Option<i64>>(row, column)?.map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX)))
    };
    Ok(ScheduleRecord {
        definition: NewSchedule {
            name: get(row, 0)?,
            rule: get(row, 1)?,
            zone: get(row, 2)?,
            task,
            overlap: Overlap::from_code(get(row, 9)?).unwrap_or_default(),
            catch_up: CatchUp::from_code(get(row, 10)?).unwrap_or_default(),
            catch_up_window: span(11)?,
            jitter: span(12)?,
            starts_at: instant(row, 13),
            ends_at: instant(row, 14),
            runs_max: small(15)?,
            pause_after_failures: small(16)?,
        },
        version: get(row, 17)?,
        // A schedule whose next time is not a valid instant is planned again.
        planned: get(row, 18)? && row.try_get::<_, Option<Timestamp>>(24).is_ok(),
        paused: get(row, 19)?,
        ended: get(row, 20)?,
        problem: get::<Option<String>>(row, 21)?.or(unreadable),
        created_at: instant(row, 22).unwrap_or(Timestamp::UNIX_EPOCH),
        planned_from: instant(row, 23).unwrap_or(Timestamp::UNIX_EPOCH),
        next_at: instant(row, 24),
        last_at: instant(row, 25),
        runs: u64::try_from(get::<i64>(row, 26)?).unwrap_or(0),
        failures: small(27)?.unwrap_or(0),
        last_state: get::<Option<i16>>(row, 28)?.and_then(TaskState::from_code),
    })
}

/// Decodes an error from two columns; the traceback is stored with the task only.
fn short_failure(row: &Row, column: usize) -> Result<Option<taskyard_core::Failure>> {
    let error_type: Option<String> = get(row, column)?;
    let message: Option<String> = get(row, column + 1)?;
    Ok(error_type.map(|error_type| taskyard_core::Failure::new(error_type, message.unwrap_or_default())))
}

pub(crate) async fn runs(store: &Inner, name: &str, before: Option<i64>, limit: usize) -> Result<Vec<ScheduleRun>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [(&clean(name) as _, Type::TEXT), (&before as _, Type::INT8), (&limit as _, Type::INT8)];
    let rows = store.pool.query_idempotent(Role::Client, RUNS, &params).await?;
    rows.iter()
        .map(|row| {
            Ok(ScheduleRun {
                sequence: get(row, 0)?,
                fire_at: instant(row, 1).unwrap_or(Timestamp::UNIX_EPOCH),
                until: instant(row, 2),
                count: number(row, 3)?,
                outcome: RunOutcome::from_code(get(row, 4)?).unwrap_or(RunOutcome::Missed),
                manual: get(row, 5)?,
                task: get::<Option<Uuid>>(row, 6)?.map(TaskId),
                state: get::<Option<i16>>(row, 7)?.and_then(TaskState::from_code),
                created_at: instant(row, 8).unwrap_or(Timestamp::UNIX_EPOCH),
                finished_at: instant(row, 9),
                error: short_failure(row, 10)?,
            })
        })
        .collect()
}

pub(crate) async fn tick(store: &Inner, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>> {
    if ticks.is_empty() {
        return Ok(Vec::new());
    }
    let applied = rerunning(|| async {
        let transaction = store.pool.begin(Role::Claim, std::time::Duration::from_secs(1)).await?;
        match write(&transaction, ticks).await {
            Ok(applied) => {
                transaction.commit().await?;
                Ok(applied)
            }
            Err(interrupted) => {
                transaction.rollback().await;
                Err(interrupted)
            }
        }
    })
    .await?;
    if applied.iter().flatten().any(|ids| !ids.is_empty()) {
        store.notify_work();
    }
    if ticks.iter().zip(&applied).any(|(tick, applied)| applied.is_some() && !tick.cancel.is_empty()) {
        store.notify_signal();
        store.notify_finished();
    }
    Ok(applied)
}

async fn write(transaction: &Transaction<'_>, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>, Interrupted> {
    let rows: Vec<_> = ticks
        .iter()
        .map(|tick| {
            json!({
                "name": tick.name, "version": tick.version, "planned": tick.planned, "paused": tick.paused, "ended": tick.ended,
                "problem": tick.problem.as_deref().map(clean), "next_at": tick.next_at, "last_at": tick.last_at,
                "runs": tick.tasks().count(), "failures": tick.failures,
                "last_state": tick.last_state.map(TaskState::code),
            })
        })
        .collect();
    let decided = transaction.query(DECIDE, &[(&json!(rows), Type::JSON)]).await?;
    let decided = decided.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>>>()?;
    let applies = |tick: &Tick| decided.contains(&tick.name);
    let tasks: Vec<NewTask> = ticks.iter().filter(|tick| applies(tick)).flat_map(Tick::tasks).cloned().collect();
    let added = if tasks.is_empty() { Vec::new() } else { add::linked(transaction, None, &tasks).await? };
    let ids: HashMap<TaskId, TaskId> = tasks.iter().zip(&added).map(|(task, added)| (task.id, added.id)).collect();
    let id_of = |task: &NewTask| ids.get(&task.id).copied().unwrap_or(task.id);
    let (mut runs, mut settled, mut released, mut dropped) = (Vec::new(), Vec::new(), Vec::new(), Vec::<i64>::new());
    for tick in ticks.iter().filter(|tick| applies(tick)) {
        for run in &tick.runs {
            runs.push(json!({
                "schedule": tick.name, "fire_at": run.fire_at, "until": run.until, "count": run.count,
                "outcome": run.outcome.code(), "manual": run.manual, "task_id": run.task.as_ref().map(id_of),
                "place": runs.len(),
            }));
        }
        for run in &tick.settled {
            settled.push(json!({
                "sequence": run.sequence, "state": run.state.map(TaskState::code), "finished_at": run.finished_at,
                "error_type": run.error.as_ref().map(|error| clean(&error.error_type)),
                "error_message": run.error.as_ref().map(|error| clean(&error.message)),
            }));
        }
        for (sequence, task) in &tick.released {
            released.push(json!({ "sequence": sequence, "task_id": id_of(task) }));
        }
        dropped.extend(&tick.dropped);
    }
    let cancel: Vec<Uuid> =
        ticks.iter().filter(|tick| applies(tick)).flat_map(|tick| &tick.cancel).map(|id| id.0).collect();
    if !cancel.is_empty() {
        transaction.query("SELECT reply FROM taskyard.task_cancel($1)", &[(&cancel, Type::UUID_ARRAY)]).await?;
    }
    let kept = RUNS_KEPT as i64;
    let params = [
        (&json!(runs) as _, Type::JSON),
        (&json!(settled) as _, Type::JSON),
        (&json!(released) as _, Type::JSON),
        (&dropped as _, Type::INT8_ARRAY),
        (&kept as _, Type::INT8),
    ];
    if !(runs.is_empty() && settled.is_empty() && released.is_empty() && dropped.is_empty()) {
        transaction.query(RECORD, &params).await?;
    }
    Ok(ticks.iter().map(|tick| applies(tick).then(|| tick.tasks().map(id_of).collect())).collect())
}
