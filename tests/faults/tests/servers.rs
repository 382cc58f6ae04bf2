//! Servers that are killed, suspended, or killed by their own tasks.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod harness;

use std::time::{Duration, Instant};

use harness::{Harness, LEASE, SCAN};
use taskyard::{Error, TaskState};
use taskyard_faults::ledger::{Event, read_all};
use taskyard_faults::tasks::abort;
use taskyard_testkit::backend::Backend;
use taskyard_testkit::postgres::shared;

/// A server dies with `kill -9` during 10,000 tasks, five times, with at least 30 started bodies each time; all of them
/// run again within lease + scan while another server lives.
async fn kill_nine(backend: Backend) {
    let mut harness = Harness::on(backend.create_database()).await;
    // At 80 at once and 400 ms each, five rounds of the longest length below cannot empty the queue.
    let refs = harness.produce(10_000, |at| if at < 8_500 { 400 } else { 5 + (at as u64 % 20) }).await;
    let mut survivor = harness.start_server();
    for round in 0..5 {
        let mut victim = survivor;
        // Suspended first, so that the counted bodies are those that the kill hits.
        let hit = loop {
            harness.until_in_flight(victim.id(), 30).await;
            victim.signal(19);
            let hit = harness.in_flight(victim.id());
            if hit.len() >= 30 {
                break hit;
            }
            victim.signal(18);
        };
        victim.kill();
        let killed = Instant::now();
        survivor = harness.start_server();
        let process = survivor.id();
        harness
            .until("the tasks that were hit run again", || {
                let again = read_all(harness.ledgers()).unwrap().into_iter().filter_map(|event| match event {
                    Event::Started { task, process: by, .. } if by == process => Some(task),
                    _ => None,
                });
                let again: std::collections::HashSet<_> = again.collect();
                hit.iter().all(|task| again.contains(task))
            })
            .await;
        // Lease, two checks (one to suspect, one to be sure), and as much again for a loaded machine.
        let bound = (LEASE + SCAN * 2) * 2 + Duration::from_secs(2);
        assert!(killed.elapsed() < bound, "round {round}: {:?}", killed.elapsed());
        // They also end, so that the next kill hits others: tasks that are lost three times run alone, one after the
        // other.
        harness.until("they end", || harness.in_flight(process).is_disjoint(&hit)).await;
    }
    let report = harness.report(Duration::from_secs(120)).await;
    report.assert_clean();
    assert_eq!(report.added, refs.len());
    assert!(report.runs_repeated >= 150, "{report:?}");
}

/// A server is suspended beyond its lease and continued: another one has run its tasks, and its writes change nothing.
async fn zombie(backend: Backend) {
    let mut harness = Harness::on(backend.create_database()).await;
    let refs = harness.produce(60, |_| 1_500).await;
    let zombie = harness.start_server();
    harness.until_in_flight(zombie.id(), 30).await;
    zombie.signal(19);
    let frozen = harness.in_flight(zombie.id());
    let rescuer = harness.start_server();
    for reference in &refs {
        let proof = tokio::time::timeout(Duration::from_secs(60), reference.wait()).await.unwrap().unwrap();
        if frozen.contains(&reference.id()) {
            assert_eq!(proof.process, rescuer.id(), "a frozen server's task was decided by the other one");
        }
    }
    let before = harness.queue.store().get(&refs.iter().map(taskyard::TaskRef::id).collect::<Vec<_>>()).await.unwrap();
    zombie.signal(18);
    // The bodies of the zombie end now; it takes a new id and serves on, which shows that it has tried to write their ends.
    let probes = harness.produce(200, |_| 50).await;
    for probe in &probes {
        tokio::time::timeout(Duration::from_secs(60), probe.wait()).await.unwrap().unwrap();
    }
    let after = harness.queue.store().get(&refs.iter().map(taskyard::TaskRef::id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(before, after);
    harness.report(Duration::from_secs(30)).await.assert_clean();
}

/// A body that aborts its server each time becomes a dead letter with its reason; its neighbours end done.
async fn poison(backend: Backend) {
    let mut harness = Harness::on(backend.create_database()).await;
    let pill = harness.queue.add(abort()).await.unwrap();
    let neighbours = harness.produce(200, |_| 20).await;
    let mut server = harness.start_server();
    let started = Instant::now();
    while !pill.state().await.unwrap().is_final() {
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}", pill.record().await);
        if server.has_exited() {
            server = harness.start_server();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = pill.wait().await.unwrap_err();
    assert!(matches!(&error, Error::TaskFailed { error_type, .. } if error_type == "WorkerDied"), "{error}");
    let record = pill.record().await.unwrap();
    assert_eq!((record.state, record.crashes), (TaskState::Failed, 3), "{record:?}");
    if server.has_exited() {
        server = harness.start_server();
    }
    for neighbour in &neighbours {
        tokio::time::timeout(Duration::from_secs(60), neighbour.wait()).await.unwrap().unwrap();
        assert_eq!(neighbour.record().await.unwrap().crashes, 0);
    }
    let report = harness.report(Duration::from_secs(30)).await;
    assert_eq!(
        (report.lost, report.unfinished, report.decided_twice, report.stale_accepted),
        (0, 0, 0, 0),
        "{report:?}"
    );
    drop(server);
}

taskyard_testkit::on_both_stores! { kill_nine, zombie, poison }

/// Two servers share the work; one of them ends gracefully in the middle, which costs no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_end_costs_nothing() {
    let mut harness = Harness::on(shared().create_database()).await;
    let refs = harness.produce(2_000, |_| 20).await;
    let (first, _second) = (harness.start_server(), harness.start_server());
    harness.until_in_flight(first.id(), 10).await;
    first.signal(15);
    let report = harness.report(Duration::from_secs(60)).await;
    report.assert_clean();
    assert_eq!((report.added, report.runs_repeated), (refs.len(), 0), "{report:?}");
}
