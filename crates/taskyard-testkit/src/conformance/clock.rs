//! Time is the database's, and tests can move it: the clock of a process decides nothing.

use std::time::Duration;

use taskyard_core::store::TestClock;
use taskyard_core::{TaskState, Timestamp};

use super::Yard;
use crate::factory::{LEASE, delayed, expiring, task};

const HOUR_MICROS: i64 = 3_600_000_000;

/// Asserts that the database's clock is ahead of this process's by this much, with a tolerance for a slow machine.
async fn assert_ahead(yard: &Yard, micros: i64) {
    let ours = Timestamp::now().as_microsecond();
    let theirs = yard.store.now().await.unwrap().as_microsecond();
    let off = theirs - ours - micros;
    assert!(off.abs() < 30_000_000, "off by {off} µs");
}

pub(super) async fn it_runs_by_itself(yard: Yard) {
    let first = yard.store.now().await.unwrap();
    assert_ahead(&yard, 0).await;
    let mut second = first;
    for _ in 0..10_000 {
        second = yard.store.now().await.unwrap();
        if second > first {
            return;
        }
    }
    panic!("it stands at {second}");
}

pub(super) async fn it_can_be_moved_and_reset(yard: Yard) {
    for offset in [HOUR_MICROS, -HOUR_MICROS, 10 * 365 * 24 * HOUR_MICROS] {
        yard.store.set_clock(TestClock::Offset(offset)).await.unwrap();
        assert_ahead(&yard, offset).await;
    }
    yard.store.set_clock(TestClock::Real).await.unwrap();
    assert_ahead(&yard, 0).await;
}

pub(super) async fn it_can_stand_still(yard: Yard) {
    let at = Timestamp::from_microsecond(1_900_000_000_123_456).unwrap();
    yard.store.set_clock(TestClock::Frozen(at)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(yard.store.now().await.unwrap(), at, "to the microsecond");
    }
    let record = yard.record(yard.add(task()).await).await;
    assert_eq!(record.created_at, at);
    yard.store.set_clock(TestClock::Real).await.unwrap();
    assert_ahead(&yard, 0).await;
}

/// A host whose clock is an hour off is equivalent to a database whose clock is an hour off.
pub(super) async fn a_skewed_host_changes_nothing(yard: Yard) {
    for offset in [-HOUR_MICROS, HOUR_MICROS] {
        yard.store.set_clock(TestClock::Offset(offset)).await.unwrap();
        let now = yard.freeze().await;
        let server = yard.server().await;
        let timed = yard.add(delayed(Duration::from_secs(10))).await;
        let mortal = yard.add(expiring(Duration::from_secs(20))).await;
        assert_eq!(server.claim_one().await.id, mortal, "only the one without a delay is runnable");
        assert!(server.claim(1).await.is_empty());
        assert_eq!(yard.record(timed).await.run_at, Some(now + Duration::from_secs(10)));
        assert_eq!(yard.promote().await.enqueued, 0);
        yard.advance(Duration::from_secs(10)).await;
        assert_eq!(yard.promote().await.enqueued, 1);
        assert_eq!(server.claim_one().await.id, timed);
        assert!(!yard.beat_of(server.id).await.lapsed);
        yard.advance(LEASE).await;
        assert_eq!(yard.rescue(server.id).await, 2);
        yard.store.cancel(&[timed, mortal]).await.unwrap();
    }
}

pub(super) async fn a_jump_ahead_makes_things_due(yard: Yard) {
    let id = yard.add(delayed(Duration::from_secs(3_600))).await;
    yard.assert_state(id, TaskState::Waiting).await;
    yard.store.set_clock(TestClock::Offset(HOUR_MICROS + 1_000_000)).await.unwrap();
    assert_eq!(yard.promote().await.enqueued, 1);
    yard.assert_state(id, TaskState::Enqueued).await;
}
