//! Hooks of this process that are called for dead letters.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use taskyard_core::TaskRecord;
use tokio::runtime::Handle;

use crate::panics;

/// Time limit of the hooks for one dead letter. Longer calls are ended if possible and count as delivered.
pub(crate) const TELL_MAX: Duration = Duration::from_secs(60);

/// Result of the delivery of a dead letter to hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The hooks were called; their errors do not matter.
    Told,
    /// There are no hooks here.
    NoHook,
    /// The process or thread that calls the hooks ended meanwhile, and ran no task beside them.
    Lost,
    /// The process that calls the hooks ended meanwhile, possibly because of a task, or never began.
    Unheard,
    /// The hooks took longer than [`TELL_MAX`].
    Late,
}

type Called = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Called in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Vec<Arc<dyn Fn(TaskRecord) -> Called + Send + Sync>>);

impl Hooks {
    pub fn push<F, Calling, E>(&mut self, hook: F)
    where
        F: Fn(TaskRecord) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.0.push(Arc::new(move |dead| {
            let calling = hook(dead);
            Box::pin(async move { calling.await.map_err(|error| error.to_string()) })
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls all hooks. One that fails or panics is logged, and the others are still called.
    pub async fn tell(&self, dead: &TaskRecord) {
        for hook in &self.0 {
            let calling = AssertUnwindSafe(async { hook(dead.clone()).await }).catch_unwind();
            match calling.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(task = %dead.id, error, "a hook on death failed"),
                Err(panic) => {
                    let error = panics::message(panic.as_ref());
                    tracing::error!(task = %dead.id, error, "a hook on death panicked");
                }
            }
        }
    }

    /// Calls the hooks on a thread of their own, so that a hook that blocks does not hold up the server. Resources that
    /// they open and tasks that they spawn belong to the application's runtime; without one, they end with the hooks.
    pub async fn tell_apart(&self, dead: TaskRecord, runtime: Option<Handle>) -> Heard {
        let (hooks, (heard, hearing)) = (self.clone(), tokio::sync::oneshot::channel());
        let thread = std::thread::Builder::new().name("taskyard-hooks".into()).spawn(move || {
            let telling = async { tokio::time::timeout(TELL_MAX, hooks.tell(&dead)).await };
            if let Some(runtime) = runtime {
                let _ = heard.send(runtime.block_on(telling).map_or(Heard::Late, |()| Heard::Told));
                return;
            }
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "the system refuses resources for a hook on death; trying again later");
                    let _ = heard.send(Heard::NoHook);
                    return;
                }
            };
            let _ = heard.send(runtime.block_on(telling).map_or(Heard::Late, |()| Heard::Told));
            runtime.shutdown_background();
        });
        if let Err(error) = thread {
            tracing::error!(%error, "the system refuses a thread for a hook on death; trying again later");
            return Heard::NoHook;
        }
        match tokio::time::timeout(TELL_MAX, hearing).await {
            Ok(heard) => heard.unwrap_or(Heard::Lost),
            Err(_) => Heard::Late,
        }
    }
}
