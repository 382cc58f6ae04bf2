//! The limits of the settings hold at every interface: SQL's own functions enforce those of the server that was started
//! last, and additions checked by a client with its own limits are not checked again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::Limits;
use taskyard_core::store::Store;
use taskyard_core::task::{NewTask, Unique, UniqueHold};
use taskyard_postgres::{Options, PostgresStore, enqueue_in};
use taskyard_testkit::factory::{request, server, task};
use tokio_postgres::{Client, NoTls};

mod harness;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn nested(levels: usize) -> String {
    format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
}

/// Returns calls that exceed a default limit, with the name of its setting.
fn calls() -> Vec<(String, &'static str)> {
    let large = format!("[\"{}\"]", "x".repeat(2 << 20));
    vec![
        (format!("SELECT taskyard.enqueue('k', '{large}')"), "arguments_bytes_max"),
        (format!("SELECT taskyard.enqueue('k', kwargs => '{{\"a\": {large}}}')"), "arguments_bytes_max"),
        (format!("SELECT taskyard.schedule_add('s', '@daily', 'k', '{large}')"), "arguments_bytes_max"),
        (
            format!("SELECT taskyard.enqueue('k', context => '{{\"a\": \"{}\"}}')", "x".repeat(300_000)),
            "context_bytes_max",
        ),
        (format!("SELECT taskyard.enqueue('k', '{}')", nested(70)), "nesting_max"),
        (format!("SELECT taskyard.enqueue('k', context => '{{\"a\": {}}}')", nested(70)), "nesting_max"),
        (format!("SELECT taskyard.schedule_add('t', '@daily', 'k', '{}')", nested(70)), "nesting_max"),
        (format!("SELECT taskyard.enqueue('{}')", "k".repeat(300)), "name_bytes_max"),
        (format!("SELECT taskyard.enqueue('k', queue => '{}')", "q".repeat(300)), "name_bytes_max"),
        (format!("SELECT taskyard.enqueue('k', tags => ARRAY['{}'])", "t".repeat(300)), "name_bytes_max"),
        (format!("SELECT taskyard.enqueue('k', unique_key => '{}')", "u".repeat(300)), "name_bytes_max"),
    ]
}

#[tokio::test]
async fn sql_keeps_to_the_limits_of_the_server_that_was_started_last() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let assert_refused = async || {
        for (call, setting) in calls() {
            let error = client.batch_execute(&call).await.expect_err(setting);
            let message = error.as_db_error().unwrap().message().to_owned();
            assert!(message.contains(setting), "{}…: {message}", &call[..60]);
        }
    };
    assert_refused().await;
    let limits = Limits {
        arguments_bytes_max: 8_000_000,
        result_bytes_max: 8_000_000,
        context_bytes_max: 1_000_000,
        name_bytes_max: 1_000,
        nesting_max: 100,
        ..Limits::default()
    };
    let raised = PostgresStore::connect(&url, Options { limits, ..Options::default() }).await.unwrap();
    let host = server();
    raised.server_enter(&host).await.unwrap();
    for (call, setting) in calls() {
        client.batch_execute(&call).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
    }
    // A result is held to its limit as well.
    let claimed = raised.claim(&request(host.id, 1)).await.unwrap().tasks.remove(0);
    let complete = |bytes: usize| {
        format!("SELECT taskyard.complete_in('{}', '{}', '\"{}\"')", claimed.id, claimed.token.0, "x".repeat(bytes))
    };
    assert!(client.batch_execute(&complete(9_000_000)).await.is_err());
    client.batch_execute(&complete(2_000_000)).await.unwrap();
    store.server_enter(&server()).await.unwrap();
    assert_refused().await;
}

#[tokio::test]
async fn what_a_client_has_checked_is_stored() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let large = NewTask {
        kind: "k".repeat(300),
        payload: format!("{{\"args\":[\"{}\"]}}", "x".repeat(8_000_000)).into_bytes(),
        context: Some(format!("{{\"a\":\"{}\"}}", "x".repeat(500_000)).into_bytes()),
        unique: Some(Unique { key: "u".repeat(300), hold: UniqueHold::UntilFinished }),
        tags: vec!["t".repeat(300)],
        ..task()
    };
    let id = enqueue_in(&client, &large).await.unwrap();
    assert_eq!(store.get(&[id]).await.unwrap()[0].as_ref().unwrap().payload.len(), large.payload.len());
}
