//! Writes log lines.

use rusqlite::params;
use taskyard_core::task::LogLine;

use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::Tx;

/// Adds lines of an attempt.
pub(crate) fn add(tx: &Tx<'_>, order: i64, attempt: u32, lines: &[LogLine]) -> Outcome<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut insert = tx.sql(sql!("log/add"))?;
    for line in lines {
        insert.execute(params![
            order,
            attempt,
            line.level,
            line.logger,
            line.message,
            line.fields,
            line.traceback,
            tx.now
        ])?;
    }
    Ok(())
}
