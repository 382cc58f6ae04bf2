//! The poller of a client: all watched tasks are read in one statement every 30 ms, sooner after a notification of a
//! task's end, and not at all without watchers. A task with a thousand watchers is one entry.
//!
//! A slow query lengthens the pause after it, so that watching uses at most a fifth of a connection's time. An entry
//! outlives its last watcher for a moment, because a watcher that polls comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::event::{Event, EventKind};
use super::event_sequencer::EventSequencer;
use crate::backoff::READ;
use crate::client::guard::guarded;
use crate::notifications::Listener;
use crate::store::{SnapshotRequest, Store, TaskSnapshot};
use crate::{Error, Result, TaskId};

/// Pause between two queries.
const EVERY: Duration = Duration::from_millis(30);
/// Pause between two queries after a notification of a task's end.
const AFTER_NOTIFICATION: Duration = Duration::from_millis(10);
/// Maximum number of tasks in one statement.
const LOOK_MAX: usize = 1_000;
/// Time for which an entry is kept after its last watcher has left.
const LINGER: Duration = Duration::from_millis(500);
/// State changes kept for each task; a watcher that falls further behind gets a snapshot.
const EVENTS_MAX: usize = 4_096;

/// Source of snapshots; a trait for the sake of tests.
#[async_trait]
pub(in super::super) trait Source: Send + Sync + 'static {
    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>>;
    fn finished(&self) -> Listener;
}

#[async_trait]
impl Source for Arc<dyn Store> {
    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>> {
        self.as_ref().snapshots(asked).await
    }

    fn finished(&self) -> Listener {
        self.notifications().finished.listen()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State shared by the watchers of one task.
#[derive(Default)]
pub(in super::super) struct EventLog {
    pub sequencer: Option<EventSequencer>,
    /// Number of the last event.
    pub seq: u64,
    /// State changes, and the position of the first of them among all.
    pub events: VecDeque<Arc<Event>>,
    pub first: u64,
    /// Latest progress, if no state change has come after it, and the number of progress events so far.
    pub progress: Option<Arc<Event>>,
    pub progressed: u64,
    /// Reason why no more events can come: the task does not exist, or was removed, or the store was closed.
    pub fault: Option<Error>,
}

impl EventLog {
    /// Returns the position of the next state change.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn is_over(&self) -> bool {
        self.fault.is_some() || self.sequencer.as_ref().is_some_and(EventSequencer::is_final)
    }

    fn look(&mut self, snapshot: Option<TaskSnapshot>, asked: &SnapshotRequest) {
        let Some(snapshot) = snapshot else {
            self.fault = Some(Error::NotFound(asked.id));
            return;
        };
        let sequencer = EventSequencer::of(snapshot, self.sequencer.as_ref(), asked.attempts_known);
        if let Some(before) = self.sequencer.replace(sequencer) {
            let sequencer = self.sequencer.as_ref().expect("just set");
            let mut events = sequencer.after(self.seq);
            if events.is_empty() {
                events.extend(sequencer.unnumbered(&before, self.seq));
            }
            for event in events {
                self.push(Arc::new(event));
            }
        } else {
            self.seq = self.sequencer.as_ref().map_or(0, |sequencer| sequencer.place(None));
        }
    }

    fn push(&mut self, event: Arc<Event>) {
        self.seq = event.seq;
        if event.kind == EventKind::Progress {
            self.progress = Some(event);
            self.progressed += 1;
            return;
        }
        // The event contains the progress at that time.
        self.progress = None;
        self.events.push_back(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
            self.first += 1;
        }
    }
}

/// A watched task.
pub(in super::super) struct WatchedTask {
    id: TaskId,
    pub event_log: Mutex<EventLog>,
    /// Counts the queries, so that watchers are notified after each.
    pub changed: watch::Sender<u64>,
    pub watchers: AtomicUsize,
    /// The ends of attempts above this number are required.
    floor: AtomicU32,
    /// Number of queries that have started and that have finished; a watcher waits for one that started after it
    /// joined.
    begun: AtomicU64,
    done: AtomicU64,
    /// The last query that a watcher waits for.
    wanted: AtomicU64,
    left_at: Mutex<Option<Instant>>,
}

impl WatchedTask {
    pub fn lock(&self) -> MutexGuard<'_, EventLog> {
        lock(&self.event_log)
    }

