//! Cleans up after a statement whose caller stopped waiting for the response.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Connection, Slot};
use crate::address::Address;
use crate::connect;

/// Time limit for the response to a liveness check of a connection.
const ALIVE_MAX: Duration = Duration::from_secs(2);

/// Guards one running statement. If dropped before the response, it enforces the statement's deadline: a connection
/// that has not responded by then is discarded, and its statement is cancelled. The other connections are then checked
/// as well, since the cause may have ended them, too.
///
/// A caller with a shorter limit of its own drops the call; without this guard, a connection that died silently would
/// be used again and again, each time for less than its deadline.
pub(super) struct Watch<'a> {
    slots: &'a [Arc<Slot>],
    slot: &'a Arc<Slot>,
    client: Arc<Connection>,
    address: &'a Arc<Address>,
    deadline: Instant,
    answered: bool,
}

impl<'a> Watch<'a> {
    pub fn new(
        slots: &'a [Arc<Slot>],
        slot: &'a Arc<Slot>,
        client: &Arc<Connection>,
        address: &'a Arc<Address>,
        deadline: Instant,
    ) -> Self {
        Self { slots, slot, client: Arc::clone(client), address, deadline, answered: false }
    }

    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.answered || self.client.is_closed() {
            return;
        }
        let late = Instant::now() >= self.deadline;
        if late {
            self.slot.forget(&self.client);
        }
        // Outside a runtime nothing can be sent; the task that drives the connection is gone as well.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.slot.forget(&self.client);
            return;
        };
        let (slot, client, address) = (Arc::clone(self.slot), Arc::clone(&self.client), Arc::clone(self.address));
        let deadline = self.deadline;
        let others: Vec<Arc<Slot>> =
            self.slots.iter().filter(|other| !Arc::ptr_eq(other, self.slot)).cloned().collect();
        runtime.spawn(async move {
            // The server responds to this empty query after the statement before it.
            if !late && timeout_at(deadline, client.simple_query("")).await.is_ok() {
                return;
            }
            slot.forget(&client);
            tokio::join!(connect::cancel(&address, &client), join_all(others.iter().map(|other| other.check())));
        });
    }
}

impl Slot {
    /// Discards the connection if it does not respond. Running calls on it keep their deadlines.
    async fn check(&self) {
        if let Some(client) = self.current()
            && timeout(ALIVE_MAX, client.simple_query("")).await.is_err()
        {
            self.forget(&client);
        }
    }
}
