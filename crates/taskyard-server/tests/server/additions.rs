//! The end of an attempt waits for what its body has added. The bodies add to a database of their own, which can be held up by itself.

use std::task::Poll;
use std::time::Duration;

use taskyard_core::client::Call;
use taskyard_core::payload::decode_args;
use taskyard_core::{Client, Error, RetryPolicy, TaskId, TaskRef, TaskState};
use taskyard_server::{AsyncBody, BodyResult, Registry, ServerConfig, TaskContext, TaskError, drain};

use crate::bodies::{Stage, registry, tasks};
use crate::world::{TestServer, World, eventually, quick, within};

/// A state of the application with a client of its own.
#[derive(Clone)]
struct Own(Client);

fn child(context: &TaskContext) -> Result<Call<u64>, TaskError> {
    let (id,): (TaskId,) = decode_args(context.payload(), &["child"])?;
    Ok(Call::new("app::child", &()).id(id))
}

fn note(context: &TaskContext, what: &str) {
    context.state::<Stage>().unwrap().note(what);
}

fn add_later(context: &TaskContext) -> BodyResult {
    context.client().add_later(child(context)?)?;
    note(context, "added");
    Ok(b"7".to_vec())
}

fn now(f: impl Future<Output = BodyResult> + Send + 'static) -> AsyncBody {
    Box::pin(f)
}

tasks! { ADDERS:
    AT_ONCE, "at_once", Async, |context| now(async move { add_later(&context) });
    PENDING, "pending", Async, |context| now(async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        add_later(&context)
    });
    LOCAL, "local", Local, |context| Box::pin(async move {
        tokio::task::yield_now().await;
        add_later(&context)
    });
    BLOCKING, "blocking", Blocking, |context| add_later(&context);
    ON_A_THREAD, "on_a_thread", Blocking, |context| {
        let other = context.clone();
        std::thread::spawn(move || add_later(&other)).join().unwrap()
    };
    BY_OWN, "by_own", Async, |context| now(async move {
        context.require_state::<Own>()?.0.add_later(child(&context)?)?;
        note(&context, "added");
        Ok(b"7".to_vec())
    });
    MANY, "many", Async, |context| now(async move {
        let others = (0..500).map(|number| Call::<u64>::new("app::other", &(number,)));
        for other in others {
            context.client().add_later(other)?;
        }
        let last = context.client().add_fan_in_later(vec![Call::<u64>::new("app::other", &())], child(&context)?)?;
        assert_eq!(last.tasks.len(), 1);
        note(&context, "added");
        Ok(b"7".to_vec())
    });
    STOPS_WAITING, "stops_waiting", Async, |context| now(async move {
        let call = child(&context)?;
        let _ = tokio::time::timeout(Duration::from_millis(20), context.client().add(call)).await;
        note(&context, "added");
        Ok(b"7".to_vec())
    });
    STOPS_POLLING, "stops_polling", Async, |context| now(async move {
        let mut adding = Box::pin(context.client().add(child(&context)?));
        let is_pending = std::future::poll_fn(|cx| Poll::Ready(adding.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending);
        note(&context, "added");
        context.client().flush().await?;
        // Decided by now, and dropped without having told.
        drop(adding);
        Ok(b"7".to_vec())
    });
    STOPS_ASKING, "stops_asking", Async, |context| now(async move {
        let added = context.client().add_later(child(&context)?)?;
        let _ = tokio::time::timeout(Duration::from_millis(20), added.stored()).await;
        note(&context, "added");
        Ok(b"7".to_vec())
    });
    SNOOZES, "snoozes", Async, |context| now(async move {
        if context.state::<Stage>().unwrap().count("snoozed") > 0 {
            return Ok(b"7".to_vec());
        }
        note(&context, "snoozed");
        add_later(&context)?;
        Err(TaskError::snooze(Duration::from_millis(1)))
    });
    FAILS, "fails", Async, |context| now(async move {
        add_later(&context)?;
        Err(TaskError::new("Boom", "on purpose"))
    });
    FAILS_WHEN_TOLD, "fails_when_told", Blocking, |context| {
        add_later(&context)?;
        while !context.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(TaskError::new("Boom", "on purpose"))
    };
    PANICS, "panics", Blocking, |context| {
        let _ = add_later(&context);
        panic!("on purpose")
    };
    LOOKS, "looks", Async, |context| now(async move {
        let added = context.client().add_later(child(&context)?)?;
        assert!(added.stored().await.is_err());
        Ok(b"7".to_vec())
    });
}

