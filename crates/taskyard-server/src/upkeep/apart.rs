//! Sets the queues apart that this server serves, if it serves only some: its claims then read nothing of the others.

use std::time::Duration;

use super::exhaust;
use crate::backoff::{Backoff, jittered};
use crate::state::State;

/// Time between looks for what still came to the common range.
const EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(state: &State) {
    let mut settings = state.engine.settings.watch();
    let mut backoff = Backoff::default();
    loop {
        let queues = settings.borrow_and_update().queues.clone();
        let queues = queues.filter(|queues| !queues.is_empty());
        let done = match &queues {
            Some(queues) => exhaust("setting queues apart", || state.store.set_apart(queues)).await.is_some(),
            None => true,
        };
        if !done {
            backoff.pause().await;
            continue;
        }
        backoff = Backoff::default();
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(jittered(EVERY)), if queues.is_some() => {}
        }
    }
}
