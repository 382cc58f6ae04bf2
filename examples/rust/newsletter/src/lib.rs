//! A newsletter: the web program stores subscribers and adds tasks, the worker program runs them.
//!
//! The tasks are in this library because a task's kind is the function's path (`newsletter::tasks::welcome`), which must be the
//! same in both programs. If each program had its own `mod tasks;`, the path would begin with the program's name.

pub mod tasks;
pub mod web;

use sqlx::PgPool;
use taskyard::Taskyard;

/// Opens the database of `DATABASE_URL`, which contains the newsletter's tables and the queue.
///
/// # Errors
/// A message if the variable is not set; the error of sqlx or Taskyard if the database cannot be used.
pub async fn open() -> Result<(PgPool, Taskyard), Box<dyn std::error::Error>> {
    let address = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a PostgreSQL address")?;
    let pool = PgPool::connect(&address).await?;
    // Both programs may start at the same time; the lock lets only one create the tables.
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(1)").execute(&mut *transaction).await?;
    sqlx::raw_sql(include_str!("../schema.sql")).execute(&mut *transaction).await?;
    transaction.commit().await?;
    // The queue must be in the same database, because tasks are added in the newsletter's transactions.
    Ok((pool, Taskyard::connect(&address).await?))
}

/// Writes events to stderr, and stores those inside a task in the task's log.
pub fn start_logging() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let levels = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::registry().with(levels).with(lines).with(taskyard::TaskLogLayer::new()).init();
}

/// Returns at Ctrl-C or SIGTERM, which service managers send.
///
/// # Panics
/// If the signal handler cannot be installed.
pub async fn stop_signal() {
    let terminate = tokio::signal::unix::SignalKind::terminate();
    let mut terminate = tokio::signal::unix::signal(terminate).expect("a handler can be installed");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
