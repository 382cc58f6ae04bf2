//! Schedules whose decisions the database currently refuses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use taskyard_core::Error;

use taskyard_core::backoff::Backoff;

/// Time for which a schedule is remembered after its retry was due: it may have been removed.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Refused schedules by name, each with the time of its retry.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    backoff: Backoff,
    until: Instant,
}

impl Refused {
    /// Returns the number of refused schedules.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the retry of this schedule is not due yet.
    pub fn waits(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|refusal| refusal.until > Instant::now())
    }

    /// Notes that the database has refused a decision about this schedule.
    pub fn note(&mut self, name: &str, error: &Error) {
        let now = Instant::now();
        self.0.retain(|_, refusal| refusal.until + REMEMBERED > now);
        let refusal =
            self.0.entry(name.to_owned()).or_insert_with(|| Refusal { backoff: Backoff::default(), until: now });
        if refusal.backoff.tries().is_multiple_of(10) {
            tracing::error!(schedule = name, %error, "the database refuses the due tasks of this schedule; trying again");
        }
        refusal.until = now + refusal.backoff.next_pause();
    }

    /// Removes a schedule whose decision was stored, or that was set aside.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}
