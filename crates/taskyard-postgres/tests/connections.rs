//! Wrong addresses, lost connections, missing privileges: one clear sentence, and the next call works.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::client::{Call, ClientConfig};
use taskyard_core::store::Store;
use taskyard_core::{Client, Error, TaskState};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::{beat, request, server, task};
use taskyard_testkit::postgres::{Cluster, shared};
use tokio_postgres::NoTls;
use uuid::Uuid;

mod harness;

async fn refused(url: &str) -> Error {
    let options = Options { connect_timeout: Duration::from_secs(2), ..Options::default() };
    let error = PostgresStore::connect(url, options).await.map(|_| ()).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error
}

#[tokio::test]
async fn wrong_addresses_say_what_is_wrong_without_the_password() {
    let port = shared().port();
    let error = refused("postgresql://app:s3cret@127.0.0.1:1/db").await;
    assert!(
        matches!(&error, Error::Connection(why) if why.contains("127.0.0.1:1") && why.contains("refused")),
        "{error}"
    );
    let error = refused("postgresql://app:s3cret@no.such.host.invalid/db").await;
    assert!(matches!(&error, Error::Connection(why) if why.contains("no.such.host.invalid")), "{error}");
    let error = refused(&format!("postgresql://postgres:s3cret@127.0.0.1:{port}/no_such_database")).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("no_such_database")), "{error}");
    let error = refused(&format!("postgresql://nobody:s3cret@127.0.0.1:{port}/postgres")).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("nobody")), "{error}");
    assert!(matches!(refused("redis://:s3cret@127.0.0.1").await, Error::InvalidUrl(_)));
    // The server does not support TLS: a connection that requires encryption is never made in clear text.
    let error = refused(&format!("postgresql://postgres:s3cret@127.0.0.1:{port}/postgres?sslmode=require")).await;
    assert!(
        matches!(&error, Error::Connection(why) if why.contains("does not support TLS") && why.contains("?sslmode=disable")
            && why.contains("sslrootcert")),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_cannot_store_every_text_is_refused() {
    let cluster = shared();
    cluster.psql("CREATE DATABASE latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let error = refused(&cluster.url("latin1")).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("LATIN1") && why.contains("UTF8")), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let began = Instant::now();
    let error = refused(&format!("postgresql://app:s3cret@127.0.0.1:{port}/db")).await;
    assert!(matches!(error, Error::Connection(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let settings = Vec::new();
    let cluster = Cluster::start_with(&taskyard_testkit::postgres::ClusterOptions { durable: false, settings });
    // PostgreSQL 13 would store it as MD5, which the rule below does not accept.
    cluster.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'right'");
    let hba = cluster.psql("SHOW hba_file");
    let rules = "host all app 127.0.0.1/32 scram-sha-256\nlocal all all trust\nhost all postgres 127.0.0.1/32 trust\n";
    std::fs::write(&hba, rules).unwrap();
    cluster.psql("SELECT pg_reload_conf()");
    let url = |password: &str| format!("postgresql://app:{password}@127.0.0.1:{}/postgres", cluster.port());
    // The reload takes a moment.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match PostgresStore::connect(&url("s3cret"), Options::default()).await {
            Err(Error::Refused(why)) => {
                assert!(why.contains("password authentication failed") && !why.contains("s3cret"), "{why}");
                break;
            }
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        PostgresStore::connect(&format!("postgresql://app@127.0.0.1:{}/postgres", cluster.port()), Options::default())
            .await,
        Err(Error::Refused(_))
    ));
    PostgresStore::connect(&url("right"), Options::default()).await.unwrap().close().await;
}

#[tokio::test]
async fn without_a_schema_every_call_says_so() {
    let store = harness::open(&shared().create_database()).await;
    assert_eq!(store.schema().await.unwrap().found, 0);
    assert!(matches!(store.add(&[task()]).await, Err(Error::SchemaTooOld { found: 0, .. })));
    assert!(matches!(store.get(&[task().id]).await, Err(Error::SchemaTooOld { .. })));
    assert!(matches!(store.claim(&request(server().id, 1)).await, Err(Error::SchemaTooOld { .. })));
}

#[tokio::test]
async fn a_role_without_rights_is_refused() {
    let (_store, url) = harness::fresh_with_address().await;
    let role = format!("nobody_{}", Uuid::new_v4().simple());
    shared().psql(&format!("CREATE ROLE {role} LOGIN"));
    let own = url.replace("postgres@", &format!("{role}@"));
    let store = harness::open(&own).await;
    assert!(matches!(store.add(&[task()]).await, Err(Error::Refused(_))));
    let fresh = shared().create_database().replace("postgres@", &format!("{role}@"));
    let error = harness::open(&fresh).await.migrate().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let store = harness::fresh().await;
    store.close().await;
    assert_eq!(store.add(&[task()]).await, Err(Error::ShutDown("the store has been shut down")));
}

/// A connection of any role may be ended: the next calls work.
#[tokio::test]
async fn every_connection_may_be_ended() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    for _ in 0..5 {
        let id = store.add(&[task()]).await.unwrap()[0].id;
        notified(&store).await;
        assert!(shared().terminate_backends(&url) >= 3, "three for work, one that listens");
        gone(&url).await;
        // The client notices the end of a session a moment later: one call may still fail, the next one must not.
        let claimed = match store.claim(&request(host.id, 10)).await {
            Err(Error::Connection(_)) => store.claim(&request(host.id, 10)).await.unwrap(),
            other => other.unwrap(),
        };
        assert_eq!(claimed.tasks.len(), 1);
        assert!(!store.server_beat(&beat(host.id)).await.unwrap().dead);
        let finished = taskyard_core::store::Finish {
            id,
            token: claimed.tasks[0].token,
            outcome: taskyard_core::store::Outcome::Done { result: b"1".to_vec() },
            context: None,
            logs: Vec::new(),
        };
        store.finish(&[finished], &[]).await.unwrap();
        assert_eq!(store.get(&[id]).await.unwrap()[0].as_ref().unwrap().state, TaskState::Done);
    }
    store.close().await;
}

/// Without one of its connections a server would claim tasks but never renew its lease, or never write an outcome.
#[tokio::test]
async fn a_server_that_would_lack_a_connection_is_refused() {
    let role = format!("app_{}", Uuid::new_v4().simple());
    shared().psql(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 2"));
    let url = shared().create_database();
    let name = url.rsplit('/').next().unwrap();
    shared().psql(&format!("ALTER DATABASE {name} OWNER TO {role}"));
    let url = url.replace("postgres@", &format!("{role}@"));
    // Migrating needs a connection of its own.
    let options = Options { views: false, ..Options::default() };
    let store = PostgresStore::connect(&url, options).await.unwrap();
    store.migrate().await.unwrap();
    let host = server();
    for limit in [1, 2, 4] {
        shared().psql(&format!("ALTER ROLE {role} CONNECTION LIMIT {limit}"));
        let error = store.server_enter(&host).await.unwrap_err();
        let expected = ["needs 5 connections", &format!("there were {limit}:"), &role, "53300", "limits of the role"];
        assert!(matches!(&error, Error::Connection(why) if expected.iter().all(|part| why.contains(part))), "{error}");
        // A client needs only one.
        store.add(&[task()]).await.unwrap();
        assert!(store.servers().await.unwrap().is_empty());
    }
    shared().psql(&format!("ALTER ROLE {role} CONNECTION LIMIT 5"));
    store.server_enter(&host).await.unwrap();
    let claimed = store.claim(&request(host.id, 10)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 3);
    assert!(!store.server_beat(&beat(host.id)).await.unwrap().dead);
    let outcome = taskyard_core::store::Outcome::Done { result: b"1".to_vec() };
    let (id, token) = (claimed[0].id, claimed[0].token);
    let end = taskyard_core::store::Finish { id, token, outcome, context: None, logs: Vec::new() };
    store.finish(&[end], &[]).await.unwrap();
    notified(&store).await;
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    assert_eq!(shared().psql(&count), "5");
    store.close().await;
}

async fn gone(url: &str) {
    let name = url.rsplit('/').next().unwrap();
    while shared().psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")) != "0" {
        tokio::task::yield_now().await;
        if shared().psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_start < now() - interval '10 ms'")) == "0" {
            return;
        }
    }
}

/// Waits until the store receives notifications, as a server's does: its first look for schedules starts to listen.
async fn notified(store: &Arc<PostgresStore>) {
    let _ = store.schedule_look(1).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !store.hears_others() {
        assert!(Instant::now() < deadline, "LISTEN came up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A process adds a task, and another one is notified.
#[tokio::test]
async fn others_are_heard_and_told() {
    let (adder, url) = harness::fresh_with_address().await;
    let listening = harness::open(&url).await;
    listening.server_enter(&server()).await.unwrap();
    notified(&listening).await;
    let mut work = listening.notifications().work.listen();
    work.take();
    adder.add(&[task()]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), work.notified()).await.expect("told by NOTIFY");
    // Also by a client of a store that does nothing else, for every kind of addition.
    let client = Client::new(harness::open(&url).await, ClientConfig::default());
    for round in 0..3 {
        work.take();
        client.add(Call::<u64>::new("k", &()).unique(format!("key {round}"))).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), work.notified()).await.expect("told by NOTIFY");
    }
    // Also for an addition by SQL.
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    work.take();
    client.batch_execute("SELECT taskyard.enqueue('k')").await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), work.notified()).await.expect("told by enqueue()");
    // After an interruption the listener reconnects, and wakes all waiters once.
    shared().terminate_backends(&url);
    tokio::time::timeout(Duration::from_secs(60), work.notified()).await.expect("rung after the break");
    notified(&listening).await;
}

