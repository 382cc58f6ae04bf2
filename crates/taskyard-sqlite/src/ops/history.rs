//! Reads the records that a task leaves while it runs: attempts, log lines, context.

use rusqlite::{OptionalExtension, params};
use taskyard_core::task::{Attempt, AttemptOutcome, LogLine, StoredLogLine};
use taskyard_core::{TaskId, TaskState, Timestamp};

use super::get::order;
use crate::codec::{self, bytes, count, failure, id, instant, int, opt_int, opt_text, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Returns all attempts, oldest first, including the running or last one.
pub(crate) fn attempts(read: &Read<'_>, task: TaskId) -> Outcome<Vec<Attempt>> {
    let Some(order) = order(read, task)? else { return Ok(Vec::new()) };
    let mut attempts = Vec::new();
    let mut statement = read.sql(sql!("attempt/list"))?;
    let mut rows = statement.query([order])?;
    while let Some(row) = rows.next()? {
        attempts.push(Attempt {
            number: count(row, 0),
            server: id(row, 1),
            started_at: instant(row, 2),
            ended_at: instant(row, 3),
            outcome: outcome(opt_int(row, 4)).unwrap_or(AttemptOutcome::Lost),
            error: failure(row, 5),
        });
    }
    let last = read.sql(sql!("task/last_attempt"))?.query_row([order], |row| Ok(last_attempt(row)))?;
    attempts.extend(last);
    Ok(attempts)
}

fn outcome(code: Option<i64>) -> Option<AttemptOutcome> {
    code.and_then(|code| i16::try_from(code).ok()).and_then(AttemptOutcome::from_code)
}

/// Returns the attempt stored in the task's row: the running one, or the one that ended the task.
fn last_attempt(row: &rusqlite::Row<'_>) -> Option<Attempt> {
    let doing = codec::state(int(row, 0)) == Some(TaskState::Doing);
    let outcome = if doing { AttemptOutcome::Doing } else { outcome(opt_int(row, 5))? };
    let blamed = matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::Crashed);
    Some(Attempt {
        number: count(row, 1),
        server: id(row, 2),
        started_at: instant(row, 3),
        ended_at: instant(row, 4).filter(|_| !doing),
        outcome,
        error: failure(row, 6).filter(|_| blamed),
    })
}

/// Returns log lines after a sequence number, oldest first.
pub(crate) fn logs(read: &Read<'_>, task: TaskId, after: i64, limit: usize) -> Outcome<Vec<StoredLogLine>> {
    let Some(order) = order(read, task)? else { return Ok(Vec::new()) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = read.sql(sql!("log/list"))?;
    let mut rows = statement.query(params![order, after, limit])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(StoredLogLine {
            sequence: int(row, 0),
            attempt: count(row, 1),
            created_at: instant(row, 7).unwrap_or(Timestamp::UNIX_EPOCH),
            line: LogLine {
                level: i16::try_from(int(row, 2)).unwrap_or(0),
                logger: text(row, 3),
                message: text(row, 4),
                fields: bytes(row, 5),
                traceback: opt_text(row, 6),
            },
        });
    }
    Ok(lines)
}

/// Returns the context, a JSON object; `None` if there is no such task.
pub(crate) fn context(read: &Read<'_>, task: TaskId) -> Outcome<Option<Vec<u8>>> {
    let Some(order) = order(read, task)? else { return Ok(None) };
    let found = read.sql(sql!("context/get"))?.query_row([order], |row| Ok(bytes(row, 0))).optional()?.flatten();
    Ok(Some(found.unwrap_or_else(|| b"{}".to_vec())))
}
