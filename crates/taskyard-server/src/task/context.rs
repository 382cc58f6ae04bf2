//! The interface of a running task: its identity, its context, progress, logs, parents, and requests to end.
//!
//! A `TaskContext` is a cheap handle. Clones may move to other threads and outlive the attempt; their writes are then
//! dropped, because the attempt's token is no longer valid. All calls except the async ones return at once: writes to
//! the database happen in the background, coalesced and in order, and are complete before the task's final state is
//! written.

mod cursor;
mod stored;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use taskyard_core::store::ParentResult;
use taskyard_core::{Client, Result, TaskId, Token};

pub use cursor::{Cursor, Ranges};

use crate::attempt::{Attempt, current};
use crate::{BodyResult, TaskError, TaskFailure};

/// Handle of one running attempt.
#[derive(Clone)]
pub struct TaskContext(pub(crate) Arc<Attempt>);

impl TaskContext {
    /// Returns the attempt that the calling code belongs to, if it runs inside one (async body or blocking thread).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// // Not a task, but called by one.
    /// fn note(text: &str) {
    ///     if let Some(context) = TaskContext::current() {
    ///         context.log(20, text); // 20 = info
    ///     }
    /// }
    ///
    /// #[task]
    /// async fn import() {
    ///     note("200 rows");
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.logs().await?[0].line.message, "200 rows");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        current::current().map(Self)
    }

    /// Returns the task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.claimed.id
    }

    /// Returns the number of this attempt, starting at 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.claimed.attempt
    }

    /// Returns the full path of the function.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.claimed.kind
    }

    /// Returns the queue that the task was claimed from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.0.claimed.queue
    }

    /// Returns the task's label, or the kind if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.claimed.name.as_deref().unwrap_or(&self.0.claimed.kind)
    }

    /// Returns the exact bytes of the arguments.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.claimed.payload
    }

    /// Returns the size limits of results, context and log lines.
    #[must_use]
    pub fn limits(&self) -> taskyard_core::Limits {
        self.0.host.limits()
    }

    /// Returns the time limit of this attempt; `None` without a limit.
    #[must_use]
    pub fn timeout(&self) -> Option<std::time::Duration> {
        self.0.claimed.timeout
    }

    /// Returns this attempt's fencing token, for external systems that accept one. Every attempt has a different token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.claimed.token
    }

    /// Returns a key that is the same in every attempt of this task, for effects in other systems that must happen only
    /// once.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// async fn pay(cents: u64, context: TaskContext) -> String {
    ///     // The payment provider ignores a second request with the same key.
    ///     format!("POST /payments amount={cents} key={}", context.idempotency_key())
    /// }
    ///
    /// let task = queue.add(pay(500)).await?;
    /// queue.drain().await?;
    /// assert!(task.wait().await?.ends_with(&task.id().to_string()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.0.claimed.id.to_string()
    }

    /// Returns true once this attempt is to end: it was cancelled or stopped, its time limit has passed, or the server
    /// stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.interrupted().is_some()
    }

    /// Returns an error once the attempt is to end, so that a body can end early with `?`.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, TaskError, task};
    ///
    /// #[task] // a plain function, which cannot be dropped as a future can
    /// fn sum(rows: Vec<u64>, context: TaskContext) -> Result<u64, TaskError> {
    ///     let mut sum = 0;
    ///     for row in rows {
    ///         context.check_cancelled()?;
    ///         sum += row;
    ///     }
    ///     Ok(sum)
    /// }
    ///
    /// let task = queue.add(sum(vec![1, 2, 3])).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, 6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A cancellation if [`Self::is_cancelled`].
    pub fn check_cancelled(&self) -> std::result::Result<(), TaskFailure> {
        if self.is_cancelled() { Err(TaskError::cancelled().into_error()) } else { Ok(()) }
    }

    /// Completes once this attempt is to end. An async body is dropped at that point and need not wait for it.
    pub async fn cancelled(&self) {
        self.0.until_interrupted().await;
    }

    /// Returns the parents' states and results in the order in which the parents were given; empty without parents.
    ///
    /// ```
    /// # #[taskyard::task] async fn fetch(page: u32) -> u32 { page }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, TaskError, task};
    ///
    /// #[task]
    /// async fn sum(context: TaskContext) -> Result<u32, TaskError> {
    ///     let mut sum = 0;
    ///     for parent in context.parent_results().await? {
    ///         sum += serde_json::from_slice::<u32>(&parent.result.unwrap_or_default())?;
    ///     }
    ///     Ok(sum)
    /// }
    ///
    /// let pages = queue.add_tasks([fetch(1), fetch(2)]).await?;
    /// let sum = queue.add(sum().parents(&pages)).await?;
    /// queue.drain().await?;
    /// assert_eq!(sum.wait().await?, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's errors, such as [`taskyard_core::Error::Connection`] if the database cannot be reached.
    pub async fn parent_results(&self) -> Result<Vec<ParentResult>> {
        match &self.0.host.store {
            Some(store) if self.0.claimed.has_parents => store.parent_results(self.id()).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the application's value of this type, if one was registered.
    #[must_use]
    pub fn state<T: Any + Clone>(&self) -> Option<T> {
        self.0.host.states.get()
    }

    /// Returns the application's value of this type.
    ///
    /// # Errors
    /// A failure without retry if no such value was registered, because no retry would help.
    pub fn require_state<T: Any + Clone>(&self) -> std::result::Result<T, TaskFailure> {
        self.state().ok_or_else(|| {
            let name = std::any::type_name::<T>();
            let message = format!(
                "the task takes State<{name}>, which this queue does not have: call `.state(value)` on it first"
            );
            TaskError::fail(message).with_type("NoState").into_error()
        })
    }

    /// Returns the client of this server, to add, await and control other tasks: `context.client().add(call).await?` in
    /// an async body; in a blocking body, pass the same future to `Handle::current().block_on(..)`
    /// ([`tokio::runtime::Handle`]).
    ///
    /// The attempt's success is stored only once the tasks are stored that its body has added without awaiting them (`add_later`): a
    /// crash in between runs the task again. An addition that is refused fails the attempt, with an error that names the added task,
    /// unless the body has received that error itself ([`TaskRef::stored`](taskyard_core::TaskRef::stored)). The attempt's time limit
    /// includes this wait; its concurrency slot is free meanwhile. A failed attempt waits for five seconds at most; one that is
    /// cancelled, stopped, out of time or given back does not wait. The log names the additions that are not stored by then.
    ///
    /// This holds for every client that the body itself uses (where [`Self::current`] is this attempt), and for this client also in
    /// tasks and threads that the body has started, until the body ends. Additions that a spawned task makes after the body's end are
    /// not waited for, and neither are those of a body that ends its attempt in a transaction of its own (`complete_in`).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskContext, task};
    ///
    /// #[task]
    /// async fn send_all(context: TaskContext) -> Result<(), Error> {
    ///     for name in ["ada", "grace"] {
    ///         context.client().add_later(send(name.into()))?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// queue.add(send_all()).await?;
    /// assert_eq!(queue.drain().await?, 3); // the task, and those that it has added
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// In a run without a database (`run_inline`); see [`Self::try_client`].
    #[must_use]
    pub fn client(&self) -> &Client {
        self.try_client().expect("a task that is run inline, without a database, has no client")
    }

    /// Returns the client; `None` in a run without a database.
    #[must_use]
    pub fn try_client(&self) -> Option<&Client> {
        self.0.client()
    }

    /// Runs `f` as part of this task, so that [`Self::current`] and logs work on a thread that the task has started.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// fn import(context: TaskContext) -> bool {
    ///     let inside = || TaskContext::current().is_some();
    ///     std::thread::scope(|threads| threads.spawn(|| context.scope(inside)).join()).unwrap_or(false)
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert!(task.wait().await?);
    /// # Ok(()) }
    /// ```
    pub fn scope<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = current::enter(&self.0);
        f()
    }
}

/// Runs an async body on the current thread until it ends. The body is dropped when the attempt is to end.
///
/// # Errors
/// The error of the body, or a cancellation if the attempt was interrupted.
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
