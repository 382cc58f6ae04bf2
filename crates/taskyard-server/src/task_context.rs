//! What a running task can ask and say: its identity, its context, progress, logs, parents, and the request to end.
//!
//! A `TaskContext` is a cheap handle; clones may go to other threads and outlive the attempt (their writes are then
//! dropped, because the attempt's token is gone). All calls but the async ones return at once; writing to the
//! database happens behind them, coalesced and in order, and is over before the task's final state is written.

mod current;
mod cursor;
mod stored;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use taskyard_core::store::ParentResult;
use taskyard_core::{Client, Result, TaskId, Token};

pub(crate) use current::{enter, install};
pub use cursor::{Cursor, Ranges};

use crate::attempt::Attempt;
use crate::{BodyResult, TaskError, TaskFailure};

/// The handle of one running attempt.
#[derive(Clone)]
pub struct TaskContext(pub(crate) Arc<Attempt>);

impl TaskContext {
    /// The attempt that the calling code belongs to, if it runs inside one (async body or blocking thread).
    #[must_use]
    pub fn current() -> Option<Self> {
        current::current()
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.claimed.id
    }

    /// The number of this attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.claimed.attempt
    }

    /// The function's full path.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.claimed.kind
    }

    /// The queue it came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.0.claimed.queue
    }

    /// The label, the kind if none was given.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.claimed.name.as_deref().unwrap_or(&self.0.claimed.kind)
    }

    /// The arguments' exact bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.claimed.payload
    }

    /// The sizes that results, context and log lines may have.
    #[must_use]
    pub fn limits(&self) -> taskyard_core::Limits {
        self.0.engine.limits()
    }

    /// The longest that this attempt may take; `None` without a limit.
    #[must_use]
    pub fn timeout(&self) -> Option<std::time::Duration> {
        self.0.claimed.timeout
    }

    /// This attempt's token: a fence for systems that accept one. Every attempt has another.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.claimed.token
    }

    /// The same text in every attempt of this task: for effects in other systems that must happen once.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.0.claimed.id.to_string()
    }

    /// Whether this attempt was asked to end: cancelled, stopped, out of time, or the server stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.interrupted().is_some()
    }

    /// Ends the body with `?` once it was asked to end.
    ///
    /// # Errors
    /// If [`Self::is_cancelled`].
    pub fn check_cancelled(&self) -> std::result::Result<(), TaskFailure> {
        if self.is_cancelled() { Err(TaskError::cancelled().into_error()) } else { Ok(()) }
    }

    /// Returns once this attempt is asked to end. An async body is dropped then and need not wait for it.
    pub async fn cancelled(&self) {
        self.0.until_interrupted().await;
    }

    /// The parents' states and results, in the order in which they were given; empty without parents.
    ///
    /// # Errors
    /// The database's.
    pub async fn parent_results(&self) -> Result<Vec<ParentResult>> {
        match &self.0.engine.store {
            Some(store) if self.0.claimed.has_parents => store.parent_results(self.id()).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The application's value of this type, if the registry was given one.
    #[must_use]
    pub fn state<T: Any + Clone>(&self) -> Option<T> {
        self.0.engine.registry.state_of()
    }

    /// The application's value of this type.
    ///
    /// # Errors
    /// Fails the task for good if the registry was given none: no retry would help.
    pub fn require_state<T: Any + Clone>(&self) -> std::result::Result<T, TaskFailure> {
        self.state().ok_or_else(|| {
            let name = std::any::type_name::<T>();
            let message = format!(
                "the task takes State<{name}>, and this queue was given none: call `.state(value)` on it first"
            );
            TaskError::fail(message).with_type("NoState").into_error()
        })
    }

    /// The client of this server, to add, await and control other tasks: `context.client().add(call).await?` in an async
    /// body, and in a blocking one `Handle::current().block_on(..)` of the same ([`tokio::runtime::Handle`]).
    ///
    /// The attempt's success is stored only once the tasks are stored that its body has added without awaiting them (`add_later`): a
    /// crash in between runs the task again. An addition that is refused fails the attempt, with an error that names the added task,
    /// unless the body has asked for its outcome itself ([`TaskRef::stored`](taskyard_core::TaskRef::stored)). The attempt's time
    /// limit includes this wait. A failed attempt waits for five seconds at most; one that is cancelled, stopped, out of time or given
    /// back does not wait. The log names the additions that are not stored by then.
    ///
    /// This holds for every client that the body itself uses (where [`Self::current`] is this attempt), and for this client also in
    /// tasks and threads that the body has started, until the body ends. Additions that a spawned task makes after the body's end are
    /// not waited for, and neither are those of a body that ends its attempt in a transaction of its own (`complete_in`).
    ///
    /// # Panics
    /// In a run without a database (`run_inline`); see [`Self::try_client`].
    #[must_use]
    pub fn client(&self) -> &Client {
        self.try_client().expect("a task that is run inline, without a database, has no client")
    }

    /// The client, `None` in a run without a database.
    #[must_use]
    pub fn try_client(&self) -> Option<&Client> {
        self.0.client()
    }

    /// Runs `f` as part of this task: on a thread of the task's own, [`Self::current`] and logs work in it.
    pub fn scope<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = enter(self);
        f()
    }
}

/// Runs an async body on this thread, which is its own, until it ends or is asked to end: it is dropped then.
///
/// # Errors
/// What the body returned; that it was asked to end.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn block_on(context: &TaskContext, body: impl Future<Output = BodyResult>) -> BodyResult {
    tokio::runtime::Handle::current().block_on(async {
        tokio::select! {
            biased;
            () = context.cancelled() => Err(TaskError::cancelled()),
            result = body => result,
        }
    })
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("id", &self.id())
            .field("kind", &self.kind())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
