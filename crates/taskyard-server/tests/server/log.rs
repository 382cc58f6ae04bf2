//! `tracing` events of a task in the database.

use taskyard_core::TaskRef;
use taskyard_server::TaskLogLayer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::world::{World, within};

#[tokio::test]
async fn events_inside_a_task_become_its_log_lines() {
    tracing_subscriber::registry().with(TaskLogLayer::new()).try_init().unwrap();
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<()> = world.add("traced", &(), |call| call);
    tracing::warn!("outside of any task");
    within("the end", task.wait()).await.unwrap();
    let logs = task.get_logs().await.unwrap();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let line = &logs[0].line;
    assert_eq!((line.level, line.logger.as_str(), line.message.as_str()), (30, "app::mail", "sent 1"));
    let fields: serde_json::Value = serde_json::from_slice(line.fields.as_ref().unwrap()).unwrap();
    assert_eq!(fields, serde_json::json!({"user": 7, "name": "x", "ratio": 0.5}));
    assert_eq!((logs[1].line.level, logs[1].line.message.as_str()), (20, "from traced"));
}
