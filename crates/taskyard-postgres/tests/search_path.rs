//! Functions and operators that another role created in `public` never run with the rights of the role that works with
//! the tables. (The conformance suite runs among them, too.)
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::store::{Finish, Outcome, Store};
use taskyard_testkit::factory::{request, server, task, tasks};
use taskyard_testkit::postgres::shared;

mod harness;

/// Returns whether any planted object was called; neither a rollback nor an error handler hides it.
fn was_called(url: &str) -> String {
    shared().psql_in(url, "SELECT p.is_called FROM public.planted p")
}

#[tokio::test]
async fn planted_functions_are_not_called_by_the_store() {
    let (store, url) = harness::planted().await;
    assert!(store.migrate().await.unwrap().applied.is_empty());
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&tasks(3)).await.unwrap();
    store.check_writes().await.unwrap();
    let claimed = store.claim(&request(host.id, 3)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 3);
    let done = |at: usize| Finish {
        id: claimed[at].id,
        token: claimed[at].token,
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: Vec::new(),
    };
    store.finish(&[done(0), done(1)], &[]).await.unwrap();
    let ids: Vec<_> = claimed.iter().map(|task| task.id).collect();
    assert!(store.purge(&ids[..1]).await.unwrap() == 1);
    store.status().await.unwrap();
    store.close().await;
    assert_eq!(was_called(&url), "f");
}

#[tokio::test]
async fn planted_functions_are_not_called_by_the_functions_and_views_for_sql() {
    let (store, url) = harness::planted().await;
    let parent =
        shared().psql_in(&url, "SELECT taskyard.enqueue('a::b', args => '[1]', tags => ARRAY['x'], unique_key => 'k')");
    let child = shared().psql_in(&url, &format!("SELECT taskyard.enqueue('a::b', parents => ARRAY['{parent}'::uuid])"));
    shared().psql_in(&url, "SELECT taskyard.schedule_add('s', 'every 1 h', 'a::b', max_retries => 5)");
    shared().psql_in(&url, "SELECT taskyard.schedule_run_now('s')");
    store.add(&[task()]).await.unwrap();
    let shown = format!(
        "SELECT t.state, t.args, t.waiting_for FROM queued_tasks t WHERE t.id IN ('{parent}', '{child}') ORDER BY t.id"
    );
    assert_eq!(shared().psql_in(&url, &shown), "enqueued|[1]|\nwaiting|[]|parents being settled");
    for view in ["queued_task_logs", "queued_task_workers", "queued_task_attempts"] {
        shared().psql_in(&url, &format!("SELECT v.* FROM {view} v"));
    }
    assert_eq!(was_called(&url), "f");
    // The planted objects would be called by a session with this path.
    let caught = shared().try_psql_in(&url, "SELECT cardinality(ARRAY[gen_random_uuid()])").unwrap_err();
    assert!(caught.contains("planted code was called: cardinality(uuid[])"), "{caught}");
    assert_eq!(was_called(&url), "t");
    store.close().await;
}
