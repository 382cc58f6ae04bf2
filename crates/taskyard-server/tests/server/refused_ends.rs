//! Ends and records that the database refuses: which are faults of the task, which are retried, and which are set
//! aside.

use std::time::Duration;

use taskyard_core::{Error, TaskRef, TaskState};

use crate::world::{World, eventually, within};

/// SQLSTATEs of faults of the database.
const FAULTS: [&str; 8] = ["53200", "58030", "XX000", "53000", "42501", "P0001", "57014", "40001"];
/// SQLSTATEs that normally mean an unavailable database, here returned for single statements of an available one.
const OF_THE_WAY: [&str; 5] = ["08001", "53100", "25006", "53300", "57P01"];

#[tokio::test]
async fn a_fault_of_the_database_costs_no_task_its_success() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let faults = if world.store.backend() == "sqlite" { &FAULTS[..1] } else { &FAULTS };
    for (round, code) in faults.iter().enumerate() {
        world.database.refuse_ends("echo", code).await;
        let tasks: Vec<TaskRef<i64>> =
            (0..20_i64).map(|n| world.add("echo", &(n,), |call| call.max_retries(0))).collect();
        let child: TaskRef<i64> = world.add("parents", &(), |call| call.parents(&tasks[..2]));
        world.stage.seen("echo", 20 * (round + 1)).await;
        eventually("its server holds them", async || server.status().ends_held == 20).await;
        eventually("that is shown", async || world.store.status().await.unwrap().ends_held == 20).await;
        world.database.accept().await;
        for (n, task) in (0..).zip(&tasks) {
            assert_eq!(within("a result", task.wait()).await.unwrap(), n, "{code}");
            let record = world.record(task).await;
            assert_eq!((record.attempt, record.failures, record.lost), (1, 0, 0), "{code}");
        }
        assert_eq!(within("the child", child.wait()).await.unwrap(), 1);
        assert_eq!(world.stage.count("echo"), 20 * (round + 1), "{code}: each ran once");
    }
    assert!(world.store.ends_aside(None, None, 10).await.unwrap().is_empty());
    eventually("nothing is held", async || world.store.status().await.unwrap().ends_held == 0).await;
}

#[tokio::test]
async fn one_refused_end_holds_up_no_other_and_is_set_aside() {
    let world = World::new().await;
    world.database.refuse_ends("current", "P0001").await;
    let server = world.server(|config| config.refused_end_max = Duration::from_millis(700)).await;
    let bad: TaskRef<(bool, String, u32)> = world.add("current", &(), |call| call.max_retries(0));
    let child: TaskRef<i64> = world.add("echo", &(5,), |call| call.parent(&bad));
    eventually("it is set aside", async || {
        let good: TaskRef<i64> = world.add("echo", &(1,), |call| call);
        assert_eq!(within("the others go on", good.wait()).await.unwrap(), 1);
        world.store.status().await.unwrap().ends_aside == 1
    })
    .await;
    let end = world.store.ends_aside(Some(&[bad.id()]), None, 1).await.unwrap().remove(0);
    assert!(end.reason.contains("not this one"), "{}", end.reason);
    eventually("its server lets go of it", async || server.status().ends_held == 0).await;
    assert_eq!(world.record(&bad).await.state, TaskState::Doing);
    assert_eq!(world.record(&child).await.state, TaskState::Waiting, "nothing is cascaded");
    // The server may end in any way: nothing runs again.
    server.abort();
    server.wait().await;
    let second = world.server(|config| config.refused_end_max = Duration::from_millis(100)).await;
    eventually("the first one's lease is over", async || {
        let servers = world.store.servers().await.unwrap();
        servers.iter().all(|record| record.is_running == (record.id == second.id()))
    })
    .await;
    let good: TaskRef<i64> = world.add("echo", &(2,), |call| call);
    within("a good one", good.wait()).await.unwrap();
    assert_eq!(world.record(&bad).await.state, TaskState::Doing);
    // Once the cause is gone it is written, by any server.
    world.database.accept().await;
    assert!(within("its result", bad.wait()).await.unwrap().0);
    assert_eq!(within("its child", child.wait()).await.unwrap(), 5);
    let record = world.record(&bad).await;
    assert_eq!((record.attempt, record.lost), (1, 0), "it ran once");
    eventually("nothing is aside", async || world.store.status().await.unwrap().ends_aside == 0).await;
}

