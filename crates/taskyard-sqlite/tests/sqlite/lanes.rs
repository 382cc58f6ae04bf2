//! Partitions: tasks of a queue that is paused while they are in the common partition, and of one that is freed again.

use taskyard_core::Store;
use taskyard_core::store::ClaimRequest;
use taskyard_core::task::NewTask;

use crate::sandbox::{Sandbox, claim, request, server, task};

fn in_queue(queue: &str) -> NewTask {
    NewTask { queue: queue.into(), ..task() }
}

/// Pausing touches no task; a claim moves those that it meets, a bounded number at a time, and reports that more may
/// follow.
#[tokio::test]
async fn a_large_paused_backlog_is_moved_out_of_the_way() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let server = server(&store).await;
    let batch: Vec<NewTask> = (0..12_000).map(|_| in_queue("large")).collect();
    store.add(&batch).await.unwrap();
    let last = store.add(&[task()]).await.unwrap()[0].id;
    store.set_paused("large", true).await.unwrap();
    let mut work = store.notifications().work.listen();
    let mut claims = 0;
    let found = loop {
        let reply = store.claim(&request(server, 10)).await.unwrap();
        claims += 1;
        if !reply.tasks.is_empty() {
            break reply.tasks;
        }
        assert!(reply.cursor.is_some() && work.take(), "more may follow");
        assert!(claims < 10);
    };
    assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), [last]);
    store.set_paused("large", false).await.unwrap();
    let mut order = Vec::new();
    while order.len() < 12_000 {
        let claimed = claim(&store, server, 1_000).await;
        assert!(!claimed.is_empty());
        order.extend(claimed.into_iter().map(|task| task.id));
    }
    assert_eq!(order, batch.iter().map(|task| task.id).collect::<Vec<_>>());
}

/// Tasks in a queue's own partition and in the common one are merged by age.
#[tokio::test]
async fn a_freed_queue_is_merged_by_order() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let server = server(&store).await;
    store.set_paused("q", true).await.unwrap();
    let mut batch: Vec<NewTask> = (0..10).map(|at| if at % 2 == 0 { in_queue("q") } else { task() }).collect();
    store.add(&batch).await.unwrap();
    store.set_paused("q", false).await.unwrap();
    let more: Vec<NewTask> = (0..4).map(|_| in_queue("q")).collect();
    store.add(&more).await.unwrap();
    batch.extend(more);
    let mut order = Vec::new();
    for _ in 0..7 {
        order.extend(claim(&store, server, 2).await.into_iter().map(|task| task.id));
    }
    assert_eq!(order, batch.iter().map(|task| task.id).collect::<Vec<_>>());
}

/// A filtered claim with a cursor continues there, and then comes back to the tasks before it.
#[tokio::test]
async fn a_filter_with_a_place_misses_nothing() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let server = server(&store).await;
    let batch: Vec<NewTask> = (0..300).map(|at| in_queue(if at % 3 == 0 { "rare" } else { "common" })).collect();
    store.add(&batch).await.unwrap();
    let mut cursor = None;
    let mut got = 0;
    for _ in 0..10 {
        let queues = Some(vec!["rare".to_owned()]);
        let reply = store.claim(&ClaimRequest { queues, cursor, ..request(server, 10) }).await.unwrap();
        got += reply.tasks.len();
        cursor = reply.cursor;
    }
    assert_eq!(got, 100);
    // A task before the cursor, because of its priority, is found all the same.
    let urgent = NewTask { priority: 7, ..in_queue("rare") };
    store.add(std::slice::from_ref(&urgent)).await.unwrap();
    let queues = Some(vec!["rare".to_owned()]);
    let reply = store.claim(&ClaimRequest { queues, cursor, ..request(server, 10) }).await.unwrap();
    assert_eq!(reply.tasks[0].id, urgent.id);
}
