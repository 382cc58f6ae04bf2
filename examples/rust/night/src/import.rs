//! The import: ranges of ids, each in one transaction of the shop's database, resumed by later attempts.
//!
//! A range must be idempotent, because it is imported twice if its server dies between the shop's commit and the queue's. The id
//! is the primary key, and existing rows are ignored.

use std::ops::Range;

use rusqlite::params;
use taskyard::{State, TaskContext, TaskError, task};

use crate::shop::Shop;

/// Number of rows of the supplier's list.
pub const ROWS: i64 = 100_000;
/// Rows per transaction: few enough not to block other writers for long, and to be imported twice at little cost.
pub const RANGE: u32 = 1_000;

/// Returns the supplier's price of an item. A real list would be read from a file or from the network.
#[must_use]
pub fn cents(id: i64) -> i64 {
    id * 7_919 % 10_000
}

/// Imports the rows from 0 to `rows`; returns how many items the shop has then.
#[task(queue = "import", timeout = "1h")]
pub async fn run(rows: i64, context: TaskContext, shop: State<Shop>) -> Result<i64, TaskError> {
    let mut ranges = context.ranges("rows", 0..rows, RANGE)?;
    // `next` records the previous range as done, so it is called after the shop's commit.
    while let Some(range) = ranges.next().await? {
        let done = range.end;
        let (thread_shop, thread_context) = (shop.0.clone(), context.clone());
        tokio::task::spawn_blocking(move || import_range(&thread_shop, &thread_context, range)).await??;
        context.progress(done.unsigned_abs(), rows.unsigned_abs());
        tokio::time::sleep(shop.0.rest).await;
    }
    let shop = shop.0;
    let count = move || shop.open()?.query_row("select count(*) from item", [], |row| row.get(0));
    Ok(tokio::task::spawn_blocking(count).await??)
}

fn import_range(shop: &Shop, context: &TaskContext, range: Range<i64>) -> rusqlite::Result<()> {
    let mut connection = shop.open()?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut inserted = 0;
    {
        let mut insert = transaction.prepare("insert or ignore into item (id, cents) values (?1, ?2)")?;
        for id in range.clone() {
            inserted += insert.execute(params![id, cents(id)])?;
        }
    }
    // In the same transaction, so that this table agrees with the items.
    transaction.execute(
        "insert into import_range (task, attempt, first, past, inserted) values (?1, ?2, ?3, ?4, ?5)",
        params![context.id().to_string(), context.attempt(), range.start, range.end, inserted as i64],
    )?;
    transaction.commit()
}
