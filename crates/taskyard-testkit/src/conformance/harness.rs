//! A store under test with short names for frequent operations of the cases. Operations that a case expects to be
//! refused or lost go to the store itself; those defined here must succeed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{
    BeatReply, BeatSeen, ClaimReply, ClaimRequest, Claimed, ControlReply, Finish, NewServer, Outcome, PromoteReport,
    Record, Serves, TestClock, WriteReply,
};
use taskyard_core::task::{Attempt, NewTask};
use taskyard_core::{Failure, ServerId, Store, TaskId, TaskRecord, TaskState, Timestamp, Token, WaitReason};

use crate::factory;

/// A store under test.
#[derive(Clone, Debug)]
pub struct Harness {
    /// The store itself.
    pub store: Arc<dyn Store>,
    frozen_at: Arc<Mutex<Option<Timestamp>>>,
}

impl Harness {
    /// Wraps a fresh, migrated store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, frozen_at: Arc::default() }
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Stops the database's clock at its current time.
    pub async fn freeze(&self) -> Timestamp {
        let now = self.store.now().await.expect("the clock can be read");
        self.set_time(now).await;
        now
    }

    /// Moves the stopped clock (stops it first if it runs).
    pub async fn advance(&self, by: Duration) -> Timestamp {
        let frozen_at = *self.frozen_at.lock().expect("no case panics while it holds this");
        let from = match frozen_at {
            Some(at) => at,
            None => self.freeze().await,
        };
        let to = from.checked_add(by).expect("cases stay within the calendar");
        self.set_time(to).await;
        to
    }

    async fn set_time(&self, at: Timestamp) {
        self.store.set_clock(TestClock::Frozen(at)).await.expect("the test clock can be set");
        *self.frozen_at.lock().expect("no case panics while it holds this") = Some(at);
    }

    // ── adding and reading ───────────────────────────────────────────────────────────────────────────────────────

    /// Adds one task that is new.
    pub async fn add(&self, task: NewTask) -> TaskId {
        self.add_all(&[task]).await[0]
    }

    /// Adds tasks that are all new, in one batch.
    pub async fn add_all(&self, batch: &[NewTask]) -> Vec<TaskId> {
        let added = self.store.add(batch).await.expect("the batch can be added");
        assert_eq!(added.len(), batch.len(), "one answer per task");
        for (answer, task) in added.iter().zip(batch) {
            assert_eq!((answer.id, answer.existing), (task.id, false));
        }
        factory::ids(batch)
    }

    /// Adds tasks in batches of 1,000: a chain, fan or join may be larger than one statement should be.
    pub async fn add_many(&self, batch: &[NewTask]) -> Vec<TaskId> {
        for part in batch.chunks(1_000) {
            self.add_all(part).await;
        }
        factory::ids(batch)
    }

    /// Returns the record of a task that exists.
    pub async fn record(&self, id: TaskId) -> TaskRecord {
        let mut records = self.store.get(&[id]).await.expect("tasks can be read");
        assert_eq!(records.len(), 1, "one answer per id");
        records.remove(0).unwrap_or_else(|| panic!("task {id} is not there"))
    }

    /// Returns whether the task exists.
    pub async fn exists(&self, id: TaskId) -> bool {
        self.store.get(&[id]).await.expect("tasks can be read")[0].is_some()
    }

    /// Returns the task's state.
    pub async fn state(&self, id: TaskId) -> TaskState {
        self.record(id).await.state
    }

    /// Returns how many of these tasks are in this state.
    pub async fn count(&self, ids: &[TaskId], state: TaskState) -> usize {
        let mut count = 0;
        for part in ids.chunks(1_000) {
            let records = self.store.get(part).await.expect("tasks can be read");
            count += records.iter().flatten().filter(|record| record.state == state).count();
        }
        count
    }

    /// Asserts that the task waits for this reason.
    pub async fn assert_waits(&self, id: TaskId, reason: WaitReason) {
        let record = self.record(id).await;
        assert_eq!((record.state, record.wait_reason), (TaskState::Waiting, Some(reason)));
    }

    /// Asserts the task's state.
    pub async fn assert_state(&self, id: TaskId, state: TaskState) {
        let record = self.record(id).await;
        assert_eq!(record.state, state, "{record:#?}");
    }

    /// Returns all attempts of a task.
    pub async fn attempts(&self, id: TaskId) -> Vec<Attempt> {
        self.store.attempts(id).await.expect("attempts can be read")
    }

