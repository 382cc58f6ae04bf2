//! Layers and hooks around tasks, as in applications.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskyard::layer::{BodyEnd, TaskService, TimeoutWarningLayer, TraceLayer};
use taskyard::{Error, TaskContext, TaskError, TaskState, Taskyard, task};
use tower::{Layer, Service, ServiceBuilder};

#[task]
async fn double(number: i64) -> i64 {
    tokio::task::yield_now().await;
    number * 2
}

#[task]
fn double_blocking(number: i64, context: TaskContext) -> i64 {
    // A blocking body may make async calls of its own.
    tokio::runtime::Handle::current().block_on(async { context.client().flush().await.unwrap() });
    number * 2
}

#[task(local)]
async fn double_local(number: i64) -> i64 {
    let number = Rc::new(number);
    tokio::task::yield_now().await;
    *number * 2
}

#[task(max_retries = 5)]
async fn gives_up() -> Result<(), TaskError> {
    Err(TaskError::fail("for good"))
}

#[task(max_retries = 0)]
async fn panics() {
    panic!("on purpose");
}

#[task(max_retries = 0, timeout = "300ms")]
async fn sleeps() {
    tokio::time::sleep(Duration::from_secs(3_600)).await;
}

async fn queue() -> (Taskyard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap(), directory)
}

type Lines = Arc<Mutex<Vec<String>>>;

/// Records the start and end of each run.
#[derive(Clone)]
struct Note {
    name: &'static str,
    lines: Lines,
}

impl<S: Clone> Layer<S> for Note {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting { note: self.clone(), inner }
    }
}

#[derive(Clone)]
struct Noting<S> {
    note: Note,
    inner: S,
}

impl<S> Service<TaskContext> for Noting<S>
where
    S: Service<TaskContext, Response = Vec<u8>, Future: Send + 'static>,
{
    type Response = Vec<u8>;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Vec<u8>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, context: TaskContext) -> Self::Future {
        let Note { name, lines } = self.note.clone();
        lines.lock().unwrap().push(format!("{name} in {}", context.attempt()));
        let running = self.inner.call(context);
        Box::pin(async move {
            let result = running.await;
            lines.lock().unwrap().push(format!("{name} out"));
            result
        })
    }
}

/// Checks every kind of body, in place and in a server, on the current kind of runtime.
async fn surrounds_every_body() {
    let (queue, _directory) = queue().await;
    let lines = Lines::default();
    let note = |name| Note { name, lines: lines.clone() };
    let queue =
        queue.layer(note("inner")).layer(note("outer")).layer(TraceLayer::new()).layer(TimeoutWarningLayer::new());
    let server = queue.serve().await.unwrap();
    let expected = ["outer in 1", "inner in 1", "inner out", "outer out"];
    for call in [double(4), double_blocking(4), double_local(4)] {
        assert_eq!(queue.add(call.clone()).await.unwrap().wait().await.unwrap(), 8);
        assert_eq!(std::mem::take(&mut *lines.lock().unwrap()), expected, "{call:?}");
    }
    for call in [double(4), double_local(4)] {
        assert_eq!(queue.run_inline(call.clone()).await.unwrap(), 8);
        assert_eq!(std::mem::take(&mut *lines.lock().unwrap()), expected, "{call:?}");
    }
    // A directive in a body's error is preserved by the layers.
    let task = queue.add(gives_up()).await.unwrap();
    assert!(matches!(task.wait().await, Err(Error::TaskFailed { error_type, .. }) if error_type == "Fail"));
    assert_eq!(task.record().await.unwrap().attempt, 1);
    let task = queue.add(panics()).await.unwrap();
    let died = task.wait().await;
    assert!(
        matches!(&died, Err(Error::TaskFailed { error_type, message, .. }) if error_type == "Panicked" && message == "on purpose"),
        "{died:?}"
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_surround_every_body_on_the_callers_runtime() {
    surrounds_every_body().await;
}

#[tokio::test]
async fn layers_surround_every_body_on_worker_threads() {
    surrounds_every_body().await;
}

/// tower's own layers, whose errors are boxed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_of_tower_fit() {
    let (queue, _directory) = queue().await;
    let queue = queue.layer(
        ServiceBuilder::new()
            .layer(tower::timeout::TimeoutLayer::new(Duration::from_millis(50)))
            .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1)),
    );
    let server = queue.serve().await.unwrap();
    assert_eq!(queue.add(double(1)).await.unwrap().wait().await.unwrap(), 2);
    let late = queue.add(sleeps()).await.unwrap().wait().await;
    assert!(matches!(&late, Err(Error::TaskFailed { message, .. }) if message.contains("timed out")), "{late:?}");
    let task = queue.add(gives_up()).await.unwrap();
    assert!(matches!(task.wait().await, Err(Error::TaskFailed { error_type, .. }) if error_type == "Fail"));
    assert_eq!(task.record().await.unwrap().attempt, 1, "retried: the layer lost what the body asked for");
    server.shutdown().await;
}

