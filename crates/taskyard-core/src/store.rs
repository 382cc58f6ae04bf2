//! The seam: what every database must be able to do, and the protocol it keeps.
//!
//! # Who decides what
//! A store keeps rows and transitions; it knows states, tokens, parents and times, but no policy: whether a failure is
//! retried and after what pause is decided by the server, which knows the error, and is written as an [`Outcome`].
//!
//! # What must always hold
//! 1. **Time** is the database's, through the clock function, whose offset (or frozen instant) tests can set.
//! 2. **Fencing.** Every write of a running attempt applies only `where id and state = 'doing' and token`; it answers
//!    applied, already applied (the row still carries the token but has left `doing`), or lost. The token stays on the
//!    row until the next claim, a rescue, or a retry by a person clears it. The attempt number is for people only.
//! 3. **Batches are atomic**; a batch of fenced writes applies each of its items or reports it lost. An item that needs what
//!    somebody else's transaction holds locked is reported as such, within a second, and the others are applied.
//! 4. **Ready range.** A claim reads rows that are runnable now and nothing else. Blocked, future, parked and finished
//!    tasks are not in that range. Order: priority descending, then the order number from the database's sequence,
//!    which a task keeps for life (a retried or rescued one is older, so it comes first).
//!    A person may change the priority of a task that waits or is enqueued; its place follows at once. In a queue that
//!    ages, an enqueued task moves up by one priority each time that it has stood there for so long, up to the highest;
//!    its record keeps the priority that it was given, and what leaves the range has aged no more.
//!    The range can be made anew from the tasks at any time (a restored dump may lack rows of it): each task is looked at
//!    again under its lock, so that none stands there twice.
//! 5. **Lanes.** Tasks of a queue that is paused, limited (in how many run at once, or start in some time) or set apart, and
//!    tasks that must run alone, are not in the common range. A claim takes from a limited queue what its limits allow of at
//!    its commit; a rate ([`Rate`]) is spent by the claim, whatever becomes of it.
//! 6. **Parents.** A batch of new tasks locks the parents it names in id order, then looks at their states. The
//!    finishing transaction applies up to [`CASCADE_INLINE_MAX`] edges; what is more is left in a durable cascade row
//!    that any server works off. An edge is open until its parent is done (or fell and the child's policy is `run`).
//!    A parent that fails or is cancelled takes its waiting children with policy `fail` along (failed under failed with
//!    `ParentTaskFailed`, cancelled under cancelled), and theirs in turn, each naming the first ancestor in
//!    `fallen_from`. A stopped parent leaves them waiting.
//! 7. **Requests.** Cancel of a waiting, enqueued or stopped task is immediate. Of a running one it sets a flag and a
//!    signal for its server; from then on every write that leaves `doing` other than `Done` ends in `cancelled`,
//!    rescue and release included: a flag is never lost. The same for stop and `stopped` (cancel wins over stop).
//!    A success that was written first wins over both.
//! 8. **Counters.** claim: attempt + 1. `Failed`, `Retry`: failures + 1. Rescue: lost + 1, or crashes + 1 if it was
//!    running alone; `Crashed`: crashes + 1; `alone` is set from the third lost, after a death beside others, and after
//!    a crash. The third crash is a dead letter (`WorkerDied`); with `at_most_once` the first crash or loss is.
//!    `Lost`: lost + 1, as a rescue does to one that does not run alone.
//!    `Released`, `Parked`: attempt - 1, nothing else (never started). `CutShort` (a body that had begun was ended for no
//!    fault of its own): the same, but with `at_most_once` a dead letter, its attempt counted. `Snooze`: no counter.
//! 9. **History.** An attempt that ended without ending the task is kept as a row of its own; the last one lives in the
//!    task's row. Released and parked ones leave none.
//! 10. **Retry by a person** (from failed, cancelled, stopped): same row, same id; failures, lost, crashes and `alone`
//!     back to zero, token, result and error cleared, attempt kept; enqueued, or waiting if a parent is still
//!     unfinished. Descendants with `fallen_from` = it go back to waiting. It waits for a cascade in progress.
//!     A task whose unique key another task holds is not brought back, by whatever way: the retry of that task is refused
//!     with the holder's id; a descendant stays as it is, loses its `fallen_from`, and its error says so (`UniqueKeyHeld`);
//!     a parked one that has lost its key to another task (hold until started) stays parked. One that is brought back
//!     takes its key again; one held for a time since the addition is only looked at.
//!     An edit changes payload, queue, priority or retries of such a task, and nothing else of it: it stays in its state.
//! 11. **Nothing is deleted** but by retention, auto_remove, and a purge that someone asked for. A retention by number
//!     takes the oldest first, and nothing that ended within the last [`AUTO_REMOVE_AFTER`].
//! 12. **Schedules.** Every write of a schedule's row raises its `version`. Whoever plans it writes all that he decided as
//!     one [`Tick`], which applies only where the version is the one that he saw, in one transaction with the tasks that it
//!     adds: each time of a schedule is decided once, by however many servers. A row that changed otherwise is not
//!     `planned` and is due at once.
//! 13. **Deaths.** Each time that a task becomes a dead letter, hooks are told of it once: a server takes what nobody was told
//!     of, which nobody else then gets while that server lives, and says afterwards that it was told. Twice, if it dies in
//!     between. What died longer ago than [`DEATH_TOLD_WITHIN`] is told no more; a retry makes the letter vanish.
//! 14. **Unknown additions.** Every try to add a batch has an id of its own. When its outcome is unknown, the client asks for
//!     it by that id. The answer is final: if nothing of the batch is stored, the id is marked as refused before the answer,
//!     and a statement that arrives later stores nothing. A statement that is being executed is waited for. Marks are
//!     deleted after [`REFUSED_KEPT`].
//! 15. **Encodings.** Each task's row says whether its payload, its first context and its result are in the Python
//!     client's encoding, whose type tags are values, or plain JSON, in which tags are data. The client that encoded a part
//!     says so when it adds or edits it; every other addition is plain. A body's own context is in the encoding of its
//!     language, and its result too, unless `complete_in` was given JSON. Rows from before count as encoded. A task that a
//!     database role added which may only add is restricted.
//! 16. **Ends aside.** The end of an attempt that the row of its task does not take, while the database takes others (a
//!     trigger, a right that was revoked), can be set aside: under the fence, with its reason, in a row of its own. While
//!     that row shows the task's token, the task stays `doing`: no rescue frees it, its server may leave, it has no place
//!     in a limit, and nothing is told to its children. Any server tries such an end again by [`Store::finish`]; once it
//!     was answered the row goes. A token that fits no more (the task was removed or edited by hand) is answered `Lost`.
//! 17. **What a server holds** is what both sides say. A crash of the database may forget writes whose commits did not wait
//!     for the disk: claims do not, unless one of their tasks may run only once, and with `synchronous_commit = off` ends
//!     do not, either. A server compares the claims that it knows with the rows of its claims and their tasks
//!     ([`Store::claims_held`]), again and again, a bounded number at a time. A task that runs by its row and that the server
//!     does not hold, twice in a row, with no claim under way in between, is ended as [`Outcome::Lost`] under the token that
//!     the row shows; an attempt that the server holds and that no row shows is interrupted, and what
//!     it writes is refused.
//! 18. **Kinds.** A server says which builds it is, one per runtime; all servers of a build know the same kinds. One that claimed
//!     a task of a kind that it does not know ends it as [`Outcome::Refused`]: its build has refused the kind, and claims no
//!     task of it again as soon as the task stands in the group of its kind. A group is a part of the runnable range for the
//!     kinds that one set of builds refused; a claim reads those groups whose set its build is not in, merged in the order of
//!     rule 4. A set only loses builds that have no server any more, so no task is hidden from a build that has not refused its
//!     kind. A refused task is parked only if every build that has a server for its runtime and queue has refused its kind; a
//!     server that does not say what it is has refused nothing. Where a task stands in the wrong group (it was there before its
//!     kind was refused), [`Store::regroup`] moves it, or the end of the next claim that refuses it.

