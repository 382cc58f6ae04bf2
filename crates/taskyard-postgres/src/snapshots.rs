//! Reads snapshots of many watched tasks in one statement.

use std::collections::HashMap;

use taskyard_core::store::{EndedAttempt, SnapshotRequest, TaskSnapshot};
use taskyard_core::task::{AttemptOutcome, Failure};
use taskyard_core::{Result, TaskId, TaskState, Timestamp, WaitReason};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{get, instant, number, state};

const SNAPSHOTS: &str = include_str!("sql/task/snapshot.sql");

pub(crate) async fn snapshots(store: &Inner, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>> {
    let ids: Vec<Uuid> = asked.iter().map(|one| one.id.0).collect();
    let known: Vec<i32> = asked.iter().map(|one| i32::try_from(one.attempts_known).unwrap_or(i32::MAX)).collect();
    let revisions: Vec<Option<i64>> = asked.iter().map(|one| one.context_known).collect();
    let params = [(&ids as _, Type::UUID_ARRAY), (&known as _, Type::INT4_ARRAY), (&revisions as _, Type::INT8_ARRAY)];
    let mut found: HashMap<TaskId, TaskSnapshot> = HashMap::with_capacity(asked.len());
    for row in store.pool.query_idempotent(Role::Client, SNAPSHOTS, &params).await? {
        let one = read(&row)?;
        found.insert(one.id, one);
    }
    Ok(asked.iter().map(|one| found.get(&one.id).cloned()).collect())
}

fn read(row: &Row) -> Result<TaskSnapshot> {
    let state_now = state(get(row, 1)?);
    let reason: Option<i16> = get(row, 2)?;
    let error_type: Option<String> = get(row, 9)?;
    let message: Option<String> = get(row, 10)?;
    Ok(TaskSnapshot {
        id: TaskId(get(row, 0)?),
        state: state_now,
        // A row with an unknown state is shown as parked, like its record.
        wait_reason: (state_now == TaskState::Waiting)
            .then(|| reason.and_then(WaitReason::from_code).unwrap_or(WaitReason::Parked)),
        attempt: number(row, 3)?,
        failures: number(row, 4)?,
        created_at: instant(row, 5).unwrap_or(Timestamp::UNIX_EPOCH),
        run_at: instant(row, 6),
        started_at: instant(row, 7),
        finished_at: instant(row, 8),
        error: error_type.map(|error_type| Failure::new(error_type, message.unwrap_or_default())),
        context_revision: get(row, 11)?,
        context: get(row, 12)?,
        ended: ended(row)?,
    })
}

fn ended(row: &Row) -> Result<Vec<EndedAttempt>> {
    let Some(numbers) = get::<Option<Vec<i32>>>(row, 13)? else { return Ok(Vec::new()) };
    let outcomes: Vec<i16> = get(row, 14)?;
    let starts: Vec<Option<Timestamp>> = get(row, 15).unwrap_or_default();
    let ends: Vec<Option<Timestamp>> = get(row, 16).unwrap_or_default();
    let types: Vec<Option<String>> = get(row, 17)?;
    let messages: Vec<Option<String>> = get(row, 18)?;
    let mut attempts = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.into_iter().enumerate() {
        let error_type = types.get(place).cloned().flatten();
        let message = messages.get(place).cloned().flatten().unwrap_or_default();
        attempts.push(EndedAttempt {
            number: u32::try_from(number).unwrap_or(0),
            outcome: outcomes.get(place).copied().and_then(AttemptOutcome::from_code).unwrap_or(AttemptOutcome::Lost),
            started_at: starts.get(place).copied().flatten(),
            ended_at: ends.get(place).copied().flatten(),
            error: error_type.map(|error_type| Failure::new(error_type, message)),
        });
    }
    Ok(attempts)
}