/// All bodies that succeed although they leave an addition open.
const OPEN: [&str; 11] = [
    "at_once",
    "pending",
    "local",
    "blocking",
    "on_a_thread",
    "by_own",
    "many",
    "stops_waiting",
    "stops_asking",
    "stops_polling",
    "snoozes",
];

/// The server's database, and the one that its bodies add to.
struct Two {
    world: World,
    other: World,
}

impl Two {
    async fn new() -> Self {
        Self { world: World::new().await, other: World::new().await }
    }

    fn registry(&self) -> Registry {
        registry(&self.world.stage).extend(ADDERS.iter().copied()).state(Own(self.other.client.clone()))
    }

    async fn server(&self, change: impl FnOnce(&mut ServerConfig)) -> TestServer {
        let mut config = quick();
        change(&mut config);
        TestServer::start(self.world.store.clone(), self.other.client.clone(), self.registry(), config).await
    }

    /// A task whose body adds this one.
    fn add(&self, kind: &str, child: TaskId, options: impl FnOnce(Call<u32>) -> Call<u32>) -> TaskRef<u32> {
        self.world.add(kind, &(child,), |call| options(call.max_retries(0)))
    }

    async fn state(&self, task: &TaskRef<u32>) -> TaskState {
        self.world.record(task).await.state
    }

    /// Runs a later task to its end on each kind of thread: an end that was not held back is stored by then.
    async fn later_tasks_end(&self) {
        for kind in ["current", "current_blocking"] {
            let task: TaskRef<serde_json::Value> = self.world.add(kind, &(), |call| call);
            within("a later task", task.wait()).await.unwrap();
        }
    }

    /// Whether what the bodies add to holds this task.
    async fn holds(&self, child: TaskId) -> bool {
        self.other.store.present(&[child]).await.unwrap() == [true]
    }
}

