//! Upkeep and claims skip tasks whose change the database refuses (because of a constraint or a trigger of the
//! application).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use taskyard_core::store::{Finish, Outcome, Retention, Store};
use taskyard_core::{Error, NewTask, TaskId, TaskState};
use taskyard_testkit::factory::{child_of, delayed, expiring, failure, request, server, tasks};
use taskyard_testkit::postgres::shared;

use steps::*;

#[macro_use]
mod steps;
mod harness;

/// A constraint or a trigger of the application.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_expiry_or_removal_stops_no_other_and_is_shown() {
    for (deferrable, code) in [("", "P0001"), ("", "23514"), ("", "57P01"), ("DEFERRABLE INITIALLY DEFERRED", "P0001")]
    {
        let (store, url) = harness::fresh_with_address().await;
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

/// Rows of the application reference the tasks that they wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_foreign_key_keeps_stops_no_removal() {
    let (store, url) = harness::fresh_with_address().await;
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
    // Tasks with auto-remove, whose minute is over.
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

/// A constraint or a trigger of the application that forbids starting a task, or changing it at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_of_an_attempt_stops_no_other_claim_and_is_shown() {
    for (timing, what, code) in [
        ("", "new.state = 2 AND ", "P0001"),
        ("", "", "23514"),
        ("", "new.state = 2 AND ", "57P01"),
        ("DEFERRABLE INITIALLY DEFERRED", "new.state = 2 AND ", "08006"),
        ("DEFERRABLE INITIALLY DEFERRED", "", "P0001"),
    ] {
        let (store, url) = harness::fresh_with_address().await;
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
        // After an error code of the connection, the session that was given up may hold its locks for a moment.
        for _ in 0..100 {
            if claimed.as_ref().is_ok_and(|reply| !reply.tasks.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            claimed = store.claim(&request(host.id, 10)).await;
        }
        assert_eq!(claimed.unwrap().tasks.len(), 8, "{timing} {what} {code}");
        assert!(store.claim(&request(host.id, 10)).await.unwrap().tasks.is_empty());
        until_shown!(store, "not this one", store.promote());
        // The task runs once nothing blocks it.
        shared().psql_in(&url, "DROP TRIGGER refuse ON taskyard.task; UPDATE taskyard.waiting SET run_at = now()");
        store.promote().await.unwrap();
        let again: Vec<TaskId> =
            store.claim(&request(host.id, 10)).await.unwrap().tasks.iter().map(|task| task.id).collect();
        assert_eq!(again, bad, "{timing} {what} {code}");
        assert!(store.claim(&request(host.id, 10)).await.unwrap().tasks.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_may_not_change_stops_the_rescue_of_no_other() {
    for deferred in [false, true] {
        let (store, url) = harness::fresh_with_address().await;
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
        let (store, url) = harness::fresh_with_address().await;
        let parents = added(&store, tasks(3)).await;
        let mut families = Vec::new();
        for parent in &parents {
            // More children than one step processes.
            families.push(added(&store, (0..1_500).map(|_| child_of(&[*parent])).collect()).await);
        }
        families.iter_mut().for_each(|family| family.sort());
        // In the first step for two parents, and in the last for one.
        let bad = [families[0][7], families[0][8], families[0][1_499], families[1][0]];
        refuse(&url, deferred, &format!("new.id IN ('{}', '{}', '{}', '{}')", bad[0], bad[1], bad[2], bad[3]));
        let (host, _) = holder(&store, 3).await;
        store.cancel(&[parents[1]]).await.unwrap();
        // The cascades that are left to the step of upkeep.
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
        let (store, url) = harness::fresh_with_address().await;
        let parent = done(&store, tasks(1)).await[0];
        let add = |kind: &str, count: usize| {
            let sql = format!(
                "SELECT string_agg(taskyard.enqueue('{kind}', parents => ARRAY['{parent}'::uuid])::text, ' ')
                 FROM generate_series(1, {count})"
            );
            let found = shared().psql_in(&url, &sql);
            found.split(' ').map(|id| id.parse().unwrap()).collect::<Vec<TaskId>>()
        };
        // More than one step checks, before the others; and some that are locked.
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
    let (store, url) = harness::fresh_with_address().await;
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
async fn a_refused_start_behind_a_backlog_stops_no_other_claim() {
    let (store, url) = harness::fresh_with_address().await;
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
    let (store, url) = harness::fresh_with_address().await;
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

/// A trigger that returns no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_change_is_refused_or_skipped_keeps_no_parent_from_its_end() {
    for body in ["RAISE EXCEPTION 'not this one'", "RETURN NULL"] {
        let (store, url) = harness::fresh_with_address().await;
        let parents = added(&store, tasks(2)).await;
        let keeps = [
            added(&store, vec![child_of(&parents[..1])]).await[0],
            added(&store, vec![child_of(&parents[1..])]).await[0],
        ];
        let sql = format!(
            "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
             CREATE TRIGGER keep BEFORE UPDATE ON taskyard.task FOR EACH ROW
                 WHEN (new.id IN ('{}', '{}')) EXECUTE FUNCTION public.keep()",
            keeps[0], keeps[1]
        );
        shared().psql_in(&url, &sql);
        let host = server();
        store.server_enter(&host).await.unwrap();
        let claimed = store.claim(&request(host.id, 2)).await.unwrap().tasks;
        for task in claimed {
            let outcome = match task.id == parents[0] {
                true => Outcome::Done { result: b"1".to_vec() },
                false => Outcome::Failed(failure("on purpose")),
            };
            let end = Finish { id: task.id, token: task.token, outcome, context: None, logs: Vec::new() };
            store.finish(&[end], &[]).await.unwrap();
        }
        assert_eq!(states(&store, &parents).await, [Some(TaskState::Done), Some(TaskState::Failed)], "{body}");
        until_shown!(store, "tell", store.cascade());
        assert_eq!(states(&store, &keeps).await, [Some(TaskState::Waiting); 2], "{body}");
        shared().psql_in(&url, "DROP TRIGGER keep ON taskyard.task; UPDATE taskyard.cascade SET not_before = now()");
        until!(store, &keeps[..1], Some(TaskState::Enqueued), store.cascade());
        until!(store, &keeps[1..], Some(TaskState::Failed), store.cascade());
    }
}

/// As many as a step has time for, again and again: refused tasks at the front must not be the only ones that are ever
/// tried.
#[tokio::test(flavor = "multi_thread")]
async fn slow_refusals_in_front_stop_nothing_behind_them() {
    let (store, url) = harness::fresh_with_address().await;
    let parents = added(&store, tasks(2)).await;
    let mut slow = added(&store, (0..100).map(|_| child_of(&parents[..1])).collect()).await;
    slow.sort();
    let other = added(&store, vec![child_of(&parents[1..])]).await;
    let condition = format!("new.id BETWEEN '{}' AND '{}' AND new.kind = 'slow::kind'", slow[0], slow[89]);
    shared().psql_in(
        &url,
        &format!(
            "UPDATE taskyard.task SET kind = 'slow::kind' WHERE id BETWEEN '{0}' AND '{1}' AND state = 0;
             CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_sleep(0.02);
                 RAISE EXCEPTION 'not this one';
             END $$;
             CREATE TRIGGER slow BEFORE UPDATE ON taskyard.task FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION public.slow();
             UPDATE taskyard.task SET state = 5, finished_at = now() WHERE id IN ('{2}', '{3}');
             DELETE FROM taskyard.ready;
             INSERT INTO taskyard.cascade (task_id, kind) VALUES ('{2}', 1), ('{3}', 1)",
            slow[0], slow[89], parents[0], parents[1]
        ),
    );
    until!(store, &other, Some(TaskState::Failed), store.cascade());
    until!(store, &slow[90..], Some(TaskState::Failed), store.cascade());
    assert!(states(&store, &slow[..90]).await.iter().all(|state| *state == Some(TaskState::Waiting)));
}
