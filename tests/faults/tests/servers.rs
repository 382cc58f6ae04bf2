//! Servers that are killed, suspended, or killed by their own tasks.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod arena;

use std::time::{Duration, Instant};

use arena::{Arena, LEASE, SCAN};
use taskyard::{Error, TaskState};
use taskyard_faults::ledger::{Event, read_all};
use taskyard_faults::tasks::abort;
use taskyard_testkit::postgres::shared;

/// A server dies with `kill -9` during 10,000 tasks, five times, with at least 30 started bodies each time; all of them
/// run again within lease + scan while another server lives.
async fn kill_nine(mut arena: Arena) {
    // At 80 at once and 400 ms each, five rounds of the longest length below cannot empty the queue.
    let refs = arena.produce(10_000, |at| if at < 8_500 { 400 } else { 5 + (at as u64 % 20) }).await;
    let mut survivor = arena.start_server();
    for round in 0..5 {
        let mut victim = survivor;
        // Suspended first, so that the counted bodies are those that the kill hits.
        let hit = loop {
            arena.until_in_flight(victim.id(), 30).await;
            victim.signal(19);
            let hit = arena.in_flight(victim.id());
            if hit.len() >= 30 {
                break hit;
            }
            victim.signal(18);
        };
        victim.kill();
        let killed = Instant::now();
        survivor = arena.start_server();
        let process = survivor.id();
        arena
            .until("the tasks that were hit run again", || {
                let again = read_all(arena.ledgers()).unwrap().into_iter().filter_map(|event| match event {
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
        arena.until("they end", || arena.in_flight(process).is_disjoint(&hit)).await;
    }
    let verdict = arena.verdict(Duration::from_secs(120)).await;
    verdict.assert_clean();
    assert_eq!(verdict.added, refs.len());
    assert!(verdict.runs_repeated >= 150, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_on_sqlite() {
    kill_nine(Arena::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_on_postgresql() {
    kill_nine(Arena::postgres(shared()).await).await;
}

/// A server is suspended beyond its lease and continued: another one has run its tasks, and its writes change nothing.
async fn zombie(mut arena: Arena) {
    let refs = arena.produce(60, |_| 1_500).await;
    let zombie = arena.start_server();
    arena.until_in_flight(zombie.id(), 30).await;
    zombie.signal(19);
    let frozen = arena.in_flight(zombie.id());
    let rescuer = arena.start_server();
    for reference in &refs {
        let proof = tokio::time::timeout(Duration::from_secs(60), reference.wait()).await.unwrap().unwrap();
        if frozen.contains(&reference.id()) {
            assert_eq!(proof.process, rescuer.id(), "a frozen server's task was decided by the other one");
        }
    }
    let before = arena.queue.store().get(&refs.iter().map(taskyard::TaskRef::id).collect::<Vec<_>>()).await.unwrap();
    zombie.signal(18);
    // The bodies of the zombie end now; it takes a new id and serves on, which shows that it has tried to write their ends.
    let probes = arena.produce(200, |_| 50).await;
    for probe in &probes {
        tokio::time::timeout(Duration::from_secs(60), probe.wait()).await.unwrap().unwrap();
    }
    let after = arena.queue.store().get(&refs.iter().map(taskyard::TaskRef::id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(before, after);
    arena.verdict(Duration::from_secs(30)).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn zombie_on_sqlite() {
    zombie(Arena::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zombie_on_postgresql() {
    zombie(Arena::postgres(shared()).await).await;
}

/// A body that aborts its server each time becomes a dead letter with its reason; its neighbours end done.
async fn poison(mut arena: Arena) {
    let pill = arena.queue.add(abort()).await.unwrap();
    let neighbours = arena.produce(200, |_| 20).await;
    let mut server = arena.start_server();
    let started = Instant::now();
    while !pill.state().await.unwrap().is_final() {
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}", pill.record().await);
        if server.has_exited() {
            server = arena.start_server();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = pill.wait().await.unwrap_err();
    assert!(matches!(&error, Error::TaskFailed { error_type, .. } if error_type == "WorkerDied"), "{error}");
    let record = pill.record().await.unwrap();
    assert_eq!((record.state, record.crashes), (TaskState::Failed, 3), "{record:?}");
    if server.has_exited() {
        server = arena.start_server();
    }
    for neighbour in &neighbours {
        tokio::time::timeout(Duration::from_secs(60), neighbour.wait()).await.unwrap().unwrap();
        assert_eq!(neighbour.record().await.unwrap().crashes, 0);
    }
    let verdict = arena.verdict(Duration::from_secs(30)).await;
    assert_eq!(
        (verdict.lost, verdict.unfinished, verdict.decided_twice, verdict.stale_accepted),
        (0, 0, 0, 0),
        "{verdict:?}"
    );
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_on_sqlite() {
    poison(Arena::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_on_postgresql() {
    poison(Arena::postgres(shared()).await).await;
}

/// Two servers share the work; one of them ends gracefully in the middle, which costs no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_end_costs_nothing() {
    let mut arena = Arena::postgres(shared()).await;
    let refs = arena.produce(2_000, |_| 20).await;
    let (first, _second) = (arena.start_server(), arena.start_server());
    arena.until_in_flight(first.id(), 10).await;
    first.signal(15);
    let verdict = arena.verdict(Duration::from_secs(60)).await;
    verdict.assert_clean();
    assert_eq!((verdict.added, verdict.runs_repeated), (refs.len(), 0), "{verdict:?}");
}
