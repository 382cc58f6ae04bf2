//! Compares everything visible of a store with the model.

use std::collections::BTreeMap;

use taskyard_core::task::{Attempt, AttemptOutcome};
use taskyard_core::{TaskRecord, TaskState};

use super::names::{self, instant};
use super::pair::{Pair, same, works};
use crate::model::{Db, Task, TaskNo};

impl Pair {
    /// After a step: compares every task's row, the statistics, and the history of the tasks that the step has changed.
    pub(super) async fn compare(&mut self, before: &Db) -> Result<(), String> {
        let records = works("get", self.store.get(&self.names.tasks).await)?;
        self.agree_on_falls(before, &records);
        self.compare_rows(&records)?;
        self.compare_figures().await?;
        for task in self.db.tasks.iter().filter(|task| before.task(task.id) != Some(task)) {
            self.compare_history(task).await?;
        }
        Ok(())
    }

    /// At the end: also compares the history of all tasks, and the views of their children and waiters.
    pub(super) async fn compare_everything(&self) -> Result<(), String> {
        let records = works("get", self.store.get(&self.names.tasks).await)?;
        self.compare_rows(&records)?;
        for task in &self.db.tasks {
            self.compare_history(task).await?;
            self.compare_family(task).await?;
        }
        self.compare_finals().await
    }

    /// If several parents ended in this one step, the store may choose which of them made a child fall.
    fn agree_on_falls(&mut self, before: &Db, records: &[Option<TaskRecord>]) {
        for (at, record) in records.iter().enumerate() {
            let (number, Some(record)) = (TaskNo(at as u16), record) else { continue };
            let Some(root) = record.fallen_from.and_then(|root| self.names.task_number(root)) else { continue };
            let of = |db: &Db| db.task(number).map(|task| (task.state, task.fallen_from));
            let differs = of(&self.db) != Some((record.state, Some(root)));
            if differs && of(&self.db) != of(before) && self.db.falls_with(number, record.state, root) {
                self.count("another of several parents was named".into());
            }
        }
    }

    fn compare_rows(&self, records: &[Option<TaskRecord>]) -> Result<(), String> {
        for (at, record) in records.iter().enumerate() {
            let number = TaskNo(at as u16);
            match (self.db.task(number), record) {
                (Some(task), Some(record)) => {
                    self.compare_row(task, record).map_err(|what| format!("{number:?} ({}): {what}", record.id))?;
                }
                (None, None) => {}
                (task, record) => {
                    return same(&format!("{number:?} exists"), task.is_some(), record.is_some());
                }
            }
        }
        Ok(())
    }

    fn compare_row(&self, task: &Task, record: &TaskRecord) -> Result<(), String> {
        let waiting = self.db.waiting_row(task.id);
        same("state", task.state, record.state)?;
        same("wait_reason", waiting.map(|row| row.reason), record.wait_reason)?;
        same("attempt", task.attempt, record.attempt)?;
        same("failures", task.failures, record.failures)?;
        same("lost", task.lost, record.lost)?;
        same("crashes", task.crashes, record.crashes)?;
        same("alone", task.alone, record.alone)?;
        same("cancel_requested", task.cancel_requested, record.cancel_requested)?;
        same("stop_requested", task.stop_requested, record.stop_requested)?;
        same("payload_encoded", task.python, record.payload_encoded)?;
        same("result_encoded", task.python, record.result_encoded)?;
        same("result", task.result.map(names::result), record.result.clone())?;
        same("error", task.error.map(|blame| self.names.blame(blame)), record.error.clone())?;
        same("fallen_from", task.fallen_from.map(|root| self.names.task(root)), record.fallen_from)?;
        let parents = self.parents(task.id).into_iter().map(|parent| self.names.task(parent)).collect::<Vec<_>>();
        same("parents", parents, record.parents.clone())?;
        same("queue", names::queue(task.queue), record.queue.clone())?;
        same("priority", i32::from(task.priority), record.priority)?;
        same("runtime", names::runtime(task.python), record.runtime)?;
        same("on_parent_failure", task.on_parent_failure, record.on_parent_failure)?;
        same("at_most_once", task.at_most_once, record.at_most_once)?;
        same("auto_remove", task.auto_remove, record.auto_remove)?;
        same("unique_key", task.unique.map(|(key, _)| names::key(key.0)), record.unique_key.clone())?;
        same("created_at", instant(task.created_at), record.created_at)?;
        same("run_at", task.run_at.map(instant), record.run_at)?;
        same("expires_at", task.expires_at.map(instant), record.expires_at)?;
        same("started_at", task.started_at.map(instant), record.started_at)?;
        same("finished_at", task.finished_at.map(instant), record.finished_at)?;
        if task.state == TaskState::Doing {
            same("server", task.server.map(|server| self.names.server(server)), record.server)?;
        }
        Ok(())
    }

    /// Returns the parents of a task, in the order given.
    fn parents(&self, task: TaskNo) -> Vec<TaskNo> {
        let mut edges: Vec<_> = self.db.edges.iter().filter(|edge| edge.child == task).collect();
        edges.sort_by_key(|edge| edge.place);
        edges.iter().map(|edge| edge.parent).collect()
    }

