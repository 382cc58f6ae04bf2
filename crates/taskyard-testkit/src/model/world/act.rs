//! Executes an action: on the database, and on the state of the clients and servers around it.

use taskyard_core::TaskState;

use super::{Action, Asked, LEASE, Run, Vec4, World};
use crate::model::add::Addition;
use crate::model::checks;
use crate::model::claim::{ClaimAsk, ClaimedTask};
use crate::model::db::Claim;
use crate::model::finish::{Outcome, Reply, Writer};
use crate::model::names::{AdditionNo, ClaimNo};
use crate::model::rules::Rules;
use crate::model::setups::Setup;

impl World {
    pub(super) fn act(&mut self, action: Action, setup: &Setup) -> Result<(), String> {
        let rules = &setup.rules;
        match action {
            Action::Add { batch, reply_lost } => self.add(batch, reply_lost, setup)?,
            Action::AddDelayed { batch } => {
                self.budget.lost_adds -= 1;
                let addition = self.name_addition();
                self.on_the_way.push((batch, addition));
                self.asked[batch] = Asked::InDoubt(addition);
            }
            Action::AddArrives { at } => {
                let (batch, addition) = self.on_the_way.remove(at);
                // The reply is not received by any client.
                let _ = self.db.add_as(addition, &setup.batches[batch]);
            }
            Action::AskBack { batch } => {
                if let Asked::InDoubt(addition) = self.asked[batch] {
                    let stored = self.db.added(addition, &setup.batches[batch], rules);
                    self.asked[batch] = if stored { Asked::Yes } else { Asked::No };
                }
            }
            Action::LookAtParents { batch } => {
                let mut seen: Vec4 = [None; 4];
                let states = self.db.parent_states(&setup.batches[batch][0].parents);
                seen.iter_mut().zip(states).for_each(|(seen, state)| *seen = Some(state));
                self.asked[batch] = Asked::Looked(seen);
            }
            Action::Claim { proc, alone, reply_lost } => self.claim(proc, alone, reply_lost, setup),
            Action::ReadBack { proc, claim } => {
                let got = self.db.claimed(claim);
                self.procs[proc].lost_claims.retain(|lost| *lost != claim);
                self.believe(proc, claim, &got);
            }
            Action::Beat { proc } => self.beat(proc),
            Action::Lapse { server } => {
                if self.procs.iter().any(|proc| proc.alive && proc.server == server) {
                    self.budget.lapses -= 1;
                }
                let now = self.db.now;
                self.db.servers.iter_mut().filter(|row| row.id == server).for_each(|row| row.lease_until = now);
            }
            Action::Rescue { server } => {
                let beat = self.db.servers.iter().find(|row| row.id == server).map_or(0, |row| row.beat);
                self.db.rescue(server, beat, false, rules);
            }
            Action::RescueReads { server } => {
                self.rescuing = Some(self.db.held_by(server));
                self.db.bury(server);
                // Only the rescuer's memory names the rows; the claim rows are deleted in the second step.
                self.db.claims.extend(self.rescuing.iter().filter(|held| !held.is_empty()).map(|held| Claim {
                    id: self.next_claim,
                    server,
                    tasks: held.clone(),
                }));
                self.next_claim.0 += 1;
            }
            Action::RescueWrites => {
                let mut budget = rules.inline_max;
                for task in self.rescuing.take().unwrap_or_default() {
                    self.db.claims.retain(|row| !row.tasks.contains(&task));
                    self.db.free_one(task, &mut budget);
                }
            }
            Action::Finish { proc, run, outcome, reply_lost } => {
                if !matches!(outcome, Outcome::Done(_) | Outcome::Interrupted | Outcome::Refused) {
                    self.budget.ends -= 1;
                }
                self.budget.lost_writes -= u8::from(reply_lost);
                self.write(proc, run, outcome, reply_lost, rules)?;
            }
            Action::WriteAgain { proc, run } => {
                let outcome = self.procs[proc].runs[run].sent.expect("only what was sent is written again");
                self.write(proc, run, outcome, false, rules)?;
            }
            Action::Record { proc, run } => {
                let writer = self.procs[proc].runs[run].writer;
                let before = self.db.task(writer.task).cloned();
                let reply = self.db.record(&writer, None, 0, rules);
                checks::record(before.as_ref(), &writer, reply)?;
                if !matches!(reply, Reply::Applied(_)) {
                    self.procs[proc].runs.remove(run);
                }
            }
            Action::Cancel { task } => {
                self.budget.cancels -= 1;
                self.db.cancel(task, rules);
            }
            Action::Stop { task } => {
                self.budget.stops -= 1;
                self.db.stop(task);
            }
            Action::Retry { task } => {
                self.budget.retries -= 1;
                self.db.retry(task, rules);
            }
            Action::SetPriority { task, priority } => {
                self.budget.priorities -= 1;
                self.db.set_priority(task, priority, rules);
            }
            Action::Pause { queue } => {
                self.budget.pauses -= 1;
                self.db.set_paused(queue, true);
            }
            Action::Resume { queue } => self.db.set_paused(queue, false),
            Action::Unpark { reason } => {
                self.db.unpark(false, reason);
            }
            Action::Regroup => self.db.regroup(),
            Action::ForgetBuild { build } => self.db.forget(build),
            Action::Promote => {
                self.db.now = self.db.now.max(self.next_due().unwrap_or(self.db.now));
                self.db.promote(rules);
            }
            Action::Cascade => {
                self.db.cascade(rules.inline_max.max(1));
            }
            Action::Die { proc } => {
                self.budget.deaths -= 1;
                let proc = &mut self.procs[proc];
                proc.alive = false;
                proc.forget();
            }
            Action::Restart { proc } => {
                self.procs[proc].server = self.enter(self.procs[proc].build);
                self.procs[proc].alive = true;
            }
            Action::Reenter { proc } => {
                self.procs[proc].forget();
                self.procs[proc].server = self.enter(self.procs[proc].build);
            }
            Action::Freeze { proc } => {
                self.budget.freezes -= 1;
                self.procs[proc].frozen = true;
            }
            Action::Thaw { proc } => self.procs[proc].frozen = false,
            Action::FailOver { commits } => self.fail_over(commits, setup),
        }
        Ok(())
    }

