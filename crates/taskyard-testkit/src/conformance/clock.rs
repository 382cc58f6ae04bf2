//! Time is the database's, and tests can move it: the clock of a process decides nothing.

use std::time::Duration;

use taskyard_core::store::TestClock;
use taskyard_core::{TaskState, Timestamp};

use super::Harness;
use crate::factory::{LEASE, delayed, expiring, task};

const HOUR_MICROS: i64 = 3_600_000_000;

/// Asserts that the database's clock is ahead of this process's by this much, with a tolerance for a slow machine.
async fn assert_ahead(harness: &Harness, micros: i64) {
    let ours = Timestamp::now().as_microsecond();
    let theirs = harness.store.now().await.unwrap().as_microsecond();
    let off = theirs - ours - micros;
    assert!(off.abs() < 30_000_000, "off by {off} µs");
}

pub(super) async fn it_runs_by_itself(harness: Harness) {
    let first = harness.store.now().await.unwrap();
    assert_ahead(&harness, 0).await;
    let mut second = first;
    for _ in 0..10_000 {
        second = harness.store.now().await.unwrap();
        if second > first {
            return;
        }
    }
    panic!("it stands at {second}");
}

pub(super) async fn it_can_be_moved_and_reset(harness: Harness) {
    for offset in [HOUR_MICROS, -HOUR_MICROS, 10 * 365 * 24 * HOUR_MICROS] {
        harness.store.set_clock(TestClock::Offset(offset)).await.unwrap();
        assert_ahead(&harness, offset).await;
    }
    harness.store.set_clock(TestClock::Real).await.unwrap();
    assert_ahead(&harness, 0).await;
}

pub(super) async fn it_can_stand_still(harness: Harness) {
    let at = Timestamp::from_microsecond(1_900_000_000_123_456).unwrap();
    harness.store.set_clock(TestClock::Frozen(at)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(harness.store.now().await.unwrap(), at, "to the microsecond");
    }
    let record = harness.record(harness.add(task()).await).await;
    assert_eq!(record.created_at, at);
    harness.store.set_clock(TestClock::Real).await.unwrap();
    assert_ahead(&harness, 0).await;
}

/// A host whose clock is an hour off is equivalent to a database whose clock is an hour off.
pub(super) async fn a_skewed_host_changes_nothing(harness: Harness) {
    for offset in [-HOUR_MICROS, HOUR_MICROS] {
        harness.store.set_clock(TestClock::Offset(offset)).await.unwrap();
        let now = harness.freeze().await;
        let server = harness.server().await;
        let timed = harness.add(delayed(Duration::from_secs(10))).await;
        let mortal = harness.add(expiring(Duration::from_secs(20))).await;
        assert_eq!(server.claim_one().await.id, mortal, "only the one without a delay is runnable");
        assert!(server.claim(1).await.is_empty());
        assert_eq!(harness.record(timed).await.run_at, Some(now + Duration::from_secs(10)));
        assert_eq!(harness.promote().await.enqueued, 0);
        harness.advance(Duration::from_secs(10)).await;
        assert_eq!(harness.promote().await.enqueued, 1);
        assert_eq!(server.claim_one().await.id, timed);
        assert!(!harness.beat_of(server.id).await.lapsed);
        harness.advance(LEASE).await;
        assert_eq!(harness.rescue(server.id).await, 2);
        harness.store.cancel(&[timed, mortal]).await.unwrap();
    }
}

pub(super) async fn a_jump_ahead_makes_things_due(harness: Harness) {
    let id = harness.add(delayed(Duration::from_secs(3_600))).await;
    harness.assert_state(id, TaskState::Waiting).await;
    harness.store.set_clock(TestClock::Offset(HOUR_MICROS + 1_000_000)).await.unwrap();
    assert_eq!(harness.promote().await.enqueued, 1);
    harness.assert_state(id, TaskState::Enqueued).await;
}
