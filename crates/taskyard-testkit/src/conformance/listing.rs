//! Lists, pages, bulk selections, and the queries of waiters.

use std::time::Duration;

use taskyard_core::store::TaskFilter;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::Yard;
use crate::factory::{child_of, in_queue, of_kind, task, tasks};

async fn list(yard: &Yard, filter: &TaskFilter) -> Vec<TaskId> {
    yard.store.list(filter).await.unwrap().iter().map(|record| record.id).collect()
}

fn newest_first(ids: &[TaskId]) -> Vec<TaskId> {
    let mut ids = ids.to_vec();
    ids.sort_by(|left, right| right.cmp(left));
    ids
}

pub(super) async fn pages_go_from_the_newest_to_the_oldest(yard: Yard) {
    let ids = newest_first(&yard.add_all(&tasks(120)).await);
    assert_eq!(list(&yard, &TaskFilter::default()).await, ids[..50], "50 unless said");
    let mut found = Vec::new();
    loop {
        let filter = TaskFilter { limit: 37, before: found.last().copied(), ..TaskFilter::default() };
        let page = list(&yard, &filter).await;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, ids);
}

pub(super) async fn filters_narrow_the_list(yard: Yard) {
    let server = yard.server().await;
    let done = yard.ended(&server, TaskState::Done).await;
    let failed = yard.ended(&server, TaskState::Failed).await;
    let mail = yard.add(in_queue("mails")).await;
    let other = yard.add(of_kind("app::other")).await;
    let tagged = yard.add(NewTask { tags: vec!["x".into(), "it's".into()], ..task() }).await;

    let by_state = |states: &[TaskState]| TaskFilter { states: states.to_vec(), ..TaskFilter::default() };
    assert_eq!(list(&yard, &by_state(&[TaskState::Done])).await, [done]);
    let both = list(&yard, &by_state(&[TaskState::Done, TaskState::Failed])).await;
    assert_eq!(both, newest_first(&[done, failed]));
    assert_eq!(list(&yard, &by_state(&[TaskState::Enqueued])).await, newest_first(&[mail, other, tagged]));
    assert!(list(&yard, &by_state(&[TaskState::Waiting])).await.is_empty());

    assert_eq!(list(&yard, &TaskFilter { queue: Some("mails".into()), ..TaskFilter::default() }).await, [mail]);
    assert_eq!(list(&yard, &TaskFilter { kind: Some("app::other".into()), ..TaskFilter::default() }).await, [other]);
    for tag in ["x", "it's"] {
        assert_eq!(list(&yard, &TaskFilter { tag: Some(tag.into()), ..TaskFilter::default() }).await, [tagged]);
    }
    let nothing = TaskFilter { tag: Some("x".into()), queue: Some("mails".into()), ..TaskFilter::default() };
    assert!(list(&yard, &nothing).await.is_empty(), "all conditions at once");
}

pub(super) async fn finished_before_an_instant(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let early = yard.ended(&server, TaskState::Done).await;
    let between = yard.advance(Duration::from_secs(10)).await;
    let late = yard.ended(&server, TaskState::Failed).await;
    yard.add(task()).await;
    let before = |at| TaskFilter { finished_before: Some(at), ..TaskFilter::default() };
    assert_eq!(list(&yard, &before(between)).await, [early], "before, not at");
    let after = yard.advance(Duration::from_secs(1)).await;
    assert_eq!(list(&yard, &before(after)).await, newest_first(&[early, late]), "unfinished ones never");
}

pub(super) async fn a_selection_is_paged_in_id_order(yard: Yard) {
    let mut ids = yard.add_all(&tasks(50)).await;
    ids.sort();
    yard.add(in_queue("mails")).await;
    let filter = TaskFilter { queue: Some("default".into()), ..TaskFilter::default() };
    let mut found = Vec::new();
    loop {
        let page = yard.store.select(&filter, found.last().copied(), 20).await.unwrap();
        assert!(page.len() <= 20);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, ids);
}

