//! Statistics: by queue, by state, and the oldest runnable task.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::OptionalExtension;
use taskyard_core::store::{QueueStatus, StoreStatus};

use crate::codec::{duration, flag, int, opt_int, rate, text};
use crate::fault::Outcome;
use crate::ops::ranges;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Returns all queues that have a row or unfinished tasks.
pub(crate) fn queues(read: &Read<'_>) -> Outcome<Vec<QueueStatus>> {
    let oldest: HashMap<String, Duration> = oldest(read)?.into_iter().map(|(queue, _, age)| (queue, age)).collect();
    let mut statement = read.sql(sql!("queue/stats"))?;
    let mut rows = statement.query([])?;
    let mut queues = Vec::new();
    while let Some(row) = rows.next()? {
        let name = text(row, 0);
        queues.push(QueueStatus {
            oldest_enqueued: oldest.get(&name).copied(),
            name,
            paused: flag(row, 1),
            running_max: opt_int(row, 2).and_then(|max| u32::try_from(max).ok()),
            waiting: figure(int(row, 3)),
            enqueued: figure(int(row, 4)),
            doing: figure(int(row, 5)),
            ageing: opt_int(row, 6).map(duration),
            rate: rate(row, 7),
        });
    }
    Ok(queues)
}

/// Returns the statistics of the whole file.
pub(crate) fn status(read: &Read<'_>) -> Outcome<StoreStatus> {
    let mut status = StoreStatus::default();
    let mut statement = read.sql(sql!("status/by_state"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(count) = usize::try_from(int(row, 0)).ok().and_then(|at| status.by_state.get_mut(at)) {
            *count = figure(int(row, 1));
        }
    }
    status.servers_alive = figure(read.sql(sql!("server/count_alive"))?.query_row([read.now], |row| row.get(0))?);
    status.parked = figure(read.sql(sql!("status/parked"))?.query_row([], |row| row.get(0))?);
    status.misplaced = figure(ranges::excess(read.connection)?);
    status.ends_aside = figure(read.sql(sql!("end_aside/count"))?.query_row([], |row| row.get(0))?);
    status.ends_held = figure(read.sql(sql!("server/held"))?.query_row([read.now], |row| row.get(0))?);
    status.oldest_enqueued = oldest(read)?.into_iter().filter(|(_, paused, _)| !paused).map(|(_, _, age)| age).max();
    Ok(status)
}

fn figure(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Returns, for each queue with runnable tasks: its name, whether it is paused, and how long the oldest has been
/// runnable (since it was added or, if later, since its start time).
fn oldest(read: &Read<'_>) -> Outcome<Vec<(String, bool, Duration)>> {
    let mut statement = read.sql(sql!("ready/oldest"))?;
    let mut age = read.sql(sql!("ready/age"))?;
    let mut rows = statement.query([])?;
    let mut oldest = Vec::new();
    while let Some(row) = rows.next()? {
        let since: Option<i64> = age.query_row([int(row, 1)], |row| row.get(0)).optional()?;
        if let Some(since) = since {
            oldest.push((text(row, 0), flag(row, 2), duration(read.now - since)));
        }
    }
    Ok(oldest)
}
