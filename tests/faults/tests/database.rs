//! An unavailable database: PostgreSQL crashes and loses its backends under load; no server or client restarts.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod harness;

use std::time::{Duration, Instant};

use harness::Harness;
use taskyard::TaskState;
use taskyard_testkit::postgres::{Cluster, ClusterOptions};

fn durable() -> Cluster {
    Cluster::start_with(&ClusterOptions { durable: true, settings: Vec::new() })
}

/// `pg_ctl stop -m immediate` under load, three times: additions continue in memory, servers reconnect.
#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_stop_under_load_loses_nothing() {
    let cluster = durable();
    let mut harness = Harness::on(cluster.create_database()).await;
    let mut server = harness.start_server();
    harness.produce(1_000, |_| 10).await;
    for _ in 0..3 {
        harness.until_in_flight(server.id(), 10).await;
        cluster.stop_immediate();
        cluster.start_again();
        // A producer from before the crash adds with the same client.
        harness.produce(1_000, |_| 10).await;
    }
    let report = harness.report(Duration::from_secs(120)).await;
    report.assert_clean();
    assert_eq!(report.added, 4_000);
    assert!(!server.has_exited(), "the server had to restart");
}

/// Every backend is terminated in turn while tasks run: each connection is replaced, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_backend_terminated_in_turn_loses_nothing() {
    let cluster = durable();
    let mut harness = Harness::on(cluster.create_database()).await;
    let mut server = harness.start_server();
    harness.produce(3_000, |_| 10).await;
    let started = Instant::now();
    let mut terminated = 0;
    while started.elapsed() < Duration::from_secs(5) {
        let killed = cluster.psql(
            "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity \
             where backend_type = 'client backend' and pid <> pg_backend_pid() and datname <> 'postgres' \
             order by random() limit 1) one",
        );
        terminated += killed.trim().parse::<u32>().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(terminated >= 20, "only {terminated} backends were terminated");
    harness.produce(200, |_| 1).await;
    let report = harness.report(Duration::from_secs(120)).await;
    report.assert_clean();
    assert_eq!(report.added, 3_200);
    assert!(!server.has_exited(), "the server had to restart");
}

/// A standby that has not seen the last ends takes over. Tasks that it shows as running have ended on the server: they
/// would never run again if the server did not notice and enter again.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_missed_the_last_ends_has_them_done_again() {
    let cluster = durable();
    let mut harness = Harness::on(cluster.create_database()).await;
    let mut server = harness.start_server();
    let refs = harness.produce(20, |_| 4_000).await;
    harness.until_in_flight(server.id(), refs.len()).await;
    cluster.back_up();
    assert_eq!(harness.in_flight(server.id()).len(), refs.len(), "the standby saw an end");
    for reference in &refs {
        reference.wait().await.unwrap();
    }
    cluster.fail_over();
    harness.until_state(TaskState::Done, refs.len() as u64, Duration::from_secs(60)).await;
    for reference in &refs {
        let record = reference.record().await.unwrap();
        assert_eq!((record.attempt, record.lost), (2, 1), "{record:?}");
    }
    harness.produce(200, |_| 1).await;
    let report = harness.report(Duration::from_secs(60)).await;
    assert_eq!((report.lost, report.unfinished, report.stale_accepted), (0, 0, 0), "{report:?}");
    assert!(!server.has_exited(), "the server had to restart");
}
