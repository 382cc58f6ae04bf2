//! Watching a task: its events as they happen, from any process.
//!
//! [`Client::watch`] begins with a `snapshot`, then returns `status`, `retry` and `progress` events as they occur, and
//! ends after exactly one final event (`completed`, `failed`, `cancelled`, `stopped`). A failed task is a dead letter;
//! there is no separate event for that.
//!
//! # Guarantees
//! - State changes are lossless: every stored change is returned, in order, also to a slow watcher, and to a watcher
//!   that resumes with the number of its last event (`since`), in any process: missed events are reconstructed from the
//!   rows of the attempts. A state that existed only between two queries (30 ms) and left no row is not reported.
//! - Progress is latest-wins: a slow watcher gets only the last one.
//! - Event numbers ([`Event::seq`]) increase, and mean the same in every process; `event_sequencer` describes how they are
//!   assigned. Progress without a time of its own (a plain number set in the context) has the number of its attempt's
//!   start; [`Watch::seen`] then identifies which of them a watcher has seen.
//! - A watcher that resumes after the final event gets no event, and its watch has ended at once.
//! - A watcher costs neither the task nor other watchers anything: queries are shared ([`watch_poller`]), and events that
//!   watchers have not taken yet are stored once for all.

mod event;
mod event_sequencer;
#[cfg(test)]
mod tests;
mod watch_poller;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

pub use event::{Event, EventKind};
pub(super) use watch_poller::WatchPoller;

use super::{Client, SHUT_DOWN, TaskRef};
use crate::{Result, TaskId};
use event_sequencer::floor_of;
use watch_poller::{EventLog, WatchedTask};

/// The next change, for the stream, where it must outlive one poll. Returns whether there can be more.
type NextChange = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The events of one task. Dropping it ends the watch.
///
/// [`Watch::next`] returns them one by one. The watch is also a [`Stream`] of them, which ends after the final event or
/// after an error. For example, an axum endpoint that sends them to a browser:
///
/// ```
/// use axum::BoxError;
/// use axum::extract::{Path, State};
/// use axum::response::sse::{Event, KeepAlive, Sse};
/// use futures_util::{Stream, StreamExt};
/// use taskyard::{TaskId, Taskyard};
///
/// // With a route such as `/tasks/{id}/events`.
/// async fn events(State(queue): State<Taskyard>, Path(id): Path<TaskId>) -> Sse<impl Stream<Item = Result<Event, BoxError>>> {
///     let events = queue.watch(id, None).map(|event| {
///         let event = event?;
///         Ok(Event::default().id(event.seq.to_string()).json_data(event)?)
///     });
///     Sse::new(events).keep_alive(KeepAlive::default())
/// }
/// # let _: axum::Router<Taskyard> = axum::Router::new().route("/tasks/{id}/events", axum::routing::get(events));
/// ```
pub struct Watch {
    id: TaskId,
    watched: Arc<WatchedTask>,
    /// The query that it begins with.
    look: u64,
    changes: tokio::sync::watch::Receiver<u64>,
    since: Option<u64>,
    seen: Option<u64>,
    /// Positions of the next state change and progress, once it has begun.
    next: Option<(u64, u64)>,
    queue: VecDeque<Arc<Event>>,
    ended: bool,
    /// For the stream: the future it waits for. Never locked; the mutex makes the watch `Sync`.
    next_change: Mutex<Option<NextChange>>,
    /// For the stream: whether it has returned an error.
    failed: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).field("since", &self.since).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watched.leave();
    }
}

impl Client {
    /// Watches a task, from the beginning or after the event number `since`.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # let id = queue.add(send("ada@example.org".into())).await?.id();
    /// let mut watch = queue.watch(id, None);
    /// let first = watch.next().await?.expect("the task has not ended");
    /// assert_eq!(first.status, "queued");
    ///
    /// let mut resumed = queue.watch(id, Some(first.seq)); // also in another process, later
    /// queue.cancel(&[id]).await?;
    /// assert_eq!(resumed.next().await?.map(|event| event.status), Some("cancelled"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch(&self, id: TaskId, since: Option<u64>) -> Watch {
        Watch::new(&self.watch_poller, id, since, None)
    }

    /// Watches a task for a watcher that has also stored [`Watch::seen`]: see [`Client::watch`].
    #[must_use]
    pub fn watch_seen(&self, id: TaskId, since: Option<u64>, seen: Option<u64>) -> Watch {
        Watch::new(&self.watch_poller, id, since, seen)
    }
}

impl<T> TaskRef<T> {
    /// Watches this task, from its beginning or after the event number `since`.
    ///
    /// # Errors
    /// Those of [`TaskRef::stored`].
    pub async fn watch(&self, since: Option<u64>) -> Result<Watch> {
        let id = self.stored().await?;
        Ok(self.client().watch(id, since))
    }
}

impl Watch {
    fn new(watch_poller: &Arc<WatchPoller>, id: TaskId, since: Option<u64>, seen: Option<u64>) -> Self {
        let (watched, look) = watch_poller.join(id, floor_of(since));
        let changes = watched.changed.subscribe();
        Self {
            id,
            watched,
            look,
            changes,
            since,
            seen,
            next: None,
            queue: VecDeque::new(),
            ended: false,
            next_change: Mutex::default(),
            failed: false,
        }
    }

