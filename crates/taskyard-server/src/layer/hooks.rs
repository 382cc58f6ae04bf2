//! The hooks before and behind each run of a body, next to it: inside of all layers.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use super::body_of;
use crate::{BodyResult, TaskContext, TaskError, TaskFailure, panics};

/// How a run of a body ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BodyEnd {
    /// It returned a result; this is its JSON.
    Returned(Arc<[u8]>),
    /// It failed or panicked, or a hook before it did.
    Failed(TaskFailure),
    /// It was dropped: cancelled, stopped, out of time, or the server stopped.
    Interrupted,
}

type Called = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type PreRun = Arc<dyn Fn(TaskContext) -> Called + Send + Sync>;
type PostRun = Arc<dyn Fn(TaskContext, BodyEnd) -> Called + Send + Sync>;

/// In the order in which they were given.
#[derive(Clone, Default)]
pub(crate) struct RunHooks {
    before: Vec<PreRun>,
    behind: Vec<PostRun>,
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

    pub fn behind<F, Calling, E>(&mut self, hook: F)
    where
        F: Fn(TaskContext, BodyEnd) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.behind.push(Arc::new(move |context, end| {
            let calling = hook(context, end);
            Box::pin(async move { calling.await.map_err(|error| TaskError::new("Hook", error.to_string())) })
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }

    /// One that fails or panics is logged; the others are called all the same.
    async fn tell(&self, context: &TaskContext, end: &BodyEnd) {
        for hook in &self.behind {
            let told = catching(async { hook(context.clone(), end.clone()).await }).await;
            if let Err(error) = told {
                tracing::error!(task = %context.id(), error = error.message(), "a hook behind a task's run failed");
            }
        }
    }
}

/// Runs the body of an attempt with the hooks around it.
pub(super) async fn run(context: TaskContext) -> BodyResult {
    let registry = context.0.engine.registry.clone();
    let kind = context.kind();
    let def =
        registry.get(kind).ok_or_else(|| TaskError::fail(format!("no function of kind `{kind}` is registered")))?;
    let hooks = registry.run_hooks();
    // A panic is an error to the layers, so that each of them ends.
    if hooks.is_empty() {
        return catching(async { body_of(def.run, context).await }).await;
    }
    let dropped = TellIfDropped(Some((hooks.clone(), context.clone())));
    let result = catching(async {
        for hook in &hooks.before {
            hook(context.clone()).await?;
        }
        body_of(def.run, context.clone()).await
    })
    .await;
    dropped.disarm();
    let (result, end) = match result {
        Ok(result) => {
            let end = BodyEnd::Returned(result.as_slice().into());
            (Ok(result), end)
        }
        Err(error) => {
            let failure = error.into_error();
            (Err(TaskError::from(failure.clone())), BodyEnd::Failed(failure))
        }
    };
    hooks.tell(&context, &end).await;
    result
}

/// Polls a future; a panic is its error.
async fn catching<T>(body: impl Future<Output = Result<T, TaskError>>) -> Result<T, TaskError> {
    let mut body = Box::pin(body);
    poll_fn(|cx| match panics::catch(|| body.as_mut().poll(cx)) {
        Ok(poll) => poll,
        Err(failure) => std::task::Poll::Ready(Err(TaskError::of(failure))),
    })
    .await
}

/// Tells the hooks behind a run that it was interrupted, in a task of the runtime, since what is dropped cannot wait.
struct TellIfDropped(Option<(RunHooks, TaskContext)>);

impl TellIfDropped {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for TellIfDropped {
    fn drop(&mut self) {
        let Some((hooks, context)) = self.0.take().filter(|(hooks, _)| !hooks.behind.is_empty()) else { return };
        // Where a runtime ends, its tasks are dropped and nobody can be told.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { hooks.tell(&context, &BodyEnd::Interrupted).await });
        }
    }
}