/// A layer that returns a result without running the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_may_refuse_to_run_the_body() {
    let (queue, _directory) = queue().await;
    let queue = queue.layer(tower::layer::layer_fn(|inner: TaskService| {
        tower::service_fn(move |context: TaskContext| {
            let mut inner = inner.clone();
            async move {
                if context.kind().ends_with("double") {
                    return Err(TaskError::fail("not today").into_error());
                }
                inner.call(context).await
            }
        })
    }));
    let server = queue.serve().await.unwrap();
    let refused = queue.add(double(1)).await.unwrap().wait().await;
    assert!(matches!(&refused, Err(Error::TaskFailed { message, .. }) if message == "not today"), "{refused:?}");
    assert_eq!(queue.add(double_local(1)).await.unwrap().wait().await.unwrap(), 2);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_around_each_attempt_however_it_ends() {
    let (queue, _directory) = queue().await;
    let lines = Lines::default();
    let (before, behind) = (lines.clone(), lines.clone());
    let told = Arc::new(tokio::sync::Notify::new());
    let telling = told.clone();
    let queue = queue
        .on_pre_run(move |context: TaskContext| {
            let lines = before.clone();
            async move {
                lines.lock().unwrap().push(format!("before {}", context.attempt()));
                Ok::<(), TaskError>(())
            }
        })
        .on_post_run(async |_, _| Err("only logged"))
        .on_post_run(move |context, end| {
            let (lines, told) = (behind.clone(), telling.clone());
            async move {
                let end = match end {
                    BodyEnd::Returned(result) => String::from_utf8_lossy(&result).into_owned(),
                    BodyEnd::Failed(failure) => failure.error_type().to_owned(),
                    BodyEnd::Interrupted => "interrupted".to_owned(),
                    _ => "another end".to_owned(),
                };
                lines.lock().unwrap().push(format!("behind {}: {end}", context.attempt()));
                told.notify_one();
                Ok::<(), String>(())
            }
        });
    let server = queue.serve().await.unwrap();
    let ends = |expected: &str| {
        assert_eq!(std::mem::take(&mut *lines.lock().unwrap()), ["before 1", &format!("behind 1: {expected}")]);
    };
    for call in [double(4), double_blocking(4), double_local(4)] {
        queue.add(call).await.unwrap().wait().await.unwrap();
        ends("8");
        told.notified().await;
    }
    queue.add(gives_up()).await.unwrap().wait().await.unwrap_err();
    ends("Fail");
    told.notified().await;
    queue.add(panics()).await.unwrap().wait().await.unwrap_err();
    ends("Panicked");
    told.notified().await;
    queue.add(sleeps()).await.unwrap().wait().await.unwrap_err();
    tokio::time::timeout(Duration::from_secs(30), told.notified()).await.unwrap();
    ends("interrupted");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_hook_before_a_run_fails_the_attempt() {
    let (queue, _directory) = queue().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let runs = ran.clone();
    let queue = queue.on_pre_run(async |_| Err::<(), _>(TaskError::fail("no licence"))).on_pre_run(move |_| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), TaskError>(()) }
    });
    let server = queue.serve().await.unwrap();
    let failed = queue.add(double(1)).await.unwrap().wait().await;
    assert!(matches!(&failed, Err(Error::TaskFailed { message, .. }) if message == "no licence"), "{failed:?}");
    assert_eq!(ran.load(Ordering::SeqCst), 0, "the next hook ran");
    server.shutdown().await;
}

