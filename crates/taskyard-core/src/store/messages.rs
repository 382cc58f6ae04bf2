//! What goes into a store's methods and what comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::serves::Serves;
use crate::state::Runtime;
use crate::task::{Failure, LogLine, NewTask};
use crate::{AdditionId, ClaimId, Namespace, Rate, RetryPolicy, ServerId, TaskId, TaskState, Timestamp, Token};

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// The version before (0 = nothing there).
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// Names of what this call applied: migrations, and `functions` if they were replaced.
    pub applied: Vec<String>,
}

/// The schema's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaStatus {
    /// The version in the database (0 = nothing there).
    pub found: i64,
    /// The version of this program.
    pub known: i64,
    /// Names of what `migrate` would apply: migrations, and `functions` where the text of a newer build differs.
    pub pending: Vec<String>,
}

/// For tests: how the database's clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TestClock {
    /// As the host's.
    Real,
    /// The host's, moved by this many microseconds.
    Offset(i64),
    /// Standing still at this instant.
    Frozen(Timestamp),
}

/// One try to add a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddRequest<'a> {
    /// Names this try; never used twice.
    pub id: AdditionId,
    /// The tasks, at least one.
    pub batch: &'a [NewTask],
}

impl<'a> AddRequest<'a> {
    /// A request under a new id.
    #[must_use]
    pub fn new(batch: &'a [NewTask]) -> Self {
        Self { id: AdditionId::generate(), batch }
    }
}

/// What became of one added task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The task's id: its own, or that of the existing task that holds its unique key.
    pub id: TaskId,
    /// Whether it is an existing one.
    pub existing: bool,
}

/// A task in its final state.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    /// The task.
    pub id: TaskId,
    /// `Done`, `Failed`, `Cancelled` or `Stopped`.
    pub state: TaskState,
    /// The result's bytes, in `Done`.
    pub result: Option<Vec<u8>>,
    /// Type tags in the result are values: a Python worker encoded it.
    pub result_encoded: bool,
    /// The error, in `Failed`.
    pub error: Option<Failure>,
}

/// A parent as its child sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParentResult {
    /// The parent.
    pub id: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Its result's bytes, in `Done`.
    pub result: Option<Vec<u8>>,
    /// Type tags in the result are values: a Python worker encoded it.
    pub result_encoded: bool,
    /// Its error, in `Failed`.
    pub error: Option<Failure>,
}

/// What cancel, stop or retry did to one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// Carried out; the state now.
    Applied(TaskState),
    /// It runs: its server was asked.
    Requested,
    /// It is in this state, in which the call means nothing; nothing was changed.
    Refused(TaskState),
    /// A retry was refused because this task holds its unique key; nothing was changed.
    KeyHeld(TaskId),
    /// There is no such task.
    NotFound,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: String,
    /// Whether claims pass it by.
    pub paused: bool,
    /// The most tasks that run at once over all servers.
    pub running_max: Option<u32>,
    /// How many of its tasks start in some time over all servers.
    pub rate: Option<Rate>,
    /// A task that has been runnable for this long counts as one priority higher, and so on.
    pub ageing: Option<Duration>,
    /// Tasks runnable now.
    pub enqueued: u64,
    /// Tasks that wait.
    pub waiting: u64,
    /// Tasks that run.
    pub doing: u64,
    /// How long the oldest enqueued task has been runnable or, without that knowledge, has existed.
    pub oldest_enqueued: Option<Duration>,
}

/// The whole database in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StoreStatus {
    /// Tasks by state, in the order of [`TaskState::ALL`].
    pub by_state: [u64; 7],
    /// Which of these numbers are estimates, in the same order: an exact one would take a walk through a large table.
    pub estimated: [bool; 7],
    /// Servers with a live lease.
    pub servers_alive: u64,
    /// The age of the oldest task that is enqueued in a queue that is not paused.
    pub oldest_enqueued: Option<Duration>,
    /// Tasks that no server knows.
    pub parked: u64,
    /// Tasks that are enqueued and stand in no range, so that nothing claims them: those of a sample (PostgreSQL), or all
    /// (SQLite).
    pub misplaced: u64,
    /// Ends of attempts that were set aside because the database does not take them; their tasks are `doing`.
    pub ends_aside: u64,
    /// Ends that live servers hold because the database refuses them, as of their last note.
    pub ends_held: u64,
    /// The database's words if, within the last three minutes, it refused to start, expire, settle or remove a task.
    pub upkeep_refused: Option<String>,
}

/// What a comparison of tasks with the runnable range found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RangeReport {
    /// Tasks that were looked at.
    pub seen: u64,
    /// Of them those that are enqueued and stand in no range.
    pub missing: u64,
    /// Of these those that were put where they belong; one that somebody else is moving is not.
    pub repaired: u64,
    /// Where to go on; `None` at the end.
    pub last: Option<TaskId>,
}

