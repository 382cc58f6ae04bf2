//! Related tasks: groups with a callback, chains, and ranges of ids.

use std::ops::Range;

use super::{Call, Client, TaskRef};
use crate::state::OnParentFailure;
use crate::task::NewTask;
use crate::{Result, TaskId};

/// Tasks that were added together, and the task that follows them.
#[derive(Clone, Debug)]
pub struct Group<T, R> {
    /// The tasks, in the order of their calls.
    pub tasks: Vec<TaskRef<T>>,
    /// The task that runs once, after them.
    pub then: TaskRef<R>,
}

impl<T, R> Group<T, R> {
    fn of(mut refs: Vec<TaskRef<T>>) -> Self {
        let then = refs.pop().expect("what runs after them is the last one").typed();
        Self { tasks: refs, then }
    }
}

impl Client {
    /// Adds all of these and `then`, or none, and returns once they are stored. `then` runs once, when every one of
    /// them has ended, whether it succeeded or not.
    ///
    /// `then` can read how they ended from its parents' results. `then.results_of("parts", &calls)` passes their
    /// results as an argument.
    ///
    /// ```
    /// # #[taskyard::task] async fn double(number: u32) -> u32 { number * 2 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskContext, TaskState, task};
    ///
    /// #[task]
    /// async fn count_done(context: TaskContext) -> Result<usize, Error> {
    ///     let parents = context.parent_results().await?;
    ///     Ok(parents.iter().filter(|parent| parent.state == TaskState::Done).count())
    /// }
    ///
    /// let group = queue.add_group((0..3).map(double), count_done()).await?;
    /// queue.drain().await?;
    /// assert_eq!(group.then.wait().await?, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::add`].
    pub async fn add_group<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then.on_parent_failure(OnParentFailure::Run))?;
        Ok(Group::of(self.push_stored(tasks).await?))
    }

    /// Adds a group without waiting: see [`Client::add_group`] and [`Client::add_later`].
    ///
    /// # Errors
    /// Those of [`Client::add_later`].
    pub fn add_group_later<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then.on_parent_failure(OnParentFailure::Run))?;
        Ok(Group::of(self.push_tasks(tasks)?))
    }

    /// Adds a group as [`Client::add_group`] does, but `then` runs only if all of the tasks are done: it fails with the
    /// first one that fails for good.
    ///
    /// ```
    /// # #[taskyard::task] async fn double(number: u32) -> u32 { number * 2 }
    /// # #[taskyard::task] async fn sum(parts: Vec<u32>) -> u32 { parts.iter().sum() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let parts: Vec<_> = [1, 2, 3].map(double).into();
    /// let sum = sum(vec![]).results_of("parts", &parts);
    /// let group = queue.add_fan_in(parts, sum).await?;
    /// queue.drain().await?;
    /// assert_eq!(group.then.wait().await?, 12);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::add`].
    pub async fn add_fan_in<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then)?;
        Ok(Group::of(self.push_stored(tasks).await?))
    }

    /// Adds a group without waiting: see [`Client::add_fan_in`] and [`Client::add_later`].
    ///
    /// # Errors
    /// Those of [`Client::add_later`].
    pub fn add_fan_in_later<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then)?;
        Ok(Group::of(self.push_tasks(tasks)?))
    }

    /// Returns these tasks and, as the last one, the task that runs after them.
    fn tasks_before<T, R>(&self, calls: impl IntoIterator<Item = Call<T>>, then: Call<R>) -> Result<Vec<NewTask>> {
        let mut tasks = self.settled(calls)?;
        let parents: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        tasks.push(self.new_task(parents.into_iter().fold(then, Call::parent_id), &self.config())?);
        Ok(tasks)
    }

    /// Adds all of these or none, each to run when the one before it is done, and returns once they are stored.
    /// `second.result_of_call("total", &first)` passes a result on.
    ///
    /// ```
    /// # #[taskyard::task] async fn double(number: u32) -> u32 { number * 2 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let first = double(5);
    /// let second = double(0).result_of_call("number", &first);
    /// let chain = queue.add_chain([first, second]).await?;
    /// queue.drain().await?;
    /// assert_eq!(chain[1].wait().await?, 20);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::add`].
    pub async fn add_chain<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_stored(self.tasks_of_chain(calls)?).await
    }

    /// Adds a chain without waiting: see [`Client::add_chain`] and [`Client::add_later`].
    ///
    /// # Errors
    /// Those of [`Client::add_later`].
    pub fn add_chain_later<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_tasks(self.tasks_of_chain(calls)?)
    }

    fn tasks_of_chain<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<NewTask>> {
        let config = self.config();
        let mut tasks: Vec<NewTask> = Vec::new();
        for call in calls {
            let call = tasks.last().map(|before| before.id).into_iter().fold(call, Call::parent_id);
            tasks.push(self.new_task(call, &config)?);
        }
        Ok(tasks)
    }
}

/// Splits `whole` into ranges of `size`; the last one may be shorter. For a group of tasks over ranges of ids:
///
/// ```
/// let ranges: Vec<_> = taskyard::id_ranges(0..10, 4).collect();
/// assert_eq!(ranges, [0..4, 4..8, 8..10]);
/// ```
///
/// # Panics
/// If `size` is zero.
pub fn id_ranges(whole: Range<i64>, size: u32) -> impl Iterator<Item = Range<i64>> + Clone {
    assert!(size > 0, "the size of the ranges must not be 0");
    let size = i64::from(size);
    std::iter::successors(Some(whole.start), move |from| from.checked_add(size))
        .take_while(move |from| *from < whole.end)
        .map(move |from| from..from.saturating_add(size).min(whole.end))
}