tokio::task_local! {
    static TENANT: String;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_around_additions_see_the_callers_context() {
    let (queue, _directory) = queue().await;
    let created = Arc::new(Mutex::new(Vec::new()));
    let noted = created.clone();
    let queue = queue
        .on_pre_create(|task| match TENANT.try_with(Clone::clone) {
            Ok(tenant) => {
                task.tag(format!("tenant:{tenant}"));
                task.set_context("request.tenant", tenant).map_err(|error| error.to_string())
            }
            Err(_) => Err(format!("{} has no tenant", task.kind())),
        })
        .on_post_create(move |id| noted.lock().unwrap().push(id));
    let refused = queue.add(double(1)).await.unwrap_err();
    assert!(matches!(&refused, Error::InvalidArgument { why, .. } if why.contains("has no tenant")), "{refused}");
    assert!(matches!(queue.add_later(double(1)), Err(Error::InvalidArgument { .. })));

    let add = |tenant: &'static str, call| {
        let queue = queue.clone();
        TENANT.scope(tenant.to_owned(), async move { queue.add(call).await.unwrap() })
    };
    let (red, blue) = tokio::join!(
        add("red", double(1).context(&serde_json::json!({ "request": { "id": 1.0 } })).unique("k")),
        add("blue", double(1))
    );
    for (task, tenant) in [(&red, "red"), (&blue, "blue")] {
        let record = task.record().await.unwrap();
        assert_eq!((record.state, record.tags), (TaskState::Enqueued, vec![format!("tenant:{tenant}")]));
    }
    let context = queue.store().context(red.id()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(context).unwrap(), r#"{"request":{"id":1.0,"tenant":"red"}}"#);
    // A task replaced by an existing one was not created.
    add("red", double(2).unique("k")).await;
    let mut ids = vec![red.id(), blue.id()];
    ids.sort();
    created.lock().unwrap().sort();
    assert_eq!(*created.lock().unwrap(), ids);

    // Without waiting, the hook is called once the task is stored.
    let later = TENANT.sync_scope("red".into(), || queue.add_later(double(3)).unwrap());
    later.stored().await.unwrap();
    let started = std::time::Instant::now();
    while !created.lock().unwrap().contains(&later.id()) {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
}

#[cfg(feature = "metrics")]
#[test]
fn runs_are_counted_and_timed_by_the_recorder_of_the_program() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (queue, _directory) = queue().await;
        let queue = queue.layer(taskyard::layer::MetricsLayer::new());
        let server = queue.serve().await.unwrap();
        queue.add(double(1)).await.unwrap().wait().await.unwrap();
        queue.add(double_blocking(1)).await.unwrap().wait().await.unwrap();
        queue.add(panics()).await.unwrap().wait().await.unwrap_err();
        queue.add(sleeps()).await.unwrap().wait().await.unwrap_err();
        server.shutdown().await;
    });
    let mut counts = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let kind = labels[0].rsplit("::").next().unwrap().to_owned();
        match value {
            DebugValue::Counter(count) => counts.push((kind, labels[1].clone(), count)),
            DebugValue::Gauge(running) => assert_eq!(running.into_inner(), 0.0, "{kind}"),
            DebugValue::Histogram(times) => assert_eq!(times.len(), 1, "{kind}"),
        }
    }
    counts.sort();
    let expected =
        [("double", "returned"), ("double_blocking", "returned"), ("panics", "failed"), ("sleeps", "interrupted")];
    assert_eq!(counts, expected.map(|(kind, outcome)| (kind.to_owned(), outcome.to_owned(), 1)));
}

static CHARGES: AtomicUsize = AtomicUsize::new(0);

#[task(max_retries = 0, timeout = "300ms")]
fn charge() {
    CHARGES.fetch_add(1, Ordering::SeqCst);
}