/// What storing a schedule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulePut {
    /// It is new.
    Added,
    /// It was there and was left as it was.
    Kept,
    /// It was there and was brought to the new definition.
    Replaced,
}

/// A server that enters.
#[derive(Clone, Debug, PartialEq)]
pub struct NewServer {
    /// Random per boot.
    pub id: ServerId,
    /// A label, the host's name by default.
    pub name: String,
    /// Its process id, for people.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How long a beat keeps it alive.
    pub lease: Duration,
    /// The most workers it runs.
    pub workers_max: u32,
    /// The builds and queues that it serves; `None` for a program that does not report them.
    pub serves: Option<Serves>,
}

/// One beat of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// The server.
    pub server: ServerId,
    /// How long the lease runs from now.
    pub lease: Duration,
    /// The most workers it runs, now.
    pub workers_max: u32,
    /// Workers that run something.
    pub workers_active: u32,
    /// Workers that exist and run nothing.
    pub workers_idle: u32,
    /// Tasks it runs.
    pub tasks_running: u32,
}

/// What a server is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The task.
    pub id: TaskId,
    /// The attempt meant.
    pub token: Token,
    /// Whether to cancel it (else to stop it).
    pub cancel: bool,
}

/// The answer to a beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeatReply {
    /// Declared dead: kill what runs, take a new id.
    pub dead: bool,
    /// Requests for tasks that this server runs; repeated with every beat until the attempt ended.
    pub signals: Vec<Signal>,
}

/// One server as people see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerRecord {
    /// Its id.
    pub id: ServerId,
    /// Its label.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Whether its lease is alive now.
    pub is_running: bool,
    /// The most workers it runs.
    pub workers_max: u32,
    /// Workers that run something.
    pub workers_active: u32,
    /// Workers that run nothing.
    pub workers_idle: u32,
    /// Tasks it runs, at its last beat.
    pub tasks_running: u32,
    /// When it entered.
    pub started_at: Timestamp,
    /// Its last beat.
    pub last_heartbeat_at: Timestamp,
}

/// Where a claim stopped; a hint to start the next one there. Opaque but to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimPlace {
    /// The priority reached.
    pub priority: i32,
    /// The order number reached.
    pub order: i64,
}

/// Asks for work.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRequest {
    /// The claiming server; its lease must be alive.
    pub server: ServerId,
    /// Names this claim, so that it can be read back.
    pub claim: ClaimId,
    /// Tasks of this runtime.
    pub runtime: Runtime,
    /// Only of these queues; all if `None`.
    pub queues: Option<Vec<String>>,
    /// At most this many.
    pub limit: usize,
    /// Take one task that must run alone instead (the server runs nothing else now); `limit` is then 1.
    pub alone: bool,
    /// Start where the last claim stopped.
    pub place: Option<ClaimPlace>,
}

/// What a claim got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimReply {
    /// In the order in which they are to start.
    pub tasks: Vec<Claimed>,
    /// Where it stopped, if more may follow.
    pub place: Option<ClaimPlace>,
    /// A task that must run alone is waiting for an idle server.
    pub alone_waiting: bool,
    /// This server's lease is over: nothing was claimed.
    pub dead: bool,
    /// Tasks were passed over because other transactions hold them locked. No notification tells when they are free.
    pub passed_over: bool,
}

/// A task under a lease, with all that running it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The task.
    pub id: TaskId,
    /// What every write of this attempt must show.
    pub token: Token,
    /// The function.
    pub kind: String,
    /// The label.
    pub name: Option<String>,
    /// The lane.
    pub queue: String,
    /// Its arguments.
    pub payload: Vec<u8>,
    /// Type tags in the payload are values, see [`crate::NewTask::payload_encoded`].
    pub payload_encoded: bool,
    /// Its context so far, if any.
    pub context: Option<Vec<u8>>,
    /// The same for the context.
    pub context_encoded: bool,
    /// A database role that may only add tasks added it: only a function that is declared as a task may run.
    pub restricted: bool,
    /// This attempt's number.
    pub attempt: u32,
    /// Failures before this attempt.
    pub failures: u32,
    /// When failures are retried.
    pub retry: RetryPolicy,
    /// The longest it may take.
    pub timeout: Option<Duration>,
    /// Whether it has parents whose results it may ask for.
    pub has_parents: bool,
    /// Its time to start passed before its first attempt: end it as [`Outcome::Expired`].
    pub expired: bool,
    /// It must run with nothing beside it.
    pub alone: bool,
}

/// What the database says that a server holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimsHeld {
    /// Of the claims that were asked about, the tasks that run, each with its claim and its token.
    pub doing: Vec<(ClaimId, TaskId, Token)>,
    /// Claims of this server, of a page of them.
    pub claims: Vec<ClaimId>,
    /// Where the page ended, if there are more.
    pub next: Option<ClaimId>,
}

