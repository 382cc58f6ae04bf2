//! Writing batches: one statement for all groups, or, where it is refused or meets a lock, for parts of them.

use std::ops::Range;

use super::aside::{Claims, Place, is_plain};
use super::*;
use crate::store::AddRequest;
use crate::{AdditionId, failpoint};

/// The longest pause between two tries while the database is away.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long the first try of a batch waits for a lock, and one that is known to meet one.
const FIRST_WAIT: Duration = Duration::from_millis(600);
pub(super) const APART_WAIT: Duration = Duration::from_millis(10);
/// How long a batch that met a lock is divided; what was not written by then is set aside.
const DIVIDE_MAX: Duration = Duration::from_millis(500);

struct Group {
    /// How many tasks it has.
    size: usize,
    ticket: Arc<Ticket>,
    /// Where it was set aside before.
    place: Option<Place>,
    /// It met a lock by itself.
    alone: bool,
}

/// Groups that are written by one statement, one behind the other.
#[derive(Default)]
pub(super) struct Batch {
    tasks: Vec<NewTask>,
    groups: Vec<Group>,
    /// The last try to write what is not settled.
    addition: Option<AdditionId>,
}

impl Batch {
    pub fn push(&mut self, tasks: Vec<NewTask>, ticket: Arc<Ticket>, place: Option<Place>) {
        self.groups.push(Group { size: tasks.len(), ticket, place, alone: false });
        if self.tasks.is_empty() {
            self.tasks = tasks;
        } else {
            self.tasks.extend(tasks);
        }
    }

