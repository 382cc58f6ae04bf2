//! Several tasks that belong together: groups with a callback, chains, and ranges of ids.

use std::ops::Range;

use super::{Call, Client, TaskRef};
use crate::state::OnParentFailure;
use crate::task::NewTask;
use crate::{Result, TaskId};

/// Tasks that were added together, and the one that follows them.
#[derive(Clone, Debug)]
pub struct Group<T, R> {
    /// The tasks, in the order of their calls.
    pub tasks: Vec<TaskRef<T>>,
    /// What runs once, after them.
    pub then: TaskRef<R>,
}

impl<T, R> Group<T, R> {
    fn of(mut refs: Vec<TaskRef<T>>) -> Self {
        let then = refs.pop().expect("what runs after them is the last one").typed();
        Self { tasks: refs, then }
    }
}

impl Client {
    /// Adds all of these and `then`, or none, and returns once they are stored. `then` runs once, when every one of them has ended, however it ended.
    ///
    /// `then` sees how they ended by its parents' results. For their results as an argument of it:
    /// `then.results_of("parts", &calls)`.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn add_group<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then.on_parent_failure(OnParentFailure::Run))?;
        Ok(Group::of(self.push_stored(tasks).await?))
    }

    /// The same without waiting: see [`Client::add_later`].
    ///
    /// # Errors
    /// As [`Client::add_later`].
    pub fn add_group_later<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then.on_parent_failure(OnParentFailure::Run))?;
        Ok(Group::of(self.push_tasks(tasks)?))
    }

    /// As [`Client::add_group`], but `then` runs only if all of them are done: it falls with the first one that fails
    /// for good.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn add_fan_in<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then)?;
        Ok(Group::of(self.push_stored(tasks).await?))
    }

    /// The same without waiting: see [`Client::add_later`].
    ///
    /// # Errors
    /// As [`Client::add_later`].
    pub fn add_fan_in_later<T, R>(
        &self,
        calls: impl IntoIterator<Item = Call<T>>,
        then: Call<R>,
    ) -> Result<Group<T, R>> {
        let tasks = self.tasks_before(calls, then)?;
        Ok(Group::of(self.push_tasks(tasks)?))
    }

    /// These and, as the last one, what runs after them.
    fn tasks_before<T, R>(&self, calls: impl IntoIterator<Item = Call<T>>, then: Call<R>) -> Result<Vec<NewTask>> {
        let mut tasks = self.settled(calls)?;
        let parents: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        tasks.push(self.new_task(parents.into_iter().fold(then, Call::parent_id), &self.config())?);
        Ok(tasks)
    }

    /// Adds all of these or none, each to run when the one before it is done, and returns once they are stored. To hand
    /// a result on: `second.result_of_call("total", &first)`.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn add_chain<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_stored(self.tasks_of_chain(calls)?).await
    }

    /// The same without waiting: see [`Client::add_later`].
    ///
    /// # Errors
    /// As [`Client::add_later`].
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

/// The ranges of `size` that make up `whole`; the last one may be shorter. For a group of tasks over ranges of ids:
///
/// ```
/// # use taskyard_core::client::id_ranges;
/// let ranges: Vec<_> = id_ranges(0..10, 4).collect();
/// assert_eq!(ranges, [0..4, 4..8, 8..10]);
/// ```
///
/// # Panics
/// For a size of zero.
pub fn id_ranges(whole: Range<i64>, size: u32) -> impl Iterator<Item = Range<i64>> + Clone {
    assert!(size > 0, "the size of the ranges must not be 0");
    let size = i64::from(size);
    std::iter::successors(Some(whole.start), move |from| from.checked_add(size))
        .take_while(move |from| *from < whole.end)
        .map(move |from| from..from.saturating_add(size).min(whole.end))
}