    fn add(&mut self, batch: usize, reply_lost: bool, setup: &Setup) -> Result<(), String> {
        self.budget.lost_adds -= u8::from(reply_lost);
        let news: &[Addition] = &setup.batches[batch];
        if let Asked::Looked(seen) = self.asked[batch] {
            for new in news {
                let states: Vec<TaskState> = seen.iter().flatten().copied().collect();
                self.db.next_order += 1;
                self.db.insert(self.db.next_order, new, &states);
            }
            self.asked[batch] = Asked::Yes;
            return Ok(());
        }
        let addition = self.name_addition();
        self.db.add_as(addition, news).map_err(|error| format!("an addition was refused: {error:?}"))?;
        self.asked[batch] = if reply_lost { Asked::InDoubt(addition) } else { Asked::Yes };
        Ok(())
    }

    fn name_addition(&mut self) -> AdditionNo {
        let addition = self.next_addition;
        self.next_addition.0 += 1;
        addition
    }

    fn claim(&mut self, proc: usize, alone: bool, reply_lost: bool, setup: &Setup) {
        self.budget.lost_claims -= u8::from(reply_lost);
        let claim = self.next_claim;
        self.next_claim.0 += 1;
        let limit = setup.claim_max.min(setup.slots - self.procs[proc].runs.len());
        let ask = ClaimAsk { server: self.procs[proc].server, claim, python: false, queues: None, limit, alone };
        let got = self.db.claim(&ask, &mut self.next_token);
        if reply_lost {
            self.procs[proc].lost_claims.push(claim);
        } else {
            self.believe(proc, claim, &got.tasks);
        }
    }

    fn believe(&mut self, proc: usize, claim: ClaimNo, got: &[ClaimedTask]) {
        let server = self.procs[proc].server;
        self.procs[proc].runs.extend(got.iter().map(|task| Run {
            writer: Writer { task: task.task, token: task.token, server, attempt: task.attempt },
            claim,
            sent: task.expired.then_some(Outcome::Expired),
            signalled: false,
        }));
    }

    fn beat(&mut self, at: usize) {
        let answer = self.db.beat(self.procs[at].server, LEASE);
        if answer.dead {
            // All attempts are killed, and the process continues under a new id.
            self.procs[at].forget();
            self.procs[at].server = self.enter(self.procs[at].build);
            return;
        }
        for run in &mut self.procs[at].runs {
            run.signalled |= answer.signals.iter().any(|row| row.token == run.writer.token);
        }
    }

    fn write(&mut self, proc: usize, run: usize, outcome: Outcome, lost: bool, rules: &Rules) -> Result<(), String> {
        let believed = self.procs[proc].runs[run];
        let others = self.procs[proc].runs.iter().enumerate();
        let last = !others.filter(|(at, _)| *at != run).any(|(_, other)| other.claim == believed.claim);
        let closed: Vec<ClaimNo> = last.then_some(believed.claim).into_iter().collect();
        let before = self.db.task(believed.writer.task).cloned();
        let reply = self.db.finish(&[(believed.writer, outcome)], &closed, rules)[0];
        checks::write(before.as_ref(), &believed.writer, outcome, reply, self.db.task(believed.writer.task))?;
        if outcome == Outcome::Refused && matches!(reply, Reply::Applied(_)) {
            checks::refusal(&self.db, believed.writer.task)?;
        }
        if lost {
            self.procs[proc].runs[run].sent = Some(outcome);
        } else {
            self.procs[proc].runs.remove(run);
        }
        Ok(())
    }

    /// Replaces the database by a standby that has not seen the last commits. An attempt that the standby shows as
    /// running but that the server has ended is then known to neither: so a server that notices the new timeline
    /// continues under a new id, and the old one lapses.
    fn fail_over(&mut self, commits: usize, setup: &Setup) {
        self.budget.failovers -= 1;
        let at = self.past.len() - commits;
        self.db = self.past.swap_remove(at);
        self.past.clear();
        // Statements on their way to the old primary ended with its connections.
        self.on_the_way.clear();
        self.procs.iter_mut().for_each(|proc| proc.outdated = proc.alive);
        for (batch, asked) in self.asked.iter_mut().enumerate() {
            let there = setup.batches[batch].iter().all(|new| self.db.task(new.id).is_some());
            match asked {
                Asked::Yes if !there => *asked = Asked::Forgotten,
                _ => {}
            }
        }
    }
}
