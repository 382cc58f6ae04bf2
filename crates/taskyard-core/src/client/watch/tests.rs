//! Tests of watching, with an in-memory table as source and a paused clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::watch_poller::{Source, WatchPoller};
use super::{Event, EventKind, Watch};
use crate::notifications::{Listener, Notification};
use crate::store::{EndedAttempt, SnapshotRequest, TaskSnapshot};
use crate::task::AttemptOutcome;
use crate::{Failure, Result, TaskId, TaskState, WaitReason};

/// The snapshots of a store, and the number of queries.
#[derive(Default)]
struct Table {
    snapshots: Mutex<HashMap<TaskId, TaskSnapshot>>,
    looks: AtomicUsize,
    closed: AtomicBool,
    /// A row that cannot be read, and one that makes the query panic.
    corrupt: Mutex<Option<TaskId>>,
    deadly: Mutex<Option<TaskId>>,
    notification: Notification,
}

#[async_trait]
impl Source for Arc<Table> {
    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            return Err(crate::Error::ShutDown("this store has been shut down"));
        }
        let is_asked =
            |of: &Mutex<Option<TaskId>>| of.lock().unwrap().is_some_and(|id| asked.iter().any(|one| one.id == id));
        if is_asked(&self.corrupt) {
            return Err(crate::Error::Database("a row cannot be read".into()));
        }
        assert!(!is_asked(&self.deadly), "a fault of the test's");
        let snapshots = self.snapshots.lock().unwrap();
        Ok(asked
            .iter()
            .map(|one| {
                let mut snapshot = snapshots.get(&one.id)?.clone();
                let above = one.attempts_known.min(snapshot.attempt.saturating_sub(2));
                snapshot.ended.retain(|attempt| attempt.number > above);
                snapshot.context.take_if(|_| one.context_known == snapshot.context_revision);
                Some(snapshot)
            })
            .collect())
    }

    fn finished(&self) -> Listener {
        self.notification.listen()
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + (seconds * 1_000.0) as i64).unwrap()
}

/// A task that the test moves through its states.
struct Task {
    table: Arc<Table>,
    id: TaskId,
    clock: f64,
}

impl Task {
    fn new(table: &Arc<Table>) -> Self {
        let id = TaskId::generate();
        let snapshot = TaskSnapshot {
            id,
            state: TaskState::Enqueued,
            wait_reason: None,
            attempt: 0,
            failures: 0,
            created_at: at(0.0),
            run_at: None,
            started_at: None,
            finished_at: None,
            error: None,
            context_revision: None,
            context: None,
            ended: Vec::new(),
        };
        table.snapshots.lock().unwrap().insert(id, snapshot);
        Self { table: Arc::clone(table), id, clock: 0.0 }
    }

    fn change(&mut self, change: impl FnOnce(&mut TaskSnapshot, Timestamp)) {
        self.clock += 1.0;
        change(self.table.snapshots.lock().unwrap().get_mut(&self.id).unwrap(), at(self.clock));
    }

    fn start(&mut self) {
        self.change(|snapshot, now| {
            (snapshot.state, snapshot.wait_reason, snapshot.started_at) = (TaskState::Doing, None, Some(now));
            snapshot.attempt += 1;
        });
    }

    fn release(&mut self) {
        self.change(|snapshot, _| {
            (snapshot.state, snapshot.started_at) = (TaskState::Enqueued, None);
            snapshot.attempt -= 1;
        });
    }

    fn fail(&mut self, waits: bool) {
        self.change(|snapshot, now| {
            let error = Some(Failure::new("ValueError", format!("attempt {}", snapshot.attempt)));
            (snapshot.state, snapshot.wait_reason) =
                if waits { (TaskState::Waiting, Some(WaitReason::Retry)) } else { (TaskState::Enqueued, None) };
            snapshot.failures += 1;
            snapshot.error.clone_from(&error);
            snapshot.ended.push(EndedAttempt {
                number: snapshot.attempt,
                outcome: AttemptOutcome::Failed,
                started_at: snapshot.started_at,
                ended_at: Some(now),
                error,
            });
        });
    }

