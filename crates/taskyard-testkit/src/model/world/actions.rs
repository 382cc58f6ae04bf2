//! All actions that may happen next, of clients, servers, upkeep and operators. Their effects are in `act.rs`.

use super::*;
use crate::model::kinds;

impl World {
    /// Returns all actions that may happen now.
    #[must_use]
    pub fn actions(&self, setup: &Setup) -> Vec<Action> {
        let mut next = Vec::with_capacity(32);
        self.client_actions(setup, &mut next);
        for proc in 0..self.procs.len() {
            self.proc_actions(setup, proc, &mut next);
        }
        self.upkeep_actions(setup, &mut next);
        self.person_actions(setup, &mut next);
        next
    }

    fn client_actions(&self, setup: &Setup, next: &mut Vec<Action>) {
        for (batch, asked) in self.asked.iter().enumerate() {
            let parents_there = setup.batches[batch].iter().all(|new| {
                new.parents
                    .iter()
                    .all(|id| self.db.task(*id).is_some() || setup.batches[batch].iter().any(|other| other.id == *id))
            });
            match asked {
                Asked::No if parents_there => {
                    if setup.rules.parents_unlocked && !setup.batches[batch][0].parents.is_empty() {
                        next.push(Action::LookAtParents { batch });
                    } else {
                        next.push(Action::Add { batch, reply_lost: false });
                        if self.budget.lost_adds > 0 {
                            next.push(Action::Add { batch, reply_lost: true });
                            next.push(Action::AddDelayed { batch });
                        }
                    }
                }
                Asked::Looked(_) => next.push(Action::Add { batch, reply_lost: false }),
                Asked::InDoubt(_) => next.push(Action::AskBack { batch }),
                _ => {}
            }
        }
        next.extend((0..self.on_the_way.len()).map(|at| Action::AddArrives { at }));
    }

    fn proc_actions(&self, setup: &Setup, at: usize, next: &mut Vec<Action>) {
        let proc = &self.procs[at];
        if !proc.alive {
            next.push(Action::Restart { proc: at });
            return;
        }
        if self.budget.deaths > 0 {
            next.push(Action::Die { proc: at });
        }
        if proc.frozen {
            next.push(Action::Thaw { proc: at });
            return;
        }
        if proc.outdated {
            next.push(Action::Reenter { proc: at });
        }
        if self.budget.freezes > 0 && !proc.runs.is_empty() {
            next.push(Action::Freeze { proc: at });
        }
        let row = self.db.servers.iter().find(|row| row.id == proc.server && !row.dead);
        let live = row.is_some_and(|row| row.lease_until > self.db.now);
        let news = self.db.signals.iter().any(|row| {
            row.server == proc.server && proc.runs.iter().any(|run| run.writer.token == row.token && !run.signalled)
        });
        if !live || news {
            next.push(Action::Beat { proc: at });
        }
        if live && proc.runs.len() < setup.slots && !self.db.ready.is_empty() {
            let runs_alone = self.db.ready.iter().any(|row| row.lane == crate::model::Lane::Alone);
            for alone in [false, true] {
                if !alone || (runs_alone && proc.runs.is_empty() && proc.lost_claims.is_empty()) {
                    next.push(Action::Claim { proc: at, alone, reply_lost: false });
                    if self.budget.lost_claims > 0 {
                        next.push(Action::Claim { proc: at, alone, reply_lost: true });
                    }
                }
            }
        }
        next.extend(proc.lost_claims.iter().map(|claim| Action::ReadBack { proc: at, claim: *claim }));
        for (run, believed) in proc.runs.iter().enumerate() {
            if believed.sent.is_some() {
                next.push(Action::WriteAgain { proc: at, run });
                continue;
            }
            if setup.records {
                next.push(Action::Record { proc: at, run });
            }
            self.ends(setup, proc, believed, &mut |outcome| {
                next.push(Action::Finish { proc: at, run, outcome, reply_lost: false });
                if self.budget.lost_writes > 0 {
                    next.push(Action::Finish { proc: at, run, outcome, reply_lost: true });
                }
            });
        }
    }

    /// Calls `push` with each end that an attempt may have now.
    fn ends(&self, setup: &Setup, proc: &Proc, run: &Run, push: &mut dyn FnMut(Outcome)) {
        let known = proc.build.and_then(|build| setup.knows.get(usize::from(build)));
        if known.is_some_and(|known| !known.contains(&run.writer.task)) {
            return push(Outcome::Refused);
        }
        push(Outcome::Done(0));
        if run.signalled {
            push(Outcome::Interrupted);
        }
        if self.budget.ends > 0 {
            setup.ends.iter().for_each(|outcome| push(*outcome));
        }
    }

    fn upkeep_actions(&self, setup: &Setup, next: &mut Vec<Action>) {
        for row in &self.db.servers {
            let lapsed = row.lease_until <= self.db.now;
            let living = self.procs.iter().any(|proc| proc.alive && proc.server == row.id);
            if !lapsed && !row.dead && (self.budget.lapses > 0 || !living) {
                next.push(Action::Lapse { server: row.id });
            }
            let holds = self.db.claims.iter().any(|claim| claim.server == row.id);
            if (lapsed && !row.dead) || (row.dead && holds) {
                if setup.rules.rescue_in_two_steps {
                    if self.rescuing.is_none() {
                        next.push(Action::RescueReads { server: row.id });
                    }
                } else {
                    next.push(Action::Rescue { server: row.id });
                }
            }
        }
        if self.rescuing.is_some() {
            next.push(Action::RescueWrites);
        }
        if self.next_due().is_some() {
            next.push(Action::Promote);
        }
        if !self.db.cascades.is_empty() {
            next.push(Action::Cascade);
        }
        // Servers that may know a parked kind look for its tasks.
        let parked = self.db.parked(false).into_iter().map(|(reason, _)| reason);
        let wanted = parked.filter(|reason| kinds::kind_of(*reason).is_none_or(|kind| self.db.may_be_known(kind)));
        next.extend(wanted.map(|reason| Action::Unpark { reason }));
        if !self.db.unknown().is_empty() {
            next.push(Action::Regroup);
        }
        next.extend(self.db.builds_without_server().into_iter().map(|build| Action::ForgetBuild { build }));
        if self.budget.failovers > 0 {
            next.extend((1..=self.past.len()).map(|commits| Action::FailOver { commits }));
        }
    }

    fn person_actions(&self, setup: &Setup, next: &mut Vec<Action>) {
        let budget = &self.budget;
        for task in &self.db.tasks {
            let id = task.id;
            let cancellable = !matches!(task.state, TaskState::Done | TaskState::Failed | TaskState::Cancelled);
            if budget.cancels > 0 && cancellable && !task.cancel_requested {
                next.push(Action::Cancel { task: id });
            }
            if budget.stops > 0 && task.state == TaskState::Doing && !task.stop_requested {
                next.push(Action::Stop { task: id });
            }
            if budget.priorities > 0 && matches!(task.state, TaskState::Waiting | TaskState::Enqueued) {
                next.push(Action::SetPriority { task: id, priority: 2 });
            }
            if budget.retries > 0 && task.state.is_final() && task.state != TaskState::Done {
                next.push(Action::Retry { task: id });
            }
        }
        let paused = self.db.queues.iter().find(|row| row.paused);
        match paused {
            Some(row) => next.push(Action::Resume { queue: row.id }),
            None if budget.pauses > 0 && setup.servers > 0 => next.push(Action::Pause { queue: QueueNo(0) }),
            None => {}
        }
    }
}
