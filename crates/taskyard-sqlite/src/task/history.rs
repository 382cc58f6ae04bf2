//! History: one row for each attempt that did not end its task.

use rusqlite::params;
use taskyard_core::task::{AttemptOutcome, Failure};

use super::row::Row;
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::Tx;

/// Stores the attempt that just ended.
pub(crate) fn keep_attempt(
    tx: &Tx<'_>,
    row: &Row,
    outcome: AttemptOutcome,
    ended_at: i64,
    error: Option<&Failure>,
) -> Outcome<()> {
    tx.run(
        sql!("attempt/add"),
        params![
            row.order,
            row.attempt,
            row.server,
            row.started_at,
            ended_at,
            outcome.code(),
            error.map(|error| &error.error_type),
            error.map(|error| &error.message),
            error.and_then(|error| error.traceback.as_ref()),
        ],
    )?;
    Ok(())
}
