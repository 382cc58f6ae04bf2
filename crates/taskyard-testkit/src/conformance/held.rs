//! The tasks that a server holds according to the database, for the server to compare; and ends that the database has
//! lost.

use taskyard_core::store::{Outcome, WriteReply};
use taskyard_core::task::{AttemptOutcome, Failure, NewTask};
use taskyard_core::{ClaimId, TaskState};

use super::Harness;
use crate::factory::{request, task, tasks};

fn lost() -> Outcome {
    Outcome::Lost(Failure::new("EndLost", "the database lost how this attempt ended"))
}

pub(super) async fn what_runs_of_a_claim_is_told(harness: Harness) {
    harness.freeze().await;
    let (server, other) = (harness.server().await, harness.server().await);
    harness.add_all(&tasks(6)).await;
    let (first, second, foreign) = (request(server.id, 3), request(server.id, 2), request(other.id, 1));
    let one = server.claim_with(&first).await.tasks;
    let two = server.claim_with(&second).await.tasks;
    other.claim_with(&foreign).await;
    server.done(&one[0]).await;
    let asked = [first.claim, second.claim, foreign.claim, ClaimId::generate()];
    let mut seen = harness.store.claims_held(server.id, &asked, None).await.unwrap();
    seen.doing.sort_unstable();
    let of = |claim: ClaimId, task: &taskyard_core::store::Claimed| (claim, task.id, task.token);
    let mut expected =
        [of(first.claim, &one[1]), of(first.claim, &one[2]), of(second.claim, &two[0]), of(second.claim, &two[1])];
    expected.sort_unstable();
    assert_eq!(seen.doing, expected);
    seen.claims.sort_unstable();
    let mut claims = [first.claim, second.claim];
    claims.sort_unstable();
    assert_eq!((seen.claims.as_slice(), seen.next), (&claims[..], None));
    // Claims that are not requested are not read.
    assert!(harness.store.claims_held(server.id, &[], None).await.unwrap().doing.is_empty());
    // An end that is set aside counts as an end.
    let end = taskyard_core::store::Finish {
        id: two[0].id,
        token: two[0].token,
        outcome: Outcome::Released,
        context: None,
        logs: Vec::new(),
    };
    harness.store.end_set_aside(&end, "a trigger").await.unwrap();
    let seen = harness.store.claims_held(server.id, &[second.claim], None).await.unwrap();
    assert_eq!(seen.doing, [of(second.claim, &two[1])]);
    // A claim that is closed is deleted; one with a running task stays.
    server.done_all(&one[1..]).await;
    harness.store.finish(&[], &[first.claim]).await.unwrap();
    assert_eq!(harness.store.claims_held(server.id, &asked, None).await.unwrap().claims, [second.claim]);
}

pub(super) async fn a_page_of_claims_leads_to_the_next(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(450)).await;
    let mut claims = Vec::new();
    for _ in 0..450 {
        let request = request(server.id, 1);
        server.claim_with(&request).await;
        claims.push(request.claim);
    }
    claims.sort_unstable();
    let (mut seen, mut place, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = harness.store.claims_held(server.id, &[], place).await.unwrap();
        seen.extend(page.claims);
        pages += 1;
        place = page.next;
        if place.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (claims, 3));
}

pub(super) async fn a_lost_end_counts_as_a_lost_server(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let id = harness.add(task()).await;
    for times in 1..=3 {
        let claimed = server.claim_one().await;
        assert_eq!(server.finish(&claimed, lost()).await, WriteReply::Applied(TaskState::Enqueued));
        let record = harness.record(id).await;
        assert_eq!((record.attempt, record.failures, record.lost, record.crashes), (times, 0, times, 0));
        assert_eq!(record.alone, times == 3);
        let attempts = harness.attempts(id).await;
        let last = attempts.last().expect("it is kept");
        assert_eq!((attempts.len(), last.outcome), (times as usize, AttemptOutcome::Lost));
        assert_eq!(last.error.as_ref().map(|error| error.error_type.as_str()), Some("EndLost"));
    }
    let once = harness.add(NewTask { at_most_once: true, ..task() }).await;
    let claimed = server.claim_one().await;
    assert_eq!((claimed.id, server.finish(&claimed, lost()).await), (once, WriteReply::Applied(TaskState::Failed)));
    let record = harness.record(once).await;
    assert_eq!((record.lost, record.error.map(|error| error.error_type)), (1, Some("EndLost".into())));
}

/// A request survives a lost end.
pub(super) async fn a_lost_end_gives_way_to_a_request(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    harness.cancel(claimed.id).await;
    assert_eq!(server.finish(&claimed, lost()).await, WriteReply::Applied(TaskState::Cancelled));
    assert_eq!(harness.record(claimed.id).await.lost, 0);
}