    // ── control ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Cancels one task.
    pub async fn cancel(&self, id: TaskId) -> ControlReply {
        let replies = self.store.cancel(&[id]).await.expect("cancel answers");
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    /// Stops one task.
    pub async fn stop(&self, id: TaskId) -> ControlReply {
        let replies = self.store.stop(&[id]).await.expect("stop answers");
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    /// Retries one task.
    pub async fn retry(&self, id: TaskId) -> ControlReply {
        let replies = self.store.retry(&[id]).await.expect("retry answers");
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    // ── upkeep ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Promotes until nothing more is due; returns the sums, and the next due time of the last report.
    pub async fn promote(&self) -> PromoteReport {
        let mut sum = PromoteReport::default();
        for _ in 0..1_000 {
            let report = self.store.promote().await.expect("promote answers");
            sum.enqueued += report.enqueued;
            sum.expired += report.expired;
            sum.removed += report.removed;
            sum.freed |= report.freed;
            sum.next_due = report.next_due;
            sum.next_start = report.next_start;
            if !report.more {
                return sum;
            }
        }
        panic!("promote says `more` for ever");
    }

    /// Runs cascade steps until none is left; returns how many tasks they changed.
    pub async fn cascade(&self) -> usize {
        let mut sum = 0;
        for _ in 0..10_000 {
            let report = self.store.cascade().await.expect("cascade answers");
            sum += report.tasks;
            if !report.more {
                return sum;
            }
        }
        panic!("cascade says `more` for ever");
    }

    /// Returns the heartbeat of a server as a rescuer sees it.
    pub async fn beat_of(&self, server: ServerId) -> BeatSeen {
        let beats = self.store.beats().await.expect("beats can be read");
        *beats.iter().find(|beat| beat.server == server).expect("a server that holds tasks is watched")
    }

    /// Rescues a server's tasks until none is left; returns how many there were.
    pub async fn rescue(&self, server: ServerId) -> usize {
        let beat = self.beat_of(server).await.beat;
        let mut sum = 0;
        for _ in 0..1_000 {
            let report = self.store.rescue(server, beat, false).await.expect("rescue answers");
            assert!(report.tasks <= taskyard_core::store::STEP_ROWS_MAX, "a step is bounded");
            sum += report.tasks;
            if !report.more {
                return sum;
            }
        }
        panic!("rescue says `more` for ever");
    }

    /// Enters a server with a lease of 30 s that claims Rust tasks.
    pub async fn server(&self) -> TestServer {
        let server = factory::server();
        self.store.server_enter(&server).await.expect("a server can enter");
        TestServer { id: server.id, build: String::new(), store: Arc::clone(&self.store) }
    }

    /// Like [`Self::server`], with a build: this fingerprint for both runtimes.
    pub async fn server_of(&self, build: &str) -> TestServer {
        self.server_that(build, None).await
    }

    /// Like [`Self::server_of`], for these queues only.
    pub async fn server_that(&self, build: &str, queues: Option<&[&str]>) -> TestServer {
        let builds = [Runtime::Rust, Runtime::Python].map(|runtime| (runtime, build.to_owned())).to_vec();
        let queues = queues.map(|queues| queues.iter().map(|queue| (*queue).to_owned()).collect());
        let server = NewServer { serves: Some(Serves { builds, queues }), ..factory::server() };
        self.store.server_enter(&server).await.expect("a server can enter");
        TestServer { id: server.id, build: build.to_owned(), store: Arc::clone(&self.store) }
    }

    /// Maintains the groups of kinds until nothing is left to do; returns how many tasks were moved and parked.
    pub async fn regroup(&self) -> (usize, usize) {
        let (mut moved, mut parked) = (0, 0);
        for _ in 0..1_000 {
            let report = self.store.regroup().await.expect("regroup answers");
            moved += report.moved;
            parked += report.parked;
            if !report.more {
                return (moved, parked);
            }
        }
        panic!("regroup says `more` for ever");
    }

    /// Adds a task and lets this server claim it; it must be the only claimable one.
    pub async fn start(&self, server: &TestServer, task: NewTask) -> Claimed {
        let id = self.add(task).await;
        let claimed = server.claim_one().await;
        assert_eq!(claimed.id, id, "the only claimable task");
        claimed
    }

    /// Creates a task in this final state.
    pub async fn ended(&self, server: &TestServer, state: TaskState) -> TaskId {
        let claimed = self.start(server, factory::task()).await;
        match state {
            TaskState::Done => server.done(&claimed).await,
            TaskState::Failed => server.fail(&claimed).await,
            TaskState::Cancelled => {
                self.cancel(claimed.id).await;
                server.finish(&claimed, Outcome::Interrupted).await;
            }
            TaskState::Stopped => {
                self.stop(claimed.id).await;
                server.finish(&claimed, Outcome::Interrupted).await;
            }
            other => panic!("{other} is not a final state"),
        }
        self.assert_state(claimed.id, state).await;
        claimed.id
    }
}

/// A server under a test's control.
#[derive(Clone, Debug)]
pub struct TestServer {
    /// Id of the server.
    pub id: ServerId,
    /// Fingerprint of its build; empty if it reports none.
    pub build: String,
    store: Arc<dyn Store>,
}

impl TestServer {
    /// Claims up to `limit` Rust tasks.
    pub async fn claim(&self, limit: usize) -> Vec<Claimed> {
        self.claim_with(&factory::request(self.id, limit)).await.tasks
    }

    /// Claims as requested.
    pub async fn claim_with(&self, request: &ClaimRequest) -> ClaimReply {
        let reply = self.store.claim(request).await.expect("claim answers");
        assert!(reply.tasks.len() <= request.limit, "never more than asked for");
        reply
    }

    /// Claims the next task, which must exist.
    pub async fn claim_one(&self) -> Claimed {
        let mut tasks = self.claim(1).await;
        assert_eq!(tasks.len(), 1, "a task is claimable");
        tasks.remove(0)
    }

    /// Claims the next task that must run alone.
    pub async fn claim_alone(&self) -> Option<Claimed> {
        let request = ClaimRequest { alone: true, ..factory::request(self.id, 1) };
        self.claim_with(&request).await.tasks.pop()
    }

    /// Claims the next Python tasks.
    pub async fn claim_python(&self, limit: usize) -> Vec<Claimed> {
        let request = ClaimRequest { runtime: Runtime::Python, ..factory::request(self.id, limit) };
        self.claim_with(&request).await.tasks
    }

    /// Claims the runnable tasks of one queue.
    pub async fn claim_queue(&self, queue: &str, limit: usize) -> Vec<Claimed> {
        let request = ClaimRequest { queues: Some(vec![queue.into()]), ..factory::request(self.id, limit) };
        self.claim_with(&request).await.tasks
    }

    /// Ends an attempt and returns the reply.
    pub async fn finish(&self, claimed: &Claimed, outcome: Outcome) -> WriteReply {
        self.finish_as(claimed.id, claimed.token, outcome).await
    }

    /// Ends an attempt under this token.
    pub async fn finish_as(&self, id: TaskId, token: Token, outcome: Outcome) -> WriteReply {
        let finish = Finish { id, token, outcome, context: None, logs: Vec::new() };
        let replies = self.store.finish(&[finish], &[]).await.expect("finish answers");
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    /// Ends an attempt as done, with the result `null`.
    pub async fn done(&self, claimed: &Claimed) {
        let reply = self.finish(claimed, Outcome::Done { result: b"null".to_vec() }).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Done));
    }

    /// Ends many attempts as done, in batches.
    pub async fn done_all(&self, claimed: &[Claimed]) {
        for part in claimed.chunks(1_000) {
            let batch: Vec<Finish> = part
                .iter()
                .map(|claimed| Finish {
                    id: claimed.id,
                    token: claimed.token,
                    outcome: Outcome::Done { result: b"null".to_vec() },
                    context: None,
                    logs: Vec::new(),
                })
                .collect();
            let replies = self.store.finish(&batch, &[]).await.expect("finish answers");
            assert_eq!(replies, vec![WriteReply::Applied(TaskState::Done); part.len()]);
        }
    }

    /// Ends an attempt and the task with a failure.
    pub async fn fail(&self, claimed: &Claimed) {
        let reply = self.finish(claimed, Outcome::Failed(factory::failure("it broke"))).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Failed));
    }

    /// Fails with a retry after this pause.
    pub async fn fail_and_retry(&self, claimed: &Claimed, after: Duration, error: Failure) -> WriteReply {
        self.finish(claimed, Outcome::Retry { after, error }).await
    }

    /// Writes context and logs of a running attempt.
    pub async fn record(&self, record: Record) -> WriteReply {
        let replies = self.store.record(&[record]).await.expect("record answers");
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    /// Sends one heartbeat.
    pub async fn beat(&self) -> BeatReply {
        self.store.server_beat(&factory::beat(self.id)).await.expect("a beat is answered")
    }
}
