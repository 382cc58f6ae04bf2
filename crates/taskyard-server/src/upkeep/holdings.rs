//! Compares what this server holds with what the database says that it holds, and settles both sides.
//!
//! A database that crashes may forget commits that did not wait for the disk: those of claims always, those of ends where
//! `synchronous_commit` is off. Then a task runs for ever under a live server that has long ended it, or a body runs whose
//! claim nobody knows of. Each beat looks at a bounded number of claims, old ones of this server and a page of all rows, so
//! its cost does not grow with what runs. A difference counts once two looks in a row have seen it, with no claim under way
//! all the while: an end that is being written, or a claim whose answer is awaited, is no difference.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{Finish, Outcome, Signal};
use taskyard_core::{ClaimId, Error, Failure, Result, ServerId, TaskId, Token};

use crate::backoff::jittered;
use crate::engine::Ended;
use crate::state::{Lease, State};

/// Tasks of old claims that are asked about in one look.
const TASKS_MAX: usize = 1_000;
/// A look that takes longer is given up.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// An attempt that only one side knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Suspect {
    /// Its row says that it runs here.
    Unheld(ClaimId, TaskId, Token),
    /// It runs here, and no row says so.
    Unknown(ClaimId, TaskId, Token),
}

impl Suspect {
    const fn claim(self) -> ClaimId {
        match self {
            Self::Unheld(claim, ..) | Self::Unknown(claim, ..) => claim,
        }
    }
}

#[derive(Default)]
struct Comparison {
    server: Option<ServerId>,
    /// Where the next look at old claims begins.
    place: Option<ClaimId>,
    /// Where the next page of rows begins.
    page: Option<ClaimId>,
    /// Claims of this server by their rows, of which it knows nothing.
    foreign: Vec<ClaimId>,
    suspects: HashSet<Suspect>,
    pending: HashSet<ClaimId>,
}

pub(super) async fn run(state: &State) {
    let mut comparison = Comparison::default();
    loop {
        tokio::time::sleep(jittered(state.config().beat)).await;
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
        let age = state.config().beat * 2;
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
        // A claim that was under way at the last look and still is may be what a row shows.
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
        state.engine.ends.append(&mut lost);
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
