//! Argument and result types of the methods of [`Store`](super::Store).
//!
//! Plain data without behaviour. The rules that the values follow are those of the [module `store`](super).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::serves::Serves;
use crate::state::Runtime;
use crate::task::{Failure, LogLine, NewTask};
use crate::{AdditionId, ClaimId, Namespace, Rate, RetryPolicy, ServerId, TaskId, TaskState, Timestamp, Token};

/// Result of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// The version before (0 = no schema).
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// Names of what this call applied: migrations, and `functions` if they were replaced.
    pub applied: Vec<String>,
}

/// Version of the schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaStatus {
    /// The version in the database (0 = no schema).
    pub found: i64,
    /// The version of this program.
    pub known: i64,
    /// Names of what `migrate` would apply: migrations, and `functions` if the text of a newer build differs.
    pub pending: Vec<String>,
}

/// For tests: mode of the database's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TestClock {
    /// The host's time.
    Real,
    /// The host's time, moved by this many microseconds.
    Offset(i64),
    /// Frozen at this instant.
    Frozen(Timestamp),
}

/// An attempt to add a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddRequest<'a> {
    /// Identifies this attempt; never re-used.
    pub id: AdditionId,
    /// The tasks, at least one.
    pub batch: &'a [NewTask],
}

impl<'a> AddRequest<'a> {
    /// Creates a request with a new id.
    #[must_use]
    pub fn new(batch: &'a [NewTask]) -> Self {
        Self { id: AdditionId::generate(), batch }
    }
}

/// Result of adding one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The task's id: its own, or that of the existing task that holds its unique key.
    pub id: TaskId,
    /// Whether that is an existing task.
    pub existing: bool,
}

/// A task in a final state.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    /// The task.
    pub id: TaskId,
    /// `Done`, `Failed`, `Cancelled` or `Stopped`.
    pub state: TaskState,
    /// The result's bytes, in `Done`.
    pub result: Option<Vec<u8>>,
    /// Whether type tags in the result are values, because a Python worker encoded it.
    pub result_encoded: bool,
    /// The error, in `Failed`.
    pub error: Option<Failure>,
}

/// A parent and its result, for its child.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParentResult {
    /// The parent.
    pub id: TaskId,
    /// Current state.
    pub state: TaskState,
    /// Result's bytes, in `Done`.
    pub result: Option<Vec<u8>>,
    /// Whether type tags in the result are values, because a Python worker encoded it.
    pub result_encoded: bool,
    /// Error, in `Failed`.
    pub error: Option<Failure>,
}

/// Result of cancelling, stopping or retrying a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// Carried out; the new state.
    Applied(TaskState),
    /// The task runs; the request was sent to its server.
    Requested,
    /// Not allowed in this state; nothing was changed.
    Refused(TaskState),
    /// A retry was refused because this task holds its unique key; nothing was changed.
    KeyHeld(TaskId),
    /// There is no such task.
    NotFound,
}

/// Settings and statistics of a queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueStatus {
    /// Name.
    pub name: String,
    /// Whether claims skip it.
    pub paused: bool,
    /// Maximum number of tasks that run at once over all servers.
    pub running_max: Option<u32>,
    /// Maximum rate of starts over all servers.
    pub rate: Option<Rate>,
    /// Interval after which a runnable task is promoted by one priority, repeatedly.
    pub ageing: Option<Duration>,
    /// Number of tasks runnable now.
    pub enqueued: u64,
    /// Number of waiting tasks.
    pub waiting: u64,
    /// Number of running tasks.
    pub doing: u64,
    /// Time for which the oldest enqueued task has been runnable or, if that is not recorded, has existed.
    pub oldest_enqueued: Option<Duration>,
}

