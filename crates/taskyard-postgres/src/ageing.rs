//! Ageing queues: configures them, and promotes tasks whose promotion time has come.

use std::time::{Duration, Instant};

use taskyard_core::Result;
use taskyard_core::store::{AgeReport, STEP_ROWS_MAX};
use tokio_postgres::types::Type;

use crate::control;
use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{get, interval};
use crate::text::micros;

/// Maximum number of rows in one step that stores promotion times.
const STAMP_ROWS: i32 = 5_000;
/// Interval between two searches for rows that were added while ageing of their queue was being switched on.
const STRAYS_EVERY: Duration = Duration::from_secs(60);

/// Switches ageing of a queue on, with the time after which a task moves up, or off (`None`).
pub(crate) async fn set(store: &Inner, queue: &str, every: Option<Duration>) -> Result<()> {
    let every = every.map(|every| micros(every).max(1));
    store
        .pool
        .query(Role::Client, "SELECT taskyard.queue_set_ageing($1, $2)", &[(&queue, Type::TEXT), (&every, Type::INT8)])
        .await?;
    if every.is_some() {
        stamp(store, queue).await?;
    } else {
        let sql = "SELECT taskyard.queue_unstamp($1, $2)";
        loop {
            let rows = store.pool.query(Role::Client, sql, &[(&queue, Type::TEXT), (&STAMP_ROWS, Type::INT4)]).await?;
            if rows.first().map_or(Ok(0), |row| get::<i32>(row, 0))? == 0 {
                break;
            }
        }
        while step(store).await?.more {}
        control::settle(store, queue).await?;
    }
    store.notify_work();
    Ok(())
}

/// Moves the ready rows of a queue to its own partition, and stores the promotion time in those that lack one.
async fn stamp(store: &Inner, queue: &str) -> Result<()> {
    control::settle(store, queue).await?;
    let groups = "SELECT 0::bigint UNION ALL SELECT g.id::bigint << 32 FROM taskyard.kind_group g";
    let mut lanes: Vec<i64> = Vec::new();
    for row in &store.pool.query(Role::Client, groups, &[]).await? {
        let base: i64 = get(row, 0)?;
        lanes.extend([base, base + 1]);
    }
    for lane in lanes {
        let (mut rank, mut order) = (i32::MIN, i64::MIN);
        loop {
            let rows = store
                .pool
                .query(
                    Role::Client,
                    "SELECT seen, rank, order_number FROM taskyard.queue_stamp_lane($1, $2, $3, $4, $5)",
                    &[
                        (&queue, Type::TEXT),
                        (&lane, Type::INT8),
                        (&rank, Type::INT4),
                        (&order, Type::INT8),
                        (&STAMP_ROWS, Type::INT4),
                    ],
                )
                .await?;
            let Some(row) = rows.first() else { break };
            if get::<i32>(row, 0)? < STAMP_ROWS {
                break;
            }
            (rank, order) = (get(row, 1)?, get(row, 2)?);
        }
    }
    Ok(())
}

/// Runs one step of ageing.
pub(crate) async fn age(store: &Inner) -> Result<AgeReport> {
    find_strays(store).await?;
    step(store).await
}

async fn step(store: &Inner) -> Result<AgeReport> {
    let limit = i32::try_from(STEP_ROWS_MAX).unwrap_or(i32::MAX);
    let sql = "SELECT tasks, more, due_us FROM taskyard.queue_age($1)";
    let rows = store.pool.query(Role::Claim, sql, &[(&limit, Type::INT4)]).await?;
    let Some(row) = rows.first() else { return Ok(AgeReport::default()) };
    let report = AgeReport {
        tasks: usize::try_from(get::<i32>(row, 0)?).unwrap_or(0),
        more: get(row, 1)?,
        next_due: interval(get(row, 2)?),
    };
    if report.tasks > 0 {
        // A claim may have skipped the rows while they were being moved.
        store.notify_work();
    }
    Ok(report)
}

/// Finds rows without a promotion time. An addition that was under way while ageing of its queue was switched on stores
/// none, and its rows may be in the common partition.
async fn find_strays(store: &Inner) -> Result<()> {
    {
        let mut last = store.strays.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < STRAYS_EVERY) {
            return Ok(());
        }
        *last = Some(Instant::now());
    }
    let sql = "SELECT q.name FROM taskyard.queue q WHERE q.ageing_us IS NOT NULL ORDER BY q.name";
    for row in store.pool.query_idempotent(Role::Claim, sql, &[]).await? {
        stamp(store, &get::<String>(&row, 0)?).await?;
    }
    Ok(())
}
