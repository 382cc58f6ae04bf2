//! Inside the caller's own transaction: adding a task, and ending an attempt.
//!
//! Both happen if and only if that transaction commits. No parent is locked, for the transaction may stay open for long:
//! a child is stored unsettled, and the engine settles it after the commit.

use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{Error, NewTask, Result, RetryPolicy, TaskId, Token};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::failure;
use crate::row::get;
use crate::text::{micros, millis, start};

/// Adds a task in the transaction of `client`; answers its id, or that of the task that holds its unique key.
///
/// # Errors
/// `InvalidArgument`, `DuplicateId`, or the database's. As with any failed statement, the transaction must then be
/// rolled back.
pub async fn enqueue_in(client: &impl GenericClient, task: &NewTask) -> Result<TaskId> {
    let (after_us, run_at) = match task.start {
        Start::Now => (None, None),
        Start::After(after) => (Some(micros(after)), None),
        Start::At(at) => (None, Some(start(at))),
    };
    let (hold, key_for) = match task.unique.as_ref().map(|unique| unique.hold) {
        None => (None, None),
        Some(UniqueHold::UntilFinished) => (Some(0_i16), None),
        Some(UniqueHold::UntilStarted) => (Some(1), None),
        Some(UniqueHold::For(duration)) => (Some(2), Some(micros(duration))),
    };
    let policy = (task.retry != RetryPolicy::default())
        .then(|| serde_json::to_string(&task.retry).map_err(|error| Error::Database(error.to_string())))
        .transpose()?;
    let parents: Vec<Uuid> = task.parents.iter().map(|parent| parent.0).collect();
    let row = client
        .query_typed(
            "SELECT taskyard.enqueue_payload($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
             $17, $18, $19, $20, $21, $22)",
            &[
                (&task.id.0, Type::UUID),
                (&task.kind, Type::TEXT),
                (&task.payload, Type::BYTEA),
                (&task.context, Type::BYTEA),
                (&task.runtime.code(), Type::INT2),
                (&task.name, Type::TEXT),
                (&task.queue, Type::TEXT),
                (&task.priority, Type::INT4),
                (&policy, Type::TEXT),
                (&task.timeout.map(millis), Type::INT8),
                (&after_us, Type::INT8),
                (&run_at, Type::TIMESTAMPTZ),
                (&task.expires.map(micros), Type::INT8),
                (&parents, Type::UUID_ARRAY),
                (&task.on_parent_failure.code(), Type::INT2),
                (&task.unique.as_ref().map(|unique| unique.key.as_str()), Type::TEXT),
                (&hold, Type::INT2),
                (&key_for, Type::INT8),
                (&task.tags, Type::TEXT_ARRAY),
                (&task.auto_remove, Type::BOOL),
                (&task.at_most_once, Type::BOOL),
                (&task.plain_parts(), Type::INT2),
            ],
        )
        .await
        .map_err(|error| failure::of_statement(&error))?;
    row.first().map_or_else(|| Err(Error::Database("enqueue answered nothing".into())), |row| Ok(TaskId(get(row, 0)?)))
}

/// Ends an attempt as done in the transaction of `client`; `result` is JSON. Do it last: the task's row stays locked
/// until the commit. Logs and context must have been recorded before.
///
/// # Errors
/// `LeaseLost` if another attempt may decide the task now: the transaction must be rolled back.
pub async fn complete_in(client: &impl GenericClient, id: TaskId, token: Token, result: &[u8]) -> Result<()> {
    client
        .query_typed(
            "SELECT taskyard.complete_in_payload($1, $2, $3)",
            &[(&id.0, Type::UUID), (&token.0, Type::UUID), (&result, Type::BYTEA)],
        )
        .await
        .map_err(
            |error| {
                if failure::is_lease_lost(&error) { Error::LeaseLost(id) } else { failure::of_statement(&error) }
            },
        )?;
    Ok(())
}
