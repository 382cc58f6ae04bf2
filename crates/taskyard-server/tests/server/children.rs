//! Tasks in child processes: real processes, really killed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use taskyard_core::state::Runtime;
use taskyard_core::{TaskRef, TaskState};
use taskyard_server::ServerConfig;

use crate::child;
use crate::world::{TestServer, World, eventually, within};

async fn server(world: &World, change: impl FnOnce(&mut ServerConfig)) -> TestServer {
    world
        .server(|config| {
            config.children = Some(child::command());
            change(config);
        })
        .await
}

fn add<T>(world: &World, kind: &str, argument: impl serde::Serialize, retries: u32) -> TaskRef<T> {
    world.add(kind, &(argument,), |call| call.runtime(Runtime::Python).max_retries(retries))
}

/// A file that does not exist until the gate is opened.
struct Gate(tempfile::TempDir);

impl Gate {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("open")
    }

    fn open(&self) {
        std::fs::write(self.path(), "").unwrap();
    }
}

fn pid(id: i32) -> Pid {
    Pid::from_raw(id).unwrap()
}

async fn doing<T>(world: &World, tasks: &[TaskRef<T>]) {
    for task in tasks {
        eventually("it runs", async || world.record(task).await.state == TaskState::Doing).await;
    }
}

#[tokio::test]
async fn they_run_what_this_process_does_not() {
    let world = World::new().await;
    let server = server(&world, |_| {}).await;
    let tasks: Vec<TaskRef<i64>> = (0..300).map(|n| add(&world, "echo", n, 0)).collect();
    let here: TaskRef<i64> = world.add("echo", &(-1,), |call| call);
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(within("the result", task.wait()).await.unwrap(), n);
    }
    assert_eq!(within("its own", here.wait()).await.unwrap(), -1);
    server.stop();
    within("the exit", server.wait()).await;
}

#[tokio::test]
async fn every_end_is_what_the_child_says() {
    let world = World::new().await;
    let _server = server(&world, |_| {}).await;
    let raised: TaskRef<i64> = add(&world, "raise", 0, 0);
    let failed: TaskRef<i64> = add(&world, "fail", 0, 3);
    let again: TaskRef<i64> = add(&world, "again", 0, 3);
    let snoozed: TaskRef<i64> = add(&world, "snooze", 1, 0);
    let unknown: TaskRef<i64> = add(&world, "nowhere", 0, 0);
    assert_eq!(within("again", again.wait()).await.unwrap(), 2);
    assert_eq!(within("snoozed", snoozed.wait()).await.unwrap(), 2);
    for task in [&raised, &failed] {
        within("its end", task.outcome()).await.unwrap();
        let record = world.record(task).await;
        let error = record.error.unwrap();
        assert_eq!((record.state, record.failures, error.error_type.as_str()), (TaskState::Failed, 1, "ValueError"));
        assert_eq!(error.traceback.as_deref(), Some("Traceback …"));
    }
    eventually("it is parked", async || world.record(&unknown).await.waiting_for.is_some()).await;
}

#[tokio::test]
async fn what_they_note_is_stored() {
    let world = World::new().await;
    let _server = server(&world, |_| {}).await;
    let task: TaskRef<()> = add(&world, "note", 0, 0);
    within("its end", task.wait()).await.unwrap();
    assert_eq!(task.context().await.unwrap()["step"], 2);
    let logs = task.logs().await.unwrap();
    assert_eq!((logs[0].line.level, logs[0].line.message.as_str()), (30, "look"));
}

