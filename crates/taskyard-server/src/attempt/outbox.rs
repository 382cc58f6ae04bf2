//! [`Outbox`]: what attempts want written, on its way to the recorder (while they run) and to the completer (when they are over).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskyard_core::ClaimId;
use taskyard_core::store::{Claimed, Finish, Outcome};

use super::{Attempt, Ended, FailureLog, ParkedLog};
use crate::primitives::batch_queue::BatchQueue;

/// The two output queues of all attempts of a server.
pub(crate) struct Outbox {
    /// Attempts with data to record.
    pub records: BatchQueue<Arc<Attempt>>,
    /// Ends of attempts.
    pub ends: BatchQueue<Ended>,
    /// Number of ends that wait for a record in flight.
    pub parting: AtomicUsize,
    parked: ParkedLog,
}

impl Outbox {
    pub fn new(parked: ParkedLog) -> Self {
        Self { records: BatchQueue::default(), ends: BatchQueue::default(), parting: AtomicUsize::new(0), parked }
    }

    /// Returns the end of a claimed task, without data of its attempt: all of it if the attempt never began. Logs a reason for parking.
    pub fn ended(&self, claimed: &Claimed, claim: ClaimId, outcome: Outcome) -> Ended {
        self.parked.note(&outcome);
        let failure = FailureLog::of(claimed, &outcome);
        let finish = Finish { id: claimed.id, token: claimed.token, outcome, context: None, logs: Vec::new() };
        Ended { finish, claim, answer: None, refusal: None, failure }
    }

    /// Returns the number of ends that no write has taken.
    pub fn unwritten(&self) -> usize {
        self.ends.len() + self.parting.load(Ordering::Acquire)
    }
}
