//! Macros for tasks: `#[task]` declares a function whose calls can be queued, `local!` queues a closure.
//!
//! This crate handles only syntax. Tasks are defined in `taskyard-core` and run by `taskyard-server`. The expansion
//! refers to nothing except `::taskyard::__private`.

mod duration;
mod local;
#[macro_use]
mod options;
mod parameter;
mod task;

use proc_macro::TokenStream;

/// Declares a task: a function whose calls are stored and run by a server.
///
/// The function keeps its name and its parameters, but calling it does not run it: it returns a `taskyard::Call<R>`
/// that `client.add(..)` queues. Tasks can be declared anywhere, also inside another function. Every server of a
/// program that contains a task can run it, under its path (`crate::module::function`).
///
/// Parameters of type `TaskContext` and `State<T>` are supplied by the server and are not part of the call;
/// `State(pool): State<Pool>` and `_: TaskContext` work as well. All other parameters are stored: they own their data,
/// and implement `serde::Serialize` and `serde::Deserialize`. The body returns a value or a `Result` whose error
/// converts into `TaskError`: every error type does, and so does `anyhow::Error`, with its chain of causes. The type
/// decides, not its name: a `Result` under an alias may fail, and an application's type named `SearchResult` is a
/// value.
///
/// The body runs
/// - if it is `async`, on the runtime that called `serve`, if that has several threads (`#[tokio::main]` creates one).
///   It can use connection pools and other resources of that runtime, and what it spawns runs there. It must be `Send`,
///   and must not block its thread;
/// - if it is `async` and declared `#[task(local)]`, or if the runtime has only one thread, on a worker thread with a
///   runtime of its own, which ends when it is idle, together with everything that was opened or spawned there;
/// - if it is not `async`, or is declared `#[task(blocking)]`, on a thread of its own.
///
/// Options:
///
#[doc = examples!()]
///
/// A value may be a constant or any other expression: `queue = QUEUE`, `max_retries = 2 * RETRIES`. `timeout` takes a
/// text such as `"30s"` or `"1h30m"`, with the units `w`, `d`, `h`, `m`, `s` and `ms` (`"0s"` = no limit), or a
/// `Duration`. `tag` may be repeated. `kind` is used instead of the path; `aliases` are kinds of stored calls that the
/// function runs as well, after it was renamed or moved.
///
/// `retry_if = FUNCTION` names a function `fn(&E) -> bool` of the error that the body returned, before it is converted
/// to a `TaskError`: on `true` the task is retried by its policy, on `false` it fails at once. With `anyhow::Error` the
/// function can inspect the chain of causes. A `TaskError` with a directive of its own (`retry_after`, `snooze`, ..) is
/// followed whatever the function returns. Time limits and panics are not errors of the body, and are retried by the
/// policy.
///
/// `set = PATH` excludes the function from the tasks that every server of the program runs. It is added to the set that
/// `taskyard::task_set!` declares at that path, and only servers of a queue that was given the set by
/// `Taskyard::task_set` run it. A library uses this for tasks that only its own commands run.
///
/// ```
/// use taskyard::{TaskContext, Taskyard, task};
///
/// #[task(queue = "mail", max_retries = 5)]
/// async fn send(to: String, context: TaskContext) -> Result<usize, std::io::Error> {
///     Ok(to.len() + context.attempt() as usize)
/// }
///
/// # #[tokio::main] async fn main() -> taskyard::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let queue = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
/// let task = queue.add(send("ada@example.org".into()).priority(3)).await?;
/// # queue.drain().await?;
/// assert_eq!(task.wait().await?, 16);
/// # Ok(()) }
/// ```
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(options.into(), item.into()).into()
}

/// Creates a call of a closure whose captures are written out and serialised: `local!(|name: Type| async move { .. })`.
///
/// Each parameter is taken from a variable of the same name. The closure returns a value or a `Result`, as a
/// [`macro@task`] does. Its kind is its module's path and a hash of its text: a changed body is another task, and calls
/// of the old one are parked until a server that still contains it runs them.
///
/// ```
/// use taskyard::local;
///
/// # #[tokio::main] async fn main() -> taskyard::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
/// let (name, factor) = ("ada".to_owned(), 2);
/// let task = queue.add(local!(|name: String, factor: usize| async move { name.len() * factor })).await?;
/// queue.drain().await?;
/// assert_eq!(task.wait().await?, 6);
/// # Ok(()) }
/// ```
#[proc_macro]
pub fn local(input: TokenStream) -> TokenStream {
    local::expand(input.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
