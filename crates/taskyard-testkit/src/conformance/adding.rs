//! Adding: all or none, in the order given, and every option is read back as it was.

use std::time::Duration;

use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{AddRequest, REFUSED_KEPT, Retention};
use taskyard_core::task::{ExtraOptions, NewTask, Start, Unique, UniqueHold};
use taskyard_core::{Error, RetryPolicy, TaskId, TaskState};

use super::Harness;
use crate::factory::{child_of, ids, of_priority, task, tasks};

pub(super) async fn an_empty_batch_adds_nothing(harness: Harness) {
    assert!(harness.store.add(&[]).await.unwrap().is_empty());
    assert_eq!(harness.store.status().await.unwrap().by_state, [0; 7]);
}

pub(super) async fn a_batch_is_claimed_in_the_order_given(harness: Harness) {
    let batch = tasks(100);
    harness.add_all(&batch).await;
    let server = harness.server().await;
    let claimed: Vec<TaskId> = server.claim(100).await.iter().map(|task| task.id).collect();
    assert_eq!(claimed, ids(&batch));
}

/// The sequence of the database decides, not the id: here the ids run backwards.
pub(super) async fn order_does_not_come_from_the_ids(harness: Harness) {
    let mut batch = tasks(10);
    batch.reverse();
    for task in &batch {
        harness.add(task.clone()).await;
    }
    let server = harness.server().await;
    let claimed: Vec<TaskId> = server.claim(10).await.iter().map(|task| task.id).collect();
    assert_eq!(claimed, ids(&batch));
}

pub(super) async fn defaults_read_back(harness: Harness) {
    let now = harness.freeze().await;
    let new = task();
    let record = harness.record(harness.add(new.clone()).await).await;
    assert_eq!(record.kind, new.kind);
    assert_eq!(record.name, new.kind, "the label is the kind");
    assert_eq!((record.queue.as_str(), record.priority, record.runtime), ("default", 0, Runtime::Rust));
    assert_eq!((record.state, record.wait_reason), (TaskState::Enqueued, None));
    assert_eq!((record.attempt, record.failures, record.lost, record.crashes), (0, 0, 0, 0));
    assert_eq!(record.payload, new.payload);
    assert_eq!((record.result, record.error, record.fallen_from), (None, None, None));
    assert_eq!(record.retry, RetryPolicy::default());
    assert_eq!(record.timeout_ms, Some(300_000));
    assert_eq!(record.created_at, now);
    assert_eq!((record.run_at, record.expires_at, record.started_at, record.finished_at), (None, None, None, None));
    assert_eq!((record.server, record.unique_key), (None, None));
    assert!(record.parents.is_empty() && record.tags.is_empty());
    assert!(!record.auto_remove && !record.at_most_once && !record.alone);
}

