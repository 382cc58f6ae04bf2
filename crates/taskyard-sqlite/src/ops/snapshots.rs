//! Reads snapshots of many watched tasks in one read transaction.

use std::hash::{DefaultHasher, Hasher as _};

use rusqlite::{OptionalExtension, Row, params};
use taskyard_core::store::{EndedAttempt, SnapshotRequest, TaskSnapshot};
use taskyard_core::task::{AttemptOutcome, Failure};
use taskyard_core::{TaskState, Timestamp, WaitReason};

use crate::codec::{self, count, flag, id_bits, instant, int, opt_int, opt_text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Returns the snapshots of these tasks, in the order given.
pub(crate) fn snapshots(read: &Read<'_>, asked: &[SnapshotRequest]) -> Outcome<Vec<Option<TaskSnapshot>>> {
    let mut statement = read.sql(sql!("task/snapshot"))?;
    let mut snapshots = Vec::with_capacity(asked.len());
    for one in asked {
        let found = statement
            .query_row([id_bits(one.id)], |row| Ok((int(row, 0), flag(row, 10), bare(row, one))))
            .optional()?;
        let Some((order, has_context, mut snapshot)) = found else {
            snapshots.push(None);
            continue;
        };
        if snapshot.state == TaskState::Waiting {
            let reason = read.sql(sql!("waiting/get"))?.query_row([order], |row| Ok(int(row, 0))).optional()?;
            let reason = reason.and_then(|code| WaitReason::from_code(i16::try_from(code).ok()?));
            snapshot.wait_reason = Some(reason.unwrap_or(WaitReason::Parked));
        }
        if has_context {
            (snapshot.context_revision, snapshot.context) = context(read, order, one.context_known)?;
        }
        if snapshot.attempt > 0 {
            // The last attempt is always included.
            let above = i64::from(one.attempts_known).min(i64::from(snapshot.attempt) - 2);
            let mut statement = read.sql(sql!("attempt/after"))?;
            let mut rows = statement.query(params![order, above])?;
            while let Some(row) = rows.next()? {
                snapshot.ended.push(ended(row));
            }
        }
        snapshots.push(Some(snapshot));
    }
    Ok(snapshots)
}

/// Returns a snapshot with the columns of the task's own row.
fn bare(row: &Row<'_>, asked: &SnapshotRequest) -> TaskSnapshot {
    TaskSnapshot {
        id: asked.id,
        // A row with an unknown state is shown as parked, like its record.
        state: codec::state(opt_int(row, 1).unwrap_or(-1)).unwrap_or(TaskState::Waiting),
        wait_reason: None,
        attempt: count(row, 2),
        failures: count(row, 3),
        created_at: instant(row, 4).unwrap_or(Timestamp::UNIX_EPOCH),
        run_at: instant(row, 5),
        started_at: instant(row, 6),
        finished_at: instant(row, 7),
        error: error(row, 8),
        context_revision: None,
        context: None,
        ended: Vec::new(),
    }
}

fn error(row: &Row<'_>, at: usize) -> Option<Failure> {
    opt_text(row, at).map(|error_type| Failure::new(error_type, opt_text(row, at + 1).unwrap_or_default()))
}

/// Returns a hash of the context as its revision, and the context's bytes unless the caller already has that revision.
fn context(read: &Read<'_>, order: i64, known: Option<i64>) -> Outcome<(Option<i64>, Option<Vec<u8>>)> {
    let found = read.sql(sql!("context/get"))?.query_row([order], |row| {
        let Ok(bytes) = row.get_ref(0)?.as_bytes() else { return Ok((None, None)) };
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let revision = hasher.finish().cast_signed();
        Ok((Some(revision), (known != Some(revision)).then(|| bytes.to_vec())))
    });
    Ok(found.optional()?.unwrap_or((None, None)))
}

fn ended(row: &Row<'_>) -> EndedAttempt {
    let outcome = opt_int(row, 1).and_then(|code| AttemptOutcome::from_code(i16::try_from(code).ok()?));
    EndedAttempt {
        number: count(row, 0),
        outcome: outcome.unwrap_or(AttemptOutcome::Lost),
        started_at: instant(row, 2),
        ended_at: instant(row, 3),
        error: error(row, 4),
    }
}
