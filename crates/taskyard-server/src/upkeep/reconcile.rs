//! Compares the attempts that this server holds with those that the database has recorded for it, and reconciles both
//! sides.
//!
//! A database that crashes may lose commits that did not wait for the disk: those of claims always, those of ends if
//! `synchronous_commit` is off. Then a task remains `doing` forever under a live server that has long ended it, or a
//! body runs whose claim is not recorded. After each heartbeat interval a bounded number of claims is compared, old
//! ones of this server and a page of all rows, so the cost does not grow with the number of running tasks. A difference
//! counts only if two checks in a row have found it with no claim in flight all the while: an end that is being
//! written, or a claim that awaits its reply, is not a difference.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{Finish, Outcome, Signal};
use taskyard_core::{ClaimId, Error, Failure, Result, ServerId, TaskId, Token};

use crate::attempt::Ended;
use crate::loops::state::{Lease, State};
use taskyard_core::backoff::jittered;

/// Maximum number of tasks of old claims in one check.
const TASKS_MAX: usize = 1_000;
/// Maximum time of a check.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// An attempt that only one side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Suspect {
    /// Recorded as running here, but not held by this server.
    Unheld(ClaimId, TaskId, Token),
    /// Running here, but not recorded in the database.
    Unknown(ClaimId, TaskId, Token),
}

impl Suspect {
    const fn claim(self) -> ClaimId {
        match self {
            Self::Unheld(claim, ..) | Self::Unknown(claim, ..) => claim,
        }
    }
}

/// State of the comparison between two checks.
#[derive(Default)]
struct Comparison {
    server: Option<ServerId>,
    /// Where the next check of old claims begins.
    place: Option<ClaimId>,
    /// Where the next page of rows begins.
    page: Option<ClaimId>,
    /// Claims that are recorded for this server and unknown to it.
    foreign: Vec<ClaimId>,
    suspects: HashSet<Suspect>,
    pending: HashSet<ClaimId>,
}

pub(super) async fn run(state: &State) {
    let mut comparison = Comparison::default();
    loop {
        tokio::time::sleep(jittered(state.config().heartbeat_interval)).await;
        if *state.lease.borrow() != Lease::Good {
            continue;
        }
        if let Err(error) = comparison.look(state).await {
            tracing::warn!(%error, "cannot compare the running tasks with the database; trying again");
        }
    }
}

impl Comparison {
    async fn look(&mut self, state: &State) -> Result<()> {
        let server = state.id();
        if self.server != Some(server) {
            *self = Self { server: Some(server), ..Self::default() };
        }
        let pending = state.claims.pending();
        let foreign = std::mem::take(&mut self.foreign);
        let age = state.config().heartbeat_interval * 2;
        let mut asked: Vec<ClaimId> = self.suspects.iter().map(|suspect| suspect.claim()).collect();
        asked.extend(&foreign);
        asked.extend(state.claims.aged(age, &mut self.place, TASKS_MAX));
        asked.sort_unstable();
        asked.dedup();
        let held: HashMap<ClaimId, HashSet<(TaskId, Token)>> =
            asked.iter().map(|claim| (*claim, state.claims.undecided(*claim).into_iter().collect())).collect();
        failpoint!("claims_held", Before);
        let seen = tokio::time::timeout(ANSWER_MAX, state.store.claims_held(server, &asked, self.page))
            .await
            .map_err(|_| Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs())))??;
        if state.id() != server {
            return Ok(());
        }
        self.page = seen.next;
        let mut suspects = HashSet::new();
        for (claim, task, token) in &seen.doing {
            let is_held = held.get(claim).is_some_and(|held| held.contains(&(*task, *token)));
            if !is_held && !state.claims.holds(*task, *token) {
                suspects.insert(Suspect::Unheld(*claim, *task, *token));
            }
        }
        let doing: HashSet<(TaskId, Token)> = seen.doing.iter().map(|(_, task, token)| (*task, *token)).collect();
        for claim in &asked {
            for (task, token) in state.claims.undecided(*claim) {
                if held[claim].contains(&(task, token)) && !doing.contains(&(task, token)) {
                    suspects.insert(Suspect::Unknown(*claim, task, token));
                }
            }
        }
        // A claim that was in flight at the last check and still is may be the one in a row.
        if self.pending.is_disjoint(&pending) {
            settle(state, suspects.intersection(&self.suspects).copied());
        }
        self.suspects = suspects;
        self.pending = pending;
        self.foreign = seen.claims.into_iter().filter(|claim| !state.claims.knows(*claim)).collect();
        self.foreign.truncate(TASKS_MAX / 100);
        let runs: HashSet<ClaimId> = seen.doing.iter().map(|(claim, ..)| *claim).collect();
        let over = |claim: &ClaimId| !state.claims.knows(*claim) && !runs.contains(claim);
        let over: Vec<ClaimId> = foreign.into_iter().filter(over).collect();
        if !over.is_empty() {
            state.store.finish(&[], &over).await?;
        }
        Ok(())
    }
}

fn settle(state: &State, confirmed: impl Iterator<Item = Suspect>) {
    let (mut lost, mut unknown) = (Vec::new(), Vec::new());
    for suspect in confirmed {
        match suspect {
            Suspect::Unheld(claim, id, token) => {
                let error = Failure::new("EndLost", "the database lost how this attempt ended");
                let finish = Finish { id, token, outcome: Outcome::Lost(error), context: None, logs: Vec::new() };
                lost.push(Ended { finish, claim, answer: None, refusal: None, failure: None });
            }
            Suspect::Unknown(_, id, token) => unknown.push(Signal { id, token, cancel: true }),
        }
    }
    if lost.is_empty() && unknown.is_empty() {
        return;
    }
    if !lost.is_empty() {
        tracing::warn!(tasks = lost.len(), "the database has lost the outcomes of tasks that ran here; they run again");
        state.run_context.host.outbox.ends.append(&mut lost);
    }
    if !unknown.is_empty() {
        tracing::warn!(
            tasks = unknown.len(),
            "the database has lost claims of tasks that run here; they are interrupted"
        );
        for executor in &state.executors {
            executor.signal(&unknown);
        }
    }
    failpoint!("claims_held", After);
}
