//! Upkeep skips tasks that another transaction holds locked, whatever their number.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use taskyard_core::state::OnParentFailure;
use taskyard_core::store::{Finish, Outcome, Retention, Store};
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{NewTask, TaskId, TaskState};
use taskyard_testkit::factory::{child_of, delayed, expiring, request, server, tasks, unique};
use taskyard_testkit::postgres::shared;

use steps::*;

#[macro_use]
mod steps;
mod harness;

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_task_or_key_stops_no_start_and_no_expiry() {
    let (store, url) = harness::fresh_with_address().await;
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
    let (store, url) = harness::fresh_with_address().await;
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
    let (store, url) = harness::fresh_with_address().await;
    let parents = done(&store, tasks(2)).await;
    let cancelled = added(&store, vec![delayed(Duration::from_secs(3_600))]).await[0];
    store.cancel(&[cancelled]).await.unwrap();
    let child = |parent: TaskId, key: &str| {
        let sql = format!("SELECT taskyard.enqueue('a::b', parents => ARRAY['{parent}'::uuid]{key})");
        shared().psql_in(&url, &sql).parse::<TaskId>().unwrap()
    };
    // More than one step takes.
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
    let (store, url) = harness::fresh_with_address().await;
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
    let (store, url) = harness::fresh_with_address().await;
    let parents = added(&store, tasks(3)).await;
    let mut families = Vec::new();
    for parent in &parents {
        families.push(added(&store, (0..1_200).map(|_| child_of(&[*parent])).collect()).await);
    }
    let host = server();
    store.server_enter(&host).await.unwrap();
    let claimed = store.claim(&request(host.id, 3)).await.unwrap().tasks;
    // The last child of each parent is beyond those that the end itself processes.
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

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_lost_tasks_with_unique_keys_end() {
    let (store, _) = harness::fresh_with_address().await;
    let keyed = |number| NewTask { at_most_once: true, ..unique(&format!("k{number}"), UniqueHold::UntilFinished) };
    let ids = added(&store, (0..2_000).map(keyed).collect()).await;
    let (host, beat) = holder(&store, ids.len()).await;
    while store.rescue(host, beat, true).await.unwrap().more {}
    assert!(states(&store, &ids).await.iter().all(|state| *state == Some(TaskState::Failed)));
    assert!(store.beats().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_tasks_whose_time_is_over_keep_upkeep_from_nothing() {
    let (store, url) = harness::fresh_with_address().await;
    let ids = added(&store, (0..1_200).map(|_| expiring(SOON)).collect()).await;
    let by_row = locked(&url, "SELECT FROM taskyard.task FOR UPDATE").await;
    // Steps that can change nothing end in bounded time.
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

/// Working around locks reaches the same children as the normal path.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ended_before_its_parent_is_told_around_locks_too() {
    let (store, url) = harness::fresh_with_address().await;
    let parent = added(&store, vec![NewTask { at_most_once: true, ..tasks(1).remove(0) }]).await[0];
    let runs = NewTask { on_parent_failure: OnParentFailure::Run, ..child_of(&[parent]) };
    let children = added(&store, vec![runs, child_of(&[parent])]).await;
    let (host, beat) = holder(&store, 1).await;
    store.cancel(&children[..1]).await.unwrap();
    let by_row = locked(&url, &lock_of(children[1])).await;
    until!(store, &[parent], Some(TaskState::Failed), store.rescue(host, beat, true));
    store.cascade().await.unwrap();
    drop(by_row);
    until!(store, &children[1..], Some(TaskState::Failed), store.cascade());
    store.retry(&children[..1]).await.unwrap();
    until!(store, &children[..1], Some(TaskState::Enqueued), store.cascade());
}
