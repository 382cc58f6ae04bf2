//! Additions that need rows locked by another transaction wait apart; the others go on, and the number of waiting ones
//! is bounded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use taskyard_core::client::{Call, ClientConfig, TaskRef};
use taskyard_core::store::{ControlReply, Store, TaskFilter};
use taskyard_core::{Client, Error, TaskState};
use taskyard_postgres::PostgresStore;
use taskyard_testkit::postgres::shared;
use tokio_postgres::NoTls;

mod harness;

/// Time limit for storing additions that no lock blocks.
const SOON: Duration = Duration::from_secs(2);
/// Time limit for storing blocked additions after the lock's end, on a busy machine.
const AFTERWARDS: Duration = Duration::from_secs(10);

async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn call(number: usize) -> Call<Value> {
    Call::new("testkit::body", &(number,))
}

fn keyed(key: &str) -> Call<Value> {
    call(0).unique(key)
}

struct Harness {
    store: Arc<PostgresStore>,
    client: Client,
    /// Session of another program.
    other: tokio_postgres::Client,
}

async fn harness(config: ClientConfig) -> Harness {
    let (store, url) = harness::fresh_with_address().await;
    let client = Client::new(store.clone(), config);
    Harness { store, client, other: session(&url).await }
}

impl Harness {
    async fn other(&self, sql: &str) {
        self.other.batch_execute(sql).await.unwrap();
    }

    async fn enqueue(&self, key: &str) -> String {
        let sql = format!("SELECT taskyard.enqueue('k', unique_key => '{key}')::text");
        self.other.query_one(&sql, &[]).await.unwrap().get(0)
    }

    async fn count(&self) -> u64 {
        self.store.count(&TaskFilter::default()).await.unwrap()
    }
}

async fn stored(tasks: &[TaskRef], within: Duration) {
    let all = async {
        for task in tasks {
            task.stored().await.unwrap();
        }
    };
    tokio::time::timeout(within, all).await.expect("stored in time");
}

