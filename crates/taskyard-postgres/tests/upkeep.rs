//! Upkeep passes over tasks that another transaction holds locked, or whose change the database refuses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use taskyard_core::store::{Finish, Outcome, Retention, Store};
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{Error, NewTask, TaskId, TaskState};
use taskyard_postgres::PostgresStore;
use taskyard_testkit::factory::{child_of, delayed, expiring, request, server, tasks, unique};
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};

mod yard;

const SOON: Duration = Duration::from_millis(1);

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Another transaction, which holds locks until its connection is dropped.
async fn locked(url: &str, sql: &str) -> Client {
    let client = session(url).await;
    client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
    client
}

async fn states(store: &PostgresStore, ids: &[TaskId]) -> Vec<Option<TaskState>> {
    store.get(ids).await.unwrap().into_iter().map(|found| found.map(|record| record.state)).collect()
}

/// Takes a step of upkeep again and again until these tasks are in a state (none: they are gone).
macro_rules! until {
    ($store:expr, $ids:expr, $state:expr, $step:expr) => {
        for attempt in 0.. {
            $step.await.unwrap();
            if states(&$store, $ids).await.iter().all(|state| *state == $state) {
                break;
            }
            assert!(attempt < 600, "after {attempt} steps: {:?}", states(&$store, $ids).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
}

/// Takes a step of upkeep again and again until a refusal is shown.
macro_rules! until_shown {
    ($store:expr, $text:expr, $step:expr) => {
        for attempt in 0.. {
            $step.await.unwrap();
            let shown = $store.status().await.unwrap().upkeep_refused;
            if shown.as_ref().is_some_and(|shown| shown.contains($text)) {
                break;
            }
            assert!(attempt < 600, "after {attempt} steps: {shown:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
}

async fn added(store: &PostgresStore, batch: Vec<NewTask>) -> Vec<TaskId> {
    store.add(&batch).await.unwrap().into_iter().map(|added| added.id).collect()
}

/// Tasks that a server has done, each with its own end.
async fn done(store: &PostgresStore, batch: Vec<NewTask>) -> Vec<TaskId> {
    let ids = added(store, batch).await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let ends: Vec<Finish> = store
        .claim(&request(host.id, ids.len()))
        .await
        .unwrap()
        .tasks
        .into_iter()
        .map(|task| Finish {
            id: task.id,
            token: task.token,
            outcome: Outcome::Done { result: b"1".to_vec() },
            context: None,
            logs: Vec::new(),
        })
        .collect();
    assert_eq!(ends.len(), ids.len());
    store.finish(&ends, &[]).await.unwrap();
    ids
}

fn lock_of(id: TaskId) -> String {
    format!("SELECT FROM taskyard.task WHERE id = '{id}' FOR UPDATE")
}

/// As a caller of `enqueue` does who does not commit.
const KEY_HELD: &str = "SELECT taskyard.enqueue('a::b', unique_key => 'k')";

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_task_or_key_stops_no_start_and_no_expiry() {
    let (store, url) = yard::fresh_with_address().await;
    let keyed = NewTask { expires: Some(SOON), ..unique("k", UniqueHold::UntilFinished) };
    let held =
        added(&store, vec![NewTask { start: Start::After(Duration::from_secs(3_600)), ..keyed }, expiring(SOON)]).await;
    let by_key = locked(&url, KEY_HELD).await;
    let by_row = locked(&url, &lock_of(held[1])).await;
    let paused: Vec<NewTask> = (0..50).map(|_| expiring(SOON)).collect();
    let expired = added(&store, paused).await;
    let started = added(&store, (0..50).map(|_| delayed(SOON)).collect()).await;
    until!(store, &started, Some(TaskState::Enqueued), store.promote());
    until!(store, &expired, Some(TaskState::Cancelled), store.promote());
    assert_eq!(states(&store, &held[..1]).await, [Some(TaskState::Waiting)]);
    drop((by_key, by_row));
    until!(store, &held, Some(TaskState::Cancelled), store.promote());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_task_or_key_stops_no_removal() {
    let (store, url) = yard::fresh_with_address().await;
    let held_for = unique("k", UniqueHold::For(Duration::from_millis(1)));
    let mut batch = tasks(50);
    batch.push(held_for);
    let ids = done(&store, batch).await;
    let by_key = locked(&url, KEY_HELD).await;
    let by_row = locked(&url, &lock_of(ids[7])).await;
    let retention = Retention { done: Duration::ZERO, failed: Duration::ZERO, ..Retention::default() };
    let free: Vec<TaskId> = ids[..50].iter().copied().filter(|id| *id != ids[7]).collect();
    until!(store, &free, None, store.prune(&retention));
    assert_eq!(states(&store, &ids[7..8]).await, [Some(TaskState::Done)]);
    drop((by_key, by_row));
    until!(store, &ids, None, store.prune(&retention));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_parent_or_key_stops_the_settling_of_no_other_child() {
    let (store, url) = yard::fresh_with_address().await;
    let parents = done(&store, tasks(2)).await;
    let cancelled = added(&store, vec![delayed(Duration::from_secs(3_600))]).await[0];
    store.cancel(&[cancelled]).await.unwrap();
    let child = |parent: TaskId, key: &str| {
        let sql = format!("SELECT taskyard.enqueue('a::b', parents => ARRAY['{parent}'::uuid]{key})");
        shared().psql_in(&url, &sql).parse::<TaskId>().unwrap()
    };
    // More than one look takes.
    let sql = format!(
        "SELECT count(taskyard.enqueue('a::b', parents => ARRAY['{}'::uuid])) FROM generate_series(1, 450)",
        parents[0]
    );
    shared().psql_in(&url, &sql);
    let falls = child(cancelled, ", unique_key => 'k'");
    let others: Vec<TaskId> = (0..5).map(|_| child(parents[1], "")).collect();
    let by_row = locked(&url, &lock_of(parents[0])).await;
    let by_key = locked(&url, KEY_HELD).await;
    until!(store, &others, Some(TaskState::Enqueued), store.settle());
    assert_eq!(states(&store, &[falls]).await, [Some(TaskState::Waiting)]);
    drop((by_row, by_key));
    until!(store, &[falls], Some(TaskState::Cancelled), store.settle());
    let unsettled = "SELECT count(*) FROM taskyard.waiting WHERE reason = 4";
    for _ in 0..100 {
        store.settle().await.unwrap();
    }
    assert_eq!(shared().psql_in(&url, unsettled), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_key_stops_the_rescue_of_no_other_task() {
    let (store, url) = yard::fresh_with_address().await;
    let mut batch = tasks(5);
    batch.push(NewTask { at_most_once: true, ..unique("k", UniqueHold::UntilFinished) });
    let ids = added(&store, batch).await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    assert_eq!(store.claim(&request(host.id, 10)).await.unwrap().tasks.len(), 6);
    let by_key = locked(&url, KEY_HELD).await;
    let beat = store.beats().await.unwrap()[0].beat;
    until!(store, &ids[..5], Some(TaskState::Enqueued), store.rescue(host.id, beat, true));
    assert_eq!(states(&store, &ids[5..]).await, [Some(TaskState::Doing)]);
    drop(by_key);
    until!(store, &ids[5..], Some(TaskState::Failed), store.rescue(host.id, beat, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_child_stops_no_other_child_of_large_families() {
    let (store, url) = yard::fresh_with_address().await;
    let parents = added(&store, tasks(3)).await;
    let mut families = Vec::new();
    for parent in &parents {
        families.push(added(&store, (0..1_200).map(|_| child_of(&[*parent])).collect()).await);
    }
    let host = server();
    store.server_enter(&host).await.unwrap();
    let claimed = store.claim(&request(host.id, 3)).await.unwrap().tasks;
    // The last child of each family is behind what an end tells by itself.
    let held: Vec<TaskId> = families[..2].iter().map(|family| *family.iter().max().unwrap()).collect();
    let by_row = locked(&url, &format!("{}; {}", lock_of(held[0]), lock_of(held[1]))).await;
    store.cancel(&[parents[1]]).await.unwrap();
    let outcome = |id: TaskId| match id == parents[1] {
        true => Outcome::Interrupted,
        false => Outcome::Done { result: b"1".to_vec() },
    };
    for task in claimed {
        let end = Finish { id: task.id, token: task.token, outcome: outcome(task.id), context: None, logs: Vec::new() };
        store.finish(&[end], &[]).await.unwrap();
    }
    let free = |at: usize| families[at].iter().copied().filter(|id| !held.contains(id)).collect::<Vec<TaskId>>();
    until!(store, &free(2), Some(TaskState::Enqueued), store.cascade());
    until!(store, &free(0), Some(TaskState::Enqueued), store.cascade());
    until!(store, &free(1), Some(TaskState::Cancelled), store.cascade());
    assert_eq!(states(&store, &held).await, [Some(TaskState::Waiting); 2]);
    drop(by_row);
    until!(store, &held[..1], Some(TaskState::Enqueued), store.cascade());
    until!(store, &held[1..], Some(TaskState::Cancelled), store.cascade());
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.cascade"), "0");
}

/// A constraint or a trigger of the application.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_expiry_or_removal_stops_no_other_and_is_shown() {
    for (deferrable, code) in [("", "P0001"), ("", "23514"), ("", "57P01"), ("DEFERRABLE INITIALLY DEFERRED", "P0001")]
    {
        let (store, url) = yard::fresh_with_address().await;
        let bad = added(&store, vec![delayed(SOON), expiring(SOON)]).await;
        let sql = format!(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}';
             END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON taskyard.task {deferrable} FOR EACH ROW
                 WHEN (new.id IN ('{}', '{}')) EXECUTE FUNCTION public.refuse()",
            bad[0], bad[1]
        );
        shared().psql_in(&url, &sql);
        let expired = added(&store, (0..5).map(|_| expiring(SOON)).collect()).await;
        let started = added(&store, (0..5).map(|_| delayed(SOON)).collect()).await;
        until!(store, &started, Some(TaskState::Enqueued), store.promote());
        until!(store, &expired, Some(TaskState::Cancelled), store.promote());
        assert_eq!(states(&store, &bad).await, [Some(TaskState::Waiting), Some(TaskState::Enqueued)], "{code}");
        until_shown!(store, "not this one", store.promote());
    }
}

/// The application's rows name the tasks that they wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_foreign_key_keeps_stops_no_removal() {
    let (store, url) = yard::fresh_with_address().await;
    let ids = done(&store, tasks(30)).await;
    let sql = format!(
        "CREATE TABLE public.orders (task uuid REFERENCES taskyard.task (id)); INSERT INTO public.orders VALUES ('{}')",
        ids[11]
    );
    shared().psql_in(&url, &sql);
    let free: Vec<TaskId> = ids.iter().copied().filter(|id| *id != ids[11]).collect();
    assert_eq!(store.purge(&ids[..20]).await.unwrap(), 19);
    let refused = store.purge(&ids[11..12]).await.unwrap_err();
    assert!(matches!(&refused, Error::NotStorable { .. } | Error::Database(_)), "{refused:?}");
    let retention = Retention { done: Duration::ZERO, failed: Duration::ZERO, ..Retention::default() };
    until!(store, &free, None, store.prune(&retention));
    assert_eq!(states(&store, &ids[11..12]).await, [Some(TaskState::Done)]);
    until_shown!(store, "orders", store.prune(&retention));
    // Those with auto-remove, whose minute is over.
    shared().psql_in(
        &url,
        &format!(
            "UPDATE taskyard.task SET auto_remove = true, finished_at = now() - interval '2 minutes' WHERE id = '{}';
             INSERT INTO taskyard.deadline VALUES (now(), '{}', 1)",
            ids[11], ids[11]
        ),
    );
    let started = added(&store, vec![delayed(SOON), expiring(SOON)]).await;
    until!(store, &started[..1], Some(TaskState::Enqueued), store.promote());
    until!(store, &started[1..], Some(TaskState::Cancelled), store.promote());
    shared().psql_in(&url, "DROP TABLE public.orders; UPDATE taskyard.deadline SET at = now()");
    until!(store, &ids, None, store.promote());
}

/// A constraint or a trigger of the application that forbids to start a task, or to change it at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_of_an_attempt_stops_no_other_claim_and_is_shown() {
    for (timing, what, code) in [
        ("", "new.state = 2 AND ", "P0001"),
        ("", "", "23514"),
        ("", "new.state = 2 AND ", "57P01"),
        ("DEFERRABLE INITIALLY DEFERRED", "new.state = 2 AND ", "08006"),
        ("DEFERRABLE INITIALLY DEFERRED", "", "P0001"),
    ] {
        let (store, url) = yard::fresh_with_address().await;
        let ids = added(&store, tasks(10)).await;
        let bad = [ids[0], ids[5]];
        let sql = format!(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}';
             END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON taskyard.task {timing} FOR EACH ROW
                 WHEN ({what}new.id IN ('{}', '{}')) EXECUTE FUNCTION public.refuse()",
            bad[0], bad[1]
        );
        shared().psql_in(&url, &sql);
        let host = server();
        store.server_enter(&host).await.unwrap();
        let mut claimed = store.claim(&request(host.id, 10)).await;
        for _ in 0..5 {
            if claimed.is_err() {
                claimed = store.claim(&request(host.id, 10)).await;
            }
        }
        assert_eq!(claimed.unwrap().tasks.len(), 8, "{timing} {what} {code}");
        assert!(store.claim(&request(host.id, 10)).await.unwrap().tasks.is_empty());
        until_shown!(store, "not this one", store.promote());
        // Once nothing is in its way it runs.
        shared().psql_in(&url, "DROP TRIGGER refuse ON taskyard.task; UPDATE taskyard.waiting SET run_at = now()");
        store.promote().await.unwrap();
        store.compare_ranges(None, 100, true).await.unwrap();
        let again: Vec<TaskId> =
            store.claim(&request(host.id, 10)).await.unwrap().tasks.iter().map(|task| task.id).collect();
        assert_eq!(again, bad, "{timing} {what} {code}");
        assert!(store.claim(&request(host.id, 10)).await.unwrap().tasks.is_empty());
    }
}
