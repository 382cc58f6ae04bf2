//! The HTTP routes.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use taskyard::{TaskId, Taskyard};

use crate::tasks;

/// The handlers' state.
#[derive(Clone)]
pub struct App {
    /// The newsletter's own connections.
    pub pool: PgPool,
    /// The queue, on the same database.
    pub queue: Taskyard,
}

/// `POST /subscribers`, `POST /issues`, `GET /tasks/{id}`, `GET /health`.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/subscribers", post(subscribe))
        .route("/issues", post(publish))
        .route("/tasks/{id}", get(show))
        .route("/health", get(health))
        .with_state(app)
}

#[derive(Debug, Deserialize)]
struct Subscription {
    email: String,
}

#[derive(Debug, Deserialize)]
struct Issue {
    subject: String,
}

#[derive(Debug, Serialize)]
struct Added {
    task: TaskId,
}

/// Stores a subscriber and the task that welcomes them, in one transaction.
async fn subscribe(
    State(App { pool, queue }): State<App>,
    Json(subscription): Json<Subscription>,
) -> Result<(StatusCode, Json<Added>), Failure> {
    let mut transaction = pool.begin().await?;
    let id: i64 = sqlx::query_scalar("INSERT INTO subscriber (email) VALUES ($1) RETURNING id")
        .bind(&subscription.email)
        .fetch_one(&mut *transaction)
        .await?;
    let welcome = queue.add_in(&mut transaction, tasks::welcome(id)).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(Added { task: welcome.id() })))
}

async fn publish(
    State(App { queue, .. }): State<App>,
    Json(issue): Json<Issue>,
) -> Result<(StatusCode, Json<Added>), taskyard::Error> {
    let task = queue.add(tasks::send_issue(issue.subject)).await?;
    Ok((StatusCode::ACCEPTED, Json(Added { task: task.id() })))
}

async fn show(
    State(App { queue, .. }): State<App>,
    Path(id): Path<TaskId>,
) -> Result<impl IntoResponse, taskyard::Error> {
    Ok(Json(queue.get::<Value>(id).record().await?))
}

/// Returns 200 if the database can be reached.
async fn health(State(App { pool, .. }): State<App>) -> Result<&'static str, Failure> {
    sqlx::query("SELECT 1").execute(&pool).await?;
    Ok("ok")
}

/// An error of a handler.
enum Failure {
    Queue(taskyard::Error),
    Database(sqlx::Error),
}

impl From<taskyard::Error> for Failure {
    fn from(error: taskyard::Error) -> Self {
        Self::Queue(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            // 404 for a task that does not exist, 503 while the database is away, and so on.
            Self::Queue(error) => error.into_response(),
            Self::Database(error) => {
                let (status, text) = match error.as_database_error() {
                    Some(error) if error.is_unique_violation() => (StatusCode::CONFLICT, "this address is subscribed"),
                    Some(error) if error.code().is_some_and(|code| code.starts_with("22")) => {
                        (StatusCode::BAD_REQUEST, "this cannot be stored")
                    }
                    Some(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the database failed"),
                    None => (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be reached"),
                };
                tracing::warn!(%error, %status, "a request failed");
                (status, Json(json!({ "error": text }))).into_response()
            }
        }
    }
}
