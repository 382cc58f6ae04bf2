//! The [`Store`] trait, which every database implements, and the protocol that its implementations follow.
//!
//! # Responsibilities
//! A store persists rows and performs transitions. It implements states, tokens, parents and times, but no policy: the
//! server decides whether a failure is retried and after what pause, because it has the error, and writes the decision
//! as an [`Outcome`].
//!
//! # Invariants
//! 1. **Time** is the database's, read through the clock function, whose offset (or frozen instant) tests can set.
//! 2. **Fencing.** Every write of a running attempt applies only `where id and state = 'doing' and token`. It returns
//!    applied, already applied (the row still has the token but has left `doing`), or lost. The token stays in the row
//!    until the next claim, a rescue, or a manual retry clears it. The attempt number is informational only.
//! 3. **Batches are atomic.** A batch of fenced writes applies each of its items or reports it as lost. An item whose
//!    locks are held by another transaction is reported as locked within a second, and the others are applied.
//! 4. **Ready range.** A claim reads only rows that are runnable now. Blocked, future, parked and finished tasks are
//!    not in that range. Order: priority descending, then the order number from the database's sequence, which a task
//!    keeps for life (a retried or rescued task is older, so it comes first). The priority of a waiting or enqueued
//!    task can be changed; its position in the range follows at once. In an ageing queue, an enqueued task is promoted
//!    by one priority for each ageing interval it has been in the range, up to the highest; its record keeps its
//!    original priority, and leaving the range ends the promotion. The range can be rebuilt from the tasks at any time
//!    (a restored dump may lack rows of it): each task is checked again under its lock, so that none is inserted twice.
//! 5. **Separate ranges.** Tasks of a queue that is paused, limited (in concurrency or rate) or set apart, and tasks
//!    that must run alone, are not in the common range. A claim takes from a limited queue what its limits allow at the
//!    commit of the claim. A rate ([`Rate`]) is consumed by the claim, whatever the outcome.
//! 6. **Parents.** A batch of new tasks locks the parents it names in id order, then reads their states. The finishing
//!    transaction applies up to [`CASCADE_INLINE_MAX`] edges; the rest is left in a durable cascade row that any server
//!    processes. An edge is open until its parent is done (or failed or was cancelled, and the child's policy is
//!    `run`). A parent that fails or is cancelled ends its waiting children with policy `fail` (failed under failed
//!    with `ParentTaskFailed`, cancelled under cancelled), and their children in turn; each records the first ancestor
//!    in `fallen_from`. A stopped parent leaves them waiting.
//! 7. **Requests.** Cancelling a waiting, enqueued or stopped task takes effect at once. For a running task it sets a
//!    flag and a signal for its server; from then on every write that leaves `doing`, other than `Done`, ends in
//!    `cancelled`, including rescue and release: a flag is never lost. The same holds for stop and `stopped` (cancel
//!    takes precedence over stop). A success that was written first takes precedence over both.
//! 8. **Counters.** Claim: attempt + 1. `Failed`, `Retry`: failures + 1. Rescue: lost + 1, or crashes + 1 if the task
//!    ran alone; `Crashed`: crashes + 1. `alone` is set from the third loss, after the death of a worker that ran other
//!    tasks too, and after a crash. The third crash makes a dead letter (`WorkerDied`); with `at_most_once` the first
//!    crash or loss does. `Lost`: lost + 1, as a rescue of a task that does not run alone. `Released`, `Parked`:
//!    attempt - 1, nothing else (never started). `CutShort` (a started body was ended through no fault of its own): the
//!    same, but with `at_most_once` a dead letter, with its attempt counted. `Snooze`: no counter.
//! 9. **History.** An attempt that ended without ending the task is stored as a row of its own; the last one is part of
//!    the task's row. Released and parked attempts leave none.
//! 10. **Manual retry** (from failed, cancelled, stopped): same row, same id; failures, lost, crashes and `alone` are
//!     reset, token, result and error cleared, attempt unchanged. The task becomes enqueued, or waiting if a parent is
//!     unfinished. Descendants with `fallen_from` = this task go back to waiting. A retry waits for a cascade in
//!     progress. A task whose unique key is held by another task is not made runnable in any way: its retry is refused
//!     with the holder's id; a descendant keeps its state, loses its `fallen_from`, and its error says so
//!     (`UniqueKeyHeld`); a parked task that has lost its key to another task (hold until started) stays parked. A task
//!     made runnable takes its key again; a key held for a time since the addition is only checked. An edit changes
//!     payload, queue, priority or retries of such a task and nothing else: its state stays the same.
//! 11. **Nothing is deleted** except by retention, auto_remove, and an explicit purge. A retention by number deletes
//!     the oldest first, and nothing that ended within the last [`AUTO_REMOVE_AFTER`].
//! 12. **Schedules.** Every write of a schedule's row increments its `version`. A plan is written as one [`Tick`],
//!     which applies only if the version is the one it was made on, in one transaction with the tasks that it adds:
//!     each time of a schedule is decided once, by however many servers. A row that was changed otherwise is not
//!     `planned` and is due at once.
//! 13. **Dead letters.** Hooks are called once for each time that a task becomes a dead letter: a server takes dead
//!     letters that have not been delivered, no other server gets them while it is alive, and it records the delivery
//!     afterwards. If it dies in between, hooks are called twice. A dead letter older than [`DEATH_TOLD_WITHIN`] is no
//!     longer delivered; a retry withdraws it.
//! 14. **Unknown additions.** Every attempt to add a batch has an id of its own. If its outcome is unknown, the client
//!     queries it by that id. The reply is final: if nothing of the batch is stored, the id is first marked as refused,
//!     and a statement that arrives later stores nothing. A statement that is being executed is waited for. Marks are
//!     deleted after [`REFUSED_KEPT`].
//! 15. **Encodings.** Each task's row records whether its payload, its first context and its result are in the Python
//!     client's encoding, in which type tags are values, or plain JSON, in which tags are data. The client that encoded
//!     a part declares it when it adds or edits the task; every other addition is plain. A context written by the body
//!     is in the encoding of its language, and so is its result, unless `complete_in` was given JSON. Rows from before
//!     this column count as encoded. A task added by a database role that may only add is restricted.
//! 16. **Ends set aside.** The end of an attempt that the row of its task does not accept, while the database accepts
//!     other writes (a trigger, a revoked right), can be set aside: fenced, with its reason, in a row of its own. While
//!     that row has the task's token, the task stays `doing`: no rescue frees it, its server may leave, it does not
//!     count against a limit, and its children are not notified. Any server retries such an end by [`Store::finish`];
//!     after a reply the row is deleted. A token that no longer matches (the task was removed or edited by hand) gives
//!     `Lost`.
//! 17. **Claims of a server** are valid only where both sides agree. A crash of the database may lose writes whose
//!     commits did not wait for the disk: claims do not wait unless one of their tasks may run only once, and with
//!     `synchronous_commit = off` neither do ends. A server periodically compares its claims with the rows of its
//!     claims and their tasks ([`Store::claims_held`]), a bounded number at a time. A task that runs according to its
//!     row but not in the server, twice in a row with no claim in progress in between, is ended as [`Outcome::Lost`]
//!     under the row's token. An attempt that runs in the server but in no row is interrupted, and its writes are
//!     refused.
//! 18. **Kinds.** A server registers its builds, one per runtime; all servers of a build support the same kinds. A
//!     server that claimed a task of a kind it does not support ends it as [`Outcome::Refused`]: its build has refused
//!     the kind, and claims no task of it once the task is in the group of its kind. A group is a part of the runnable
//!     range for the kinds that one set of builds refused. A claim reads the groups whose set does not contain its
//!     build, merged in the order of rule 4. Only builds without any server are removed from a set, so no task is
//!     hidden from a build that has not refused its kind. A refused task is parked only if every build with a server
//!     for its runtime and queue has refused its kind; a server that registers no build has refused nothing. A task in
//!     the wrong group (enqueued before its kind was refused) is moved by [`Store::regroup`], or by the end of the next
//!     claim that refuses it.

