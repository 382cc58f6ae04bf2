//! A store and the model side by side, and the operations that both have executed so far.

use std::sync::Arc;

use taskyard_core::store::TestClock;
use taskyard_core::{Store, TaskId};

use super::Tally;
use super::names::{Names, instant};
use super::steps::{NewStep, Step};
use crate::model::{AddError, Addition, ClaimNo, Db, KeyNo, Outcome, QueueNo, Rules, ServerNo, TaskNo, Token, Writer};

/// Lease of the servers, in seconds: some steps let it lapse.
pub(super) const LEASE: i64 = 200;

/// An attempt whose token is known here.
#[derive(Clone, Debug)]
pub(super) struct Believed {
    pub(super) writer: Writer,
    pub(super) claim: ClaimNo,
    pub(super) expired: bool,
    pub(super) ended: bool,
}

/// A write that was made, for repeating it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) writer: Writer,
    pub(super) outcome: Outcome,
    pub(super) closed: Vec<ClaimNo>,
}

/// A store and the model.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) store: Arc<dyn Store>,
    pub(super) db: Db,
    pub(super) rules: Rules,
    pub(super) names: Names,
    pub(super) next_token: Token,
    pub(super) runs: Vec<Believed>,
    pub(super) lost_claims: Vec<ClaimNo>,
    pub(super) writes: Vec<Written>,
    pub(super) tally: Tally,
}

/// Returns an error unless the two values are equal.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: T, store: T) -> Result<(), String> {
    if model == store { Ok(()) } else { Err(format!("{what}: the model says {model:?}, the store {store:?}")) }
}

/// Unwraps a call that the model expects to succeed.
pub(super) fn works<T>(what: &str, outcome: taskyard_core::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{what} failed: {error}"))
}

impl Pair {
    pub(super) async fn new(store: Arc<dyn Store>, rules: Rules) -> Result<Self, String> {
        works("set_clock", store.set_clock(TestClock::Frozen(instant(0))).await)?;
        let mut pair = Self {
            store,
            db: Db::default(),
            rules,
            names: Names::default(),
            next_token: Token(0),
            runs: Vec::new(),
            lost_claims: Vec::new(),
            writes: Vec::new(),
            tally: Tally::new(),
        };
        pair.enter().await?;
        Ok(pair)
    }