pub(super) async fn every_option_reads_back(harness: Harness) {
    let now = harness.freeze().await;
    let parent = harness.add(task()).await;
    let run_at = now + Duration::from_secs(60);
    let new = NewTask {
        runtime: Runtime::Python,
        name: Some("Ünïcode “name” with 'quotes', \"more\", {braces}, and a , comma".into()),
        queue: "mails".into(),
        priority: -7,
        context: Some(br#"{"user": {"id": 7}}"#.to_vec()),
        on_parent_failure: OnParentFailure::Wait,
        start: Start::At(run_at),
        expires: Some(Duration::from_secs(3_600)),
        retry: RetryPolicy {
            max_retries: 9,
            backoff_ms: 1,
            factor: 1.5,
            cap_ms: 77,
            jitter: false,
            only: vec!["IoError".into()],
            never: vec!["ValueError".into(), "it's".into()],
            ..RetryPolicy::default()
        },
        timeout: Some(Duration::from_millis(1_500)),
        unique: Some(Unique { key: "mail:7".into(), hold: UniqueHold::UntilFinished }),
        auto_remove: true,
        at_most_once: true,
        tags: vec!["a".into(), "b, c".into(), "{\"d\"}".into()],
        extra: ExtraOptions::examples(),
        ..child_of(&[parent])
    };
    let record = harness.record(harness.add(new.clone()).await).await;
    assert_eq!(Some(record.name), new.name);
    assert_eq!((record.runtime, record.queue, record.priority), (new.runtime, new.queue, new.priority));
    assert_eq!(record.parents, new.parents);
    assert_eq!(record.on_parent_failure, new.on_parent_failure);
    assert_eq!(record.retry, new.retry);
    assert_eq!(record.timeout_ms, Some(1_500));
    assert_eq!(record.unique_key.as_deref(), Some("mail:7"));
    assert_eq!(record.tags, new.tags);
    assert!(record.auto_remove && record.at_most_once);
    assert_eq!(record.run_at, Some(run_at));
    assert_eq!(record.expires_at, Some(now + Duration::from_secs(3_600)));
    assert_eq!(harness.store.context(new.id).await.unwrap(), new.context);
    assert_eq!(record.extra, new.extra);
}

pub(super) async fn extra_options_read_back_beside_the_default_policy(harness: Harness) {
    let batch = [task(), NewTask { extra: ExtraOptions::examples(), ..task() }];
    harness.add_all(&batch).await;
    for new in batch {
        let record = harness.record(new.id).await;
        assert_eq!((record.extra, record.retry), (new.extra, new.retry));
    }
    let server = harness.server().await;
    assert!(server.claim(2).await.iter().all(|claimed| claimed.retry == RetryPolicy::default()));
}

pub(super) async fn a_timeout_is_rounded_up_to_milliseconds(harness: Harness) {
    for (timeout, millis) in [(400, 1), (1_000, 1), (1_500_001, 1_501)] {
        let id = harness.add(NewTask { timeout: Some(Duration::from_micros(timeout)), ..task() }).await;
        assert_eq!(harness.record(id).await.timeout_ms, Some(millis), "{timeout} µs");
    }
}

pub(super) async fn no_timeout_reads_back_as_none(harness: Harness) {
    let id = harness.add(NewTask { timeout: None, ..task() }).await;
    assert_eq!(harness.record(id).await.timeout_ms, None);
}

pub(super) async fn extreme_priorities_are_kept_and_ordered(harness: Harness) {
    let batch = [of_priority(i32::MIN), of_priority(0), of_priority(i32::MAX), of_priority(-1), of_priority(1)];
    harness.add_all(&batch).await;
    let server = harness.server().await;
    let claimed: Vec<TaskId> = server.claim(10).await.iter().map(|task| task.id).collect();
    assert_eq!(claimed, [2, 4, 1, 3, 0].map(|at: usize| batch[at].id));
}

pub(super) async fn a_taken_id_refuses_the_whole_batch(harness: Harness) {
    let old = harness.add(task()).await;
    let fresh = task();
    let error = harness.store.add(&[fresh.clone(), NewTask { id: old, ..task() }]).await.unwrap_err();
    assert_eq!(error, Error::DuplicateId(old));
    assert!(!harness.exists(fresh.id).await, "nothing of the batch was added");
}

pub(super) async fn an_id_twice_in_a_batch_refuses_it(harness: Harness) {
    let new = task();
    let error = harness.store.add(&[new.clone(), task(), new.clone()]).await.unwrap_err();
    assert_eq!(error, Error::DuplicateId(new.id));
    assert_eq!(harness.store.status().await.unwrap().by_state, [0; 7]);
}

pub(super) async fn an_unknown_parent_refuses_the_whole_batch(harness: Harness) {
    let stranger = TaskId::generate();
    let child = child_of(&[stranger]);
    let error = harness.store.add(&[task(), child.clone(), task()]).await.unwrap_err();
    assert_eq!(error, Error::UnknownParent { task: child.id, parent: stranger });
    assert_eq!(harness.store.status().await.unwrap().by_state, [0; 7]);
}

pub(super) async fn a_refused_batch_can_be_added_after_it_was_mended(harness: Harness) {
    let parent = task();
    let child = child_of(&[parent.id]);
    harness.store.add(std::slice::from_ref(&child)).await.unwrap_err();
    harness.add_all(&[parent, child]).await;
}

pub(super) async fn a_large_batch_is_one_batch(harness: Harness) {
    let batch = tasks(5_000);
    harness.add_all(&batch).await;
    assert_eq!(harness.count(&ids(&batch), TaskState::Enqueued).await, 5_000);
    let server = harness.server().await;
    let mut claimed = Vec::new();
    while claimed.len() < 5_000 {
        let part = server.claim(1_000).await;
        assert!(!part.is_empty());
        claimed.extend(part.iter().map(|task| task.id));
    }
    assert_eq!(claimed, ids(&batch));
}

/// At any position in a batch of several statements.
pub(super) async fn a_taken_id_refuses_a_large_batch(harness: Harness) {
    let old = harness.add(task()).await;
    for place in [0, 2_500, 6_999] {
        let mut batch = tasks(7_000);
        batch[place].id = old;
        let error = harness.store.add(&batch).await.unwrap_err();
        assert_eq!(error, Error::DuplicateId(old), "at {place}");
        assert_eq!(harness.store.status().await.unwrap().by_state.iter().sum::<u64>(), 1);
    }
    harness.add_all(&tasks(7_000)).await;
}

pub(super) async fn records_come_in_the_order_asked_for(harness: Harness) {
    let added = harness.add_all(&tasks(3)).await;
    let stranger = TaskId::generate();
    let asked = [added[2], stranger, added[0], added[2]];
    let found = harness.store.get(&asked).await.unwrap();
    let found: Vec<Option<TaskId>> = found.into_iter().map(|record| record.map(|record| record.id)).collect();
    assert_eq!(found, [Some(added[2]), None, Some(added[0]), Some(added[2])]);
    assert!(harness.store.get(&[]).await.unwrap().is_empty());
}

pub(super) async fn what_does_not_exist_has_nothing(harness: Harness) {
    let stranger = TaskId::generate();
    assert_eq!(harness.store.context(stranger).await.unwrap(), None);
    assert!(harness.store.finals(&[stranger]).await.unwrap().is_empty());
    assert!(harness.attempts(stranger).await.is_empty());
    assert!(harness.store.logs(stranger, 0, 10).await.unwrap().is_empty());
    assert!(harness.store.parent_results(stranger).await.unwrap().is_empty());
    assert!(harness.store.children(stranger, 10).await.unwrap().is_empty());
}

pub(super) async fn concurrent_batches_are_each_whole(harness: Harness) {
    let mut adders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let harness = harness.clone();
        adders.spawn(async move {
            for _ in 0..10 {
                harness.add_all(&tasks(20)).await;
            }
        });
    }
    adders.join_all().await;
    assert_eq!(harness.store.status().await.unwrap().by_state[1], 1_600);
}

