//! Hooks of this process that are called for dead letters.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use taskyard_core::TaskRecord;
use tokio::runtime::Handle;

use crate::primitives::panics;

/// Time limit of the hooks for one dead letter. Longer calls are ended if possible and count as delivered.
pub(crate) const DELIVERY_MAX: Duration = Duration::from_secs(60);

/// Result of the delivery of a dead letter to hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryResult {
    /// The hooks were called; their errors do not matter.
    Delivered,
    /// There are no hooks here.
    NoHook,
    /// The process or thread that calls the hooks ended meanwhile, and ran no task beside them.
    Lost,
    /// The process that calls the hooks ended meanwhile, possibly because of a task, or never began.
    Undelivered,
    /// The hooks took longer than [`DELIVERY_MAX`].
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
    pub async fn call(&self, dead: &TaskRecord) {
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
    pub async fn call_apart(&self, dead: TaskRecord, runtime: Option<Handle>) -> DeliveryResult {
        let (hooks, (result, hearing)) = (self.clone(), tokio::sync::oneshot::channel());
        let thread = std::thread::Builder::new().name("taskyard-hooks".into()).spawn(move || {
            let calls = async { tokio::time::timeout(DELIVERY_MAX, hooks.call(&dead)).await };
            if let Some(runtime) = runtime {
                let _ =
                    result.send(runtime.block_on(calls).map_or(DeliveryResult::Late, |()| DeliveryResult::Delivered));
                return;
            }
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "the system refuses resources for a hook on death; trying again later");
                    let _ = result.send(DeliveryResult::NoHook);
                    return;
                }
            };
            let _ = result.send(runtime.block_on(calls).map_or(DeliveryResult::Late, |()| DeliveryResult::Delivered));
            runtime.shutdown_background();
        });
        if let Err(error) = thread {
            tracing::error!(%error, "the system refuses a thread for a hook on death; trying again later");
            return DeliveryResult::NoHook;
        }
        match tokio::time::timeout(DELIVERY_MAX, hearing).await {
            Ok(result) => result.unwrap_or(DeliveryResult::Lost),
            Err(_) => DeliveryResult::Late,
        }
    }
}