/// How an attempt ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The body returned this (JSON bytes).
    Done {
        /// The result's bytes.
        result: Vec<u8>,
    },
    /// The body failed and no retry is left.
    Failed(Failure),
    /// The body failed; run it again after this pause.
    Retry {
        /// The pause.
        after: Duration,
        /// What went wrong.
        error: Failure,
    },
    /// The body wants to be run later, at no cost.
    Snooze {
        /// The pause.
        after: Duration,
    },
    /// It never started: enqueued again, uncharged.
    Released,
    /// Its body had begun and was ended for no fault of its own, by its server's stop or beside another body: as
    /// `Released`, but a task that may run only once is failed with `CutShort`.
    CutShort,
    /// The build of this server does not know the task's kind, which is noted: enqueued again for the builds that may know
    /// it; parked with this reason once every live build has refused the kind, or if no server says that it is this build.
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
    /// Its worker died and it was the only task that had started there.
    Crashed(Failure),
    /// Its worker died while others had started there too: enqueued again, to run alone.
    Beside,
    /// The body ended because it was asked to cancel or stop; the flags decide which of the two it becomes, and
    /// without a flag it is cancelled.
    Interrupted,
    /// Its time to start had passed when it was claimed: cancelled with `Expired`; the attempt is not counted.
    Expired,
    /// The database lost how it ended: as after a rescue, enqueued again, or a dead letter if it may run only once.
    Lost(Failure),
}

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The task.
    pub id: TaskId,
    /// The attempt's token.
    pub token: Token,
    /// How it ended.
    pub outcome: Outcome,
    /// The context to store with it, the whole object, if it changed since the last record.
    pub context: Option<Vec<u8>>,
    /// Log lines not yet recorded.
    pub logs: Vec<LogLine>,
}

/// What a running attempt wants stored.
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

/// The answer to a fenced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteReply {
    /// Written; the state now.
    Applied(TaskState),
    /// An earlier try of the same write, whose reply was lost, had written it; the state now.
    AlreadyApplied(TaskState),
    /// The lease of this attempt is over; nothing was changed.
    Lost,
    /// Somebody else's transaction holds a lock that this write needs; nothing was changed, and it is to be tried again.
    Locked,
}

/// What one step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Tasks touched.
    pub tasks: usize,
    /// Whether another step may find more.
    pub more: bool,
}

/// What became due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromoteReport {
    /// Tasks moved to enqueued.
    pub enqueued: usize,
    /// Tasks that expired.
    pub expired: usize,
    /// Auto-removed tasks that went.
    pub removed: usize,
    /// Whether another step may find more.
    pub more: bool,
    /// Whether the rate of some queue allows of starts that its tasks wait for.
    pub freed: bool,
    /// How long until the next start time, end of a backoff, or expiry; `None` if there is none.
    pub next_due: Option<Duration>,
    /// How long until a rate allows of more starts than now; `None` if nothing waits for one.
    pub next_start: Option<Duration>,
}

/// A server as the rescuer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatSeen {
    /// The server.
    pub server: ServerId,
    /// Grows with every beat.
    pub beat: i64,
    /// Whether its lease is over by the database's clock.
    pub lapsed: bool,
    /// Declared dead; its tasks are being freed.
    pub dead: bool,
    /// The lease it takes with each beat.
    pub lease: Duration,
}

/// How long finished tasks are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `done` (default 7 days).
    pub done: Duration,
    /// `failed`, `cancelled`, `stopped` (default 30 days).
    pub failed: Duration,
    /// At most so many `done` tasks; 0 (default) = any number.
    pub done_count: u64,
    /// At most so many `failed` ones, the dead letters; 0 (default) = any number.
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

/// Asks for dead letters that a server's hooks are to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadTake {
    /// The server; it must not have been declared dead.
    pub server: ServerId,
    /// Tasks of this runtime.
    pub runtime: Runtime,
    /// Only of these queues; all if `None`.
    pub queues: Option<Vec<String>>,
    /// Only of kinds in this namespace; all if `None`.
    pub namespace: Option<Namespace>,
    /// At most this many.
    pub limit: usize,
}

/// What a person changes of a task that has ended without success; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskEdit {
    /// The new payload, and the one that it was made from: it applies only where that still stands.
    pub payload: Option<NewPayload>,
    /// The queue.
    pub queue: Option<String>,
    /// The priority.
    pub priority: Option<i32>,
    /// The retries that its policy allows.
    pub max_retries: Option<u32>,
}

/// A payload in place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayload {
    /// What was read.
    pub seen: Vec<u8>,
    /// What it becomes.
    pub payload: Vec<u8>,
    /// Type tags in the new one are values, see [`crate::NewTask::payload_encoded`].
    pub encoded: bool,
}

/// What one step of ageing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgeReport {
    /// Tasks whose place changed.
    pub tasks: usize,
    /// Whether another step may find more.
    pub more: bool,
    /// How long until the next task ages; `None` if none does.
    pub next_due: Option<Duration>,
}
