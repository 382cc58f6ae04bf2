//! Writing batches: one statement for all groups or, if it is refused or meets a lock, one for each of several parts.
//!
//! An error that says that the database is unreachable, is full or has a fault may also concern one group alone, for
//! example if a trigger raises it. The database counts as unreachable only if a trial write fails as well
//! ([`Store::check_writes`]). Otherwise the batch is divided, and the group that fails by itself is retried separately,
//! then refused.

use std::ops::Range;

use super::deferred::{CallOrder, Claims, is_plain};
use super::*;
use crate::AdditionId;
use crate::backoff::Backoff;
use crate::store::AddRequest;

/// Lock timeout of the first attempt to write a batch, and of an attempt that is known to meet a lock.
const FIRST_WAIT: Duration = Duration::from_millis(600);
pub(super) const APART_WAIT: Duration = Duration::from_millis(10);
/// Maximum time for dividing a batch that met a lock or failed; the part not written by then is set aside.
const DIVIDE_MAX: Duration = Duration::from_millis(500);
/// Number of times a group fails by itself, while the database accepts other writes, until it is refused. Including the
/// pauses between rounds this takes a second, so that a connection that breaks occasionally does not refuse anything.
const FAILURES_MAX: u32 = 5;
/// Timeout of a trial write.
const TRIAL_MAX: Duration = Duration::from_secs(5);
/// Time after a write for which the database is known to accept writes.
const PROVEN: Duration = Duration::from_millis(100);

/// Reason why a batch was not written. None of it was stored, except in `Partly`.
enum Unwritten {
    /// The database refuses the batch permanently, or the client was closed.
    Refused(Error),
    /// Another transaction holds a required lock.
    Locked,
    /// The write fails with a transient error, while the database accepts other writes.
    Failed(Error),
    /// Some of its tasks are stored; for a batch of several groups each must be queried. The rest fails with this
    /// error.
    Partly(Error),
}

/// A group that is to be written.
pub(super) struct Group {
    /// Number of its tasks.
    size: usize,
    pub ticket: Arc<Ticket>,
    /// Position among the groups set aside, if the group was set aside before.
    pub call_order: Option<CallOrder>,
    /// Whether this group met a lock when it was tried alone.
    pub alone: bool,
    /// Number of times the group failed by itself.
    failures: u32,
    /// Last failure.
    pub failure: Option<Box<Error>>,
}

impl Group {
    pub fn new(tasks: &[NewTask], ticket: Arc<Ticket>) -> Self {
        Self { size: tasks.len(), ticket, call_order: None, alone: false, failures: 0, failure: None }
    }

    /// Records that it failed by itself, and refuses it after too many failures.
    fn failed(&mut self, error: Error, shared: &Shared) {
        self.failures += 1;
        if self.failures < FAILURES_MAX {
            self.failure = Some(Box::new(error));
            return;
        }
        let why = match error {
            Error::Connection(why) | Error::Full(why) | Error::DatabaseFault(why) => why,
            other => other.to_string(),
        };
        let error = Error::Database(format!("it refuses this addition, but stores others: {why}"));
        shared.settle(&self.ticket, Err(error));
    }

    /// Records that it met a lock by itself.
    fn locked(&mut self) {
        (self.alone, self.failures, self.failure) = (true, 0, None);
    }
}

/// Groups that are written by one statement, one after the other.
#[derive(Default)]
pub(super) struct Batch {
    tasks: Vec<NewTask>,
    groups: Vec<Group>,
    /// Id of the last attempt to write the groups that are not settled.
    addition: Option<AdditionId>,
}

impl Batch {
    pub fn push(&mut self, tasks: Vec<NewTask>, group: Group) {
        self.groups.push(group);
        if self.tasks.is_empty() {
            self.tasks = tasks;
        } else {
            self.tasks.extend(tasks);
        }
    }

