//! Stores on one file wake each other, also across processes; a store that is not woken does nothing.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use taskyard_core::Store;
use taskyard_core::notifications::Listener;

use crate::child;
use crate::sandbox::{Sandbox, add, claim, done, server, task};

async fn notified(listener: &mut Listener) -> Duration {
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(30), listener.notified()).await.expect("it rings");
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_store_hears_of_work_ends_and_signals() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.store().await, sandbox.store().await);
    assert!(one.hears_others() && two.hears_others());
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut work = two.notifications().work.listen();
        add(&one, task()).await;
        times.push(notified(&mut work).await);
        let server = server(&two).await;
        let claimed = claim(&two, server, 1).await;
        let mut signal = two.notifications().signal.listen();
        one.cancel(&[claimed[0].id]).await.unwrap();
        times.push(notified(&mut signal).await);
        let mut finished = one.notifications().finished.listen();
        two.finish(&[done(&claimed[0])], &[]).await.unwrap();
        times.push(notified(&mut finished).await);
    }
    times.sort();
    // 20 ms are promised; a loaded test machine may be late now and then.
    assert!(times[times.len() / 2] < Duration::from_millis(20), "{times:?}");
}

/// A commit that only ends tasks makes no store look for work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_bell_that_is_meant_rings() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.store().await, sandbox.store().await);
    add(&one, task()).await;
    let server = server(&one).await;
    let mut work = two.notifications().work.listen();
    let claimed = claim(&one, server, 1).await;
    let mut finished = two.notifications().finished.listen();
    // A notification that was still on its way has arrived once another one has.
    add(&one, task()).await;
    notified(&mut work).await;
    let mut work = two.notifications().work.listen();
    one.finish(&[done(&claimed[0])], &[]).await.unwrap();
    notified(&mut finished).await;
    assert!(!work.take());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commits_lose_no_last_ring() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.store().await, sandbox.store().await);
    for _ in 0..50 {
        let mut listener = two.notifications().work.listen();
        for _ in 0..5 {
            add(&one, task()).await;
        }
        // However the commits were grouped, a notification follows the last one, unless it has been seen.
        let server = server(&two).await;
        let mut claimed = claim(&two, server, 100).await.len();
        while claimed < 5 {
            notified(&mut listener).await;
            claimed += claim(&two, server, 100).await.len();
        }
    }
}

/// Another idle store on the file does not keep it busy, either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_at_rest_costs_nothing() {
    let sandbox = Sandbox::new();
    let other = sandbox.store().await;
    add(&other, task()).await;
    let mut child = child::spawn("rest", &sandbox.file());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ticks = lines.map_while(Result::ok).find_map(|line| line.split("ticks=").nth(1)?.parse::<u64>().ok());
    child.wait().unwrap();
    assert!(ticks.unwrap() <= 1, "{ticks:?} ticks of 10 ms in a second");
}
