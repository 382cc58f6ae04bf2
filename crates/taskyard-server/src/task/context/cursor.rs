//! Stored positions of a task, so that the next attempt continues where this one stopped: after a crash of its server,
//! a failure that is retried, or a stop.
//!
//! A position is stored in the task's context under `cursors.NAME`. It is durable when [`Cursor::save`] returns. The
//! write is fenced: an attempt that has lost its lease changes nothing. The next attempt repeats the work done since
//! the last saved position: make that harmless, or write the work in one transaction with a marker that it is done.

use std::marker::PhantomData;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskyard_core::client::id_ranges;
use taskyard_core::{Error, Result};

use super::TaskContext;

/// A position that is stored across attempts.
#[derive(Debug)]
pub struct Cursor<P> {
    context: TaskContext,
    path: String,
    position: PhantomData<fn() -> P>,
}

impl TaskContext {
    /// Returns the cursor of this name; its position is the last one saved by this attempt or an earlier one.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, TaskError, task};
    ///
    /// #[task]
    /// async fn import(context: TaskContext) -> Result<u64, TaskError> {
    ///     let cursor = context.cursor::<u64>("line")?;
    ///     let begin = cursor.position()?.unwrap_or(0);
    ///     for line in begin..100 {
    ///         // read and write the line
    ///         if line % 10 == 9 {
    ///             cursor.save(line + 1).await?;
    ///         }
    ///     }
    ///     Ok(begin)
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.context().await?["cursors"]["line"], 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the name is empty or contains a dot.
    pub fn cursor<P: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Cursor<P>> {
        if name.is_empty() || name.contains('.') {
            return Err(Error::InvalidArgument {
                what: "cursor",
                why: format!("`{}` is not a name: it is empty or has a dot", name.escape_debug()),
            });
        }
        Ok(Cursor { context: self.clone(), path: format!("cursors.{name}"), position: PhantomData })
    }

    /// Splits `whole` into ranges of `size` ids and returns those that are not done yet. Requesting the next range
    /// marks the one before as done and makes that durable.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # use taskyard::{Error, TaskContext, task};
    /// #[task]
    /// async fn import(context: TaskContext) -> Result<(), Error> {
    ///     let mut ranges = context.ranges("rows", 0..10_000, 1_000)?;
    ///     while let Some(range) = ranges.next().await? {
    ///         println!("rows {range:?}");
    ///     }
    ///     Ok(())
    /// }
    /// # let task = queue.add(import()).await?;
    /// # queue.drain().await?;
    /// # assert_eq!(task.context().await?["cursors"]["rows"], 10_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Self::cursor`]; [`Error::InvalidArgument`] if `size` is zero; [`Error::NotRepresentable`] if the stored
    /// position is not a number.
    pub fn ranges(&self, name: &str, whole: Range<i64>, size: u32) -> Result<Ranges> {
        if size == 0 {
            return Err(Error::InvalidArgument { what: "ranges", why: "their size is zero".into() });
        }
        let cursor: Cursor<i64> = self.cursor(name)?;
        let from = cursor.position()?.unwrap_or(whole.start).max(whole.start);
        Ok(Ranges { cursor, rest: from..whole.end, size, current: None })
    }
}

impl<P: Serialize + DeserializeOwned> Cursor<P> {
    /// Returns the stored position; `None` if none was saved yet.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the stored position is of another type.
    pub fn position(&self) -> Result<Option<P>> {
        self.context.get(&self.path)
    }

    /// Stores a new position; it is durable when this returns.
    ///
    /// # Errors
    /// The errors of [`TaskContext::set`] if the value cannot be stored, and those of [`TaskContext::save_context`],
    /// such as [`Error::LeaseLost`].
    pub async fn save(&self, position: P) -> Result<()> {
        self.context.set(&self.path, position)?;
        self.context.save_context().await
    }
}

/// Ranges of ids that are processed one after the other, across attempts.
#[derive(Debug)]
pub struct Ranges {
    cursor: Cursor<i64>,
    rest: Range<i64>,
    size: u32,
    current: Option<Range<i64>>,
}

impl Ranges {
    /// Returns the next range once the completion of the one before is durable; `None` when all are done.
    ///
    /// # Errors
    /// As [`Cursor::save`], such as [`Error::LeaseLost`].
    pub async fn next(&mut self) -> Result<Option<Range<i64>>> {
        if let Some(done) = self.current.take() {
            self.cursor.save(done.end).await?;
            self.rest.start = done.end;
        }
        self.current = id_ranges(self.rest.clone(), self.size).next();
        Ok(self.current.clone())
    }

    /// Returns the ids that are left, including the range in progress.
    #[must_use]
    pub fn rest(&self) -> Range<i64> {
        self.rest.clone()
    }
}
