//! `#[task]` declares a function whose calls can be queued; `local!` queues a closure.
//!
//! Only syntax is handled here: what a task is, and how it runs, is in `taskyard-core` and `taskyard-server`. The
//! expansion names nothing but `::taskyard::__private`.

mod local;
mod options;
mod parameter;
mod task;

use proc_macro::TokenStream;

/// Declares a task: a function whose call is stored and run by a server.
///
/// The function keeps its name and its parameters, but a call only describes the work: it returns a
/// `taskyard::Call<R>` that `client.add(..)` queues. It may stand anywhere, also inside another function. It is known
/// to every server of a program that contains it, by its path (`crate::module::function`).
///
/// Parameters of type `TaskContext` and `State<T>` are supplied by the server and are not part of the call; `State(pool): State<Pool>`
/// and `_: TaskContext` work as well. All others are stored: they own their data, and derive `serde::Serialize` and
/// `serde::Deserialize`. The body returns a value or a `Result` whose error converts into `TaskError`: every error type does, and
/// so does `anyhow::Error`, with its chain of causes. The type decides, not its name: a `Result` under an alias may fail, and a
/// type of yours called `SearchResult` is a value.
///
/// Where the body runs:
/// - an `async` one on the runtime that called `serve`, if that has several threads (`#[tokio::main]` makes one), beside all that
///   runs there: a pool of connections, or what it spawns, is the application's. It must be `Send`, and must not block its thread;
/// - an `async` one declared `#[task(local)]`, and every one where the runtime has one thread only, on a worker thread with a
///   runtime of its own, which ends when it is idle, and with it what was opened or spawned there;
/// - one that is not `async`, or is declared `#[task(blocking)]`, on a thread of its own.
///
/// Options: `queue = "mail"`, `priority = 5`, `max_retries = 5`, `retry_if = FUNCTION`, `timeout = "30s"` (`ms`, `s`, `m`, `h`;
/// `"0s"` = no limit; or a `Duration`), `name = "Send a mail"`, `tag = "mail"` (may be repeated), `kind = "mail.send"` (instead of
/// the path), `aliases = ["old::path"]` (kinds under which calls are stored that it runs as well, after it was renamed or moved),
/// `local`, `blocking`, `at_most_once`, `auto_remove`, `set = PATH`. A value may be a constant or any other expression:
/// `queue = QUEUE`, `max_retries = 2 * RETRIES`.
///
/// `retry_if = FUNCTION` names a function `fn(&E) -> bool` of the error that the body returned, before it becomes a `TaskError`:
/// `true` retries as the task's policy says, `false` fails the task at once. Under `anyhow::Error` it can look through the chain of
/// causes. A `TaskError` that itself says what follows (`retry_after`, `snooze`, ..) is followed whatever the function returns.
/// Time limits and panics are not the body's errors, and are retried by the policy.
///
/// `set = PATH` keeps the function out of the tasks that every server of the program knows. It is added to the set that
/// `taskyard::task_set!` declares at that path, and known only to servers of a queue that was given the set by
/// `Taskyard::task_set`. A library uses this for tasks that only its own commands run.
///
/// ```no_run
/// use taskyard::{TaskContext, Taskyard, task};
///
/// #[task(queue = "mail", max_retries = 5)]
/// async fn send(to: String, context: TaskContext) -> Result<usize, std::io::Error> {
///     Ok(to.len() + context.attempt() as usize)
/// }
///
/// # async fn example(queue: Taskyard) -> taskyard::Result<()> {
/// let task = queue.add(send("ada@example.org".into()).priority(3)).await?;
/// let length = task.wait().await?;
/// # let _: usize = length;
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(options.into(), item.into()).into()
}

/// Describes a call of a closure whose captures are written out and serialised: `local!(|name: Type| async move { .. })`.
///
/// Each parameter is taken from a variable of the same name. The closure returns a value or a `Result`, as a
/// [`macro@task`] does. It is known by its module's path and a hash of its text: a changed body is another task, and calls of the old one wait, parked, for a
/// server that still has it.
#[proc_macro]
pub fn local(input: TokenStream) -> TokenStream {
    local::expand(input.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