pub(super) async fn a_selection_takes_every_filter(yard: Yard) {
    let server = yard.server().await;
    let failed = yard.start(&server, NewTask { tags: vec!["x".into()], kind: "k".into(), ..in_queue("q") }).await;
    server.fail(&failed).await;
    yard.ended(&server, TaskState::Failed).await;
    let filter = TaskFilter {
        states: vec![TaskState::Failed],
        queue: Some("q".into()),
        kind: Some("k".into()),
        tag: Some("x".into()),
        ..TaskFilter::default()
    };
    assert_eq!(yard.store.select(&filter, None, 10).await.unwrap(), [failed.id]);
    let filter = TaskFilter { states: vec![TaskState::Done], ..filter };
    assert!(yard.store.select(&filter, None, 10).await.unwrap().is_empty());
}

/// Filters are arbitrary texts: each matches itself and nothing else.
pub(super) async fn filters_are_not_patterns(yard: Yard) {
    let plain = yard.add(NewTask { tags: vec!["plain".into()], kind: "plain".into(), ..in_queue("plain") }).await;
    for text in ["%", "_____", "pl%", "' or 1=1 --", "{plain}", "\"plain\"", "PLAIN", "", "plain "] {
        for filter in [
            TaskFilter { queue: Some(text.into()), ..TaskFilter::default() },
            TaskFilter { kind: Some(text.into()), ..TaskFilter::default() },
            TaskFilter { tag: Some(text.into()), ..TaskFilter::default() },
        ] {
            assert!(list(&yard, &filter).await.is_empty(), "{filter:?}");
            assert!(yard.store.select(&filter, None, 10).await.unwrap().is_empty(), "{filter:?}");
        }
        let odd = yard.add(NewTask { tags: vec![text.into()], ..task() }).await;
        let filter = TaskFilter { tag: Some(text.into()), ..TaskFilter::default() };
        assert_eq!(list(&yard, &filter).await, [odd], "{text:?}");
        yard.cancel(odd).await;
    }
    yard.assert_state(plain, TaskState::Enqueued).await;
}

pub(super) async fn finals_are_those_that_ended(yard: Yard) {
    let server = yard.server().await;
    let mut ended = Vec::new();
    for state in [TaskState::Done, TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        ended.push((yard.ended(&server, state).await, state));
    }
    let running = yard.start(&server, task()).await.id;
    let waiting = yard.add(child_of(&[running])).await;
    let mut asked: Vec<TaskId> = ended.iter().map(|(id, _)| *id).collect();
    asked.extend([running, waiting, TaskId::generate()]);
    let finals = yard.store.finals(&asked).await.unwrap();
    assert_eq!(finals.len(), 4);
    for (id, state) in ended {
        let found = finals.iter().find(|found| found.id == id).expect("each that ended");
        assert_eq!(found.state, state);
        assert_eq!(found.result.is_some(), state == TaskState::Done);
        if state == TaskState::Failed {
            assert_eq!(found.error, Some(crate::factory::failure("it broke")));
        }
    }
    assert!(yard.store.finals(&[]).await.unwrap().is_empty());
}

pub(super) async fn finals_of_thousands(yard: Yard) {
    let ids = yard.add_many(&tasks(3_000)).await;
    yard.store.cancel(&ids[..1_500]).await.unwrap();
    assert_eq!(yard.store.finals(&ids).await.unwrap().len(), 1_500);
    assert_eq!(yard.store.get(&ids).await.unwrap().iter().flatten().count(), 3_000);
}

pub(super) async fn children_are_listed_up_to_a_limit(yard: Yard) {
    let parent = yard.add(task()).await;
    let children: Vec<NewTask> = (0..20).map(|_| child_of(&[parent])).collect();
    let mut added = yard.add_all(&children).await;
    let mut found = yard.store.children(parent, 100).await.unwrap();
    found.sort();
    added.sort();
    assert_eq!(found, added);
    assert_eq!(yard.store.children(parent, 5).await.unwrap().len(), 5);
    assert!(yard.store.children(added[0], 5).await.unwrap().is_empty());
}
