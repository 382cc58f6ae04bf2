//! Ends of attempts that the rows of their tasks do not accept, stored in a table of their own.

use rusqlite::params;
use taskyard_core::store::{EndAside, Finish, OutcomeColumns, WriteReply};
use taskyard_core::{ServerId, TaskId, TaskState, Timestamp, Token};

use super::finish::fence;
use crate::codec::{bytes, id, id_bits, instant, int, opt_int, opt_text, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::thread::reader::Read;
use crate::thread::tx::Tx;

/// Sets an end aside if its attempt is still running.
pub(crate) fn set_aside(tx: &mut Tx<'_>, end: &Finish, reason: &str) -> Outcome<WriteReply> {
    let mut find = tx.sql(sql!("task/find"))?;
    let row = Row::find_with(tx, &mut find, [id_bits(end.id)])?;
    if let Err(reply) = fence(row, end.token) {
        return Ok(reply);
    }
    let columns = OutcomeColumns::from(&end.outcome);
    tx.run(
        sql!("end_aside/set"),
        params![
            id_bits(end.id),
            end.token.0.into_bytes(),
            tx.now,
            reason,
            columns.code,
            columns.result,
            columns.after_us,
            columns.error_type,
            columns.error_message,
            columns.error_traceback,
            end.context
        ],
    )?;
    Ok(WriteReply::Applied(TaskState::Doing))
}

/// Returns the ends that are set aside, of all tasks or of the given ones.
pub(crate) fn list(
    read: &Read<'_>,
    tasks: Option<&[TaskId]>,
    after: Option<TaskId>,
    limit: usize,
) -> Outcome<Vec<EndAside>> {
    let mut ends = Vec::new();
    match tasks {
        Some(tasks) => {
            let mut statement = read.sql(sql!("end_aside/get"))?;
            for task in tasks.iter().take(limit) {
                let mut rows = statement.query([id_bits(*task)])?;
                while let Some(row) = rows.next()? {
                    ends.extend(end(row));
                }
            }
        }
        None => {
            let mut statement = read.sql(sql!("end_aside/list"))?;
            let after = after.map_or(Vec::new(), |task| id_bits(task).to_vec());
            let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                ends.extend(end(row));
            }
        }
    }
    Ok(ends)
}

/// Decodes a row; `None` for one that was inserted by hand and cannot be decoded.
fn end(row: &rusqlite::Row<'_>) -> Option<EndAside> {
    let columns = OutcomeColumns {
        code: i16::try_from(int(row, 4)).ok()?,
        result: bytes(row, 5),
        after_us: opt_int(row, 6),
        error_type: opt_text(row, 7),
        error_message: opt_text(row, 8),
        error_traceback: opt_text(row, 9),
    };
    Some(EndAside {
        finish: Finish {
            id: id(row, 0)?,
            token: id(row, 1)?,
            outcome: columns.outcome()?,
            context: bytes(row, 10),
            logs: Vec::new(),
        },
        since: instant(row, 2).unwrap_or(Timestamp::UNIX_EPOCH),
        reason: text(row, 3),
    })
}

/// Returns whether the end of a task's running attempt is set aside.
pub(crate) fn is_aside(tx: &Tx<'_>, row: &Row) -> Outcome<bool> {
    match row.token {
        Some(token) => tx.any(sql!("end_aside/has"), params![id_bits(row.id), token]),
        None => Ok(false),
    }
}

/// Deletes an end that has been settled.
pub(crate) fn settled(tx: &Tx<'_>, task: TaskId, token: Token) -> Outcome<()> {
    tx.run(sql!("end_aside/delete"), params![id_bits(task), token.0.into_bytes()])?;
    Ok(())
}

/// Records the number of refused ends that a server holds, and the reason.
pub(crate) fn holds(tx: &Tx<'_>, server: ServerId, ends: u32, reason: Option<&str>) -> Outcome<()> {
    tx.run(sql!("server/holds"), params![server.0.into_bytes(), ends, reason])?;
    Ok(())
}
