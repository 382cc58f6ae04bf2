//! Announces commits to other processes: NOTIFY as a statement of its own, right after the commit. After an addition it
//! is sent before the addition's response arrives.
//!
//! Notifications carry no payload and are coalesced: at most one per channel in [`EACH`], and always one after the last
//! commit. They do not wait for the disk: a lost one costs a polling interval, never a task. (NOTIFY inside every
//! commit would cost two thirds of the throughput at 16 clients, because PostgreSQL serialises all commits that
//! notify.)

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::inner::Inner;
use crate::pool::Role;

/// Channel: tasks reached a final state.
pub(crate) const FINISHED: &str = "taskyard_finished";
/// Channel: a running task is to be cancelled or stopped.
pub(crate) const SIGNAL: &str = "taskyard_signal";
/// Channel: a schedule was stored or changed. Sent by a trigger on its table, for changes by any client.
pub(crate) const SCHEDULE: &str = "taskyard_schedule";

const EACH: Duration = Duration::from_millis(2);
/// Notifies several channels.
const SQL: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify(c, '') \
     FROM pg_catalog.unnest($1) AS c";

/// Notifies one channel, at half the cost of [`SQL`]: the start of a task waits for it.
pub(crate) const ONE: &str =
    "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify($1, '')";

/// Subject of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum News {
    /// There is work.
    Work = 1,
    /// A task ended.
    Finished = 2,
    /// A server is asked to cancel or stop a task.
    Signal = 4,
}

/// Notifications that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    pending: AtomicU8,
    poked: Notify,
    /// Time of the last notification about work.
    told: Mutex<Option<Instant>>,
    /// Held while notifications are being sent: closing the store waits for them.
    sending: tokio::sync::Mutex<()>,
}

impl Notifier {
    pub fn notify(&self, news: News) {
        if self.pending.fetch_or(news as u8, Ordering::AcqRel) & news as u8 == 0 {
            self.poked.notify_one();
        }
    }

    fn take(&self) -> u8 {
        let pending = self.pending.swap(0, Ordering::AcqRel);
        if pending & News::Work as u8 != 0 {
            *self.told() = Some(Instant::now());
        }
        pending
    }

    /// Returns whether a notification about work may be sent now, out of turn; if so, it counts as sent.
    pub fn may_tell_work(&self) -> bool {
        let mut told = self.told();
        let may = told.is_none_or(|told| told.elapsed() >= EACH);
        if may {
            *told = Some(Instant::now());
        }
        may
    }

    fn told(&self) -> MutexGuard<'_, Option<Instant>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends pending notifications, and waits for those that another call is sending.
pub(crate) async fn flush(store: &Inner) {
    let _sending = store.notifier.sending.lock().await;
    let pending = store.notifier.take();
    let channels: Vec<&str> =
        [(News::Work, store.options.notify_channel.as_str()), (News::Finished, FINISHED), (News::Signal, SIGNAL)]
            .into_iter()
            .filter(|(news, _)| pending & *news as u8 != 0)
            .map(|(_, channel)| channel)
            .collect();
    // Uses a connection that is already open; in a process that only adds tasks, this is the one for additions.
    let role = if pending == News::Work as u8 { Role::Client } else { Role::Attempt };
    if !channels.is_empty()
        && let Err(error) = store.pool.query(role, SQL, &[(&channels, Type::TEXT_ARRAY)]).await
    {
        tracing::debug!("NOTIFY: {error}");
    }
}

/// Sends notifications until the store is closed or dropped.
pub(crate) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(store) = inner.upgrade().filter(|store| !store.pool.is_closed()) else { return };
        let poked = store.notifier.poked.notified();
        // Wakes up every second to check whether the store still exists.
        if tokio::time::timeout(Duration::from_secs(1), poked).await.is_ok() {
            flush(&store).await;
        }
        drop(store);
        sleep(EACH).await;
    }
}
