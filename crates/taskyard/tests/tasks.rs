//! Task functions as in applications: options, states, results, closures, outcomes; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskyard::{
    Call, Error, OnParentFailure, RetryPolicy, State, TaskContext, TaskError, TaskRef, TaskState, Taskyard, local, task,
};

struct Harness {
    queue: Taskyard,
    _directory: tempfile::TempDir,
}

async fn harness() -> Harness {
    let directory = tempfile::tempdir().unwrap();
    let queue = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap();
    Harness { queue: queue.state(Arc::new(AtomicU32::new(0))), _directory: directory }
}

/// Adds two numbers.
#[task(queue = "sums", priority = -3, max_retries = 7, timeout = "5m", tag = "math")]
async fn add(left: i64, right: i64) -> i64 {
    left + right
}

#[task]
fn blocking_upper(text: String) -> Result<String, std::io::Error> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(text.to_uppercase())
}

#[task]
async fn nothing() {}

#[task]
async fn count_up(counter: State<Arc<AtomicU32>>, by: u32, context: TaskContext) -> Result<u32, Error> {
    context.set("last.by", by)?;
    context.progress(1, 2);
    Ok(counter.0.fetch_add(by, Ordering::SeqCst) + by)
}

#[task(max_retries = 2)]
async fn fails_until(counter: State<Arc<AtomicU32>>, good: u32) -> Result<u32, String> {
    let run = counter.0.fetch_add(1, Ordering::SeqCst) + 1;
    if run < good { Err(format!("run {run}")) } else { Ok(run) }
}

#[task]
async fn keep(data: Vec<u8>) -> usize {
    data.len()
}

#[task]
async fn keep_nested(value: serde_json::Value) -> bool {
    value.is_array()
}

#[task]
async fn make_bytes(count: usize) -> Vec<u8> {
    vec![200; count]
}

#[task(kind = "stable::name", aliases = ["old::name", "older"])]
async fn renamed() -> &'static str {
    "renamed"
}

/// Cannot move between threads.
#[task(local)]
async fn stays(by: u32) -> u32 {
    let count = std::rc::Rc::new(std::cell::Cell::new(by));
    let counted = std::rc::Rc::clone(&count);
    tokio::task::spawn_local(async move { counted.set(counted.get() + 1) }).await.unwrap();
    count.get()
}

/// Async, but blocks its thread.
#[task(blocking)]
async fn blocks(by: u32) -> Result<String, std::io::Error> {
    std::thread::sleep(Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(by.into())).await;
    Ok(std::thread::current().name().unwrap_or_default().to_owned())
}

#[task]
async fn where_it_runs() -> String {
    tokio::task::yield_now().await;
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn bodies_run_where_they_are_declared_to() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("the application's").build().unwrap();
    let outcome = runtime.block_on(async {
        tokio::spawn(async {
            let harness = harness().await;
            let _server = harness.queue.serve().await.unwrap();
            let local = harness.queue.add(stays(4)).await.unwrap();
            assert_eq!(local.wait().await.unwrap(), 5);
            let shared = harness.queue.add(where_it_runs()).await.unwrap().wait().await.unwrap();
            let blocking = harness.queue.add(blocks(1)).await.unwrap().wait().await.unwrap();
            // A blocking task that waits in an async call is dropped there.
            let long =
                harness.queue.add(blocks(u32::MAX).timeout(Duration::from_millis(50)).max_retries(0)).await.unwrap();
            let error = long.wait().await.unwrap_err();
            assert!(matches!(error, Error::TaskFailed { error_type, .. } if error_type == "TimeoutError"));
            (harness, shared, blocking)
        })
        .await
        .unwrap()
    });
    let (_yard, shared, blocking) = outcome;
    assert_eq!(shared, "the application's");
    assert!(blocking.starts_with("taskyard-blocking-"), "{blocking}");
}

