//! Lists, pages, bulk selections, and the queries of waiters.

use std::time::Duration;

use taskyard_core::store::TaskFilter;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::Harness;
use crate::factory::{child_of, in_queue, of_kind, task, tasks};

async fn list(harness: &Harness, filter: &TaskFilter) -> Vec<TaskId> {
    harness.store.list(filter).await.unwrap().iter().map(|record| record.id).collect()
}

fn newest_first(ids: &[TaskId]) -> Vec<TaskId> {
    let mut ids = ids.to_vec();
    ids.sort_by(|left, right| right.cmp(left));
    ids
}

pub(super) async fn pages_go_from_the_newest_to_the_oldest(harness: Harness) {
    let ids = newest_first(&harness.add_all(&tasks(120)).await);
    assert_eq!(list(&harness, &TaskFilter::default()).await, ids[..50], "50 unless said");
    let mut found = Vec::new();
    loop {
        let filter = TaskFilter { limit: 37, before: found.last().copied(), ..TaskFilter::default() };
        let page = list(&harness, &filter).await;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, ids);
}

pub(super) async fn filters_narrow_the_list(harness: Harness) {
    let server = harness.server().await;
    let done = harness.ended(&server, TaskState::Done).await;
    let failed = harness.ended(&server, TaskState::Failed).await;
    let mail = harness.add(in_queue("mails")).await;
    let other = harness.add(of_kind("app::other")).await;
    let tagged = harness.add(NewTask { tags: vec!["x".into(), "it's".into()], ..task() }).await;

    let by_state = |states: &[TaskState]| TaskFilter { states: states.to_vec(), ..TaskFilter::default() };
    assert_eq!(list(&harness, &by_state(&[TaskState::Done])).await, [done]);
    let both = list(&harness, &by_state(&[TaskState::Done, TaskState::Failed])).await;
    assert_eq!(both, newest_first(&[done, failed]));
    assert_eq!(list(&harness, &by_state(&[TaskState::Enqueued])).await, newest_first(&[mail, other, tagged]));
    assert!(list(&harness, &by_state(&[TaskState::Waiting])).await.is_empty());

    assert_eq!(list(&harness, &TaskFilter { queue: Some("mails".into()), ..TaskFilter::default() }).await, [mail]);
    assert_eq!(list(&harness, &TaskFilter { kind: Some("app::other".into()), ..TaskFilter::default() }).await, [other]);
    for tag in ["x", "it's"] {
        assert_eq!(list(&harness, &TaskFilter { tag: Some(tag.into()), ..TaskFilter::default() }).await, [tagged]);
    }
    let nothing = TaskFilter { tag: Some("x".into()), queue: Some("mails".into()), ..TaskFilter::default() };
    assert!(list(&harness, &nothing).await.is_empty(), "all conditions at once");
}

pub(super) async fn finished_before_an_instant(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let early = harness.ended(&server, TaskState::Done).await;
    let between = harness.advance(Duration::from_secs(10)).await;
    let late = harness.ended(&server, TaskState::Failed).await;
    harness.add(task()).await;
    let before = |at| TaskFilter { finished_before: Some(at), ..TaskFilter::default() };
    assert_eq!(list(&harness, &before(between)).await, [early], "before, not at");
    let after = harness.advance(Duration::from_secs(1)).await;
    assert_eq!(list(&harness, &before(after)).await, newest_first(&[early, late]), "unfinished ones never");
}

pub(super) async fn a_selection_is_paged_in_id_order(harness: Harness) {
    let mut ids = harness.add_all(&tasks(50)).await;
    ids.sort();
    harness.add(in_queue("mails")).await;
    let filter = TaskFilter { queue: Some("default".into()), ..TaskFilter::default() };
    let mut found = Vec::new();
    loop {
        let page = harness.store.select(&filter, found.last().copied(), 20).await.unwrap();
        assert!(page.len() <= 20);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, ids);
}

