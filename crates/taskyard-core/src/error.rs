//! The error type of every operation, and one table of codes, exit codes and hints that the command and Python render.
//!
//! The end of a task's body is not an error of this type but an outcome ([`crate::store::Outcome`]).

mod http;

use crate::{TaskId, TaskState};

/// Result with [`Error`] as the default error type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Describes a failure: what happened and where; [`Error::hint`] says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that is invalid in any state of the queue.
    #[error("{what}: {why}")]
    InvalidArgument {
        /// Name of the argument.
        what: &'static str,
        /// Reason for the refusal.
        why: String,
    },
    /// A value that exceeds a configured limit.
    #[error("{}", over_limit(what, setting, *size, *max, *list_bytes))]
    OverLimit {
        /// The value that is too large.
        what: &'static str,
        /// The setting that names the limit.
        setting: &'static str,
        /// Size in bytes as stored, or in levels for `nesting_max`.
        size: usize,
        /// The limit, in the same unit.
        max: usize,
        /// Bytes encoded in it as lists of numbers, as JSON writes a `Vec<u8>`, if these make up most of its size;
        /// otherwise 0.
        list_bytes: usize,
    },
    /// A value that JSON cannot represent exactly.
    #[error("{what} cannot be stored exactly: {why}")]
    NotRepresentable {
        /// The value.
        what: String,
        /// Reason.
        why: String,
    },
    /// A parent that does not exist.
    #[error("task {task} names a parent that does not exist: {parent}")]
    UnknownParent {
        /// The new task.
        task: TaskId,
        /// The parent it names.
        parent: TaskId,
    },
    /// Tasks that depend on each other in a cycle.
    #[error("these tasks would wait for each other forever: {}", list(ids))]
    Cycle {
        /// The tasks along the cycle.
        ids: Vec<TaskId>,
    },
    /// A task with this id exists already.
    #[error("a task with the id {0} exists already")]
    DuplicateId(TaskId),
    /// No task has this id.
    #[error("there is no task {0}")]
    NotFound(TaskId),
    /// The operation is not allowed in the task's state; nothing was changed.
    #[error("task {id} is {state}: {why}")]
    WrongState {
        /// The task.
        id: TaskId,
        /// The state it is in.
        state: TaskState,
        /// The state that the operation requires.
        why: &'static str,
    },
    /// A retry was refused because another task holds the unique key; nothing was changed.
    #[error("task {id} was not retried: its unique key is held by task {holder}")]
    UniqueKeyHeld {
        /// The task.
        id: TaskId,
        /// The task that holds the key.
        holder: TaskId,
    },
    /// The task changed between the read and the edit; nothing was changed.
    #[error("task {0} was changed by another client in the meantime")]
    EditedMeanwhile(TaskId),
    /// No queue has this name.
    #[error("there is no queue `{0}`")]
    UnknownQueue(String),
    /// No schedule has this name.
    #[error("there is no schedule `{0}`")]
    UnknownSchedule(String),
    /// A schedule with this name exists already.
    #[error("a schedule with the name `{0}` exists already")]
    DuplicateSchedule(String),
    /// An invalid schedule rule; the text names the position.
    #[error("the rule of the schedule: {0}")]
    InvalidSchedule(String),
    /// Too many additions wait in memory because the database is unreachable or other transactions hold the locks they
    /// need.
    #[error("{waiting} additions ({bytes} bytes) wait in memory for the database: {cause}")]
    QueueUnavailable {
        /// Additions waiting.
        waiting: usize,
        /// Their size in bytes.
        bytes: usize,
        /// Reason why the last write failed.
        cause: String,
    },
    /// The task that was waited for failed.
    #[error("task {id} failed: {error_type}: {message}")]
    TaskFailed {
        /// The task.
        id: TaskId,
        /// The type of its error.
        error_type: String,
        /// Message of the error.
        message: String,
        /// Traceback as text.
        traceback: Option<String>,
    },
    /// The task that was waited for was cancelled.
    #[error("task {0} was cancelled")]
    TaskCancelled(TaskId),
    /// The task that was waited for was stopped by a user; it can be retried.
    #[error("task {0} was stopped")]
    TaskStopped(TaskId),
    /// The task that was waited for was removed before its end was read; its outcome is unknown.
    #[error("task {0} was removed before its end was seen")]
    TaskRemoved(TaskId),
    /// The wait timed out. The task is not affected.
    #[error("task {id} did not finish within {seconds} s{}", found_waiting(*state, parked.as_deref()))]
    WaitTimeout {
        /// The task.
        id: TaskId,
        /// Duration of the wait in seconds.
        seconds: f64,
        /// The task's state at that time; `None` if it could not be read.
        state: Option<TaskState>,
        /// Reason why no server can run the task, if it is parked.
        parked: Option<String>,
    },
    /// The result cannot be decoded as the type of the reference.
    #[error("the result of task {id} cannot be decoded as {expected}: {why}")]
    ResultMismatch {
        /// The task.
        id: TaskId,
        /// The expected Rust type.
        expected: &'static str,
        /// The message of serde.
        why: String,
    },
    /// The attempt lost its lease. Another attempt may run, and the write changed nothing.
    #[error("this attempt of task {0} has lost its lease; its write changed nothing")]
    LeaseLost(TaskId),
    /// The schema is newer than this program.
    #[error("the database's schema is version {found}, this program supports up to {known}")]
    SchemaTooNew {
        /// The version found.
        found: i64,
        /// The newest version this program supports.
        known: i64,
    },
    /// The schema is missing or too old, and migrating is disabled.
    #[error("the database's schema is version {found}, this program needs {needed}")]
    SchemaTooOld {
        /// The version found (0 = none).
        found: i64,
        /// The version needed.
        needed: i64,
    },
    /// A relation that is not Taskyard's has the name of one that Taskyard needs; it was left untouched.
    #[error("the relation {0} exists and does not belong to Taskyard; it was not changed")]
    ForeignRelation(String),
    /// The address of the database cannot be used.
    #[error("database address: {0}")]
    InvalidUrl(String),
    /// The database cannot be reached or the connection was lost; the outcome of calls in flight is unknown.
    #[error("cannot reach the database: {0}")]
    Connection(String),
    /// Another transaction held a lock longer than the statement's lock timeout; nothing was changed.
    #[error("another transaction holds a lock that this needs: {0}")]
    Locked(String),
    /// The database refused the credentials or the role lacks a right.
    #[error("the database refused the request: {0}")]
    Refused(String),
    /// The file or its directory cannot be opened, read or written.
    #[error("{path}: {why}")]
    File {
        /// The path.
        path: String,
        /// The message of the operating system.
        why: String,
        /// Whether the file was deleted, moved, replaced or overwritten while it was open. A process that had it open
        /// cannot read or write it any more.
        lost: bool,
    },
    /// The file is damaged or is not a database; it was left unchanged.
    #[error("{path} is damaged or is not a Taskyard database: {why}")]
    CorruptFile {
        /// The path.
        path: String,
        /// The problem found in the file.
        why: String,
    },
    /// No space is left for the database.
    #[error("no space left for the database: {0}")]
    Full(String),
    /// The database refuses the value itself, regardless of the database's own state: a constraint, an encoding, a
    /// limit (SQLSTATE classes 21, 22, 23 and 54).
    #[error("the database rejected the value: {0}")]
    NotStorable(String),
    /// A fault of the database that may pass: out of memory or connections, an I/O error, an internal error, a lock
    /// that another session holds. Nothing was stored.
    #[error("internal error of the database: {0}")]
    DatabaseFault(String),
    /// The database returned an error of no other variant.
    #[error("the database failed: {0}")]
    Database(String),
    /// A setting that cannot be read.
    #[error("setting {name}: {why}")]
    Setting {
        /// Name of the setting, and where it was set.
        name: String,
        /// Reason.
        why: String,
    },
    /// The client, server or database was shut down, or the client's runtime has ended; the text says which.
    #[error("{0}")]
    ShutDown(&'static str),
}