mod ends;
mod filter;
mod glance;
mod messages;
mod rows;
mod serves;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use ends::{EndAside, OutcomeColumns};
pub use filter::TaskFilter;
pub use glance::{EndedAttempt, Glance, GlanceAt};
pub use messages::*;
pub use rows::{Rows, begins_reading};
pub use serves::{ParkedReason, RegroupReport, Serves};

use crate::schedule::{DueSchedule, NewSchedule, OnConflict, ScheduleLook, ScheduleRun, Tick};
use crate::state::Runtime;
use crate::task::{Attempt, NewTask, StoredLogLine, TaskRecord};
use crate::wake::Bells;
use crate::{AdditionId, ClaimId, Error, Rate, Result, ServerId, TaskId, Timestamp, Token};

/// Edges applied inside the finishing transaction; beyond that a cascade row carries on.
pub const CASCADE_INLINE_MAX: usize = 1_000;
/// Rows one maintenance statement touches at most, so that no lock is held long.
pub const STEP_ROWS_MAX: usize = 1_000;
/// Deaths of a worker that ran nothing else that make a dead letter.
pub const CRASHES_MAX: u32 = 3;
/// Losses from which a task runs alone.
pub const LOST_ALONE_MIN: u32 = 3;
/// The shortest time between the end of an auto-removed task and its removal.
pub const AUTO_REMOVE_AFTER: Duration = Duration::from_secs(60);