mod ends;
mod filter;
mod messages;
mod rows;
mod serves;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use ends::{EndAside, OutcomeColumns};
pub use filter::TaskFilter;
pub use messages::*;
pub use rows::{Rows, begins_reading};
pub use serves::{ParkedReason, RegroupReport, Serves};
pub use snapshot::{EndedAttempt, SnapshotRequest, TaskSnapshot};

use crate::notifications::Notifications;
use crate::schedule::{DueSchedule, NewSchedule, OnConflict, ScheduleLook, ScheduleRun, Tick};
use crate::state::Runtime;
use crate::task::{Attempt, NewTask, StoredLogLine, TaskRecord};
use crate::{AdditionId, ClaimId, Error, Rate, Result, ServerId, TaskId, Timestamp, Token};

/// Edges applied in the finishing transaction; the rest is left to a cascade row.
pub const CASCADE_INLINE_MAX: usize = 1_000;
/// Maximum number of rows that one maintenance statement changes, so that no lock is held long.
pub const STEP_ROWS_MAX: usize = 1_000;
/// Number of deaths of a worker that ran nothing else after which a task is a dead letter.
pub const CRASHES_MAX: u32 = 3;
/// Number of losses from which on a task runs alone.
pub const LOST_ALONE_MIN: u32 = 3;
/// Minimum time between the end of an auto-removed task and its removal.
pub const AUTO_REMOVE_AFTER: Duration = Duration::from_secs(60);

