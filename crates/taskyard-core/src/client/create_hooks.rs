//! Hooks around additions. They run in the caller's own context, where a request's identity or trace is available.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use serde::Serialize;

use super::{Call, Client, ClientConfig, stored};
use crate::context::Context;
use crate::store::Added;
use crate::task::NewTask;
use crate::{Error, Limits, Result, TaskId, TaskRef};

/// A task that is about to be added.
#[derive(Debug)]
pub struct PendingTask<'a>(&'a mut NewTask);

impl PendingTask<'_> {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.id
    }

    /// Returns its kind, the function's full path.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Returns the queue that it is added to.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// Returns its tags.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.0.tags
    }

    /// Adds a tag to filter by.
    pub fn tag(&mut self, tag: impl Into<String>) {
        self.0.tags.push(tag.into());
    }

    /// Sets the value at a dotted path of its initial context, which its body and watchers can read.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the value cannot be JSON, [`Error::InvalidArgument`] for an empty segment of the
    /// path, [`Error::OverLimit`] for too deep a nesting.
    pub fn set_context(&mut self, path: &str, value: impl Serialize) -> Result<()> {
        let mut context = self.0.context.as_deref().map_or_else(|| Ok(Context::default()), Context::from_bytes)?;
        let value = serde_json::to_value(value).map_err(|error| Error::NotRepresentable {
            what: format!("the context's value `{path}`"),
            why: error.to_string(),
        })?;
        // The client's own limits are checked when the task is added.
        let limits = Limits { context_bytes_max: usize::MAX, ..Limits::default() };
        context.set(path, value, &limits)?;
        self.0.context = Some(context.to_bytes(&limits)?);
        Ok(())
    }
}

type PreCreate = Arc<dyn Fn(&mut PendingTask<'_>) -> Result<(), String> + Send + Sync>;
type PostCreate = Arc<dyn Fn(TaskId) + Send + Sync>;

/// The hooks, in the order of their registration.
#[derive(Clone, Default)]
pub(super) struct CreateHooks {
    before: Vec<PreCreate>,
    behind: Vec<PostCreate>,
}

impl CreateHooks {
    /// Returns whether there is no hook that must see tasks before they are added.
    pub fn are_none(&self) -> bool {
        self.before.is_empty()
    }

    /// Calls the hooks for a task that is about to be added.
    pub fn before(&self, task: &mut NewTask) -> Result<()> {
        for hook in &self.before {
            hook(&mut PendingTask(task)).map_err(|why| Error::InvalidArgument {
                what: "task",
                why: format!("a create hook refused {}: {why}", task.kind),
            })?;
        }
        Ok(())
    }

    /// Calls the hooks for stored tasks, except those whose unique key was held by another task. A hook that panics is
    /// logged and does not affect the addition.
    fn behind(&self, added: &[Added]) {
        for task in added.iter().filter(|task| !task.existing) {
            for hook in &self.behind {
                if panic::catch_unwind(AssertUnwindSafe(|| hook(task.id))).is_err() {
                    tracing::error!(task = %task.id, "a hook after the addition of a task panicked");
                }
            }
        }
    }
}

impl Client {
    /// Registers a hook that is called with each task that this client and its later clones are about to add.
    ///
    /// Runs in the caller's context (its thread, `tracing` span and task-locals). The hook may change the context and
    /// the tags; if it returns an error, the task is refused.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let client = queue.clone().on_pre_create(|task| task.set_context("tenant", 7));
    /// let task = client.add(send("ada@example.org".into())).await?;
    /// assert_eq!(task.context().await?["tenant"], 7);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_pre_create<F, E>(mut self, hook: F) -> Self
    where
        F: Fn(&mut PendingTask<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        Arc::make_mut(&mut self.hooks).before.push(Arc::new(move |task| hook(task).map_err(|error| error.to_string())));
        self
    }

    /// Registers a hook that is called with the id of each task that this client and its later clones have added, once
    /// it is stored.
    ///
    /// Runs in the caller's context if the caller waits for that (`add`), otherwise in a task of the client's runtime
    /// (`add_later`). Not called for a task whose unique key another one holds, for a task added in a transaction of
    /// the caller (only the caller sees its end), and for the runs of a schedule.
    #[must_use]
    pub fn on_post_create<F>(mut self, hook: F) -> Self
    where
        F: Fn(TaskId) + Send + Sync + 'static,
    {
        Arc::make_mut(&mut self.hooks).behind.push(Arc::new(hook));
        self
    }

    /// Converts a call to the task that is stored, after the hooks.
    #[doc(hidden)]
    pub fn new_task<T>(&self, call: Call<T>, config: &ClientConfig) -> Result<NewTask> {
        let mut task = call.into_task(config)?;
        if !self.hooks.are_none() {
            self.hooks.before(&mut task)?;
            task.check(&config.limits)?;
        }
        Ok(task)
    }

    /// Adds tasks and returns once they are stored.
    pub(super) async fn push_stored<T>(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef<T>>> {
        let tasks = self.push_when_room(tasks).await?;
        {
            let _noting = self.noting_unless_received(tasks.first().and_then(TaskRef::ticket));
            stored(&tasks).await?;
        }
        if let Some(Ok(added)) = tasks.first().and_then(TaskRef::ticket).and_then(|ticket| ticket.peek()) {
            self.hooks.behind(added);
        }
        Ok(tasks)
    }

    /// Calls the hooks once these tasks are stored, if there are any hooks.
    pub(super) fn tell_when_stored<T>(&self, tasks: &[TaskRef<T>]) {
        let ticket = tasks.first().and_then(TaskRef::ticket).filter(|_| !self.hooks.behind.is_empty());
        if let Some(ticket) = ticket.cloned() {
            // Not a handle on the client, which would keep the client open.
            let hooks = Arc::clone(&self.hooks);
            self.runtime.spawn(async move {
                if let Ok(added) = ticket.settled().await {
                    hooks.behind(added);
                }
            });
        }
    }
}

impl fmt::Debug for CreateHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateHooks").field("before", &self.before.len()).field("behind", &self.behind.len()).finish()
    }
}
