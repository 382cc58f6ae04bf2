//! Every way in which an operation of ours can fail: one table of variants, codes, exit codes and hints that the
//! command and Python render. How a task's body ended is not an error but an outcome.

mod http;

use crate::{TaskId, TaskState};

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and (with [`Error::hint`]) what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that can never be right.
    #[error("{what}: {why}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// Why it is refused.
        why: String,
    },
    /// A size over its limit.
    #[error("{}", over_limit(what, setting, *size, *max, *list_bytes))]
    OverLimit {
        /// What is too large.
        what: &'static str,
        /// The setting that names the limit.
        setting: &'static str,
        /// Its size: in bytes as it is stored, for `nesting_max` in levels.
        size: usize,
        /// The limit, in the same unit.
        max: usize,
        /// How many bytes stand in it as lists of numbers, as JSON writes a `Vec<u8>`, if these make up most of its size; else 0.
        list_bytes: usize,
    },
    /// A value that would not survive the trip exactly.
    #[error("{what} cannot be stored exactly: {why}")]
    NotRepresentable {
        /// Which value.
        what: String,
        /// Why not.
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
    /// Tasks that would wait for each other.
    #[error("these tasks would wait for each other forever: {}", list(ids))]
    Cycle {
        /// The tasks along the cycle.
        ids: Vec<TaskId>,
    },
    /// The id is taken.
    #[error("a task with the id {0} exists already")]
    DuplicateId(TaskId),
    /// No such task.
    #[error("there is no task {0}")]
    NotFound(TaskId),
    /// The operation does not fit the task's state; nothing was changed.
    #[error("task {id} is {state}: {why}")]
    WrongState {
        /// The task.
        id: TaskId,
        /// The state it is in.
        state: TaskState,
        /// What would have to hold.
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
    /// Somebody changed the task between the look at it and the edit; nothing was changed.
    #[error("task {0} was changed by another client in the meantime")]
    EditedMeanwhile(TaskId),
    /// No such queue.
    #[error("there is no queue `{0}`")]
    UnknownQueue(String),
    /// No such schedule.
    #[error("there is no schedule `{0}`")]
    UnknownSchedule(String),
    /// The name is taken.
    #[error("a schedule with the name `{0}` exists already")]
    DuplicateSchedule(String),
    /// A schedule's rule that can never be right; the text names the place.
    #[error("the rule of the schedule: {0}")]
    InvalidSchedule(String),
    /// Too much waits in memory for the database: it is away, or others hold locked what is needed.
    #[error("{waiting} additions ({bytes} bytes) wait in memory for the database: {cause}")]
    QueueUnavailable {
        /// Additions waiting.
        waiting: usize,
        /// Their size in bytes.
        bytes: usize,
        /// Why the last write failed.
        cause: String,
    },
    /// The awaited task failed.
    #[error("task {id} failed: {error_type}: {message}")]
    TaskFailed {
        /// The task.
        id: TaskId,
        /// The type of its error.
        error_type: String,
        /// Its message.
        message: String,
        /// Its traceback text.
        traceback: Option<String>,
    },
    /// The awaited task was cancelled.
    #[error("task {0} was cancelled")]
    TaskCancelled(TaskId),
    /// The awaited task was stopped by a person and may be retried.
    #[error("task {0} was stopped")]
    TaskStopped(TaskId),
    /// The awaited task was there and is gone: its end will never be known.
    #[error("task {0} was removed before its end was seen")]
    TaskRemoved(TaskId),
    /// The wait ended before the task did; the task goes on.
    #[error("task {id} did not finish within {seconds} s{}", found_waiting(*state, parked.as_deref()))]
    WaitTimeout {
        /// The task.
        id: TaskId,
        /// How long was waited.
        seconds: f64,
        /// Its state then; `None` if the database did not tell it.
        state: Option<TaskState>,
        /// Why no server can run it, if it is parked.
        parked: Option<String>,
    },
    /// The result is not of the type that the reference promises.
    #[error("the result of task {id} cannot be decoded as {expected}: {why}")]
    ResultMismatch {
        /// The task.
        id: TaskId,
        /// The Rust type.
        expected: &'static str,
        /// What serde says.
        why: String,
    },
    /// The attempt lost its lease: another one may run, and this one's write changed nothing.
    #[error("this attempt of task {0} has lost its lease; its write changed nothing")]
    LeaseLost(TaskId),
    /// The schema is newer than this program.
    #[error("the database's schema is version {found}, this program supports up to {known}")]
    SchemaTooNew {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The schema is missing or older, and migrating is switched off.
    #[error("the database's schema is version {found}, this program needs {needed}")]
    SchemaTooOld {
        /// The version found (0 = none).
        found: i64,
        /// The version needed.
        needed: i64,
    },
    /// A relation of ours is in the way of one that is not ours.
    #[error("the relation {0} exists and does not belong to Taskyard; it was not changed")]
    ForeignRelation(String),
    /// The address of the database cannot be used.
    #[error("database address: {0}")]
    InvalidUrl(String),
    /// The database cannot be reached, or went away; the outcome of what was in flight is unknown.
    #[error("cannot reach the database: {0}")]
    Connection(String),
    /// Another transaction holds a lock for longer than a statement of ours waits; nothing was changed.
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
        /// What the system says.
        why: String,
        /// Whether the file was lost while it was open (deleted, moved, replaced, overwritten): nothing reads or writes it
        /// again through the process that had it open.
        lost: bool,
    },
    /// The file is damaged or is no database; it was left as it is.
    #[error("{path} is damaged or is not a Taskyard database: {why}")]
    CorruptFile {
        /// The path.
        path: String,
        /// What was found.
        why: String,
    },
    /// No space left.
    #[error("no space left for the database: {0}")]
    Full(String),
    /// The database refuses a value that it was given, in whatever state it is itself: a constraint, an encoding, a
    /// limit of its own (SQLSTATE classes 21, 22, 23 and 54).
    #[error("the database rejected the value: {0}")]
    NotStorable(String),
    /// The database has a fault of its own, which may pass: out of memory or connections, an I/O error, an internal
    /// error, a lock that somebody else holds. Nothing was stored.
    #[error("internal error of the database: {0}")]
    DatabaseFault(String),
    /// The database answered with an error that is none of the above.
    #[error("the database failed: {0}")]
    Database(String),
    /// Settings that cannot be read.
    #[error("setting {name}: {why}")]
    Setting {
        /// Its name and where it stands.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The client, server or database was shut down, or the runtime of the client has ended; a sentence that says which.
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

/// What a task was found to do when a wait for it was over.
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
    /// The stable code that JSON output and Python show.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.row().0
    }

    /// The exit code of the command: 1 the work failed, 2 wrong usage, 3 the database, 4 not found or wrong state.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.row().1
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.row().2
    }

    /// Whether every later call on the same store fails, too, until the store is opened anew: it was closed, or its file is
    /// lost. Everything that repeats calls ends on such an error. Other errors that are not transient may end when a person
    /// puts the database in order (a missing right, a missing schema).
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::File { lost: true, .. } | Self::ShutDown(_))
    }

    /// Whether the value is at fault and not the database: the same value is refused however long one waits. Only such
    /// an error may be held against a task whose end or record it is.
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

    /// Whether the database cannot be used at all now, so that nothing else could be written either.
    #[must_use]
    pub const fn is_about_the_way(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Full(_) | Self::ShutDown(_))
    }

    /// What to do about it.
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