    /// Returns the next event; `None` after the final event. May be dropped and called again.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::EventKind;
    ///
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// queue.drain().await?;
    /// let mut watch = task.watch(None).await?;
    /// let mut kinds = Vec::new();
    /// while let Some(event) = watch.next().await? {
    ///     kinds.push(event.kind);
    /// }
    /// assert_eq!(kinds, [EventKind::Snapshot, EventKind::Completed]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], also for a task that was removed meanwhile; [`crate::Error::ShutDown`] after the
    /// store was closed or the client's runtime has ended.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            // In a task's body, this releases its concurrency slot meanwhile.
            let _released = crate::concurrency_slot::release_slot();
            if self.changes.changed().await.is_err() {
                return Err(SHUT_DOWN);
            }
        }
    }

    /// Returns all events available now or, if there are none, those that come first within `wait`.
    ///
    /// # Errors
    /// Those of [`Watch::next`].
    pub async fn wait(&mut self, wait: Duration) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        match tokio::time::timeout(wait, self.next()).await {
            Ok(Ok(Some(event))) => events.push(event),
            Ok(Ok(None)) | Err(_) => return Ok(events),
            Ok(Err(error)) => return Err(error),
        }
        while let Some(event) = self.take()? {
            events.push(event);
        }
        Ok(events)
    }

    /// Returns whether no more events will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended && self.queue.is_empty()
    }

    /// Returns the number of the last event returned.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        self.since
    }

    /// Identifies the last progress returned among those with the same number.
    #[must_use]
    pub fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// Returns the next event if one is available now.
    fn take(&mut self) -> Result<Option<Event>> {
        if self.queue.is_empty() && !self.ended {
            self.changes.mark_unchanged();
            let watched = Arc::clone(&self.watched);
            let event_log = watched.lock();
            if let Some(fault) = &event_log.fault {
                return Err(fault.clone());
            }
            self.gather(&event_log);
        }
        let Some(event) = self.queue.pop_front() else { return Ok(None) };
        self.since = Some(event.seq);
        Ok(Some(Event::clone(&event)))
    }

    fn gather(&mut self, event_log: &EventLog) {
        let Some(sequencer) = &event_log.sequencer else { return };
        match self.next {
            None => {
                // Data from before this watcher joined may be outdated.
                if self.watched.looks() < self.look || !sequencer.reaches(floor_of(self.since)) {
                    return;
                }
                self.begin(event_log);
            }
            Some((state, _)) if state < event_log.first => {
                // So far behind that the missed events have been discarded.
                self.queue.push_back(Arc::new(sequencer.now(EventKind::Snapshot, event_log.seq)));
                self.queue.extend(event_log.events.back().filter(|event| event.kind.is_terminal()).cloned());
            }
            Some((state, progressed)) => {
                let skip = usize::try_from(state - event_log.first).unwrap_or(usize::MAX);
                self.queue.extend(event_log.events.iter().skip(skip).cloned());
                self.queue.extend(event_log.progress.iter().filter(|_| event_log.progressed > progressed).cloned());
            }
        }
        self.next = Some((event_log.end(), event_log.progressed));
        self.seen = Some(sequencer.fingerprint());
        self.ended = sequencer.is_final();
    }

    fn begin(&mut self, event_log: &EventLog) {
        let Some(sequencer) = &event_log.sequencer else { return };
        let Some(since) = self.since else {
            let here = sequencer.place(Some(event_log.seq));
            let end = EventKind::of_end(sequencer.state());
            // A watcher that got only the snapshot must not be taken for one that got the final event.
            self.queue.push_back(Arc::new(sequencer.now(EventKind::Snapshot, here - u64::from(end.is_some()))));
            self.queue.extend(end.map(|end| Arc::new(sequencer.now(end, here))));
            return;
        };
        // A watcher that was here a moment ago resumes at its position.
        if let Some(place) = event_log.events.iter().rposition(|event| event.seq == since) {
            self.queue.extend(event_log.events.iter().skip(place + 1).cloned());
            let is_news = |event: &&Arc<Event>| event.seq > since || sequencer.ambiguous(since, self.seen).is_some();
            self.queue.extend(event_log.progress.iter().filter(is_news).cloned());
            return;
        }
        let missed = sequencer.after(since);
        if missed.is_empty() {
            self.queue.extend(sequencer.ambiguous(since, self.seen).map(Arc::new));
        }
        self.queue.extend(missed.into_iter().map(Arc::new));
    }
}

/// Ends after the final event, or after an error (those of [`Watch::next`]).
///
/// In a task's body, the concurrency slot is released from a poll that finds nothing until one that finds an event.
impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<Result<Event>>> {
        let watch = self.get_mut();
        if watch.failed {
            return Poll::Ready(None);
        }
        loop {
            match watch.take() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) if watch.ended => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => {
                    watch.failed = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let next_change = watch.next_change.get_mut().unwrap_or_else(PoisonError::into_inner);
            let changes = &watch.changes;
            let waits = next_change.get_or_insert_with(|| {
                let mut changes = changes.clone();
                Box::pin(async move {
                    let _released = crate::concurrency_slot::release_slot();
                    changes.changed().await.is_ok()
                })
            });
            let may_go_on = ready!(waits.as_mut().poll(poller));
            *next_change = None;
            if !may_go_on {
                watch.failed = true;
                return Poll::Ready(Some(Err(SHUT_DOWN)));
            }
        }
    }
}
