//! A server that claims only on request: its child takes tasks by itself, and receives the stored result of their ends.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::time::Duration;

use serde_bytes::ByteBuf;
use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, NewServer};
use taskyard_core::{ClaimId, ServerId, TaskId, TaskRef, TaskState};
use taskyard_server::children::frame::{self, ChildRequest, End, FromChild, Run, ToChild};
use taskyard_server::children::{ChildCommand, Embedded};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::world::{TestServer, World, eventually, within};

/// The server's only child, implemented in the test.
pub struct Taker {
    socket: UnixStream,
    calls: u64,
    runs: Vec<Run>,
    answers: Vec<(u64, String)>,
}

impl Taker {
    pub async fn new(world: &World) -> (Self, TestServer) {
        let (sockets, mut wanted) = mpsc::unbounded_channel::<OwnedFd>();
        let mut command = ChildCommand::new("", [""; 0]);
        command.embedded = Some(Embedded::new(move |socket| {
            sockets.send(socket).map_err(|error| std::io::Error::other(error.to_string()))
        }));
        let server = world
            .server(|config| {
                (config.run_rust, config.on_demand, config.children) = (false, true, Some(command));
                (config.max_workers, config.workers_min, config.concurrency) = (1, 1, 1 << 20);
                // Longer than the test: attempts that are held here do not end by themselves.
                config.cancel_grace = Duration::from_secs(300);
            })
            .await;
        let socket = Socket::from(within("a child is wanted", wanted.recv()).await.unwrap());
        socket.set_nonblocking(true).unwrap();
        let socket = UnixStream::from_std(socket).unwrap();
        let mut taker = Self { socket, calls: 0, runs: Vec::new(), answers: Vec::new() };
        taker.say(FromChild::Ready { hears_deaths: false, code: None }).await;
        (taker, server)
    }

    async fn say(&mut self, message: FromChild) {
        let mut bytes = Vec::new();
        frame::write(&message, &mut bytes).unwrap();
        self.socket.write_all(&bytes).await.unwrap();
    }

    async fn ask(&mut self, asked: ChildRequest) -> u64 {
        self.calls += 1;
        self.say(FromChild::Asks(vec![(self.calls, asked)])).await;
        self.calls
    }

    /// Requests tasks; returns the number of the request.
    pub async fn wants(&mut self, limit: usize, wait_ms: u64) -> u64 {
        let number = self.calls + 1;
        self.ask(ChildRequest::Take { number, limit, queues: None, wait_ms }).await
    }

    /// Returns the response to a request; attempts that are sent before it are added to `runs`.
    pub async fn answer(&mut self, call: u64) -> String {
        loop {
            if let Some(cursor) = self.answers.iter().position(|(other, _)| *other == call) {
                return self.answers.remove(cursor).1;
            }
            match within("a word of the server", frame::read::<ToChild>(&mut self.socket)).await.unwrap().unwrap() {
                ToChild::Run(runs) => {
                    let slots = runs.iter().map(|run| run.slot).collect();
                    self.runs.extend(runs);
                    self.say(FromChild::Started(slots)).await;
                }
                ToChild::Answers(answers) => {
                    for (call, answer) in answers {
                        self.answers.push((call, String::from_utf8(answer.unwrap().into_vec()).unwrap()));
                    }
                }
                _ => {}
            }
        }
    }

    pub async fn take(&mut self, limit: usize, wait_ms: u64) -> Vec<TaskId> {
        let call = self.wants(limit, wait_ms).await;
        let ids: Vec<TaskId> = serde_json::from_str(&self.answer(call).await).unwrap();
        assert!(ids.iter().all(|id| self.runs.iter().any(|run| run.id == *id)), "the answer came before what it names");
        ids
    }

    pub fn slot(&self, id: TaskId) -> u64 {
        self.runs.iter().rev().find(|run| run.id == id).unwrap().slot
    }

    pub async fn end(&mut self, slot: u64, end: End) -> String {
        let call = self.ask(ChildRequest::Ended(slot, end)).await;
        self.answer(call).await
    }
}

pub fn done() -> End {
    End::Returned(ByteBuf::from(b"1".to_vec()))
}

pub async fn added(world: &World, count: usize) -> Vec<TaskRef<i64>> {
    let tasks: Vec<TaskRef<i64>> =
        (0..count).map(|n| world.add("echo", &(n,), |call| call.runtime(Runtime::Python))).collect();
    for task in &tasks {
        task.stored().await.unwrap();
    }
    tasks
}

