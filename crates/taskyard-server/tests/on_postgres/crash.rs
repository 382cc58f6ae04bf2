//! A database that crashes and loses its last commits because they did not wait for the disk: the server survives, and
//! attempts that only one side has recorded are settled.

use std::time::Duration;

use taskyard_core::client::Call;
use taskyard_core::{TaskRef, TaskState};
use taskyard_testkit::postgres::{Cluster, ClusterOptions};

use crate::database::Database;
use crate::world::{World, eventually, within};

/// Starts a cluster that flushes only at a checkpoint, or after ten seconds.
fn forgetful() -> Cluster {
    let settings = [
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "1GB"),
        ("bgwriter_lru_maxpages", "0"),
        ("autovacuum", "off"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Cluster::start_with(&ClusterOptions { durable: false, settings })
}

fn crash(cluster: &Cluster) {
    cluster.stop_immediate();
    cluster.start_again();
}

/// Repeats a crash until the database has lost something, up to three times.
async fn until_something_is_lost(is_lost: impl AsyncFn(&Cluster) -> bool) {
    let cluster = forgetful();
    for _ in 0..3 {
        if is_lost(&cluster).await {
            return;
        }
    }
    panic!("the database has lost nothing");
}

async fn states(world: &World, tasks: &[TaskRef<u32>]) -> Vec<TaskState> {
    let ids: Vec<_> = tasks.iter().map(TaskRef::id).collect();
    let mut records = world.store.get(&ids).await;
    while records.is_err() {
        records = world.store.get(&ids).await;
    }
    records.unwrap().into_iter().map(|record| record.unwrap().state).collect()
}

/// Returns true if the crash has lost the ends.
async fn ends_are_lost(cluster: &Cluster) -> bool {
    let world = World::on(Database::of(cluster)).await;
    let server = world.server(|config| config.lease = Duration::from_secs(120)).await;
    let tasks: Vec<TaskRef<u32>> = (0..5).map(|_| world.add("hold", &(), |call| call)).collect();
    world.stage.seen("hold", 5).await;
    // Their claims are on the disk.
    cluster.psql("CHECKPOINT");
    world.stage.open();
    eventually("all have ended", async || states(&world, &tasks).await == [TaskState::Done; 5]).await;
    crash(cluster);
    let lost = states(&world, &tasks).await.iter().filter(|state| **state == TaskState::Doing).count();
    eventually("all have ended again", async || states(&world, &tasks).await == [TaskState::Done; 5]).await;
    for task in &tasks {
        let record = world.record(task).await;
        assert_eq!((record.attempt, record.failures, record.crashes), (1 + record.lost, 0, 0));
        assert_eq!(record.server, Some(server.id()), "it lives on");
    }
    assert_eq!(world.stage.count("hold"), 5 + lost);
    server.stop();
    within("the stop", server.wait()).await;
    lost > 0
}

#[tokio::test]
async fn what_a_crash_made_run_for_ever_is_run_again() {
    until_something_is_lost(ends_are_lost).await;
}

/// Returns true if the crash has lost ends of a claim whose other tasks ended after it.
async fn earlier_ends_are_lost(cluster: &Cluster) -> bool {
    let world = World::on(Database::of(cluster)).await;
    world.client.pause_queue("default").await.unwrap();
    let first: Vec<TaskRef<u32>> = (0..3).map(|_| world.add("hold_first", &(), |call| call)).collect();
    let later: Vec<TaskRef<u32>> = (0..3).map(|_| world.add("hold", &(), |call| call)).collect();
    for task in first.iter().chain(&later) {
        task.stored().await.unwrap();
    }
    let server = world.server(|config| config.lease = Duration::from_secs(120)).await;
    world.client.resume_queue("default").await.unwrap();
    world.stage.seen("hold_first", 3).await;
    world.stage.seen("hold", 3).await;
    cluster.psql("CHECKPOINT");
    world.stage.note("first may end");
    eventually("the first have ended", async || states(&world, &first).await == [TaskState::Done; 3]).await;
    crash(cluster);
    let lost = states(&world, &first).await.iter().filter(|state| **state == TaskState::Doing).count();
    // The last end of their claim must not remove the tasks whose ends were lost.
    world.stage.open();
    eventually("the others have ended", async || states(&world, &later).await == [TaskState::Done; 3]).await;
    eventually("the first have ended again", async || states(&world, &first).await == [TaskState::Done; 3]).await;
    assert_eq!(world.stage.count("hold_first"), 3 + lost);
    server.stop();
    within("the stop", server.wait()).await;
    lost > 0
}

#[tokio::test]
async fn what_a_crash_made_run_for_ever_is_run_again_though_later_tasks_of_its_claim_have_ended() {
    until_something_is_lost(earlier_ends_are_lost).await;
}

/// Returns true if the crash has lost the claim.
async fn claim_is_lost(cluster: &Cluster) -> bool {
    let world = World::on(Database::of(cluster)).await;
    world.client.pause_queue("default").await.unwrap();
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    task.stored().await.unwrap();
    cluster.psql("CHECKPOINT");
    let server = world.server(|config| config.lease = Duration::from_secs(120)).await;
    cluster.psql("CHECKPOINT");
    world.client.resume_queue("default").await.unwrap();
    world.stage.seen("hold", 1).await;
    crash(cluster);
    let lost = states(&world, std::slice::from_ref(&task)).await == [TaskState::Enqueued];
    if lost {
        while world.client.resume_queue("default").await.is_err() {}
        world.stage.seen("hold", 2).await;
        // The body whose claim was lost ends; the other one decides.
        world.stage.seen("dropped", 1).await;
    }
    world.stage.open();
    eventually("it has ended", async || states(&world, std::slice::from_ref(&task)).await == [TaskState::Done]).await;
    assert_eq!(world.record(&task).await.attempt, 1);
    server.stop();
    within("the stop", server.wait()).await;
    lost
}

#[tokio::test]
async fn a_body_whose_claim_a_crash_forgot_is_interrupted() {
    until_something_is_lost(claim_is_lost).await;
}

/// A task that may run only once is claimed durably even if nothing else is: no crash makes it run again.
#[tokio::test]
async fn a_crash_does_not_forget_the_claim_of_a_task_that_may_run_only_once() {
    let cluster = forgetful();
    let world = World::on(Database::of(&cluster)).await;
    world.client.pause_queue("default").await.unwrap();
    let task: TaskRef<u32> = world.add("hold", &(), Call::at_most_once);
    task.stored().await.unwrap();
    let server = world.server(|config| config.lease = Duration::from_secs(120)).await;
    cluster.psql("CHECKPOINT");
    world.client.resume_queue("default").await.unwrap();
    world.stage.seen("hold", 1).await;
    crash(&cluster);
    assert_eq!(states(&world, std::slice::from_ref(&task)).await, [TaskState::Doing]);
    world.stage.open();
    eventually("it has ended", async || states(&world, std::slice::from_ref(&task)).await == [TaskState::Done]).await;
    assert_eq!(world.stage.count("hold"), 1);
    server.stop();
    within("the stop", server.wait()).await;
}