pub(super) async fn a_selection_takes_every_filter(harness: Harness) {
    let server = harness.server().await;
    let failed = harness.start(&server, NewTask { tags: vec!["x".into()], kind: "k".into(), ..in_queue("q") }).await;
    server.fail(&failed).await;
    harness.ended(&server, TaskState::Failed).await;
    let filter = TaskFilter {
        states: vec![TaskState::Failed],
        queue: Some("q".into()),
        kind: Some("k".into()),
        tag: Some("x".into()),
        ..TaskFilter::default()
    };
    assert_eq!(harness.store.select(&filter, None, 10).await.unwrap(), [failed.id]);
    let filter = TaskFilter { states: vec![TaskState::Done], ..filter };
    assert!(harness.store.select(&filter, None, 10).await.unwrap().is_empty());
}

/// Filters are arbitrary texts: each matches itself and nothing else.
pub(super) async fn filters_are_not_patterns(harness: Harness) {
    let plain = harness.add(NewTask { tags: vec!["plain".into()], kind: "plain".into(), ..in_queue("plain") }).await;
    for text in ["%", "_____", "pl%", "' or 1=1 --", "{plain}", "\"plain\"", "PLAIN", "", "plain "] {
        for filter in [
            TaskFilter { queue: Some(text.into()), ..TaskFilter::default() },
            TaskFilter { kind: Some(text.into()), ..TaskFilter::default() },
            TaskFilter { tag: Some(text.into()), ..TaskFilter::default() },
        ] {
            assert!(list(&harness, &filter).await.is_empty(), "{filter:?}");
            assert!(harness.store.select(&filter, None, 10).await.unwrap().is_empty(), "{filter:?}");
        }
        let odd = harness.add(NewTask { tags: vec![text.into()], ..task() }).await;
        let filter = TaskFilter { tag: Some(text.into()), ..TaskFilter::default() };
        assert_eq!(list(&harness, &filter).await, [odd], "{text:?}");
        harness.cancel(odd).await;
    }
    harness.assert_state(plain, TaskState::Enqueued).await;
}

pub(super) async fn finals_are_those_that_ended(harness: Harness) {
    let server = harness.server().await;
    let mut ended = Vec::new();
    for state in [TaskState::Done, TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        ended.push((harness.ended(&server, state).await, state));
    }
    let running = harness.start(&server, task()).await.id;
    let waiting = harness.add(child_of(&[running])).await;
    let mut asked: Vec<TaskId> = ended.iter().map(|(id, _)| *id).collect();
    asked.extend([running, waiting, TaskId::generate()]);
    let finals = harness.store.finals(&asked).await.unwrap();
    assert_eq!(finals.len(), 4);
    for (id, state) in ended {
        let found = finals.iter().find(|found| found.id == id).expect("each that ended");
        assert_eq!(found.state, state);
        assert_eq!(found.result.is_some(), state == TaskState::Done);
        if state == TaskState::Failed {
            assert_eq!(found.error, Some(crate::factory::failure("it broke")));
        }
    }
    assert!(harness.store.finals(&[]).await.unwrap().is_empty());
}

pub(super) async fn finals_of_thousands(harness: Harness) {
    let ids = harness.add_many(&tasks(3_000)).await;
    harness.store.cancel(&ids[..1_500]).await.unwrap();
    assert_eq!(harness.store.finals(&ids).await.unwrap().len(), 1_500);
    assert_eq!(harness.store.get(&ids).await.unwrap().iter().flatten().count(), 3_000);
}

pub(super) async fn children_are_listed_up_to_a_limit(harness: Harness) {
    let parent = harness.add(task()).await;
    let children: Vec<NewTask> = (0..20).map(|_| child_of(&[parent])).collect();
    let mut added = harness.add_all(&children).await;
    let mut found = harness.store.children(parent, 100).await.unwrap();
    found.sort();
    added.sort();
    assert_eq!(found, added);
    assert_eq!(harness.store.children(parent, 5).await.unwrap().len(), 5);
    assert!(harness.store.children(added[0], 5).await.unwrap().is_empty());
}
