//! `tracing` events of a task in the database, and the events of a server about failed attempts.

use std::collections::BTreeMap;
use std::sync::{Mutex, Once};
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::{Error, RetryPolicy, TaskId, TaskRef};
use taskyard_server::TaskLogLayer;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::child;
use crate::world::{World, eventually, within};

/// Events logged in this process: level and fields.
static LOGGED: Mutex<Vec<(tracing::Level, BTreeMap<&'static str, String>)>> = Mutex::new(Vec::new());

struct Logged;

impl<S: tracing::Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Fields(BTreeMap<&'static str, String>);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name(), format!("{value:?}"));
            }
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.insert(field.name(), value.to_owned());
            }
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        LOGGED.lock().unwrap().push((*event.metadata().level(), fields.0));
    }
}

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::registry().with(TaskLogLayer::new()).with(Logged).init());
}

/// Returns the level and the given fields of each event about a task.
fn logged(task: TaskId, names: [&str; 3]) -> Vec<(tracing::Level, [String; 3])> {
    let task = task.to_string();
    let all = LOGGED.lock().unwrap();
    let about = all.iter().filter(|(_, fields)| fields.get("task") == Some(&task));
    about.map(|(level, fields)| (*level, names.map(|name| fields.get(name).cloned().unwrap_or_default()))).collect()
}

fn mentioning(text: &str) -> usize {
    let all = LOGGED.lock().unwrap();
    all.iter().filter(|(_, fields)| fields.get("message").is_some_and(|message| message.contains(text))).count()
}

#[tokio::test]
async fn each_failed_attempt_is_a_warning_and_the_last_one_an_error() {
    subscribe();
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let quick = || RetryPolicy { max_retries: 1, backoff_ms: 1, ..RetryPolicy::default() };
    let failing: TaskRef<()> = world.add("fail", &(), |call| call.retry(quick()));
    let panicking: TaskRef<()> = world.add("panic", &(), |call| call.retry(quick()));
    let late: TaskRef<()> = world.add("hold", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    let hard: TaskRef<()> = world.add("fail_hard", &(), |call| call);
    let sleepy: TaskRef<String> = world.add("snooze", &(), |call| call);
    for task in [&failing, &panicking, &late, &hard] {
        let _ = within("the end", task.outcome()).await.unwrap();
    }
    within("the end", sleepy.wait()).await.unwrap();
    let (warn, error) = (tracing::Level::WARN, tracing::Level::ERROR);
    let said = |kind: &str, attempt: &str, message: &str| [kind, attempt, message].map(str::to_owned);
    let names = ["kind", "attempt", "error"];
    let of_failing = || logged(failing.id(), names);
    eventually("both lines", || async { of_failing().len() == 2 }).await;
    assert_eq!(of_failing(), [(warn, said("fail", "1", "boom")), (error, said("fail", "2", "boom"))]);
    let (_, [next, ..]) = &logged(failing.id(), ["next", "kind", "kind"])[0];
    assert!(next.starts_with("20"), "{next}");
    eventually("both lines", || async { logged(panicking.id(), names).len() == 2 }).await;
    eventually("a line", || async { logged(late.id(), names).len() == 1 }).await;
    assert_eq!(logged(late.id(), ["kind", "attempt", "error_type"]), [(error, said("hold", "1", "TimeoutError"))]);
    eventually("a line", || async { logged(hard.id(), names).len() == 1 }).await;
    assert_eq!(logged(hard.id(), names), [(error, said("fail_hard", "1", "never again"))]);
    assert_eq!(logged(sleepy.id(), names), []);
}

#[tokio::test]
async fn a_failure_that_a_child_logs_is_not_logged_by_its_server() {
    subscribe();
    let world = World::new().await;
    let _server = world.server(|config| config.children = Some(child::command())).await;
    let add = |kind: &str| -> TaskRef<()> { world.add(kind, &(0,), |call| call.runtime(Runtime::Python)) };
    let failing = add("fail");
    let _ = within("the end", failing.outcome()).await.unwrap();
    let dying = add("abort");
    let _ = within("the end", dying.outcome()).await.unwrap();
    eventually("three lines", || async { logged(dying.id(), ["kind"; 3]).len() == 3 }).await;
    assert_eq!(logged(failing.id(), ["kind"; 3]), []);
}

#[tokio::test]
async fn a_kind_that_is_not_known_is_logged_once_and_named_by_a_wait() {
    subscribe();
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let tasks: Vec<TaskRef<()>> = (0..5).map(|_| world.add("log::unknown", &(), |call| call)).collect();
    for task in &tasks {
        eventually("parking", || async { task.record().await.unwrap().waiting_for.is_some() }).await;
    }
    assert_eq!(mentioning("has no function `log::unknown`"), 1);
    let error = tasks[0].wait_timeout(Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(&error, Error::WaitTimeout { parked: Some(reason), .. } if reason == "kind `log::unknown`"));
    assert!(error.to_string().contains("it is parked, and no running server can run it: kind `log::unknown`"));
}

#[tokio::test]
async fn events_inside_a_task_become_its_log_lines() {
    subscribe();
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<()> = world.add("traced", &(), |call| call);
    tracing::warn!("outside of any task");
    within("the end", task.wait()).await.unwrap();
    let logs = task.logs().await.unwrap();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let line = &logs[0].line;
    assert_eq!((line.level, line.logger.as_str(), line.message.as_str()), (30, "app::mail", "sent 1"));
    let fields: serde_json::Value = serde_json::from_slice(line.fields.as_ref().unwrap()).unwrap();
    assert_eq!(fields, serde_json::json!({"user": 7, "name": "x", "ratio": 0.5}));
    assert_eq!((logs[1].line.level, logs[1].line.message.as_str()), (20, "from traced"));
}
