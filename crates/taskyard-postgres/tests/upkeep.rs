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
        let again: Vec<TaskId> =
            store.claim(&request(host.id, 10)).await.unwrap().tasks.iter().map(|task| task.id).collect();
        assert_eq!(again, bad, "{timing} {what} {code}");
        assert!(store.claim(&request(host.id, 10)).await.unwrap().tasks.is_empty());
    }
}

/// From here on such changes of these tasks are refused; when the transaction commits, if `deferred`.
fn refuse(url: &str, deferred: bool, condition: &str) {
    let timing = if deferred { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
    shared().psql_in(
        url,
        &format!(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'not this one';
             END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON taskyard.task {timing} FOR EACH ROW
                 WHEN ({condition}) EXECUTE FUNCTION public.refuse()"
        ),
    );
}

fn accept(url: &str) {
    let sql = "DROP TRIGGER refuse ON taskyard.task; UPDATE taskyard.waiting SET not_before = NULL, run_at = now(); \
               UPDATE taskyard.cascade SET not_before = now() WHERE not_before IS NOT NULL";
    shared().psql_in(url, sql);
}

/// A server that holds all that is enqueued, and its beat.
async fn holder(store: &PostgresStore, count: usize) -> (taskyard_core::ServerId, i64) {
    let host = server();
    store.server_enter(&host).await.unwrap();
    assert_eq!(store.claim(&request(host.id, count)).await.unwrap().tasks.len(), count);
    (host.id, store.beats().await.unwrap()[0].beat)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_lost_tasks_with_unique_keys_end() {
    let (store, _) = yard::fresh_with_address().await;
    let keyed = |number| NewTask { at_most_once: true, ..unique(&format!("k{number}"), UniqueHold::UntilFinished) };
    let ids = added(&store, (0..2_000).map(keyed).collect()).await;
    let (host, beat) = holder(&store, ids.len()).await;
    while store.rescue(host, beat, true).await.unwrap().more {}
    assert!(states(&store, &ids).await.iter().all(|state| *state == Some(TaskState::Failed)));
    assert!(store.beats().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_may_not_change_stops_the_rescue_of_no_other() {
    for deferred in [false, true] {
        let (store, url) = yard::fresh_with_address().await;
        let parent = added(&store, vec![NewTask { at_most_once: true, ..tasks(1).remove(0) }]).await[0];
        let child = added(&store, vec![child_of(&[parent])]).await[0];
        let ids = added(&store, tasks(20)).await;
        let (host, beat) = holder(&store, 21).await;
        refuse(&url, deferred, &format!("new.id IN ('{}', '{child}')", ids[3]));
        let free: Vec<TaskId> = ids.iter().copied().filter(|id| *id != ids[3]).collect();
        until!(store, &free, Some(TaskState::Enqueued), store.rescue(host, beat, true));
        until!(store, &[parent], Some(TaskState::Failed), store.rescue(host, beat, true));
        assert_eq!(states(&store, &[ids[3], child]).await, [Some(TaskState::Doing), Some(TaskState::Waiting)]);
        until_shown!(store, "not this one", store.rescue(host, beat, true));
        accept(&url);
        until!(store, &ids[3..4], Some(TaskState::Enqueued), store.rescue(host, beat, true));
        until!(store, &[child], Some(TaskState::Failed), store.cascade());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_may_not_change_stop_no_siblings() {
    for deferred in [false, true] {
        let (store, url) = yard::fresh_with_address().await;
        let parents = added(&store, tasks(3)).await;
        let mut families = Vec::new();
        for parent in &parents {
            // More than one step tells.
            families.push(added(&store, (0..1_500).map(|_| child_of(&[*parent])).collect()).await);
        }
        families.iter_mut().for_each(|family| family.sort());
        // In the first step of two families, and in the last of one.
        let bad = [families[0][7], families[0][8], families[0][1_499], families[1][0]];
        refuse(&url, deferred, &format!("new.id IN ('{}', '{}', '{}', '{}')", bad[0], bad[1], bad[2], bad[3]));
        let (host, _) = holder(&store, 3).await;
        store.cancel(&[parents[1]]).await.unwrap();
        // What an end tells by itself is refused with the end; the rest is here.
        shared().psql_in(
            &url,
            &format!(
                "UPDATE taskyard.task SET finished_at = now(), state = CASE id WHEN '{0}' THEN 5 WHEN '{1}' THEN 6 ELSE 4 END
                 WHERE id IN ('{0}', '{1}', '{2}');
                 INSERT INTO taskyard.cascade (task_id, kind) VALUES ('{0}', 1), ('{1}', 2), ('{2}', 0)",
                parents[0], parents[1], parents[2]
            ),
        );
        let free = |at: usize| families[at].iter().copied().filter(|id| !bad.contains(id)).collect::<Vec<TaskId>>();
        until!(store, &free(0), Some(TaskState::Failed), store.cascade());
        until!(store, &free(1), Some(TaskState::Cancelled), store.cascade());
        until!(store, &free(2), Some(TaskState::Enqueued), store.cascade());
        assert_eq!(states(&store, &bad).await, [Some(TaskState::Waiting); 4]);
        assert_eq!(store.cascade().await.unwrap().tasks, 0, "they are left alone for a while");
        until_shown!(store, "not this one", store.cascade());
        accept(&url);
        until!(store, &bad[..3], Some(TaskState::Failed), store.cascade());
        until!(store, &bad[3..], Some(TaskState::Cancelled), store.cascade());
        assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.cascade"), "0");
        let _ = host;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_children_that_may_not_change_stop_no_others() {
    for deferred in [false, true] {
        let (store, url) = yard::fresh_with_address().await;
        let parent = done(&store, tasks(1)).await[0];
        let add = |kind: &str, count: usize| {
            let sql = format!(
                "SELECT string_agg(taskyard.enqueue('{kind}', parents => ARRAY['{parent}'::uuid])::text, ' ')
                 FROM generate_series(1, {count})"
            );
            let found = shared().psql_in(&url, &sql);
            found.split(' ').map(|id| id.parse().unwrap()).collect::<Vec<TaskId>>()
        };
        // More than one step looks at, in front of the others; and some that are locked.
        let bad = add("bad::kind", 250);
        let held = add("held::kind", 250);
        let others = add("a::b", 50);
        refuse(&url, deferred, "new.kind = 'bad::kind'");
        let by_row = locked(&url, "SELECT FROM taskyard.task WHERE kind = 'held::kind' FOR UPDATE").await;
        until!(store, &others, Some(TaskState::Enqueued), store.settle());
        drop(by_row);
        until!(store, &held, Some(TaskState::Enqueued), store.settle());
        assert!(states(&store, &bad).await.iter().all(|state| *state == Some(TaskState::Waiting)));
        until_shown!(store, "not this one", store.settle());
        accept(&url);
        until!(store, &bad, Some(TaskState::Enqueued), store.settle());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_a_foreign_key_keeps_stop_no_removal_by_number() {
    let (store, url) = yard::fresh_with_address().await;
    let ids = done(&store, tasks(1_200)).await;
    let dead = added(&store, tasks(1_200)).await;
    let mut oldest = [ids.clone(), dead.clone()];
    oldest.iter_mut().for_each(|ids| ids.sort());
    let keep =
        |ids: &[TaskId]| format!("SELECT id FROM taskyard.task WHERE id BETWEEN '{}' AND '{}'", ids[0], ids[999]);
    shared().psql_in(
        &url,
        &format!(
            "UPDATE taskyard.task SET state = 5 WHERE state = 1; DELETE FROM taskyard.ready;
             UPDATE taskyard.task SET finished_at = now() - interval '1 hour';
             INSERT INTO taskyard.dead (task_id, at) SELECT id, finished_at FROM taskyard.task WHERE state = 5
                 ON CONFLICT (task_id) DO UPDATE SET at = excluded.at;
             CREATE TABLE public.orders (task uuid REFERENCES taskyard.task (id));
             INSERT INTO public.orders {}; INSERT INTO public.orders {}",
            keep(&oldest[0]),
            keep(&oldest[1])
        ),
    );
    let retention = Retention { done_count: 10, failed_count: 10, ..Retention::default() };
    let free = |at: usize| oldest[at][1_000..1_190].to_vec();
    until!(store, &free(0), None, store.prune_surplus(&retention));
    until!(store, &free(1), None, store.prune_surplus(&retention));
    shared().psql_in(&url, "DROP TABLE public.orders");
    let kept: Vec<TaskId> = oldest.iter().flat_map(|ids| ids[..1_000].to_vec()).collect();
    until!(store, &kept, None, store.prune_surplus(&retention));
    assert!(states(&store, &oldest[0][1_190..]).await.iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_tasks_whose_time_is_over_keep_upkeep_from_nothing() {
    let (store, url) = yard::fresh_with_address().await;
    let ids = added(&store, (0..1_200).map(|_| expiring(SOON)).collect()).await;
    let by_row = locked(&url, "SELECT FROM taskyard.task FOR UPDATE").await;
    // It is soon over, though nothing can be done.
    for _ in 0..3 {
        store.promote().await.unwrap();
    }
    let later = added(&store, vec![expiring(SOON), delayed(SOON)]).await;
    until!(store, &later[..1], Some(TaskState::Cancelled), store.promote());
    until!(store, &later[1..], Some(TaskState::Enqueued), store.promote());
    assert!(!store.promote().await.unwrap().more);
    drop(by_row);
    until!(store, &ids, Some(TaskState::Cancelled), store.promote());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_behind_a_backlog_stops_no_other_claim() {
    let (store, url) = yard::fresh_with_address().await;
    let paused = NewTask { queue: "paused".into(), ..tasks(1).remove(0) };
    added(&store, (0..5_100).map(|_| NewTask { id: TaskId::generate(), ..paused.clone() }).collect()).await;
    store.set_paused("paused", true).await.unwrap();
    let ids = added(&store, tasks(10)).await;
    refuse(&url, false, &format!("new.id = '{}'", ids[4]));
    let host = server();
    store.server_enter(&host).await.unwrap();
    assert_eq!(store.claim(&request(host.id, 100)).await.unwrap().tasks.len(), 9);
}

/// A trigger that returns no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_a_trigger_skips_is_tried_again_and_shown() {
    let (store, url) = yard::fresh_with_address().await;
    let ids = added(&store, tasks(10)).await;
    let sql = format!(
        "CREATE FUNCTION public.skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER skip BEFORE UPDATE ON taskyard.task FOR EACH ROW
             WHEN (new.id = '{}' AND new.state > 0) EXECUTE FUNCTION public.skip()",
        ids[3]
    );
    shared().psql_in(&url, &sql);
    let host = server();
    store.server_enter(&host).await.unwrap();
    assert_eq!(store.claim(&request(host.id, 10)).await.unwrap().tasks.len(), 9);
    until_shown!(store, "a trigger skips its start", store.promote());
    assert_eq!(states(&store, &ids[3..4]).await, [Some(TaskState::Waiting)]);
    shared().psql_in(&url, "UPDATE taskyard.waiting SET run_at = now()");
    assert_eq!(store.promote().await.unwrap().enqueued, 0);
    shared().psql_in(&url, "DROP TRIGGER skip ON taskyard.task; UPDATE taskyard.waiting SET run_at = now()");
    until!(store, &ids[3..4], Some(TaskState::Enqueued), store.promote());
    let again = store.claim(&request(host.id, 10)).await.unwrap().tasks;
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), ids[3..4]);
}
