//! Typical functions: they compile without a warning, and run.

mod errors;
mod options;
mod parameters;
mod places;

use std::sync::Arc;

use taskyard::{Call, TaskFailure, Taskyard};

/// A typical state of an application.
#[derive(Clone, Debug)]
struct Pool(Arc<str>);

/// Returns a queue with the state that the functions here take.
async fn queue() -> (Taskyard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let queue = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap();
    (queue.state(Pool("pool".into())), directory)
}

/// Runs a call's body.
async fn run<T: serde::de::DeserializeOwned>(call: Call<T>) -> Result<T, TaskFailure> {
    let (queue, _directory) = queue().await;
    queue.run_inline(call).await
}