    /// The body asks to run again later, which is not a failure.
    fn snooze(&mut self) {
        self.change(|snapshot, now| {
            (snapshot.state, snapshot.wait_reason) = (TaskState::Waiting, Some(WaitReason::Retry));
            snapshot.ended.push(EndedAttempt {
                number: snapshot.attempt,
                outcome: AttemptOutcome::Snoozed,
                started_at: snapshot.started_at,
                ended_at: Some(now),
                error: None,
            });
        });
    }

    fn enqueue(&mut self) {
        self.change(|snapshot, _| (snapshot.state, snapshot.wait_reason) = (TaskState::Enqueued, None));
    }

    fn end(&mut self, state: TaskState) {
        self.change(|snapshot, now| (snapshot.state, snapshot.finished_at) = (state, Some(now)));
    }

    /// A manual retry of a task that had ended.
    fn retry(&mut self) {
        self.change(|snapshot, _| {
            let ended_at = snapshot.finished_at.take();
            if snapshot.attempt > snapshot.ended.last().map_or(0, |last| last.number) {
                let (number, started_at) = (snapshot.attempt, snapshot.started_at);
                let outcome = AttemptOutcome::Failed;
                snapshot.ended.push(EndedAttempt { number, outcome, started_at, ended_at, error: None });
            }
            snapshot.state = TaskState::Enqueued;
        });
    }

    fn say(&mut self, progress: &str) {
        self.change(|snapshot, _| {
            snapshot.context_revision = Some(snapshot.context_revision.unwrap_or(0) + 1);
            snapshot.context = Some(format!("{{\"progress\": {progress}}}").into_bytes());
        });
    }
}

fn watch_poller() -> (Arc<Table>, Arc<WatchPoller>) {
    let table = Arc::new(Table::default());
    (Arc::clone(&table), WatchPoller::new(table, tokio::runtime::Handle::current()))
}

fn watch(watch_poller: &Arc<WatchPoller>, task: &Task, since: Option<u64>) -> Watch {
    Watch::new(watch_poller, task.id, since, None)
}

async fn next(watch: &mut Watch) -> Event {
    tokio::time::timeout(Duration::from_secs(60), watch.next()).await.expect("in time").unwrap().expect("an event")
}

async fn rest(watch: &mut Watch) -> Vec<(EventKind, &'static str, u32)> {
    let mut told = Vec::new();
    let mut last = watch.since();
    while let Some(event) = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap() {
        assert!(last.is_none_or(|last| event.seq > last), "{event:?} after {last:?}");
        last = Some(event.seq);
        told.push((event.kind, event.status, event.attempt));
    }
    told
}

const STEP: Duration = Duration::from_millis(60);