#[tokio::test]
async fn an_end_that_a_trigger_skips_is_set_aside() {
    // Successes and failures are written in different ways.
    for (kind, returned) in [("echo", "null"), ("echo", "old"), ("fail", "null"), ("fail", "old")] {
        let world = World::new().await;
        world.database.skip_ends(kind, returned).await;
        let server = world.server(|config| config.refused_end_max = Duration::from_millis(300)).await;
        let bad: TaskRef<i64> = world.add(kind, &(7,), |call| call.max_retries(0));
        eventually("it is set aside", async || {
            let good: TaskRef<i64> = world.add("parents", &(), |call| call);
            within("the others go on", good.wait()).await.unwrap();
            world.store.status().await.unwrap().ends_aside == 1
        })
        .await;
        let end = world.store.ends_aside(Some(&[bad.id()]), None, 1).await.unwrap().remove(0);
        assert!(end.reason.contains("skipped the update that ends task"), "{}", end.reason);
        eventually("its server holds none", async || server.status().ends_held == 0).await;
        assert_eq!(world.record(&bad).await.state, TaskState::Doing);
        world.database.accept().await;
        assert_eq!(within("its end", bad.wait()).await.is_ok(), kind == "echo");
        let record = world.record(&bad).await;
        assert_eq!((record.attempt, record.lost), (1, 0), "{kind}, {returned}: it ran once");
    }
}

#[tokio::test]
async fn an_end_refused_with_a_code_of_the_connection_holds_up_no_other() {
    for code in OF_THE_WAY {
        let world = World::new().await;
        if world.store.backend() == "sqlite" {
            return;
        }
        world.database.refuse_ends("current", code).await;
        let server = world.server(|config| config.refused_end_max = Duration::from_millis(700)).await;
        let bad: TaskRef<(bool, String, u32)> = world.add("current", &(), |call| call.max_retries(0));
        let good: Vec<TaskRef<i64>> =
            (0..60_i64).map(|n| world.add("echo", &(n,), |call| call.max_retries(0))).collect();
        for (n, task) in (0..).zip(&good) {
            assert_eq!(within("the others go on", task.wait()).await.unwrap(), n, "{code}");
        }
        eventually(code, async || world.store.status().await.unwrap().ends_aside == 1).await;
        let end = world.store.ends_aside(Some(&[bad.id()]), None, 1).await.unwrap().remove(0);
        assert!(end.reason.contains("not this one"), "{code}: {}", end.reason);
        // An end that is refused and not set aside yet is included in the status.
        let late: TaskRef<(bool, String, u32)> = world.add("current", &(), |call| call.max_retries(0));
        eventually(code, async || server.status().ends_held == 1).await;
        server.stop();
        let exit = within("the stop", server.wait()).await;
        assert_eq!(exit.unwritten, 0, "{code}");
        assert_eq!(world.store.status().await.unwrap().ends_aside, 2, "{code}");
        world.database.accept().await;
        let _second = world.server(|config| config.refused_end_max = Duration::from_millis(100)).await;
        for task in [&bad, &late] {
            assert!(within("its result", task.wait()).await.unwrap().0, "{code}");
            let record = world.record(task).await;
            assert_eq!((record.attempt, record.failures, record.lost), (1, 0, 0), "{code}: it ran once");
        }
        assert_eq!(world.stage.count("echo"), 60, "{code}: each ran once");
    }
}

