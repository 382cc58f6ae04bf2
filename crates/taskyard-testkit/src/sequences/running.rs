//! Claims and the fenced writes of attempts, by servers that may be dead and tokens that may be old.

use taskyard_core::store::{self, ClaimRequest, Finish, Record, WriteReply};
use taskyard_core::{ClaimId, TaskId, TaskState};

use super::names::{self, lines};
use super::pair::{Believed, Pair, Written, same, works};
use super::steps::End;
use crate::model::{ClaimAsk, ClaimNo, ClaimedTask, Lane, Outcome, QueueNo, Reply, ServerNo, Writer};

impl Pair {
    pub(super) async fn claim(
        &mut self,
        server: u8,
        python: bool,
        queues: Option<&[u8]>,
        limit: usize,
        alone: bool,
        reply_lost: bool,
    ) -> Result<(), String> {
        let server = self.server(server);
        self.names.claims.push(ClaimId::generate());
        let claim = ClaimNo(self.names.claims.len() as u16 - 1);
        let queues = queues.map(|queues| {
            let mut queues: Vec<QueueNo> = queues.iter().copied().map(QueueNo).collect();
            queues.sort_unstable();
            queues.dedup();
            queues
        });
        let limit = if alone { 1 } else { limit };
        let request = ClaimRequest {
            server: self.names.server(server),
            claim: self.names.claim(claim),
            runtime: names::runtime(python),
            queues: queues.as_ref().map(|queues| queues.iter().copied().map(names::queue).collect()),
            limit,
            alone,
            cursor: None,
        };
        let ask = ClaimAsk { server, claim, python, queues, limit, alone };
        let model = self.db.claim(&ask, &mut self.next_token);
        let reply = works("claim", self.store.claim(&request).await)?;
        same("claim: dead", model.dead, reply.dead)?;
        if model.tasks.is_empty() {
            let why = if model.dead {
                "dead"
            } else if self.db.ready.is_empty() {
                "nothing ready"
            } else {
                "not for it"
            };
            self.count(format!("an empty claim: {why}"));
        }
        if alone && !model.tasks.is_empty() {
            self.count("one was claimed alone".into());
        }
        if reply_lost {
            let count = |of: usize| format!("{of} claimed");
            same("claim whose reply is lost", count(model.tasks.len()), count(reply.tasks.len()))?;
            if !model.dead {
                self.lost_claims.push(claim);
            }
            return Ok(());
        }
        self.believe(server, claim, &model.tasks, &reply.tasks)?;
        // A hint: it must be right where a server would otherwise starve a task, or never run another beside it.
        let any = self.db.ready.iter().any(|row| row.lane == Lane::Alone && row.python == python);
        let hint = reply.alone_waiting;
        if !model.dead && (model.alone_waiting && !hint || hint && !any && model.tasks.iter().all(|task| !task.alone)) {
            return Err(format!("claim: alone_waiting is {hint}, the model says {}", model.alone_waiting));
        }
        Ok(())
    }

    /// Compares the claimed tasks, in this order, and records the tokens.
    fn believe(
        &mut self,
        server: ServerNo,
        claim: ClaimNo,
        model: &[ClaimedTask],
        store: &[store::Claimed],
    ) -> Result<(), String> {
        let shown = |id: TaskId| self.names.task_number(id).map_or(format!("{id}"), |task| format!("{task:?}"));
        let expected = model.iter().map(|row| format!("{:?}", row.task)).collect::<Vec<_>>();
        same("claimed", expected, store.iter().map(|row| shown(row.id)).collect())?;
        for (model, real) in model.iter().zip(store) {
            let task = self.db.task(model.task).ok_or("a claimed task does not exist")?;
            same("claimed: attempt", model.attempt, real.attempt)?;
            same("claimed: failures", model.failures, real.failures)?;
            same("claimed: expired", model.expired, real.expired)?;
            same("claimed: alone", model.alone, real.alone)?;
            same("claimed: queue", names::queue(task.queue), real.queue.clone())?;
            same("claimed: context", task.context.map(names::context), real.context.clone())?;
            if let Some(known) = self.names.tokens.insert(model.token, real.token) {
                same("claimed: token", known, real.token)?;
            }
            let writer = Writer { task: model.task, token: model.token, server, attempt: model.attempt };
            self.runs.push(Believed { writer, claim, expired: model.expired, ended: false });
        }
        Ok(())
    }

    pub(super) async fn read_back(&mut self, number: u8) -> Result<(), String> {
        if self.lost_claims.is_empty() {
            return Ok(());
        }
        let at = usize::from(number) % self.lost_claims.len();
        let claim = self.lost_claims.remove(at);
        let server = self.db.claims.iter().find(|row| row.id == claim).map_or(ServerNo(0), |row| row.server);
        let mut model = self.db.claimed(claim);
        let mut reply = works("claimed", self.store.claimed(self.names.server(server), self.names.claim(claim)).await)?;
        model.sort_by_key(|row| self.names.task(row.task));
        reply.sort_by_key(|row| row.id);
        self.believe(server, claim, &model, &reply)
    }

