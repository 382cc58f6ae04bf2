//! A single write of ends. It is repeated while the database is unavailable; refusals are classified.
//!
//! # Classification of refusals
//! An error about the value ([`Error::is_about_the_value`]) is a fault of the task: its end is replaced at once by one
//! that can be stored and contains the reason. Any other error is a fault of the database. Such an end is returned to
//! the completer, which stores it in memory and retries it: a body that has returned is not run again because its end
//! could not be written at once.
//!
//! A connection error means that the database is unavailable only if a trial write fails too ([`Failed::with`]).
//! Otherwise it is a refusal like any other, so that a task whose trigger raises such an error does not delay other
//! tasks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::store::{Finish, Outcome, WriteReply};
use taskyard_core::{ClaimId, Error, Failure};
use tokio::sync::oneshot;

use super::claims::{ByClaim, add, by_claim};
use crate::attempt::{Ended, Refusal};
use crate::loops::bisect::{self, Failed, Piece};
use crate::loops::state::{Phase, State};
use crate::primitives::lock::lock;
use taskyard_core::backoff::Backoff;

/// A write without a reply after this time counts as lost and is repeated.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Number of times that a batch is tried as a whole before it is split.
const WHOLE_TRIES: u32 = 3;

#[derive(Default)]
pub(super) struct Written {
    pub replies: Vec<WriteReply>,
    pub by_claim: ByClaim,
    /// Receivers of replies, by index into `replies`.
    pub answers: Vec<(usize, oneshot::Sender<WriteReply>)>,
    /// Refused ends, to be retried.
    pub refused: Vec<Ended>,
    /// Ends that were not written because of locks of other sessions; they are not among the replies.
    pub locked: Vec<Ended>,
    /// Claims that are complete and still to be closed.
    pub unclosed: Vec<ClaimId>,
}

/// Writes a batch. Returns once every item has a reply or was refused.
pub(super) async fn write(state: Arc<State>, mut batch: Vec<Ended>, mut closed: Vec<ClaimId>) -> Written {
    let by_claim = by_claim(batch.iter().map(|ended| (ended.claim, ended.finish.id)));
    let ended = state.claims.ended_by(&by_claim);
    closed.extend(&ended);
    let finishes: Vec<Finish> = batch.iter_mut().map(|ended| ended.take_finish()).collect();
    match persist(&state, &finishes, &closed).await {
        Ok(replies) if replies.contains(&WriteReply::Locked) => {
            closed.retain(|claim| !ended.contains(claim));
            let mut written = Written { unclosed: closed, ..Written::default() };
            for ((ended, finish), reply) in batch.into_iter().zip(finishes).zip(replies) {
                written.settle(Ended { finish, ..ended }, reply);
            }
            written
        }
        Ok(replies) => {
            state.claims.forget(&ended);
            for ((ended, finish), reply) in batch.iter().zip(&finishes).zip(&replies) {
                ended.log_failure(finish, *reply);
            }
            let asked_for = |(place, ended): (usize, Ended)| ended.answer.map(|answer| (place, answer));
            let answers = batch.into_iter().enumerate().filter_map(asked_for).collect();
            Written { replies, by_claim, answers, ..Written::default() }
        }
        Err(refused) => {
            closed.retain(|claim| !ended.contains(claim));
            let batch = batch.into_iter().zip(finishes).map(|(ended, finish)| Ended { finish, ..ended }).collect();
            Written { unclosed: closed, ..in_pieces(&state, batch, refused, bisect::PROBES_MAX).await }
        }
    }
}