#[tokio::test]
async fn nothing_is_claimed_unless_asked_for() {
    let world = World::new().await;
    let (mut taker, server) = Taker::new(&world).await;
    let tasks = added(&world, 5).await;
    let ids = taker.take(2, 0).await;
    assert_eq!(ids, [tasks[0].id(), tasks[1].id()]);
    for task in &tasks[2..] {
        let record = world.record(task).await;
        assert_eq!((record.state, record.attempt), (TaskState::Enqueued, 0));
    }
    assert_eq!(taker.end(taker.slot(ids[0]), done()).await, "\"done\"");
    // A task that was given back comes first again, and counts as never attempted.
    assert_eq!(taker.end(taker.slot(ids[1]), End::Recalled).await, "\"enqueued\"");
    assert_eq!(world.record(&tasks[1]).await.attempt, 0);
    assert_eq!(taker.take(1, 0).await, [tasks[1].id()]);
    assert_eq!(taker.take(100, 0).await.len(), 3);
    assert!(taker.take(1, 0).await.is_empty());
    server.stop();
    within("the exit", server.wait()).await;
    // The attempts that it still held were released.
    for task in &tasks[1..] {
        assert_eq!(world.record(task).await.state, TaskState::Enqueued);
    }
}

#[tokio::test]
async fn an_end_is_told_as_it_was_written() {
    let world = World::new().await;
    let (mut taker, _server) = Taker::new(&world).await;
    let tasks = added(&world, 2).await;
    let ids = taker.take(2, 0).await;
    let slot = taker.slot(ids[0]);
    assert_eq!(taker.end(slot, done()).await, "\"done\"");
    // A second end of the same attempt comes too late, and so does that of an attempt that never existed.
    assert_eq!(taker.end(slot, End::Recalled).await, "null");
    assert_eq!(taker.end(7_777, done()).await, "null");
    assert_eq!(world.record(&tasks[0]).await.state, TaskState::Done);
    // A cancel request takes precedence over a success that was not written.
    tasks[1].cancel().await.unwrap();
    eventually("the request is here", async || world.record(&tasks[1]).await.cancel_requested).await;
    let state = taker.end(taker.slot(ids[1]), End::Interrupted).await;
    assert_eq!(state, "\"cancelled\"");
}

#[tokio::test]
async fn who_waits_is_woken_and_who_does_not_want_it_any_more_gets_nothing() {
    let world = World::new().await;
    let (mut taker, _server) = Taker::new(&world).await;
    let waiting = taker.wants(1, 15_000).await;
    let tasks = added(&world, 1).await;
    assert_eq!(taker.answer(waiting).await, format!("[\"{}\"]", tasks[0].id()));

    let waiting = taker.wants(1, 600_000).await;
    taker.ask(ChildRequest::Waive(waiting)).await;
    assert_eq!(taker.answer(waiting).await, "[]");
    let tasks = added(&world, 1).await;
    assert!(taker.runs.iter().all(|run| run.id != tasks[0].id()));
    assert_eq!(taker.take(1, 0).await, [tasks[0].id()]);
}

/// Claims the task with a server that is then declared dead.
pub async fn lose(world: &World, id: TaskId, runtime: Runtime) {
    let server = ServerId::generate();
    let lease = Duration::from_secs(60);
    let newcomer =
        NewServer { id: server, name: "lost".into(), pid: 1, version: "0".into(), lease, workers_max: 1, serves: None };
    world.store.server_enter(&newcomer).await.unwrap();
    let claim = ClaimId::generate();
    let request = ClaimRequest { server, claim, runtime, queues: None, limit: 1, alone: false, cursor: None };
    assert_eq!(world.store.claim(&request).await.unwrap().tasks[0].id, id);
    let seen = world.store.beats().await.unwrap().into_iter().find(|seen| seen.server == server).unwrap();
    world.store.rescue(server, seen.beat, true).await.unwrap();
}

#[tokio::test]
async fn what_must_run_alone_has_nothing_beside_it() {
    let world = World::new().await;
    let suspect = added(&world, 1).await.remove(0);
    for _ in 0..3 {
        lose(&world, suspect.id(), Runtime::Python).await;
    }
    assert!(world.record(&suspect).await.alone);
    let (mut taker, _server) = Taker::new(&world).await;
    let others = added(&world, 3).await;
    let first = taker.take(1, 0).await;
    assert_eq!(first, [others[0].id()]);
    let rest = taker.take(9, 0).await;
    assert_eq!(rest, [others[1].id(), others[2].id()]);
    // Other tasks run here, so it has to wait.
    assert!(taker.take(1, 0).await.is_empty());
    let waiting = taker.wants(1, 15_000).await;
    for id in first.iter().chain(&rest) {
        assert_eq!(taker.end(taker.slot(*id), done()).await, "\"done\"");
    }
    assert_eq!(taker.answer(waiting).await, format!("[\"{}\"]", suspect.id()));
    // Nothing may run beside it.
    let last = added(&world, 1).await;
    assert!(taker.take(1, 0).await.is_empty());
    assert_eq!(taker.end(taker.slot(suspect.id()), done()).await, "\"done\"");
    assert_eq!(taker.take(1, 0).await, [last[0].id()]);
}