/// Statistics of the whole database.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StoreStatus {
    /// Number of tasks by state, in the order of [`TaskState::ALL`].
    pub by_state: [u64; 7],
    /// Which of these numbers are estimates, in the same order: an exact one would require a scan of a large table.
    pub estimated: [bool; 7],
    /// Number of servers with a live lease.
    pub servers_alive: u64,
    /// Age of the oldest enqueued task in a queue that is not paused.
    pub oldest_enqueued: Option<Duration>,
    /// Number of parked tasks.
    pub parked: u64,
    /// Number of enqueued tasks that are in no range, so that they are never claimed: those of a sample (PostgreSQL),
    /// or all (SQLite).
    pub misplaced: u64,
    /// Number of ends of attempts that were set aside because the database refuses them; their tasks are `doing`.
    pub ends_aside: u64,
    /// Number of ends that live servers hold because the database refuses them, as last recorded.
    pub ends_held: u64,
    /// The database's message if, within the last three minutes, it refused to start, expire, settle or remove a task.
    pub upkeep_refused: Option<String>,
}

/// Result of comparing tasks with the runnable range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RangeReport {
    /// Number of tasks compared.
    pub seen: u64,
    /// Number of enqueued tasks that were in no range.
    pub missing: u64,
    /// Number of missing tasks that were inserted; a task that another transaction is moving is not.
    pub repaired: u64,
    /// Last task compared, after which to continue; `None` at the end.
    pub last: Option<TaskId>,
}

/// Result of storing a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulePut {
    /// The schedule was new.
    Added,
    /// The schedule existed and was left unchanged.
    Kept,
    /// The schedule existed and was changed to the new definition.
    Replaced,
}

/// A server that registers.
#[derive(Clone, Debug, PartialEq)]
pub struct NewServer {
    /// Random, new for every start.
    pub id: ServerId,
    /// A label, the host's name by default.
    pub name: String,
    /// Process id, informational.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Duration of the lease that each heartbeat renews.
    pub lease: Duration,
    /// Maximum number of workers.
    pub workers_max: u32,
    /// The builds and queues that it serves; `None` for a program that does not report them.
    pub serves: Option<Serves>,
}

/// Heartbeat of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// The server.
    pub server: ServerId,
    /// Duration of the lease from now.
    pub lease: Duration,
    /// Current maximum number of workers.
    pub workers_max: u32,
    /// Number of workers that run a task.
    pub workers_active: u32,
    /// Number of workers that run nothing.
    pub workers_idle: u32,
    /// Number of tasks it runs.
    pub tasks_running: u32,
}

/// A cancel or stop request for a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The task.
    pub id: TaskId,
    /// Token of the attempt.
    pub token: Token,
    /// Whether to cancel the task (otherwise stop it).
    pub cancel: bool,
}

/// Reply to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeatReply {
    /// The server was declared dead: it must kill what runs and take a new id.
    pub dead: bool,
    /// Requests for tasks that this server runs; repeated with every heartbeat until the attempt has ended.
    pub signals: Vec<Signal>,
}

/// A server as shown to users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerRecord {
    /// Id.
    pub id: ServerId,
    /// Label.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Whether its lease is live.
    pub is_running: bool,
    /// Maximum number of workers.
    pub workers_max: u32,
    /// Number of workers that run a task.
    pub workers_active: u32,
    /// Number of workers that run nothing.
    pub workers_idle: u32,
    /// Number of tasks it ran at its last heartbeat.
    pub tasks_running: u32,
    /// When it registered.
    pub started_at: Timestamp,
    /// Time of its last heartbeat.
    pub last_heartbeat_at: Timestamp,
}

/// Position at which a claim stopped: a hint for the start of the next one. Opaque except to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimCursor {
    /// The priority reached.
    pub priority: i32,
    /// The order number reached.
    pub order: i64,
}

/// Request for tasks to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRequest {
    /// The claiming server; its lease must be alive.
    pub server: ServerId,
    /// Identifies this claim, so that it can be read back.
    pub claim: ClaimId,
    /// Only tasks of this runtime.
    pub runtime: Runtime,
    /// Only from these queues; from all if `None`.
    pub queues: Option<Vec<String>>,
    /// Maximum number of tasks.
    pub limit: usize,
    /// Claim one task that must run alone instead (the server currently runs nothing else); `limit` is then 1.
    pub alone: bool,
    /// Position at which the last claim stopped.
    pub cursor: Option<ClaimCursor>,
}

