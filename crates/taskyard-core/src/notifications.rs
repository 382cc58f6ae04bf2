//! In-process notifications that something happened in the database.
//!
//! A notification carries no data and may be lost or duplicated: the receiver reads the database. Polling covers lost
//! ones. A store notifies after its own commits and when a notification from another process arrives.

use tokio::sync::watch;

/// A signal that coalesces: any number of notifications between two reads count as one.
#[derive(Debug)]
pub struct Notification(watch::Sender<u64>);

impl Default for Notification {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Notification {
    /// Notifies every listener.
    pub fn notify(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns a listener that receives every notification from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// A listener of a [`Notification`].
#[derive(Clone, Debug)]
pub struct Listener(watch::Receiver<u64>);

impl Listener {
    /// Waits for a notification since the last call. Never returns once the [`Notification`] has been dropped.
    pub async fn notified(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether there was a notification since the last call, and clears it.
    pub fn take(&mut self) -> bool {
        let notified = self.0.has_changed().unwrap_or(false);
        if notified {
            self.0.mark_unchanged();
        }
        notified
    }
}

/// The notifications that a store sends.
#[derive(Debug, Default)]
pub struct Notifications {
    /// Tasks were added or released, or a timer became due earlier: servers look for work.
    pub work: Notification,
    /// Tasks reached a final state: waiters check their tasks.
    pub finished: Notification,
    /// A running task is to be cancelled or stopped: servers send a heartbeat at once.
    pub signal: Notification,
    /// Schedules were stored, changed or removed: servers plan again.
    pub schedules: Notification,
}
