//! An axum shop: an order is processed in the background, its confirmation waits for it, the client polls progress.
//!
//! `POST /orders {"id": 1, "items": 3}` returns 202 once both tasks are durable; `GET /tasks/{id}` returns state, progress and
//! result; `DELETE /tasks/{id}` cancels. If the database cannot be reached, the shop returns 503 with the reason.

use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use taskyard::{Error, State, TaskContext, TaskId, TaskRef, Taskyard, task};

/// The state that the shop's tasks share: here only a price, in a real application a connection pool.
#[derive(Clone, Copy, Debug)]
pub struct PriceList {
    /// Price of an item in cents.
    pub cents_per_item: u64,
}

/// An order as the client sends it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// The client's number of the order.
    pub id: u64,
    /// Number of items.
    pub items: u64,
}

/// The result of processing an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Bill {
    /// Number of the order.
    pub order: u64,
    /// Price in cents.
    pub cents: u64,
}

/// Packs an order item by item.
#[task(queue = "orders", max_retries = 2)]
async fn process(order: Order, context: TaskContext, prices: State<PriceList>) -> Result<Bill, Error> {
    for packed in 1..=order.items {
        tokio::time::sleep(Duration::from_millis(20)).await;
        context.progress(packed, order.items);
    }
    Ok(Bill { order: order.id, cents: order.items * prices.0.cents_per_item })
}

/// Confirms an order with the result of its parent, [`process`].
#[task(queue = "mail")]
async fn confirm(email: String, context: TaskContext) -> Result<String, Error> {
    let parents = context.parent_results().await?;
    let bill: Option<Bill> = parents
        .first()
        .and_then(|parent| parent.result.as_deref())
        .and_then(|bytes| serde_json::from_slice(bytes).ok());
    let cents = bill.map_or(0, |bill| bill.cents);
    Ok(format!("to {email}: your order costs {cents} cents"))
}

/// Longest time that a client waits for the database.
const ANSWER_MAX: Duration = Duration::from_secs(5);

fn unavailable() -> Response {
    let why = json!({ "error": "the database does not answer", "code": "queue_unavailable" });
    (StatusCode::SERVICE_UNAVAILABLE, Json(why)).into_response()
}

/// Returns the shop's routes on a queue.
pub fn router(queue: Taskyard) -> Router {
    Router::new().route("/orders", post(order)).route("/tasks/{id}", get(show).delete(cancel)).with_state(queue)
}

async fn order(Shared(queue): Shared<Taskyard>, Json(order): Json<Order>) -> Result<Response, Refused> {
    // Both tasks are stored or none, and the response is sent only after they are stored.
    let processing = process(order.clone());
    let confirmation = confirm(format!("customer-{}@example.org", order.id));
    let added = queue.add_fan_in([processing], confirmation);
    let Ok(added) = tokio::time::timeout(ANSWER_MAX, added).await else { return Ok(unavailable()) };
    let added = added?;
    let answer = json!({ "process": added.tasks[0].id(), "confirm": added.then.id() });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

async fn show(Shared(queue): Shared<Taskyard>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let reference: TaskRef = queue.get(id.parse::<TaskId>()?);
    let record = reference.record().await?;
    let result: Option<Value> = record.result.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    Ok(Json(json!({
        "state": record.state,
        "progress": reference.progress().await?,
        "result": result,
        "error": record.error,
    })))
}

async fn cancel(Shared(queue): Shared<Taskyard>, Path(id): Path<String>) -> Result<StatusCode, Refused> {
    queue.get::<Value>(id.parse::<TaskId>()?).cancel().await?;
    Ok(StatusCode::ACCEPTED)
}

/// An error of the queue as a response.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::WrongState { .. } => StatusCode::CONFLICT,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({ "error": self.0.to_string(), "code": self.0.code() }))).into_response()
    }
}
