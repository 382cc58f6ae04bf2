//! Which parts of a task are in the Python client's encoding and which are plain JSON, over the whole life of the task.

use std::time::Duration;

use taskyard_core::TaskState::Done;
use taskyard_core::schedule::plan::plan_manual;
use taskyard_core::schedule::{NewSchedule, OnConflict};
use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Claimed, NewPayload, Outcome, Record, TaskEdit};
use taskyard_core::task::NewTask;

use super::Harness;
use super::harness::TestServer;
use crate::factory::{self, failure, task};

fn of(payload_encoded: bool, context_encoded: bool) -> NewTask {
    let context = Some(b"{\"a\":1}".to_vec());
    NewTask { runtime: Runtime::Python, payload_encoded, context_encoded, context, ..task() }
}

async fn claim(server: &TestServer) -> Claimed {
    server.claim_python(1).await.pop().expect("a task is claimable")
}

pub(super) async fn marks_are_kept_until_the_body_stores_its_own_context(harness: Harness) {
    let server = harness.server().await;
    for (payload, context) in [(false, false), (false, true), (true, false), (true, true)] {
        let id = harness.add(of(payload, context)).await;
        let record = harness.record(id).await;
        assert_eq!((record.payload_encoded, record.context_encoded, record.result_encoded), (payload, context, true));
        let claim_id = taskyard_core::ClaimId::generate();
        let request = ClaimRequest { runtime: Runtime::Python, claim: claim_id, ..factory::request(server.id, 1) };
        let claimed = server.claim_with(&request).await.tasks.remove(0);
        assert_eq!((claimed.payload_encoded, claimed.context_encoded, claimed.restricted), (payload, context, false));
        assert_eq!(harness.store.claimed(server.id, claim_id).await.unwrap(), vec![claimed.clone()]);
        // Another attempt gets the first context as it was, and one that a body has stored in its own encoding.
        server.fail_and_retry(&claimed, Duration::ZERO, failure("again")).await;
        let claimed = claim(&server).await;
        assert_eq!((claimed.payload_encoded, claimed.context_encoded), (payload, context));
        let stored = Record { id, token: claimed.token, context: Some(b"{\"b\":1}".to_vec()), logs: Vec::new() };
        server.record(stored).await;
        server.fail_and_retry(&claimed, Duration::ZERO, failure("again")).await;
        let claimed = claim(&server).await;
        assert_eq!((claimed.payload_encoded, claimed.context_encoded), (payload, true));
        assert!(harness.record(id).await.context_encoded);
        server.fail(&claimed).await;
        harness.retry(id).await;
        let claimed = claim(&server).await;
        assert_eq!((claimed.payload_encoded, claimed.context_encoded), (payload, true));
        server.done(&claimed).await;
    }
}

pub(super) async fn a_result_is_in_the_encoding_of_its_language(harness: Harness) {
    let server = harness.server().await;
    for runtime in [Runtime::Rust, Runtime::Python] {
        let parent = harness.add(NewTask { runtime, ..task() }).await;
        let child = harness.add(NewTask { runtime, parents: vec![parent], ..task() }).await;
        let claimed = match runtime {
            Runtime::Rust => server.claim_one().await,
            Runtime::Python => claim(&server).await,
        };
        server.finish(&claimed, Outcome::Done { result: b"{\"$tuple\":[]}".to_vec() }).await;
        let encoded = runtime == Runtime::Python;
        let ends = harness.store.finals(&[parent]).await.unwrap();
        assert_eq!((ends[0].state, ends[0].result_encoded), (Done, encoded));
        assert_eq!(harness.store.parent_results(child).await.unwrap()[0].result_encoded, encoded);
        assert_eq!(harness.record(parent).await.result_encoded, encoded);
        harness.cancel(child).await;
    }
}

pub(super) async fn an_edited_payload_is_in_the_encoding_of_its_edit(harness: Harness) {
    let server = harness.server().await;
    for (before, after) in [(false, true), (true, false), (true, true), (false, false)] {
        let id = harness.add(of(before, true)).await;
        let claimed = claim(&server).await;
        server.fail(&claimed).await;
        let other = TaskEdit { priority: Some(4), ..TaskEdit::default() };
        harness.store.edit(id, &other).await.unwrap();
        assert_eq!(harness.record(id).await.payload_encoded, before);
        let new = NewPayload { seen: claimed.payload, payload: b"{\"args\":[1]}".to_vec(), encoded: after };
        harness.store.edit(id, &TaskEdit { payload: Some(new), ..TaskEdit::default() }).await.unwrap();
        assert_eq!(harness.record(id).await.payload_encoded, after);
        harness.retry(id).await;
        let claimed = claim(&server).await;
        assert_eq!(claimed.payload_encoded, after);
        server.done(&claimed).await;
    }
}

pub(super) async fn a_schedule_hands_its_marks_on(harness: Harness) {
    harness.freeze().await;
    for (payload, context) in [(false, false), (true, false), (false, true), (true, true)] {
        let new = NewSchedule::new("a", "@every 1h", of(payload, context));
        harness.store.schedule_put(&new, OnConflict::Replace).await.unwrap();
        let due = harness.store.schedule("a").await.unwrap().unwrap();
        assert_eq!(due.record.definition.task.payload_encoded, payload);
        let tick = plan_manual(&due, harness.store.now().await.unwrap());
        let ids = harness.store.schedule_tick(&[tick]).await.unwrap().remove(0).unwrap();
        let record = harness.record(ids[0]).await;
        assert_eq!((record.payload_encoded, record.context_encoded), (payload, context));
    }
}
