//! Operator commands, on both sides.

use taskyard_core::TaskId;
use taskyard_core::store::{ControlReply, TaskEdit};

use super::names;
use super::pair::{Pair, same, works};
use crate::model::{Control, Db, QueueNo, Rules, TaskNo};

impl Pair {
    pub(super) async fn cancel(&mut self, tasks: &[u8]) -> Result<(), String> {
        let (tasks, ids) = self.meant(tasks);
        let replies = works("cancel", self.store.cancel(&ids).await)?;
        self.control("cancel", &tasks, &replies, Db::cancel)
    }

    pub(super) async fn stop(&mut self, tasks: &[u8]) -> Result<(), String> {
        let (tasks, ids) = self.meant(tasks);
        let replies = works("stop", self.store.stop(&ids).await)?;
        self.control("stop", &tasks, &replies, |db, task, _| db.stop(task))
    }

    pub(super) async fn retry(&mut self, tasks: &[u8]) -> Result<(), String> {
        let (tasks, ids) = self.meant(tasks);
        let replies = works("retry", self.store.retry(&ids).await)?;
        self.control("retry", &tasks, &replies, Db::retry)
    }

    pub(super) async fn set_priority(&mut self, tasks: &[u8], priority: i8) -> Result<(), String> {
        let (tasks, ids) = self.meant(tasks);
        let replies = works("set_priority", self.store.set_priority(&ids, priority.into()).await)?;
        self.control("set_priority", &tasks, &replies, |db, task, rules| db.set_priority(task, priority, rules))
    }

    pub(super) async fn edit(&mut self, task: u8, queue: u8, priority: i8) -> Result<(), String> {
        let (tasks, ids) = self.meant(&[task]);
        let queue = QueueNo(queue);
        let edit =
            TaskEdit { queue: Some(names::queue(queue)), priority: Some(priority.into()), ..TaskEdit::default() };
        let Some(id) = ids.first() else { return Ok(()) };
        let replies = [works("edit", self.store.edit(*id, &edit).await)?];
        self.control("edit", &tasks, &replies, |db, task, _| db.edit(task, queue, priority))
    }

    fn meant(&self, tasks: &[u8]) -> (Vec<TaskNo>, Vec<TaskId>) {
        let tasks = self.pick_all(tasks);
        let ids = tasks.iter().map(|task| self.names.task(*task)).collect();
        (tasks, ids)
    }

    /// Compares replies; the tasks are processed one after the other, in the order given.
    fn control(
        &mut self,
        what: &str,
        tasks: &[TaskNo],
        replies: &[ControlReply],
        act: impl Fn(&mut Db, TaskNo, &Rules) -> Control,
    ) -> Result<(), String> {
        let names = &self.names;
        let reply = |reply| match reply {
            Control::Applied(state) => ControlReply::Applied(state),
            Control::Requested => ControlReply::Requested,
            Control::Refused(state) => ControlReply::Refused(state),
            Control::KeyHeld(holder) => ControlReply::KeyHeld(names.task(holder)),
            Control::NotFound => ControlReply::NotFound,
        };
        let model: Vec<ControlReply> = tasks.iter().map(|task| reply(act(&mut self.db, *task, &self.rules))).collect();
        same(what, model, replies.to_vec())
    }

    pub(super) async fn purge(&mut self, tasks: &[u8]) -> Result<(), String> {
        let (tasks, ids) = self.meant(tasks);
        let gone = works("purge", self.store.purge(&ids).await)?;
        same("purge", self.db.purge(&tasks), gone)
    }

    pub(super) async fn pause(&mut self, queue: u8, paused: bool) -> Result<(), String> {
        let queue = QueueNo(queue);
        self.db.set_paused(queue, paused);
        works("set_paused", self.store.set_paused(&names::queue(queue), paused).await)
    }

    pub(super) async fn limit(&mut self, queue: u8, running_max: Option<usize>) -> Result<(), String> {
        let queue = QueueNo(queue);
        self.db.set_limit(queue, running_max);
        let max = running_max.map(|max| max as u32);
        works("set_limit", self.store.set_limit(&names::queue(queue), max).await)
    }

    pub(super) async fn apart(&mut self, queue: u8) -> Result<(), String> {
        let queue = QueueNo(queue);
        self.db.set_apart(queue);
        let queues = [names::queue(queue)];
        while works("set_apart", self.store.set_apart(&queues).await)?.more {}
        Ok(())
    }
}
