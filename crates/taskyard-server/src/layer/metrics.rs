//! A layer that counts and times bodies through the `metrics` facade, for the recorder that the program installs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use metrics::{Label, counter, gauge, histogram};
use tower_layer::Layer;
use tower_service::Service;

use crate::{TaskContext, TaskFailure};

/// Records, with the label `kind`:
///
/// - `taskyard_task_runs_total`: counter of completed runs of bodies, with the label `outcome` (`returned`, `failed`,
///   `snoozed`, or `interrupted`: cancelled, stopped, out of time, or the server stopped);
/// - `taskyard_task_run_seconds`: histogram of their durations, in seconds;
/// - `taskyard_tasks_running`: gauge of the runs in progress.
///
/// The kinds are the program's own functions. Outside of layers with other error types (tower's), add it in a separate
/// call of `layer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetricsLayer {
    with_queue: bool,
}

impl MetricsLayer {
    /// Creates the layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the label `queue`. Clients choose the names of queues, and each name is a series of its own.
    #[must_use]
    pub fn with_queue(self) -> Self {
        Self { with_queue: true }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics { inner, with_queue: self.with_queue }
    }
}

/// The service of [`MetricsLayer`].
#[derive(Clone, Debug)]
pub struct Metrics<S> {
    inner: S,
    with_queue: bool,
}

impl<S> Service<TaskContext> for Metrics<S>
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
        let run = Run::begin(&context, self.with_queue);
        let running = self.inner.call(context);
        Box::pin(async move {
            let result = running.await;
            run.end(match &result {
                Ok(_) => "returned",
                Err(end) if end.is_snooze() => "snoozed",
                Err(end) if end.is_cancelled() => "interrupted",
                Err(_) => "failed",
            });
            result
        })
    }
}

/// A run that is recorded when it is dropped, normally or early.
struct Run {
    labels: Vec<Label>,
    began: Instant,
    outcome: &'static str,
}

impl Run {
    fn begin(context: &TaskContext, with_queue: bool) -> Self {
        let mut labels = vec![Label::new("kind", context.kind().to_owned())];
        if with_queue {
            labels.push(Label::new("queue", context.queue().to_owned()));
        }
        gauge!("taskyard_tasks_running", labels.iter()).increment(1);
        Self { labels, began: Instant::now(), outcome: "interrupted" }
    }

    fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        gauge!("taskyard_tasks_running", self.labels.iter()).decrement(1);
        histogram!("taskyard_task_run_seconds", self.labels.iter()).record(self.began.elapsed());
        self.labels.push(Label::new("outcome", self.outcome));
        counter!("taskyard_task_runs_total", self.labels.iter()).increment(1);
    }
}
