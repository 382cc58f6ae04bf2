//! A role that may only connect, or only add tasks, blocks no server and no migration.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use taskyard_core::state::Runtime;
use taskyard_core::store::{NewServer, Serves, Store};
use taskyard_testkit::factory::server;
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

mod harness;

/// Keys of the advisory locks that this engine has used for servers and migrations.
const KEYS: [i64; 2] = [0x7461_736b_7961_7264, 0x7461_736b_6b69_6e64];
/// Time limit, shorter than any wait of a statement for a lock.
const SOON: Duration = Duration::from_secs(4);

/// Returns a connection of a new role that may only connect, and its name.
async fn stranger(url: &str) -> (Client, String) {
    let role = format!("stranger_{}", Uuid::new_v4().simple());
    shared().psql(&format!("CREATE ROLE {role} LOGIN"));
    let (client, connection) =
        tokio_postgres::connect(&url.replace("postgres@", &format!("{role}@")), NoTls).await.unwrap();
    tokio::spawn(connection);
    (client, role)
}

/// Returns a server that reports its build.
fn serving(fingerprint: &str) -> NewServer {
    let builds = vec![(Runtime::Rust, fingerprint.into())];
    NewServer { serves: Some(Serves { builds, queues: None }), ..server() }
}

/// Takes every lock that a role without privileges can hold.
async fn hold(client: &Client) {
    for key in KEYS {
        client.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
    }
}

#[tokio::test]
async fn advisory_locks_of_a_role_without_rights_hold_up_no_server() {
    let (store, url) = harness::fresh_with_address().await;
    let (client, _) = stranger(&url).await;
    hold(&client).await;
    let began = Instant::now();
    let host = serving("build");
    store.server_enter(&host).await.unwrap();
    store.server_leave(host.id).await.unwrap();
    // A build that no server has had for a minute is deleted by a step of regrouping.
    shared().psql_in(&url, "UPDATE taskyard.build SET seen_at = seen_at - interval '2 min'");
    store.regroup().await.unwrap();
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.build"), "0");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn advisory_locks_of_a_role_without_rights_hold_up_no_migration() {
    let url = shared().create_database();
    let (client, _) = stranger(&url).await;
    hold(&client).await;
    let store = harness::open(&url).await;
    let report = tokio::time::timeout(Duration::from_secs(30), store.migrate()).await.expect("in time").unwrap();
    assert!(report.applied.len() > 1, "{report:?}");
}

#[tokio::test]
async fn the_locks_of_servers_and_migrations_are_closed_to_roles_that_only_add_or_read() {
    let (store, url) = harness::fresh_with_address().await;
    let (client, role) = stranger(&url).await;
    shared().psql_in(
        &url,
        &format!(
            "GRANT USAGE ON SCHEMA taskyard TO {role}; GRANT EXECUTE ON FUNCTION taskyard.enqueue TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA taskyard TO {role}"
        ),
    );
    client.batch_execute("BEGIN; SELECT taskyard.enqueue('app:x')").await.unwrap();
    client.batch_execute("SELECT * FROM taskyard.kind_walk, taskyard.migration").await.unwrap();
    let began = Instant::now();
    store.server_enter(&serving("build")).await.unwrap();
    shared().psql_in(&url, "UPDATE taskyard.setting SET value = 'x' WHERE name = 'functions_hash'");
    assert_eq!(store.migrate().await.unwrap().applied, ["functions"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    client.batch_execute("COMMIT").await.unwrap();
    for call in [
        "SELECT taskyard.kind_lock()",
        "SELECT taskyard.kind_try_lock()",
        "LOCK TABLE taskyard.kind_walk IN SHARE ROW EXCLUSIVE MODE",
        "LOCK TABLE taskyard.migration IN SHARE ROW EXCLUSIVE MODE",
        "SELECT FROM taskyard.migration FOR UPDATE",
    ] {
        let refused = client.batch_execute(&format!("BEGIN; {call}")).await.unwrap_err();
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{call}: {refused}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}
