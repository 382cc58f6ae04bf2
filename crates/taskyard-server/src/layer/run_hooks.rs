//! The hooks before and after each run of a body: outside of all layers, so that they observe the final result.
//!
//! The attempt is decided before the hooks after a run are called. However long they take, whatever they do, and
//! whatever ends them, the result of the body is what is stored.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::TaskService;
use crate::attempt::{End, resolve_outcome};
use crate::layer::death_hooks::DELIVERY_MAX;
use crate::primitives::panics;
use crate::{BodyResult, TaskContext, TaskError, TaskFailure};

/// The end of a run of a body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BodyEnd {
    /// The body returned this result, as JSON.
    Returned(Arc<[u8]>),
    /// The body or a hook before it failed or panicked. [`TaskFailure::is_snooze`] is true if it requested a later run.
    Failed(TaskFailure),
    /// The body was dropped: cancelled, stopped, out of time, or the server stopped.
    Interrupted,
}

type Called = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type PreRun = Arc<dyn Fn(TaskContext) -> Called + Send + Sync>;
type PostRun = Arc<dyn Fn(TaskContext, BodyEnd) -> Called + Send + Sync>;

/// Hooks in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct RunHooks {
    before: Vec<PreRun>,
    after: Vec<PostRun>,
}

impl RunHooks {
    pub fn before<F, Calling, E>(&mut self, hook: F)
    where
        F: Fn(TaskContext) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.before.push(Arc::new(move |context| {
            let calling = hook(context);
            Box::pin(async move { calling.await.map_err(Into::into) })
        }));
    }

    pub fn after<F, Calling, E>(&mut self, hook: F)
    where
        F: Fn(TaskContext, BodyEnd) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.after.push(Arc::new(move |context, end| {
            let calling = hook(context, end);
            Box::pin(async move { calling.await.map_err(|error| TaskError::new("Hook", error.to_string())) })
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

/// Runs the body of an attempt, in its layers, with the hooks around it.
pub(super) async fn run(context: TaskContext, hooks: RunHooks, layers: Option<TaskService>) -> BodyResult {
    let mut calls = PostRunCalls { hooks: hooks.after, next: 0, context: context.clone(), end: BodyEnd::Interrupted };
    let result = catching(async {
        for hook in &hooks.before {
            hook(context.clone()).await?;
        }
        match layers {
            Some(layers) => layers.body(context.clone()).await,
            None => body(context.clone()).await,
        }
    })
    .await;
    if calls.hooks.is_empty() {
        return result;
    }
    let result = context.0.settled(result).await;
    calls.end = match &result {
        Ok(result) => BodyEnd::Returned(result.as_slice().into()),
        Err(error) => BodyEnd::Failed(error.clone().into_error()),
    };
    if context.0.host.store.is_some() {
        context.0.end(resolve_outcome(&context.0, End::Returned(result)));
        calls.run().await;
        // The attempt is decided, so this value is ignored.
        return Ok(Vec::new());
    }
    calls.run().await;
    result
}

/// Runs the body itself; a panic is returned as an error to the layers and hooks.
pub(super) async fn body(context: TaskContext) -> BodyResult {
    let function = context.0.function;
    let function =
        function.ok_or_else(|| TaskError::fail(format!("no function of kind `{}` is registered", context.kind())))?;
    catching(async { function.body(&context.0).await }).await
}

/// Polls a future; a panic is returned as an error.
async fn catching<T>(body: impl Future<Output = Result<T, TaskError>>) -> Result<T, TaskError> {
    let mut body = Box::pin(body);
    poll_fn(|cx| match panics::catch(|| body.as_mut().poll(cx)) {
        Ok(poll) => poll,
        Err(failure) => Poll::Ready(Err(TaskError::of(failure))),
    })
    .await
}

/// The hooks that are still to be called after a run. Those that are left when it is dropped are called in a task on
/// the application's runtime.
struct PostRunCalls {
    hooks: Vec<PostRun>,
    next: usize,
    context: TaskContext,
    end: BodyEnd,
}

impl PostRunCalls {
    /// Calls the hooks. One that fails or panics is logged, and the others are still called.
    async fn run(&mut self) {
        while let Some(hook) = self.hooks.get(self.next) {
            self.next += 1;
            let calling = catching(async { hook(self.context.clone(), self.end.clone()).await });
            if let Err(error) = calling.await {
                tracing::error!(task = %self.context.id(), error = error.message(), "a hook after a task's run failed");
            }
        }
    }
}

impl Drop for PostRunCalls {
    fn drop(&mut self) {
        if self.next >= self.hooks.len() {
            return;
        }
        let mut rest = Self {
            hooks: std::mem::take(&mut self.hooks),
            next: self.next,
            context: self.context.clone(),
            end: self.end.clone(),
        };
        self.context.0.host.hook_tasks.spawn(async move {
            if tokio::time::timeout(DELIVERY_MAX, rest.run()).await.is_err() {
                tracing::error!(task = %rest.context.id(), "hooks after a task's run take over a minute; they are dropped");
            }
            // Prevents the drop from spawning another task.
            rest.hooks.clear();
        });
    }
}
