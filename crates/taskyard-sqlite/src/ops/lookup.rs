//! Converts a row to a [`TaskRecord`], as operators see it.
//!
//! A row that cannot be decoded is still shown: with the columns that can be read, and the problem in `waiting_for`.

use rusqlite::{OptionalExtension, Row};
use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::task::{plain, policy_from_text};
use taskyard_core::{TaskId, TaskRecord, TaskState, Timestamp, WaitReason};

use crate::codec::{self, bytes, count, failure, flag, id, instant, int, opt_int, opt_text, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// A record, and the columns needed to complete it.
pub(crate) struct Found {
    record: TaskRecord,
    order: i64,
    has_parents: bool,
}

/// Reads a row of `task/get`, `task/list` or `task/list_few`; `None` if not even its id can be read.
pub(crate) fn read(row: &Row<'_>) -> Option<Found> {
    let mut odd: Option<String> = None;
    let state = codec::state(opt_int(row, 7).unwrap_or(-1)).unwrap_or_else(|| {
        odd = Some(format!("corrupt: its state is {}, which is none", text(row, 7)));
        TaskState::Waiting
    });
    let (retry, extra) = policy_from_text(opt_text(row, 22).as_deref()).unwrap_or_else(|error| {
        odd.get_or_insert_with(|| format!("corrupt: its retry policy: {error}"));
        Default::default()
    });
    let tags = opt_text(row, 24).map_or_else(Vec::new, |tags| {
        serde_json::from_str(&tags).unwrap_or_else(|error| {
            odd.get_or_insert_with(|| format!("corrupt: its tags: {error}"));
            Vec::new()
        })
    });
    let unknown = codec::state(opt_int(row, 7).unwrap_or(-1)).is_none();
    let kind = text(row, 2);
    let parts = opt_int(row, 36).unwrap_or(0);
    let is_python = code(row, 3).and_then(Runtime::from_code) == Some(Runtime::Python);
    let record = TaskRecord {
        id: id(row, 1)?,
        name: opt_text(row, 4).unwrap_or_else(|| kind.clone()),
        kind,
        runtime: code(row, 3).and_then(Runtime::from_code).unwrap_or_default(),
        queue: text(row, 5),
        priority: i32::try_from(int(row, 6)).unwrap_or(0),
        state,
        wait_reason: unknown.then_some(WaitReason::Parked),
        waiting_for: odd,
        attempt: count(row, 8),
        failures: count(row, 9),
        lost: count(row, 10),
        crashes: count(row, 11),
        alone: flag(row, 12),
        cancel_requested: flag(row, 13),
        cancel_reason: opt_text(row, 35),
        stop_requested: flag(row, 14),
        payload: bytes(row, 15).unwrap_or_default(),
        payload_encoded: parts & i64::from(plain::PAYLOAD) == 0,
        result: bytes(row, 16).filter(|_| state == TaskState::Done),
        result_encoded: is_python && parts & i64::from(plain::RESULT) == 0,
        context_encoded: is_python && !flag(row, 37),
        error: failure(row, 17),
        parents: Vec::new(),
        on_parent_failure: code(row, 20).and_then(OnParentFailure::from_code).unwrap_or_default(),
        fallen_from: id(row, 21),
        retry,
        timeout_ms: opt_int(row, 23).and_then(|ms| u64::try_from(ms).ok()),
        tags,
        auto_remove: flag(row, 25),
        at_most_once: flag(row, 26),
        unique_key: opt_text(row, 27),
        created_at: instant(row, 28).unwrap_or(Timestamp::UNIX_EPOCH),
        run_at: instant(row, 29),
        expires_at: instant(row, 30),
        started_at: instant(row, 31),
        finished_at: instant(row, 32),
        server: id(row, 33),
        extra,
    };
    Some(Found { record, order: int(row, 0), has_parents: flag(row, 34) })
}

fn code(row: &Row<'_>, at: usize) -> Option<i16> {
    i16::try_from(int(row, at)).ok()
}

/// Adds the columns of other tables: the parents, and the reason for waiting.
pub(crate) fn complete(read: &Read<'_>, found: Found) -> Outcome<TaskRecord> {
    let Found { mut record, order, has_parents } = found;
    let mut open: Option<TaskState> = None;
    if has_parents {
        let mut statement = read.sql(sql!("edge/parents"))?;
        let mut rows = statement.query([order])?;
        while let Some(row) = rows.next()? {
            let Some(parent) = id::<TaskId>(row, 0) else { continue };
            record.parents.push(parent);
            let state = codec::state(int(row, 1)).unwrap_or(TaskState::Waiting);
            // A stopped parent comes first, because it needs an operator's action.
            if flag(row, 6) && (open.is_none() || (state == TaskState::Stopped && open != Some(TaskState::Stopped))) {
                open = Some(state);
            }
        }
    }
    if record.state == TaskState::Waiting && record.wait_reason.is_none() {
        let waiting =
            read.sql(sql!("waiting/get"))?.query_row([order], |row| Ok((int(row, 0), opt_text(row, 2)))).optional()?;
        let (reason, parked) = waiting.unwrap_or((i64::from(WaitReason::Parked.code()), None));
        let reason = i16::try_from(reason).ok().and_then(WaitReason::from_code).unwrap_or(WaitReason::Parked);
        record.wait_reason = Some(reason);
        let words = match reason {
            WaitReason::Parents => open.map(|state| format!("parent {state}")),
            WaitReason::Parked => parked.or_else(|| Some("corrupt: it waits for nothing".into())),
            WaitReason::Unsettled => Some(reason.as_str().to_owned()),
            WaitReason::Time | WaitReason::Retry => None,
        };
        record.waiting_for = record.waiting_for.or(words);
    }
    Ok(record)
}