fn key(key: &str) -> Unique {
    Unique { key: key.into(), hold: UniqueHold::UntilFinished }
}

pub(super) async fn an_addition_is_asked_back_by_its_id(harness: Harness) {
    let batch = [task(), NewTask { unique: Some(key("k")), ..task() }, task()];
    let request = AddRequest::new(&batch);
    harness.store.add_batch(request).await.unwrap();
    assert_eq!(harness.store.added(request.id, &ids(&batch)).await.unwrap(), [true; 3]);
    // In a batch with a held key, tasks that were added are distinguished from those replaced by the key's holder.
    let second = [task(), NewTask { unique: Some(key("k")), ..task() }];
    let request = AddRequest::new(&second);
    harness.store.add_batch(request).await.unwrap();
    assert_eq!(harness.store.added(request.id, &ids(&second)).await.unwrap(), [true, false]);
}

pub(super) async fn an_addition_that_was_asked_back_stores_nothing_later(harness: Harness) {
    for batch in [tasks(3), vec![NewTask { unique: Some(key("k")), ..task() }], tasks(2_500)] {
        let request = AddRequest::new(&batch);
        assert!(!harness.store.added(request.id, &ids(&batch)).await.unwrap().contains(&true));
        harness.store.added(request.id, &ids(&batch)).await.unwrap();
        let error = harness.store.add_batch(request).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        let found = harness.store.get(&ids(&batch)).await.unwrap();
        assert!(found.iter().all(Option::is_none), "the late statement stored something");
        // An addition of these tasks under another id is another attempt.
        harness.store.add_batch(AddRequest::new(&batch)).await.unwrap();
        assert_eq!(harness.store.added(request.id, &ids(&batch)).await.unwrap(), vec![true; batch.len()]);
    }
}

pub(super) async fn the_mark_of_a_refused_addition_is_deleted(harness: Harness) {
    harness.freeze().await;
    let batch = [task()];
    let request = AddRequest::new(&batch);
    harness.store.added(request.id, &ids(&batch)).await.unwrap();
    for (wait, kept) in [(REFUSED_KEPT / 2, true), (REFUSED_KEPT / 2, false)] {
        harness.advance(wait).await;
        while harness.store.prune(&Retention::default()).await.unwrap().more {}
        assert_eq!(harness.store.add_batch(request).await.is_err(), kept);
    }
}
