//! A layer that logs a warning when bodies approach their time limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::TaskContext;

/// Logs a warning, once, for a body that still runs after a share of its time limit (default 0.8). The time counts from
/// this layer on, without the time spent in outer layers. Tasks without a limit, and blocking bodies, which cannot be
/// observed while they run, cause no warning.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutWarningLayer {
    share: f64,
}

impl Default for TimeoutWarningLayer {
    fn default() -> Self {
        Self { share: 0.8 }
    }
}

impl TimeoutWarningLayer {
    /// Creates a layer that warns at 0.8 of the limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a layer that warns at this share of the limit, clamped to the range 0 to 1. NaN means the default.
    #[must_use]
    pub fn at(share: f64) -> Self {
        if share.is_nan() { Self::default() } else { Self { share: share.clamp(0.0, 1.0) } }
    }
}

impl<S> Layer<S> for TimeoutWarningLayer {
    type Service = TimeoutWarning<S>;

    fn layer(&self, inner: S) -> TimeoutWarning<S> {
        TimeoutWarning { inner, share: self.share }
    }
}

/// The service of [`TimeoutWarningLayer`].
#[derive(Clone, Debug)]
pub struct TimeoutWarning<S> {
    inner: S,
    share: f64,
}

impl<S> Service<TaskContext> for TimeoutWarning<S>
where
    S: Service<TaskContext>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, context: TaskContext) -> Self::Future {
        let after = context.timeout().map(|limit| limit.mul_f64(self.share));
        let running = self.inner.call(context);
        Box::pin(async move {
            let Some(after) = after else { return running.await };
            let mut running = std::pin::pin!(running);
            tokio::select! {
                biased;
                result = &mut running => return result,
                () = tokio::time::sleep(after) => warn(after),
            }
            running.await
        })
    }
}

fn warn(after: Duration) {
    tracing::warn!(target: "taskyard::task", after_ms = after.as_millis(), "the task is close to its time limit");
}
