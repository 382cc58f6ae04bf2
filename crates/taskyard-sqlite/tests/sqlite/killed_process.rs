//! kill -9 in the middle of writing: the file is sound, and all acknowledged tasks are there.

use std::io::{BufRead, BufReader};

use taskyard_core::{Store, TaskId};

use crate::child;
use crate::sandbox::Sandbox;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there() {
    let sandbox = Sandbox::new();
    let mut acknowledged: Vec<TaskId> = Vec::new();
    for round in 0..10 {
        let mut child = child::spawn("add", &sandbox.file());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // The harness's own lines come first; the kill comes at another point in every round.
        while seen < 3 + round * 7 {
            let line = lines.next().expect("the process goes on").unwrap();
            if let Some(id) = line.split("added=").nth(1) {
                acknowledged.push(id.parse().unwrap());
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.split("added=").nth(1).and_then(|id| id.parse().ok()) {
                acknowledged.push(id);
            }
        }
        let raw = sandbox.raw();
        let check: String = raw.query_row("pragma quick_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "round {round}");
    }
    let store = sandbox.store().await;
    let records = store.get(&acknowledged).await.unwrap();
    let lost = records.iter().filter(|record| record.is_none()).count();
    assert_eq!(lost, 0, "of {}", acknowledged.len());
    let present = store.status().await.unwrap().by_state[1];
    // One addition per round may have been committed and not yet acknowledged.
    assert!(present >= acknowledged.len() as u64 && present <= acknowledged.len() as u64 + 10);
}
