//! Ends of attempts: results, retries, snoozes, panics, and results that cannot be stored.

use std::time::Duration;

use taskyard_core::{Error, RetryPolicy, TaskRef, TaskState};

use crate::world::{World, within};

fn quick_retry() -> RetryPolicy {
    RetryPolicy { backoff_ms: 1, ..RetryPolicy::default() }
}

async fn failure<T: serde::de::DeserializeOwned>(task: &TaskRef<T>) -> (String, String, Option<String>) {
    match within("a failure", task.wait()).await {
        Err(Error::TaskFailed { error_type, message, traceback, .. }) => (error_type, message, traceback),
        Err(other) => panic!("another end: {other}"),
        Ok(_) => panic!("it is done"),
    }
}

#[tokio::test]
async fn results_come_back() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let tasks: Vec<TaskRef<i64>> = (0..500_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(within("a result", task.wait()).await.unwrap(), n);
    }
    let record = world.record(&tasks[7]).await;
    assert_eq!((record.state, record.attempt, record.failures), (TaskState::Done, 1, 0));
    assert_eq!(record.server, Some(server.id()));
    assert_eq!(world.stage.count("echo"), 500, "each ran once");
    assert_eq!(server.status().ended(TaskState::Done), 500);
    assert_eq!(server.status().ends_lost, 0);
}

#[tokio::test]
async fn a_body_knows_its_task() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<(bool, String, u32)> = world.add("current", &(), |call| call);
    assert_eq!(within("current", task.wait()).await.unwrap(), (true, task.id().to_string(), 1));
    let task: TaskRef<bool> = world.add("current_blocking", &(), |call| call);
    assert!(within("current", task.wait()).await.unwrap());
}

#[tokio::test]
async fn a_child_sees_its_parents_results() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let parents: Vec<TaskRef<i64>> = (1..=3_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    let child: TaskRef<i64> = world.add("parents", &(), |call| call.parents(&parents));
    assert_eq!(within("the child", child.wait()).await.unwrap(), 6);
}

#[tokio::test]
async fn a_task_adds_and_awaits_another() {
    let world = World::new().await;
    let _server = world.server(|config| config.max_workers = 1).await;
    let task: TaskRef<i64> = world.add("adds", &(), |call| call);
    assert_eq!(within("both", task.wait()).await.unwrap(), 42);
}

#[tokio::test]
async fn a_failure_is_retried_and_then_a_dead_letter() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<()> = world.add("fail", &(), |call| call.retry(quick_retry()).max_retries(2));
    let (error_type, message, _) = failure(&task).await;
    assert_eq!((error_type.as_str(), message.as_str()), ("Boom", "boom"));
    assert_eq!(world.stage.count("fail"), 3);
    let record = world.record(&task).await;
    assert_eq!((record.state, record.attempt, record.failures), (TaskState::Failed, 3, 3));
    assert_eq!(task.attempts().await.unwrap().len(), 3);

    let task: TaskRef<String> = world.add("fail_once", &(), |call| call.retry(quick_retry()));
    assert_eq!(within("the retry", task.wait()).await.unwrap(), "second");
    let attempts = task.attempts().await.unwrap();
    let first = attempts[0].error.clone().unwrap();
    assert_eq!((first.error_type.as_str(), first.message.as_str()), ("std::io::error::Error", "first"));
}

#[tokio::test]
async fn a_body_may_decide_about_its_retry() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let hard: TaskRef<()> = world.add("fail_hard", &(), |call| call);
    assert_eq!(failure(&hard).await.1, "never again");
    assert_eq!(world.record(&hard).await.attempt, 1);

    let later: TaskRef<()> = world.add("retry_after", &(), |call| call.max_retries(2));
    assert_eq!(failure(&later).await.1, "later");
    assert_eq!(world.record(&later).await.failures, 3);

    let snoozed: TaskRef<String> = world.add("snooze", &(), |call| call.max_retries(0));
    assert_eq!(within("the snoozes", snoozed.wait()).await.unwrap(), "awake");
    assert_eq!(world.record(&snoozed).await.failures, 0);
}

#[tokio::test]
async fn the_policy_may_name_error_types() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let policy = RetryPolicy { never: vec!["Boom".into()], ..quick_retry() };
    let task: TaskRef<()> = world.add("fail", &(), |call| call.retry(policy));
    failure(&task).await;
    assert_eq!(world.stage.count("fail"), 1);
}

#[tokio::test]
async fn a_panic_fails_the_attempt_and_nothing_else() {
    let world = World::new().await;
    let _server = world.server(|config| config.max_workers = 1).await;
    for (kind, message) in [("panic", "no way 2"), ("panic_blocking", "not here either")] {
        let task: TaskRef<()> = world.add(kind, &(), |call| call.max_retries(0));
        let (error_type, said, traceback) = failure(&task).await;
        assert_eq!((error_type.as_str(), said.as_str()), ("Panicked", message));
        assert!(traceback.unwrap().contains("bodies.rs"), "the place is named");
    }
    let next: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    assert_eq!(within("the worker goes on", next.wait()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_result_over_the_limit_fails_the_task_and_says_so() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<String> = world.add("large", &(), |call| call);
    let (error_type, message, _) = failure(&task).await;
    assert_eq!(error_type, "ResultTooLarge");
    assert!(message.contains("result_bytes_max"), "{message}");
}

#[tokio::test]
async fn one_that_expired_before_it_started_is_cancelled() {
    let world = World::new().await;
    let task: TaskRef<i64> = world.add("echo", &(1,), |call| call.expires(Duration::from_millis(1)));
    task.stored().await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let _server = world.server(|_| {}).await;
    assert!(matches!(within("the end", task.wait()).await, Err(Error::TaskCancelled(_))));
    assert_eq!(world.stage.count("echo"), 0);
}
