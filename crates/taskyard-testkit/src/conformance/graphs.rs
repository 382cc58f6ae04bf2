//! Large graphs: long chains, wide fans, wide joins, in bounded steps that any server can continue.

use taskyard_core::store::CASCADE_INLINE_MAX;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskState, WaitReason};

use super::Harness;
use crate::factory::{chain, child_of, ids, task, tasks};

const CHAIN: usize = 2_000;
const FAN: usize = 5_000;

fn fan(parent: taskyard_core::TaskId) -> Vec<NewTask> {
    (0..FAN).map(|_| child_of(&[parent])).collect()
}

pub(super) async fn a_long_chain_is_done_link_by_link(harness: Harness) {
    let server = harness.server().await;
    let links = harness.add_all(&chain(CHAIN)).await;
    for link in &links {
        let claimed = server.claim(10).await;
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [*link]);
        server.done(&claimed[0]).await;
    }
    assert_eq!(harness.count(&links, TaskState::Done).await, CHAIN);
}

pub(super) async fn a_failure_runs_down_a_long_chain(harness: Harness) {
    let server = harness.server().await;
    let links = harness.add_all(&chain(CHAIN)).await;
    server.fail(&server.claim_one().await).await;
    harness.cascade().await;
    assert_eq!(harness.count(&links, TaskState::Failed).await, CHAIN);
    assert_eq!(harness.record(links[CHAIN - 1]).await.fallen_from, Some(links[0]));
}

pub(super) async fn a_long_chain_gets_up_again(harness: Harness) {
    let server = harness.server().await;
    let links = harness.add_all(&chain(CHAIN)).await;
    server.fail(&server.claim_one().await).await;
    harness.cascade().await;
    harness.retry(links[0]).await;
    harness.cascade().await;
    harness.assert_state(links[0], TaskState::Enqueued).await;
    assert_eq!(harness.count(&links, TaskState::Waiting).await, CHAIN - 1);
    harness.assert_waits(links[CHAIN - 1], WaitReason::Parents).await;
}

pub(super) async fn a_cancel_runs_down_a_long_chain(harness: Harness) {
    let links = harness.add_all(&chain(CHAIN)).await;
    harness.cancel(links[0]).await;
    harness.cascade().await;
    assert_eq!(harness.count(&links, TaskState::Cancelled).await, CHAIN);
}

pub(super) async fn a_wide_fan_is_released(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let children = harness.add_many(&fan(parent.id)).await;
    server.done(&parent).await;
    harness.cascade().await;
    assert_eq!(harness.count(&children, TaskState::Enqueued).await, FAN);
    let mut claimed = Vec::new();
    loop {
        let part = server.claim(1_000).await;
        if part.is_empty() {
            break;
        }
        claimed.extend(part.iter().map(|task| task.id));
    }
    assert_eq!(claimed, children, "in the order in which they were added");
}

pub(super) async fn a_wide_fan_falls(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let children = harness.add_many(&fan(parent.id)).await;
    server.fail(&parent).await;
    harness.cascade().await;
    assert_eq!(harness.count(&children, TaskState::Failed).await, FAN);
}

/// The finishing server dies right after its commit: only the cascade row is left, and it suffices.
pub(super) async fn a_cascade_is_worked_off_by_another_server(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let children = harness.add_many(&fan(parent.id)).await;
    server.fail(&parent).await;
    let at_once = harness.count(&children, TaskState::Failed).await;
    assert!(at_once <= CASCADE_INLINE_MAX + 1, "the finishing transaction is bounded: {at_once}");
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let harness = harness.clone();
        workers.spawn(async move { harness.cascade().await });
    }
    workers.join_all().await;
    harness.cascade().await;
    assert_eq!(harness.count(&children, TaskState::Failed).await, FAN);
}

pub(super) async fn a_cascade_goes_in_bounded_steps(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    harness.add_many(&fan(parent.id)).await;
    server.done(&parent).await;
    for _ in 0..100 {
        let report = harness.store.cascade().await.unwrap();
        assert!(report.tasks <= 2 * taskyard_core::store::STEP_ROWS_MAX, "{report:?}");
        if !report.more {
            return;
        }
    }
    panic!("it never ends");
}

/// A child that is added during a cascade is decided at once, by the parent's state.
pub(super) async fn a_child_added_during_a_cascade_is_not_lost(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    harness.add_many(&fan(parent.id)).await;
    server.done(&parent).await;
    let late = harness.add(child_of(&[parent.id])).await;
    harness.assert_state(late, TaskState::Enqueued).await;
    harness.cascade().await;
}

pub(super) async fn a_wide_join_fires_once(harness: Harness) {
    let server = harness.server().await;
    let parents = tasks(2_000);
    let child = child_of(&ids(&parents));
    harness.add_all(&[parents.clone(), vec![child.clone()]].concat()).await;
    let mut open = 2_000;
    while open > 0 {
        harness.assert_waits(child.id, WaitReason::Parents).await;
        let claimed = server.claim(300).await;
        open -= claimed.len();
        server.done_all(&claimed).await;
    }
    harness.assert_state(child.id, TaskState::Enqueued).await;
    assert_eq!(server.claim(10).await.len(), 1);
    let results = harness.store.parent_results(child.id).await.unwrap();
    assert_eq!(results.iter().map(|result| result.id).collect::<Vec<_>>(), ids(&parents));
}

/// Layers of 100, each task a child of the whole layer above: 20,000 edges.
pub(super) async fn dense_layers_go_through(harness: Harness) {
    let server = harness.server().await;
    let mut above: Vec<NewTask> = tasks(100);
    harness.add_all(&above).await;
    for _ in 0..2 {
        let parents = ids(&above);
        above = (0..100).map(|_| child_of(&parents)).collect();
        harness.add_all(&above).await;
    }
    for _ in 0..3 {
        harness.cascade().await;
        let claimed = server.claim(1_000).await;
        assert_eq!(claimed.len(), 100);
        server.done_all(&claimed).await;
    }
    assert_eq!(harness.count(&ids(&above), TaskState::Done).await, 100);
}
