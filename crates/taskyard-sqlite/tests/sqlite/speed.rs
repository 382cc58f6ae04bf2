//! How fast a drain and bulk additions go. Figures, not limits: run with `--ignored --nocapture`, built for release.

use std::time::{Duration, Instant};

use taskyard_core::Store;
use taskyard_core::task::NewTask;
use taskyard_sqlite::SqliteStore;

use crate::place::{done as finish, request, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn drain() {
    let directory = tempfile::tempdir_in(std::env::var("TASKYARD_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let store = SqliteStore::open(directory.path().join("queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    let total: usize = std::env::var("TASKYARD_BENCH_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let batch: Vec<NewTask> = (0..total)
        .map(|at| NewTask::new("bench::noop", format!("{{\"args\": [{at}], \"kwargs\": {{}}}}").into()))
        .collect();
    let start = Instant::now();
    for part in batch.chunks(1_000) {
        store.add(part).await.unwrap();
    }
    println!("add in 1,000s: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
    let server = server(&store).await;
    let start = Instant::now();
    let (mut claiming, mut finishing) = (Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < total {
        let request = request(server, 1_000);
        let at = Instant::now();
        let reply = store.claim(&request).await.unwrap();
        claiming += at.elapsed();
        let batch: Vec<_> = reply.tasks.iter().map(finish).collect();
        let at = Instant::now();
        done += store.finish(&batch, &[request.claim]).await.unwrap().len();
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

/// A fan of 100,000 children and a chain of 10,000 fall with their first parent; the longest step is the longest lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn falls() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    for (what, chain) in [("fan of 100,000", false), ("chain of 10,000", true)] {
        let root = NewTask::new("bench::root", b"{}".to_vec());
        let mut parent = root.id;
        let count = if chain { 10_000 } else { 100_000 };
        store.add(&[root.clone()]).await.unwrap();
        let children: Vec<NewTask> = (0..count)
            .map(|_| {
                let child = NewTask { parents: vec![parent], ..NewTask::new("bench::child", b"{}".to_vec()) };
                if chain {
                    parent = child.id;
                }
                child
            })
            .collect();
        for part in children.chunks(1_000) {
            store.add(part).await.unwrap();
        }
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        store.cancel(&[root.id]).await.unwrap();
        loop {
            let step = Instant::now();
            let report = store.cascade().await.unwrap();
            longest = longest.max(step.elapsed());
            if !report.more {
                break;
            }
        }
        println!("{what}: {:.2?}, longest step {longest:.2?}", start.elapsed());
    }
    let status = store.status().await.unwrap();
    assert_eq!(status.by_state[6], 110_002);
    store.close().await;
}
