//! Invariants of every task at any moment, read through the store's own methods.
//!
//! [`check_invariants`] ends every case: each row is consistent in itself, the statistics agree with the rows, and
//! enqueued tasks really can be claimed. The last step claims them, so it runs when a case is over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{ClaimRequest, TaskFilter};
use taskyard_core::task::AttemptOutcome;
use taskyard_core::{Store, TaskId, TaskRecord, TaskState, WaitReason};

use crate::factory;

/// Maximum number of tasks whose attempts are checked: reading attempts is one call per task.
const ATTEMPTS_LOOKED_AT_MAX: usize = 100;

/// Asserts the invariants of any store at rest: no task in limbo, none that contradicts itself, statistics that add up.
///
/// Resumes every queue and claims all enqueued tasks.
///
/// # Panics
/// If an invariant does not hold.
pub async fn check_invariants(store: &Arc<dyn Store>) {
    let records = all(store).await;
    let by_id: HashMap<TaskId, &TaskRecord> = records.iter().map(|record| (record.id, record)).collect();
    assert_eq!(by_id.len(), records.len(), "a task is listed twice");
    for record in &records {
        check_row(record);
        check_parents(record, &by_id);
    }
    check_owners(store, &records).await;
    check_attempts(store, &records).await;
    check_figures(store, &records).await;
    check_claimable(store, &records).await;
}

async fn all(store: &Arc<dyn Store>) -> Vec<TaskRecord> {
    let mut records: Vec<TaskRecord> = Vec::new();
    loop {
        let before = records.last().map(|record| record.id);
        let page = store
            .list(&TaskFilter { limit: 5_000, before, ..TaskFilter::default() })
            .await
            .expect("tasks can be listed");
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

fn check_row(record: &TaskRecord) {
    let row = format!("{record:#?}");
    let state = record.state;
    assert_eq!(record.wait_reason.is_some(), state == TaskState::Waiting, "a reason if and only if it waits: {row}");
    match record.wait_reason {
        Some(WaitReason::Time | WaitReason::Retry) => assert!(record.run_at.is_some(), "waits for no time: {row}"),
        Some(WaitReason::Parents) => assert!(!record.parents.is_empty(), "waits for no parent: {row}"),
        Some(WaitReason::Parked) => assert!(record.waiting_for.is_some(), "parked for no reason: {row}"),
        Some(WaitReason::Unsettled) | None => {}
    }
    assert_eq!(record.finished_at.is_some(), state.is_final(), "an end if and only if it is final: {row}");
    if state == TaskState::Doing {
        assert!(record.started_at.is_some() && record.server.is_some(), "runs nowhere: {row}");
        assert!(record.attempt >= 1, "runs without an attempt: {row}");
    } else {
        assert!(!record.cancel_requested && !record.stop_requested, "a request outlived its attempt: {row}");
    }
    assert_eq!(record.result.is_some(), state == TaskState::Done, "a result if and only if done: {row}");
    if matches!(state, TaskState::Failed) {
        assert!(record.error.is_some(), "failed for no reason: {row}");
    }
    if record.fallen_from.is_some() {
        assert!(matches!(state, TaskState::Failed | TaskState::Cancelled), "fallen, but not down: {row}");
    }
    assert!(record.crashes <= taskyard_core::store::CRASHES_MAX, "ran on after its last crash: {row}");
    for instant in [record.started_at, record.finished_at].into_iter().flatten() {
        assert!(instant >= record.created_at, "something happened before it was added: {row}");
    }
}

/// A task that waits for parents has one that can still end, or that can be retried.
fn check_parents(record: &TaskRecord, by_id: &HashMap<TaskId, &TaskRecord>) {
    if record.wait_reason != Some(WaitReason::Parents) {
        return;
    }
    let open = record.parents.iter().filter_map(|parent| by_id.get(parent)).any(|parent| match parent.state {
        TaskState::Done => false,
        TaskState::Failed | TaskState::Cancelled => record.on_parent_failure == OnParentFailure::Wait,
        _ => true,
    });
    assert!(open, "all parents are over and it still waits: {record:#?}");
}

/// A running task is on a server that is not known to be dead.
async fn check_owners(store: &Arc<dyn Store>, records: &[TaskRecord]) {
    let known: HashMap<_, _> =
        store.beats().await.expect("beats can be read").into_iter().map(|beat| (beat.server, beat.dead)).collect();
    for record in records.iter().filter(|record| record.state == TaskState::Doing) {
        let server = record.server.expect("checked before");
        // An attempt whose end is set aside has ended, whatever its row says.
        let aside = store.ends_aside(Some(&[record.id]), None, 1).await.expect("ends can be read");
        assert!(!aside.is_empty() || known.get(&server) == Some(&false), "runs on a server that is gone: {record:#?}");
    }
}

async fn check_attempts(store: &Arc<dyn Store>, records: &[TaskRecord]) {
    for record in records.iter().take(ATTEMPTS_LOOKED_AT_MAX) {
        let attempts = store.attempts(record.id).await.expect("attempts can be read");
        let row = format!("{record:#?} {attempts:#?}");
        assert!(attempts.windows(2).all(|pair| pair[0].number < pair[1].number), "attempts out of order: {row}");
        assert!(attempts.iter().all(|attempt| attempt.number <= record.attempt), "an attempt too many: {row}");
        let running = attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Doing).count();
        assert_eq!(running, usize::from(record.state == TaskState::Doing), "running attempts: {row}");
        let failed = attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Failed).count();
        assert!(record.failures as usize <= failed, "a failure without an attempt: {row}");
    }
}