#[tokio::test]
async fn one_that_dies_is_replaced_and_to_blame() {
    let world = World::new().await;
    let _server = server(&world, |config| config.max_workers = 1).await;
    for kind in ["abort", "exit"] {
        let killer: TaskRef<i64> = add(&world, kind, 0, 3);
        let began = Instant::now();
        within("its end", killer.outcome()).await.unwrap();
        let record = world.record(&killer).await;
        assert_eq!((record.state, record.crashes, record.failures), (TaskState::Failed, 3, 0));
        assert_eq!(record.error.unwrap().error_type, "WorkerDied");
        let after: TaskRef<i64> = add(&world, "echo", 1, 0);
        assert_eq!(within("the next", after.wait()).await.unwrap(), 1);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

/// None of several tasks that ran is charged; each runs alone, and the one that kills is identified.
#[tokio::test]
async fn neighbours_of_a_killer_end_well() {
    let world = World::new().await;
    let gate = Gate::new();
    let _server = server(&world, |config| config.max_workers = 1).await;
    let neighbours: Vec<TaskRef<i64>> = (0..3).map(|_| add(&world, "hold", gate.path(), 0)).collect();
    doing(&world, &neighbours).await;
    let killer: TaskRef<i64> = add(&world, "abort", 0, 3);
    eventually("they ran beside it", async || world.record(&neighbours[0]).await.attempt > 1).await;
    gate.open();
    for task in &neighbours {
        within("a neighbour", task.wait()).await.unwrap();
        let record = world.record(task).await;
        assert_eq!((record.failures, record.crashes), (0, 0));
    }
    within("its end", killer.outcome()).await.unwrap();
    let record = world.record(&killer).await;
    assert_eq!((record.state, record.crashes), (TaskState::Failed, 3));
}

#[tokio::test]
async fn what_is_not_a_frame_ends_its_child() {
    let world = World::new().await;
    let _server = server(&world, |config| config.max_workers = 1).await;
    let junk: TaskRef<i64> = add(&world, "junk", 0, 0);
    within("its end", junk.outcome()).await.unwrap();
    assert_eq!(world.record(&junk).await.crashes, 3);
}

#[tokio::test]
async fn a_cancelled_body_is_interrupted() {
    let world = World::new().await;
    let gate = Gate::new();
    let _server = server(&world, |config| config.max_workers = 1).await;
    let tasks: Vec<TaskRef<i64>> = (0..2).map(|_| add(&world, "hold", gate.path(), 0)).collect();
    doing(&world, &tasks).await;
    tasks[0].cancel().await.unwrap();
    within("its end", tasks[0].outcome()).await.unwrap();
    assert_eq!(world.record(&tasks[0]).await.state, TaskState::Cancelled);
    gate.open();
    within("its neighbour", tasks[1].wait()).await.unwrap();
}

/// A body that does not yield is ended with its process, at its time limit or after a cancel; another body that had no
/// time left to end is not charged.
#[tokio::test]
async fn a_stubborn_body_ends_with_its_process() {
    let world = World::new().await;
    let gate = Gate::new();
    let _server = server(&world, |config| config.max_workers = 1).await;
    let neighbour: TaskRef<i64> = add(&world, "hold", gate.path(), 0);
    let limited: TaskRef<i64> = world.add("stubborn", &(gate.path(),), |call| {
        call.runtime(Runtime::Python).max_retries(0).timeout(Duration::from_millis(100))
    });
    within("its end", limited.outcome()).await.unwrap();
    let record = world.record(&limited).await;
    assert_eq!((record.state, record.error.unwrap().error_type.as_str()), (TaskState::Failed, "TimeoutError"));
    let cancelled: TaskRef<i64> = add(&world, "stubborn", gate.path(), 0);
    doing(&world, std::slice::from_ref(&cancelled)).await;
    cancelled.cancel().await.unwrap();
    within("its end", cancelled.outcome()).await.unwrap();
    assert_eq!(world.record(&cancelled).await.state, TaskState::Cancelled);
    gate.open();
    within("its neighbour", neighbour.wait()).await.unwrap();
    let record = world.record(&neighbour).await;
    assert_eq!((record.failures, record.crashes, record.lost), (0, 0, 0));
}

/// A cancelled body may continue until its grace period is over: its process takes no new tasks meanwhile, and is not
/// ended if the body ends by itself.
#[tokio::test]
async fn a_cancelled_body_has_the_grace_of_cancels() {
    let world = World::new().await;
    let gate = Gate::new();
    let _server = server(&world, |config| {
        config.max_workers = 1;
        config.cancel_grace = Duration::from_secs(60);
    })
    .await;
    let who: TaskRef<i32> = add(&world, "who", 0, 0);
    let process = within("who", who.wait()).await.unwrap();
    let cancelled: TaskRef<i64> = add(&world, "stubborn", gate.path(), 0);
    doing(&world, std::slice::from_ref(&cancelled)).await;
    let _stopping = cancelled.stop();
    let neighbours = async || {
        let who: TaskRef<i32> = add(&world, "who", 0, 0);
        within("who", who.wait()).await.unwrap()
    };
    eventually("another process takes what is new", async || neighbours().await != process).await;
    assert_eq!(world.record(&cancelled).await.state, TaskState::Doing);
    gate.open();
    within("its end", cancelled.outcome()).await.unwrap();
    assert_eq!(world.record(&cancelled).await.state, TaskState::Stopped);
    eventually("it leaves, as there is another one", async || test_kill_process(pid(process)).is_err()).await;
}

#[tokio::test]
async fn a_killed_one_is_replaced_within_a_second() {
    let world = World::new().await;
    let _server = server(&world, |config| config.max_workers = 1).await;
    let who: TaskRef<i32> = add(&world, "who", 0, 0);
    let first = within("who", who.wait()).await.unwrap();
    kill_process(pid(first), Signal::KILL).unwrap();
    let began = Instant::now();
    let who: TaskRef<i32> = add(&world, "who", 0, 0);
    assert_ne!(within("who", who.wait()).await.unwrap(), first);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn idle_ones_leave_and_worn_ones_are_replaced() {
    let world = World::new().await;
    let server = server(&world, |config| {
        config.max_workers = 1;
        config.worker_idle_timeout = Duration::from_secs(60);
        config.children.as_mut().unwrap().tasks_max = 20;
    })
    .await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let who: TaskRef<i32> = add(&world, "who", 0, 0);
        seen.insert(within("who", who.wait()).await.unwrap());
    }
    assert!(seen.len() > 1, "one was replaced");
    server.settings().update(|config| config.worker_idle_timeout = Duration::from_millis(50));
    eventually("the idle leave", async || {
        let status = server.status();
        status.workers_active + status.workers_idle == 0
    })
    .await;
}

/// Nothing is claimed for children that fail to start, and the tasks wait for children that work.
#[tokio::test]
async fn ones_that_do_not_come_up_lose_nothing() {
    let world = World::new().await;
    let gate = Gate::new();
    let server = server(&world, |config| {
        let path = gate.path().into_os_string();
        config.children.as_mut().unwrap().env.push(("TASKYARD_TEST_CHILD_FAILS".into(), path));
    })
    .await;
    let tasks: Vec<TaskRef<i64>> = (0..20).map(|n| add(&world, "echo", n, 0)).collect();
    eventually("some were claimed and given back", async || server.status().given_back > 0).await;
    eventually("all wait", async || {
        let mut waiting = true;
        for task in &tasks {
            waiting &= world.record(task).await.state == TaskState::Enqueued;
        }
        waiting
    })
    .await;
    gate.open();
    for task in &tasks {
        within("all", task.wait()).await.unwrap();
        assert_eq!(world.record(task).await.attempt, 1);
    }
}

#[tokio::test]
async fn a_stop_gives_back_what_runs_and_leaves_no_process() {
    let world = World::new().await;
    let gate = Gate::new();
    let server = server(&world, |config| config.shutdown_grace = Duration::from_millis(100)).await;
    let who: TaskRef<i32> = add(&world, "who", 0, 0);
    let process = within("who", who.wait()).await.unwrap();
    let held: Vec<TaskRef<i64>> = (0..40).map(|_| add(&world, "stubborn", gate.path(), 0)).collect();
    doing(&world, &held[..1]).await;
    server.stop();
    within("the exit", server.wait()).await;
    // The last write is bounded in time; the database may complete it a moment after the exit.
    for task in &held {
        eventually("it was given back uncharged", async || {
            let record = world.record(task).await;
            (record.state, record.attempt, record.lost) == (TaskState::Enqueued, 0, 0)
        })
        .await;
    }
    eventually("no process is left", async || test_kill_process(pid(process)).is_err()).await;
}

/// Withdrawn requests of a child are aborted, as are those of a child that has died, and the number of open requests of
/// a child is bounded.
#[tokio::test]
async fn questions_are_withdrawn_and_bounded() {
    let world = World::new().await;
    let server = server(&world, |config| {
        config.max_workers = 1;
        config.children.as_mut().unwrap().questions_max = 40;
    })
    .await;
    let never: TaskRef<i64> = world.add("echo", &(1,), |call| call.delay(Duration::from_secs(3_600)));
    let about = never.stored().await.unwrap().to_string();
    let wonders = |directory: &Gate, count: u64| -> TaskRef<()> {
        let directory = directory.0.path().to_str().unwrap();
        let argument = serde_json::json!({ "directory": directory, "task": about, "count": count });
        world.add("wonders", &(argument,), |call| call.runtime(Runtime::Python).max_retries(0).at_most_once())
    };
    let open = async |count: usize| {
        eventually("the questions", async || server.status().questions_open == count).await;
        eventually("the waits", async || world.client.open_waits() == count).await;
    };

    let gate = Gate::new();
    let first = wonders(&gate, 30);
    open(30).await;
    std::fs::write(gate.0.path().join("withdrawn"), "").unwrap();
    open(0).await;
    assert_eq!(world.record(&first).await.state, TaskState::Doing);
    std::fs::write(gate.0.path().join("ended"), "").unwrap();
    within("its end", first.wait()).await.unwrap();

    // Ten too many are refused; then the child dies.
    let gate = Gate::new();
    let second = wonders(&gate, 50);
    open(40).await;
    let child: TaskRef<i32> = add(&world, "who", 0, 0);
    kill_process(pid(within("its child", child.wait()).await.unwrap()), Signal::KILL).unwrap();
    within("its end", second.outcome()).await.unwrap();
    open(0).await;
}
