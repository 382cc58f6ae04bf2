//! One write of ends, repeated until the database has answered it.

use std::sync::Arc;
use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{Finish, Outcome, WriteReply};
use taskyard_core::{ClaimId, Error, Failure};
use tokio::sync::oneshot;

use super::claims::count;
use crate::backoff::Backoff;
use crate::engine::Ended;
use crate::state::State;

/// A write that has not answered by then is taken for lost on the way, and repeated.
const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(super) struct Written {
    pub replies: Vec<WriteReply>,
    pub by_claim: Vec<(ClaimId, usize)>,
    /// Who wants to know of which of them.
    pub answers: Vec<(usize, oneshot::Sender<WriteReply>)>,
    /// Ends that somebody else's lock kept from being written; they are not among the replies.
    pub locked: Vec<Ended>,
    /// Claims that are over and are still to be closed.
    pub unclosed: Vec<ClaimId>,
}

/// Writes a batch. Returns only once every item of it was answered, or is known to be locked.
pub(super) async fn write(state: Arc<State>, batch: Vec<Ended>, mut closed: Vec<ClaimId>) -> Written {
    let by_claim = count(batch.iter().map(|ended| ended.claim));
    let (mut finishes, mut rest) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for ended in batch {
        finishes.push(ended.finish);
        rest.push((ended.claim, ended.answer));
    }
    let before = closed.len();
    let ended = state.claims.ended_by(&by_claim);
    closed.extend(&ended);
    let replies = match persist(&state, &finishes, &closed).await {
        Ok(replies) if replies.contains(&WriteReply::Locked) => {
            closed.truncate(before);
            replies
        }
        Ok(replies) => {
            state.claims.forget(&ended);
            closed.clear();
            replies
        }
        Err(error) => {
            closed.truncate(before);
            one_by_one(&state, &finishes, &error).await
        }
    };
    let mut written = Written {
        replies: Vec::new(),
        by_claim: Vec::new(),
        answers: Vec::new(),
        locked: Vec::new(),
        unclosed: closed,
    };
    if !replies.contains(&WriteReply::Locked) {
        let asked_for = rest.into_iter().enumerate().filter_map(|(place, (_, answer))| Some((place, answer?)));
        written.answers = asked_for.collect();
        written.replies = replies;
        written.by_claim = by_claim;
        return written;
    }
    let mut decided = Vec::with_capacity(replies.len());
    for ((finish, (claim, answer)), reply) in finishes.into_iter().zip(rest).zip(replies) {
        if reply == WriteReply::Locked {
            written.locked.push(Ended { finish, claim, answer });
            continue;
        }
        written.answers.extend(answer.map(|answer| (written.replies.len(), answer)));
        written.replies.push(reply);
        decided.push(claim);
    }
    written.by_claim = count(decided.into_iter());
    written
}

/// Repeats while the database is away. An error that is the batch's own fault comes back after a few tries.
async fn persist(state: &State, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>, Error> {
    let mut backoff = Backoff::default();
    loop {
        failpoint!("finish", Before);
        let error = match tokio::time::timeout(ANSWER_MAX, state.store.finish(batch, closed)).await {
            Ok(Ok(replies)) => {
                failpoint!("finish", After);
                return Ok(replies);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        };
        let own_fault = matches!(error, Error::Database(_) | Error::NotRepresentable { .. } | Error::OverLimit { .. });
        if own_fault && backoff.tries() >= 3 {
            return Err(error);
        }
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, tasks = batch.len(), "cannot write how tasks ended; trying again");
        }
        backoff.pause().await;
    }
}

/// Finds the item that the database refuses, and ends that task as failed with the database's words.
async fn one_by_one(state: &State, batch: &[Finish], error: &Error) -> Vec<WriteReply> {
    tracing::error!(%error, tasks = batch.len(), "the database refuses a batch of ends; writing them one by one");
    let mut replies = Vec::with_capacity(batch.len());
    for finish in batch {
        let mut finish = finish.clone();
        let mut pause = Backoff::default();
        let reply = loop {
            match persist(state, std::slice::from_ref(&finish), &[]).await {
                Ok(mut reply) => break reply.pop().unwrap_or(WriteReply::Lost),
                Err(error) => {
                    tracing::error!(task = %finish.id, %error, "how this task ended cannot be stored");
                    let failure =
                        Failure::new("ResultNotStorable", format!("the database refused to store it: {error}"));
                    finish = Finish {
                        outcome: refused(&finish.outcome, failure),
                        context: None,
                        logs: Vec::new(),
                        ..finish
                    };
                    pause.pause().await;
                }
            }
        };
        replies.push(reply);
    }
    replies
}

/// What is written in place of an end that cannot be stored. A pause or a release has nothing that could be at fault
/// but its context and logs, which are left out.
fn refused(outcome: &Outcome, failure: Failure) -> Outcome {
    match outcome {
        Outcome::Done { .. } | Outcome::Failed(_) => Outcome::Failed(failure),
        Outcome::Retry { after, .. } => Outcome::Retry { after: *after, error: failure },
        Outcome::Crashed(_) => Outcome::Crashed(failure),
        other => other.clone(),
    }
}