#[tokio::test(start_paused = true)]
async fn a_life_is_told_in_order_and_numbers_grow() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    let mut watch = watch(&watch_poller, &task, None);
    let mut told = vec![next(&mut watch).await];
    let steps: [fn(&mut Task); 12] = [
        Task::start,
        |task| task.say(r#"{"completed": 1, "total": 4, "elapsed": 1.0, "attempt": 1}"#),
        |task| task.say(r#"{"completed": 2, "total": 4, "elapsed": 2.0, "attempt": 1}"#),
        Task::release,
        Task::start,
        |task| task.fail(true),
        Task::enqueue,
        Task::start,
        // Progress without a time of its own.
        |task| task.say("50"),
        |task| task.say("60"),
        |task| task.fail(false),
        Task::start,
    ];
    for step in steps {
        step(&mut task);
        told.push(next(&mut watch).await);
        while let Some(event) = watch.take().unwrap() {
            told.push(event);
        }
    }
    task.end(TaskState::Done);
    told.push(next(&mut watch).await);
    assert!(watch.next().await.unwrap().is_none());
    use EventKind::{Completed, Progress, Retry, Snapshot, Status};
    let words: Vec<_> = told.iter().map(|event| (event.kind, event.status, event.attempt)).collect();
    let expected = [
        (Snapshot, "queued", 0),
        (Status, "running", 1),
        (Progress, "running", 1),
        (Progress, "running", 1),
        (Status, "queued", 0),
        (Status, "running", 1),
        // The progress reported before the start was taken back.
        (Progress, "running", 1),
        (Retry, "retrying", 1),
        (Status, "queued", 1),
        (Status, "running", 2),
        (Progress, "running", 2),
        (Progress, "running", 2),
        (Retry, "retrying", 2),
        (Status, "queued", 2),
        (Status, "running", 3),
        (Completed, "completed", 3),
    ];
    assert_eq!(words, expected);
    for pair in told.windows(2) {
        let shares = pair[1].kind == Progress && pair[1].progress.as_ref().is_some_and(|told| told.elapsed.is_none());
        assert!(pair[1].seq > pair[0].seq || shares && pair[1].seq == pair[0].seq, "{pair:?}");
    }
    assert_eq!(told[7].error.as_ref().map(|error| error.message.as_str()), Some("attempt 1"));
    assert!(told[15].seq < 1 << 53, "exact as a float");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_returns_receives_the_events_it_missed() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    let first = next(&mut watch(&watch_poller, &task, None)).await;
    for _ in 0..3 {
        task.start();
        task.fail(true);
        task.enqueue();
    }
    task.start();
    task.say(r#"{"completed": 3, "total": 4, "elapsed": 0.5, "attempt": 4}"#);
    // Another process, which reads only the table.
    let other = WatchPoller::new(Arc::clone(&table), tokio::runtime::Handle::current());
    let mut resumed = watch(&other, &task, Some(first.seq));
    let mut told = Vec::new();
    for _ in 0..8 {
        told.push(next(&mut resumed).await);
    }
    use EventKind::{Progress, Retry, Status};
    let words: Vec<_> = told.iter().map(|event| (event.kind, event.attempt)).collect();
    let expected =
        [(Status, 1), (Retry, 1), (Status, 2), (Retry, 2), (Status, 3), (Retry, 3), (Status, 4), (Progress, 4)];
    assert_eq!(words, expected);
    assert!(told.windows(2).all(|pair| pair[1].seq > pair[0].seq));
    assert_eq!(told[3].error.as_ref().map(|error| error.message.as_str()), Some("attempt 2"));
    // From any event in between, in yet another process, exactly the rest.
    for (place, event) in told.iter().enumerate() {
        let other = WatchPoller::new(Arc::clone(&table), tokio::runtime::Handle::current());
        let mut again = watch(&other, &task, Some(event.seq));
        for expected in &told[place + 1..] {
            assert_eq!(&next(&mut again).await, expected, "after {place}");
        }
        assert!(tokio::time::timeout(STEP * 3, again.next()).await.is_err(), "and nothing else after {place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_begins_with_the_current_state() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    // Each watcher joins when the poller has the previous state of the task, and leaves again, as a polling client
    // does.
    let mut last = None;
    let steps: [fn(&mut Task); 5] =
        [Task::start, |task| task.fail(true), Task::enqueue, Task::start, |task| task.end(TaskState::Done)];
    let told = ["running", "retrying", "queued", "running", "completed"];
    next(&mut watch(&watch_poller, &task, None)).await;
    for (step, status) in steps.into_iter().zip(told) {
        step(&mut task);
        let (mut one, mut other) = (watch(&watch_poller, &task, None), watch(&watch_poller, &task, None));
        let told = next(&mut one).await;
        assert_eq!((told.kind, told.status), (EventKind::Snapshot, status));
        assert_eq!(next(&mut other).await, told);
        assert!(last.is_none_or(|last| told.seq > last), "{told:?} after {last:?}");
        last = Some(told.seq);
    }
    assert_eq!(rest(&mut watch(&watch_poller, &task, last)).await, [(EventKind::Completed, "completed", 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_once() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    task.start();
    let mut early = watch(&watch_poller, &task, None);
    let snapshot = next(&mut early).await;
    task.end(TaskState::Failed);
    let told = rest(&mut early).await;
    assert_eq!(told, [(EventKind::Failed, "failed", 1)]);
    let end = early.since().unwrap();
    assert!(early.has_ended());
    let late = rest(&mut watch(&watch_poller, &task, None)).await;
    assert_eq!(late, [(EventKind::Snapshot, "failed", 1), (EventKind::Failed, "failed", 1)]);
    assert_eq!(rest(&mut watch(&watch_poller, &task, Some(snapshot.seq))).await, [(EventKind::Failed, "failed", 1)]);
    assert!(rest(&mut watch(&watch_poller, &task, Some(end))).await.is_empty(), "he has seen it");
    // After a manual retry the events continue with numbers above the end's, in this process and in another.
    task.retry();
    for watch_poller in [watch_poller, WatchPoller::new(Arc::clone(&table), tokio::runtime::Handle::current())] {
        let again = next(&mut watch(&watch_poller, &task, Some(end))).await;
        assert_eq!((again.kind, again.status, again.attempt), (EventKind::Status, "queued", 1));
        assert!(again.seq > end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_taken_back_start_is_known_by_its_number() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    task.start();
    let mut live = watch(&watch_poller, &task, None);
    let started = next(&mut live).await;
    task.release();
    let released = next(&mut live).await;
    assert_eq!((released.kind, released.status), (EventKind::Status, "queued"));
    assert!(released.seq > started.seq);
    let other = WatchPoller::new(Arc::clone(&table), tokio::runtime::Handle::current());
    let mut after_start = watch(&other, &task, Some(started.seq));
    assert_eq!(next(&mut after_start).await, released, "the same in every process");
    let mut after_release = watch(&other, &task, Some(released.seq));
    assert!(tokio::time::timeout(STEP * 3, after_release.next()).await.is_err(), "he knows");
    task.start();
    let again = next(&mut after_release).await;
    assert_eq!((again.kind, again.status), (EventKind::Status, "running"));
    assert!(again.seq > released.seq);
    assert_eq!(next(&mut live).await, again);
}

#[tokio::test(start_paused = true)]
async fn unknown_tasks_are_not_found() {
    let (table, watch_poller) = watch_poller();
    let task = Task::new(&table);
    let mut live = watch(&watch_poller, &task, None);
    next(&mut live).await;
    let unknown = Watch::new(&watch_poller, TaskId::generate(), None, None).next().await;
    assert!(matches!(unknown, Err(crate::Error::NotFound(_))));
    table.snapshots.lock().unwrap().clear();
    assert!(matches!(live.next().await, Err(crate::Error::NotFound(_))), "removed while it was watched");
}

/// A polling client gets each progress once, also without a time of its own.
#[tokio::test(start_paused = true)]
async fn one_who_polls_is_told_each_thing_once() {
    use EventKind::{Progress, Retry, Snapshot, Status};
    let expected = [
        (Snapshot, 0),
        (Status, 2),
        (Progress, 5),
        (Progress, 9),
        (Progress, 14),
        (Retry, 17),
        (Status, 17),
        (Status, 19),
        (Progress, 23),
    ];
    // Before and after the entry is discarded.
    for pauses in [[70, 70], [700, 700], [70, 700]] {
        let (table, watch_poller) = watch_poller();
        let mut task = Task::new(&table);
        let (mut since, mut seen) = (None, None);
        let mut told = Vec::new();
        for round in 0..30 {
            match round {
                2 => task.start(),
                5 | 9 | 14 => task.say(&round.to_string()),
                17 => task.fail(false),
                19 => task.start(),
                23 => task.say("23"),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(pauses[round % 2])).await;
            let mut poll = Watch::new(&watch_poller, task.id, since, seen);
            told.extend(poll.wait(STEP * 2).await.unwrap().into_iter().map(|event| (event.kind, round)));
            (since, seen) = (poll.since(), poll.seen());
        }
        assert_eq!(told, expected, "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_ends_what_watches_it() {
    let (table, watch_poller) = watch_poller();
    let task = Task::new(&table);
    let mut live = watch(&watch_poller, &task, None);
    next(&mut live).await;
    table.closed.store(true, Ordering::SeqCst);
    assert!(matches!(live.next().await, Err(crate::Error::ShutDown(_))));
    assert!(matches!(watch(&watch_poller, &task, None).next().await, Err(crate::Error::ShutDown(_))));
    drop(live);
    let before = table.looks.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(table.looks.load(Ordering::SeqCst), before);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_are_one_look_each_round() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    task.start();
    let mut watches: Vec<Watch> = (0..1_000).map(|_| watch(&watch_poller, &task, None)).collect();
    for watch in &mut watches {
        next(watch).await;
    }
    assert!(table.looks.load(Ordering::SeqCst) <= 2);
    let before = table.looks.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let looks = table.looks.load(Ordering::SeqCst) - before;
    assert!((320..=334).contains(&looks), "{looks} looks in 10 s");
    // One watcher takes no event; the others get theirs at once, and it loses no state change.
    let mut slow = watches.pop().unwrap();
    for number in 0..200 {
        task.say(&format!(r#"{{"completed": {number}, "elapsed": {number}}}"#));
        if number % 20 == 0 {
            task.fail(false);
            task.start();
        }
        tokio::time::sleep(STEP).await;
    }
    for watch in &mut watches {
        next(watch).await;
    }
    task.end(TaskState::Done);
    let told = rest(&mut slow).await;
    assert_eq!(told.iter().filter(|(kind, ..)| *kind == EventKind::Retry).count(), 10);
    assert!(told.iter().filter(|(kind, ..)| *kind == EventKind::Progress).count() <= 1, "the latest at most");
    assert_eq!(told.last(), Some(&(EventKind::Completed, "completed", 11)));
    drop((watches, slow));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = table.looks.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(table.looks.load(Ordering::SeqCst), before, "no watcher is left");
}

#[tokio::test(start_paused = true)]
async fn one_that_snoozes_is_scheduled_and_not_retried() {
    let (table, watch_poller) = watch_poller();
    let mut task = Task::new(&table);
    task.start();
    let mut live = watch(&watch_poller, &task, None);
    next(&mut live).await;
    task.snooze();
    let told = next(&mut live).await;
    assert_eq!((told.kind, told.status), (EventKind::Status, "scheduled"));
    assert_eq!(next(&mut watch(&watch_poller, &task, None)).await.status, "scheduled");
    task.enqueue();
    task.start();
    task.fail(true);
    task.enqueue();
    task.start();
    task.end(TaskState::Done);
    let told: Vec<_> = rest(&mut live).await.into_iter().map(|(kind, word, _)| (kind, word)).collect();
    assert!(told.contains(&(EventKind::Retry, "retrying")), "{told:?}");
    assert_eq!(told.last(), Some(&(EventKind::Completed, "completed")));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_ends_its_own_watches_only() {
    let (table, watch_poller) = watch_poller();
    let (mut sound, bad) = (Task::new(&table), Task::new(&table));
    let (mut one, mut other) = (watch(&watch_poller, &sound, None), watch(&watch_poller, &bad, None));
    next(&mut one).await;
    next(&mut other).await;
    *table.corrupt.lock().unwrap() = Some(bad.id);
    assert!(matches!(other.next().await, Err(crate::Error::Database(_))));
    sound.start();
    sound.end(TaskState::Done);
    assert_eq!(rest(&mut one).await.last().unwrap().0, EventKind::Completed);
    // On its own it still fails; once the row can be read, the task can be watched.
    assert!(matches!(watch(&watch_poller, &bad, None).next().await, Err(crate::Error::Database(_))));
    *table.corrupt.lock().unwrap() = None;
    next(&mut watch(&watch_poller, &bad, None)).await;
}

#[tokio::test(start_paused = true)]
async fn if_polling_fails_no_watcher_waits_for_ever() {
    let (table, watch_poller) = watch_poller();
    let (task, deadly) = (Task::new(&table), Task::new(&table));
    let mut live = watch(&watch_poller, &task, None);
    next(&mut live).await;
    *table.deadly.lock().unwrap() = Some(deadly.id);
    assert!(watch(&watch_poller, &deadly, None).next().await.is_err());
    assert!(live.next().await.is_err());
    *table.deadly.lock().unwrap() = None;
    next(&mut watch(&watch_poller, &task, None)).await;
}

#[tokio::test(start_paused = true)]
async fn many_tasks_are_one_look_and_a_finish_rings() {
    let (table, watch_poller) = watch_poller();
    let mut tasks: Vec<Task> = (0..1_000).map(|_| Task::new(&table)).collect();
    let mut watches: Vec<Watch> = tasks.iter().map(|task| watch(&watch_poller, task, None)).collect();
    for watch in &mut watches {
        next(watch).await;
    }
    let before = table.looks.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(table.looks.load(Ordering::SeqCst) - before <= 34, "one for all of them");
    tasks[7].start();
    tasks[7].end(TaskState::Done);
    let begun = tokio::time::Instant::now();
    table.notification.notify();
    let told = rest(&mut watches[7]).await;
    assert_eq!(told, [(EventKind::Status, "running", 1), (EventKind::Completed, "completed", 1)]);
    assert!(begun.elapsed() <= Duration::from_millis(20), "{:?}", begun.elapsed());
}