/// A refused log line of a running task does not hold up other tasks either.
#[tokio::test]
async fn a_line_refused_with_a_code_of_the_connection_holds_up_no_other() {
    let world = World::new().await;
    if world.store.backend() == "sqlite" {
        return;
    }
    world.database.refuse_lines("half way", "08001").await;
    let _server = world.server(|_| {}).await;
    let bad: TaskRef<String> = world.add("context", &(), |call| call);
    let good: TaskRef<String> = world.add("counts", &(), |call| call);
    // The context of the good task is stored.
    world.stage.seen("counted", 1).await;
    assert_eq!(world.stage.count("saved"), 0);
    world.database.accept().await;
    world.stage.open();
    assert_eq!(within("the end", bad.wait()).await.unwrap(), "ok");
    assert_eq!(within("the other end", good.wait()).await.unwrap(), "through");
}

#[tokio::test]
async fn a_server_that_stops_sets_aside_what_is_refused() {
    let world = World::new().await;
    world.database.refuse_ends("echo", "42501").await;
    let server = world.server(|_| {}).await;
    let tasks: Vec<TaskRef<i64>> = (0..30_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    world.stage.seen("echo", 30).await;
    eventually("they are held", async || server.status().ends_held == 30).await;
    server.stop();
    let exit = within("the stop", server.wait()).await;
    assert_eq!(exit.unwritten, 0);
    assert_eq!(world.store.status().await.unwrap().ends_aside, 30);
    assert!(world.store.servers().await.unwrap().is_empty(), "it has left");
    world.database.accept().await;
    let _second = world.server(|config| config.refused_end_max = Duration::from_millis(100)).await;
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(within("a result", task.wait()).await.unwrap(), n);
    }
    assert_eq!(world.stage.count("echo"), 30, "each ran once");
}

#[tokio::test]
async fn a_value_that_the_database_refuses_is_the_tasks_own_fault_at_once() {
    let world = World::new().await;
    world.database.refuse_equal_results().await;
    let _server = world.server(|_| {}).await;
    let first: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    assert_eq!(within("the first", first.wait()).await.unwrap(), 1);
    let bad: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    let others: Vec<TaskRef<i64>> = (10..20_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    match within("the end", bad.wait()).await {
        Err(Error::TaskFailed { error_type, .. }) => assert_eq!(error_type, "ResultNotStorable"),
        other => panic!("{other:?}"),
    }
    for (n, task) in (10..).zip(&others) {
        assert_eq!(within("another", task.wait()).await.unwrap(), n);
    }
    assert!(world.store.ends_aside(None, None, 10).await.unwrap().is_empty());
}

/// A refused log line must not lose a result.
#[tokio::test]
async fn a_refused_log_line_costs_no_task_its_success() {
    let world = World::new().await;
    world.database.refuse_lines("half way", "P0001").await;
    let _server = world.server(|config| config.refused_end_max = Duration::from_millis(300)).await;
    let bad: TaskRef<String> = world.add("context", &(), |call| call);
    // The task requests that its context be stored together with the line: that waits, and does not hold up other tasks.
    for runs in 0..3 {
        let good: TaskRef<u32> = world.add("remember", &(), |call| call.max_retries(3));
        assert_eq!(within("another's records", good.wait()).await.unwrap(), 2, "{runs}");
    }
    assert_eq!(world.stage.count("saved"), 0);
    world.database.accept().await;
    world.stage.open();
    assert_eq!(within("the end", bad.wait()).await.unwrap(), "ok");
    let lines = world.store.logs(bad.id(), 0, 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.line.message.as_str()).collect::<Vec<_>>(), ["half way", "the end"]);

    // A task that ends with a line which is never stored is written without it.
    world.database.refuse_lines("run 0", "P0001").await;
    let unlogged: TaskRef<u32> = world
        .add("remember", &(), |call| call.retry(taskyard_core::RetryPolicy { backoff_ms: 1, ..Default::default() }));
    assert_eq!(within("the end", unlogged.wait()).await.unwrap(), 2);
    let lines = world.store.logs(unlogged.id(), 0, 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.line.message.as_str()).collect::<Vec<_>>(), ["run 1", "run 2"]);
}
