//! [`BatchQueue`]: hands items from any thread to one loop, in batches.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::primitives::lock::lock;

/// A queue that any thread may add to and one loop drains, with one lock and one wake-up for a whole batch.
#[derive(Debug)]
pub(crate) struct BatchQueue<T> {
    items: Mutex<Vec<T>>,
    notify: Notify,
}

impl<T> Default for BatchQueue<T> {
    fn default() -> Self {
        Self { items: Mutex::default(), notify: Notify::new() }
    }
}

impl<T> BatchQueue<T> {
    pub fn push(&self, item: T) {
        lock(&self.items).push(item);
        self.notify.notify_one();
    }

    pub fn append(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        lock(&self.items).append(items);
        self.notify.notify_one();
    }

    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *lock(&self.items))
    }

    /// Wakes the loop although nothing was added.
    pub fn notify(&self) {
        self.notify.notify_one();
    }

    pub fn len(&self) -> usize {
        lock(&self.items).len()
    }

    /// Returns when something was added since the last return.
    pub async fn filled(&self) {
        self.notify.notified().await;
    }
}