    /// Compares attempts, context and log lines of one task.
    async fn compare_history(&self, task: &Task) -> Result<(), String> {
        let id = self.names.task(task.id);
        let row = |number, outcome, error| format!("{number} {outcome:?} {error:?}");
        let mut model: Vec<String> = task
            .history
            .iter()
            .map(|kept| row(kept.number, kept.outcome, kept.error.map(|blame| self.names.blame(blame))))
            .collect();
        let current = if task.state == TaskState::Doing { Some(AttemptOutcome::Doing) } else { task.ended };
        if let Some(outcome) = current {
            let failed = matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::Crashed);
            let error = task.error.filter(|_| failed).map(|blame| self.names.blame(blame));
            model.push(row(task.attempt, outcome, error));
        }
        let attempts: Vec<Attempt> = works("attempts", self.store.attempts(id).await)?;
        let store = attempts.iter().map(|kept| row(kept.number, kept.outcome, kept.error.clone())).collect();
        same(&format!("attempts of {:?}", task.id), model, store)?;
        let context = works("context", self.store.context(id).await)?;
        let expected = task.context.map_or(b"{}".to_vec(), names::context);
        same(&format!("context of {:?}", task.id), Some(text(&expected)), context.as_deref().map(text))?;
        let lines = works("logs", self.store.logs(id, 0, 1_000).await)?;
        same(&format!("log lines of {:?}", task.id), task.logs as usize, lines.len())
    }

    async fn compare_family(&self, task: &Task) -> Result<(), String> {
        let id = self.names.task(task.id);
        let mut children = works("children", self.store.children(id, 1_000).await)?;
        children.sort();
        let edges = self.db.edges.iter().filter(|edge| edge.parent == task.id);
        let mut model: Vec<_> = edges.map(|edge| self.names.task(edge.child)).collect();
        model.sort();
        same(&format!("children of {:?}", task.id), model, children)?;
        let results = works("parent_results", self.store.parent_results(id).await)?;
        let model: Vec<_> = self
            .parents(task.id)
            .into_iter()
            .filter_map(|parent| self.db.task(parent))
            .map(|parent| (self.names.task(parent.id), parent.state, parent.result.map(names::result)))
            .collect();
        let mut sizes = works("parent_sizes", self.store.parent_sizes(id).await)?;
        sizes.sort();
        let size = |result: &Option<Vec<u8>>| result.as_ref().map_or(4, Vec::len);
        let mut model_sizes: Vec<_> = model.iter().map(|(id, _, result)| (*id, size(result))).collect();
        model_sizes.sort();
        same(&format!("sizes of parents' results of {:?}", task.id), model_sizes, sizes)?;
        let store = results.into_iter().map(|parent| (parent.id, parent.state, parent.result)).collect();
        same(&format!("parents' results of {:?}", task.id), model, store)
    }

    async fn compare_finals(&self) -> Result<(), String> {
        let mut finals: Vec<_> = works("finals", self.store.finals(&self.names.tasks).await)?
            .into_iter()
            .map(|end| (end.id, end.state, end.result))
            .collect();
        finals.sort_by_key(|end| end.0);
        let ended = self.db.tasks.iter().filter(|task| task.state.is_final());
        let mut model: Vec<_> =
            ended.map(|task| (self.names.task(task.id), task.state, task.result.map(names::result))).collect();
        model.sort_by_key(|end| end.0);
        same("finals", model, finals)
    }

    /// Compares the statistics of the queues and of the whole store.
    async fn compare_figures(&self) -> Result<(), String> {
        let stats = |paused, max: Option<u64>, enqueued, waiting, doing| {
            format!("paused {paused}, at most {max:?}; {enqueued} enqueued, {waiting} waiting, {doing} doing")
        };
        let mut store: BTreeMap<String, String> = BTreeMap::new();
        for row in works("queues", self.store.queues().await)? {
            let max = row.running_max.map(u64::from);
            // A queue with only finished tasks may be listed or not.
            if row.paused || max.is_some() || row.enqueued + row.waiting + row.doing > 0 {
                store.insert(row.name, stats(row.paused, max, row.enqueued, row.waiting, row.doing));
            }
        }
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        for row in self.db.stats() {
            let max = row.running_max.map(|max| max as u64);
            if row.paused || max.is_some() || row.enqueued + row.waiting + row.doing > 0 {
                let name = names::queue(row.queue);
                model.insert(name, stats(row.paused, max, row.enqueued, row.waiting, row.doing));
            }
        }
        same("queues", model, store)?;
        let status = works("status", self.store.status().await)?;
        let count = |state| self.db.tasks.iter().filter(|task| task.state == state).count() as u64;
        same("status: tasks by state", TaskState::ALL.map(count), status.by_state)?;
        let alive = self.db.servers.iter().filter(|row| !row.dead && row.lease_until > self.db.now).count();
        same("status: servers alive", alive as u64, status.servers_alive)?;
        let parked = self.db.waiting.iter().filter(|row| row.parked.is_some()).count();
        same("status: parked", parked as u64, status.parked)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