    pub fn leave(&self) {
        if self.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            *lock(&self.left_at) = Some(Instant::now());
        }
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn is_left(&self) -> bool {
        self.watchers.load(Ordering::Acquire) == 0
    }

    /// Returns the number of queries that have finished.
    pub fn looks(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    fn is_unmet(&self) -> bool {
        let event_log = self.lock();
        let is_awaited = self.looks() < self.wanted.load(Ordering::Acquire);
        event_log.fault.is_none()
            && (is_awaited
                || event_log
                    .sequencer
                    .as_ref()
                    .is_none_or(|sequencer| !sequencer.reaches(self.floor.load(Ordering::Acquire))))
    }

    fn request(&self) -> SnapshotRequest {
        EventSequencer::next(self.id, self.lock().sequencer.as_ref(), self.floor.load(Ordering::Acquire))
    }
}

#[derive(Default)]
struct Board {
    watched: HashMap<TaskId, Arc<WatchedTask>>,
    running: bool,
}

pub(in super::super) struct WatchPoller {
    source: Box<dyn Source>,
    runtime: tokio::runtime::Handle,
    board: Mutex<Board>,
    asked: Notify,
}

impl std::fmt::Debug for WatchPoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchPoller").finish_non_exhaustive()
    }
}

impl WatchPoller {
    pub fn new(source: impl Source, runtime: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self { source: Box::new(source), runtime, board: Mutex::default(), asked: Notify::new() })
    }

    /// Adds a watcher. Returns the task's entry, and the number of the query it has to wait for: one that starts from
    /// now on.
    pub fn join(self: &Arc<Self>, id: TaskId, floor: u32) -> (Arc<WatchedTask>, u64) {
        let mut board = lock(&self.board);
        // An ended task is read anew, because it may have been retried; but not while a watcher waits for the current
        // entry.
        let known = board.watched.get(&id).filter(|one| !one.lock().is_over() || one.is_unmet()).cloned();
        let watched = known.unwrap_or_else(|| {
            let watched = Arc::new(WatchedTask {
                id,
                event_log: Mutex::default(),
                changed: watch::Sender::new(0),
                watchers: AtomicUsize::new(0),
                floor: AtomicU32::new(u32::MAX),
                begun: AtomicU64::new(0),
                done: AtomicU64::new(0),
                wanted: AtomicU64::new(0),
                left_at: Mutex::default(),
            });
            board.watched.insert(id, Arc::clone(&watched));
            watched
        });
        watched.watchers.fetch_add(1, Ordering::AcqRel);
        watched.floor.fetch_min(floor, Ordering::AcqRel);
        let look = watched.begun.load(Ordering::Acquire) + 1;
        watched.wanted.fetch_max(look, Ordering::AcqRel);
        let starts = !std::mem::replace(&mut board.running, true);
        drop(board);
        // A runtime that has ended drops the future inside `spawn`, and its guard takes the lock.
        if starts {
            self.runtime.spawn(looking(Arc::clone(self)));
        }
        self.asked.notify_one();
        (watched, look)
    }

    /// Queries until there is no watcher left.
    async fn run(&self) {
        let mut finished = self.source.finished();
        let mut due = Instant::now();
        let mut pause = EVERY;
        loop {
            let Some(watched) = self.watched() else { return };
            let begun = Instant::now();
            let is_round = begun >= due;
            let looked: Vec<Arc<WatchedTask>> = watched.into_iter().filter(|one| is_round || one.is_unmet()).collect();
            if is_round {
                finished.take();
            }
            match self.look(&looked).await {
                Ok(()) => {
                    let cost = begun.elapsed() * 4;
                    pause = EVERY.max(cost);
                    if is_round {
                        due = begun + pause;
                    }
                    let rung = async {
                        finished.clone().notified().await;
                        tokio::time::sleep_until(begun + AFTER_NOTIFICATION.max(cost)).await;
                    };
                    tokio::select! {
                        () = self.asked.notified() => {}
                        () = rung => due = Instant::now(),
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                Err(error) if error.is_permanent() => {
                    let Some(watched) = self.watched() else { return };
                    for one in watched {
                        one.lock().fault = Some(error.clone());
                        one.notify();
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot read watched tasks; trying again");
                    pause = (pause * 2).min(READ.longest);
                    tokio::time::sleep(pause).await;
                    due = Instant::now();
                    finished = self.source.finished();
                }
            }
        }
    }

    /// Returns the watched tasks; `None` if there are none, which ends this run. Removes entries that are over.
    fn watched(&self) -> Option<Vec<Arc<WatchedTask>>> {
        let mut board = lock(&self.board);
        board.watched.retain(|_, one| {
            let is_over = one.lock().is_over() && !one.is_unmet();
            let has_left = one.is_left() && lock(&one.left_at).is_none_or(|at| at.elapsed() >= LINGER);
            !is_over && !has_left
        });
        if board.watched.is_empty() {
            board.running = false;
            return None;
        }
        Some(board.watched.values().filter(|one| !one.is_left()).cloned().collect())
    }

    /// Reads snapshots in one statement or, if that can never succeed, in one for each task: a row that cannot be read
    /// ends only the watches of its own task.
    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Result<Option<TaskSnapshot>>>> {
        let passes = |error: &Error| error.is_transient() || error.is_permanent();
        match self.source.snapshots(asked).await {
            Ok(snapshots) => return Ok(snapshots.into_iter().map(Ok).collect()),
            Err(error) if passes(&error) => return Err(error),
            Err(error) if asked.len() == 1 => return Ok(vec![Err(error)]),
            Err(_) => {}
        }
        let mut snapshots = Vec::with_capacity(asked.len());
        for one in asked {
            match self.source.snapshots(std::slice::from_ref(one)).await {
                Err(error) if passes(&error) => return Err(error),
                snapshot => snapshots.push(snapshot.map(|mut found| found.pop().flatten())),
            }
        }
        Ok(snapshots)
    }

    async fn look(&self, watched: &[Arc<WatchedTask>]) -> Result<()> {
        for chunk in watched.chunks(LOOK_MAX) {
            let numbers: Vec<u64> = chunk.iter().map(|one| one.begun.fetch_add(1, Ordering::AcqRel) + 1).collect();
            let asked: Vec<SnapshotRequest> = chunk.iter().map(|one| one.request()).collect();
            let snapshots = self.snapshots(&asked).await?;
            for (((one, snapshot), asked), number) in chunk.iter().zip(snapshots).zip(&asked).zip(numbers) {
                match snapshot {
                    Ok(snapshot) => one.lock().look(snapshot, asked),
                    Err(error) => one.lock().fault = Some(error),
                }
                one.done.store(number, Ordering::Release);
                one.notify();
            }
        }
        Ok(())
    }
}

/// Runs the poller until no watch is left. If it ends before, all watches get an error.
fn looking(watch_poller: Arc<WatchPoller>) -> impl Future<Output = ()> + Send {
    let looks = Arc::clone(&watch_poller);
    let broke = "watching tasks failed because of a bug in Taskyard";
    guarded(async move { looks.run().await }, broke, move |error| {
        let watched = {
            let mut board = lock(&watch_poller.board);
            board.running = false;
            std::mem::take(&mut board.watched)
        };
        for one in watched.into_values() {
            one.lock().fault = Some(error.clone());
            one.notify();
        }
    })
}
