//! A program that links no tasks.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use taskyard::{Error, Taskyard};

/// As if the tasks were in a library that the program does not reference.
#[tokio::test]
async fn a_server_of_a_program_without_tasks_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let queue = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap();
    let error = queue.serve().await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    assert!(error.to_string().contains("use my_tasks as _;"), "{error}");
    assert!(queue.store().servers().await.unwrap().is_empty(), "it never entered");
}
