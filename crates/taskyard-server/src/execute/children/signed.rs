//! Verifies the signatures of serialised values in a payload before any of its bytes reach a child.

use std::sync::Arc;

use taskyard_core::Failure;
use taskyard_core::seal::{self, Unopened};
use taskyard_core::store::Outcome;

use super::Children;
use crate::execute::Queued;

impl Children {
    /// Returns the tasks with valid signatures or none. A task whose key is unknown here is parked; one with a forged
    /// or altered value fails without retry, because no retry would help.
    pub(super) fn verified(self: &Arc<Self>, tasks: Vec<Queued>) -> Vec<Queued> {
        let Some(keys) = self.keys() else { return tasks };
        let mut good = Vec::with_capacity(tasks.len());
        for queued in tasks {
            let claimed = &queued.claimed;
            // Plain JSON contains no signed values.
            if !claimed.payload_encoded {
                good.push(queued);
                continue;
            }
            match seal::open(&claimed.payload, claimed.id, &claimed.kind, keys) {
                Ok(opened) => good.push(Queued { opened, ..queued }),
                Err(Unopened::UnknownKey(key)) => {
                    self.end_unstarted(queued, Outcome::Parked { reason: seal::parked_reason(&key) });
                }
                Err(Unopened::Version1) => {
                    let reason = seal::PARKED_VERSION_1.to_owned();
                    self.end_unstarted(queued, Outcome::Parked { reason });
                }
                Err(Unopened::Forged(why)) => {
                    let message = format!("a serialised value of this task was refused: {why}");
                    self.end_unstarted(queued, Outcome::Failed(Failure::new("SignatureInvalid", message)));
                }
            }
        }
        good
    }
}
