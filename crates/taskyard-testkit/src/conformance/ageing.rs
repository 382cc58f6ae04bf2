//! Ageing queues: a task that has waited long moves up, so that none waits forever behind more urgent ones.

use std::time::Duration;

use taskyard_core::store::{Outcome, STEP_ROWS_MAX, TaskFilter};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::{Harness, TestServer};
use crate::factory::{in_queue, of_priority};

const MINUTE: Duration = Duration::from_secs(60);

fn of(queue: &str, priority: i32) -> NewTask {
    NewTask { priority, ..in_queue(queue) }
}

async fn age(harness: &Harness) -> usize {
    let mut sum = 0;
    for _ in 0..1_000 {
        let report = harness.store.age().await.unwrap();
        assert!(report.tasks <= STEP_ROWS_MAX, "{report:?}");
        sum += report.tasks;
        if !report.more {
            return sum;
        }
    }
    panic!("ageing never ends");
}

/// Returns the order in which a new server claims the tasks; the lease of an earlier server may be over.
async fn order(harness: &Harness) -> Vec<TaskId> {
    let server: TestServer = harness.server().await;
    let mut ids = Vec::new();
    // One by one, each from where the last one stopped.
    while let Some(claimed) = server.claim(1).await.pop() {
        ids.push(claimed.id);
    }
    ids
}

pub(super) async fn nothing_ages_unless_it_is_told(harness: Harness) {
    harness.freeze().await;
    let low = harness.add(of_priority(0)).await;
    harness.store.set_ageing("other", Some(MINUTE)).await.unwrap();
    harness.advance(100 * MINUTE).await;
    assert_eq!(age(&harness).await, 0);
    assert_eq!(harness.store.age().await.unwrap().next_due, None);
    let high = harness.add(of_priority(1)).await;
    assert_eq!(order(&harness).await, [high, low]);
    let queues = harness.store.queues().await.unwrap();
    assert_eq!(queues.iter().find(|queue| queue.name == "other").unwrap().ageing, Some(MINUTE));
    assert_eq!(queues.iter().find(|queue| queue.name == "default").unwrap().ageing, None);
}

pub(super) async fn what_stands_long_moves_up(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let low = harness.add(of("mail", 0)).await;
    harness.advance(MINUTE / 2).await;
    assert_eq!(harness.store.age().await.unwrap().next_due, Some(MINUTE / 2));
    harness.advance(MINUTE / 2).await;
    let equal = harness.add(of("mail", 1)).await;
    let high = harness.add(of("mail", 2)).await;
    assert_eq!(age(&harness).await, 1);
    // As high as the second now, and older; its record shows the original priority.
    assert_eq!(harness.record(low).await.priority, 0);
    assert_eq!(order(&harness).await, [high, low, equal]);
}

pub(super) async fn missed_times_count_at_once(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let low = harness.add(of("mail", -2)).await;
    harness.advance(5 * MINUTE + MINUTE / 2).await;
    let high = harness.add(of("mail", 3)).await;
    let higher = harness.add(of("mail", 4)).await;
    assert_eq!(age(&harness).await, 1);
    assert_eq!(harness.store.age().await.unwrap().next_due, Some(MINUTE / 2), "the rest of a minute is not lost");
    assert_eq!(order(&harness).await, [higher, low, high]);
}

pub(super) async fn what_was_there_before_ages_from_then_on(harness: Harness) {
    harness.freeze().await;
    let low = harness.add(of("mail", 0)).await;
    harness.advance(100 * MINUTE).await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    assert_eq!(age(&harness).await, 0);
    harness.advance(2 * MINUTE).await;
    assert_eq!(age(&harness).await, 1);
    let (two, three) = (harness.add(of("mail", 2)).await, harness.add(of("mail", 3)).await);
    // Also while its queue is paused, limited or set apart.
    harness.store.set_paused("mail", true).await.unwrap();
    harness.store.set_limit("mail", Some(10)).await.unwrap();
    while harness.store.set_apart(&["mail".into()]).await.unwrap().more {}
    harness.advance(MINUTE).await;
    assert_eq!(age(&harness).await, 3);
    harness.store.set_paused("mail", false).await.unwrap();
    assert_eq!(order(&harness).await, [three, low, two]);
}

pub(super) async fn an_aged_task_can_be_cancelled_and_moved(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let [gone, moved, other] =
        [harness.add(of("mail", 0)).await, harness.add(of("mail", 0)).await, harness.add(of("mail", 0)).await];
    let expiring = harness.add(NewTask { expires: Some(3 * MINUTE), ..of("mail", 0) }).await;
    harness.advance(3 * MINUTE).await;
    assert_eq!(age(&harness).await, 4);
    assert_eq!(harness.promote().await.expired, 1);
    harness.assert_state(expiring, TaskState::Cancelled).await;
    harness.cancel(gone).await;
    harness.assert_state(gone, TaskState::Cancelled).await;
    // The promotion by three priorities so far is kept.
    harness.store.set_priority(&[moved], -1).await.unwrap();
    assert_eq!(harness.record(moved).await.priority, -1);
    let two = harness.add(of("mail", 2)).await;
    assert_eq!(order(&harness).await, [other, moved, two]);
}