    /// Returns the attempt that a number selects: one that holds its lease, or any.
    fn run(&self, number: u8, any: bool) -> Option<usize> {
        let holds = |run: &Believed| {
            let task = self.db.task(run.writer.task);
            task.is_some_and(|task| task.state == TaskState::Doing && task.token == Some(run.writer.token))
        };
        let meant = |run: &Believed| any || holds(run);
        let runs: Vec<usize> = (0..self.runs.len()).filter(|at| meant(&self.runs[*at])).collect();
        (!runs.is_empty()).then(|| runs[usize::from(number) % runs.len()])
    }

    pub(super) async fn finish(&mut self, ends: &[End]) -> Result<(), String> {
        let mut batch: Vec<(usize, Outcome, &End)> = Vec::new();
        for end in ends {
            let Some(at) = self.run(end.run, end.any) else { continue };
            let outcome = if self.runs[at].expired { Outcome::Expired } else { end.outcome };
            if !batch.iter().any(|(other, ..)| *other == at) {
                batch.push((at, outcome, end));
            }
        }
        for (at, ..) in &batch {
            self.runs[*at].ended = true;
        }
        let ended = |claim: ClaimNo| self.runs.iter().filter(|run| run.claim == claim).all(|run| run.ended);
        let mut closed: Vec<ClaimNo> =
            batch.iter().map(|(at, ..)| self.runs[*at].claim).filter(|c| ended(*c)).collect();
        closed.dedup();
        let items: Vec<(Writer, Outcome, Option<u8>, u8)> =
            batch.iter().map(|(at, outcome, end)| (self.runs[*at].writer, *outcome, end.context, end.logs)).collect();
        for (writer, outcome, ..) in &items {
            self.writes.push(Written { writer: *writer, outcome: *outcome, closed: closed.clone() });
        }
        self.write(&items, &closed).await
    }

    pub(super) async fn write_again(&mut self, number: u8) -> Result<(), String> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let write = self.writes[usize::from(number) % self.writes.len()].clone();
        self.write(&[(write.writer, write.outcome, Some(9), 1)], &write.closed).await
    }

    async fn write(&mut self, items: &[(Writer, Outcome, Option<u8>, u8)], closed: &[ClaimNo]) -> Result<(), String> {
        let real: Vec<Finish> = items
            .iter()
            .map(|(writer, outcome, context, logs)| Finish {
                id: self.names.task(writer.task),
                token: self.names.tokens[&writer.token],
                outcome: names::outcome(*outcome),
                context: context.map(names::context),
                logs: lines(*logs),
            })
            .collect();
        let closing: Vec<ClaimId> = closed.iter().map(|claim| self.names.claim(*claim)).collect();
        let replies = works("finish", self.store.finish(&real, &closing).await)?;
        let ends: Vec<(Writer, Outcome)> = items.iter().map(|(writer, outcome, ..)| (*writer, *outcome)).collect();
        let model = self.db.finish(&ends, closed, &self.rules);
        for ((writer, _, context, logs), reply) in items.iter().zip(&model) {
            if let (Reply::Applied(_), Some(task)) =
                (reply, self.db.tasks.iter_mut().find(|task| task.id == writer.task))
            {
                task.context = context.or(task.context);
                task.logs += u32::from(*logs);
            }
        }
        for reply in &model {
            match reply {
                Reply::Applied(_) => self.count("a write was applied".into()),
                Reply::AlreadyApplied(_) => self.count("a write had been applied".into()),
                Reply::Lost => self.count("a write was lost".into()),
            }
        }
        same("finish", model.into_iter().map(real_reply).collect::<Vec<_>>(), replies)
    }

    pub(super) async fn record(&mut self, run: u8, any: bool, context: Option<u8>, logs: u8) -> Result<(), String> {
        let Some(at) = self.run(run, any) else {
            return Ok(());
        };
        let writer = self.runs[at].writer;
        let record = Record {
            id: self.names.task(writer.task),
            token: self.names.tokens[&writer.token],
            context: context.map(names::context),
            logs: lines(logs),
        };
        let replies = works("record", self.store.record(&[record]).await)?;
        let model = self.db.record(&writer, context, logs.into(), &self.rules);
        same("record", vec![real_reply(model)], replies)
    }
}

fn real_reply(reply: Reply) -> WriteReply {
    match reply {
        Reply::Applied(state) => WriteReply::Applied(state),
        Reply::AlreadyApplied(state) => WriteReply::AlreadyApplied(state),
        Reply::Lost => WriteReply::Lost,
    }
}
