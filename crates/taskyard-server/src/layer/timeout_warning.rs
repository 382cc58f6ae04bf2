//! A layer that warns of bodies that come near their time limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::TaskContext;

/// Logs a warning, once, for a body that has used a share of its time limit (0.8 unless told otherwise) and still runs. The time counts from this layer
/// on, without what layers outside of it have waited. Tasks without a limit, and blocking bodies, which nothing can look at meanwhile, are
/// left alone.
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
    /// Warns at four fifths of the limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Warns at this share of the limit, from 0 to 1. NaN means the default.
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
