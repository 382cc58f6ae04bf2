//! The end of an attempt waits for the tasks that its body has added without awaiting them.
//!
//! A body that has ended with open additions is replaced by a future that waits for them ([`Attempt::after_body`]). The executor
//! runs that in the body's place, so the time limit, a cancel, a stop and a shutdown end the wait as they end a body. An attempt that
//! is ended from outside does not wait; the additions that are not stored by then are logged, and the body's own failure stands. The
//! concurrency slot of the body is free meanwhile. A body that has added nothing costs one atomic load. How additions are noted is in
//! `taskyard-core`, `client/additions.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::Client;
use taskyard_core::client::additions::{Additions, Unsettled};

use super::{Attempt, End};
use crate::attempt::task_error::RetryDirective;
use crate::{AsyncBody, BodyResult, TaskError};

/// The longest time for which a failed attempt waits for its additions.
const FAILED_MAX: Duration = Duration::from_secs(5);

impl Attempt {
    /// Where the additions of its body are noted.
    pub fn additions(&self) -> Arc<Additions> {
        self.additions.get_or_init(Arc::default).clone()
    }

    /// The client of its server, for its body; `None` without a database.
    pub fn client(&self) -> Option<&Client> {
        let client = self.host.client.as_ref()?;
        Some(self.client.get_or_init(|| Box::new(client.of_body(self.additions()))))
    }

    /// Returns `end` if no addition of the body is open.
    ///
    /// # Errors
    /// Otherwise a future to be run in the body's place. It ends as the body did once the additions are decided, or fails with the
    /// refusal of one.
    pub fn after_body(self: &Arc<Self>, end: End) -> Result<End, AsyncBody> {
        match end {
            End::Returned(result) => self.after_result(result),
            End::Panicked(failure) => self.after_result(Err(TaskError::of(failure))),
            End::TimedOut | End::Interrupted(_) => return Ok(end),
        }
        .map(End::Returned)
    }

    fn after_result(self: &Arc<Self>, result: BodyResult) -> Result<BodyResult, AsyncBody> {
        let Some(unsettled) = self.additions.get().and_then(|additions| additions.close()) else { return Ok(result) };
        self.is_settling.store(true, Ordering::Release);
        if let Err(error) = &result
            && !matches!(error.directive, RetryDirective::Snooze(_) | RetryDirective::Cancelled)
        {
            let _ = self.failed.set(Box::new(error.clone()));
        }
        Err(Box::pin(Settling { attempt: self.clone(), unsettled }.run(result)))
    }

    /// Returns the result of its body once the body's additions are decided.
    pub async fn settled(self: &Arc<Self>, result: BodyResult) -> BodyResult {
        match self.after_result(result) {
            Ok(result) => result,
            Err(settling) => settling.await,
        }
    }

    /// Whether its body ended with open additions.
    pub fn is_settling(&self) -> bool {
        self.is_settling.load(Ordering::Acquire)
    }

    /// The failure of a body that ended with open additions.
    pub(super) fn failure_while_settling(&self) -> Option<&TaskError> {
        self.failed.get().map(Box::as_ref)
    }

    /// Logs the open additions of an attempt that is decided.
    pub(super) fn leave_additions(&self) {
        if let Some(unsettled) = self.additions.get().and_then(|additions| additions.close()) {
            self.log_left(&unsettled);
        }
    }

    fn log_left(&self, unsettled: &Unsettled) {
        if let Some(additions) = unsettled.pending() {
            let (task, kind) = (self.id(), &self.claimed.kind);
            tracing::warn!(%task, kind, additions, "an attempt ends before what its body added is stored");
        }
    }
}

/// The wait for the additions of a body that has ended. Logs those that are left when it is dropped.
struct Settling {
    attempt: Arc<Attempt>,
    unsettled: Unsettled,
}

impl Settling {
    async fn run(self, result: BodyResult) -> BodyResult {
        // Other tasks may use the slot, as while a body waits for another task: what blocks an addition may last.
        let _released = self.attempt.clone().release_slot();
        let has_failed = result.as_ref().is_err_and(|error| !matches!(error.directive, RetryDirective::Snooze(_)));
        if has_failed {
            let _ = tokio::time::timeout(FAILED_MAX, self.unsettled.settled()).await;
            return result;
        }
        match self.unsettled.settled().await {
            Ok(()) => result,
            Err(refused) => {
                let message = refused.to_string();
                Err(TaskError::from(refused.error).saying(message))
            }
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.attempt.log_left(&self.unsettled);
    }
}
