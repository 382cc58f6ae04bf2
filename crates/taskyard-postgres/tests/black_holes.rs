//! Connections that die silently: requests get no response, and no side closes them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::store::{Beat, NewServer, Store};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::{beat, request, server, task};
use taskyard_testkit::proxy::{Fault, Proxy, Which};

mod harness;

async fn behind_a_proxy() -> (Arc<PostgresStore>, Proxy) {
    let (proxy, through) = Proxy::for_url(&harness::database().await);
    (PostgresStore::connect(&through, Options { notify: false, ..Options::default() }).await.unwrap(), proxy)
}

/// A caller that gives each call less time than the store does, as a server's heartbeat may.
#[tokio::test(flavor = "multi_thread")]
async fn a_beat_that_is_dropped_early_comes_back() {
    let (store, proxy) = behind_a_proxy().await;
    let lease = Duration::from_secs(6);
    let host = NewServer { lease, ..server() };
    store.server_enter(&host).await.unwrap();
    let one = Beat { lease, ..beat(host.id) };
    store.server_beat(&one).await.unwrap();
    assert_eq!(proxy.fault(Which::Sent("server_beat"), Fault::BlackHole), 1);
    let began = Instant::now();
    while tokio::time::timeout(Duration::from_millis(300), store.server_beat(&one)).await.is_err() {
        assert!(began.elapsed() < lease, "the heartbeat's connection is used for ever");
    }
    // No other connection was replaced.
    assert_eq!(store.get(&[task().id]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_replaces_its_connection() {
    let (store, proxy) = behind_a_proxy().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.claim(&request(host.id, 1)).await.unwrap();
    assert!(proxy.fault(Which::All, Fault::BlackHole) >= 2);
    let began = Instant::now();
    // Each call ends within its own deadline, and the next one gets a new connection.
    store.claim(&request(host.id, 1)).await.unwrap_err();
    store.claim(&request(host.id, 1)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!store.server_beat(&beat(host.id)).await.is_ok_and(|reply| reply.dead));
}

/// The shortest deadline reveals the state of all connections: an idle one is replaced before it is used.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_answer_makes_the_others_suspect() {
    let (store, proxy) = behind_a_proxy().await;
    let lease = Duration::from_secs(4);
    let host = NewServer { lease, ..server() };
    store.server_enter(&host).await.unwrap();
    let one = Beat { lease, ..beat(host.id) };
    store.server_beat(&one).await.unwrap();
    store.claim(&request(host.id, 1)).await.unwrap();
    let before = proxy.accepted();
    assert!(proxy.fault(Which::All, Fault::BlackHole) >= 3);
    store.server_beat(&one).await.unwrap_err();
    store.server_beat(&one).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(8);
    // Long before the deadline of a claim, and of a query.
    while tokio::time::timeout(Duration::from_millis(300), store.get(&[task().id])).await.is_err() {
        assert!(Instant::now() < deadline, "the connection for questions is used on");
    }
    store.claim(&request(host.id, 1)).await.unwrap();
    assert!(Instant::now() < deadline);
    assert!(proxy.accepted() >= before + 3);
}
