//! Serialised values that a payload holds are verified here, before a child sees a byte of them.

use std::sync::Arc;

use taskyard_core::Failure;
use taskyard_core::seal::{self, Unopened};
use taskyard_core::store::Outcome;

use super::Children;
use crate::executor::Queued;

impl Children {
    /// Those whose signatures are right, or that have none. Of the others, a task whose key is not here is parked; one
    /// that is not what was signed has failed for good: no retry would mend it.
    pub(super) fn verified(self: &Arc<Self>, tasks: Vec<Queued>) -> Vec<Queued> {
        let Some(keys) = self.keys() else { return tasks };
        let mut good = Vec::with_capacity(tasks.len());
        for queued in tasks {
            let claimed = &queued.claimed;
            // In plain JSON nothing is signed, and nothing is opened.
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
