//! Tests of the cluster itself: it serves, restarts, and leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Cluster, shared};

#[test]
fn databases_are_separate_and_fresh() {
    let cluster = shared();
    let (first, second) = (cluster.create_database(), cluster.create_database());
    assert_ne!(first, second);
    cluster.psql_in(&first, "create table mine (n int); insert into mine values (7)");
    assert_eq!(cluster.psql_in(&first, "select n from mine"), "7");
    assert_eq!(cluster.psql_in(&second, "select count(*) from pg_class where relname = 'mine'"), "0");
    let copy = cluster.create_database_from(first.rsplit('/').next().unwrap());
    assert_eq!(cluster.psql_in(&copy, "select n from mine"), "7");
    assert_eq!(cluster.terminate_backends(&copy), 0);
}

#[test]
fn a_cluster_of_its_own_restarts_and_goes() {
    let cluster = Cluster::start();
    let url = cluster.create_database();
    cluster.psql_in(&url, "create table mine (n int)");
    cluster.psql("checkpoint");
    cluster.stop_immediate();
    cluster.start_again();
    assert_eq!(cluster.psql_in(&url, "select count(*) from mine"), "0");
    let (directory, port) = (cluster.directory.clone(), cluster.port());
    assert!(directory.exists());
    drop(cluster);
    assert!(!directory.exists());
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
}

/// Run by the next test in a process of its own, which is killed.
#[test]
#[ignore = "a part of the next test"]
fn start_and_wait() {
    let cluster = Cluster::start();
    println!("directory={}", cluster.directory.display());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_process_leaves_nothing_behind() {
    use std::io::BufRead;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "postgres::tests::start_and_wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let directory =
        lines.map_while(Result::ok).find_map(|line| line.split_once("directory=").map(|(_, path)| path.to_owned()));
    let directory = directory.expect("it says where its cluster lives");
    assert!(Path::new(&directory).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    // The watchdog works after the pipe has closed: within bounded time, but not at once.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while Path::new(&directory).exists() {
        assert!(std::time::Instant::now() < deadline, "{directory} is still there");
        std::thread::yield_now();
    }
}