    /// How many groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn into_groups(self) -> impl Iterator<Item = (Vec<NewTask>, Arc<Ticket>, Option<Place>)> {
        let mut tasks = self.tasks.into_iter();
        self.groups.into_iter().map(move |group| (tasks.by_ref().take(group.size).collect(), group.ticket, group.place))
    }

    /// What is left of it without the groups that are settled before it is written.
    fn without_withdrawn(self) -> Self {
        if self.groups.iter().all(|group| group.ticket.peek().is_none()) {
            return self;
        }
        let mut left = Self::default();
        for (tasks, ticket, place) in self.into_groups().filter(|(_, ticket, _)| ticket.peek().is_none()) {
            left.push(tasks, ticket, place);
        }
        left
    }

    /// Those that need nothing which another addition may hold first; how many these are.
    fn plain_first(&mut self) -> usize {
        let old = std::mem::take(self);
        let addition = old.addition;
        let (plain, linked): (Vec<_>, Vec<_>) = old.into_groups().partition(|(tasks, ..)| tasks.iter().all(is_plain));
        let count = plain.len();
        for (tasks, ticket, place) in plain.into_iter().chain(linked) {
            self.push(tasks, ticket, place);
        }
        self.addition = addition;
        count
    }

    /// Where the tasks of each group begin, and where the last ones end.
    fn offsets(&self) -> Vec<usize> {
        let ends = self.groups.iter().scan(0, |end, group| {
            *end += group.size;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Each group with its tasks; and the last try.
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

/// How a batch is divided.
pub(super) struct Tried {
    /// Parts to be tried, the first one last.
    pub parts: Vec<Range<usize>>,
    /// What is not to be tried, and not to be overtaken.
    pub before: Claims,
    pub until: Instant,
    /// How long a try waits for a lock.
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
        let Self { store, shared, aliases, writing, .. } = self;
        let batch = writing.insert(batch);
        let mut write = Write { store: store.as_ref(), shared, aliases, addition: &mut batch.addition };
        match write.first(&batch.tasks, FIRST_WAIT).await {
            Ok(added) => settle(shared, &batch.groups, added),
            Err(Error::Locked(_)) => {
                let plain = batch.plain_first();
                let mut parts = vec![plain..batch.groups.len(), 0..plain];
                if batch.groups.len() == 1 {
                    batch.groups[0].alone = true;
                    parts.clear();
                }
                let (before, until) = (Claims::default(), Instant::now() + DIVIDE_MAX);
                self.divide(Tried { parts, before, until, wait: APART_WAIT }).await;
            }
            // Transient ones come back only once the client was closed.
            Err(error) if batch.groups.len() == 1 || error.is_transient() => {
                batch.groups.iter().for_each(|group| shared.settle(&group.ticket, Err(error.clone())));
            }
            Err(_) => {
                let parts = (0..batch.groups.len()).rev().map(|at| at..at + 1).collect();
                let (before, until) = (Claims::default(), Instant::now() + DIVIDE_MAX);
                self.divide(Tried { parts, before, until, wait: FIRST_WAIT }).await;
            }
        }
        self.writing = None;
        self.shared.lock().withdrawn.clear();
    }

    pub(super) fn rename_parents(&self, batch: &mut Batch) {
        rename_parents(&self.aliases, &mut batch.tasks);
    }

    /// Writes the batch under way part by part. One that meets a lock is halved; what is not written is set aside, and with
    /// it what depends on it. Returns the place of the first group that was not tried for want of time.
    pub(super) async fn divide(&mut self, tried: Tried) -> Option<Place> {
        let Tried { mut parts, mut before, until, wait } = tried;
        let Self { store, shared, aliases, writing, .. } = self;
        let batch = writing.as_mut()?;
        let offsets = batch.offsets();
        let (tasks, groups) = (&mut batch.tasks, &mut batch.groups);
        let mut write = Write { store: store.as_ref(), shared, aliases, addition: &mut batch.addition };
        let mut locked = false;
        while let Some(part) = parts.pop() {
            let of_part = &mut tasks[offsets[part.start]..offsets[part.end]];
            if part.is_empty() {
                continue;
            }
            // Nothing was met yet: refusals alone are not limited in time.
            if locked && Instant::now() >= until {
                parts.push(part);
                break;
            }
            let halves = |parts: &mut Vec<Range<usize>>| {
                let middle = part.start + part.len() / 2;
                parts.extend([middle..part.end, part.start..middle]);
            };
            // A part before this one may have met a key that another task holds.
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
                Ok(added) => settle(shared, &groups[part], added),
                Err(Error::Locked(_)) if part.len() == 1 => {
                    locked = true;
                    before.add(of_part);
                    groups[part.start].alone = true;
                }
                Err(Error::Locked(_)) => {
                    locked = true;
                    halves(&mut parts);
                }
                Err(error) if part.len() == 1 || error.is_transient() => {
                    groups[part].iter().for_each(|group| shared.settle(&group.ticket, Err(error.clone())));
                }
                Err(_) => parts.extend(part.rev().map(|at| at..at + 1)),
            }
        }
        let untried = parts.iter().filter(|part| !part.is_empty()).map(|part| part.start).min();
        let resume = untried.and_then(|at| groups[at].place);
        self.set_rest_aside();
        resume
    }

    /// Sets aside of the batch under way what is not settled.
    fn set_rest_aside(&mut self) {
        let Some(batch) = self.writing.take() else { return };
        let alone: Vec<bool> = batch.groups.iter().map(|group| group.alone).collect();
        for ((tasks, ticket, place), alone) in batch.into_groups().zip(alone) {
            if ticket.peek().is_none() {
                self.aside.put(place, tasks, ticket, alone);
            }
        }
        self.count_aside();
    }

    /// Brings to its end what an interruption left begun.
    pub(super) async fn settle_interrupted(&mut self) {
        let Self { store, shared, aliases, writing, .. } = self;
        let Some(batch) = writing else { return };
        let (begun, offsets) = (batch.addition, batch.offsets());
        let mut before = Claims::default();
        let mut write = Write { store: store.as_ref(), shared, aliases, addition: &mut batch.addition };
        for (at, group) in batch.groups.iter().enumerate().filter(|(_, group)| group.ticket.peek().is_none()) {
            let tasks = &mut batch.tasks[offsets[at]..offsets[at + 1]];
            rename_parents(write.aliases, tasks);
            if before.concern(tasks) {
                before.add(tasks);
                continue;
            }
            // What was tried for all of them is asked for each of them.
            *write.addition = begun;
            match write.again(tasks).await {
                // It is tried again apart, and with it what depends on it.
                Err(Error::Locked(_)) => before.add(tasks),
                outcome => shared.settle(&group.ticket, outcome),
            }
        }
        self.set_rest_aside();
    }
}

/// Names the task that stands in for a parent in its place.
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

/// What writing a batch needs of the writer.
struct Write<'a> {
    store: &'a dyn Store,
    shared: &'a Shared,
    aliases: &'a mut HashMap<TaskId, TaskId>,
    addition: &'a mut Option<AdditionId>,
}