fn over_limit(what: &str, setting: &str, size: usize, max: usize, list_bytes: usize) -> String {
    let takes = if what.ends_with('s') { "take" } else { "takes" };
    match (setting, list_bytes) {
        ("nesting_max", _) => {
            let has = if what.ends_with('s') { "have" } else { "has" };
            format!(
                "{what} {has} {size} levels of nested lists and objects, over the limit of {max} levels (setting {setting})"
            )
        }
        (_, 0) => format!("{what} {takes} {size} bytes, over the limit of {max} (setting {setting})"),
        (_, bytes) => format!(
            "{what} {takes} {size} bytes as JSON, over the limit of {max} (setting {setting}): {bytes} bytes of data are lists of numbers \
             there, as a `Vec<u8>` is stored; as text in base64 they take {}",
            bytes.div_ceil(3) * 4
        ),
    }
}

fn list(ids: &[TaskId]) -> String {
    let shown: Vec<String> = ids.iter().take(10).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(10);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Describes the state in which a task was found when the wait for it timed out.
fn found_waiting(state: Option<TaskState>, parked: Option<&str>) -> String {
    match (state, parked) {
        (_, Some(reason)) => format!(
            " (it is parked, and no running server can run it: {reason}; `taskyard queue status` shows all such reasons)"
        ),
        (Some(state), None) => format!(" (it is {state})"),
        (None, None) => String::new(),
    }
}

impl Error {
    /// Returns the stable code shown in JSON output and in Python.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.row().0
    }

    /// Returns the exit code of the command: 1 the work failed, 2 wrong usage, 3 the database, 4 not found or wrong
    /// state.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.row().1
    }

    /// Returns whether the same call may succeed later without a change.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.row().2
    }

    /// Returns whether every later call on the same store fails until the store is opened anew: it was closed, or its
    /// file is lost. Loops that repeat calls must end on such an error. Other errors that are not transient may end
    /// when an administrator repairs the database (a missing right, a missing schema).
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::File { lost: true, .. } | Self::ShutDown(_))
    }

    /// Returns whether the value is at fault and not the database, so that the same value is always refused. Only such
    /// an error may be recorded against the task whose end or record the value is.
    #[must_use]
    pub const fn is_about_the_value(&self) -> bool {
        matches!(
            self,
            Self::InvalidArgument { .. }
                | Self::OverLimit { .. }
                | Self::NotRepresentable { .. }
                | Self::NotStorable(_)
        )
    }

    /// Returns whether the database is currently unusable, so that no other write could succeed either.
    #[must_use]
    pub const fn is_about_the_way(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Full(_) | Self::ShutDown(_))
    }

    /// Returns what to do about the error, if there is general advice.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        self.row().3
    }

    /// The table: code, exit code, transient, hint.
    const fn row(&self) -> (&'static str, u8, bool, Option<&'static str>) {
        match self {
            Self::InvalidArgument { .. } => ("invalid_argument", 2, false, None),
            Self::OverLimit { .. } => {
                ("over_limit", 2, false, Some("store large data elsewhere and pass its location, or raise the setting"))
            }
            Self::NotRepresentable { .. } => {
                ("not_representable", 2, false, Some("pass a value that JSON can hold exactly, for example as text"))
            }
            Self::UnknownParent { .. } => {
                ("unknown_parent", 2, false, Some("add the parent first, or both in one add_tasks call"))
            }
            Self::Cycle { .. } => ("cycle", 2, false, Some("remove one of the parents")),
            Self::DuplicateId(_) => ("duplicate_id", 2, false, None),
            Self::NotFound(_) => ("not_found", 4, false, Some("`taskyard task list` shows the tasks")),
            Self::WrongState { .. } => ("wrong_state", 4, false, None),
            Self::UniqueKeyHeld { .. } => {
                ("unique_key_held", 4, false, Some("retry it once that task has ended, or cancel that task first"))
            }
            Self::EditedMeanwhile(_) => ("edited_meanwhile", 4, false, Some("read the task again and repeat the edit")),
            Self::UnknownQueue(_) => ("unknown_queue", 4, false, Some("`taskyard queue stats` shows the queues")),
            Self::UnknownSchedule(_) => {
                ("unknown_schedule", 4, false, Some("`taskyard schedule list` shows the schedules"))
            }
            Self::DuplicateSchedule(_) => (
                "duplicate_schedule",
                2,
                false,
                Some("choose another name, or replace or keep the existing schedule (on_conflict)"),
            ),
            Self::InvalidSchedule(_) => (
                "invalid_schedule",
                2,
                false,
                Some(
                    "for example `0 3 * * MON-FRI`, `@daily`, `@every 5m`, `@at 2026-12-24T18:00:00+01:00`, `@after 2h`",
                ),
            ),
            Self::QueueUnavailable { .. } => (
                "queue_unavailable",
                3,
                true,
                Some("return HTTP status 503, or try again when the database can be reached"),
            ),
            Self::TaskFailed { .. } => ("task_failed", 1, false, Some("`taskyard task show ID` shows every attempt")),
            Self::TaskCancelled(_) => ("task_cancelled", 1, false, None),
            Self::TaskStopped(_) => ("task_stopped", 1, false, Some("`taskyard task retry ID` runs it again")),
            Self::TaskRemoved(_) => (
                "task_removed",
                4,
                false,
                Some(
                    "it was removed by a purge, its retention or a restored database; store results that must be kept elsewhere",
                ),
            ),
            Self::WaitTimeout { .. } => ("wait_timeout", 1, true, None),
            Self::ResultMismatch { .. } => ("result_mismatch", 1, false, None),
            Self::LeaseLost(_) => ("lease_lost", 1, false, None),
            Self::SchemaTooNew { .. } => ("schema_too_new", 3, false, Some("install a newer Taskyard")),
            Self::SchemaTooOld { .. } => {
                ("schema_too_old", 3, false, Some("run `taskyard db migrate` with a role that may create tables"))
            }
            Self::ForeignRelation(_) => (
                "foreign_relation",
                3,
                false,
                Some("rename that relation, or set TASKYARD_VIEWS=false to run without the views"),
            ),
            Self::InvalidUrl(_) => (
                "invalid_url",
                2,
                false,
                Some("use postgresql://user:password@host:5432/name, or sqlite:///absolute/path.db, or a file's path"),
            ),
            Self::Connection(_) => {
                ("connection", 3, true, Some("check that the database runs and that the address is right"))
            }
            Self::Locked(_) => (
                "locked",
                3,
                true,
                Some("try again; if it persists, look for a transaction that was left open (pg_stat_activity)"),
            ),
            Self::Refused(_) => (
                "refused",
                3,
                false,
                Some("check the name of the database, the user, the password and the role's rights"),
            ),
            Self::File { lost: true, .. } => {
                ("file", 3, false, Some("restore the files, then restart every process that had them open"))
            }
            Self::File { .. } => ("file", 3, false, Some("check that the directory exists and is writable")),
            Self::CorruptFile { .. } => (
                "corrupt_file",
                3,
                false,
                Some("nothing was changed: restore a backup, or give another path with --database"),
            ),
            Self::Full(_) => ("full", 3, true, Some("free some space; nothing that was acknowledged is lost")),
            Self::NotStorable(_) => {
                ("not_storable", 2, false, Some("change the value, or the constraint or trigger that refuses it"))
            }
            Self::DatabaseFault(_) => {
                ("database_fault", 3, true, Some("see the log of the database server; the call may be repeated"))
            }
            Self::Database(_) => ("database", 3, false, None),
            Self::Setting { .. } => ("setting", 2, false, Some("`taskyard --help` lists the settings")),
            Self::ShutDown(_) => ("shut_down", 1, false, None),
        }
    }
}
