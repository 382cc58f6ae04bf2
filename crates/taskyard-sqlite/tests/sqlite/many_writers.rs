//! Many writers on one file: no caller gets an error about a locked file before 30 s have passed.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use taskyard_core::client::{Call, ClientConfig};
use taskyard_core::{Client, Store};

use crate::child;
use crate::sandbox::{Sandbox, add, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_stores_with_readers() {
    let sandbox = Sandbox::new();
    sandbox.store().await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = sandbox.store().await;
        writers.spawn(async move {
            for _ in 0..100 {
                add(&store, task()).await;
                store.status().await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(sandbox.store().await.status().await.unwrap().by_state[1], 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_processes() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let children: Vec<_> = (0..3).map(|_| child::spawn("storm", &sandbox.file())).collect();
    let mut own = 0;
    for mut child in children {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = std::thread::spawn(move || {
            lines.map_while(Result::ok).find_map(|line| line.split("failed=").nth(1)?.parse::<u32>().ok())
        });
        while !read.is_finished() {
            add(&store, task()).await;
            own += 1;
        }
        assert_eq!(read.join().unwrap(), Some(0));
        child.wait().unwrap();
    }
    assert_eq!(store.status().await.unwrap().by_state[1], 3_000 + own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exclusive_lock_of_another_program_is_waited_for() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let raw = sandbox.raw();
    raw.execute_batch("begin exclusive").unwrap();
    let start = Instant::now();
    // Many attempts to begin: how long they go on is what is tested.
    let held = Duration::from_millis(1_500);
    let release = tokio::task::spawn_blocking(move || {
        std::thread::sleep(held);
        raw.execute_batch("commit").unwrap();
    });
    // Reads go on meanwhile.
    store.status().await.unwrap();
    assert!(start.elapsed() < held, "a reader waits for no writer");
    add(&store, task()).await;
    assert!(start.elapsed() >= held);
    release.await.unwrap();
}

/// While one store writes without a pause, a write of another store is executed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_writer_starves_no_other() {
    let sandbox = Sandbox::new();
    let (busy, other) = (sandbox.store().await, sandbox.store().await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut hogs = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (busy, stopped) = (busy.clone(), stopped.clone());
        hogs.spawn(async move {
            while !*stopped.borrow() {
                add(&busy, task()).await;
            }
        });
    }
    let start = Instant::now();
    for _ in 0..20 {
        add(&other, task()).await;
    }
    let each = start.elapsed() / 20;
    stop.send(true).unwrap();
    hogs.join_all().await;
    assert!(each < Duration::from_secs(1), "{each:?} for one write");
}

/// While another program holds the file's lock, additions wait, and their number is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_for_the_lock_of_another_program_is_bounded() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let client = Client::new(store.clone(), ClientConfig { waiting_max: 100, ..ClientConfig::default() });
    let call = |number: usize| Call::<u64>::new("testkit::body", &(number,));
    client.add(call(0)).await.unwrap();
    let raw = sandbox.raw();
    raw.execute_batch("begin immediate").unwrap();
    let waiting: Vec<_> = (0..100).map(|number| client.add_later(call(number)).unwrap()).collect();
    let patient = tokio::spawn({
        let client = client.clone();
        async move { client.add(call(100)).await }
    });
    let start = Instant::now();
    assert_eq!(client.add_later(call(101)).unwrap_err().code(), "queue_unavailable");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!patient.is_finished());
    raw.execute_batch("commit").unwrap();
    patient.await.unwrap().unwrap();
    for task in waiting {
        task.stored().await.unwrap();
    }
    for number in 0..2_000 {
        client.add_later(call(number)).unwrap();
    }
    client.flush().await.unwrap();
    assert_eq!(store.status().await.unwrap().by_state[1], 2_102);
}