impl Write<'_> {
    /// Writes one batch, however long the database is away; only a refusal comes back, or that it met a lock, for which it
    /// waited so long: nothing was stored then.
    async fn first(&mut self, batch: &[NewTask], lock_wait: Duration) -> Result<Vec<Added>> {
        let request = AddRequest::new(batch);
        *self.addition = Some(request.id);
        failpoint!("add", Before);
        let added = self.store.add_batch_within(request, lock_wait).await;
        failpoint!("add", After);
        let added = match added {
            Err(locked @ Error::Locked(_)) => Err(locked),
            Err(error) if error.is_transient() => self.go_on(batch, request.id, Some(error)).await,
            added => added,
        };
        self.known(batch, added)
    }

    /// The same for a batch that an interruption left begun: it may have been written.
    async fn again(&mut self, batch: &[NewTask]) -> Result<Vec<Added>> {
        let Some(addition) = *self.addition else { return self.first(batch, APART_WAIT).await };
        let added = self.go_on(batch, addition, None).await;
        self.known(batch, added)
    }

    fn known(&mut self, batch: &[NewTask], added: Result<Vec<Added>>) -> Result<Vec<Added>> {
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

    /// Goes on after a try whose outcome is unknown: asks for it, which decides it, and tries again if nothing was stored.
    async fn go_on(
        &mut self,
        batch: &[NewTask],
        mut addition: AdditionId,
        mut error: Option<Error>,
    ) -> Result<Vec<Added>> {
        let mut pause = Duration::from_millis(50);
        let mut answers: HashMap<TaskId, Added> = HashMap::with_capacity(batch.len());
        let mut left: Vec<NewTask> = batch.to_vec();
        loop {
            if let Some(error) = &error {
                self.pause(error, batch, pause).await?;
                pause = (pause * 2).min(BACKOFF_MAX);
            }
            let ids: Vec<TaskId> = left.iter().map(|task| task.id).collect();
            let stored = match self.store.added(addition, &ids).await {
                Ok(stored) => stored,
                Err(again) if again.is_transient() => {
                    error = Some(again);
                    continue;
                }
                Err(refusal) => return Err(refusal),
            };
            if let Some(first) = stored.iter().position(|stored| *stored) {
                // A batch is atomic: what is missing of it has a key that another task held, or an id of it was taken before.
                if left.iter().zip(&stored).any(|(task, stored)| !stored && task.unique.is_none()) {
                    return Err(Error::DuplicateId(ids[first]));
                }
                let found = ids.iter().zip(&stored).filter(|(_, stored)| **stored);
                answers.extend(found.map(|(id, _)| (*id, Added { id: *id, existing: false })));
                left.retain(|task| !answers.contains_key(&task.id));
                if !left.is_empty() {
                    // Only the answer that nothing is stored refuses what may still be on its way.
                    error = None;
                    continue;
                }
            }
            for id in ids.iter().filter(|id| self.shared.lock().withdrawn.contains(id)) {
                // Its ticket is settled: nobody is told this.
                answers.entry(*id).or_insert(Added { id: *id, existing: false });
            }
            left.retain(|task| !answers.contains_key(&task.id));
            if !left.is_empty() {
                let request = AddRequest::new(&left);
                addition = request.id;
                *self.addition = Some(addition);
                match self.store.add_batch(request).await {
                    Ok(added) => answers.extend(left.iter().map(|task| task.id).zip(added)),
                    Err(locked @ Error::Locked(_)) if answers.is_empty() => return Err(locked),
                    Err(again) if again.is_transient() => {
                        error = Some(again);
                        continue;
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            return Ok(batch.iter().map(|task| answers[&task.id]).collect());
        }
    }

    fn give_up(&self, batch: &[NewTask], error: &Error) -> Result<()> {
        leaving::name(batch, "may be lost: whether it was written is not known at the shutdown", error);
        Err(error.clone())
    }

    /// Notes that the database is away and waits before the next try.
    ///
    /// # Errors
    /// The error given, if the client is closed meanwhile.
    async fn pause(&self, error: &Error, batch: &[NewTask], pause: Duration) -> Result<()> {
        let (is_news, given_up) = {
            let mut waiting = self.shared.lock();
            (waiting.away.replace(error.to_string()).is_none(), waiting.given_up)
        };
        if given_up {
            return self.give_up(batch, error);
        }
        if is_news {
            self.shared.tell_room();
            tracing::warn!(%error, waiting = batch.len(), "the database is away; additions wait in memory");
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => Ok(()),
            () = self.shared.lost.notified() => {
                self.give_up(batch, error)
            }
        }
    }
}
