//! Tasks whose bodies write ledgers, die, block, or refuse to end.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskyard::{TaskContext, TaskId, task};

use crate::ledger::{Event, Ledger};

/// Directory for the ledgers of this process's bodies.
pub static LEDGER_DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
/// Address of the database, for bodies that end in a transaction of their own.
pub static DATABASE: OnceLock<String> = OnceLock::new();

fn ledger() -> &'static Ledger {
    static LEDGER: OnceLock<Ledger> = OnceLock::new();
    LEDGER.get_or_init(|| {
        let directory = LEDGER_DIRECTORY.get().expect("the program set it before it started a server");
        Ledger::open(directory, &format!("bodies-{}", std::process::id())).expect("the ledger can be opened")
    })
}

/// Identifies the run that made a result.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Proof {
    /// Number of the attempt.
    pub attempt: u32,
    /// Token of the attempt.
    pub token: String,
    /// Id of the process.
    pub process: u32,
}

/// Writes "started", takes `millis`, writes "ended", and returns the identity of its run.
#[task(max_retries = 0, timeout = "0s")]
pub async fn work(millis: u64, context: TaskContext) -> Proof {
    run(millis, &context).await
}

async fn run(millis: u64, context: &TaskContext) -> Proof {
    let (task, token, process) = (context.id(), context.token().to_string(), std::process::id());
    ledger().write(&[Event::Started { task, attempt: context.attempt(), token: token.clone(), process }]);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    ledger().write(&[Event::Ended { task, token: token.clone(), process }]);
    Proof { attempt: context.attempt(), token, process }
}

/// Like `work`, with a log line now and then; fails in its first `fails` attempts.
#[task(max_retries = 0, timeout = "0s")]
pub async fn deed(millis: u64, fails: u32, context: TaskContext) -> Result<Proof, String> {
    let proof = run(millis, &context).await;
    if millis.is_multiple_of(4) {
        tracing::info!(millis, "ran");
    }
    if context.attempt() <= fails { Err("on purpose".into()) } else { Ok(proof) }
}

/// Like `work`, with an effect in a row of `nemesis.effect`, written in the transaction that ends the task: the row is
/// there once, or not at all.
#[task(max_retries = 0, timeout = "0s")]
pub async fn effect(millis: u64, context: TaskContext) -> Result<Proof, Box<dyn std::error::Error + Send + Sync>> {
    let proof = run(millis, &context).await;
    let address = DATABASE.get().ok_or("the program set it before it started a server")?;
    let (mut client, connection) = tokio_postgres::connect(address, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO nemesis.effect VALUES ($1)", &[&context.id().0]).await?;
    taskyard::postgres::complete_in(&transaction, context.id(), context.token(), &serde_json::to_vec(&proof)?).await?;
    transaction.commit().await?;
    drop(client);
    connection.await??;
    Ok(proof)
}

/// Aborts its process each time.
#[task(max_retries = 0)]
pub async fn abort(context: TaskContext) -> bool {
    let (task, token) = (context.id(), context.token().to_string());
    ledger().write(&[Event::Started { task, attempt: context.attempt(), token, process: std::process::id() }]);
    std::process::abort()
}

taskyard::task_set!(
    /// Tasks that a server knows only if it is configured to; any other server parks them.
    pub SPARE_TASKS
);

/// Does nothing, if the server knows it.
#[task(set = SPARE_TASKS, max_retries = 0)]
pub async fn spare(number: u64) -> u64 {
    number
}

/// Logs and sets its context, and is still running when both are stored.
#[task(max_retries = 0)]
pub async fn talk(context: TaskContext) -> Result<(), taskyard::TaskError> {
    tracing::info!("talking");
    context.set("said", true)?;
    context.save_context().await?;
    Ok(())
}

/// Adds `count` children of its own, in a transaction of several statements.
#[task(max_retries = 0)]
pub async fn spawn(count: u64, context: TaskContext) -> Result<(), taskyard::TaskError> {
    let children = (0..count).map(|number| noop(number).parent_id(context.id()).tag("spawned"));
    context.client().add_tasks(children).await?;
    Ok(())
}

/// Takes `millis`, adds a child that it does not await, and returns the child's id at once.
#[task(max_retries = 0)]
pub async fn leave(millis: u64, context: TaskContext) -> Result<TaskId, taskyard::TaskError> {
    let (task, token, process) = (context.id(), context.token().to_string(), std::process::id());
    ledger().write(&[Event::Started { task, attempt: context.attempt(), token: token.clone(), process }]);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let child = context.client().add_later(noop(millis).tag("left"))?;
    ledger().write(&[Event::Ended { task, token, process }]);
    Ok(child.id())
}

/// Retries one task and cancels another, through the client of its server.
#[task(max_retries = 0)]
pub async fn steer(ended: TaskId, waiting: TaskId, context: TaskContext) -> Result<(), taskyard::TaskError> {
    context.client().retry(&[ended]).await?;
    context.client().cancel(&[waiting]).await?;
    Ok(())
}

/// Does nothing.
#[task(max_retries = 0)]
pub async fn noop(number: u64) -> u64 {
    number
}

/// Fails.
#[task(max_retries = 0)]
pub async fn fail(message: String) -> Result<(), String> {
    Err(message)
}
