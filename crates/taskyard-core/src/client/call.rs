//! A call of a task function with its options, before it is added.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use super::ClientConfig;
use crate::namespace::kind_in;
use crate::payload::references;
use crate::retry::RetryPolicy;
use crate::state::{OnParentFailure, Runtime};
use crate::task::{NewTask, Start, Unique, UniqueHold};
use crate::{Error, Limits, Result, TaskId, TaskRef, Timestamp};

/// A task function with its arguments; what `#[task]` functions return. Nothing happens until it is added.
///
/// `T` is the function's result. An argument that cannot be stored exactly shows as an error when it is added.
#[derive(Debug)]
#[must_use = "a call does nothing until it is added: `queue.add(call).await?`"]
pub struct Call<T> {
    task: Result<NewTask>,
    max_retries: Option<u32>,
    timeout: Option<Option<Duration>>,
    /// Whether the program that adds it declares its function: its kind is then always in the program's namespace.
    is_own: bool,
    /// The parameters' names in their order, if they are known.
    names: &'static [&'static str],
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        let task = self.task.clone();
        Self { task, result: PhantomData, ..*self }
    }
}

impl<T> Call<T> {
    /// A call of a function by its kind, with positional arguments as a tuple. The kind may name a namespace (`shop/app::send`);
    /// without one it is in the client's ([`ClientConfig::namespace`]).
    pub fn new<A: Serialize>(kind: &str, args: &A) -> Self {
        // Only what can never be stored is refused here; sizes are checked against the client's limits when it is added.
        let limits = Limits { arguments_bytes_max: usize::MAX, nesting_max: usize::MAX, ..Limits::default() };
        Self::from_payload(kind, crate::payload::encode_args(args, &limits))
    }

    /// A call with a payload made elsewhere: JSON `{"args": [...], "kwargs": {...}}`.
    #[doc(hidden)]
    pub fn from_payload(kind: &str, payload: Result<Vec<u8>>) -> Self {
        Self {
            task: payload.map(|payload| NewTask::new(kind, payload)),
            max_retries: None,
            timeout: None,
            is_own: false,
            names: &[],
            result: PhantomData,
        }
    }

    /// Says that the program which adds it declares its function.
    #[doc(hidden)]
    pub fn declared(mut self) -> Self {
        self.is_own = true;
        self
    }

    /// Tells the names of its parameters, in their order.
    pub fn parameters(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    /// The result of that task is the argument of this name, whatever stands in its place; it becomes a parent.
    ///
    /// A name that the function does not have shows as an error when it is added. A result that does not fit fails the
    /// task, as any argument that does not fit.
    pub fn result_of<P>(self, argument: &str, task: &TaskRef<P>) -> Self {
        self.result_of_id(argument, task.id())
    }

    /// The same for a call that is added together with this one.
    pub fn result_of_call<P>(self, argument: &str, call: &Call<P>) -> Self {
        match &call.task {
            Ok(task) => self.result_of_id(argument, task.id),
            Err(error) => Self { task: Err(error.clone()), ..self },
        }
    }

    /// The same for a task by its id.
    pub fn result_of_id(self, argument: &str, id: TaskId) -> Self {
        self.refer(argument, &references::reference(id), &[id]).parent_id(id)
    }

    /// The results of those calls, in their order, are the argument of this name, a list; they become parents.
    pub fn results_of<'a, P: 'a>(self, argument: &str, calls: impl IntoIterator<Item = &'a Call<P>>) -> Self {
        let mut ids: Vec<TaskId> = Vec::new();
        for call in calls {
            match &call.task {
                Ok(task) => ids.push(task.id),
                Err(error) => return Self { task: Err(error.clone()), ..self },
            }
        }
        let list: Vec<String> = ids.iter().map(|id| references::reference(*id)).collect();
        let call = self.refer(argument, &format!("[{}]", list.join(",")), &ids);
        ids.into_iter().fold(call, Call::parent_id)
    }

    fn refer(mut self, argument: &str, text: &str, ids: &[TaskId]) -> Self {
        let names = self.names;
        self.task = self.task.and_then(|mut task| {
            task.payload = references::put(&task.payload, names, argument, text, ids)?;
            Ok(task)
        });
        self
    }

    /// Takes the task apart for those who store it themselves (a caller's transaction).
    ///
    /// # Errors
    /// A call that cannot be stored.
    #[doc(hidden)]
    pub fn into_task(self, config: &ClientConfig) -> Result<NewTask> {
        let mut task = self.task?;
        task.kind = match &config.namespace {
            Some(namespace) if self.is_own => namespace.own(&task.kind),
            None if self.is_own => task.kind,
            namespace => kind_in(namespace.as_ref(), &task.kind),
        };
        task.retry.max_retries = self.max_retries.unwrap_or(config.max_retries);
        task.timeout = self.timeout.unwrap_or(config.timeout).filter(|timeout| !timeout.is_zero());
        check(&mut task, &config.limits)?;
        Ok(task)
    }

    /// The payload, for running the body in place.
    ///
    /// # Errors
    /// A call that cannot be stored.
    #[doc(hidden)]
    pub fn task(&self) -> Result<&NewTask> {
        self.task.as_ref().map_err(Clone::clone)
    }

    fn with(mut self, change: impl FnOnce(&mut NewTask)) -> Self {
        if let Ok(task) = &mut self.task {
            change(task);
        }
        self
    }

    /// The id, if it must be known before (default: a new UUIDv7).
    pub fn id(self, id: TaskId) -> Self {
        self.with(|task| task.id = id)
    }

    /// The language whose servers run it (default Rust).
    pub fn runtime(self, runtime: Runtime) -> Self {
        self.with(|task| task.runtime = runtime)
    }

    /// A label for people (default: the kind).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|task| task.name = Some(name.into()))
    }

