//! The write-ahead log grows while a reader keeps its snapshot open, and is cut back afterwards.

use taskyard_core::Store;
use taskyard_core::task::NewTask;

use crate::sandbox::{Sandbox, add, task, until};

fn wal_bytes(sandbox: &Sandbox) -> u64 {
    std::fs::metadata(sandbox.directory.path().join("queue.db-wal")).map_or(0, |found| found.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_cut_once_no_reader_needs_it() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    add(&store, task()).await;
    let raw = sandbox.raw();
    raw.execute_batch("begin").unwrap();
    raw.query_row("select count(*) from ty_task", [], |row| row.get::<_, i64>(0)).unwrap();
    let large = NewTask::new("large", vec![b'1'; 1 << 20]);
    while wal_bytes(&sandbox) < 70 << 20 {
        let batch: Vec<NewTask> =
            (0..8).map(|_| NewTask { id: taskyard_core::TaskId::generate(), ..large.clone() }).collect();
        store.add(&batch).await.unwrap();
    }
    raw.execute_batch("commit").unwrap();
    until("the log is cut", async || {
        // A write now and then: the log is only checked while something is written.
        add(&store, task()).await;
        wal_bytes(&sandbox) <= 64 << 20
    })
    .await;
    store.close().await;
}
