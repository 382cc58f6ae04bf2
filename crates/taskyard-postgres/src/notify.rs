//! Telling other processes what was committed: NOTIFY as a statement of its own, right behind the commit; behind an
//! addition it is on its way before the addition is answered.
//!
//! Coalesced: at most one per channel in [`EACH`], and always one after the last commit. Without payload. It waits for
//! no disk: a lost one costs the polling interval, never a task. (Inside every commit it would cost two thirds of the
//! throughput at 16 clients: all commits that notify are serialised.)

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::pool::Role;
use crate::store::Inner;

/// Tasks reached a final state.
pub(crate) const FINISHED: &str = "taskyard_finished";
/// A running task is to be cancelled or stopped.
pub(crate) const SIGNAL: &str = "taskyard_signal";
/// A schedule was stored or changed; told by the trigger on its table, whoever wrote it.
pub(crate) const SCHEDULE: &str = "taskyard_schedule";

const EACH: Duration = Duration::from_millis(2);
/// Tells of what is to be told on these channels.
const SQL: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify(c, '') \
     FROM pg_catalog.unnest($1) AS c";

/// The same for one channel, at half the cost: a pick-up waits for it.
pub(crate) const ONE: &str =
    "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify($1, '')";

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum News {
    /// There is work.
    Work = 1,
    /// Something ended.
    Finished = 2,
    /// A server is asked for something.
    Signal = 4,
}

/// News that wait to be told.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    pending: AtomicU8,
    poked: Notify,
    /// When work was last told of.
    told: Mutex<Option<Instant>>,
    /// Held while news that were taken are on their way: who closes the store waits for them.
    sending: tokio::sync::Mutex<()>,
}

impl Notifier {
    pub fn tell(&self, news: News) {
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

    /// Whether work may be told of now, out of turn; then it counts as told.
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

/// Tells what is pending, and waits for what another call is just telling.
pub(crate) async fn flush(store: &Inner) {
    let _sending = store.notifier.sending.lock().await;
    let pending = store.notifier.take();
    let channels: Vec<&str> =
        [(News::Work, store.options.notify_channel.as_str()), (News::Finished, FINISHED), (News::Signal, SIGNAL)]
            .into_iter()
            .filter(|(news, _)| pending & *news as u8 != 0)
            .map(|(_, channel)| channel)
            .collect();
    // A connection that is there already; a process that only adds has this one.
    let role = if pending == News::Work as u8 { Role::Ask } else { Role::Attempt };
    if !channels.is_empty()
        && let Err(error) = store.pool.query(role, SQL, &[(&channels, Type::TEXT_ARRAY)]).await
    {
        tracing::debug!("NOTIFY: {error}");
    }
}

/// Tells news until the store is closed or gone.
pub(crate) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(store) = inner.upgrade().filter(|store| !store.pool.is_closed()) else { return };
        let poked = store.notifier.poked.notified();
        // Woken now and then to see whether the store is still there.
        if tokio::time::timeout(Duration::from_secs(1), poked).await.is_ok() {
            flush(&store).await;
        }
        drop(store);
        sleep(EACH).await;
    }
}
