//! Adds the night's tasks when the shop closes.

use taskyard::{Client, Group, Result, TaskRef};

use crate::totals::{Summary, Total};
use crate::{import, mail, report, totals};

/// Number of customers that receive a mail.
pub const CUSTOMERS: u32 = 20;

/// The night's tasks.
#[derive(Debug)]
pub struct Night {
    /// The import.
    pub import: TaskRef<i64>,
    /// The totals of the imported items, and their summary.
    pub totals: Group<Total, Summary>,
    /// A mail for each customer.
    pub mails: Vec<TaskRef<String>>,
}

/// Adds all tasks and declares the report. Everything is stored when it returns.
///
/// # Errors
/// [`taskyard::Error`] if a task or the schedule cannot be stored.
pub async fn begin(queue: &Client) -> Result<Night> {
    report::declare(queue).await?;
    let import = queue.add(import::run(import::ROWS)).await?;
    let totals = totals::add(queue, 0..import::ROWS, &import).await?;
    let mails = queue.add_tasks((0..CUSTOMERS).map(mail::order_ready)).await?;
    Ok(Night { import, totals, mails })
}