    /// Executes one step on both sides and compares everything visible.
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), String> {
        let before = self.db.clone();
        self.count(step.name().into());
        match step {
            Step::Add(news) => self.add(news).await?,
            Step::AddTaken { task } => self.add_taken(*task).await?,
            Step::AddOrphan => self.add_orphan().await?,
            Step::Claim { server, python, queues, limit, alone, reply_lost } => {
                self.claim(*server, *python, queues.as_deref(), *limit, *alone, *reply_lost).await?;
            }
            Step::ReadBack { claim } => self.read_back(*claim).await?,
            Step::Finish(ends) => self.finish(ends).await?,
            Step::WriteAgain { write } => self.write_again(*write).await?,
            Step::Record { run, any, context, logs } => self.record(*run, *any, *context, *logs).await?,
            Step::Beat { server } => self.beat(*server).await?,
            Step::Rescue { server, stale } => self.rescue(*server, *stale).await?,
            Step::Enter => self.enter().await?,
            Step::Leave { server } => self.leave(*server).await?,
            Step::Cancel(tasks) => self.cancel(tasks).await?,
            Step::Stop(tasks) => self.stop(tasks).await?,
            Step::Retry(tasks) => self.retry(tasks).await?,
            Step::Purge(tasks) => self.purge(tasks).await?,
            Step::Priority { tasks, priority } => self.set_priority(tasks, *priority).await?,
            Step::Edit { task, queue, priority } => self.edit(*task, *queue, *priority).await?,
            Step::Apart { queue } => self.apart(*queue).await?,
            Step::Pause { queue, paused } => self.pause(*queue, *paused).await?,
            Step::Limit { queue, running_max } => self.limit(*queue, *running_max).await?,
            Step::Unpark { python, reason } => self.unpark(*python, *reason).await?,
            Step::Promote { seconds } => self.promote(*seconds).await?,
            Step::Cascade => self.cascade().await?,
        }
        if self.rules == Rules::default() {
            self.db.check().map_err(|what| format!("the model contradicts itself: {what}"))?;
        }
        for was in &before.tasks {
            match self.db.task(was.id) {
                Some(is) if is.state != was.state => self.count(format!("{} became {}", was.state, is.state)),
                Some(is) if is.fallen_from.is_some() && is.fallen_from != was.fallen_from => {
                    self.count("a fallen one fell with another".into());
                }
                None => self.count("one was removed".into()),
                Some(_) => {}
            }
            let kept = self.db.task(was.id).and_then(|is| is.history.get(was.history.len()));
            if let Some(kept) = kept.map(|kept| kept.outcome) {
                self.count(format!("an attempt was kept as {}", kept.as_str()));
            }
        }
        self.compare(&before).await
    }

    pub(super) fn count(&mut self, what: String) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Returns the existing task that a number selects, counted back from the newest.
    pub(super) fn pick(&self, number: u8) -> Option<TaskNo> {
        let count = self.db.tasks.len();
        (count > 0).then(|| self.db.tasks[count - 1 - usize::from(number) % count].id)
    }

    /// Returns the tasks that some numbers select, each once.
    pub(super) fn pick_all(&self, numbers: &[u8]) -> Vec<TaskNo> {
        let mut picked: Vec<TaskNo> = Vec::new();
        for task in numbers.iter().filter_map(|number| self.pick(*number)) {
            if !picked.contains(&task) {
                picked.push(task);
            }
        }
        picked
    }

    /// Returns the server that a number selects: mostly one that is not dead.
    pub(super) fn server(&self, number: u8) -> ServerNo {
        let living: Vec<ServerNo> = self.db.servers.iter().filter(|row| !row.dead).map(|row| row.id).collect();
        if living.is_empty() || number.is_multiple_of(32) {
            ServerNo(u16::from(number) % self.names.servers.len() as u16)
        } else {
            living[usize::from(number) % living.len()]
        }
    }

    async fn add(&mut self, news: &[NewStep]) -> Result<(), String> {
        let mut batch: Vec<Addition> = Vec::new();
        for new in news {
            let mut known: Vec<TaskNo> = self.db.tasks.iter().map(|task| task.id).collect();
            known.extend(batch.iter().map(|new| new.id));
            let mut parents: Vec<TaskNo> = Vec::new();
            for back in new.parents.iter().filter(|_| !known.is_empty()) {
                let parent = known[known.len() - 1 - usize::from(*back) % known.len()];
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
            let id = self.new_task();
            batch.push(Addition {
                id,
                parents,
                on_parent_failure: new.on_parent_failure,
                queue: QueueNo(new.queue),
                priority: new.priority,
                python: new.python,
                start: new.start,
                expires: new.expires,
                unique: new.unique.map(|(key, hold)| (KeyNo(key), hold)),
                at_most_once: new.at_most_once,
                auto_remove: new.auto_remove,
                context: new.context,
            });
        }
        let real: Vec<_> = batch.iter().map(|new| self.names.addition(new)).collect();
        let added = works("add", self.store.add(&real).await)?;
        let store: Vec<(TaskId, bool)> = added.iter().map(|added| (added.id, added.existing)).collect();
        let model = self.db.add(&batch).map_err(|error| format!("the model refuses the addition: {error:?}"))?;
        same("add", model.iter().map(|(id, existing)| (self.names.task(*id), *existing)).collect(), store)
    }

    fn new_task(&mut self) -> TaskNo {
        self.names.tasks.push(TaskId::generate());
        TaskNo(self.names.tasks.len() as u16 - 1)
    }

    async fn add_taken(&mut self, task: u8) -> Result<(), String> {
        let Some(taken) = self.pick(task) else {
            return Ok(());
        };
        let fresh = self.new_task();
        let batch = [Addition::new(fresh), Addition::new(taken)];
        same("add", Err(AddError::Duplicate(taken)), self.db.add(&batch))?;
        let real: Vec<_> = batch.iter().map(|new| self.names.addition(new)).collect();
        let expected = taskyard_core::Error::DuplicateId(self.names.task(taken));
        same("add", Some(expected), self.store.add(&real).await.err())
    }

    async fn add_orphan(&mut self) -> Result<(), String> {
        let (fresh, orphan, missing) = (self.new_task(), self.new_task(), self.new_task());
        let batch = [Addition::new(fresh), Addition { parents: vec![fresh, missing], ..Addition::new(orphan) }];
        same("add", Err(AddError::UnknownParent(orphan, missing)), self.db.add(&batch))?;
        let real: Vec<_> = batch.iter().map(|new| self.names.addition(new)).collect();
        let (task, parent) = (self.names.task(orphan), self.names.task(missing));
        let expected = taskyard_core::Error::UnknownParent { task, parent };
        same("add", Some(expected), self.store.add(&real).await.err())
    }
}
