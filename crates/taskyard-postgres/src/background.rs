//! The store's two background tasks: announcing commits to other processes, and receiving their announcements.
//!
//! Each is started by the first call that needs it, in the runtime of that call, and ends with the store or that
//! runtime, whichever is first: the next call then starts it again. Read next: [`notify`], [`listen`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tokio::task::AbortHandle;

use crate::inner::Inner;
use crate::store::PostgresStore;
use crate::{listen, notify};

impl PostgresStore {
    /// Starts the task that sends notifications, unless it runs.
    pub(crate) fn notify_others(&self) {
        self.start_once(
            |inner| &inner.notifying,
            |inner| inner.notifying.store(false, Ordering::Release),
            || notify::run(Arc::downgrade(&self.inner)),
        );
    }

    /// Starts the task that receives notifications, unless it runs.
    pub(crate) fn listen(&self) {
        self.notify_others();
        self.start_once(
            |inner| &inner.listening,
            |inner| {
                inner.hears.store(false, Ordering::Release);
                inner.listening.store(false, Ordering::Release);
            },
            || listen::run(Arc::downgrade(&self.inner), self.inner.listen_address.clone()),
        );
    }

    /// Starts the task that receives notifications, those of new tasks included: for a store that claims.
    pub(crate) fn listen_for_work(&self) {
        let claims = &self.inner.claims;
        if !*claims.borrow() {
            claims.send_replace(true);
        }
        self.listen();
    }

    /// Starts a background task unless it runs. The task ends with the runtime in which it was started; the next call
    /// then starts it in the runtime of its caller.
    fn start_once<F>(&self, runs: fn(&Inner) -> &AtomicBool, end: fn(&Inner), task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = &self.inner;
        if !inner.options.notify || runs(inner).load(Ordering::Acquire) || inner.pool.is_closed() {
            return;
        }
        if !runs(inner).swap(true, Ordering::AcqRel) {
            let (task, running) = (task(), Running { inner: Arc::downgrade(inner), end });
            let guarded = async move {
                let _running = running;
                task.await;
            };
            inner.keep(tokio::spawn(guarded).abort_handle());
        }
    }
}

/// Records the end of a background task when dropped.
struct Running {
    inner: Weak<Inner>,
    end: fn(&Inner),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            (self.end)(&inner);
        }
    }
}

impl Inner {
    fn keep(&self, handle: AbortHandle) {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.retain(|known| !known.is_finished());
        background.push(handle);
    }

    pub fn stop_background(&self) {
        for handle in self.background.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.abort();
        }
        self.hears.store(false, Ordering::Release);
    }
}