/// Result of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimReply {
    /// The claimed tasks in the order in which they are to start.
    pub tasks: Vec<Claimed>,
    /// Position at which the claim stopped, if there may be more tasks.
    pub cursor: Option<ClaimCursor>,
    /// Whether a task that must run alone is waiting for an idle server.
    pub alone_waiting: bool,
    /// Whether this server's lease has expired; nothing was claimed.
    pub dead: bool,
    /// Whether tasks were skipped because other transactions hold their locks. No notification is sent when they are
    /// released.
    pub passed_over: bool,
}

/// A task under a lease, with all data needed to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The task.
    pub id: TaskId,
    /// Token that every write of this attempt must present.
    pub token: Token,
    /// The function.
    pub kind: String,
    /// The label.
    pub name: Option<String>,
    /// The queue.
    pub queue: String,
    /// Arguments.
    pub payload: Vec<u8>,
    /// Whether type tags in the payload are values, see [`crate::NewTask::payload_encoded`].
    pub payload_encoded: bool,
    /// Current context, if any.
    pub context: Option<Vec<u8>>,
    /// Whether type tags in the context are values.
    pub context_encoded: bool,
    /// Whether a database role that may only add tasks added it. Only functions declared as tasks may then run.
    pub restricted: bool,
    /// This attempt's number.
    pub attempt: u32,
    /// Failures before this attempt.
    pub failures: u32,
    /// Retry policy.
    pub retry: RetryPolicy,
    /// Maximum duration of an attempt.
    pub timeout: Option<Duration>,
    /// Whether it has parents whose results it may request.
    pub has_parents: bool,
    /// Whether the start deadline passed before the first attempt: the task must be ended as [`Outcome::Expired`].
    pub expired: bool,
    /// Whether it must run with no other task in its worker.
    pub alone: bool,
}

/// The claims and tasks that a server holds according to the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimsHeld {
    /// Running tasks of the requested claims, each with its claim and token.
    pub doing: Vec<(ClaimId, TaskId, Token)>,
    /// A page of this server's claims.
    pub claims: Vec<ClaimId>,
    /// Last claim of the page, if there are more.
    pub next: Option<ClaimId>,
}

/// Outcome of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The body returned a result (JSON bytes).
    Done {
        /// The result's bytes.
        result: Vec<u8>,
    },
    /// The body failed and no retry is left.
    Failed(Failure),
    /// The body failed; it runs again after the pause.
    Retry {
        /// The pause.
        after: Duration,
        /// The error.
        error: Failure,
    },
    /// The body asked to run again later, without using up a retry.
    Snooze {
        /// The pause.
        after: Duration,
    },
    /// The attempt never started: enqueued again, not counted.
    Released,
    /// The body had started and was ended through no fault of its own, by the stop of its server or because of another
    /// body in the same worker. The same as `Released`, but a task that may run only once fails with `CutShort`.
    CutShort,
    /// The server's build does not support the task's kind, which is recorded. The task is enqueued again for builds
    /// that may support it, or parked with this reason if every live build has refused the kind or no server registers
    /// this build.
    Refused {
        /// For example ``kind `app::send` ``.
        reason: String,
        /// The build's fingerprint, one of [`Serves::builds`].
        build: String,
    },
    /// This server cannot run it; tasks parked for the same reason share this text.
    Parked {
        /// For example ``kind `app::send` ``.
        reason: String,
    },
    /// The worker died, and no other task had started there.
    Crashed(Failure),
    /// The worker died while other tasks had started there too: enqueued again, to run alone.
    Beside,
    /// The body ended because a cancel or stop was requested; the flags in the row determine which, and without a flag
    /// the task is cancelled.
    Interrupted,
    /// The start deadline had passed when the task was claimed: cancelled with `Expired`; the attempt is not counted.
    Expired,
    /// The database lost its end: as after a rescue, enqueued again, or a dead letter if it may run only once.
    Lost(Failure),
}

