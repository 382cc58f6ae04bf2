//! [`HookTasks`]: hook calls that outlive their attempts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Tasks that call hooks after their attempts have ended. A server that stops waits for them.
#[derive(Default)]
pub(crate) struct HookTasks {
    runtime: OnceLock<Handle>,
    count: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

impl HookTasks {
    /// Sets the runtime on which they run: the application's.
    pub fn run_on(&self, runtime: Option<Handle>) {
        if let Some(runtime) = runtime {
            let _ = self.runtime.set(runtime);
        }
    }

    pub fn spawn(&self, calls: impl Future<Output = ()> + Send + 'static) {
        struct Counted(Arc<AtomicUsize>, Arc<Notify>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
                self.1.notify_waiters();
            }
        }
        let Some(runtime) = self.runtime.get().cloned().or_else(|| Handle::try_current().ok()) else {
            tracing::error!("hooks after a task's run cannot be called: the runtime has ended");
            return;
        };
        self.count.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(self.count.clone(), self.ended.clone());
        runtime.spawn(async move {
            let _counted = counted;
            calls.await;
        });
    }

    /// Returns when no such task is left.
    pub async fn until_none(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}
