//! A watch as a stream, on its own and in an endpoint that sends a task's events.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::Request;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt, TryStreamExt};
use taskyard::{Error, EventKind, TaskId, Taskyard, task};
use tower::ServiceExt;

#[task(max_retries = 0)]
async fn double(number: u32) -> Result<u32, String> {
    if number == 13 { Err("unlucky".into()) } else { Ok(2 * number) }
}

async fn queue() -> (Taskyard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap(), directory)
}

/// A typical endpoint of an application.
async fn events(
    State(queue): State<Taskyard>,
    Path(id): Path<TaskId>,
) -> Sse<impl Stream<Item = Result<Event, BoxError>>> {
    Sse::new(queue.watch(id, None).map(|event| {
        let event = event?;
        Ok(Event::default().id(event.seq.to_string()).json_data(event)?)
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_next_tells_and_ends() {
    let (queue, _directory) = queue().await;
    let task = queue.add(double(2)).await.unwrap();
    let mut by_next = task.watch(None).await.unwrap();
    let streamed = tokio::spawn(task.watch(None).await.unwrap().try_collect::<Vec<_>>());
    assert_eq!(by_next.next().await.unwrap().unwrap().kind, EventKind::Snapshot);
    let server = queue.serve().await.unwrap();
    let mut last = None;
    while let Some(event) = by_next.next().await.unwrap() {
        last = Some(event);
    }
    let streamed = tokio::time::timeout(Duration::from_secs(10), streamed).await.expect("it ends").unwrap().unwrap();
    assert_eq!(streamed.first().unwrap().kind, EventKind::Snapshot);
    assert_eq!((streamed.last(), streamed.last().unwrap().kind), (last.as_ref(), EventKind::Completed));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_the_last_item() {
    let (queue, _directory) = queue().await;
    let unknown = queue.watch(TaskId::generate(), None);
    let items: Vec<_> = tokio::time::timeout(Duration::from_secs(10), unknown.collect()).await.expect("it ends");
    assert!(matches!(items.as_slice(), [Err(Error::NotFound(_))]), "{items:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_axum_sends_the_events_of_a_task() {
    let (queue, _directory) = queue().await;
    let server = queue.serve().await.unwrap();
    let application = axum::Router::new().route("/tasks/{id}/events", get(events)).with_state(queue.clone());
    for (number, end) in [(4, "completed"), (13, "failed")] {
        let task = queue.add(double(number)).await.unwrap();
        let request = Request::get(format!("/tasks/{}/events", task.id())).body(Body::empty()).unwrap();
        let answer = application.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        // The response ends with the task.
        let body =
            tokio::time::timeout(Duration::from_secs(10), to_bytes(answer.into_body(), 1 << 20)).await.expect("an end");
        let text = String::from_utf8(body.unwrap().to_vec()).unwrap();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(text.contains("\"type\":\"snapshot\"") && last.contains(&format!("\"type\":\"{end}\"")), "{text}");
    }
    server.shutdown().await;
}
