//! A row locked by another transaction stops nothing else; a statement that was given up is cancelled.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Claimed, Finish, NewServer, Outcome, Record, Serves, Store, WriteReply};
use taskyard_core::task::{Unique, UniqueHold};
use taskyard_core::{Error, NewTask, ServerId, TaskState};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::{beat, request, server, task, tasks};
use taskyard_testkit::postgres::shared;
use taskyard_testkit::proxy::{Fault, Proxy, Which};
use tokio_postgres::NoTls;

mod harness;

/// Time limit for writing tasks that are not locked, on a busy machine.
const SOON: Duration = Duration::from_secs(8);

async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn claimed(store: &PostgresStore, batch: &[NewTask]) -> (ServerId, Vec<Claimed>) {
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(batch).await.unwrap();
    let request = ClaimRequest { limit: batch.len(), ..request(host.id, batch.len()) };
    let tasks = store.claim(&request).await.unwrap().tasks;
    assert_eq!(tasks.len(), batch.len());
    (host.id, tasks)
}

fn done(task: &Claimed) -> Finish {
    let outcome = Outcome::Done { result: b"1".to_vec() };
    Finish { id: task.id, token: task.token, outcome, context: None, logs: Vec::new() }
}

fn noted(task: &Claimed) -> Record {
    Record { id: task.id, token: task.token, context: Some(b"{\"a\": 1}".to_vec()), logs: Vec::new() }
}

fn counts(replies: &[WriteReply]) -> (usize, usize) {
    let of = |wanted: fn(&WriteReply) -> bool| replies.iter().filter(|reply| wanted(reply)).count();
    (of(|reply| matches!(reply, WriteReply::Applied(_))), of(|reply| *reply == WriteReply::Locked))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_is_left_out_of_a_batch() {
    let (store, url) = harness::fresh_with_address().await;
    let (host, tasks) = claimed(&store, &tasks(500)).await;
    let locker = session(&url).await;
    // Like a body that ends its attempt inside its own transaction, and an open interactive session.
    let sql = format!(
        "BEGIN; SELECT taskyard.complete_in('{}', '{}'); SELECT FROM taskyard.task WHERE id = '{}' FOR UPDATE",
        tasks[7].id, tasks[7].token, tasks[300].id
    );
    locker.batch_execute(&sql).await.unwrap();
    let began = Instant::now();
    let records: Vec<Record> = tasks.iter().map(noted).collect();
    assert_eq!(counts(&store.record(&records).await.unwrap()), (498, 2));
    let mut ends: Vec<Finish> = tasks.iter().map(done).collect();
    // One end of another kind: both functions skip locked rows.
    ends[0].outcome = Outcome::Released;
    let replies = store.finish(&ends[..250], &[]).await.unwrap();
    assert_eq!(counts(&replies), (249, 1));
    assert_eq!(replies[7], WriteReply::Locked);
    assert_eq!(counts(&store.finish(&ends[250..], &[]).await.unwrap()), (249, 1));
    assert!(!store.server_beat(&beat(host)).await.unwrap().dead);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    locker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.finish(&ends[7..8], &[]).await.unwrap(), [WriteReply::AlreadyApplied(TaskState::Done)]);
    assert_eq!(store.finish(&ends[300..301], &[]).await.unwrap(), [WriteReply::Applied(TaskState::Done)]);
}

/// A transaction that changes the recorded capabilities of builds blocks refusals of kinds, and no other end.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_wait_hold_up_no_other_end() {
    let (store, url) = harness::fresh_with_address().await;
    let host =
        NewServer { serves: Some(Serves { builds: vec![(Runtime::Rust, "a".into())], queues: None }), ..server() };
    store.server_enter(&host).await.unwrap();
    store.add(&tasks(400)).await.unwrap();
    let tasks = store.claim(&request(host.id, 400)).await.unwrap().tasks;
    let locker = session(&url).await;
    locker.batch_execute("BEGIN; SELECT taskyard.kind_lock()").await.unwrap();
    let mut ends: Vec<Finish> = tasks.iter().map(done).collect();
    for (at, end) in ends.iter_mut().enumerate().filter(|(at, _)| at % 2 == 0) {
        end.outcome = Outcome::Refused { reason: format!("kind `{}`", tasks[at].kind), build: "a".into() };
    }
    let began = Instant::now();
    let replies = store.finish(&ends, &[]).await.unwrap();
    assert_eq!(counts(&replies), (200, 200));
    assert!(replies.iter().skip(1).step_by(2).all(|reply| *reply == WriteReply::Applied(TaskState::Done)));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    locker.batch_execute("COMMIT").await.unwrap();
    let refused: Vec<Finish> = ends.into_iter().step_by(2).collect();
    assert_eq!(counts(&store.finish(&refused, &[]).await.unwrap()), (200, 0));
    store.close().await;
}

