//! Additions that bodies do not await, with layers and hooks around them; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::{Arc, Mutex};

use taskyard::layer::{BodyEnd, TraceLayer};
use taskyard::{Error, State, TaskContext, TaskError, TaskId, Taskyard, task};

#[task]
async fn child(number: u64) -> u64 {
    number
}

/// By the application's own queue.
#[task(max_retries = 0)]
async fn adds(State(queue): State<Taskyard>, id: TaskId) -> Result<u64, TaskError> {
    queue.add_later(child(1).id(id))?;
    Ok(1)
}

#[task(max_retries = 0)]
fn adds_blocking(State(queue): State<Taskyard>, id: TaskId) -> Result<u64, TaskError> {
    queue.add_later(child(1).id(id))?;
    Ok(1)
}

/// In a task that it has spawned, by the client that knows the attempt.
#[task(max_retries = 0)]
async fn spawns(id: TaskId, context: TaskContext) -> Result<u64, TaskError> {
    let client = context.client().clone();
    tokio::spawn(async move { client.add_later(child(1).id(id)).map(drop) }).await??;
    Ok(1)
}

static KEPT: Mutex<Option<taskyard::Client>> = Mutex::new(None);

/// By a client that an earlier attempt has left.
#[task(max_retries = 0)]
async fn adds_by_a_kept_client(id: TaskId, context: TaskContext) -> Result<u64, TaskError> {
    let client = KEPT.lock().unwrap().get_or_insert_with(|| context.client().clone()).clone();
    client.add_later(child(1).id(id))?;
    Ok(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_addition_fails_the_attempt_and_hooks_see_it() {
    for is_surrounded in [false, true] {
        *KEPT.lock().unwrap() = None;
        let directory = tempfile::tempdir().unwrap();
        let queue = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap();
        let ends: Arc<Mutex<Vec<BodyEnd>>> = Arc::default();
        let seen = ends.clone();
        let mut serving = queue.clone().state(queue.clone());
        if is_surrounded {
            serving = serving.layer(TraceLayer::new()).on_post_run(move |_, end| {
                seen.lock().unwrap().push(end);
                async { Ok::<(), String>(()) }
            });
        }
        let server = serving.serve().await.unwrap();
        let taken = queue.add(child(0)).await.unwrap();
        for add in [adds, adds_blocking, spawns, adds_by_a_kept_client] {
            let id = TaskId::generate();
            assert_eq!(queue.add(add(id)).await.unwrap().wait().await.unwrap(), 1);
            assert_eq!(queue.get::<u64>(id).wait().await.unwrap(), 1);
            let error = queue.add(add(taken.id())).await.unwrap().wait().await.unwrap_err();
            let named = format!("task {} (additions::child), which this task's body added, was not stored", taken.id());
            assert!(matches!(&error, Error::TaskFailed { message, .. } if message.contains(&named)), "{error}");
        }
        server.shutdown().await;
        if is_surrounded {
            let ends = ends.lock().unwrap();
            let failed = ends.iter().filter(|end| matches!(end, BodyEnd::Failed(_))).count();
            assert_eq!((failed, ends.len() - failed), (4, 4 + 5), "{ends:?}");
        }
    }
}
