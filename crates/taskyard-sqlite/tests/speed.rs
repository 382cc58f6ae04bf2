//! How fast a drain and bulk additions go. Figures, not limits: run with `--ignored --nocapture`, built for release.

use std::time::{Duration, Instant};

use taskyard_core::store::{ClaimRequest, Finish, NewServer, Outcome};
use taskyard_core::task::NewTask;
use taskyard_core::{ClaimId, ServerId, Store};
use taskyard_sqlite::SqliteStore;

fn server() -> NewServer {
    NewServer {
        id: ServerId::generate(),
        name: "bench".into(),
        pid: std::process::id(),
        version: "0".into(),
        lease: Duration::from_secs(600),
        workers_max: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn drain() {
    let directory = tempfile::tempdir_in(std::env::var("TASKYARD_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let store = SqliteStore::open(directory.path().join("queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    let total: usize = std::env::var("TASKYARD_BENCH_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let batch: Vec<NewTask> =
        (0..total).map(|at| NewTask::new("bench::noop", format!("{{\"args\": [{at}], \"kwargs\": {{}}}}").into())).collect();
    let start = Instant::now();
    for part in batch.chunks(1_000) {
        store.add(part).await.unwrap();
    }
    println!("add in 1,000s: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
    let server = server();
    store.server_enter(&server).await.unwrap();
    let start = Instant::now();
    let (mut claiming, mut finishing) = (Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < total {
        let claim = ClaimId::generate();
        let request = ClaimRequest {
            server: server.id,
            claim,
            runtime: Default::default(),
            queues: None,
            limit: 1_000,
            alone: false,
            place: None,
        };
        let at = Instant::now();
        let reply = store.claim(&request).await.unwrap();
        claiming += at.elapsed();
        let batch: Vec<Finish> = reply
            .tasks
            .into_iter()
            .map(|task| Finish {
                id: task.id,
                token: task.token,
                outcome: Outcome::Done { result: b"null".to_vec() },
                context: None,
                logs: Vec::new(),
            })
            .collect();
        let at = Instant::now();
        done += store.finish(&batch, &[claim]).await.unwrap().len();
        finishing += at.elapsed();
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("drain: {rate:.0}/s (claim {claiming:.2?}, finish {finishing:.2?})");
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = std::sync::Arc::clone(&store);
        callers.spawn(async move {
            for _ in 0..200 {
                store.add(&[NewTask::new("bench::noop", b"{}".to_vec())]).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    println!("add one by one, 100 callers: {:.0}/s", 20_000.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    for _ in 0..500 {
        store.add(&[NewTask::new("bench::noop", b"{}".to_vec())]).await.unwrap();
    }
    println!("add one by one, 1 caller: {:.0}/s", 500.0 / start.elapsed().as_secs_f64());
    store.close().await;
}