fn failure(result: Result<u32, Error>) -> (String, String) {
    match result.unwrap_err() {
        Error::TaskFailed { error_type, message, .. } => (error_type, message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn no_success_is_stored_before_what_its_body_has_added() {
    let two = Two::new().await;
    let server = two.server(|_| {}).await;
    let blocked = two.other.database.block().await;
    let tasks = OPEN.map(|kind| {
        let child = TaskId::generate();
        (kind, child, two.add(kind, child, |call| call))
    });
    two.world.stage.seen("added", OPEN.len()).await;
    two.later_tasks_end().await;
    for (kind, _, task) in &tasks {
        assert_eq!(two.state(task).await, TaskState::Doing, "{kind}");
    }
    eventually("the later tasks have left", async || server.status().tasks_running <= OPEN.len()).await;
    assert_eq!(server.status().tasks_running, OPEN.len());
    drop(blocked);
    for (kind, child, task) in &tasks {
        assert_eq!(within(kind, task.wait()).await.unwrap(), 7, "{kind}");
        assert!(two.holds(*child).await, "{kind}");
    }
    eventually("no place is taken any more", async || server.status().tasks_running == 0).await;
}

#[tokio::test]
async fn others_run_while_a_body_waits_for_its_additions() {
    let two = Two::new().await;
    let server = two.server(|config| (config.max_workers, config.concurrency) = (1, 1)).await;
    for (number, (kind, other)) in
        [("at_once", "current"), ("pending", "current"), ("local", "current"), ("blocking", "current_blocking")]
            .into_iter()
            .enumerate()
    {
        let blocked = two.other.database.block().await;
        let tasks = [TaskId::generate(), TaskId::generate()].map(|child| two.add(kind, child, |call| call));
        two.world.stage.seen("added", 2 * (number + 1)).await;
        let unrelated: TaskRef<serde_json::Value> = two.world.add(other, &(), |call| call);
        within("an unrelated task", unrelated.wait()).await.unwrap();
        for task in &tasks {
            assert_eq!(two.state(task).await, TaskState::Doing, "{kind}");
        }
        drop(blocked);
        for task in &tasks {
            assert_eq!(within(kind, task.wait()).await.unwrap(), 7, "{kind}");
        }
    }
    eventually("nothing runs", async || server.status().tasks_running == 0).await;
    // The slots were taken again.
    two.world.tasks_run_one_by_one().await;
}

#[tokio::test]
async fn a_failure_stands_although_its_wait_is_cut_short() {
    for kind in ["fails", "fails_when_told"] {
        let two = Two::new().await;
        let server = two.server(|config| config.shutdown_grace = Duration::from_millis(100)).await;
        let blocked = two.other.database.block().await;
        let task = two.add(kind, TaskId::generate(), |call| call);
        two.world.stage.seen("added", 1).await;
        server.stop();
        within("the exit", server.wait()).await;
        drop(blocked);
        assert_eq!(failure(within(kind, task.wait()).await).0, "Boom", "{kind}");
    }
}

#[tokio::test]
async fn a_refused_addition_fails_the_attempt_by_its_name() {
    let two = Two::new().await;
    let _server = two.server(|_| {}).await;
    two.other.database.refuse_additions("app::child").await;
    for kind in OPEN {
        let child = TaskId::generate();
        // These begin to wait before it is refused.
        let stops = kind.starts_with("stops");
        let blocked = if stops { Some(two.other.database.block().await) } else { None };
        let before = two.world.stage.count("added");
        let task = two.add(kind, child, |call| call);
        if stops {
            two.world.stage.seen("added", before + 1).await;
        }
        drop(blocked);
        let (_, message) = failure(within(kind, task.wait()).await);
        let named = match kind {
            "many" => "(app::other) and 1 more".to_owned(),
            // Not known of an `add` that was dropped.
            "stops_waiting" | "stops_polling" => format!("task {child}"),
            _ => format!("task {child} (app::child)"),
        };
        assert!(message.contains(&named) && message.contains("not this one"), "{kind}: {message}");
        assert!(message.contains("which this task's body added, was not stored"), "{kind}: {message}");
    }
    let looked = two.add("looks", TaskId::generate(), |call| call);
    assert_eq!(within("one that has asked", looked.wait()).await.unwrap(), 7);
    // A retry adds again.
    let policy = RetryPolicy { max_retries: 1, backoff_ms: 1, ..RetryPolicy::default() };
    let again = two.add("pending", TaskId::generate(), |call| call.retry(policy));
    failure(within("the second failure", again.wait()).await);
    assert_eq!(two.world.record(&again).await.attempt, 2);
}

#[tokio::test]
async fn a_failure_waits_for_its_additions_for_a_while() {
    let two = Two::new().await;
    let _server = two.server(|_| {}).await;
    for (kind, message) in [("fails", "on purpose"), ("panics", "on purpose")] {
        let blocked = two.other.database.block().await;
        let child = TaskId::generate();
        let task = two.add(kind, child, |call| call);
        two.world.stage.seen("added", 1).await;
        two.later_tasks_end().await;
        assert_eq!(two.state(&task).await, TaskState::Doing, "{kind}");
        drop(blocked);
        assert!(failure(within(kind, task.wait()).await).1.contains(message));
        assert!(two.holds(child).await, "{kind}");
    }
    let blocked = two.other.database.block().await;
    let child = TaskId::generate();
    let task = two.add("fails", child, |call| call);
    assert_eq!(failure(within("the end of its patience", task.wait()).await).0, "Boom");
    drop(blocked);
    eventually("it is stored all the same", async || two.holds(child).await).await;
}

#[tokio::test]
async fn the_time_limit_and_a_cancel_end_the_wait() {
    let two = Two::new().await;
    let server = two.server(|_| {}).await;
    let blocked = two.other.database.block().await;
    for kind in ["at_once", "blocking", "local"] {
        let late = two.add(kind, TaskId::generate(), |call| call.timeout(Duration::from_millis(300)));
        let (error_type, message) = failure(within("the time limit", late.wait()).await);
        assert_eq!(error_type, "TimeoutError", "{kind}");
        assert!(message.contains("its body had ended, and tasks that it added were not stored"), "{kind}: {message}");
    }
    for (number, kind) in ["at_once", "blocking", "local"].into_iter().enumerate() {
        let asked = two.add(kind, TaskId::generate(), |call| call);
        two.world.stage.seen("added", 4 + number).await;
        asked.cancel();
        assert!(matches!(within("the cancel", asked.wait()).await, Err(Error::TaskCancelled(_))), "{kind}");
    }
    assert_eq!(server.status().threads_abandoned, 0);
    drop(blocked);
}

#[tokio::test]
async fn a_shutdown_gives_the_wait_its_grace_and_then_the_task_back() {
    let two = Two::new().await;
    let server = two.server(|config| config.shutdown_grace = Duration::from_millis(100)).await;
    let blocked = two.other.database.block().await;
    let (first, second) = (TaskId::generate(), TaskId::generate());
    let tasks = [two.add("at_once", first, |call| call), two.add("blocking", second, |call| call)];
    two.world.stage.seen("added", 2).await;
    server.stop();
    let exit = within("the exit", server.wait()).await;
    assert_eq!(exit.unwritten, 0);
    for task in &tasks {
        let record = two.world.record(task).await;
        assert_eq!((record.state, record.attempt), (TaskState::Enqueued, 0));
    }
    drop(blocked);
    eventually("what was added is stored", async || two.holds(first).await && two.holds(second).await).await;
    let next = two.server(|_| {}).await;
    // The same children once more, under ids that are taken: their bodies are to blame.
    for task in &tasks {
        assert!(failure(within("the second run", task.wait()).await).1.contains("exists already"));
    }
    let blocked = two.other.database.block().await;
    let child = TaskId::generate();
    let task = two.add("pending", child, |call| call);
    two.world.stage.seen("added", 5).await;
    next.stop();
    drop(blocked);
    within("the exit", next.wait()).await;
    assert_eq!(two.state(&task).await, TaskState::Done);
    assert!(two.holds(child).await);
}

#[tokio::test]
async fn an_attempt_that_loses_its_lease_while_it_waits_stores_nothing() {
    let two = Two::new().await;
    let server = two.server(|_| {}).await;
    let blocked = two.other.database.block().await;
    let child = TaskId::generate();
    let task = two.add("snoozes", child, |call| call);
    two.world.stage.seen("added", 1).await;
    let before = server.id();
    eventually("another server condemns it", async || {
        let beats = two.world.store.beats().await.unwrap();
        match beats.iter().find(|seen| seen.server == before && !seen.dead) {
            Some(seen) => two.world.store.rescue(before, seen.beat, true).await.unwrap().tasks > 0,
            None => true,
        }
    })
    .await;
    // The second run adds nothing, and ends while the addition of the first is still open.
    assert_eq!(within("the second run", task.wait()).await.unwrap(), 7);
    assert_ne!(server.id(), before);
    drop(blocked);
    eventually("what the first run added is stored", async || two.holds(child).await).await;
    let record = two.world.record(&task).await;
    assert_eq!((record.state, record.attempt, record.lost), (TaskState::Done, 2, 1));
}

#[tokio::test]
async fn a_drain_waits_as_well() {
    let two = Two::new().await;
    two.other.database.refuse_additions("app::child").await;
    let tasks = ["at_once", "pending", "local", "blocking"].map(|kind| two.add(kind, TaskId::generate(), |call| call));
    for task in &tasks {
        task.stored().await.unwrap();
    }
    assert_eq!(drain(two.world.store.clone(), two.other.client.clone(), two.registry()).await.unwrap(), 4);
    for task in &tasks {
        assert!(failure(task.wait().await).1.contains("(app::child), which this task's body added, was not stored"));
    }
}
