//! The nightly report and its schedule.

use rusqlite::params;
use taskyard::{Client, Result, Schedule, ScheduleAdded, State, TaskContext, TaskError, task};

use crate::shop::Shop;

/// The schedule's name.
pub const NAME: &str = "nightly report";

/// Stores the number and value of the shop's items. Idempotent, because the task's id is the key.
#[task(queue = "reports")]
pub fn write(context: TaskContext, shop: State<Shop>) -> Result<(), TaskError> {
    shop.0.open()?.execute(
        "insert or ignore into report (task, items, cents) select ?1, count(*), coalesce(sum(cents), 0) from item",
        params![context.idempotency_key()],
    )?;
    Ok(())
}

/// Declares the report, every night at three in Berlin. The first declaration creates the schedule; further ones change nothing.
///
/// # Errors
/// [`taskyard::Error`] if the schedule cannot be stored.
pub async fn declare(queue: &Client) -> Result<ScheduleAdded> {
    queue.add_schedule(Schedule::new(NAME, "0 3 * * *", write()).zone("Europe/Berlin")).await
}
