//! Queues that age: told so, and moved up when their time has come.

use std::time::{Duration, Instant};

use taskyard_core::Result;
use taskyard_core::store::{AgeReport, STEP_ROWS_MAX};
use tokio_postgres::types::Type;

use crate::control;
use crate::pool::Role;
use crate::row::{get, interval};
use crate::store::Inner;
use crate::text::micros;

/// Rows of one step of telling.
const STAMP_ROWS: i32 = 5_000;
/// Between two looks for rows that were added while their queue was just being told to age.
const STRAYS_EVERY: Duration = Duration::from_secs(60);

/// Makes a queue age, or not any more.
pub(crate) async fn set(store: &Inner, queue: &str, every: Option<Duration>) -> Result<()> {
    let every = every.map(|every| micros(every).max(1));
    store
        .pool
        .query(Role::Ask, "SELECT taskyard.queue_set_ageing($1, $2)", &[(&queue, Type::TEXT), (&every, Type::INT8)])
        .await?;
    if every.is_some() {
        tell(store, queue).await?;
    } else {
        let sql = "SELECT taskyard.queue_unstamp($1, $2)";
        loop {
            let rows = store.pool.query(Role::Ask, sql, &[(&queue, Type::TEXT), (&STAMP_ROWS, Type::INT4)]).await?;
            if rows.first().map_or(Ok(0), |row| get::<i32>(row, 0))? == 0 {
                break;
            }
        }
        while step(store).await?.more {}
        control::settle(store, queue).await?;
    }
    store.tell_work();
    Ok(())
}

/// Moves the rows of a queue to its own lane, and tells those that say nothing when they age.
async fn tell(store: &Inner, queue: &str) -> Result<()> {
    control::settle(store, queue).await?;
    let groups = "SELECT 0::bigint UNION ALL SELECT g.id::bigint << 32 FROM taskyard.kind_group g";
    let mut lanes: Vec<i64> = Vec::new();
    for row in &store.pool.query(Role::Ask, groups, &[]).await? {
        let base: i64 = get(row, 0)?;
        lanes.extend([base, base + 1]);
    }
    for lane in lanes {
        let (mut rank, mut order) = (i32::MIN, i64::MIN);
        loop {
            let rows = store
                .pool
                .query(
                    Role::Ask,
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

/// One step of ageing.
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
        // A claim may have passed by what was on its way.
        store.tell_work();
    }
    Ok(report)
}

/// An addition that was under way while its queue was told to age says nothing of it, and may lie in the common lane.
async fn find_strays(store: &Inner) -> Result<()> {
    {
        let mut last = store.strays.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < STRAYS_EVERY) {
            return Ok(());
        }
        *last = Some(Instant::now());
    }
    let sql = "SELECT q.name FROM taskyard.queue q WHERE q.ageing_us IS NOT NULL ORDER BY q.name";
    for row in store.pool.ask(Role::Claim, sql, &[]).await? {
        tell(store, &get::<String>(&row, 0)?).await?;
    }
    Ok(())
}
