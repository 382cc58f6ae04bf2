//! Return types of task functions: the type decides whether a task may fail, under whatever name; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use taskyard::{Call, Error, TaskContext, TaskError, TaskState, Taskyard, local, task};

type Outcome<T> = Result<T, String>;
type JobResult = Result<u64, String>;
type Swapped<E, T> = Result<T, E>;
type Nothing = Result<(), std::io::Error>;
type Amount = u64;

mod report {
    /// The error type is the parameter, and the name ends in `Result`.
    pub(crate) type TextResult<E> = Result<String, E>;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SearchResult {
    hits: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PageResult<T> {
    items: Vec<T>,
}

/// Shadows the prelude's `Result` in its own module.
mod own {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) enum Result<T, E> {
        Fine(T),
        Odd(E),
    }

    #[taskyard::task]
    pub(crate) async fn odd() -> Result<u64, String> {
        Result::Odd("a value".into())
    }

    #[taskyard::task]
    pub(crate) async fn fine() -> Result<u64, String> {
        Result::Fine(3)
    }
}

/// An error that could be stored, which must not make it a value.
#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refused {}

#[task(max_retries = 0)]
async fn outcome(fails: bool) -> Outcome<u64> {
    if fails { Err("boom".into()) } else { Ok(7) }
}

#[task(max_retries = 0)]
fn blocking_job(fails: bool) -> JobResult {
    if fails { Err("boom".into()) } else { Ok(8) }
}

#[task(max_retries = 0)]
async fn swapped(fails: bool) -> Swapped<Refused, Vec<u8>> {
    if fails { Err(Refused { why: "boom".into() }) } else { Ok(vec![9]) }
}

#[task(max_retries = 0)]
async fn text(fails: bool) -> report::TextResult<TaskError> {
    if fails { Err(TaskError::fail("boom")) } else { Ok("ten".into()) }
}

#[task(max_retries = 0)]
async fn nothing(fails: bool) -> Nothing {
    if fails { Err(std::io::Error::other("boom")) } else { Ok(()) }
}

#[task(max_retries = 0)]
async fn qualified(fails: bool) -> std::result::Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    if fails { Err("boom".into()) } else { Ok(11) }
}

#[task]
async fn search(context: TaskContext) -> SearchResult {
    SearchResult { hits: context.attempt() }
}

#[task]
async fn page() -> PageResult<u64> {
    PageResult { items: vec![1, 2] }
}

#[task]
async fn amount() -> Amount {
    12
}

#[task]
async fn optional() -> Option<Result<u8, String>> {
    Some(Err("a value".into()))
}

#[task]
async fn inner() -> Result<Result<u8, String>, TaskError> {
    Ok(Err("a value".into()))
}

#[task]
async fn pair() -> (Result<u8, String>, [Outcome<u8>; 1]) {
    (Err("a value".into()), [Ok(1)])
}

async fn queue() -> (Taskyard, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap(), directory)
}

/// Runs a successful and a failing call; the value has its type, and the failure is a failure.
async fn both<T>(queue: &Taskyard, fine: Call<T>, fails: Call<T>) -> T
where
    T: serde::de::DeserializeOwned,
{
    let (fine, fails) = (queue.add(fine).await.unwrap(), queue.add(fails).await.unwrap());
    queue.drain().await.unwrap();
    assert_eq!(fails.state().await.unwrap(), TaskState::Failed);
    assert!(matches!(fails.wait().await, Err(Error::TaskFailed { message, .. }) if message == "boom"));
    fine.wait().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_under_an_alias_is_a_failure() {
    let (queue, _directory) = queue().await;
    assert_eq!(both::<u64>(&queue, outcome(false), outcome(true)).await, 7);
    assert_eq!(both::<u64>(&queue, blocking_job(false), blocking_job(true)).await, 8);
    assert_eq!(both::<Vec<u8>>(&queue, swapped(false), swapped(true)).await, [9]);
    assert_eq!(both::<String>(&queue, text(false), text(true)).await, "ten");
    both::<()>(&queue, nothing(false), nothing(true)).await;
    assert_eq!(both::<u8>(&queue, qualified(false), qualified(true)).await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_a_result_is_a_value_whatever_its_name() {
    let (queue, _directory) = queue().await;
    assert_eq!(queue.run_inline(search()).await.unwrap(), SearchResult { hits: 1 });
    assert_eq!(queue.run_inline(page()).await.unwrap(), PageResult { items: vec![1, 2] });
    let amount: Call<u64> = amount();
    assert_eq!(queue.run_inline(amount).await.unwrap(), 12);
    assert_eq!(queue.run_inline(own::odd()).await.unwrap(), own::Result::Odd("a value".into()));
    assert_eq!(queue.run_inline(own::fine()).await.unwrap(), own::Result::Fine(3));
    assert_eq!(queue.run_inline(optional()).await.unwrap(), Some(Err("a value".into())));
    assert_eq!(queue.run_inline(inner()).await.unwrap(), Err("a value".into()));
    assert_eq!(queue.run_inline(pair()).await.unwrap(), (Err("a value".into()), [Ok(1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_closure_is_judged_by_its_type_too() {
    let (queue, _directory) = queue().await;
    let call = |fails: bool| local!(|fails: bool| async move { outcome_of(fails) });
    assert_eq!(both::<u64>(&queue, call(false), call(true).max_retries(0)).await, 5);
    let hits = 4;
    let plain: Call<SearchResult> = local!(|hits: u32| async move { SearchResult { hits } });
    assert_eq!(queue.run_inline(plain.max_retries(0)).await.unwrap(), SearchResult { hits: 4 });
    let table: Call<BTreeMap<String, u32>> =
        local!(|hits: u32| async move { BTreeMap::from([("a".to_owned(), hits)]) });
    assert_eq!(queue.run_inline(table).await.unwrap()["a"], 4);
}

fn outcome_of(fails: bool) -> Outcome<u64> {
    if fails { Err("boom".into()) } else { Ok(5) }
}
