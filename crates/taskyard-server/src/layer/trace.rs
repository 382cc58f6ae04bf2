//! A layer that reports the start and the end of bodies through `tracing`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use crate::{TaskContext, TaskFailure};

/// Wraps each run of a body in a span of its own, `task.run`, inside the attempt's span `task`, and closes it with an
/// event: `debug` with `elapsed_ms` if the body has returned, snoozes or was interrupted, `warn` with the error if it
/// has failed.
///
/// Outside of layers with other error types (tower's), add it in a separate call of `layer`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TraceLayer {}

impl TraceLayer {
    /// Creates the layer.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// The service of [`TraceLayer`].
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
}

impl<S> Service<TaskContext> for Trace<S>
where
    S: Service<TaskContext, Error = TaskFailure>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = TaskFailure;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, TaskFailure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, context: TaskContext) -> Self::Future {
        let span = tracing::info_span!(target: "taskyard::task", "task.run", name = context.name());
        let running = self.inner.call(context);
        let traced = async move {
            let began = Instant::now();
            let result = running.await;
            let elapsed_ms = began.elapsed().as_millis();
            match &result {
                Ok(_) => tracing::debug!(target: "taskyard::task", elapsed_ms, "the body returned"),
                Err(end) if end.is_snooze() || end.is_cancelled() => {
                    tracing::debug!(target: "taskyard::task", elapsed_ms, %end, "the body ended early");
                }
                Err(error) => tracing::warn!(target: "taskyard::task", elapsed_ms, %error, "the body failed"),
            }
            result
        };
        Box::pin(traced.instrument(span))
    }
}
