//! Builds that do not know every kind: who has refused what, and what is parked because nobody knows it.
//!
//! Each task is of a kind of its own here, which is named as the task is. The stores keep the runnable tasks of refused kinds in
//! groups; here a claim asks what its build has refused, which comes to the same.

use taskyard_core::{TaskState, WaitReason};

use super::db::Db;
use super::names::{ServerNo, TaskNo};
use super::rules::Rules;

/// The reason under which the kind of this task is parked.
pub(super) fn reason(task: TaskNo) -> u8 {
    100 + task.0 as u8
}

/// The kind that such a reason names.
pub(super) fn kind_of(reason: u8) -> Option<TaskNo> {
    reason.checked_sub(100).map(|task| TaskNo(task.into()))
}

impl Db {
    /// The build of a server, if it says which it is.
    pub(super) fn build(&self, server: ServerNo) -> Option<u8> {
        self.servers.iter().find(|row| row.id == server).and_then(|row| row.build)
    }

    /// Whether this build was found not to know the kind.
    pub(super) fn has_refused(&self, build: Option<u8>, kind: TaskNo) -> bool {
        build.is_some_and(|build| self.refusals.contains(&(build, kind)))
    }

    /// Whether a server that was not declared dead may know the kind.
    #[must_use]
    pub fn may_be_known(&self, kind: TaskNo) -> bool {
        self.servers.iter().any(|row| !row.dead && !self.has_refused(row.build, kind))
    }

    /// Notes that the build of this server does not know the kind of the task that it gives back, and puts the task where
    /// servers that may know it find it; parked if there are none.
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

    /// Runnable tasks whose kinds every server has refused.
    pub(super) fn unknown(&self) -> Vec<TaskNo> {
        let is_served = self.servers.iter().any(|row| !row.dead);
        self.ready.iter().map(|row| row.task).filter(|id| is_served && !self.may_be_known(*id)).collect()
    }

    /// Parks them.
    pub(super) fn regroup(&mut self) {
        for id in self.unknown() {
            debug_assert_eq!(self.state(id), TaskState::Enqueued);
            self.wait(id, WaitReason::Parked, None, Some(reason(id)));
        }
    }

    /// Builds that have refused something and have no server any more.
    pub(super) fn builds_without_server(&self) -> Vec<u8> {
        let has_server = |build: u8| self.servers.iter().any(|row| !row.dead && row.build == Some(build));
        let mut gone: Vec<u8> = self.refusals.iter().map(|(build, _)| *build).filter(|it| !has_server(*it)).collect();
        gone.dedup();
        gone
    }

    /// Forgets what such a build has refused.
    pub(super) fn forget(&mut self, build: u8) {
        self.refusals.retain(|(other, _)| *other != build);
    }
}
