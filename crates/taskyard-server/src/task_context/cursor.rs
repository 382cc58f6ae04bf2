//! How far a task has come, so that the next attempt goes on where this one was: after a crash of its server, a failure
//! that is retried, or a stop.
//!
//! A position lives in the task's context under `cursors.NAME`. It is durable when [`Cursor::save`] returns; the write is
//! fenced, so that an attempt that has lost its lease moves nothing. What was done since the last saved position is done
//! again by the next attempt: let it be harmless, or write it in one transaction with what tells that it is done.

use std::marker::PhantomData;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskyard_core::client::id_ranges;
use taskyard_core::{Error, Result};

use super::TaskContext;

/// A position that is kept over attempts.
#[derive(Debug)]
pub struct Cursor<P> {
    context: TaskContext,
    path: String,
    position: PhantomData<fn() -> P>,
}

impl TaskContext {
    /// The cursor of this name; its position is what the last attempt saved.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty name or one with a dot.
    pub fn cursor<P: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Cursor<P>> {
        if name.is_empty() || name.contains('.') {
            return Err(Error::InvalidArgument {
                what: "cursor",
                why: format!("`{}` is not a name: it is empty or has a dot", name.escape_debug()),
            });
        }
        Ok(Cursor { context: self.clone(), path: format!("cursors.{name}"), position: PhantomData })
    }

    /// The ranges of `size` that make up `whole`, from the first one that has not been worked off yet. Asking for the
    /// next one says that the one before is done, and makes that durable.
    ///
    /// ```no_run
    /// # async fn import(context: taskyard_server::TaskContext) -> taskyard_core::Result<()> {
    /// let mut ranges = context.ranges("rows", 0..100_000, 1_000)?;
    /// while let Some(range) = ranges.next().await? {
    ///     // read and write the rows of these ids
    ///     # let _ = range;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::cursor`]; [`Error::InvalidArgument`] for a size of zero.
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
    /// Where it stands; `None` if nothing was saved yet.
    ///
    /// # Errors
    /// A stored position that is of another type.
    pub fn position(&self) -> Result<Option<P>> {
        self.context.get(&self.path)
    }

    /// Moves it; durable when it returns.
    ///
    /// # Errors
    /// A value that cannot be stored, [`Error::LeaseLost`], or the database's.
    pub async fn save(&self, position: P) -> Result<()> {
        self.context.set(&self.path, position)?;
        self.context.save_context().await
    }
}

/// Ranges of ids that are worked off one after the other, over attempts.
#[derive(Debug)]
pub struct Ranges {
    cursor: Cursor<i64>,
    rest: Range<i64>,
    size: u32,
    current: Option<Range<i64>>,
}

impl Ranges {
    /// The next range, once it is durable that the one before it is done; `None` when all are.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], or the database's.
    pub async fn next(&mut self) -> Result<Option<Range<i64>>> {
        if let Some(done) = self.current.take() {
            self.cursor.save(done.end).await?;
            self.rest.start = done.end;
        }
        self.current = id_ranges(self.rest.clone(), self.size).next();
        Ok(self.current.clone())
    }

    /// What is left, the range that is being worked off included.
    #[must_use]
    pub fn rest(&self) -> Range<i64> {
        self.rest.clone()
    }
}
