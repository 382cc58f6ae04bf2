//! A layer that counts and times bodies through the `metrics` facade, for the recorder that the program installs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use metrics::{counter, gauge, histogram};
use tower_layer::Layer;
use tower_service::Service;

use crate::TaskContext;

/// Records, with the labels `kind` and `queue`:
///
/// - `taskyard_task_runs_total`: a counter of runs of bodies that have ended, with the label `outcome` (`returned`, `failed` or `interrupted`);
/// - `taskyard_task_run_seconds`: a histogram of how long they took, in seconds;
/// - `taskyard_tasks_running`: a gauge of those that run now.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MetricsLayer {}

impl MetricsLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics { inner }
    }
}

/// What [`MetricsLayer`] makes.
#[derive(Clone, Debug)]
pub struct Metrics<S> {
    inner: S,
}

impl<S> Service<TaskContext> for Metrics<S>
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
        let run = Run::begin(&context);
        let running = self.inner.call(context);
        Box::pin(async move {
            let result = running.await;
            run.end(if result.is_ok() { "returned" } else { "failed" });
            result
        })
    }
}

/// A run that is counted when it ends, also if it is dropped.
struct Run {
    labels: [(&'static str, String); 2],
    began: Instant,
    outcome: &'static str,
}

impl Run {
    fn begin(context: &TaskContext) -> Self {
        let labels = [("kind", context.kind().to_owned()), ("queue", context.queue().to_owned())];
        gauge!("taskyard_tasks_running", &labels).increment(1);
        Self { labels, began: Instant::now(), outcome: "interrupted" }
    }

    fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let [kind, queue] = &self.labels;
        gauge!("taskyard_tasks_running", &self.labels).decrement(1);
        histogram!("taskyard_task_run_seconds", &self.labels).record(self.began.elapsed());
        let outcome = ("outcome", self.outcome.to_owned());
        counter!("taskyard_task_runs_total", &[kind.clone(), queue.clone(), outcome]).increment(1);
    }
}
