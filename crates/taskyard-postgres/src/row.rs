//! Decodes rows of the database.
//!
//! A row that was edited by hand never fails a whole call: an unreadable value is shown as the nearest valid one.

use std::time::Duration;

use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::task::{Failure, policy_from_text};
use taskyard_core::{Error, Rate, Result, ServerId, TaskId, TaskRecord, TaskState, Timestamp, WaitReason};
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;
use uuid::Uuid;

/// Returns the value of a column.
pub(crate) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|error| Error::Database(format!("column {column} cannot be read: {error}")))
}

/// Returns a count that the database stores as `bigint`; negative values are 0.
pub(crate) fn count(row: &Row, column: usize) -> Result<u64> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

/// Returns a count that the database stores as `integer`; negative values are 0.
pub(crate) fn number(row: &Row, column: usize) -> Result<u32> {
    Ok(u32::try_from(get::<i32>(row, column)?).unwrap_or(0))
}

/// Converts an interval from microseconds; negative values are 0.
pub(crate) fn interval(micros: Option<i64>) -> Option<Duration> {
    micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Returns the start rate of a queue, or `None` if there is none or its columns are not valid.
pub(crate) fn rate(count: Option<i32>, per: Option<Duration>) -> Option<Rate> {
    Rate::new(u32::try_from(count?).ok()?, per?).ok()
}

/// Returns an instant, or `None` if the column is NULL or outside the range of [`Timestamp`] (`infinity`).
pub(crate) fn instant(row: &Row, column: usize) -> Option<Timestamp> {
    row.try_get::<_, Option<Timestamp>>(column).ok().flatten()
}

/// Decodes a state. An unknown code is shown as waiting: the task is parked as soon as a claim meets it.
pub(crate) fn state(code: i16) -> TaskState {
    TaskState::from_code(code).unwrap_or(TaskState::Waiting)
}

/// Decodes an error from three columns, beginning at `column`.
pub(crate) fn failure(row: &Row, column: usize) -> Result<Option<Failure>> {
    let error_type: Option<String> = get(row, column)?;
    let message: Option<String> = get(row, column + 1)?;
    let traceback = get(row, column + 2)?;
    Ok(error_type.map(|error_type| Failure { error_type, message: message.unwrap_or_default(), traceback }))
}

/// Reads columns of which any may hold a value that this program cannot decode: such a column yields its type's
/// default, and its name is recorded.
struct Columns<'a> {
    row: &'a Row,
    unreadable: Option<String>,
}

impl Columns<'_> {
    fn get<T: FromSqlOwned + Default>(&mut self, column: usize) -> T {
        self.row.try_get(column).unwrap_or_else(|error| {
            let name = self.row.columns().get(column).map_or("", tokio_postgres::Column::name);
            self.unreadable.get_or_insert_with(|| format!("corrupt: column {name} cannot be read: {error}"));
            T::default()
        })
    }

    fn number(&mut self, column: usize) -> u32 {
        u32::try_from(self.get::<i32>(column)).unwrap_or(0)
    }
}

/// Decodes a record from a row of `sql/task/get.sql`. Only its id must be readable; any other unreadable column is
/// reported in `waiting_for`.
pub(crate) fn record(row: &Row) -> Result<TaskRecord> {
    let id = TaskId(get(row, 0)?);
    let mut columns = Columns { row, unreadable: None };
    let kind: String = columns.get(1);
    let code: i16 = columns.get(6);
    let known = TaskState::from_code(code);
    let reason: Option<i16> = columns.get(7);
    let wait_reason = match known {
        Some(TaskState::Waiting) => reason.and_then(WaitReason::from_code),
        Some(_) => None,
        None => Some(WaitReason::Parked),
    };
    let parent_state: Option<i16> = columns.get(36);
    let waiting_for = match (known, wait_reason) {
        (None, _) => Some(format!("corrupt: state {code}")),
        (_, None) => None,
        (_, Some(WaitReason::Parked)) => columns.get(8),
        (_, Some(WaitReason::Parents)) => Some(
            parent_state
                .map_or_else(|| WaitReason::Parents.as_str().to_owned(), |parent| format!("parent {}", state(parent))),
        ),
        (_, Some(reason)) => Some(reason.as_str().to_owned()),
    };
    let policy_text: Option<String> = columns.get(24);
    let (retry, extra) = policy_from_text(policy_text.as_deref()).unwrap_or_else(|why| {
        columns.unreadable.get_or_insert_with(|| format!("corrupt: its retry policy cannot be read: {why}"));
        Default::default()
    });
    let record = TaskRecord {
        id,
        runtime: Runtime::from_code(columns.get(2)).unwrap_or_default(),
        name: columns.get::<Option<String>>(3).unwrap_or_else(|| kind.clone()),
        kind,
        queue: columns.get(4),
        priority: columns.get(5),
        state: state(code),
        wait_reason,
        waiting_for,
        attempt: columns.number(9),
        failures: columns.number(10),
        lost: columns.number(11),
        crashes: columns.number(12),
        alone: columns.get(13),
        cancel_requested: columns.get(14),
        cancel_reason: columns.get(37),
        stop_requested: columns.get(15),
        payload: columns.get(16),
        payload_encoded: columns.get(38),
        result: columns.get(17),
        result_encoded: columns.get(39),
        context_encoded: columns.get(40),
        error: columns.get::<Option<String>>(18).map(|error_type| Failure {
            error_type,
            message: columns.get::<Option<String>>(19).unwrap_or_default(),
            traceback: columns.get(20),
        }),
        parents: columns.get::<Option<Vec<Uuid>>>(21).unwrap_or_default().into_iter().map(TaskId).collect(),
        on_parent_failure: OnParentFailure::from_code(columns.get(22)).unwrap_or_default(),
        fallen_from: columns.get::<Option<Uuid>>(23).map(TaskId),
        retry,
        timeout_ms: columns.get::<Option<i64>>(25).and_then(|timeout| u64::try_from(timeout).ok()),
        tags: columns.get::<Option<Vec<String>>>(26).unwrap_or_default(),
        auto_remove: columns.get(27),
        at_most_once: columns.get(28),
        unique_key: columns.get(29),
        created_at: instant(row, 30).unwrap_or(Timestamp::UNIX_EPOCH),
        run_at: instant(row, 31),
        expires_at: instant(row, 32),
        started_at: instant(row, 33),
        finished_at: instant(row, 34),
        server: columns.get::<Option<Uuid>>(35).map(ServerId),
        extra,
    };
    Ok(TaskRecord { waiting_for: columns.unreadable.or(record.waiting_for), ..record })
}
