//! Middleware around the bodies of Rust tasks: [tower] layers, as axum has them around handlers, and the hooks around
//! each attempt.
//!
//! Without any, a body is created and polled directly. With some, the body is the innermost [`TaskService`], and the
//! future of the outermost one runs in the body's place: on the caller's runtime, on a worker thread, or on the thread
//! of a blocking body. Time limits, cancels and the watchdog apply to that future.
//!
//! [tower]: https://docs.rs/tower

pub(crate) mod death_hooks;
#[cfg(feature = "metrics")]
mod metrics;
mod run_hooks;
mod timeout_warning;
mod trace;

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use send_wrapper::SendWrapper;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::body::Function;
use crate::attempt::{Attempt, End};
use crate::primitives::lock::lock;
use crate::{AsyncBody, BodyResult, LocalBody, Run, TaskContext, TaskDef, TaskError, TaskFailure};

#[cfg(feature = "metrics")]
pub use metrics::{Metrics, MetricsLayer};
pub use run_hooks::BodyEnd;
use run_hooks::RunHooks;
pub use timeout_warning::{TimeoutWarning, TimeoutWarningLayer};
pub use trace::{Trace, TraceLayer};

/// The future of a [`TaskService`]: the result as JSON, or the failure of the attempt.
pub type TaskServiceFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, TaskFailure>> + Send>>;

/// The service that a layer wraps: the task's body, or the next layer. Takes a [`TaskContext`] and returns the result
/// as JSON.
///
/// The error type implements `std::error::Error`, so that tower's own layers fit (`TimeoutLayer`,
/// `ConcurrencyLimitLayer`). A [`TaskFailure`] returned by the outermost layer, also under further context, decides
/// what follows; any other error is retried according to the task's policy.
#[derive(Clone)]
pub struct TaskService(Arc<dyn Fn(TaskContext) -> AsyncBody + Send + Sync>);

impl TaskService {
    /// Returns the service that runs the bodies themselves.
    fn bodies() -> Self {
        Self(Arc::new(|context| Box::pin(run_hooks::body(context))))
    }

    /// Wraps the service in a layer.
    fn inside<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<TaskContext, Response = Vec<u8>> + Clone + Send + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<TaskError>,
        <L::Service as Service<TaskContext>>::Future: Send,
    {
        let service = Mutex::new(layer.layer(self));
        Self(Arc::new(move |context| {
            let mut service = lock(&service).clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                service.call(context).await.map_err(Into::into)
            })
        }))
    }

    /// Returns the future that runs in a body's place.
    fn body(&self, context: TaskContext) -> AsyncBody {
        (self.0)(context)
    }
}

impl Service<TaskContext> for TaskService {
    type Response = Vec<u8>;
    type Error = TaskFailure;
    type Future = TaskServiceFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, context: TaskContext) -> TaskServiceFuture {
        let body = self.body(context);
        Box::pin(async move { body.await.map_err(TaskError::into_error) })
    }
}

impl fmt::Debug for TaskService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskService").finish_non_exhaustive()
    }
}

/// The layers of an application, and its hooks around each run.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    /// `None` without layers.
    outermost: Option<TaskService>,
    pub hooks: RunHooks,
}

impl Layers {
    /// Wraps everything up to now in a layer.
    pub fn add<L>(&mut self, layer: &L)
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskContext, Response = Vec<u8>> + Clone + Send + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<TaskError>,
        <L::Service as Service<TaskContext>>::Future: Send,
    {
        self.outermost = Some(self.outermost.take().unwrap_or_else(TaskService::bodies).inside(layer));
    }

    /// Creates an async body with the layers and hooks around it.
    pub fn async_body(&self, make: fn(TaskContext) -> AsyncBody, context: TaskContext) -> AsyncBody {
        self.surrounded(&context).unwrap_or_else(|| make(context))
    }

    /// Creates a local body with the layers and hooks around it, for the calling thread.
    pub fn local_body(&self, make: fn(TaskContext) -> LocalBody, context: TaskContext) -> LocalBody {
        match self.surrounded(&context) {
            Some(body) => body,
            None => make(context),
        }
    }

    /// Runs a blocking body on this thread, with the layers and hooks around it.
    pub fn blocking_body(&self, call: fn(TaskContext) -> BodyResult, context: TaskContext) -> BodyResult {
        match self.surrounded(&context) {
            Some(body) => block_on_thread(&context, body),
            None => call(context),
        }
    }

    /// Returns the future that replaces a body, if there are layers or hooks.
    fn surrounded(&self, context: &TaskContext) -> Option<AsyncBody> {
        if self.hooks.is_empty() {
            self.outermost.as_ref().map(|layers| layers.body(context.clone()))
        } else {
            Some(Box::pin(run_hooks::run(context.clone(), self.hooks.clone(), self.outermost.clone())))
        }
    }
}

/// Blocks this thread, on which a blocking body has ended, until the body's additions are decided; returns how the attempt ends.
pub(crate) fn settled_on_thread(attempt: &Arc<Attempt>, end: End) -> End {
    match attempt.after_body(end) {
        Ok(end) => end,
        Err(settling) => {
            let context = TaskContext(attempt.clone());
            attempt.run(|| block_on_thread(&context, settling)).map_or_else(End::Panicked, End::Returned)
        }
    }
}

impl Function for TaskDef {
    fn body(&self, attempt: &Arc<Attempt>) -> AsyncBody {
        let context = TaskContext(attempt.clone());
        match self.run {
            Run::Async(make) => make(context),
            // A local body stays on the thread that created it. If a layer moves it, it panics, and the attempt fails.
            Run::Local(make) => Box::pin(SendWrapper::new(make(context))),
            // The future of a blocking body is polled on its own thread. The layers around it may have waited for long: an
            // attempt that has ended meanwhile must not begin.
            Run::Blocking(call) => Box::pin(async move {
                if context.is_cancelled() || context.0.is_decided() {
                    return Err(TaskError::cancelled());
                }
                call(context)
            }),
        }
    }
}

/// Drives a future on this thread, which may block; dropped once its attempt is interrupted. Unlike in
/// `Handle::block_on`, a body inside may itself call that.
fn block_on_thread(context: &TaskContext, body: AsyncBody) -> BodyResult {
    struct Unpark {
        thread: Thread,
        /// A body may park its thread itself and consume the wake-up.
        woken: AtomicBool,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Release);
            self.thread.unpark();
        }
    }
    let unpark = Arc::new(Unpark { thread: std::thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(unpark.clone());
    let mut cx = Context::from_waker(&waker);
    let (mut body, mut interrupted) = (body, pin!(context.0.until_interrupted()));
    loop {
        while !unpark.woken.swap(false, Ordering::AcqRel) {
            std::thread::park();
        }
        if interrupted.as_mut().poll(&mut cx).is_ready() {
            return Err(TaskError::cancelled());
        }
        if let Poll::Ready(result) = body.as_mut().poll(&mut cx) {
            return result;
        }
    }
}
