//! Grace periods of a body that does not end: after its time limit, and after its cancellation.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use taskyard::{Error, Settings, TaskState, Taskyard, task};

/// A grace period that no test waits for.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(100);

static BEGUN: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

#[task(max_retries = 0)]
async fn blocks() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
    while !IS_OVER.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

async fn queue(directory: &tempfile::TempDir, name: &str, timeout_grace: Duration, cancel_grace: Duration) -> Taskyard {
    let settings = Settings {
        database: Some(directory.path().join(name).display().to_string()),
        timeout_grace,
        cancel_grace,
        ..Settings::default()
    };
    Taskyard::with_settings(settings).await.unwrap()
}

// Two threads of the runtime are blocked, and the test needs others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_grace_has_its_own_reason() {
    assert_eq!(Settings::default().timeout_grace, Duration::from_secs(2));
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();

    let late = queue(&directory, "late.db", SHORT, LONG).await;
    let server = late.serve().await.unwrap();
    let task = late.add(blocks().timeout(Duration::from_millis(50))).await.unwrap();
    match tokio::time::timeout(Duration::from_secs(60), task.wait()).await.unwrap() {
        Err(Error::TaskFailed { error_type, .. }) => assert_eq!(error_type, "TimeoutError"),
        other => panic!("another end: {other:?}"),
    }

    let asked = queue(&directory, "asked.db", LONG, SHORT).await;
    let other = asked.serve().await.unwrap();
    let before = BEGUN.load(Ordering::SeqCst);
    let task = asked.add(blocks()).await.unwrap();
    while BEGUN.load(Ordering::SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it does not begin");
    }
    task.cancel().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), task.outcome()).await.unwrap().unwrap();
    assert_eq!(task.state().await.unwrap(), TaskState::Cancelled);

    IS_OVER.store(true, Ordering::SeqCst);
    server.stop();
    other.stop();
    server.wait().await;
    other.wait().await;
}
