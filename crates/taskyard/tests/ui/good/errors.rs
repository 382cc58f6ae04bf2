//! Errors of bodies: every convertible type, and which errors are retried.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use taskyard::{Call, RetryPolicy, State, TaskContext, TaskError, TaskFailure, TaskRecord, TaskState, Taskyard, task};

use super::{Pool, queue, run};

#[derive(Debug, PartialEq)]
enum Problem {
    Busy,
    Gone,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Busy { "the host is busy" } else { "the host is gone" })
    }
}

impl std::error::Error for Problem {}

impl Problem {
    fn is_temporary(&self) -> bool {
        *self == Self::Busy
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Problem>() == Some(&Problem::Busy))
}

fn never<E>(_: &E) -> bool {
    false
}

type Outcome<T> = Result<T, Problem>;

fn ask(busy: bool) -> Outcome<u8> {
    Err(if busy { Problem::Busy } else { Problem::Gone })
}

#[task(retry_if = Problem::is_temporary)]
async fn typed(busy: bool) -> Outcome<u8> {
    ask(busy)
}

#[task(retry_if = is_busy)]
fn through_the_chain(busy: bool) -> anyhow::Result<u8> {
    ask(busy).context("cannot reach the shop").context("cannot bill")
}

#[task(retry_if = |problem: &Problem| problem.is_temporary(), local)]
async fn by_a_closure(busy: bool) -> Result<u8, Problem> {
    ask(busy)
}

#[task(retry_if = never, blocking)]
async fn of_boxes(busy: bool) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Ok(ask(busy)?)
}

/// A directive in the error takes precedence.
#[task(retry_if = never)]
async fn asks_itself(runs: State<Runs>) -> Result<u32, TaskError> {
    let run = runs.0.0.fetch_add(1, Ordering::SeqCst);
    match run {
        0 => Err(TaskError::snooze(Duration::from_millis(1))),
        1 => Err(TaskError::retry_after(Duration::from_millis(1), "again")),
        run => Ok(run),
    }
}

#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

#[task]
async fn fails_for_good() -> anyhow::Result<()> {
    Err(TaskError::fail("no such customer").with_type("NoCustomer").into_error()).context("cannot bill")?;
    Ok(())
}

#[task]
async fn comes_again(runs: State<Runs>, context: TaskContext) -> anyhow::Result<u32> {
    context.check_cancelled()?;
    let State(Runs(counter)) = runs;
    let state: Pool = context.require_state()?;
    if counter.fetch_add(1, Ordering::SeqCst) == 0 {
        let again = TaskError::retry_after(Duration::from_millis(1), "not yet");
        anyhow::bail!(again.into_error());
    }
    context.set("pool", &*state.0)?;
    Ok(counter.load(Ordering::SeqCst))
}

#[task]
async fn needs_what_is_not_there(context: TaskContext) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    Ok(context.require_state::<u32>()?)
}

#[task]
async fn waits_for_its_end(context: TaskContext) -> anyhow::Result<()> {
    tokio::task::block_in_place(|| {
        while !context.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    context.check_cancelled().context("was in the middle of it")?;
    Ok(())
}

async fn with_runs() -> (Taskyard, tempfile::TempDir) {
    let (queue, directory) = queue().await;
    (queue.state(Runs::default()), directory)
}

/// Returns the record of a task that has ended, after retries without pauses.
async fn ended<T>(queue: &Taskyard, call: Call<T>) -> TaskRecord {
    let quick = RetryPolicy { backoff_ms: 1, max_retries: 2, ..RetryPolicy::default() };
    let task = queue.add(call.retry(quick)).await.unwrap();
    let server = queue.serve().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(60), task.outcome()).await.unwrap();
    server.shutdown().await;
    task.record().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_error_decides_whether_it_is_retried() {
    let (queue, _directory) = with_runs().await;
    for (busy, attempts) in [(true, 3), (false, 1)] {
        for call in [typed(busy), through_the_chain(busy), by_a_closure(busy)] {
            let record = ended(&queue, call).await;
            assert_eq!((record.state, record.attempt), (TaskState::Failed, attempts), "{record:?}");
        }
    }
    assert_eq!(ended(&queue, of_boxes(true)).await.attempt, 1);
    let record = ended(&queue, asks_itself()).await;
    assert_eq!((record.state, record.result.as_deref()), (TaskState::Done, Some(b"2".as_slice())), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_keeps_its_chain_of_causes_and_what_it_asks_for() {
    let (queue, _directory) = with_runs().await;
    let failure = ended(&queue, through_the_chain(false)).await.error.unwrap();
    assert_eq!((failure.error_type.as_str(), failure.message.as_str()), ("anyhow::Error", "cannot bill"));
    let chain = "cannot bill\ncaused by: cannot reach the shop\ncaused by: the host is gone";
    assert_eq!(failure.traceback.as_deref(), Some(chain));

    let record = ended(&queue, fails_for_good()).await;
    let failure = record.error.unwrap();
    assert_eq!(
        (record.attempt, failure.error_type.as_str(), failure.message.as_str()),
        (1, "NoCustomer", "cannot bill")
    );
    assert_eq!(failure.traceback.as_deref(), Some("cannot bill\ncaused by: no such customer"));

    let record = ended(&queue, comes_again()).await;
    assert_eq!((record.state, record.attempt), (TaskState::Done, 2), "{record:?}");
}

/// Tests that return `anyhow::Result` can use `?` on the errors of bodies.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_place_fails_with_an_error() -> anyhow::Result<()> {
    let failure: TaskFailure = run(needs_what_is_not_there()).await.unwrap_err();
    assert_eq!(failure.error_type(), "NoState");
    assert!(failure.to_string().contains("State<u32>") && failure.message().contains(".state(value)"), "{failure}");
    let failure = run(typed(true)).await.unwrap_err();
    assert_eq!((failure.message(), failure.traceback()), ("the host is busy", None));
    run(super::places::there()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_body_may_say_so_under_context() {
    let (queue, _directory) = with_runs().await;
    let server = queue.serve().await.unwrap();
    let task = queue.add(waits_for_its_end()).await.unwrap();
    while task.state().await.unwrap() != TaskState::Doing {
        tokio::task::yield_now().await;
    }
    task.cancel().await.unwrap();
    assert!(matches!(task.wait().await, Err(taskyard::Error::TaskCancelled(_))));
    server.shutdown().await;
}
