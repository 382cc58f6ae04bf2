//! A directory, a queue and a mail server for a test, and the example's program run there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use taskyard::Taskyard;

use crate::smtp::PostOffice;

/// Deadline of every wait.
pub const BOUND: Duration = Duration::from_secs(60);

pub struct Sandbox {
    directory: tempfile::TempDir,
    pub database: String,
    pub queue: Taskyard,
    pub post: PostOffice,
}

impl Sandbox {
    /// Creates the directory, with a queue on this database.
    pub async fn new(database: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Marks the project's root, so that the directories above are not searched.
        std::fs::write(directory.path().join("taskyard.toml"), "").unwrap();
        let queue = Taskyard::connect(&database).await.unwrap();
        Self { directory, database, queue, post: PostOffice::open() }
    }

    fn shop_path(&self) -> PathBuf {
        self.directory.path().join("shop.db")
    }

    /// Opens the shop's database, as another program would.
    pub fn shop(&self) -> Connection {
        let connection = Connection::open(self.shop_path()).unwrap();
        connection.busy_timeout(BOUND).unwrap();
        connection
    }

    /// Returns a number from the shop's database.
    pub fn number(&self, sql: &str) -> i64 {
        self.shop().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Returns the command of the example's program, without variables of this process that could affect it.
    fn night(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_night"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["TASKYARD_", "QUEUE", "DATABASE_URL", "RUST_", "NIGHT_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", self.directory.path())
            .env("TASKYARD_DATABASE_URL", &self.database)
            .env("NIGHT_DB", self.shop_path())
            .env("NIGHT_SMTP", self.post.address());
        command
    }

    /// Runs a command to its end, asserts exit code 0, and returns its output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.night(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Starts a server of these queues (all if empty), and waits until it runs. Its lease is short, so that the test takes one
    /// minute instead of ten.
    pub fn serve(&self, queues: &str, rest: Duration) -> Running {
        let mut command = self.night(&["serve"]);
        command
            .env("TASKYARD_LEASE", "2")
            .env("TASKYARD_HEARTBEAT_INTERVAL", "0.4")
            .env("TASKYARD_RESCUE_INTERVAL", "0.5")
            .env("QUEUE_MAX_WORKERS", "2")
            .env("NIGHT_REST", rest.as_millis().to_string());
        if !queues.is_empty() {
            command.env("TASKYARD_QUEUES", queues);
        }
        let mut running = Running::start(&mut command);
        running.until_stderr("the server runs");
        running
    }

    /// Counts the tasks by state with SQL in the queue's tables; states without tasks are absent.
    pub fn counted(&self) -> BTreeMap<i64, u64> {
        if self.database.starts_with("postgresql") {
            let sql = "select state, count(*) from taskyard.task group by state";
            let text = taskyard_testkit::postgres::shared().psql_in(&self.database, sql);
            let rows = text.lines().filter_map(|line| line.split_once('|'));
            return rows.map(|(state, count)| (state.parse().unwrap(), count.parse().unwrap())).collect();
        }
        let rows = self.json(&["db", "query", "select state, count(*) as tasks from ty_task group by state"]);
        let number = |row: &Value, name: &str| row[name].as_i64().unwrap();
        rows.as_array().unwrap().iter().map(|row| (number(row, "state"), number(row, "tasks") as u64)).collect()
    }

    /// Asserts that SQL, the store's status and `queue stats` agree; returns the number of tasks by state.
    pub async fn agreed_counts(&self) -> [u64; 7] {
        let by_state = self.queue.store().status().await.unwrap().by_state;
        let counted = self.counted();
        let from_sql: Vec<u64> = (0..7).map(|state| counted.get(&state).copied().unwrap_or(0)).collect();
        assert_eq!(from_sql, by_state);
        let stats = self.json(&["queue", "stats"]);
        let open = ["waiting", "enqueued", "doing"]
            .map(|name| stats.as_array().unwrap().iter().map(|queue| queue[name].as_u64().unwrap()).sum::<u64>());
        assert_eq!(open, by_state[..3], "{stats}");
        // The last line shows the finished tasks.
        let told = self.ok(&["queue", "stats"]);
        let told = told.lines().find_map(|line| line.strip_prefix("all queues: ")).unwrap();
        let number = |part: &str| part.split_once(' ').unwrap().0.replace(',', "").parse::<u64>().unwrap();
        assert_eq!(told.split(", ").map(number).collect::<Vec<_>>(), by_state, "{told}");
        by_state
    }
}

/// A server process, which is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Reads to the end, because a full pipe would block the server's log.
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { child, lines, seen: Vec::new() }
    }

    fn until_stderr(&mut self, part: &str) {
        let until = Instant::now() + BOUND;
        while !self.seen.last().is_some_and(|line| line.contains(part)) {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no `{part}` on stderr ({error}): {:#?}", self.seen),
            }
        }
    }

    /// Kills the process with SIGKILL and waits until it has ended.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub async fn stop(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut status = None;
        until("the server stops", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until the condition holds, within the deadline.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
