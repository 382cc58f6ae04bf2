//! [`Inner`]: the state that the store shares with its two background tasks. The module of each subject takes it as an argument.
//!
//! Read next: `store.rs` (which calls these modules), `background.rs` (the two tasks).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use taskyard_core::notifications::Notifications;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::address::Address;
use crate::notify::{News, Notifier};
use crate::options::Options;
use crate::pool::Pool;

/// State shared by the store and its two background tasks.
#[derive(Debug)]
pub(crate) struct Inner {
    pub pool: Pool,
    pub options: Options,
    pub notifications: Notifications,
    /// Whether LISTEN works now.
    pub hears: AtomicBool,
    pub notifier: Notifier,
    pub listen_address: Address,
    /// Whether the two background tasks run.
    pub listening: AtomicBool,
    /// Whether all connections of a server have once been open at the same time.
    pub admitted: AtomicBool,
    pub notifying: AtomicBool,
    /// Whether this store claims tasks, and so has to be notified of new ones.
    pub claims: watch::Sender<bool>,
    /// When the parts of `ready` were last checked.
    pub turned: Mutex<Option<Instant>>,
    /// Time of the last search for rows of ageing queues that store no promotion time.
    pub strays: Mutex<Option<Instant>>,
    /// Claims skip locked rows until this time.
    around_locks: Mutex<Option<Instant>>,
    /// Number of claims that have failed since the last success.
    pub claims_failed: AtomicU32,
    pub background: Mutex<Vec<AbortHandle>>,
}

impl Inner {
    pub fn new(address: Address, listen_address: Address, options: Options) -> Self {
        Self {
            pool: Pool::new(address, options.pool_size, options.answer_max),
            options,
            notifications: Notifications::default(),
            hears: AtomicBool::new(false),
            notifier: Notifier::default(),
            listen_address,
            listening: AtomicBool::new(false),
            admitted: AtomicBool::new(false),
            notifying: AtomicBool::new(false),
            claims: watch::Sender::new(false),
            turned: Mutex::new(None),
            strays: Mutex::new(None),
            around_locks: Mutex::new(None),
            claims_failed: AtomicU32::new(0),
            background: Mutex::new(Vec::new()),
        }
    }

    /// Announces new work: to waiters of this store at once, and to other processes through NOTIFY.
    pub fn notify_work(&self) {
        self.notifications.work.notify();
        self.notify(News::Work);
    }

    pub fn notify_finished(&self) {
        self.notifications.finished.notify();
        self.notify(News::Finished);
    }

    pub fn notify_signal(&self) {
        self.notifications.signal.notify();
        self.notify(News::Signal);
    }

    /// Returns whether claims skip locked rows now.
    pub fn claims_around_locks(&self) -> bool {
        let until = *self.around_locks.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub fn claim_around_locks(&self, within: Duration) {
        *self.around_locks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + within);
    }

    /// Records that notifications do not arrive any more. All waiters are woken: they choose the shorter polling interval, and their
    /// next call starts to listen again.
    pub fn lose_notifications(&self) {
        if self.hears.swap(false, Ordering::AcqRel) {
            self.notify_all();
        }
    }

    pub fn notify_all(&self) {
        self.notifications.work.notify();
        self.notifications.finished.notify();
        self.notifications.signal.notify();
        self.notifications.schedules.notify();
    }

    fn notify(&self, news: News) {
        if self.options.notify {
            self.notifier.notify(news);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_background();
    }
}