/// How long the mark of a refused addition is kept: longer than any statement may be on its way.
pub const REFUSED_KEPT: Duration = Duration::from_secs(86_400);

/// The shortest time after which [`Store::promote`] says to look again for what a rate allows of.
pub const RATE_LOOK_MIN: Duration = Duration::from_millis(50);
/// The shortest time after which [`Store::promote`] says to look again for what expires.
pub const EXPIRY_LOOK_MIN: Duration = Duration::from_millis(100);
/// How long after its death hooks are told of a dead letter at the latest.
pub const DEATH_TOLD_WITHIN: Duration = Duration::from_secs(86_400);

/// A database that keeps tasks. All methods may be called from any number of processes at once.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// `sqlite` or `postgresql`, for messages.
    fn backend(&self) -> &'static str;

    /// The address without its password, for messages.
    fn address(&self) -> String;

    /// Rings when this store commits something of interest, or hears that another process did.
    fn bells(&self) -> &Bells;

    /// Whether another process's commits ring the bells now; while not, whoever waits must poll more often.
    fn hears_others(&self) -> bool;

    /// Why this store can never be used again, once that is so: its file is not the one that was opened
    /// ([`crate::Error::is_permanent`]). Costs a look at the file's name at most, so that a wait that is open, or a server at
    /// rest, may ask every second.
    fn lost(&self) -> Option<Error> {
        None
    }

    // ── schema and clock ─────────────────────────────────────────────────────────────────────────────────────────

    /// Brings the schema to this program's version; a no-op if it is there. One winner among many.
    async fn migrate(&self) -> Result<MigrationReport>;

    /// The schema's version and this program's.
    async fn schema(&self) -> Result<SchemaStatus>;

    /// The database's time.
    async fn now(&self) -> Result<Timestamp>;

    /// For tests: moves, freezes or resets the clock of every process on this database.
    async fn set_clock(&self, clock: TestClock) -> Result<()>;

    // ── adding and asking ────────────────────────────────────────────────────────────────────────────────────────

    /// Adds all or none, in this order. Parents may be of the same batch. [`crate::graph::check_cycles`] was called.
    ///
    /// The answer has one entry per task. A task with a unique key that is held is not added; its entry names the
    /// existing one, which also stands in for it as a parent of others in the batch.
    ///
    /// # Errors
    /// `UnknownParent`, `DuplicateId` (nothing was added), or the database's. After a transient error the outcome is
    /// unknown until [`Store::added`] has answered.
    async fn add_batch(&self, request: AddRequest<'_>) -> Result<Vec<Added>>;

    /// [`Store::add_batch`] with a limit for locks: if other transactions hold what it needs locked for longer, it is answered
    /// `Locked`, and nothing was added. Without such a limit that is so after a second. A store without locks of its own on
    /// parts of the database needs none.
    async fn add_batch_within(&self, request: AddRequest<'_>, lock_wait: Duration) -> Result<Vec<Added>> {
        let _ = lock_wait;
        self.add_batch(request).await
    }

    /// [`Store::add_batch`] under a new id.
    async fn add(&self, batch: &[NewTask]) -> Result<Vec<Added>> {
        self.add_batch(AddRequest::new(batch)).await
    }

    /// Decides an addition whose outcome is unknown: which of its tasks are stored, in their order. If none is, the
    /// addition is refused: should its statement arrive later, it stores nothing.
    async fn added(&self, addition: AdditionId, ids: &[TaskId]) -> Result<Vec<bool>>;

    /// The records of these tasks, in their order; `None` where there is none.
    async fn get(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>>;

    /// Whether these tasks are there, in their order.
    async fn present(&self, ids: &[TaskId]) -> Result<Vec<bool>>;

    /// One page of tasks.
    async fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>>;

    /// Of these tasks those that are in a final state, with what `wait()` needs.
    async fn finals(&self, ids: &[TaskId]) -> Result<Vec<Final>>;

    /// All attempts of a task, oldest first, the running or last one included.
    async fn attempts(&self, id: TaskId) -> Result<Vec<Attempt>>;

    /// The context's JSON object, empty if it has none; `None` if there is no such task.
    async fn context(&self, id: TaskId) -> Result<Option<Vec<u8>>>;

    /// Log lines after a sequence number, oldest first.
    async fn logs(&self, id: TaskId, after: i64, limit: usize) -> Result<Vec<StoredLogLine>>;

    /// The parents' ids, states and results, in the order in which the parents were given.
    async fn parent_results(&self, id: TaskId) -> Result<Vec<ParentResult>>;

    /// The size of each of these results (4 bytes, `null`, where there is none), without reading them.
    async fn parent_sizes(&self, id: TaskId) -> Result<Vec<(TaskId, usize)>>;

    /// The children of a task.
    async fn children(&self, id: TaskId, limit: usize) -> Result<Vec<TaskId>>;

    // ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Where these tasks are now, in their order; `None` where there is none. One look for any number of them: whoever
    /// watches asks again and again.
    async fn glance(&self, asked: &[GlanceAt]) -> Result<Vec<Option<Glance>>>;

    // ── control by people ────────────────────────────────────────────────────────────────────────────────────────

    /// Cancels each of these tasks, or asks its server to; why is kept in its record until it is retried.
    async fn cancel_because(&self, ids: &[TaskId], reason: Option<&str>) -> Result<Vec<ControlReply>>;

    /// The same for no reason.
    async fn cancel(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.cancel_because(ids, None).await
    }

    /// Asks the servers to stop these running tasks; refused for any that does not run.
    async fn stop(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>>;

    /// Retries these failed, cancelled or stopped tasks; refused for any other, and for one whose unique key another task
    /// holds.
    async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>>;

    /// Gives these tasks another priority if they wait or are enqueued; refused for any other. Those that are enqueued
    /// take their place among the tasks of that priority, by their order number.
    async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>>;

    /// Changes a failed, cancelled or stopped task, which stays what it is; refused for any other.
    ///
    /// # Errors
    /// `EditedMeanwhile` if its payload is not the one that the new one was made from; nothing was changed.
    async fn edit(&self, id: TaskId, edit: &TaskEdit) -> Result<ControlReply>;

    /// How many tasks a filter means; its limit and page do not count.
    async fn count(&self, filter: &TaskFilter) -> Result<u64>;

    /// The ids of up to `limit` tasks that a bulk command means, in id order after `after`.
    async fn select(&self, filter: &TaskFilter, after: Option<TaskId>, limit: usize) -> Result<Vec<TaskId>>;

    /// Deletes these tasks if they are final and their children are; answers how many.
    async fn purge(&self, ids: &[TaskId]) -> Result<usize>;

    // ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// All queues that have a row or tasks, with their figures.
    async fn queues(&self) -> Result<Vec<QueueStatus>>;

    /// Pauses or resumes a queue (made if new): persisted, in force for every claim after the call.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()>;

    /// Limits how many tasks of a queue run at once over all servers; `None` lifts it.
    async fn set_concurrency(&self, queue: &str, running_max: Option<u32>) -> Result<()>;

    /// Lets so many tasks of a queue start in some time over all servers (made if new); `None` lifts it. What was started under
    /// the rate before counts, as far as this one asks.
    async fn set_rate(&self, queue: &str, rate: Option<Rate>) -> Result<()>;

    /// Makes a queue's enqueued tasks move up by one priority each time that they have stood for `every` (made if new);
    /// `None` ends that, and what had moved up goes back. The time counts from when a task became runnable or, of those
    /// that were it already, from this call.
    async fn set_ageing(&self, queue: &str, every: Option<Duration>) -> Result<()>;

    /// Sets these queues apart for good (made if new): a lane of their own, so that the claims of a server that serves
    /// only them read nothing else. In bounded steps; a server that serves only some queues calls
    /// it while `more`, and again now and then: an addition that was under way may still have come to the common range.
    async fn set_apart(&self, queues: &[String]) -> Result<StepReport>;

    /// Tasks by state, the oldest enqueued, and servers: what `queue status` shows.
    async fn status(&self) -> Result<StoreStatus>;

    /// Tries whether a task could be added now, and leaves nothing behind. [`Full`](crate::Error::Full) without space, `Refused` for a
    /// role that may not add.
    async fn check_writes(&self) -> Result<()>;

    // ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Stores a schedule ([`NewSchedule::check`] was called); answers what there was of that name before.
    ///
    /// # Errors
    /// `DuplicateSchedule` under [`OnConflict::Refuse`].
    async fn schedule_put(&self, schedule: &NewSchedule, on_conflict: OnConflict) -> Result<SchedulePut>;

    /// Up to `limit` schedules in the order of their names, after `after`, each with its open runs.
    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<DueSchedule>>;

    /// One schedule with its open runs.
    async fn schedule(&self, name: &str) -> Result<Option<DueSchedule>>;

    /// Deletes a schedule with its history; its tasks stay. Whether it was there.
    async fn schedule_remove(&self, name: &str) -> Result<bool>;

    /// Pauses or resumes a schedule; times that pass meanwhile do not count. Whether it is there.
    async fn schedule_set_paused(&self, name: &str, paused: bool) -> Result<bool>;

    /// The history of a schedule, newest first, below a row's sequence number.
    async fn schedule_runs(&self, name: &str, before: Option<i64>, limit: usize) -> Result<Vec<ScheduleRun>>;

    /// Schedules that want something decided: their time has come, their row changed, or a run of theirs ended.
    async fn schedule_look(&self, limit: usize) -> Result<ScheduleLook>;

    /// Writes what was decided, of each schedule once; one answer each: `None` if it did not apply, else the ids of its
    /// tasks in the order of [`Tick::tasks`]. A task with a unique key that is held is not added, and the holder's id
    /// stands for it.
    async fn schedule_tick(&self, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>>;

    // ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Enters a server with a first lease.
    async fn server_enter(&self, server: &NewServer) -> Result<()>;

    /// Renews the lease and fetches requests. `dead` in the answer: another server declared this one dead.
    async fn server_beat(&self, beat: &Beat) -> Result<BeatReply>;

    /// Says anew what a server can run, which [`NewServer::serves`] said when it entered.
    async fn server_serves(&self, server: ServerId, serves: &Serves) -> Result<()>;

    /// Whether the build that a server is has refused this kind.
    async fn has_refused(&self, server: ServerId, runtime: Runtime, kind: &str) -> Result<bool>;

    /// Leaves: the server holds nothing any more.
    async fn server_leave(&self, server: ServerId) -> Result<()>;

    /// All servers that are alive, or died within the last day.
    async fn servers(&self) -> Result<Vec<ServerRecord>>;

    // ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Claims up to `limit` tasks that are runnable now, in order. An empty answer with `dead` set if the server's
    /// lease is over.
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply>;

    /// What a claim of this server whose reply was lost has claimed; empty if it did nothing, and it never will: should
    /// it arrive later, it claims nothing.
    async fn claimed(&self, server: ServerId, claim: ClaimId) -> Result<Vec<Claimed>>;

    /// What runs of these claims of a server, as the rows say, without ends that are set aside; and a page of claims after
    /// `after`, of which those of the server that hold something are named. Bounded by what is asked for.
    async fn claims_held(&self, server: ServerId, claims: &[ClaimId], after: Option<ClaimId>) -> Result<ClaimsHeld>;

    /// Ends attempts, fenced; one answer each, in order. `closed` names claims of which nothing runs any more; they stay open
    /// if any answer is [`WriteReply::Locked`].
    async fn finish(&self, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>>;

    /// Sets the end of an attempt aside, fenced, without its log lines: `Applied(Doing)` if it is, else as [`Store::finish`]
    /// answers. Doing it again replaces end and reason.
    async fn end_set_aside(&self, finish: &Finish, reason: &str) -> Result<WriteReply>;

    /// Up to `limit` ends that are set aside, in the order of their tasks' ids, after `after`; or only those of `tasks`.
    async fn ends_aside(&self, tasks: Option<&[TaskId]>, after: Option<TaskId>, limit: usize) -> Result<Vec<EndAside>>;

    /// The end of this attempt is set aside no more: it was answered.
    async fn end_aside_settled(&self, task: TaskId, token: Token) -> Result<()>;

    /// Notes how many ends a server holds that the database refuses, and what it says of them.
    async fn server_holds(&self, server: ServerId, ends: u32, reason: Option<&str>) -> Result<()>;

    /// Writes context and logs of running attempts, fenced; one answer each, in order.
    async fn record(&self, batch: &[Record]) -> Result<Vec<WriteReply>>;

    // ── upkeep: any server, in steps of at most STEP_ROWS_MAX rows; call again while `more` ──────────────────────

    /// Moves what has become due: start times and backoffs to enqueued, expired tasks to cancelled, auto-removed ones
    /// away. Says when the next start, end of a backoff or expiry is due.
    async fn promote(&self) -> Result<PromoteReport>;

    /// Servers whose lease is over, or all with their beat counters, for the rescuer to watch.
    async fn beats(&self) -> Result<Vec<BeatSeen>>;

    /// Declares a server dead if its beat counter is still this one and its lease is over (or `overdue`: the caller
    /// watched an unchanged counter for longer than a lease on its own clock), and frees up to STEP_ROWS_MAX of its
    /// tasks in one atomic statement.
    async fn rescue(&self, server: ServerId, beat: i64, overdue: bool) -> Result<StepReport>;

    /// Works off cascade rows.
    async fn cascade(&self) -> Result<StepReport>;

    /// Settles children that were added inside callers' transactions.
    async fn settle(&self) -> Result<StepReport>;

    /// The distinct reasons for which tasks of a runtime are parked.
    async fn parked(&self, runtime: Runtime) -> Result<Vec<ParkedReason>>;

    /// Releases tasks parked for a reason, but for those whose unique key another task holds.
    async fn unpark(&self, runtime: Runtime, reason: &str) -> Result<StepReport>;

    /// Takes dead letters that hooks are to be told of, those that died first; also those that this server took before and has
    /// not said anything of. None for a server that was declared dead.
    async fn dead_take(&self, request: &DeadTake) -> Result<Vec<TaskId>>;

    /// Of what this server took: hooks were told of it, or (not `told`) others may take it. How many it still was the taker of.
    async fn dead_told(&self, server: ServerId, ids: &[TaskId], told: bool) -> Result<usize>;

    /// Deletes finished tasks older than the retention; resumes where the last call stopped.
    async fn prune(&self, retention: &Retention) -> Result<StepReport>;

    /// Deletes finished tasks beyond the retention's numbers, the oldest first: dead letters by when they died, done tasks
    /// in the order in which they were added. None that ended within the last [`AUTO_REMOVE_AFTER`].
    async fn prune_surplus(&self, retention: &Retention) -> Result<StepReport>;

    /// Whether tasks may be missing from the runnable range. PostgreSQL: a sample shows some, or the tables are not those that
    /// were compared last (a restored dump). SQLite: more tasks are counted as enqueued than stand there.
    async fn ranges_suspect(&self) -> Result<bool>;

    /// Compares up to `limit` tasks after `after`, in id order, with the runnable range, and puts what is missing there if
    /// `repair`. A repair from the beginning to the end ends the suspicion.
    async fn compare_ranges(&self, after: Option<TaskId>, limit: usize, repair: bool) -> Result<RangeReport>;

    /// One step of keeping the groups of kinds: moves runnable tasks to the groups of their kinds, parks those that every live
    /// build has refused, and forgets builds that had no server for a minute.
    async fn regroup(&self) -> Result<RegroupReport>;

    /// Moves up what has stood long enough in a queue that ages.
    async fn age(&self) -> Result<AgeReport>;

    /// Runs one reading SQL statement for a person, and nothing that writes; at most `limit` rows.
    ///
    /// # Errors
    /// `InvalidArgument` for a statement that writes or for several; `Database` with what the database says of it.
    async fn query(&self, sql: &str, limit: usize) -> Result<Rows> {
        let _ = (sql, limit);
        Err(crate::Error::Database("this store does not support queries".into()))
    }

    /// The statement that adds a task in a transaction of the caller's on this database.
    ///
    /// # Errors
    /// `Refused` if applications cannot write to this database in a transaction of theirs.
    fn enqueue_statement(&self, task: &crate::NewTask) -> Result<crate::Statement> {
        let _ = task;
        let why = "this queue is in an SQLite file, which only Taskyard writes to: adding tasks in your own transaction needs a \
                   queue in PostgreSQL";
        Err(crate::Error::Refused(why.into()))
    }

    /// Flushes and closes connections; later calls fail with `ShutDown`.
    async fn close(&self);

    /// The same database over connections of its own, for a runtime other than the one that this store was opened in;
    /// `None` if this store works in any runtime.
    fn detached(&self) -> Option<Arc<dyn Store>> {
        None
    }
}