/// An end also needs other rows than its task's: here the unique key, for which a caller's open transaction waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_a_key_keeps_its_holder_only() {
    let (store, url) = harness::fresh_with_address().await;
    let mut batch = tasks(200);
    batch[42].unique = Some(Unique { key: "k".into(), hold: UniqueHold::UntilFinished });
    let (_, tasks) = claimed(&store, &batch).await;
    let caller = session(&url).await;
    caller.batch_execute("BEGIN; SELECT taskyard.enqueue('k', unique_key => 'k')").await.unwrap();
    let began = Instant::now();
    let ends: Vec<Finish> = tasks.iter().map(done).collect();
    let replies = store.finish(&ends, &[]).await.unwrap();
    assert_eq!(counts(&replies), (199, 1));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    caller.batch_execute("COMMIT").await.unwrap();
    let at = replies.iter().position(|reply| *reply == WriteReply::Locked).unwrap();
    assert_eq!(tasks[at].id, batch[42].id);
    assert_eq!(counts(&store.finish(&ends[at..=at], &[]).await.unwrap()), (1, 0));
}

/// A whole table is locked: every end gets the reply that it is locked, in bounded time, and heartbeats go on
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn beats_go_on_while_nothing_else_does() {
    let (store, url) = harness::fresh_with_address().await;
    let (host, tasks) = claimed(&store, &tasks(300)).await;
    let locker = session(&url).await;
    locker.batch_execute("BEGIN; LOCK TABLE taskyard.task IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let ends: Vec<Finish> = tasks.iter().map(done).collect();
    let writer = store.clone();
    let writing = tokio::spawn(async move { writer.finish(&ends, &[]).await.unwrap() });
    let asker = store.clone();
    let asking = tokio::spawn(async move { asker.get(&[task().id]).await });
    for _ in 0..5 {
        let beaten = tokio::time::timeout(Duration::from_secs(3), store.server_beat(&beat(host))).await;
        assert!(!beaten.expect("a beat waits for nothing").unwrap().dead);
    }
    let replies = tokio::time::timeout(SOON, writing).await.expect("bounded").unwrap();
    assert_eq!(counts(&replies), (0, 300));
    locker.batch_execute("COMMIT").await.unwrap();
    asking.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_was_given_up_is_cancelled() {
    let (_, url) = harness::fresh_with_address().await;
    let options = Options { answer_max: Duration::from_millis(500), ..Options::default() };
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let locker = session(&url).await;
    locker.batch_execute("BEGIN; LOCK TABLE taskyard.task IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = \
                   (SELECT oid FROM pg_database WHERE datname = current_database())";
    for dropped in [false, true] {
        if dropped {
            // The caller has a shorter limit; the store's own limit still applies.
            let get = store.get(&[]);
            drop(get);
            let short = Duration::from_millis(100);
            assert!(
                tokio::time::timeout(short, store.count(&taskyard_core::store::TaskFilter::default())).await.is_err()
            );
        } else {
            let error = store.count(&taskyard_core::store::TaskFilter::default()).await.unwrap_err();
            assert!(matches!(error, Error::Connection(_)), "{error}");
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while shared().psql_in(&url, waiting) != "0" {
            assert!(Instant::now() < deadline, "it still waits");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The host of a producer vanishes inside one of the store's transactions: the server ends it, and releases its locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_client_vanished_is_ended_by_the_server() {
    let (other, url) = harness::fresh_with_address().await;
    let (proxy, through) = Proxy::for_url(&url);
    let store = PostgresStore::connect(&through, Options { notify: false, ..Options::default() }).await.unwrap();
    let keyed = || NewTask { unique: Some(Unique { key: "k".into(), hold: UniqueHold::UntilFinished }), ..task() };
    // The responses are lost: the transaction has its locks, and its commit is never sent.
    assert_eq!(proxy.fault(Which::All, Fault::AnswersLost), 1);
    let batch = [keyed()];
    let vanished = store.clone();
    let adding = tokio::spawn(async move { vanished.add(&batch).await });
    let idle =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while shared().psql_in(&url, idle) != "1" {
        assert!(Instant::now() < deadline, "it has begun");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.fault(Which::All, Fault::BlackHole);
    adding.abort();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match other.add(&[keyed()]).await {
            Ok(added) => break assert!(!added[0].existing),
            Err(error) => assert!(matches!(error, Error::Locked(_)), "{error}"),
        }
        assert!(Instant::now() < deadline, "its locks stay");
    }
}

/// A task at the head is locked, and the key of another one, which starting it would release: claims skip both, and the
/// second claim does not wait for them again.
#[tokio::test(flavor = "multi_thread")]
async fn claims_pass_over_what_is_locked() {
    let (store, url) = harness::fresh_with_address().await;
    let mut batch = tasks(300);
    batch[3].unique = Some(Unique { key: "k".into(), hold: UniqueHold::UntilStarted });
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&batch).await.unwrap();
    let locker = session(&url).await;
    // Like a caller that adds a child of an enqueued task, or a task with a key, and does not commit.
    let sql = format!(
        "BEGIN; SELECT FROM taskyard.task WHERE id = '{}' FOR NO KEY UPDATE; SELECT taskyard.enqueue('k', unique_key => 'k')",
        batch[0].id
    );
    locker.batch_execute(&sql).await.unwrap();
    let expected: Vec<_> =
        batch.iter().map(|task| task.id).filter(|id| ![batch[0].id, batch[3].id].contains(id)).collect();
    let claim = || async {
        let reply = store.claim(&ClaimRequest { limit: 100, ..request(host.id, 100) }).await.unwrap();
        assert!(reply.passed_over);
        reply.tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert_eq!(claim().await, expected[..100], "in their order");
    let began = Instant::now();
    assert_eq!(claim().await, expected[100..200]);
    assert_eq!(claim().await, expected[200..]);
    assert!(claim().await.is_empty());
    assert!(began.elapsed() < Duration::from_millis(900), "no claim waits for a lock any more: {:?}", began.elapsed());
    locker.batch_execute("ROLLBACK").await.unwrap();
    let reply = store.claim(&ClaimRequest { limit: 100, ..request(host.id, 100) }).await.unwrap();
    let ids: Vec<_> = reply.tasks.iter().map(|task| task.id).collect();
    assert_eq!((ids, reply.passed_over), (vec![batch[0].id, batch[3].id], false));
    let ends: Vec<Finish> = reply.tasks.iter().map(done).collect();
    assert_eq!(counts(&store.finish(&ends, &[]).await.unwrap()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_passes_over_what_is_locked() {
    let (store, url) = harness::fresh_with_address().await;
    let (host, tasks) = claimed(&store, &tasks(50)).await;
    let locker = session(&url).await;
    let sql = format!("BEGIN; SELECT FROM taskyard.task WHERE id = '{}' FOR UPDATE", tasks[7].id);
    locker.batch_execute(&sql).await.unwrap();
    let beat = store.beats().await.unwrap().into_iter().find(|seen| seen.server == host).unwrap().beat;
    let freed = store.rescue(host, beat, true).await.unwrap();
    assert_eq!((freed.tasks, freed.more), (49, false));
    let again = store.rescue(host, beat, true).await.unwrap();
    assert_eq!((again.tasks, again.more), (0, false));
    assert!(
        store.beats().await.unwrap().iter().any(|seen| seen.server == host && seen.dead),
        "it is still looked after"
    );
    locker.batch_execute("COMMIT").await.unwrap();
    let rest = store.rescue(host, beat, true).await.unwrap();
    assert_eq!((rest.tasks, rest.more), (1, false));
    assert!(store.beats().await.unwrap().iter().all(|seen| seen.server != host));
    let record = store.get(&[tasks[7].id]).await.unwrap().remove(0).unwrap();
    assert_eq!(record.state, TaskState::Enqueued);
}