    /// The named lane (default `default`).
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|task| task.queue = queue.into())
    }

    /// Higher first, first in first out within one (default 0).
    pub fn priority(self, priority: i32) -> Self {
        self.with(|task| task.priority = priority)
    }

    /// Runs only when this one is done.
    pub fn parent<P>(self, parent: &TaskRef<P>) -> Self {
        self.parent_id(parent.id())
    }

    /// Runs only when all of these are done.
    pub fn parents<'a, P: 'a>(self, parents: impl IntoIterator<Item = &'a TaskRef<P>>) -> Self {
        parents.into_iter().fold(self, |call, parent| call.parent(parent))
    }

    /// Runs only when the task with this id is done.
    pub fn parent_id(self, parent: TaskId) -> Self {
        self.with(|task| task.parents.push(parent))
    }

    /// What happens to it when a parent fails (default: it fails too).
    pub fn on_parent_failure(self, policy: OnParentFailure) -> Self {
        self.with(|task| task.on_parent_failure = policy)
    }

    /// Starts no sooner than this long after it was added.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|task| task.start = Start::After(delay))
    }

    /// Starts no sooner than this instant.
    pub fn run_at(self, at: Timestamp) -> Self {
        self.with(|task| task.start = Start::At(at))
    }

    /// Cancelled if it has not started this long after it was added. One that has is retried and rescued as any other; one
    /// that a stopping server gave back counts as not started.
    pub fn expires(self, after: Duration) -> Self {
        self.with(|task| task.expires = Some(after))
    }

    /// Retries after the first failure (default 3).
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Backoff, jitter and which errors; its `max_retries` counts too.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.max_retries = Some(policy.max_retries);
        self.with(|task| task.retry = policy)
    }

    /// The longest one attempt may take (default 300 s; zero = no limit).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(Some(timeout));
        self
    }

    /// At most one at a time with this key, until it finished.
    pub fn unique(self, key: impl Into<String>) -> Self {
        self.unique_for(key, UniqueHold::UntilFinished)
    }

    /// At most one at a time with this key.
    pub fn unique_for(self, key: impl Into<String>, hold: UniqueHold) -> Self {
        self.with(|task| task.unique = Some(Unique { key: key.into(), hold }))
    }

    /// Removes it 60 s after it finished and its children ended.
    pub fn auto_remove(self) -> Self {
        self.with(|task| task.auto_remove = true)
    }

    /// The first crash or loss makes it a dead letter instead of a second run.
    pub fn at_most_once(self) -> Self {
        self.with(|task| task.at_most_once = true)
    }

    /// The first context.
    pub fn context(mut self, context: &impl Serialize) -> Self {
        match serde_json::to_vec(context) {
            Ok(bytes) => self.with(|task| task.context = Some(bytes)),
            Err(error) => {
                self.task = Err(Error::NotRepresentable { what: "context".into(), why: error.to_string() });
                self
            }
        }
    }

    /// A label to filter by; may be called repeatedly.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(|task| task.tags.push(tag.into()))
    }
}

/// Refuses what can never be stored, before it is pushed.
pub(crate) fn check(task: &mut NewTask, limits: &Limits) -> Result<()> {
    limits.check_name("kind", &task.kind)?;
    limits.check_name("queue", &task.queue)?;
    if let Some(name) = &task.name {
        limits.check_name("name", name)?;
    }
    limits.check_tags(&task.tags)?;
    if let Some(unique) = &task.unique {
        limits.check_name("unique key", &unique.key)?;
    }
    crate::payload::check_foreign(&task.payload, limits)?;
    if let Some(context) = &task.context {
        crate::context::Context::from_bytes(context)?.to_bytes(limits)?;
    }
    check_range(
        "delay",
        match task.start {
            Start::After(delay) => Some(delay),
            _ => None,
        },
    )?;
    if let Start::At(at) = task.start {
        crate::time::check_instant("run_at", at)?;
    }
    check_range("expires", task.expires)?;
    check_range("timeout", task.timeout)?;
    let mut seen = std::collections::HashSet::new();
    task.parents.retain(|parent| seen.insert(*parent));
    Ok(())
}

/// A hundred years: what is longer is a mistake in the unit, and would leave the range of the databases' instants.
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

pub(super) fn check_range(what: &'static str, duration: Option<Duration>) -> Result<()> {
    match duration {
        Some(duration) if duration > DURATION_MAX => {
            Err(Error::InvalidArgument { what, why: format!("{} s is over a hundred years", duration.as_secs()) })
        }
        _ => Ok(()),
    }
}
