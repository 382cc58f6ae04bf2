//! Upkeep, in steps: due tasks, tasks of dead servers, cascades, parked tasks, dead letters for hooks, and retention.

use std::time::{Duration, Instant};

use taskyard_core::state::Runtime;
use taskyard_core::store::{
    DeadTake, ParkedReason, PromoteReport, RangeReport, RegroupReport, Retention, STEP_ROWS_MAX, StepReport,
};
use taskyard_core::{Namespace, Result, ServerId, TaskId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{count, get, interval};
use crate::text::micros;

fn size(row: &Row, column: usize) -> Result<usize> {
    Ok(usize::try_from(get::<i32>(row, column)?).unwrap_or(0))
}

pub(crate) async fn promote(store: &Inner) -> Result<PromoteReport> {
    const SQL: &str = "SELECT p.enqueued, p.expired, p.removed, p.more, p.due_us, r.freed, r.due_us \
                       FROM taskyard.task_promote() p CROSS JOIN taskyard.rate_due() r";
    let rows = store.pool.query(Role::Claim, SQL, &[]).await?;
    let Some(row) = rows.first() else { return Ok(PromoteReport::default()) };
    let report = PromoteReport {
        enqueued: size(row, 0)?,
        expired: size(row, 1)?,
        removed: size(row, 2)?,
        more: get(row, 3)?,
        next_due: interval(get(row, 4)?),
        freed: get(row, 5)?,
        next_start: interval(get(row, 6)?),
    };
    if report.enqueued > 0 || report.expired > 0 {
        store.notify_work();
    }
    if report.expired > 0 {
        store.notify_finished();
    }
    turn_over(store).await?;
    Ok(report)
}

/// Size in bytes from which a part of `ready` accepts no more rows: about 100,000 rows.
const READY_PART_MAX: i64 = 8 << 20;
/// Minimum interval between two checks of the parts.
const TURN_GAP: Duration = Duration::from_secs(1);

/// Rotates the parts of `ready`.
async fn turn_over(store: &Inner) -> Result<()> {
    {
        let mut last = store.turned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < TURN_GAP) {
            return Ok(());
        }
        *last = Some(Instant::now());
    }
    let sql = "SELECT taskyard.ready_turn_over($1)";
    // Ten steps move up to ten thousand remaining rows.
    for _ in 0..10 {
        let rows = store.pool.query(Role::Claim, sql, &[(&READY_PART_MAX, Type::INT8)]).await?;
        match rows.first() {
            Some(row) if get::<bool>(row, 0)? => store.notify_work(),
            _ => break,
        }
    }
    Ok(())
}

pub(crate) async fn rescue(store: &Inner, server: ServerId, beat: i64, overdue: bool) -> Result<StepReport> {
    let sql = "SELECT tasks, more, woken, ended FROM taskyard.server_rescue($1, $2, $3)";
    let params = [(&server.0 as _, Type::UUID), (&beat as _, Type::INT8), (&overdue as _, Type::BOOL)];
    let rows = store.pool.query(Role::Claim, sql, &params).await?;
    step(store, &rows)
}

pub(crate) async fn cascade(store: &Inner) -> Result<StepReport> {
    let sql = "SELECT tasks, more, woken, ended FROM taskyard.cascade_step()";
    step(store, &store.pool.query(Role::Claim, sql, &[]).await?)
}

pub(crate) async fn settle(store: &Inner) -> Result<StepReport> {
    let sql = "SELECT tasks, more, woken, ended FROM taskyard.waiting_settle()";
    step(store, &store.pool.query(Role::Claim, sql, &[]).await?)
}

fn step(store: &Inner, rows: &[Row]) -> Result<StepReport> {
    let Some(row) = rows.first() else { return Ok(StepReport::default()) };
    if size(row, 2)? > 0 {
        store.notify_work();
    }
    if size(row, 3)? > 0 {
        store.notify_finished();
    }
    Ok(StepReport { tasks: size(row, 0)?, more: get(row, 1)? })
}

pub(crate) async fn parked(store: &Inner, runtime: Runtime) -> Result<Vec<ParkedReason>> {
    let sql = "SELECT reason, count FROM taskyard.waiting_parked($1)";
    let rows = store.pool.query_idempotent(Role::Claim, sql, &[(&runtime.code(), Type::INT2)]).await?;
    rows.iter().map(|row| Ok(ParkedReason { reason: get(row, 0)?, count: count(row, 1)? })).collect()
}

pub(crate) async fn unpark(store: &Inner, runtime: Runtime, reason: &str) -> Result<StepReport> {
    let sql = "SELECT tasks, more FROM taskyard.waiting_unpark($1, $2)";
    let reason = crate::text::reason(reason);
    let params = [(&runtime.code() as _, Type::INT2), (&reason as _, Type::TEXT)];
    let rows = store.pool.query(Role::Claim, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(StepReport::default()) };
    let report = StepReport { tasks: size(row, 0)?, more: get(row, 1)? };
    if report.tasks > 0 {
        store.notify_work();
    }
    Ok(report)
}

