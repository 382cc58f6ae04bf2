//! The tasks.

use std::time::Duration;

use sqlx::PgPool;
use taskyard::{Call, State, TaskContext, UniqueHold, task};

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
    let issue = context.idempotency_key();
    let deliveries = subscribers.into_iter().map(|id| delivery(&issue, id, &subject));
    Ok(context.client().add_tasks(deliveries).await?.len())
}

/// One subscriber's part of an issue. A second run of [`send_issue`] (its worker may be killed after it has added them) adds none again:
/// the key is held for a week, also when the delivery has ended.
pub fn delivery(issue: &str, subscriber: i64, subject: &str) -> Call<()> {
    let week = UniqueHold::For(Duration::from_secs(7 * 86_400));
    deliver(subscriber, subject.to_owned()).unique_for(format!("{issue}/{subscriber}"), week)
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