/// End of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The task.
    pub id: TaskId,
    /// The attempt's token.
    pub token: Token,
    /// Outcome.
    pub outcome: Outcome,
    /// The whole context object to store, if it changed since the last record.
    pub context: Option<Vec<u8>>,
    /// Log lines not yet recorded.
    pub logs: Vec<LogLine>,
}

/// Context and log lines of a running attempt, to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The task.
    pub id: TaskId,
    /// The attempt's token.
    pub token: Token,
    /// The whole context object, if it changed.
    pub context: Option<Vec<u8>>,
    /// Log lines.
    pub logs: Vec<LogLine>,
}

/// Reply to a fenced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteReply {
    /// Written; the new state.
    Applied(TaskState),
    /// An earlier attempt of the same write, whose reply was lost, was applied; the current state.
    AlreadyApplied(TaskState),
    /// The lease of this attempt is over; nothing was changed.
    Lost,
    /// Another transaction holds a required lock; nothing was changed, and the write must be retried.
    Locked,
}

/// Result of one maintenance step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Number of tasks changed.
    pub tasks: usize,
    /// Whether another step may find more.
    pub more: bool,
}

/// Result of processing what was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromoteReport {
    /// Number of tasks enqueued.
    pub enqueued: usize,
    /// Number of tasks that expired.
    pub expired: usize,
    /// Number of auto-removed tasks deleted.
    pub removed: usize,
    /// Whether another step may find more.
    pub more: bool,
    /// Whether the rate of some queue allows starts that its tasks wait for.
    pub freed: bool,
    /// Time until the next start time, end of a backoff, or expiry; `None` if there is none.
    pub next_due: Option<Duration>,
    /// Time until a rate allows more starts; `None` if no task waits for one.
    pub next_start: Option<Duration>,
}

/// Heartbeat state of a server, for the rescuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatSeen {
    /// The server.
    pub server: ServerId,
    /// Incremented by every heartbeat.
    pub beat: i64,
    /// Whether its lease has expired by the database's clock.
    pub lapsed: bool,
    /// Whether it was declared dead and its tasks are being freed.
    pub dead: bool,
    /// Duration of the lease that each heartbeat renews.
    pub lease: Duration,
}

/// Retention of finished tasks, by age and by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `done` (default 7 days).
    pub done: Duration,
    /// `failed`, `cancelled`, `stopped` (default 30 days).
    pub failed: Duration,
    /// Maximum number of `done` tasks; 0 (default) = unlimited.
    pub done_count: u64,
    /// Maximum number of `failed` tasks, the dead letters; 0 (default) = unlimited.
    pub failed_count: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            done: Duration::from_secs(7 * 86_400),
            failed: Duration::from_secs(30 * 86_400),
            done_count: 0,
            failed_count: 0,
        }
    }
}

/// Request for dead letters to deliver to a server's hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadTake {
    /// The server; it must not have been declared dead.
    pub server: ServerId,
    /// Only tasks of this runtime.
    pub runtime: Runtime,
    /// Only from these queues; from all if `None`.
    pub queues: Option<Vec<String>>,
    /// Only of kinds in this namespace; of all if `None`.
    pub namespace: Option<Namespace>,
    /// Maximum number of tasks.
    pub limit: usize,
}

/// Changes to a task that has ended without success; `None` leaves a part unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskEdit {
    /// The new payload, and the one it was derived from: applies only if that is still stored.
    pub payload: Option<NewPayload>,
    /// The queue.
    pub queue: Option<String>,
    /// The priority.
    pub priority: Option<i32>,
    /// Number of retries that its policy allows.
    pub max_retries: Option<u32>,
}

/// Replacement of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayload {
    /// The payload that was read.
    pub seen: Vec<u8>,
    /// The new payload.
    pub payload: Vec<u8>,
    /// Whether type tags in the new payload are values, see [`crate::NewTask::payload_encoded`].
    pub encoded: bool,
}

/// Result of one ageing step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgeReport {
    /// Number of tasks promoted.
    pub tasks: usize,
    /// Whether another step may find more.
    pub more: bool,
    /// Time until the next task is promoted; `None` if none will be.
    pub next_due: Option<Duration>,
}