async fn check_figures(store: &Arc<dyn Store>, records: &[TaskRecord]) {
    let mut by_state = [0_u64; 7];
    let mut by_queue: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for record in records {
        by_state[usize::try_from(record.state.code()).expect("codes are small")] += 1;
        let queue = by_queue.entry(&record.queue).or_default();
        match record.state {
            TaskState::Enqueued => queue[0] += 1,
            TaskState::Waiting => queue[1] += 1,
            TaskState::Doing => queue[2] += 1,
            _ => {}
        }
    }
    let status = store.status().await.expect("the status can be read");
    assert_eq!(status.by_state, by_state, "by state, in the order of TaskState::ALL");
    let parked = records.iter().filter(|record| record.wait_reason == Some(WaitReason::Parked)).count();
    assert_eq!(status.parked, parked as u64, "parked tasks");
    assert_eq!(status.misplaced, 0, "tasks that stand in no range");
    for queue in store.queues().await.expect("queues can be read") {
        let counted = by_queue.remove(queue.name.as_str()).unwrap_or_default();
        assert_eq!([queue.enqueued, queue.waiting, queue.doing], counted, "figures of queue {}", queue.name);
    }
    by_queue.retain(|_, counts| *counts != [0; 3]);
    assert!(by_queue.is_empty(), "queues with tasks that are not shown: {by_queue:?}");
}

/// Every enqueued task is claimed once by a new server, and no other task is.
async fn check_claimable(store: &Arc<dyn Store>, records: &[TaskRecord]) {
    for queue in store.queues().await.expect("queues can be read") {
        store.set_paused(&queue.name, false).await.expect("a queue can be resumed");
        store.set_limit(&queue.name, None).await.expect("a limit can be lifted");
        store.set_rate(&queue.name, None).await.expect("a rate can be lifted");
    }
    let server = factory::server();
    store.server_enter(&server).await.expect("a server can enter");
    let mut claimed = HashSet::new();
    for runtime in [Runtime::Rust, Runtime::Python] {
        for alone in [false, true] {
            let limit = if alone { 1 } else { 1_000 };
            loop {
                let request = ClaimRequest { runtime, alone, ..factory::request(server.id, limit) };
                let reply = store.claim(&request).await.expect("claim answers");
                if reply.tasks.is_empty() {
                    break;
                }
                for task in reply.tasks {
                    assert!(claimed.insert(task.id), "{} was claimed twice", task.id);
                    assert_eq!(task.alone, alone, "{} came from the wrong lane", task.id);
                }
            }
        }
    }
    let enqueued: HashSet<TaskId> =
        records.iter().filter(|record| record.state == TaskState::Enqueued).map(|record| record.id).collect();
    let limbo: Vec<_> = enqueued.difference(&claimed).take(10).collect();
    assert!(limbo.is_empty(), "enqueued, but no claim finds them: {limbo:?}");
    let stray: Vec<_> = claimed.difference(&enqueued).take(10).collect();
    assert!(stray.is_empty(), "claimed, but not enqueued: {stray:?}");
}
