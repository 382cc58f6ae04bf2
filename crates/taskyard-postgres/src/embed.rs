//! Adds a task, or ends an attempt, inside the caller's own transaction.
//!
//! Both take effect if and only if that transaction commits. No parent is locked, because the transaction may stay open
//! for long: a child is stored unsettled, and the engine settles it after the commit.
//!
//! Each operation is one [`Statement`] with one text parameter, which any library can run. [`CallerConnection`] runs it
//! for the supported libraries.

#[cfg(feature = "sqlx")]
mod sqlx;
mod tokio_postgres;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{Error, NewTask, Result, Statement, TaskId, Token};

use crate::text::{micros, millis, start};

const ENQUEUE: &str = include_str!("sql/task/enqueue_in_transaction.sql");
const COMPLETE: &str = include_str!("sql/task/complete_in_transaction.sql");

/// A connection of the caller that may be in a transaction.
///
/// Implemented for `&mut` and `&` references to tokio-postgres's `Client` and `Transaction` (for deadpool's,
/// `&*transaction`), and with the feature `sqlx` for `&mut` references to sqlx's `PgConnection`,
/// `PoolConnection<Postgres>` and `Transaction<'_, Postgres>`. With any other library, run the [`Statement`] itself.
#[diagnostic::on_unimplemented(
    message = "a task cannot be added through `{Self}`",
    label = "neither a transaction nor a connection that Taskyard knows",
    note = "sqlx 0.9 (with Taskyard's feature `sqlx`): `&mut transaction`, or `&mut *transaction` of what is a reference already",
    note = "tokio-postgres: `&transaction` or `&mut transaction`; deadpool: `&*transaction`",
    note = "any other library: run the statement of `queue.enqueue_statement(call)?`"
)]
pub trait CallerConnection: sealed::Sealed + Send {
    /// Runs a statement and returns the text of its row.
    ///
    /// # Errors
    /// As for the store's own statements, and [`Error::LeaseLost`] if the attempt may no longer end its task.
    #[doc(hidden)]
    fn run(self, statement: &Statement) -> impl Future<Output = Result<Option<String>>> + Send;
}

mod sealed {
    pub trait Sealed {}
}

/// The parameter of [`ENQUEUE`], as JSON with these field names.
#[derive(Serialize)]
struct Addition<'a> {
    id: TaskId,
    kind: &'a str,
    payload: String,
    context: Option<String>,
    runtime: i16,
    name: Option<&'a str>,
    queue: &'a str,
    priority: i32,
    /// Retry policy and extra options: see `policy_text`.
    policy: Option<String>,
    timeout_ms: Option<i64>,
    after_us: Option<i64>,
    run_at: Option<String>,
    expires_us: Option<i64>,
    parents: &'a [TaskId],
    on_parent_failure: i16,
    unique_key: Option<&'a str>,
    unique_hold: Option<i16>,
    unique_for_us: Option<i64>,
    tags: &'a [String],
    auto_remove: bool,
    at_most_once: bool,
    plain: i16,
}

/// Returns the statement that adds a task. Its row is the id of the task, or that of the task that holds its unique
/// key.
pub(crate) fn enqueue_statement(task: &NewTask) -> Result<Statement> {
    let (after_us, run_at) = match task.start {
        Start::Now => (None, None),
        Start::After(after) => (Some(micros(after)), None),
        Start::At(at) => (None, Some(start(at).to_string())),
    };
    let (unique_hold, unique_for_us) = match task.unique.as_ref().map(|unique| unique.hold) {
        None => (None, None),
        Some(UniqueHold::UntilFinished) => (Some(0), None),
        Some(UniqueHold::UntilStarted) => (Some(1), None),
        Some(UniqueHold::For(duration)) => (Some(2), Some(micros(duration))),
    };
    let addition = Addition {
        id: task.id,
        kind: &task.kind,
        payload: BASE64.encode(&task.payload),
        context: task.context.as_ref().map(|context| BASE64.encode(context)),
        runtime: task.runtime.code(),
        name: task.name.as_deref(),
        queue: &task.queue,
        priority: task.priority,
        policy: task.policy_text(),
        timeout_ms: task.timeout.map(millis),
        after_us,
        run_at,
        expires_us: task.expires.map(micros),
        parents: &task.parents,
        on_parent_failure: task.on_parent_failure.code(),
        unique_key: task.unique.as_ref().map(|unique| unique.key.as_str()),
        unique_hold,
        unique_for_us,
        tags: &task.tags,
        auto_remove: task.auto_remove,
        at_most_once: task.at_most_once,
        plain: task.plain_parts(),
    };
    Ok(Statement::new(ENQUEUE, encode(&addition)?, task.id))
}

/// Returns the statement that ends an attempt as done; `result` is JSON. Run it last: the task's row stays locked until
/// the commit. Logs and context must have been recorded before. If another attempt may decide the task now, the
/// statement fails with SQLSTATE `TY001`.
///
/// # Errors
/// `Error::Database` if the parameter cannot be encoded as JSON, which no argument can cause.
pub fn complete_statement(id: TaskId, token: Token, result: &[u8]) -> Result<Statement> {
    #[derive(Serialize)]
    struct Completion {
        id: TaskId,
        token: Token,
        result: String,
    }
    Ok(Statement::new(COMPLETE, encode(&Completion { id, token, result: BASE64.encode(result) })?, id))
}

fn encode(values: &impl Serialize) -> Result<String> {
    serde_json::to_string(values).map_err(|error| Error::Database(error.to_string()))
}

/// Runs the statement of an addition and returns the id of the new task, or of the task that holds its unique key.
///
/// # Errors
/// - `Error::InvalidArgument` or `Error::NotStorable` if the database rejects a value.
/// - `Error::DuplicateId` if a task with this id exists.
/// - `Error::Refused` if the transaction is read-only, or is not on the queue's database.
/// - `Error::Connection` if the connection is lost before the reply, and other errors of the database.
///
/// As with any failed statement, the transaction must then be rolled back.
pub async fn enqueue_with(connection: impl CallerConnection, statement: &Statement) -> Result<TaskId> {
    let id = connection.run(statement).await?;
    id.and_then(|id| id.parse().ok()).ok_or_else(|| Error::Database("an addition returned no id".into()))
}

/// Adds a task in the transaction of `connection` and returns its id, or that of the task that holds its unique key.
///
/// # Errors
/// As [`enqueue_with`].
pub async fn enqueue_in(connection: impl CallerConnection, task: &NewTask) -> Result<TaskId> {
    enqueue_with(connection, &enqueue_statement(task)?).await
}

/// Ends an attempt as done in the transaction of `connection`: see [`complete_statement`].
///
/// # Errors
/// - `Error::LeaseLost` if another attempt may decide the task now.
/// - `Error::InvalidArgument` or `Error::NotStorable` if the database rejects the result.
/// - `Error::Connection` if the connection is lost before the reply, and other errors of the database.
///
/// The transaction must then be rolled back.
pub async fn complete_in(connection: impl CallerConnection, id: TaskId, token: Token, result: &[u8]) -> Result<()> {
    connection.run(&complete_statement(id, token, result)?).await.map(drop)
}