fn is_pending(task: &TaskRef) -> bool {
    use std::pin::pin;
    use std::task::{Context, Waker};
    pin!(task.stored()).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_a_key_is_held_and_the_end_decides_rightly() {
    for end in ["COMMIT", "ROLLBACK"] {
        let harness = harness(ClientConfig::default()).await;
        let client = &harness.client;
        harness.other("BEGIN").await;
        let holder = harness.enqueue("k").await;
        let root = client.add(call(0)).await.unwrap();
        // In one batch: some before, the one that meets the lock, those that depend on it, and others with keys and
        // parents.
        let mut others: Vec<TaskRef> = (0..50).map(|number| client.add_later(call(number)).unwrap()).collect();
        let first = client.add_later(keyed("k").parent(&root)).unwrap();
        let second = client.add_later(keyed("k")).unwrap();
        let child = client.add_later(call(1).parent(&first)).unwrap();
        let cancelled = client.add_later(call(2).parent(&child)).unwrap();
        let cancel = cancelled.cancel();
        others.extend((0..50).map(|number| client.add_later(keyed(&format!("own {number}")).parent(&root)).unwrap()));
        let flush = tokio::spawn({
            let client = client.clone();
            async move { client.flush().await }
        });
        stored(&others, SOON).await;
        // Later additions are stored at once, too.
        for number in 0..20 {
            let began = Instant::now();
            client.add(keyed(&format!("later {number}")).parent(&others[60])).await.unwrap();
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        let third = client.add_later(keyed("k")).unwrap();
        let waiting = [first, second, child, cancelled, third];
        // Calls about other tasks are executed as well.
        let (one, two) = ([others[0].id()], [others[1].id()]);
        let calls = async { (client.set_priority(&one, 7).await.unwrap(), client.cancel(&two).await.unwrap()) };
        let (raised, cancelled_at_once) = tokio::time::timeout(SOON, calls).await.expect("carried out in time");
        assert_eq!(raised, [ControlReply::Applied(TaskState::Enqueued)]);
        assert_eq!(cancelled_at_once, [ControlReply::Applied(TaskState::Cancelled)]);
        assert!(waiting.iter().all(is_pending) && !flush.is_finished());
        assert_eq!(harness.count().await, 1 + 100 + 20);
        harness.other(end).await;
        stored(&waiting, AFTERWARDS).await;
        flush.await.unwrap().unwrap();
        cancel.await.unwrap();
        let [first, second, child, cancelled, third] = waiting;
        let committed = end == "COMMIT";
        assert_eq!(first.existing(), committed);
        assert_eq!(first.id().to_string() == holder, committed);
        assert!(second.existing() && third.existing());
        assert_eq!([second.id(), third.id()], [first.id(), first.id()]);
        let record = child.record().await.unwrap();
        assert_eq!(record.parents, [first.id()]);
        assert_eq!(cancelled.record().await.unwrap().state, TaskState::Cancelled);
        assert_eq!(harness.count().await, 1 + 100 + 20 + 3);
    }
}

/// The parent is replaced by another task while the batch is divided.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_in_a_divided_batch_finds_the_task_that_has_its_parents_key() {
    let harness = harness(ClientConfig::default()).await;
    let client = &harness.client;
    let holder = client.add(keyed("known")).await.unwrap();
    harness.other("BEGIN").await;
    harness.enqueue("k").await;
    let group = |calls: Vec<Call<Value>>| client.add_tasks_later(calls).unwrap();
    let mut others = group((0..2_000).map(call).collect());
    let parent = client.add_later(keyed("known")).unwrap();
    let locked = client.add_later(keyed("k")).unwrap();
    let child = client.add_later(call(1).parent(&parent)).unwrap();
    others.extend([parent.clone(), child.clone()]);
    stored(&others, SOON).await;
    assert!(is_pending(&locked));
    assert_eq!(parent.id(), holder.id());
    assert_eq!(child.record().await.unwrap().parents, [holder.id()]);
    harness.other("ROLLBACK").await;
    stored(&[locked], AFTERWARDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_parent_or_queue_keeps_back_what_needs_it_only() {
    let harness = harness(ClientConfig::default()).await;
    let client = &harness.client;
    let (locked, free) = (client.add(call(0)).await.unwrap(), client.add(call(1)).await.unwrap());
    harness.store.set_paused("paused", true).await.unwrap();
    let sql = format!(
        "BEGIN; SELECT FROM taskyard.task WHERE id = '{}' FOR UPDATE; SELECT FROM taskyard.queue FOR UPDATE",
        locked.id()
    );
    harness.other(&sql).await;
    let mut waiting = Vec::new();
    for number in 0..10 {
        waiting.push(client.add_later(call(number).parent(&locked)).unwrap());
        waiting.push(client.add_later(call(number).queue("paused")).unwrap());
        let began = Instant::now();
        client.add(call(number)).await.unwrap();
        client.add(call(number).parent(&free)).await.unwrap();
        // The first additions meet the locks; those after them are known to need the same.
        assert!(began.elapsed() < if number == 0 { 2 * SOON } else { SOON }, "{number}: {:?}", began.elapsed());
    }
    assert!(waiting.iter().all(is_pending));
    harness.other("COMMIT").await;
    stored(&waiting, AFTERWARDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded_whatever_it_waits_for() {
    let config = ClientConfig { waiting_max: 100, ..ClientConfig::default() };
    let harness = harness(config).await;
    let client = &harness.client;
    harness.other("BEGIN").await;
    harness.enqueue("k").await;
    let waiting: Vec<TaskRef> = (0..100).map(|_| client.add_later(keyed("k")).unwrap()).collect();
    // An awaited addition waits for capacity.
    let patient = tokio::spawn({
        let client = client.clone();
        async move { client.add(call(1)).await }
    });
    let began = Instant::now();
    let error = client.add_later(call(0)).unwrap_err();
    assert!(matches!(error, Error::QueueUnavailable { waiting: 100, .. }), "{error}");
    assert!(error.to_string().contains("wait for locks"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    // The client now knows that the additions cannot be decided, so no other caller's thread waits for that.
    let began = Instant::now();
    client.add_later(call(0)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!patient.is_finished());
    // A withdrawn addition frees capacity, and is never stored.
    TaskRef::withdraw(&waiting[..1]);
    assert_eq!(waiting[0].stored().await.unwrap_err().code(), "queue_unavailable");
    tokio::time::timeout(SOON, patient).await.expect("there is room").unwrap().unwrap();
    harness.other("ROLLBACK").await;
    stored(&waiting[1..], AFTERWARDS).await;
    assert_eq!(harness.count().await, 2, "one holds the key");
    assert!(waiting[1..].iter().all(|task| task.id() == waiting[1].id()));
    client.add_later(call(0)).unwrap().stored().await.unwrap();
}

/// A program that adds faster than the database stores is slowed down, and has no more additions in memory than the
/// bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_tight_loop_is_slowed_down() {
    let config = ClientConfig { waiting_max: 1_000, ..ClientConfig::default() };
    let harness = harness(config).await;
    for round in 1..=10 {
        for number in 0..2_000 {
            harness.client.add_later(call(number)).unwrap();
        }
        assert!(harness.count().await >= round * 2_000 - 1_000);
    }
    // A group larger than the bound is accepted when it is the only one.
    let group = tokio::time::timeout(AFTERWARDS, harness.client.add_tasks((0..3_000).map(call)));
    assert_eq!(group.await.expect("in time").unwrap().len(), 3_000);
    assert_eq!(harness.count().await, 23_000);
}

/// Threads without a runtime, such as Python's, wait as well; if the calling thread runs the client's runtime, nothing
/// could be written meanwhile.
#[tokio::test]
async fn a_thread_waits_and_the_runtime_itself_does_not() {
    let config = ClientConfig { waiting_max: 100, ..ClientConfig::default() };
    let harness = harness(config).await;
    let client = harness.client.clone();
    let thread = std::thread::spawn(move || (0..1_000).try_for_each(|number| client.add_later(call(number)).map(drop)));
    let ended = async {
        while !thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("there is room again and again");
    thread.join().unwrap().unwrap();
    harness.client.flush().await.unwrap();
    let added = (0..200).map(|number| harness.client.add_later(call(number))).take_while(Result::is_ok).count();
    assert_eq!(added, 100);
    let error = harness.client.add_later(call(0)).unwrap_err();
    assert!(error.to_string().contains("await `add` instead"), "{error}");
    for number in 0..200 {
        harness.client.add(call(number)).await.unwrap();
    }
    assert_eq!(harness.count().await, 1_300);
}

/// A loop that does not await waits on every kind of thread where the writer can go on meanwhile, and never panics.
#[test]
fn a_tight_loop_waits_on_every_kind_of_thread() {
    const COUNT: usize = 1_000;
    let add_all = |client: Client| move || (0..COUNT).try_for_each(|number| client.add_later(call(number)).map(drop));
    for workers in [1, 2] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
        runtime.block_on(async {
            let harness = harness(ClientConfig { waiting_max: 100, ..ClientConfig::default() }).await;
            let client = || harness.client.clone();
            // The future of `block_on`, tasks on all workers at once, a thread for blocking calls.
            add_all(client())().unwrap();
            let tasks: Vec<_> =
                (0..workers).map(|_| add_all(client())).map(|add| tokio::spawn(async move { add() })).collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            tokio::task::spawn_blocking(add_all(client())).await.unwrap().unwrap();
            // A task of a `LocalSet`, where a thread may not be blocked "in place".
            let add = add_all(client());
            let local = tokio::task::LocalSet::new();
            local
                .run_until(async move { tokio::task::spawn_local(async move { add() }).await.unwrap() })
                .await
                .unwrap();
            // The only thread of another runtime.
            let add = add_all(client());
            let other = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async move { tokio::spawn(async move { add() }).await.unwrap() })
            });
            tokio::task::spawn_blocking(|| other.join().unwrap().unwrap()).await.unwrap();
            client().flush().await.unwrap();
            assert_eq!(harness.count().await, (4 + workers as u64) * COUNT as u64);
        });
    }
}

/// A control call that is being executed when the runtime ends is completed all the same.
#[test]
fn a_control_call_outlives_the_runtime() {
    let observer = tokio::runtime::Runtime::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (url, task, client) = runtime.block_on(async {
        let (store, url) = harness::fresh_with_address().await;
        let client = Client::new(store, ClientConfig::default());
        (url, client.add(call(0)).await.unwrap(), client)
    });
    let other = observer.block_on(session(&url));
    let lock = format!("BEGIN; SELECT FROM taskyard.task WHERE id = '{}' FOR UPDATE", task.id());
    observer.block_on(other.batch_execute(&lock)).unwrap();
    let _answer = task.cancel();
    // Returns a session that waits for a lock, other than the given one; other tests have databases of their own on
    // this server.
    let waiting = |but: &str| {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> {but}
             LIMIT 1"
        );
        let deadline = Instant::now() + AFTERWARDS;
        loop {
            let pid = shared().psql_in(&url, &sql);
            if !pid.is_empty() {
                return pid;
            }
            assert!(Instant::now() < deadline, "it is carried out");
        }
    };
    let first = waiting("0");
    let id = task.id();
    let ending = std::thread::spawn(move || drop((runtime, client, task)));
    waiting(&first);
    observer.block_on(other.batch_execute("COMMIT")).unwrap();
    ending.join().unwrap();
    let state = format!("SELECT finished_at IS NOT NULL FROM taskyard.task WHERE id = '{id}'");
    assert_eq!(shared().psql_in(&url, &state), "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_lock_at_the_close_is_given_up() {
    let harness = harness(ClientConfig::default()).await;
    harness.other("BEGIN").await;
    harness.enqueue("k").await;
    let waiting = harness.client.add_later(keyed("k")).unwrap();
    let other = harness.client.add_later(call(1)).unwrap();
    let error = harness.client.close(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, Error::QueueUnavailable { waiting: 1, .. }), "{error}");
    other.stored().await.unwrap();
    let lost = tokio::time::timeout(SOON, waiting.stored()).await.expect("decided").unwrap_err();
    assert_eq!(lost.code(), "queue_unavailable");
    harness.other("ROLLBACK").await;
    assert_eq!(harness.count().await, 1);
}
