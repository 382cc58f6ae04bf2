//! The newsletter's tasks.

use std::time::Duration;

use sqlx::PgPool;
use taskyard::{Call, State, TaskContext, UniqueHold, task};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Sends a welcome mail to a subscriber. The pool is set by the worker program (`Taskyard::state`).
///
/// # Errors
/// The error of sqlx if a query fails; the task is retried.
#[task(queue = "mail", max_retries = 5)]
pub async fn welcome(subscriber: i64, State(pool): State<PgPool>, context: TaskContext) -> Result<String, Anything> {
    let email: String =
        sqlx::query_scalar("SELECT email FROM subscriber WHERE id = $1").bind(subscriber).fetch_one(&pool).await?;
    send(&pool, &context, subscriber, "Welcome").await?;
    tracing::info!(email, "welcomed");
    Ok(email)
}

/// Sends an issue to all subscribers: a task for each, added together.
///
/// # Errors
/// The error of sqlx or Taskyard if the database cannot be used; the task is retried.
#[task(queue = "mail")]
pub async fn send_issue(subject: String, State(pool): State<PgPool>, context: TaskContext) -> Result<usize, Anything> {
    let subscribers: Vec<i64> = sqlx::query_scalar("SELECT id FROM subscriber ORDER BY id").fetch_all(&pool).await?;
    let issue = context.idempotency_key();
    let deliveries = subscribers.into_iter().map(|id| delivery(&issue, id, &subject));
    Ok(context.client().add_tasks(deliveries).await?.len())
}

/// Returns the delivery of an issue to a subscriber. Its unique key is held for a week, also after the delivery has ended, so that a
/// second run of [`send_issue`] (whose worker may be killed after it has added the deliveries) does not add it again.
pub fn delivery(issue: &str, subscriber: i64, subject: &str) -> Call<()> {
    let week = UniqueHold::For(Duration::from_secs(7 * 86_400));
    deliver(subscriber, subject.to_owned()).unique_for(format!("{issue}/{subscriber}"), week)
}

/// Sends an issue to one subscriber.
///
/// # Errors
/// The error of sqlx if the statement fails; the task is retried.
#[task(queue = "mail")]
pub async fn deliver(
    subscriber: i64,
    subject: String,
    State(pool): State<PgPool>,
    context: TaskContext,
) -> Result<(), Anything> {
    send(&pool, &context, subscriber, &subject).await
}

/// Takes the place of an SMTP client: stores a row for each mail.
async fn send(pool: &PgPool, context: &TaskContext, subscriber: i64, subject: &str) -> Result<(), Anything> {
    sqlx::query("INSERT INTO mail (task_id, subscriber_id, subject) VALUES ($1::uuid, $2, $3) ON CONFLICT DO NOTHING")
        .bind(context.id().to_string())
        .bind(subscriber)
        .bind(subject)
        .execute(pool)
        .await?;
    Ok(())
}