/// Retries ends that were refused before. An end that is refused by itself for too long, while others are written, is
/// set aside.
pub(super) async fn write_again(state: Arc<State>, mut batch: Vec<Ended>, probes_max: usize) -> Written {
    let finishes: Vec<Finish> = batch.iter_mut().map(|ended| ended.take_finish()).collect();
    let answer = Failed::check(attempt(&state, &finishes, &[]).await, state.store.as_ref()).await;
    let batch: Vec<Ended> = batch.into_iter().zip(finishes).map(|(ended, finish)| Ended { finish, ..ended }).collect();
    let mut written = match answer {
        Ok(replies) => {
            let mut written = Written::default();
            for (ended, reply) in batch.into_iter().zip(replies) {
                written.settle(ended, reply);
            }
            written
        }
        Err(refused) => in_pieces(&state, batch, refused, probes_max).await,
    };
    let only_one = written.refused.len() == 1;
    for ended in std::mem::take(&mut written.refused) {
        if is_ripe(&state, &ended, only_one) {
            set_aside(&state, ended, &mut written).await;
        } else {
            written.refused.push(ended);
        }
    }
    written
}

impl Written {
    fn settle(&mut self, ended: Ended, reply: WriteReply) {
        if reply == WriteReply::Locked {
            return self.locked.push(ended);
        }
        ended.log_failure(&ended.finish, reply);
        self.answers.extend(ended.answer.map(|answer| (self.replies.len(), answer)));
        self.replies.push(reply);
        add(&mut self.by_claim, ended.claim, ended.finish.id);
    }
}

/// Tries a batch as a whole: until it succeeds while the database is unavailable, a few times if it refuses.
async fn persist(state: &State, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>, Failed> {
    let (mut backoff, mut refusals) = (Backoff::default(), 0);
    loop {
        let failed = match Failed::check(attempt(state, batch, closed).await, state.store.as_ref()).await {
            Ok(replies) => return Ok(replies),
            Err(failed) => failed,
        };
        if !failed.away {
            refusals += 1;
            if failed.error.is_about_the_value() || refusals >= WHOLE_TRIES {
                return Err(failed);
            }
        }
        let error = failed.error;
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, tasks = batch.len(), "cannot store outcomes of tasks; trying again");
        }
        backoff.pause().await;
    }
}

