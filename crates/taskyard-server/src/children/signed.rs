//! Serialised values that a payload holds are verified here, before a child sees a byte of them.

use std::sync::Arc;

use taskyard_core::Failure;
use taskyard_core::seal::{self, Keys, Opened, Unopened};
use taskyard_core::store::{Claimed, Outcome};

use super::Children;
use crate::executor::Queued;

/// The verified values of a task's payload.
pub(super) fn opened(claimed: &Claimed, keys: &dyn Keys) -> Result<Vec<Opened>, Unopened> {
    seal::open(&claimed.payload, claimed.id, &claimed.kind, keys)
}

impl Children {
    /// Those whose signatures are right, or that have none. Of the others, a task whose key is not here is parked; one
    /// that is not what was signed has failed for good: no retry would mend it.
    pub(super) fn verified(self: &Arc<Self>, tasks: Vec<Queued>) -> Vec<Queued> {
        let Some(keys) = self.keys() else { return tasks };
        let mut good = Vec::with_capacity(tasks.len());
        for queued in tasks {
            match opened(&queued.claimed, keys) {
                Ok(_) => good.push(queued),
                Err(Unopened::UnknownKey(key)) => {
                    self.end_unstarted(queued, Outcome::Parked { reason: seal::parked_reason(&key) });
                }
                Err(Unopened::Forged(why)) => {
                    tracing::error!(task = %queued.claimed.id, kind = %queued.claimed.kind, why, "a signed value was refused");
                    let message = format!("a serialised value of this task was refused: {why}");
                    self.end_unstarted(queued, Outcome::Failed(Failure::new("SignatureInvalid", message)));
                }
            }
        }
        good
    }
}