    /// Returns the number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn into_groups(self) -> impl Iterator<Item = (Vec<NewTask>, Group)> {
        let mut tasks = self.tasks.into_iter();
        self.groups.into_iter().map(move |group| (tasks.by_ref().take(group.size).collect(), group))
    }

    /// Returns the batch without the groups that are already settled.
    fn without_withdrawn(self) -> Self {
        if self.groups.iter().all(|group| group.ticket.peek().is_none()) {
            return self;
        }
        let mut left = Self::default();
        for (tasks, group) in self.into_groups().filter(|(_, group)| group.ticket.peek().is_none()) {
            left.push(tasks, group);
        }
        left
    }

    /// Moves the groups that need nothing another addition may lock to the front, and returns their number.
    fn plain_first(&mut self) -> usize {
        let old = std::mem::take(self);
        let addition = old.addition;
        let (plain, linked): (Vec<_>, Vec<_>) = old.into_groups().partition(|(tasks, _)| tasks.iter().all(is_plain));
        let count = plain.len();
        for (tasks, group) in plain.into_iter().chain(linked) {
            self.push(tasks, group);
        }
        self.addition = addition;
        count
    }

    /// Returns the offset of each group's first task, and the total number of tasks.
    fn offsets(&self) -> Vec<usize> {
        let ends = self.groups.iter().scan(0, |end, group| {
            *end += group.size;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Returns each group with its tasks, and the id of the last attempt.
    pub fn parts(&mut self) -> (impl Iterator<Item = (&[NewTask], &Arc<Ticket>)>, &mut Option<AdditionId>) {
        let mut rest = self.tasks.as_slice();
        let groups = self.groups.iter().map(move |group| {
            let (tasks, after) = rest.split_at(group.size);
            rest = after;
            (tasks, &group.ticket)
        });
        (groups, &mut self.addition)
    }
}

/// The division of a batch.
pub(super) struct Tried {
    /// Parts to be tried, the first one last.
    pub parts: Vec<Range<usize>>,
    /// Groups that are not tried in this round and must not be overtaken.
    pub before: Claims,
    pub until: Instant,
    /// Lock timeout of an attempt.
    pub wait: Duration,
}

impl Writer {
    pub(super) async fn add(&mut self, batch: Batch) {
        let batch = self.leave_aside(batch.without_withdrawn());
        if batch.groups.is_empty() {
            return;
        }
        let mut batch = batch;
        self.rename_parents(&mut batch);
        let Self { store, shared, aliases, proven, writing, .. } = self;
        let batch = writing.insert(batch);
        let mut write = Write { store: store.as_ref(), shared, aliases, proven, addition: &mut batch.addition };
        match write.first(&batch.tasks, FIRST_WAIT).await {
            Ok(added) => settle(shared, &batch.groups, added),
            Err(why) => self.take_apart(why).await,
        }
        self.writing = None;
        self.shared.lock().withdrawn.clear();
    }

    /// Continues with the current batch, which was not written as a whole.
    async fn take_apart(&mut self, why: Unwritten) {
        let Some(batch) = &mut self.writing else { return };
        let count = batch.groups.len();
        let mut wait = APART_WAIT;
        let parts = match why {
            Unwritten::Partly(_) => return self.settle_interrupted().await,
            // Transient errors are returned only after the client was closed.
            Unwritten::Refused(error) if count == 1 || error.is_transient() => {
                return batch.groups.iter().for_each(|group| self.shared.settle(&group.ticket, Err(error.clone())));
            }
            Unwritten::Refused(_) => {
                wait = FIRST_WAIT;
                (0..count).rev().map(|at| at..at + 1).collect()
            }
            Unwritten::Locked if count == 1 => {
                batch.groups[0].locked();
                vec![]
            }
            Unwritten::Locked => {
                let plain = batch.plain_first();
                vec![plain..count, 0..plain]
            }
            Unwritten::Failed(error) if count == 1 => {
                batch.groups[0].failed(error, &self.shared);
                vec![]
            }
            Unwritten::Failed(error) => {
                tracing::debug!(%error, groups = count, "a batch of additions failed; trying its parts separately");
                vec![count / 2..count, 0..count / 2]
            }
        };
        let (before, until) = (Claims::default(), Instant::now() + DIVIDE_MAX);
        self.divide(Tried { parts, before, until, wait }).await;
    }

    pub(super) fn rename_parents(&self, batch: &mut Batch) {
        rename_parents(&self.aliases, &mut batch.tasks);
    }

    /// Writes the current batch part by part. A part that meets a lock or fails is halved; groups that are not written
    /// are set aside, with everything that depends on them. Returns the position of the first group that was not tried
    /// in time.
    pub(super) async fn divide(&mut self, tried: Tried) -> Option<CallOrder> {
        let Tried { mut parts, mut before, until, wait } = tried;
        let Self { store, shared, aliases, proven, writing, .. } = self;
        let batch = writing.as_mut()?;
        let offsets = batch.offsets();
        let (tasks, groups) = (&mut batch.tasks, &mut batch.groups);
        let mut write = Write { store: store.as_ref(), shared, aliases, proven, addition: &mut batch.addition };
        let mut timed = false;
        let mut partly = false;
        while let Some(part) = parts.pop() {
            let of_part = &mut tasks[offsets[part.start]..offsets[part.end]];
            if part.is_empty() {
                continue;
            }
            // Refusals are not limited in time, only locks and failures.
            if timed && Instant::now() >= until {
                parts.push(part);
                break;
            }
            let halves = |parts: &mut Vec<Range<usize>>| {
                let middle = part.start + part.len() / 2;
                parts.extend([middle..part.end, part.start..middle]);
            };
            // An earlier part may have met a key that another task holds.
            rename_parents(write.aliases, of_part);
            if before.concern(of_part) {
                if part.len() == 1 {
                    before.add(of_part);
                } else {
                    halves(&mut parts);
                }
                continue;
            }
            match write.first(of_part, wait).await {
                Ok(added) => {
                    *write.proven = Some(Instant::now());
                    settle(shared, &groups[part], added);
                }
                Err(Unwritten::Refused(error)) if part.len() == 1 || error.is_transient() => {
                    groups[part].iter().for_each(|group| shared.settle(&group.ticket, Err(error.clone())));
                }
                Err(Unwritten::Refused(_)) => parts.extend(part.rev().map(|at| at..at + 1)),
                Err(Unwritten::Partly(_)) => {
                    partly = true;
                    break;
                }
                Err(why) => {
                    timed = true;
                    if part.len() > 1 {
                        halves(&mut parts);
                        continue;
                    }
                    let group = &mut groups[part.start];
                    match why {
                        Unwritten::Failed(error) => group.failed(error, shared),
                        _ => group.locked(),
                    }
                    if group.ticket.peek().is_none() {
                        before.add(of_part);
                    }
                }
            }
        }
        if partly {
            self.settle_interrupted().await;
            return None;
        }
        let untried = parts.iter().filter(|part| !part.is_empty()).map(|part| part.start).min();
        let resume = untried.and_then(|at| groups[at].call_order);
        self.set_rest_aside();
        resume
    }

    /// Sets aside the groups of the current batch that are not settled.
    fn set_rest_aside(&mut self) {
        let Some(batch) = self.writing.take() else { return };
        for (tasks, group) in batch.into_groups() {
            if group.ticket.peek().is_none() {
                self.deferred.put(tasks, group);
            }
        }
        self.count_aside();
    }

    /// Completes a batch that was interrupted.
    pub(super) async fn settle_interrupted(&mut self) {
        let Self { store, shared, aliases, proven, writing, .. } = self;
        let Some(batch) = writing else { return };
        let (begun, offsets) = (batch.addition, batch.offsets());
        let mut before = Claims::default();
        let mut write = Write { store: store.as_ref(), shared, aliases, proven, addition: &mut batch.addition };
        for (at, group) in batch.groups.iter_mut().enumerate().filter(|(_, group)| group.ticket.peek().is_none()) {
            let tasks = &mut batch.tasks[offsets[at]..offsets[at + 1]];
            rename_parents(write.aliases, tasks);
            if before.concern(tasks) {
                before.add(tasks);
                continue;
            }
            // The attempt covered all groups, and is queried for each of them.
            *write.addition = begun;
            match write.again(tasks).await {
                Ok(added) => shared.settle(&group.ticket, Ok(added)),
                Err(Unwritten::Refused(error) | Unwritten::Partly(error)) => shared.settle(&group.ticket, Err(error)),
                // Retried separately, together with the groups that depend on it.
                Err(why) => {
                    if let Unwritten::Failed(error) = why {
                        group.failed(error, shared);
                    }
                    before.add(tasks);
                }
            }
        }
        self.set_rest_aside();
    }
}

/// Replaces parents by the existing tasks that were found in their place.
fn rename_parents(aliases: &HashMap<TaskId, TaskId>, tasks: &mut [NewTask]) {
    if !aliases.is_empty() {
        for task in tasks.iter_mut().filter(|task| !task.parents.is_empty()) {
            task.rename_parents(|parent| aliases.get(&parent).copied().unwrap_or(parent));
        }
    }
}

/// Decides groups that were written together.
fn settle(shared: &Shared, groups: &[Group], added: Vec<Added>) {
    let mut added = added.into_iter();
    let (mut tasks, mut bytes) = (0, 0);
    for group in groups {
        if group.ticket.settle(Ok(added.by_ref().take(group.size).collect())) {
            tasks += group.ticket.tasks;
            bytes += group.ticket.bytes;
        }
    }
    shared.decided(tasks, bytes);
}

/// The parts of the writer that writing a batch needs.
struct Write<'a> {
    store: &'a dyn Store,
    shared: &'a Shared,
    aliases: &'a mut HashMap<TaskId, TaskId>,
    proven: &'a mut Option<Instant>,
    addition: &'a mut Option<AdditionId>,
}

impl Write<'_> {
    /// Writes one batch, however long the database is unreachable, with a timeout for locks.
    async fn first(&mut self, batch: &[NewTask], lock_wait: Duration) -> Result<Vec<Added>, Unwritten> {
        let request = AddRequest::new(batch);
        *self.addition = Some(request.id);
        failpoint!("add", Before);
        let added = failpoint::lossy("add", |_| true, self.store.add_batch_within(request, lock_wait)).await;
        failpoint!("add", After);
        let added = match added {
            Ok(added) => Ok(added),
            Err(Error::Locked(_)) => Err(Unwritten::Locked),
            Err(error) if error.is_transient() => self.go_on(batch, request.id, Some(error)).await,
            Err(error) => Err(Unwritten::Refused(error)),
        };
        self.known(batch, added)
    }

    /// Completes an interrupted batch, which may have been written.
    async fn again(&mut self, batch: &[NewTask]) -> Result<Vec<Added>, Unwritten> {
        let Some(addition) = *self.addition else { return self.first(batch, APART_WAIT).await };
        let added = self.go_on(batch, addition, None).await;
        self.known(batch, added)
    }

    fn known(&mut self, batch: &[NewTask], added: Result<Vec<Added>, Unwritten>) -> Result<Vec<Added>, Unwritten> {
        self.shared.lock().away = None;
        if let Ok(added) = &added {
            for (task, added) in batch.iter().zip(added).filter(|(task, added)| task.id != added.id) {
                if self.aliases.len() >= BATCH_MAX {
                    self.aliases.clear();
                }
                self.aliases.insert(task.id, added.id);
            }
        }
        added
    }

    /// Continues after an attempt whose outcome is unknown: queries it, which decides it, and retries if nothing was
    /// stored.
    async fn go_on(
        &mut self,
        batch: &[NewTask],
        mut addition: AdditionId,
        mut error: Option<Error>,
    ) -> Result<Vec<Added>, Unwritten> {
        let mut backoff = Backoff::default();
        let mut answers: HashMap<TaskId, Added> = HashMap::with_capacity(batch.len());
        let mut left: Vec<NewTask> = batch.to_vec();
        loop {
            if let Some(error) = &error
                && self.shared.lock().given_up
            {
                return Err(give_up(batch, error));
            }
            let ids: Vec<TaskId> = left.iter().map(|task| task.id).collect();
            failpoint!("added", Before);
            let stored = match self.store.added(addition, &ids).await {
                Ok(stored) => {
                    failpoint!("added", After);
                    stored
                }
                Err(again) if again.is_transient() => {
                    self.pause(&again, batch, &mut backoff).await?;
                    // This was the reason why the attempt failed.
                    error = None;
                    continue;
                }
                Err(refusal) => return Err(Unwritten::Refused(refusal)),
            };
            if let Some(first) = stored.iter().position(|stored| *stored) {
                // A batch is atomic: a missing task has a key that another task held, or an id of the batch existed
                // before.
                if left.iter().zip(&stored).any(|(task, stored)| !stored && task.unique.is_none()) {
                    return Err(Unwritten::Refused(Error::DuplicateId(ids[first])));
                }
                let found = ids.iter().zip(&stored).filter(|(_, stored)| **stored);
                answers.extend(found.map(|(id, _)| (*id, Added { id: *id, existing: false })));
                left.retain(|task| !answers.contains_key(&task.id));
                if !left.is_empty() {
                    // Only the reply that nothing is stored refuses an attempt that may still arrive.
                    error = None;
                    continue;
                }
            }
            for id in ids.iter().filter(|id| self.shared.lock().withdrawn.contains(id)) {
                // The ticket is settled already, so this result is discarded.
                answers.entry(*id).or_insert(Added { id: *id, existing: false });
            }
            left.retain(|task| !answers.contains_key(&task.id));
            if left.is_empty() {
                return Ok(batch.iter().map(|task| answers[&task.id]).collect());
            }
            if let Some(failure) = error.take() {
                match self.trial().await {
                    Ok(()) if left.len() == batch.len() => return Err(Unwritten::Failed(failure)),
                    Ok(()) => return Err(Unwritten::Partly(failure)),
                    Err(away) => self.pause(&away, batch, &mut backoff).await?,
                }
            }
            let request = AddRequest::new(&left);
            addition = request.id;
            *self.addition = Some(addition);
            match self.store.add_batch(request).await {
                Ok(added) => {
                    answers.extend(left.iter().map(|task| task.id).zip(added));
                    return Ok(batch.iter().map(|task| answers[&task.id]).collect());
                }
                Err(Error::Locked(_)) if answers.is_empty() => return Err(Unwritten::Locked),
                Err(locked @ Error::Locked(_)) => self.pause(&locked, batch, &mut backoff).await?,
                Err(again) if again.is_transient() => error = Some(again),
                Err(refusal) => return Err(Unwritten::Refused(refusal)),
            }
        }
    }

    /// Checks that the database accepts writes: it has written something recently, or a trial write succeeds.
    ///
    /// # Errors
    /// The transient error of the trial write, or [`Error::Connection`] after [`TRIAL_MAX`].
    async fn trial(&mut self) -> Result<()> {
        if self.proven.is_some_and(|proven| proven.elapsed() < PROVEN) {
            return Ok(());
        }
        match tokio::time::timeout(TRIAL_MAX, self.store.check_writes()).await {
            Ok(Err(error)) if error.is_transient() => Err(error),
            // A permanent refusal does not mean that the database is unreachable.
            Ok(_) => {
                *self.proven = Some(Instant::now());
                Ok(())
            }
            Err(_) => Err(Error::Connection(format!("a trial write had no reply within {TRIAL_MAX:?}"))),
        }
    }

    /// Records that the database is unreachable, and waits before the next attempt.
    ///
    /// # Errors
    /// `error` as a refusal, if the client is closed meanwhile.
    async fn pause(&self, error: &Error, batch: &[NewTask], backoff: &mut Backoff) -> Result<(), Unwritten> {
        let (is_news, given_up) = {
            let mut waiting = self.shared.lock();
            (waiting.away.replace(error.to_string()).is_none(), waiting.given_up)
        };
        if given_up {
            return Err(give_up(batch, error));
        }
        if is_news {
            self.shared.tell_room();
            tracing::warn!(%error, waiting = batch.len(), "the database cannot be reached; additions wait in memory");
        }
        tokio::select! {
            () = backoff.pause() => Ok(()),
            () = self.shared.lost.notified() => Err(give_up(batch, error)),
        }
    }
}

fn give_up(batch: &[NewTask], error: &Error) -> Unwritten {
    shutdown::name(batch, "may be lost: whether it was written is not known at the shutdown", error);
    Unwritten::Refused(error.clone())
}
