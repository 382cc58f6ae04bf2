//! The tasks.

use sqlx::PgPool;
use taskyard::{State, TaskContext, task};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Welcomes a subscriber. The pool is the worker program's (`Taskyard::state`).
///
/// # Errors
/// The database's; the task is retried.
#[task(queue = "mail", max_retries = 5)]
pub async fn welcome(subscriber: i64, State(pool): State<PgPool>, context: TaskContext) -> Result<String, Anything> {
    let email: String =
        sqlx::query_scalar("SELECT email FROM subscriber WHERE id = $1").bind(subscriber).fetch_one(&pool).await?;
    send(&pool, &context, subscriber, "Welcome").await?;
    tracing::info!(email, "welcomed");
    Ok(email)
}

/// Sends an issue to everybody: one task for each subscriber, added together.
///
/// # Errors
/// The database's; the task is retried.
#[task(queue = "mail")]
pub async fn send_issue(subject: String, State(pool): State<PgPool>, context: TaskContext) -> Result<usize, Anything> {
    let subscribers: Vec<i64> = sqlx::query_scalar("SELECT id FROM subscriber ORDER BY id").fetch_all(&pool).await?;
    // The key makes a second run of this task add nothing twice.
    let key = context.idempotency_key();
    let issues = subscribers.into_iter().map(|id| deliver(id, subject.clone()).unique(format!("{key}/{id}")));
    Ok(context.client().add_tasks(issues).await?.len())
}

/// Sends an issue to one subscriber.
///
/// # Errors
/// The database's; the task is retried.
#[task(queue = "mail")]
pub async fn deliver(
    subscriber: i64,
    subject: String,
    State(pool): State<PgPool>,
    context: TaskContext,
) -> Result<(), Anything> {
    send(&pool, &context, subscriber, &subject).await
}

/// Stands for an SMTP client: a row is what was sent.
async fn send(pool: &PgPool, context: &TaskContext, subscriber: i64, subject: &str) -> Result<(), Anything> {
    sqlx::query("INSERT INTO mail (task_id, subscriber_id, subject) VALUES ($1::uuid, $2, $3) ON CONFLICT DO NOTHING")
        .bind(context.id().to_string())
        .bind(subscriber)
        .bind(subject)
        .execute(pool)
        .await?;
    Ok(())
}
