//! Who wants to know that something happened, and the one place that tells them.
//!
//! A wake-up carries no data and may be lost or doubled: whoever is woken reads the database. Polling is the net.
//! A store pokes its hub after its own commits and when another process's notification arrives.

use tokio::sync::watch;

/// A signal that coalesces: any number of pokes between two looks are one.
#[derive(Debug)]
pub struct Bell(watch::Sender<u64>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Bell {
    /// Wakes every listener.
    pub fn ring(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A listener that hears every ring from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// One listener of a [`Bell`].
#[derive(Clone, Debug)]
pub struct Listener(watch::Receiver<u64>);

impl Listener {
    /// Waits for a ring since the last call. Pending for ever once the bell is gone.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it rang since the last call; forgets that it did.
    pub fn take(&mut self) -> bool {
        let rang = self.0.has_changed().unwrap_or(false);
        if rang {
            self.0.mark_unchanged();
        }
        rang
    }
}

/// What processes wait for.
#[derive(Debug, Default)]
pub struct Bells {
    /// Tasks were added, released, or a timer came nearer: servers look for work.
    pub work: Bell,
    /// Tasks reached a final state: waiters look for theirs.
    pub finished: Bell,
    /// A running task is to be cancelled or stopped: servers beat at once.
    pub signal: Bell,
    /// Schedules were stored, changed or removed: servers plan anew.
    pub schedules: Bell,
}
