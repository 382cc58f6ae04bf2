//! What becomes of a statement whose answer nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Connection, Slot};
use crate::address::Address;
use crate::connect;

/// How long a connection may take to answer that is only asked whether it is alive.
const ALIVE_MAX: Duration = Duration::from_secs(2);

/// Watches over one statement. Dropped before its answer, it makes sure that the statement's deadline is kept: a connection that
/// has not answered by then is forgotten, and what it runs is cancelled. The other connections are then asked whether they are
/// alive, for whatever ended this one may have ended them.
///
/// A caller with a shorter limit of its own drops the call; without this, a connection that died silently would be used again
/// and again, each time for less than its deadline.
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
        // Outside a runtime nothing can be sent any more; the connection's task is gone as well.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.slot.forget(&self.client);
            return;
        };
        let (slot, client, address) = (Arc::clone(self.slot), Arc::clone(&self.client), Arc::clone(self.address));
        let deadline = self.deadline;
        let others: Vec<Arc<Slot>> =
            self.slots.iter().filter(|other| !Arc::ptr_eq(other, self.slot)).cloned().collect();
        runtime.spawn(async move {
            // Whatever is sent behind the statement is answered after it.
            if !late && timeout_at(deadline, client.simple_query("")).await.is_ok() {
                return;
            }
            slot.forget(&client);
            tokio::join!(connect::cancel(&address, &client), join_all(others.iter().map(|other| other.check())));
        });
    }
}

impl Slot {
    /// Forgets the connection if it does not answer. Calls that are under way on it keep their deadlines.
    async fn check(&self) {
        if let Some(client) = self.current()
            && timeout(ALIVE_MAX, client.simple_query("")).await.is_err()
        {
            self.forget(&client);
        }
    }
}
