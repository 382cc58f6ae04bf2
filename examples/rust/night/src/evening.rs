//! What the shop leaves to the night when it closes.

use taskyard::{Client, Group, Result, TaskRef};

use crate::totals::{Summary, Total};
use crate::{import, mail, report, totals};

/// Customers who get a mail.
pub const CUSTOMERS: u32 = 20;

/// The night's tasks.
#[derive(Debug)]
pub struct Night {
    /// The import.
    pub import: TaskRef<i64>,
    /// The totals of what it imported, and their summary.
    pub totals: Group<Total, Summary>,
    /// A mail for each customer.
    pub mails: Vec<TaskRef<String>>,
}

/// Adds it all, and declares the report. Stored when it returns.
///
/// # Errors
/// What could not be stored.
pub async fn begin(queue: &Client) -> Result<Night> {
    report::declare(queue).await?;
    let import = queue.add(import::run(import::ROWS)).await?;
    let totals = totals::add(queue, 0..import::ROWS, &import).await?;
    let mails = queue.add_tasks((0..CUSTOMERS).map(mail::order_ready)).await?;
    Ok(Night { import, totals, mails })
}
