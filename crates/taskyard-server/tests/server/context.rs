//! Context, progress and logs: visible while the task runs, complete when it has ended.

use taskyard_core::client::{ClientConfig, EventKind};
use taskyard_core::{Client, RetryPolicy, TaskRef};

use crate::world::{World, within};

#[tokio::test]
async fn context_progress_and_logs_are_visible_while_it_runs() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<String> = world.add("context", &(), |call| call.context(&serde_json::json!({"given": true})));
    world.stage.seen("saved", 1).await;
    let context = task.context().await.unwrap();
    assert_eq!(context["a"], serde_json::json!({"b": [1, 2]}));
    assert_eq!(context["given"], true);
    let progress = task.progress().await.unwrap().unwrap();
    assert_eq!((progress.completed, progress.total, progress.percentage), (Some(1.0), Some(4.0), Some(25.0)));
    world.stage.open();
    within("the end", task.wait()).await.unwrap();
    let context = task.context().await.unwrap();
    assert_eq!(context["a"], serde_json::json!({"b": [1, 2], "c": 2}));
    assert_eq!(context["progress"]["percentage"], 100.0);
    let logs = task.logs().await.unwrap();
    let lines: Vec<_> = logs.iter().map(|stored| (stored.line.level, stored.line.message.as_str())).collect();
    assert_eq!(lines, [(20, "half way"), (30, "the end")]);
}

#[tokio::test]
async fn a_bad_value_is_refused_at_the_call_and_spoils_nothing() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<[bool; 4]> = world.add("bad_values", &(), |call| call);
    assert_eq!(within("the end", task.wait()).await.unwrap(), [true; 4]);
    let context = task.context().await.unwrap();
    assert_eq!(serde_json::Value::Object(context), serde_json::json!({"good": 1, "after": 2}));
    let logs = task.logs().await.unwrap();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].line.message.contains("log_line_bytes_max"), "{}", logs[0].line.message);
}

#[tokio::test]
async fn context_is_kept_across_retries() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let policy = RetryPolicy { backoff_ms: 1, ..RetryPolicy::default() };
    let task: TaskRef<u32> = world.add("remember", &(), |call| call.retry(policy));
    assert_eq!(within("the end", task.wait()).await.unwrap(), 2);
    let logs = task.logs().await.unwrap();
    let lines: Vec<_> = logs.iter().map(|stored| (stored.attempt, stored.line.message.as_str())).collect();
    assert_eq!(lines, [(1, "run 0"), (2, "run 1"), (3, "run 2")]);
}

#[tokio::test]
async fn a_tracker_is_watched_and_its_last_value_is_stored_before_the_end() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<String> = world.add("counts", &(), |call| call.context(&serde_json::json!({"given": true})));
    // A client as in another process.
    let other = Client::new(world.store.clone(), ClientConfig::default());
    task.stored().await.unwrap();
    let mut watch = other.watch(task.id(), None);
    assert_eq!(within("a snapshot", watch.next()).await.unwrap().unwrap().kind, EventKind::Snapshot);
    world.stage.seen("counted", 1).await;
    let half = loop {
        let event = within("progress", watch.next()).await.unwrap().unwrap();
        if let Some(progress) = event.progress.filter(|progress| progress.message.is_some()) {
            break progress;
        }
    };
    assert_eq!((half.completed, half.total, half.percentage), (Some(500_000.0), Some(1_000_000.0), Some(50.0)));
    assert_eq!((half.attempt, half.indeterminate), (Some(1), Some(false)));
    assert!(half.elapsed.is_some() && half.rate.is_some() && half.updated_at.is_some());
    world.stage.open();
    within("the end", task.wait()).await.unwrap();
    let last = loop {
        let event = within("the end", watch.next()).await.unwrap().unwrap();
        if event.kind.is_terminal() {
            break event;
        }
    };
    assert_eq!(last.kind, EventKind::Completed);
    let progress = last.progress.unwrap();
    assert_eq!((progress.completed, progress.percentage), (Some(1_000_000.0), Some(100.0)), "the last value");
    assert!(within("nothing", watch.next()).await.unwrap().is_none());
    assert_eq!(task.context().await.unwrap()["given"], true, "what else is there stays");
}

#[tokio::test]
async fn a_tracker_begins_anew_or_goes_on_as_the_body_says() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    type Seen = (f64, f64, Option<f64>, Option<String>, bool);
    let policy = RetryPolicy { backoff_ms: 1, ..RetryPolicy::default() };
    let add =
        |again: bool| -> TaskRef<Seen> { world.add("counts_again", &(again,), |call| call.retry(policy.clone())) };
    assert_eq!(within("anew", add(false).wait()).await.unwrap(), (0.0, 0.0, None, None, true));
    let on = add(true);
    assert_eq!(within("on", on.wait()).await.unwrap(), (4.0, 4.0, Some(10.0), Some("four".into()), false));
    let progress = on.progress().await.unwrap().unwrap();
    assert_eq!((progress.completed, progress.total, progress.indeterminate), (Some(4.0), None, Some(true)));
}