async fn attempt(state: &State, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>, Error> {
    failpoint!("finish", Before);
    match tokio::time::timeout(ANSWER_MAX, state.store.finish(batch, closed)).await {
        Ok(Ok(replies)) => {
            failpoint!("finish", After);
            Ok(replies)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

/// Writes a refused batch in pieces and classifies each refusal.
async fn in_pieces(state: &State, batch: Vec<Ended>, refused: Failed, probes_max: usize) -> Written {
    let repeated = batch.iter().all(|ended| ended.refusal.is_some());
    if !repeated {
        let error = &refused.error;
        tracing::warn!(%error, tasks = batch.len(), "the database refuses outcomes of tasks; writing them in smaller batches");
    }
    *lock(&state.counters.held_reason) = Some(refused.error.to_string());
    let finishes: Vec<Finish> = batch.iter().map(|ended| ended.finish.clone()).collect();
    let part = |range: Range<usize>| -> futures_util::future::BoxFuture<'_, _> {
        let part = finishes[range].to_vec();
        Box::pin(async move { Failed::check(attempt(state, &part, &[]).await, state.store.as_ref()).await })
    };
    let answers = bisect::write(finishes.len(), refused, probes_max, part).await;
    let mut written = Written::default();
    for (mut ended, answer) in batch.into_iter().zip(answers) {
        match answer {
            Piece::Written(reply) => written.settle(ended, reply),
            Piece::Refused { error, alone } => {
                if alone
                    && error.is_about_the_value()
                    && let Some(reply) = write_instead(state, &ended.finish, &error).await
                {
                    written.settle(ended, reply);
                    continue;
                }
                let now = (Instant::now(), state.counters.ends.load(Ordering::Acquire));
                let since = ended.refusal.map_or(now, |refusal| refusal.since);
                ended.refusal = alone.then(|| Box::new(Refusal { since, error }));
                written.refused.push(ended);
            }
        }
    }
    written
}

/// Writes another end in place of one whose values the database refuses: without its log lines, and if that does not
/// help, as a failure with the database's error message. `None` if neither is accepted: then the values are not the
/// cause.
async fn write_instead(state: &State, finish: &Finish, error: &Error) -> Option<WriteReply> {
    if !finish.logs.is_empty() {
        let bare = Finish { logs: Vec::new(), ..finish.clone() };
        if let Ok(mut replies) = attempt(state, &[bare], &[]).await {
            tracing::error!(task = %finish.id, %error, lines = finish.logs.len(), "the last log lines of a task cannot be stored");
            return replies.pop();
        }
    }
    let failure = Failure::new("ResultNotStorable", format!("the database refused to store it: {error}"));
    let instead = Finish {
        outcome: refused(&finish.outcome, failure),
        context: None,
        logs: Vec::new(),
        id: finish.id,
        token: finish.token,
    };
    match attempt(state, &[instead], &[]).await {
        Ok(mut replies) => {
            tracing::error!(task = %finish.id, %error, "the outcome of this task cannot be stored");
            replies.pop()
        }
        Err(_) => None,
    }
}

/// Returns the outcome that is written in place of one that cannot be stored. A snooze or a release is unchanged: only
/// its context and logs could be at fault, and these are left out.
fn refused(outcome: &Outcome, failure: Failure) -> Outcome {
    match outcome {
        Outcome::Done { .. } | Outcome::Failed(_) => Outcome::Failed(failure),
        Outcome::Retry { after, .. } => Outcome::Retry { after: *after, error: failure },
        Outcome::Crashed(_) => Outcome::Crashed(failure),
        other => other.clone(),
    }
}

/// Returns true if an end was refused by itself for so long that waiting is pointless: others were written meanwhile,
/// or there are no others. A server that stops does not wait.
fn is_ripe(state: &State, ended: &Ended, only_one: bool) -> bool {
    let Some(Refusal { since: (since, ends), .. }) = ended.refusal.as_deref() else { return false };
    let others = only_one || state.counters.ends.load(Ordering::Acquire) > *ends;
    state.phase() > Phase::Running || since.elapsed() >= state.config().refused_end_max && others
}

/// Sets an end aside in the database: its task stays `doing`, and no rescue releases it.
async fn set_aside(state: &State, ended: Ended, written: &mut Written) {
    let Some(refusal) = &ended.refusal else { return written.refused.push(ended) };
    if !ended.finish.logs.is_empty() {
        let bare = Finish { logs: Vec::new(), ..ended.finish.clone() };
        if let Ok(mut replies) = attempt(state, &[bare], &[]).await {
            let (lines, error) = (ended.finish.logs.len(), &refusal.error);
            tracing::error!(task = %ended.finish.id, %error, lines, "the last log lines of a task cannot be stored");
            return written.settle(ended, replies.pop().unwrap_or(WriteReply::Lost));
        }
    }
    let reason = refusal.error.to_string();
    failpoint!("end_set_aside", Before);
    let aside = state.store.end_set_aside(&ended.finish, &reason);
    match tokio::time::timeout(ANSWER_MAX, aside).await {
        Ok(Ok(WriteReply::Applied(_))) => {
            failpoint!("end_set_aside", After);
            tracing::error!(task = %ended.finish.id, error = reason,
                "the database refuses every form of this task's outcome; it is set aside, and tried again each minute");
            add(&mut written.by_claim, ended.claim, ended.finish.id);
            if let Some(answer) = ended.answer {
                // Nothing was decided, and the caller must not assume so.
                let _ = answer.send(WriteReply::Lost);
            }
        }
        Ok(Ok(reply)) => written.settle(ended, reply),
        other => {
            tracing::warn!(task = %ended.finish.id, ?other, "an outcome that the database refuses cannot be set aside either");
            written.refused.push(ended);
        }
    }
}
