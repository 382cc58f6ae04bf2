//! Tests both programs as two processes with real HTTP and SIGTERM, and the tasks without a server.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use newsletter::tasks;
use serde_json::{Value, json};
use sqlx::PgPool;
use taskyard::{TaskId, Taskyard};
use taskyard_testkit::postgres::shared;

const BOUND: Duration = Duration::from_secs(60);

/// A running program, and the first line of its output.
struct Program {
    child: Child,
    ready: String,
}

impl Program {
    fn start(path: &str, arguments: &[&str], database: &str) -> Self {
        let mut command = Command::new(path);
        command.args(arguments).env("DATABASE_URL", database).env_remove("TASKYARD_DATABASE_URL");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Self { child, ready: ready.trim().to_owned() }
    }

    fn web(database: &str) -> Self {
        Self::start(env!("CARGO_BIN_EXE_newsletter-web"), &["0"], database)
    }

    fn worker(database: &str) -> Self {
        Self::start(env!("CARGO_BIN_EXE_newsletter-worker"), &[], database)
    }

    fn stop(&mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(base: &str, path: &str, body: Value) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{base}{path}")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(base: &str, path: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn until_done(base: &str, added: &Value) -> Value {
    let started = Instant::now();
    loop {
        let (status, task) = get(base, &format!("/tasks/{}", added["task"].as_str().unwrap())).await;
        assert_eq!(status, 200, "{task}");
        if task["state"] == "done" {
            return task;
        }
        assert!(started.elapsed() < BOUND, "{task}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn mails(pool: &PgPool, subject: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM mail WHERE subject = $1").bind(subject).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_adds_what_the_worker_runs() {
    let database = shared().create_database();
    let mut web = Program::web(&database);
    let base = web.ready.strip_prefix("listening on ").unwrap().to_owned();
    let pool = PgPool::connect(&database).await.unwrap();

    // No worker is running yet, so the task waits.
    let (status, first) = post(&base, "/subscribers", json!({ "email": "ada@example.org" })).await;
    assert_eq!(status, 201);
    let (status, refused) = post(&base, "/subscribers", json!({ "email": "ada@example.org" })).await;
    assert_eq!(status, 409, "{refused}");
    let tasks: i64 = sqlx::query_scalar("SELECT count(*) FROM queued_tasks").fetch_one(&pool).await.unwrap();
    assert_eq!(tasks, 1, "a task was stored without its subscriber");

    let (status, _) = post(&base, "/subscribers", json!({ "email": "a\u{0}" })).await;
    assert_eq!(status, 400);

    let mut worker = Program::worker(&database);
    assert_eq!(worker.ready, "running tasks");
    let welcomed = until_done(&base, &first).await;
    assert_eq!(
        (&welcomed["result"], &welcomed["kind"]),
        (&json!("ada@example.org"), &json!("newsletter::tasks::welcome"))
    );
    assert_eq!(mails(&pool, "Welcome").await, 1);

    post(&base, "/subscribers", json!({ "email": "eve@example.org" })).await;
    let (status, issue) = post(&base, "/issues", json!({ "subject": "November" })).await;
    assert_eq!(status, 202);
    assert_eq!(until_done(&base, &issue).await["result"], 2);
    let started = Instant::now();
    while mails(&pool, "November").await < 2 {
        assert!(started.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let (status, missing) = get(&base, &format!("/tasks/{}", TaskId::generate())).await;
    assert_eq!((status, &missing["code"]), (404, &json!("not_found")));
    assert_eq!(reqwest::get(format!("{base}/health")).await.unwrap().status(), 200);
    assert_eq!((web.stop(), worker.stop()), (Some(0), Some(0)));
}

/// Tests tasks without a server: a body by `run_inline`, and queued tasks by `drain`.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_tested_without_a_server() {
    let database = shared().create_database();
    let pool = PgPool::connect(&database).await.unwrap();
    sqlx::raw_sql(include_str!("../schema.sql")).execute(&pool).await.unwrap();
    let queue = Taskyard::connect(&database).await.unwrap().state(pool.clone());
    let ada: i64 = sqlx::query_scalar("INSERT INTO subscriber (email) VALUES ('ada@example.org') RETURNING id")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(queue.run_inline(tasks::welcome(ada)).await.unwrap(), "ada@example.org");
    let issue = queue.add(tasks::send_issue("December".into())).await.unwrap();
    queue.drain().await.unwrap();
    assert_eq!((issue.wait().await.unwrap(), mails(&pool, "December").await), (1, 1));
    // As a second run of that task would do; its delivery has ended and is not added again.
    let again = queue.add(tasks::delivery(&issue.id().to_string(), ada, "December")).await.unwrap();
    assert!(again.existing());
}