/// Calls stored before the function was renamed are run by it.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_earlier_kinds_are_run() {
    let harness = harness().await;
    for kind in ["stable::name", "old::name", "older"] {
        let task = harness.queue.add(Call::<String>::new(kind, &())).await.unwrap();
        assert_eq!(harness.queue.drain().await.unwrap(), 1, "{kind}");
        assert_eq!(task.wait().await.unwrap(), "renamed");
        assert_eq!(task.record().await.unwrap().kind, kind);
    }
    assert_eq!(harness.queue.add(renamed()).await.unwrap().record().await.unwrap().kind, "stable::name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_keeps_its_options_and_gives_a_typed_result() {
    let harness = harness().await;
    let sum = harness.queue.add(add(1, 2)).await.unwrap();
    let record = sum.record().await.unwrap();
    assert_eq!(record.kind, "tasks::add");
    assert_eq!((record.queue.as_str(), record.priority, record.retry.max_retries), ("sums", -3, 7));
    assert_eq!((record.timeout_ms, record.tags), (Some(300_000), vec!["math".to_owned()]));
    assert_eq!(record.payload, br#"{"args":[1,2],"kwargs":{}}"#);

    let upper = harness.queue.add(blocking_upper("straße\0".into())).await.unwrap();
    let empty = harness.queue.add(nothing()).await.unwrap();
    let stable: TaskRef<String> = harness.queue.add(renamed()).await.unwrap().typed();
    assert_eq!(harness.queue.drain().await.unwrap(), 4);
    let total: i64 = sum.wait().await.unwrap();
    assert_eq!((total, upper.wait().await.unwrap().as_str()), (3, "STRASSE\0"));
    empty.wait().await.unwrap();
    assert_eq!(stable.wait().await.unwrap(), "renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_be_declared_inside_a_function_and_two_of_one_name_are_two() {
    fn one() -> taskyard::Call<u8> {
        #[task]
        async fn inner() -> u8 {
            1
        }
        inner()
    }
    fn two() -> taskyard::Call<u8> {
        #[task]
        async fn inner() -> u8 {
            2
        }
        inner()
    }
    let harness = harness().await;
    let (first, second) = (harness.queue.add(one()).await.unwrap(), harness.queue.add(two()).await.unwrap());
    harness.queue.drain().await.unwrap();
    assert_eq!((first.wait().await.unwrap(), second.wait().await.unwrap()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_travels_with_its_captures() {
    let harness = harness().await;
    let (name, factor) = ("ada".to_owned(), 3_usize);
    let call = local!(|name: String, factor: usize| async move { Ok::<usize, TaskError>(name.len() * factor) });
    let reference: TaskRef<usize> = harness.queue.add(call).await.unwrap();
    assert!(reference.record().await.unwrap().kind.starts_with("tasks::local-"));
    harness.queue.drain().await.unwrap();
    assert_eq!(reference.wait().await.unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_context_and_progress() {
    let harness = harness().await;
    let counter = Arc::new(AtomicU32::new(0));
    let queue = harness.queue.clone().state(Arc::clone(&counter));
    let server = queue.serve().await.unwrap();
    let reference = queue.add(count_up(5)).await.unwrap();
    assert_eq!(reference.wait().await.unwrap(), 5);
    assert_eq!(reference.context().await.unwrap()["last"]["by"], 5);
    assert_eq!(reference.progress().await.unwrap().unwrap().percentage, Some(50.0));
    server.stop();
    server.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_dead_letters() {
    let harness = harness().await;
    let counter = Arc::new(AtomicU32::new(0));
    let queue = harness.queue.clone().state(Arc::clone(&counter));
    let quick = RetryPolicy { backoff_ms: 1, max_retries: 2, ..RetryPolicy::default() };
    let server = queue.serve().await.unwrap();
    let third = queue.add(fails_until(3).retry(quick.clone())).await.unwrap();
    assert_eq!(third.wait().await.unwrap(), 3);
    let attempts = third.attempts().await.unwrap();
    assert_eq!(
        attempts.iter().map(|attempt| attempt.outcome.as_str()).collect::<Vec<_>>(),
        ["failed", "failed", "done"]
    );

    counter.store(0, Ordering::SeqCst);
    let never = queue.add(fails_until(9).retry(quick)).await.unwrap();
    let child = queue.add(nothing().parent(&never)).await.unwrap();
    let cleaner = queue.add(nothing().parent(&never).on_parent_failure(OnParentFailure::Run)).await.unwrap();
    let error = never.wait().await.unwrap_err();
    assert!(matches!(&error, Error::TaskFailed { message, .. } if message == "run 3"), "{error}");
    assert!(
        matches!(child.wait().await.unwrap_err(), Error::TaskFailed { error_type, .. } if error_type == "ParentTaskFailed")
    );
    cleaner.wait().await.unwrap();

    // After a manual retry the dead letter has the same id, and the child that failed with it runs too.
    counter.store(8, Ordering::SeqCst);
    never.retry().await.unwrap();
    assert_eq!(never.wait().await.unwrap(), 9);
    child.wait().await.unwrap();
    server.stop();
    server.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_runs_inline_without_a_database() {
    let harness = harness().await;
    assert_eq!(harness.queue.run_inline(add(20, 22)).await.unwrap(), 42);
    assert_eq!(harness.queue.run_inline(blocking_upper("x".into())).await.unwrap(), "X");
    assert_eq!(harness.queue.store().status().await.unwrap().by_state, [0; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_is_carried_out_at_the_call() {
    let harness = harness().await;
    let task = harness.queue.add_later(add(1, 1)).unwrap();
    // Not awaited, and directly after the addition: the task is cancelled all the same.
    drop(task.cancel());
    assert!(matches!(task.wait().await.unwrap_err(), Error::TaskCancelled(_)));
    let error = task.cancel().await.unwrap_err();
    assert!(matches!(error, Error::WrongState { state: TaskState::Cancelled, .. }), "{error}");
    assert!(matches!(task.stop().await.unwrap_err(), Error::WrongState { .. }));
    let unknown: TaskRef = harness.queue.get(taskyard::TaskId::generate());
    assert!(matches!(unknown.wait().await.unwrap_err(), Error::NotFound(_)));
    assert!(matches!(unknown.cancel().await.unwrap_err(), Error::NotFound(_)));
    assert!(matches!(unknown.logs().await.unwrap_err(), Error::NotFound(_)));
    assert!(matches!(unknown.attempts().await.unwrap_err(), Error::NotFound(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_at_the_call() {
    let harness = harness().await;
    let refused = |call| harness.queue.add_later::<i64>(call).unwrap_err().code();
    assert_eq!(refused(add(1, 2).queue("")), "invalid_argument");
    assert_eq!(refused(add(1, 2).queue("x".repeat(256))), "over_limit");
    assert_eq!(refused(add(1, 2).name("line\nbreak")), "invalid_argument");
    assert_eq!(refused(add(1, 2).delay(Duration::from_secs(u64::MAX / 2))), "invalid_argument");
    assert_eq!(refused(add(1, 2).context(&[1])), "not_representable");
    let large = harness.queue.add(blocking_upper("x".repeat(1 << 20))).await.unwrap_err();
    assert!(large.to_string().contains("arguments_bytes_max"), "{large}");
    // Both limits use units that the caller does not see, but the errors name the caller's sizes.
    let bytes = harness.queue.add(keep(vec![200; 300_000])).await.unwrap_err().to_string();
    assert!(
        bytes.contains("arguments take 1200024 bytes as JSON") && bytes.contains("300000 bytes of data"),
        "{bytes}"
    );
    assert!(bytes.contains("in base64 they take 400000"), "{bytes}");
    let nested = (0..70).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
    let deep = harness.queue.add(keep_nested(nested)).await.unwrap_err().to_string();
    assert!(deep.contains("have 71 levels") && deep.contains("64 levels (setting nesting_max)"), "{deep}");
    let result = harness.queue.run_inline(make_bytes(300_000)).await.unwrap_err();
    assert_eq!(result.error_type(), "ResultTooLarge");
    assert!(result.message().contains("result takes 1200001 bytes as JSON"), "{result}");
    assert!(result.message().contains("300000 bytes of data"), "{result}");

    // A missing parent is detected by the database; another addition in the same write is not affected.
    let orphan = || add(1, 2).parent_id(taskyard::TaskId::generate());
    let later = harness.queue.add_later(orphan()).unwrap();
    let (refused, neighbour) = tokio::join!(harness.queue.add(orphan()), harness.queue.add(add(1, 2)));
    assert_eq!(refused.unwrap_err().code(), "unknown_parent");
    assert_eq!(later.stored().await.unwrap_err().code(), "unknown_parent");
    neighbour.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_keys_give_the_existing_task() {
    let harness = harness().await;
    let first = harness.queue.add(add(1, 2).unique("the-sum")).await.unwrap();
    let second = harness.queue.add(add(1, 2).unique("the-sum")).await.unwrap();
    assert_eq!(second.stored().await.unwrap(), first.id());
    assert_eq!((second.id(), second.existing(), first.existing()), (first.id(), true, false));
    // A child of the duplicate is a child of the existing task.
    let child = harness.queue.add(nothing().parent(&second)).await.unwrap();
    assert_eq!(child.record().await.unwrap().parents, [first.id()]);
    harness.queue.drain().await.unwrap();
    child.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_one_call_and_wait_for_all() {
    let harness = harness().await;
    let sums = harness.queue.add_tasks((0..5_000).map(|number| add(number, 1))).await.unwrap();
    let last = harness.queue.add(nothing().parents(&sums)).await.unwrap();
    let server = harness.queue.serve().await.unwrap();
    last.wait().await.unwrap();
    for (number, sum) in (0_i64..).zip(sums) {
        assert_eq!(sum.wait().await.unwrap(), number + 1);
    }
    server.stop();
    server.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_client_refuses() {
    let harness = harness().await;
    let task = harness.queue.add(add(1, 2)).await.unwrap();
    harness.queue.close(Duration::from_secs(5)).await.unwrap();
    task.stored().await.unwrap();
    assert_eq!(harness.queue.add(add(1, 2)).await.unwrap_err().code(), "shut_down");
}
