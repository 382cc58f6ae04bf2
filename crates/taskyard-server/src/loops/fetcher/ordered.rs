//! Strict order and weights: one claim per queue, in the configured order and with the configured shares.
//!
//! Several claims instead of one, because each then reads only the head of its own queue's index partition, whatever
//! the others contain; a single ordered claim would have to sort, or to skip a backlog. The cost is one round trip per
//! queue while nothing is found, paid only by servers with such a configuration. A queue that is paused or at its limit
//! returns no tasks and is skipped.

use super::Fetcher;
use super::claim::Got;
use crate::ServerConfig;
use taskyard_core::QueueOrder;

/// Result of the claims on one queue.
struct Taken {
    count: usize,
    alone_waiting: bool,
}

impl Fetcher {
    /// Fills the capacity from the queues in their order.
    pub(super) async fn claim_in_order(&mut self, config: &ServerConfig, queues: &[String], capacity: usize) {
        let mut left = capacity;
        let mut dry = vec![false; queues.len()];
        let mut alone = None;
        while left > 0 && dry.iter().any(|dry| !dry) {
            let shares = self.shares.deal(&config.queue_order, left, &dry);
            for (at, share) in shares.into_iter().enumerate().filter(|(_, share)| *share > 0) {
                if !self.state.may_claim() {
                    return;
                }
                let Some(taken) = self.take(at, &queues[at], share).await else { return };
                left -= taken.count.min(left);
                dry[at] = taken.count < share;
                if taken.alone_waiting && config.queue_order != QueueOrder::Strict {
                    alone.get_or_insert(at);
                } else if taken.alone_waiting && dry[at] && self.run_alone(Some(vec![queues[at].clone()])).await {
                    // This task precedes everything in the later queues.
                    return;
                }
            }
        }
        self.hungry = left == 0;
        if let Some(at) = alone {
            self.run_alone(Some(vec![queues[at].clone()])).await;
        }
    }

    /// Claims up to `share` tasks of one queue. A partial result is trusted only if the claim started from the head:
    /// older tasks may have become visible behind the cursor. Returns `None` if this round is over.
    async fn take(&mut self, at: usize, queue: &str, share: usize) -> Option<Taken> {
        let mut sum = Taken { count: 0, alone_waiting: false };
        while sum.count < share {
            let cursor = self.cursor_states[at].cursor();
            match self.claim_at(at, Some(vec![queue.to_owned()]), share - sum.count, cursor).await {
                Got::Reply { claim, reply } => {
                    sum.count += reply.tasks.len();
                    sum.alone_waiting = reply.alone_waiting;
                    self.dispatch(claim, reply.tasks, |_| true);
                    if sum.count < share && cursor.is_none() {
                        break;
                    }
                }
                Got::Dead => {
                    self.until_entered_anew().await;
                    return None;
                }
                Got::Nothing => return None,
            }
        }
        Some(sum)
    }
}
