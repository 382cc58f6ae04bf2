//! A database, ledgers and server processes for one fault test, on either backend.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard::settings::Settings;
use taskyard::{TaskId, TaskRef, TaskState, Taskyard};
use taskyard_faults::checker::{self, CheckReport};
use taskyard_faults::ledger::{Event, Ledger, read_all};
use taskyard_faults::tasks::{Proof, work};
use taskyard_testkit::postgres::shared;

/// Short leases, so that a minute shows what production shows in ten.
pub const LEASE: Duration = Duration::from_secs(2);
pub const SCAN: Duration = Duration::from_millis(500);

pub struct Harness {
    directory: tempfile::TempDir,
    pub database: String,
    pub queue: Taskyard,
    ledger: Arc<Ledger>,
    observers: tokio::task::JoinSet<()>,
}

/// A server process; killed when dropped.
pub struct ServerProcess(Child);

impl ServerProcess {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.0.id()).unwrap();
        // SAFETY-free: the system call is made by the `kill` program, on a process that this test started.
        assert!(Command::new("kill").args([format!("-{signal}"), id.to_string()]).status().unwrap().success());
    }

    /// Runs `kill -9`, and waits until the process has ended.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Returns how the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub fn has_exited(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Harness {
    /// Opens a queue on this database, with ledgers in a new directory.
    pub async fn on(database: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { database: Some(database.clone()), ..Settings::default() };
        let queue = Taskyard::with_settings(settings).await.unwrap();
        let ledger = Arc::new(Ledger::open(directory.path(), "producer").unwrap());
        Self { directory, database, queue, ledger, observers: tokio::task::JoinSet::new() }
    }

    pub fn ledgers(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a server process and waits until it serves.
    pub fn start_server(&self) -> ServerProcess {
        self.start_server_with(&[])
    }

    /// Starts a server process with additional environment variables, and waits until it serves.
    pub fn start_server_with(&self, environment: &[(&str, &str)]) -> ServerProcess {
        let (server, first_line) = self.spawn_server(environment);
        assert_eq!(first_line.trim(), "ready");
        server
    }

    /// Starts a server process that may end before it serves, and returns the first line of its output (empty if there
    /// was none).
    pub fn spawn_server(&self, environment: &[(&str, &str)]) -> (ServerProcess, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_faults-server"))
            .envs(environment.iter().copied())
            .arg(&self.database)
            .arg(self.ledgers())
            .env("TASKYARD_LEASE", format!("{}", LEASE.as_secs_f64()))
            .env("TASKYARD_HEARTBEAT_INTERVAL", "0.4")
            .env("TASKYARD_RESCUE_INTERVAL", format!("{}", SCAN.as_secs_f64()))
            .env("QUEUE_MAX_WORKERS", "2")
            .env("TASKYARD_CONCURRENCY", "40")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (ServerProcess(child), line)
    }

    /// Makes the database refuse every end of a task of this function.
    pub fn refuse_ends(&self, function: &str) {
        let rows = format!("old.state = 2 and new.state <> 2 and old.kind like '%::{function}'");
        if self.database.starts_with("postgres") {
            let sql = format!(
                "create function public.refuse() returns trigger language plpgsql as $$
                 begin if {rows} then raise 'not this one'; end if; return new; end $$;
                 create trigger refuse before update on taskyard.task for each row execute function public.refuse()"
            );
            shared().psql_in(&self.database, &sql);
        } else {
            self.run_on_file(&format!(
                "create trigger refuse before update on ty_task when {rows}
                 begin select raise(abort, 'not this one'); end"
            ));
        }
    }

    /// Reverts [`Harness::refuse_ends`].
    pub fn accept_ends(&self) {
        if self.database.starts_with("postgres") {
            shared().psql_in(&self.database, "drop trigger refuse on taskyard.task");
        } else {
            self.run_on_file("drop trigger refuse");
        }
    }

    fn run_on_file(&self, sql: &str) {
        let file = rusqlite::Connection::open(&self.database).unwrap();
        file.busy_timeout(Duration::from_secs(30)).unwrap();
        file.execute_batch(sql).unwrap();
    }

    /// Adds ledgered tasks in groups, records each as added after its acknowledgement, and observes their ends.
    pub async fn produce(&mut self, count: usize, millis: impl Fn(usize) -> u64) -> Vec<TaskRef<Proof>> {
        let mut all = Vec::with_capacity(count);
        for first in (0..count).step_by(500) {
            let calls: Vec<_> =
                (first..(first + 500).min(count)).map(|at| work(millis(at)).id(TaskId::generate())).collect();
            let ids: Vec<TaskId> = calls.iter().map(|call| call.task().unwrap().id).collect();
            self.ledger.write(&ids.iter().map(|task| Event::Adding { task: *task }).collect::<Vec<_>>());
            let refs = self.queue.add_tasks(calls).await.unwrap();
            self.ledger.write(&ids.iter().map(|task| Event::Added { task: *task }).collect::<Vec<_>>());
            for reference in &refs {
                let (reference, ledger) = (reference.clone(), Arc::clone(&self.ledger));
                self.observers.spawn(async move {
                    let found = reference.outcome().await.unwrap();
                    let result = found.result.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                    ledger.write(&[Event::Observed { task: found.id, state: found.state.to_string(), result }]);
                });
            }
            all.extend(refs);
        }
        all
    }

    /// Waits until every produced task was seen to end, then checks ledgers and rows.
    pub async fn report(&mut self, bound: Duration) -> CheckReport {
        let all = async { while self.observers.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, all).await.is_err() {
            let status = self.queue.store().status().await.unwrap();
            panic!("{} tasks did not end within {bound:?}: {status:?}", self.observers.len());
        }
        checker::check(self.queue.store().as_ref(), self.ledgers()).await.unwrap()
    }

    /// Returns the tasks that a process has started and not ended, by its ledger.
    pub fn in_flight(&self, process: u32) -> HashSet<TaskId> {
        let mut tasks = HashSet::new();
        for event in read_all(self.ledgers()).unwrap() {
            match event {
                Event::Started { task, process: by, .. } if by == process => drop(tasks.insert(task)),
                Event::Ended { task, process: by, .. } if by == process => drop(tasks.remove(&task)),
                _ => {}
            }
        }
        tasks
    }

    /// Waits until a process has this many bodies in flight.
    pub async fn until_in_flight(&self, process: u32, count: usize) {
        self.until("bodies are in flight", || self.in_flight(process).len() >= count).await;
    }

    /// Waits until a process has ended by itself.
    pub async fn until_exited(&self, server: &mut ServerProcess) {
        let started = Instant::now();
        while !server.has_exited() {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: not within 60 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until this many tasks are in a state.
    pub async fn until_state(&self, state: TaskState, count: u64, bound: Duration) {
        let started = Instant::now();
        loop {
            let status = self.queue.store().status().await.unwrap();
            if status.by_state[state as usize] >= count {
                return;
            }
            assert!(started.elapsed() < bound, "{count} {state}: not within {bound:?}: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
