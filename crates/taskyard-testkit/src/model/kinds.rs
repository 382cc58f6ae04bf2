//! Builds that do not know every kind: which build has refused what, and which tasks are parked because no server knows
//! their kind.
//!
//! Here each task has a kind of its own, named like the task. The stores put the runnable tasks of refused kinds into
//! groups; here a claim checks what its build has refused, which is equivalent.

use taskyard_core::{TaskState, WaitReason};

use super::db::Db;
use super::names::{ServerNo, TaskNo};
use super::rules::Rules;

/// Returns the reason under which the kind of this task is parked.
pub(super) fn reason(task: TaskNo) -> u8 {
    100 + task.0 as u8
}

/// Returns the kind that such a reason names.
pub(super) fn kind_of(reason: u8) -> Option<TaskNo> {
    reason.checked_sub(100).map(|task| TaskNo(task.into()))
}

impl Db {
    /// Returns the build of a server, if it reported one.
    pub(super) fn build(&self, server: ServerNo) -> Option<u8> {
        self.servers.iter().find(|row| row.id == server).and_then(|row| row.build)
    }

    /// Returns whether this build was found not to know the kind.
    pub(super) fn has_refused(&self, build: Option<u8>, kind: TaskNo) -> bool {
        build.is_some_and(|build| self.refusals.contains(&(build, kind)))
    }

    /// Returns whether a server that was not declared dead may know the kind.
    #[must_use]
    pub fn may_be_known(&self, kind: TaskNo) -> bool {
        self.servers.iter().any(|row| !row.dead && !self.has_refused(row.build, kind))
    }

    /// Records that the build of this server does not know the kind of a task that it returns, and makes the task
    /// available to servers that may know it; parks it if there are none.
    pub(super) fn refuse(&mut self, id: TaskNo, server: ServerNo, rules: &Rules) {
        let build = self.build(server);
        let mut builds: Vec<u8> = build.into_iter().collect();
        if rules.refused_for_all {
            builds.extend(self.servers.iter().filter_map(|row| row.build));
        }
        for build in builds {
            if !self.refusals.contains(&(build, id)) {
                self.refusals.push((build, id));
            }
        }
        if build.is_some() && self.may_be_known(id) && !rules.parked_by_one {
            self.enqueue(id);
        } else {
            self.wait(id, WaitReason::Parked, None, Some(reason(id)));
        }
    }

    /// Returns runnable tasks whose kinds every server has refused.
    pub(super) fn unknown(&self) -> Vec<TaskNo> {
        let is_served = self.servers.iter().any(|row| !row.dead);
        self.ready.iter().map(|row| row.task).filter(|id| is_served && !self.may_be_known(*id)).collect()
    }

    /// Parks those tasks.
    pub(super) fn regroup(&mut self) {
        for id in self.unknown() {
            debug_assert_eq!(self.state(id), TaskState::Enqueued);
            self.wait(id, WaitReason::Parked, None, Some(reason(id)));
        }
    }

    /// Returns builds that have refused something and no longer have a server.
    pub(super) fn builds_without_server(&self) -> Vec<u8> {
        let has_server = |build: u8| self.servers.iter().any(|row| !row.dead && row.build == Some(build));
        let mut gone: Vec<u8> = self.refusals.iter().map(|(build, _)| *build).filter(|it| !has_server(*it)).collect();
        gone.dedup();
        gone
    }

    /// Deletes the refusals of such a build.
    pub(super) fn forget(&mut self, build: u8) {
        self.refusals.retain(|(other, _)| *other != build);
    }
}
