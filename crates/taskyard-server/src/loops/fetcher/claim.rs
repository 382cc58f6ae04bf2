//! A single claim whose result is always determined: if the reply is lost, the claimed tasks are read back by the
//! claim's id.

use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{ClaimCursor, ClaimReply, ClaimRequest};
use taskyard_core::{ClaimId, Error};

use super::Fetcher;
use crate::loops::state::Phase;
use taskyard_core::backoff::Backoff;

/// A claim without a reply after this time counts as lost. Longer than a store's own limit, as in `heartbeat`.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Result of a claim.
pub(super) enum Got {
    Reply {
        claim: ClaimId,
        reply: ClaimReply,
    },
    /// The server's lease is over.
    Dead,
    /// The database is unavailable, or the server stops.
    Nothing,
}

impl Fetcher {
    pub(super) async fn claim(
        &self,
        queues: Option<Vec<String>>,
        limit: usize,
        alone: bool,
        cursor: Option<ClaimCursor>,
    ) -> Got {
        let state = &self.state;
        let request = ClaimRequest {
            server: state.id(),
            claim: ClaimId::generate(),
            runtime: self.executor().runtime(),
            queues,
            limit,
            alone,
            cursor,
        };
        state.claims.begin(request.claim);
        let got = self.ask(&request).await;
        let tasks = match &got {
            Got::Reply { reply, .. } => reply.tasks.iter().map(|task| (task.id, task.token)).collect(),
            Got::Dead | Got::Nothing => Vec::new(),
        };
        state.claims.open(request.claim, tasks);
        got
    }

    async fn ask(&self, request: &ClaimRequest) -> Got {
        failpoint!("claim", Before);
        let took_some = |reply: &ClaimReply| !reply.tasks.is_empty();
        let call = failpoint::lossy("claim", took_some, self.state.store.claim(request));
        let error = match tokio::time::timeout(ANSWER_MAX, call).await {
            Ok(Ok(reply)) if reply.dead => return Got::Dead,
            Ok(Ok(reply)) => {
                if !reply.tasks.is_empty() {
                    failpoint!("claim", After);
                }
                if reply.passed_over {
                    self.state.request_claim_later();
                }
                return Got::Reply { claim: request.claim, reply };
            }
            Ok(Err(error)) => error,
            Err(_) => Error::Connection(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        };
        tracing::warn!(%error, "cannot claim tasks; trying again");
        self.read_back(request).await
    }

    /// Queries a claim of unknown result until the database returns what it claimed.
    async fn read_back(&self, request: &ClaimRequest) -> Got {
        let state = &self.state;
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                () = backoff.pause() => {}
                () = state.reached(Phase::Draining) => return Got::Nothing,
            }
            failpoint!("claimed", Before);
            match tokio::time::timeout(ANSWER_MAX, state.store.claimed(request.server, request.claim)).await {
                Ok(Ok(tasks)) if state.id() == request.server => {
                    failpoint!("claimed", After);
                    return Got::Reply { claim: request.claim, reply: ClaimReply { tasks, ..ClaimReply::default() } };
                }
                // Claimed under an id that has since been declared dead: the rescue frees the tasks.
                Ok(Ok(_)) => return Got::Nothing,
                Ok(Err(error)) if backoff.tries() % 10 == 0 => {
                    tracing::warn!(%error, "the database still cannot be reached");
                }
                _ => {}
            }
        }
    }
}