/// Retention of the mark of a refused addition: longer than any statement can be delayed.
pub const REFUSED_KEPT: Duration = Duration::from_secs(86_400);

/// Minimum of [`PromoteReport::next_start`], the time until a rate allows more starts.
pub const RATE_LOOK_MIN: Duration = Duration::from_millis(50);
/// Minimum time until [`Store::promote`] asks to be called again for an expiry.
pub const EXPIRY_LOOK_MIN: Duration = Duration::from_millis(100);
/// Maximum age of a dead letter that is delivered to hooks.
pub const DEATH_TOLD_WITHIN: Duration = Duration::from_secs(86_400);

/// A database that stores tasks. All methods may be called from any number of processes at once.
///
/// # Errors
/// Any asynchronous method can fail with [`Error::Connection`], [`Error::Locked`], [`Error::Refused`], [`Error::Full`],
/// [`Error::NotStorable`], [`Error::DatabaseFault`] or [`Error::Database`], as the database reports it, and with
/// [`Error::ShutDown`] after [`Store::close`]. Methods document only further errors.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Returns `sqlite` or `postgresql`, for messages.
    fn backend(&self) -> &'static str;

    /// Returns the address without its password, for messages.
    fn address(&self) -> String;

    /// Returns the notifications of this store's own commits and of other processes' commits.
    fn notifications(&self) -> &Notifications;

    /// Returns whether commits of other processes currently cause notifications. If not, waiters must poll more often.
    fn hears_others(&self) -> bool;

    /// Returns the error if this store can never be used again: its file is not the one that was opened
    /// ([`crate::Error::is_permanent`]). Costs at most one lookup of the file's name, so that an open wait or an idle
    /// server can call it every second.
    fn lost(&self) -> Option<Error> {
        None
    }

    // ── schema and clock ─────────────────────────────────────────────────────────────────────────────────────────

    /// Migrates the schema to this program's version; does nothing if it is current. Safe to call concurrently.
    async fn migrate(&self) -> Result<MigrationReport>;

    /// Returns the schema's version and this program's.
    async fn schema(&self) -> Result<SchemaStatus>;

    /// Returns the database's time.
    async fn now(&self) -> Result<Timestamp>;

    /// For tests: moves, freezes or resets the clock of every process that uses this database.
    async fn set_clock(&self, clock: TestClock) -> Result<()>;

    // ── adding and reading ───────────────────────────────────────────────────────────────────────────────────────

    /// Adds all of the tasks or none, in this order. Parents may be in the same batch. The caller has called
    /// [`crate::graph::check_cycles`].
    ///
    /// Returns one entry per task. A task whose unique key is held is not added; its entry names the existing task,
    /// which also replaces it as a parent of others in the batch.
    ///
    /// # Errors
    /// [`Error::UnknownParent`] and [`Error::DuplicateId`]; nothing was added. After a transient error the outcome is
    /// unknown until [`Store::added`] returns.
    async fn add_batch(&self, request: AddRequest<'_>) -> Result<Vec<Added>>;

    /// [`Store::add_batch`] with a lock timeout: if other transactions hold a required lock longer than `lock_wait`, it
    /// fails with [`Error::Locked`], and nothing was added. [`Store::add_batch`] itself waits for one second. The
    /// default implementation ignores the timeout, for stores that do not lock parts of the database.
    async fn add_batch_within(&self, request: AddRequest<'_>, lock_wait: Duration) -> Result<Vec<Added>> {
        let _ = lock_wait;
        self.add_batch(request).await
    }

    /// Calls [`Store::add_batch`] with a new addition id.
    async fn add(&self, batch: &[NewTask]) -> Result<Vec<Added>> {
        self.add_batch(AddRequest::new(batch)).await
    }

    /// Decides an addition whose outcome is unknown: returns which of its tasks are stored, in their order. If none is,
    /// the addition is refused, and stores nothing if its statement arrives later.
    async fn added(&self, addition: AdditionId, ids: &[TaskId]) -> Result<Vec<bool>>;

    /// Returns the records of these tasks, in their order; `None` for unknown ids.
    async fn get(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>>;

    /// Returns whether these tasks exist, in their order.
    async fn present(&self, ids: &[TaskId]) -> Result<Vec<bool>>;

    /// Returns one page of tasks.
    async fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>>;

    /// Returns those of these tasks that are in a final state, with the data that `wait()` needs.
    async fn finals(&self, ids: &[TaskId]) -> Result<Vec<Final>>;

    /// Returns all attempts of a task, oldest first, including the running or last one.
    async fn attempts(&self, id: TaskId) -> Result<Vec<Attempt>>;

    /// Returns the context's JSON object, empty if the task has none; `None` if there is no such task.
    async fn context(&self, id: TaskId) -> Result<Option<Vec<u8>>>;

    /// Returns up to `limit` log lines after a sequence number, oldest first.
    async fn logs(&self, id: TaskId, after: i64, limit: usize) -> Result<Vec<StoredLogLine>>;

    /// Returns the parents' ids, states and results, in the order in which the parents were given.
    async fn parent_results(&self, id: TaskId) -> Result<Vec<ParentResult>>;

    /// Returns the size of each of these results (4 bytes, `null`, if there is none), without reading them.
    async fn parent_sizes(&self, id: TaskId) -> Result<Vec<(TaskId, usize)>>;

    /// Returns up to `limit` children of a task.
    async fn children(&self, id: TaskId, limit: usize) -> Result<Vec<TaskId>>;

    // ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Returns the current snapshots of these tasks, in their order; `None` for unknown ids. One query for any number
    /// of tasks, because watchers repeat it often.
    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>>;

    // ── manual control ───────────────────────────────────────────────────────────────────────────────────────────

    /// Cancels each of these tasks, or requests it from its server. The reason is stored in the record until a retry.
    async fn cancel_because(&self, ids: &[TaskId], reason: Option<&str>) -> Result<Vec<ControlReply>>;

    /// Cancels these tasks without a reason.
    async fn cancel(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.cancel_because(ids, None).await
    }

    /// Requests the servers to stop these running tasks; refused for tasks that do not run.
    async fn stop(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>>;

    /// Retries these failed, cancelled or stopped tasks; refused for any other, and for a task whose unique key is held
    /// by another task.
    async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>>;

    /// Changes the priority of these tasks if they wait or are enqueued; refused for any other. Enqueued tasks move to
    /// their position among the tasks of the new priority, by their order number.
    async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>>;

    /// Changes a failed, cancelled or stopped task, whose state stays the same; refused for any other.
    ///
    /// # Errors
    /// [`Error::EditedMeanwhile`] if its payload is not [`NewPayload::seen`]; nothing was changed.
    async fn edit(&self, id: TaskId, edit: &TaskEdit) -> Result<ControlReply>;

    /// Returns the number of tasks that match a filter, ignoring its limit and page.
    async fn count(&self, filter: &TaskFilter) -> Result<u64>;

    /// Returns the ids of up to `limit` tasks that match a bulk command's filter, in id order after `after`.
    async fn select(&self, filter: &TaskFilter, after: Option<TaskId>, limit: usize) -> Result<Vec<TaskId>>;

    /// Deletes these tasks if they and their children are final. Returns the number deleted.
    async fn purge(&self, ids: &[TaskId]) -> Result<usize>;

    // ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Returns all queues that have a row or tasks, with their statistics.
    async fn queues(&self) -> Result<Vec<QueueStatus>>;

    /// Pauses or resumes a queue (created if new). Persistent, and in force for every claim after the call.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()>;

    /// Limits how many tasks of a queue run at once over all servers; `None` removes the limit.
    async fn set_limit(&self, queue: &str, running_max: Option<u32>) -> Result<()>;

    /// Limits how many tasks of a queue start per period over all servers (created if new); `None` removes the limit.
    /// Starts under the previous rate count, as far as the new period covers them.
    async fn set_rate(&self, queue: &str, rate: Option<Rate>) -> Result<()>;

    /// Promotes a queue's enqueued tasks by one priority each time that they have been enqueued for `every` (created if
    /// new). `None` ends this and resets promoted tasks. The time counts from when a task became runnable or, for tasks
    /// that are runnable already, from this call.
    async fn set_ageing(&self, queue: &str, every: Option<Duration>) -> Result<()>;

    /// Sets these queues apart permanently (created if new): each gets a partition of its own, so that the claims of a
    /// server that serves only these queues read nothing else. Works in bounded steps. A server that serves only some
    /// queues calls it while `more`, and periodically afterwards: an addition in progress may still have reached the
    /// common range.
    async fn set_apart(&self, queues: &[String]) -> Result<StepReport>;

    /// Returns tasks by state, the oldest enqueued task, and servers, as shown by `queue status`.
    async fn status(&self) -> Result<StoreStatus>;

    /// Tests whether a task could be added now, without leaving anything behind.
    ///
    /// # Errors
    /// [`Error::Full`] without space, [`Error::Refused`] for a role that may not add.
    async fn check_writes(&self) -> Result<()>;

    // ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Stores a schedule for which [`NewSchedule::check`] was called. Returns whether one of that name existed.
    ///
    /// # Errors
    /// [`Error::DuplicateSchedule`] under [`OnConflict::Refuse`].
    async fn schedule_put(&self, schedule: &NewSchedule, on_conflict: OnConflict) -> Result<SchedulePut>;

    /// Returns up to `limit` schedules by name, after `after`, each with its open runs.
    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<DueSchedule>>;

    /// Returns a schedule with its open runs; `None` if there is no such schedule.
    async fn schedule(&self, name: &str) -> Result<Option<DueSchedule>>;

    /// Deletes a schedule with its history; its tasks stay. Returns whether it existed.
    async fn schedule_remove(&self, name: &str) -> Result<bool>;

    /// Pauses or resumes a schedule; times that pass meanwhile are ignored. Returns whether it exists.
    async fn schedule_set_paused(&self, name: &str, paused: bool) -> Result<bool>;

    /// Returns up to `limit` rows of the history of a schedule, newest first, below the sequence number `before`.
    async fn schedule_runs(&self, name: &str, before: Option<i64>, limit: usize) -> Result<Vec<ScheduleRun>>;

    /// Returns schedules that need a decision: their time has come, their row changed, or one of their runs ended.
    async fn schedule_look(&self, limit: usize) -> Result<ScheduleLook>;

    /// Writes the decisions of at most one tick per schedule. Returns for each tick `None` if it did not apply,
    /// otherwise the ids of its tasks in the order of [`Tick::tasks`]. A task whose unique key is held is not added,
    /// and the holder's id is returned in its place.
    async fn schedule_tick(&self, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>>;

    // ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Registers a server with its first lease.
    async fn server_enter(&self, server: &NewServer) -> Result<()>;

    /// Renews the lease and returns pending requests. `dead` is set if another server declared this one dead.
    async fn server_beat(&self, beat: &Beat) -> Result<BeatReply>;

    /// Replaces what a server can run, which [`NewServer::serves`] declared on entry.
    async fn server_serves(&self, server: ServerId, serves: &Serves) -> Result<()>;

    /// Returns whether the server's build has refused this kind.
    async fn has_refused(&self, server: ServerId, runtime: Runtime, kind: &str) -> Result<bool>;

    /// Removes the server, which holds no task any more.
    async fn server_leave(&self, server: ServerId) -> Result<()>;

    /// Returns all servers that are alive or died within the last day.
    async fn servers(&self) -> Result<Vec<ServerRecord>>;

    // ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Claims up to `limit` tasks that are runnable now, in order. Returns no tasks and sets `dead` if the server's
    /// lease has expired.
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply>;

    /// Returns the tasks of a claim whose reply was lost. If it claimed nothing, it never will, even if its statement
    /// arrives later.
    async fn claimed(&self, server: ServerId, claim: ClaimId) -> Result<Vec<Claimed>>;

    /// Returns the tasks of these claims that run according to their rows, without ends that are set aside, and a page
    /// of the server's claims after `after` that hold tasks. The cost is bounded by the request.
    async fn claims_held(&self, server: ServerId, claims: &[ClaimId], after: Option<ClaimId>) -> Result<ClaimsHeld>;

    /// Ends attempts, fenced; one reply each, in order. `closed` names claims without any running task; they stay open
    /// if any reply is [`WriteReply::Locked`].
    async fn finish(&self, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>>;

    /// Sets the end of an attempt aside, fenced, without its log lines. Returns `Applied(Doing)` on success, otherwise
    /// a reply as [`Store::finish`]. Repeating it replaces end and reason.
    async fn end_set_aside(&self, finish: &Finish, reason: &str) -> Result<WriteReply>;

    /// Returns up to `limit` ends that are set aside, by task id, after `after`; or only those of `tasks`.
    async fn ends_aside(&self, tasks: Option<&[TaskId]>, after: Option<TaskId>, limit: usize) -> Result<Vec<EndAside>>;

    /// Removes an end that was set aside, after [`Store::finish`] has replied to it.
    async fn end_aside_settled(&self, task: TaskId, token: Token) -> Result<()>;

    /// Records how many ends a server holds because the database refuses them, and the database's reason.
    async fn server_holds(&self, server: ServerId, ends: u32, reason: Option<&str>) -> Result<()>;

    /// Writes context and logs of running attempts, fenced; one reply each, in order.
    async fn record(&self, batch: &[Record]) -> Result<Vec<WriteReply>>;

    // ── upkeep: any server, in steps of at most STEP_ROWS_MAX rows; call again while `more` ──────────────────────

    /// Processes what is due: enqueues tasks whose start time or backoff has passed, cancels expired tasks, and deletes
    /// auto-removed ones. Returns when the next one is due.
    async fn promote(&self) -> Result<PromoteReport>;

    /// Returns servers whose lease has expired, or all with their heartbeat counters, for the rescuer to observe.
    async fn beats(&self) -> Result<Vec<BeatSeen>>;

    /// Declares a server dead if its heartbeat counter is still `beat` and its lease has expired (or `overdue`: the
    /// caller saw an unchanged counter for longer than a lease on its own clock), and frees up to STEP_ROWS_MAX of its
    /// tasks in one atomic statement.
    async fn rescue(&self, server: ServerId, beat: i64, overdue: bool) -> Result<StepReport>;

    /// Processes cascade rows.
    async fn cascade(&self) -> Result<StepReport>;

    /// Settles children that were added in callers' transactions.
    async fn settle(&self) -> Result<StepReport>;

    /// Returns the distinct reasons for which tasks of a runtime are parked.
    async fn parked(&self, runtime: Runtime) -> Result<Vec<ParkedReason>>;

    /// Releases tasks parked for a reason, except those whose unique key is held by another task.
    async fn unpark(&self, runtime: Runtime, reason: &str) -> Result<StepReport>;

    /// Takes dead letters for delivery to hooks, the oldest first, including those that this server took before and has
    /// not reported on. Returns none for a server that was declared dead.
    async fn dead_take(&self, request: &DeadTake) -> Result<Vec<TaskId>>;

    /// Records that hooks were called (`told`) for dead letters that this server took, or releases them to other
    /// servers. Returns for how many it was still the taker.
    async fn dead_told(&self, server: ServerId, ids: &[TaskId], told: bool) -> Result<usize>;

    /// Deletes finished tasks older than the retention; resumes where the last call stopped.
    async fn prune(&self, retention: &Retention) -> Result<StepReport>;

    /// Deletes finished tasks beyond the numbers of the retention, the oldest first: dead letters by when they died,
    /// done tasks in the order in which they were added. Keeps those that ended within the last [`AUTO_REMOVE_AFTER`].
    async fn prune_surplus(&self, retention: &Retention) -> Result<StepReport>;

    /// Returns whether tasks may be missing from the runnable range. PostgreSQL: a sample contains some, or the tables
    /// are not those of the last comparison (a restored dump). SQLite: more tasks are counted as enqueued than are in
    /// the range.
    async fn ranges_suspect(&self) -> Result<bool>;

    /// Compares up to `limit` tasks after `after`, in id order, with the runnable range, and inserts missing ones if
    /// `repair`. A complete repair clears [`Store::ranges_suspect`].
    async fn compare_ranges(&self, after: Option<TaskId>, limit: usize, repair: bool) -> Result<RangeReport>;

    /// Performs one step of maintaining the groups of kinds: moves runnable tasks to the groups of their kinds, parks
    /// tasks whose kind every live build has refused, and removes builds without a server for a minute.
    async fn regroup(&self) -> Result<RegroupReport>;

    /// Promotes tasks that have been enqueued long enough in an ageing queue.
    async fn age(&self) -> Result<AgeReport>;

    /// Runs one read-only SQL statement for a user and returns at most `limit` rows.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a statement that writes or for several statements; [`Error::Database`] with the
    /// database's message.
    async fn query(&self, sql: &str, limit: usize) -> Result<Rows> {
        let _ = (sql, limit);
        Err(crate::Error::Database("this store does not support queries".into()))
    }

    /// Returns the statement that adds a task in the caller's transaction on this database.
    ///
    /// # Errors
    /// [`Error::Refused`] if applications cannot write to this database in their own transactions.
    fn enqueue_statement(&self, task: &crate::NewTask) -> Result<crate::Statement> {
        let _ = task;
        let why = "this queue is in an SQLite file, which only Taskyard writes to: adding tasks in your own transaction needs a \
                   queue in PostgreSQL";
        Err(crate::Error::Refused(why.into()))
    }

    /// Flushes, and closes the connections; later calls fail with [`Error::ShutDown`].
    async fn close(&self);

    /// Returns a store of the same database with its own connections, for a runtime other than the one in which this
    /// store was opened; `None` if this store works in any runtime.
    fn detached(&self) -> Option<Arc<dyn Store>> {
        None
    }
}