#[tokio::test]
async fn without_notify_nothing_listens_and_nothing_is_sent() {
    let url = harness::database().await;
    let quiet = PostgresStore::connect(&url, Options { notify: false, ..Options::default() }).await.unwrap();
    let listening = harness::open(&url).await;
    listening.server_enter(&server()).await.unwrap();
    notified(&listening).await;
    let mut work = listening.notifications().work.listen();
    work.take();
    quiet.add(&[task()]).await.unwrap();
    let host = server();
    quiet.server_enter(&host).await.unwrap();
    assert_eq!(quiet.claim(&request(host.id, 1)).await.unwrap().tasks.len(), 1);
    assert!(!quiet.hears_others());
    // A notification that was sent would have arrived before this one of another session.
    let mut finished = listening.notifications().finished.listen();
    finished.take();
    shared().psql_in(&url, "NOTIFY taskyard_finished");
    tokio::time::timeout(Duration::from_secs(30), finished.notified()).await.expect("the later one arrived");
    assert!(!work.take(), "no NOTIFY was sent");
}

/// A channel is an identifier in a statement that takes no parameters.
#[tokio::test]
async fn a_channel_is_checked() {
    let url = shared().url("postgres");
    for channel in ["", "a b", "x\"; drop table t; --", &"c".repeat(64)] {
        let options = Options { notify_channel: channel.into(), ..Options::default() };
        assert!(matches!(PostgresStore::connect(&url, options).await, Err(Error::Setting { .. })), "{channel}");
    }
}

/// A store outlives the runtime that first used it: its background tasks start again in the next one.
#[test]
fn other_processes_are_heard_again_in_the_next_runtime() {
    let notified = async |store: &Arc<dyn Store>| {
        let deadline = Instant::now() + Duration::from_secs(20);
        // A wait queries the ends of tasks, and so starts to listen.
        while store.finals(&[]).await.is_err() || !store.hears_others() {
            assert!(Instant::now() < deadline, "others are heard");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let (store, url) = first.block_on(async {
        let (store, url) = harness::fresh_with_address().await;
        let store: Arc<dyn Store> = store;
        notified(&store).await;
        (store, url)
    });
    drop(first);
    assert!(!store.hears_others(), "nothing listens");
    let next = runtime();
    next.block_on(async {
        notified(&store).await;
        let mut finished = store.notifications().finished.listen();
        finished.take();
        let other = PostgresStore::connect(&url, Options::default()).await.unwrap();
        let task = task();
        other.add(std::slice::from_ref(&task)).await.unwrap();
        other.cancel(&[task.id]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), finished.notified()).await.expect("an end elsewhere is heard");
        other.close().await;
        store.close().await;
    });
}
