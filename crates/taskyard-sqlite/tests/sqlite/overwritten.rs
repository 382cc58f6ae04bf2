//! The database file is cut short or overwritten in place, under a process that writes: from then on nothing is
//! acknowledged. Changes by SQLite itself (checkpoints, VACUUM, a restored backup) are accepted.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use taskyard_core::{Error, Store, TaskId};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::deleted_files::{meddle, seen};
use crate::sandbox::{Sandbox, add, task};

/// Creates a closed database with this number of tasks, all of them in the file itself.
async fn filled(tasks: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let batch: Vec<_> = (0..tasks).map(|_| task()).collect();
    store.add(&batch).await.unwrap();
    store.close().await;
    sandbox
}

fn cut(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Overwrites a file as `cp` does.
fn replace_content(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

/// Overwrites a file as `dd conv=notrunc` does: the rest of it stays.
fn write_over(path: &Path, content: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all(content).unwrap();
}

/// Starts another process that adds now and then.
fn neighbour(path: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = child::spawn("add_slowly", path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("added=")));
    (child, lines)
}

#[tokio::test]
async fn a_file_that_was_cut() {
    for bytes in [4_096, 8_192, 8_200, 65_536, 536_576] {
        let sandbox = filled(4_000).await;
        assert!(std::fs::metadata(sandbox.file()).unwrap().len() > bytes);
        meddle(&sandbox.file(), || cut(&sandbox.file(), bytes));
    }
}

#[tokio::test]
async fn a_file_without_its_last_pages() {
    let sandbox = filled(4_000).await;
    let bytes = std::fs::metadata(sandbox.file()).unwrap().len();
    meddle(&sandbox.file(), || cut(&sandbox.file(), bytes - 131_072));
}

#[tokio::test]
async fn a_file_that_was_cut_under_two_processes() {
    let sandbox = filled(4_000).await;
    let (mut other, mut lines) = neighbour(&sandbox.file());
    meddle(&sandbox.file(), || cut(&sandbox.file(), 65_536));
    assert_eq!(lines.find(|line| line.contains("refused=")).unwrap(), "refused=file");
    other.wait().unwrap();
}

#[tokio::test]
async fn another_database_copied_over_it() {
    // With less, as much and more content.
    for tasks in [1, 4_000, 6_000] {
        let content = std::fs::read(filled(tasks).await.file()).unwrap();
        for copy in [replace_content, write_over] {
            let sandbox = filled(4_000).await;
            meddle(&sandbox.file(), || copy(&sandbox.file(), &content));
        }
    }
}

#[tokio::test]
async fn another_database_copied_over_it_under_two_processes() {
    let content = std::fs::read(filled(6_000).await.file()).unwrap();
    let sandbox = filled(4_000).await;
    let (mut other, mut lines) = neighbour(&sandbox.file());
    meddle(&sandbox.file(), || write_over(&sandbox.file(), &content));
    assert_eq!(lines.find(|line| line.contains("refused=")).unwrap(), "refused=file");
    other.wait().unwrap();
}

#[tokio::test]
async fn something_else_copied_over_it() {
    let sandbox = filled(4_000).await;
    meddle(&sandbox.file(), || write_over(&sandbox.file(), &"To be or not to be.\n".repeat(1_000).into_bytes()));
}

#[tokio::test]
async fn a_compact_backup_copied_over_it() {
    let sandbox = filled(4_000).await;
    let raw = sandbox.raw();
    raw.execute_batch("delete from ty_task where order_number % 2 = 0").unwrap();
    let backup = sandbox.directory.path().join("backup.db");
    raw.execute("vacuum into ?1", [backup.to_str().unwrap()]).unwrap();
    drop(raw);
    let content = std::fs::read(backup).unwrap();
    meddle(&sandbox.file(), || replace_content(&sandbox.file(), &content));
}

/// The process is idle, and its first transaction afterwards is refused: nothing is written to the file.
#[tokio::test]
async fn a_file_that_was_overwritten_at_rest() {
    let content = std::fs::read(filled(6_000).await.file()).unwrap();
    for has_added in [true, false] {
        let sandbox = filled(4_000).await;
        let store = sandbox.store().await;
        if has_added {
            add(&store, task()).await;
        }
        write_over(&sandbox.file(), &content);
        let refused = store.add(&[task()]).await.unwrap_err();
        assert!(matches!(&refused, Error::File { why, .. } if why.contains("overwritten")), "{refused}");
        assert_eq!(store.get(&[TaskId::generate()]).await.unwrap_err(), refused);
        assert_eq!(store.status().await.unwrap_err(), refused);
        assert_eq!(store.migrate().await.unwrap_err(), refused);
        store.close().await;
        assert!(std::fs::read(sandbox.file()).unwrap() == content, "the log was not written back over it");
    }
}

/// Checks that a process continues to write while the files change in a way that every other process sees, too.
async fn assert_accepted(sandbox: &Sandbox, change: impl FnOnce(&Sandbox)) {
    let store = sandbox.store().await;
    add(&store, task()).await;
    change(sandbox);
    let mut added: HashSet<TaskId> = HashSet::new();
    for _ in 0..50 {
        added.insert(add(&store, task()).await);
    }
    assert_eq!(seen(&sandbox.file(), &added).await, added.len());
    store.close().await;
    assert_eq!(seen(&sandbox.file(), &added).await, added.len());
}

#[tokio::test]
async fn its_own_content_copied_over_it_is_accepted() {
    for copy in [replace_content, write_over] {
        let sandbox = filled(1_000).await;
        assert_accepted(&sandbox, |sandbox| {
            let content = std::fs::read(sandbox.file()).unwrap();
            copy(&sandbox.file(), &content);
        })
        .await;
    }
}

#[tokio::test]
async fn another_database_restored_through_sqlite_is_accepted() {
    for checkpoint in [false, true] {
        let other = filled(3_000).await;
        let sandbox = filled(1_000).await;
        assert_accepted(&sandbox, |sandbox| {
            let (from, mut to) = (other.raw(), sandbox.raw());
            let backup = rusqlite::backup::Backup::new(&from, &mut to).unwrap();
            backup.run_to_completion(100_000, Duration::ZERO, None).unwrap();
            drop(backup);
            if checkpoint {
                to.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
            }
        })
        .await;
    }
}

/// Makes one of the changes that another program may make to the file through SQLite.
fn churn(sandbox: &Sandbox, turn: usize) -> rusqlite::Result<()> {
    // Opened and closed each time: the locks of the stores' connections must outlive it.
    let raw = sandbox.raw();
    raw.busy_timeout(Duration::from_millis(200))?;
    raw.pragma_update_and_check(None, "wal_autocheckpoint", 10, |_| Ok(()))?;
    let reader = sandbox.raw();
    if turn.is_multiple_of(3) {
        // The snapshot of this reader keeps the checkpoints from completing.
        reader.execute_batch("begin; select count(*) from sqlite_schema")?;
    }
    match turn % 7 {
        0 => raw.execute_batch(
            "create table if not exists churn (a); insert into churn select zeroblob(20000) from ty_task limit 100",
        ),
        1 => raw.execute_batch("vacuum"),
        2 => raw.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())),
        3 => raw.query_row("pragma wal_checkpoint(full)", [], |_| Ok(())),
        4 => raw.execute_batch("drop table if exists churn; vacuum"),
        5 => raw.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())),
        _ => raw.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())),
    }
}

#[tokio::test]
async fn checkpoints_and_vacuum_raise_no_alarm() {
    let sandbox = filled(500).await;
    let mut children: Vec<Child> = (0..3).map(|_| child::spawn("add_for_seconds", &sandbox.file())).collect();
    // As long as the children add: a false alarm is a matter of chance, which no later event excludes.
    let begun = Instant::now();
    let mut turn = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        // A checkpoint fails if a reader is in its way.
        let _ = churn(&sandbox, turn);
        turn += 1;
    }
    let mut added = 0;
    for child in &mut children {
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        let line = said.lines().find_map(|line| line.split_once("added=")).unwrap_or_else(|| panic!("{said}")).1;
        let (count, refused) = line.split_once(" refused=").unwrap();
        assert_eq!(refused, "None");
        added += count.parse::<u64>().unwrap();
    }
    assert!(turn > 20 && added > 20, "{turn} turns, {added} additions");
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert_eq!(store.status().await.unwrap().by_state.iter().sum::<u64>(), 500 + added);
    store.close().await;
}