/// A layer may wait longer than the attempt lasts: the body does not start after the attempt's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_body_does_not_begin_after_its_attempt_has_ended() {
    let (queue, _directory) = queue().await;
    let open = Arc::new(tokio::sync::Notify::new());
    let gate = open.clone();
    // Blocks every call until notified.
    let queue = queue.layer(tower::layer::layer_fn(move |inner: TaskService| {
        let open = gate.clone();
        tower::service_fn(move |context: TaskContext| {
            let (open, mut inner) = (open.clone(), inner.clone());
            async move {
                open.notified().await;
                inner.call(context).await
            }
        })
    }));
    let server = queue.serve().await.unwrap();
    let late = queue.add(charge()).await.unwrap().wait().await;
    assert!(matches!(&late, Err(Error::TaskFailed { error_type, .. }) if error_type == "TimeoutError"), "{late:?}");
    open.notify_waiters();
    open.notify_one();
    // The thread is free again, and was not abandoned.
    let next = queue.add(double_blocking(4)).await.unwrap();
    open.notify_one();
    assert_eq!(next.wait().await.unwrap(), 8);
    assert_eq!((CHARGES.load(Ordering::SeqCst), server.status().threads_abandoned), (0, 0));
    server.shutdown().await;
}

#[task(max_retries = 3, timeout = "300ms")]
async fn charges_once() -> usize {
    CHARGED.fetch_add(1, Ordering::SeqCst)
}

static CHARGED: AtomicUsize = AtomicUsize::new(0);

/// A hook after a run may take longer than the attempt's limit: only the body's end counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hook_after_a_run_does_not_undo_its_end() {
    let (queue, _directory) = queue().await;
    let told = Arc::new(AtomicUsize::new(0));
    let last = told.clone();
    let queue = queue
        .on_post_run(async |_, _| {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok::<(), String>(())
        })
        .on_post_run(move |_, end| {
            let told = last.clone();
            async move {
                told.fetch_add(usize::from(matches!(end, BodyEnd::Returned(_))), Ordering::SeqCst);
                Ok::<(), String>(())
            }
        });
    let server = queue.serve().await.unwrap();
    let task = queue.add(charges_once()).await.unwrap();
    assert_eq!(task.wait().await.unwrap(), 0);
    // The next hook is called although the limit has cut the first one off; a shutdown waits for it.
    let started = std::time::Instant::now();
    while told.load(Ordering::SeqCst) == 0 {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.shutdown().await;
    assert_eq!((CHARGED.load(Ordering::SeqCst), task.record().await.unwrap().attempt), (1, 1));
}

#[task(local, max_retries = 0, timeout = "100ms")]
async fn sleeps_locally() {
    tokio::time::sleep(Duration::from_secs(3_600)).await;
}

/// A stopping server, and a drain, wait for the hooks of interrupted attempts, wherever their bodies ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_what_was_interrupted_are_called_before_it_is_over() {
    let (queue, _directory) = queue().await;
    let told = Arc::new(AtomicUsize::new(0));
    let telling = told.clone();
    let queue = queue.on_post_run(move |_, end| {
        let told = telling.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            told.fetch_add(usize::from(matches!(end, BodyEnd::Interrupted)), Ordering::SeqCst);
            Ok::<(), String>(())
        }
    });
    queue.add(sleeps_locally()).await.unwrap();
    queue.add(sleeps()).await.unwrap();
    queue.drain().await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);

    let server = queue.serve().await.unwrap();
    for call in [sleeps_locally(), sleeps()] {
        queue.add(call).await.unwrap().wait().await.unwrap_err();
    }
    server.shutdown().await;
    assert_eq!(told.load(Ordering::SeqCst), 4);
}

/// A refusal that nothing awaits is logged with hooks as without them; here the task's reference returns it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_panics_does_not_undo_the_addition() {
    let (queue, _directory) = queue().await;
    let queue = queue.on_post_create(|_| panic!("on purpose"));
    let task = queue.add(double(1)).await.unwrap();
    assert_eq!(task.state().await.unwrap(), TaskState::Enqueued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_before_additions_hold_for_schedules_and_inline_runs() {
    let (queue, _directory) = queue().await;
    let queue = queue.on_pre_create(|_| Err("no"));
    let refused = queue.add_schedule(taskyard::Schedule::new("nightly", "@daily", double(1))).await.unwrap_err();
    assert!(
        matches!(&refused, Error::InvalidArgument { why, .. } if why.contains("a create hook refused")),
        "{refused}"
    );
    let refused = queue.run_inline(double(1)).await.unwrap_err();
    assert!(refused.message().contains("a create hook refused"), "{refused}");
}