/// Runs one step of maintaining the groups of kinds.
pub(crate) async fn regroup(store: &Inner) -> Result<RegroupReport> {
    let limit = i32::try_from(STEP_ROWS_MAX).unwrap_or(i32::MAX);
    let sql = "SELECT tasks, parked, groups, more FROM taskyard.kind_regroup($1)";
    let rows = store.pool.query(Role::Claim, sql, &[(&limit, Type::INT4)]).await?;
    let Some(row) = rows.first() else { return Ok(RegroupReport::default()) };
    let (tasks, parked) = (size(row, 0)?, size(row, 1)?);
    if tasks > parked {
        // A claim may have skipped the rows while they were being moved.
        store.notify_work();
    }
    Ok(RegroupReport { moved: tasks - parked, parked, groups: size(row, 2)?, more: get(row, 3)? })
}

pub(crate) async fn ranges_suspect(store: &Inner) -> Result<bool> {
    let rows = store.pool.query_idempotent(Role::Claim, "SELECT taskyard.ready_suspect()", &[]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

pub(crate) async fn compare_ranges(
    store: &Inner,
    after: Option<TaskId>,
    limit: usize,
    repair: bool,
) -> Result<RangeReport> {
    let sql = "SELECT seen, missing, repaired, last FROM taskyard.ready_compare($1, $2, $3)";
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    let params = [(&after.map(|id| id.0) as _, Type::UUID), (&limit as _, Type::INT4), (&repair as _, Type::BOOL)];
    let rows = store.pool.query(Role::Claim, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(RangeReport::default()) };
    let report = RangeReport {
        seen: size(row, 0)? as u64,
        missing: size(row, 1)? as u64,
        repaired: size(row, 2)? as u64,
        last: get::<Option<Uuid>>(row, 3)?.map(TaskId),
    };
    if report.repaired > 0 {
        store.notify_work();
    }
    if repair && report.last.is_none() {
        store.pool.query(Role::Claim, "SELECT taskyard.ready_compared()", &[]).await?;
    }
    Ok(report)
}

pub(crate) async fn dead_take(store: &Inner, request: &DeadTake) -> Result<Vec<TaskId>> {
    // Taking the same tasks again is safe.
    let sql = "SELECT * FROM taskyard.dead_take($1, $2, $3, $4, $5)";
    let params = [
        (&request.server.0 as _, Type::UUID),
        (&request.runtime.code() as _, Type::INT2),
        (&request.queues as _, Type::TEXT_ARRAY),
        (&i32::try_from(request.limit).unwrap_or(i32::MAX) as _, Type::INT4),
        (&request.namespace.as_ref().map(Namespace::as_str) as _, Type::TEXT),
    ];
    store.pool.query_idempotent(Role::Claim, sql, &params).await?.iter().map(|row| Ok(TaskId(get(row, 0)?))).collect()
}

pub(crate) async fn dead_told(store: &Inner, server: ServerId, ids: &[TaskId], told: bool) -> Result<usize> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let sql = "SELECT taskyard.dead_told($1, $2, $3)";
    let params = [(&server.0 as _, Type::UUID), (&ids as _, Type::UUID_ARRAY), (&told as _, Type::BOOL)];
    let rows = store.pool.query(Role::Claim, sql, &params).await?;
    rows.first().map_or(Ok(0), |row| size(row, 0))
}

pub(crate) async fn prune_surplus(store: &Inner, retention: &Retention) -> Result<StepReport> {
    let max = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (done, failed) = (max(retention.done_count), max(retention.failed_count));
    if done == 0 && failed == 0 {
        return Ok(StepReport::default());
    }
    let sql = "SELECT tasks, more FROM taskyard.task_prune_surplus($1, $2)";
    let rows = store.pool.query(Role::Claim, sql, &[(&done, Type::INT8), (&failed, Type::INT8)]).await?;
    let Some(row) = rows.first() else { return Ok(StepReport::default()) };
    Ok(StepReport { tasks: size(row, 0)?, more: get(row, 1)? })
}

pub(crate) async fn prune(store: &Inner, retention: &Retention) -> Result<StepReport> {
    let sql = "SELECT tasks, more FROM taskyard.task_prune($1, $2)";
    let params = [(&micros(retention.done) as _, Type::INT8), (&micros(retention.failed) as _, Type::INT8)];
    let rows = store.pool.query(Role::Claim, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(StepReport::default()) };
    Ok(StepReport { tasks: size(row, 0)?, more: get(row, 1)? })
}