pub(super) async fn what_is_given_back_starts_anew(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let low = harness.add(of("mail", 0)).await;
    harness.advance(5 * MINUTE).await;
    age(&harness).await;
    let server = harness.server().await;
    server.finish(&server.claim_one().await, Outcome::Released).await;
    harness.assert_state(low, TaskState::Enqueued).await;
    let high = harness.add(of("mail", 1)).await;
    assert_eq!(order(&harness).await, [high, low]);
}

pub(super) async fn ageing_ends_and_all_goes_back(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let low = harness.add(of("mail", 0)).await;
    harness.advance(5 * MINUTE).await;
    let high = harness.add(of("mail", 1)).await;
    age(&harness).await;
    harness.store.set_ageing("mail", None).await.unwrap();
    assert_eq!(harness.store.age().await.unwrap().next_due, None);
    harness.advance(5 * MINUTE).await;
    assert_eq!(age(&harness).await, 0);
    assert_eq!(order(&harness).await, [high, low]);
}

pub(super) async fn ageing_goes_in_bounded_steps(harness: Harness) {
    harness.freeze().await;
    let many: Vec<NewTask> = (0..2_500).map(|_| of("mail", 0)).collect();
    harness.add_many(&many[..1_250]).await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    harness.add_many(&many[1_250..]).await;
    harness.advance(MINUTE).await;
    assert_eq!(age(&harness).await, 2_500);
    assert_eq!(age(&harness).await, 0);
}

pub(super) async fn the_highest_priority_is_the_end(harness: Harness) {
    harness.freeze().await;
    harness.store.set_ageing("mail", Some(MINUTE)).await.unwrap();
    let first = harness.add(of("mail", i32::MAX - 1)).await;
    let second = harness.add(of("mail", i32::MAX)).await;
    harness.advance(10 * MINUTE).await;
    assert_eq!(age(&harness).await, 2);
    assert_eq!(order(&harness).await, [first, second]);
}

/// Claims, ends, new priorities, ageing, cancels, pauses and limits, all at once: each task ends once.
pub(super) async fn everything_at_once_loses_nothing(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_ageing("mail", Some(Duration::from_secs(1))).await.unwrap();
    let many: Vec<NewTask> = (0..600).map(|n| of("mail", n % 7)).collect();
    let ids = harness.add_many(&many).await;
    let start = harness.store.now().await.unwrap();
    let mut left = ids.len();
    let work = async {
        let mut empty = 0;
        while left > 0 && empty < 2_000 {
            let claimed = server.claim(7).await;
            empty = if claimed.is_empty() { empty + 1 } else { 0 };
            server.done_all(&claimed).await;
            left -= claimed.len();
            if empty > 20 && harness.store.count(&enqueued()).await.unwrap() == 0 {
                break;
            }
        }
    };
    let change = async {
        for (round, part) in ids.chunks(20).enumerate() {
            let after = start.checked_add(Duration::from_secs(round as u64)).unwrap();
            harness
                .store
                .set_clock(taskyard_core::store::TestClock::Frozen(after.min(start + MINUTE / 3)))
                .await
                .unwrap();
            harness.store.set_priority(part, 9 - (round as i32 % 20)).await.unwrap();
            harness.store.cancel(&part[..1]).await.unwrap();
            harness.store.set_limit("mail", (round % 2 == 0).then_some(50)).await.unwrap();
            harness.store.set_paused("mail", round % 5 == 4).await.unwrap();
        }
        harness.store.set_paused("mail", false).await.unwrap();
        harness.store.set_limit("mail", None).await.unwrap();
    };
    let ageing = async {
        for _ in 0..60 {
            age(&harness).await;
            tokio::task::yield_now().await;
        }
        harness.store.set_ageing("mail", None).await.unwrap();
    };
    tokio::join!(work, change, ageing);
    server.done_all(&server.claim(1_000).await).await;
    assert_eq!(harness.store.count(&enqueued()).await.unwrap(), 0);
    let ended = harness.count(&ids, TaskState::Done).await + harness.count(&ids, TaskState::Cancelled).await;
    assert_eq!(ended, ids.len());
}

fn enqueued() -> TaskFilter {
    TaskFilter { states: vec![TaskState::Enqueued], ..TaskFilter::default() }
}
