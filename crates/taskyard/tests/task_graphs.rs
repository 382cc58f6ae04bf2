//! Related tasks: results as arguments, chains, groups, ranges of ids, and cursors; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::Mutex;

use taskyard::{Error, TaskContext, TaskError, TaskRef, TaskState, Taskyard, id_ranges, task};

async fn queue() -> (Taskyard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap(), directory)
}

#[task]
async fn add(left: i64, right: i64) -> i64 {
    left + right
}

#[task]
async fn total(parts: Vec<i64>, label: String) -> String {
    format!("{label}: {}", parts.iter().sum::<i64>())
}

#[task(max_retries = 0)]
async fn breaks() -> Result<i64, String> {
    Err("broken".into())
}

#[task]
async fn count_ended(context: TaskContext) -> Result<(usize, usize), Error> {
    let parents = context.parent_results().await?;
    let done = parents.iter().filter(|parent| parent.state == TaskState::Done).count();
    Ok((done, parents.len()))
}

#[task(max_retries = 0)]
async fn maybe(value: Option<i64>) -> Option<i64> {
    value
}

#[task]
fn blocking_add(left: i64, right: i64) -> i64 {
    left + right
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_an_argument() {
    let (queue, _directory) = queue().await;
    let server = queue.serve().await.unwrap();
    let first = queue.add(add(1, 2)).await.unwrap();
    let second = queue.add(add(0, 10).result_of("left", &first)).await.unwrap();
    let third = queue.add(blocking_add(0, 0).result_of("left", &first).result_of("right", &second)).await.unwrap();
    assert_eq!(third.wait().await.unwrap(), 16);
    assert_eq!(second.record().await.unwrap().parents, [first.id()]);
    // The parent may also have ended long ago.
    assert_eq!(queue.add(add(0, 1).result_of("left", &third)).await.unwrap().wait().await.unwrap(), 17);
    let unknown = queue.add(add(0, 1).result_of("middle", &first)).await.unwrap_err();
    assert!(unknown.to_string().contains("`middle`"), "{unknown}");
    let misfit: TaskRef<String> = queue.add(total(vec![], "x".into()).result_of("parts", &first)).await.unwrap();
    assert!(
        matches!(misfit.wait().await, Err(Error::TaskFailed { error_type, .. }) if error_type == "InvalidArguments")
    );
    // A child that runs although its parent failed gets null in place of the result.
    let fallen = queue.add(breaks()).await.unwrap();
    let child = maybe(Some(1)).result_of("value", &fallen).on_parent_failure(taskyard::OnParentFailure::Run);
    assert_eq!(queue.add(child).await.unwrap().wait().await.unwrap(), None);
    server.stop();
}

#[task]
async fn large(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[task]
async fn lengths(parts: Vec<String>) -> usize {
    parts.iter().map(String::len).sum()
}

/// A few bytes of references may stand for large results: the total size is known before anything is read or inserted.
#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_results_make_too_large_are_refused_before_they_are_filled() {
    let (queue, _directory) = queue().await;
    let server = queue.serve().await.unwrap();
    let parent = queue.add(large(1_000_000)).await.unwrap();
    let referring = |count: usize| {
        let references = vec![serde_json::json!({ "$result": parent.id() }); count];
        let payload = serde_json::json!({ "args": [references], "kwargs": {}, "results": [parent.id()] }).to_string();
        taskyard::Call::<usize>::from_payload("task_graphs::lengths", Ok(payload.into_bytes())).parent(&parent)
    };
    let few = queue.add(referring(10)).await.unwrap();
    assert_eq!(few.wait().await.unwrap(), 10_000_000);
    let before = resident();
    let many = queue.add(referring(1_000)).await.unwrap();
    assert!(matches!(many.wait().await, Err(Error::TaskFailed { error_type, message, .. })
            if error_type == "OverLimit" && message.contains("arguments_filled_bytes_max")),);
    let grown = resident().saturating_sub(before);
    assert!(grown < 100 << 20, "it grew by {} MiB", grown >> 20);
    server.stop();
}

/// Returns the peak resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_hand_on_and_fall_together() {
    let (queue, _directory) = queue().await;
    let mut calls = vec![add(1, 1)];
    for _ in 0..20 {
        calls.push(add(0, 1).result_of_call("left", calls.last().unwrap()));
    }
    let refs = queue.add_chain(calls).await.unwrap();
    let broken = queue.add_chain([add(1, 1), breaks(), add(1, 1)]).await.unwrap();
    queue.drain().await.unwrap();
    assert_eq!(refs.last().unwrap().wait().await.unwrap(), 22);
    assert_eq!(broken[2].state().await.unwrap(), TaskState::Failed);
    assert!(queue.add_chain(Vec::<taskyard::Call<i64>>::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_callback_runs_once_when_all_have_ended() {
    let (queue, _directory) = queue().await;
    let server = queue.serve().await.unwrap();
    let calls: Vec<_> = (0..500).map(|number| add(number, number)).collect();
    let report = total(vec![], "total".into()).results_of("parts", &calls);
    let group = queue.add_fan_in(calls, report).await.unwrap();
    assert_eq!(group.then.wait().await.unwrap(), "total: 249500");
    assert_eq!(group.then.attempts().await.unwrap().len(), 1);
    let group = queue.add_group([add(1, 1), breaks(), add(2, 2)], count_ended()).await.unwrap();
    assert_eq!(group.then.wait().await.unwrap(), (2, 3));
    let fallen = queue.add_fan_in([add(1, 1), breaks()], count_ended()).await.unwrap();
    assert!(matches!(fallen.then.wait().await, Err(Error::TaskFailed { .. })));
    let empty = queue.add_group(Vec::<taskyard::Call<i64>>::new(), count_ended()).await.unwrap();
    assert_eq!(empty.then.wait().await.unwrap(), (0, 0));
    server.stop();
}

static SEEN: Mutex<Vec<(u32, i64, i64)>> = Mutex::new(Vec::new());

/// Fails in the middle of the second range, the first time.
#[task]
async fn import(rows: i64, context: TaskContext) -> Result<i64, TaskError> {
    let mut ranges = context.ranges("rows", 0..rows, 10)?;
    let mut count = 0;
    while let Some(range) = ranges.next().await? {
        SEEN.lock().unwrap().push((context.attempt(), range.start, range.end));
        if context.attempt() == 1 && range.start == 10 {
            return Err(TaskError::retry_after(std::time::Duration::ZERO, "the power failed"));
        }
        count += range.end - range.start;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_where_the_last_attempt_was() {
    let (queue, _directory) = queue().await;
    let reference = queue.add(import(35)).await.unwrap();
    queue.drain().await.unwrap();
    assert_eq!(reference.wait().await.unwrap(), 25);
    assert_eq!(*SEEN.lock().unwrap(), [(1, 0, 10), (1, 10, 20), (2, 10, 20), (2, 20, 30), (2, 30, 35)]);
    assert_eq!(reference.context().await.unwrap()["cursors"]["rows"], 35);
}

#[test]
fn ranges_of_ids_cover_all_and_never_overlap() {
    for (from, to, size) in [(0, 0, 1), (0, 1, 1), (-5, 5, 3), (0, 100_000, 1_000), (i64::MAX - 2, i64::MAX, 5)] {
        let ranges: Vec<_> = id_ranges(from..to, size).collect();
        assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<i64>(), to - from);
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}
