//! A task's row without its wide columns: everything that a transition reads or changes.
//!
//! Read with [`Row::find`], changed in memory, written back with [`Row::save`]. Payload, result, error and name are not
//! included: separate statements access them.

use rusqlite::{CachedStatement, OptionalExtension, Params, params};
use taskyard_core::state::OnParentFailure;
use taskyard_core::task::{AttemptOutcome, Failure};
use taskyard_core::{Error, TaskId, TaskState};
use uuid::Uuid;

use crate::codec::{self, Bits, bits, count, flag, int, opt_int, opt_text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::{QueueNo, Tx};

/// A unique key is released when its task becomes final.
pub(crate) const HOLD_FINISHED: i64 = 0;
/// A unique key is released when its task is claimed.
pub(crate) const HOLD_STARTED: i64 = 1;
/// A unique key is held for a fixed time.
pub(crate) const HOLD_FOR: i64 = 2;

/// The columns that a transition reads.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) order: i64,
    pub(crate) id: TaskId,
    /// As stored; may be an unknown number in a row that was edited by hand.
    pub(crate) state_code: i64,
    pub(crate) token: Option<Bits>,
    pub(crate) server: Option<Bits>,
    pub(crate) runtime: i64,
    /// Group of the task's kind: 0 if no build has refused it.
    pub(crate) group: i64,
    pub(crate) queue: QueueNo,
    pub(crate) priority: i64,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) lost: u32,
    pub(crate) crashes: u32,
    pub(crate) alone: bool,
    pub(crate) cancel_requested: bool,
    pub(crate) stop_requested: bool,
    pub(crate) has_children: bool,
    pub(crate) has_parents: bool,
    pub(crate) has_context: bool,
    pub(crate) at_most_once: bool,
    pub(crate) auto_remove: bool,
    pub(crate) on_parent_failure: OnParentFailure,
    pub(crate) fallen_from: Option<Bits>,
    pub(crate) unique_key: Option<String>,
    pub(crate) unique_hold: Option<i64>,
    pub(crate) run_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    /// Outcome of the last attempt, if it ended the task.
    pub(crate) ended: Option<AttemptOutcome>,
}

impl Row {
    /// Reads the row of an id.
    pub(crate) fn find(tx: &mut Tx<'_>, id: TaskId) -> Outcome<Option<Self>> {
        let mut statement = tx.sql(sql!("task/find"))?;
        Self::find_with(tx, &mut statement, [codec::id_bits(id)])
    }

    /// Reads the row of an order number.
    pub(crate) fn find_by_order(tx: &mut Tx<'_>, order: i64) -> Outcome<Option<Self>> {
        let mut statement = tx.sql(sql!("task/find_by_order"))?;
        Self::find_with(tx, &mut statement, [order])
    }

    /// Reads the row that a statement with the same columns finds; for loops that reuse the statement.
    pub(crate) fn find_with(
        tx: &mut Tx<'_>,
        statement: &mut CachedStatement<'_>,
        params: impl Params,
    ) -> Outcome<Option<Self>> {
        let found = statement.query_row(params, |row| Ok(Self::read(tx, row))).optional()?;
        Ok(found)
    }

    fn read(tx: &mut Tx<'_>, row: &rusqlite::Row<'_>) -> Self {
        let queue = row.get_ref(6).ok().and_then(|value| value.as_str().ok()).unwrap_or_default();
        let kind = row.get_ref(30).ok().and_then(|value| value.as_str().ok()).unwrap_or_default();
        let group = tx.kind_group(int(row, 5) & 1, kind).map_or(0, |group| group.id);
        Self {
            group,
            order: int(row, 0),
            id: codec::id(row, 1).unwrap_or(TaskId(Uuid::nil())),
            state_code: opt_int(row, 2).unwrap_or(-1),
            token: bits(row, 3),
            server: bits(row, 4),
            runtime: int(row, 5) & 1,
            queue: tx.queue(queue),
            priority: int(row, 7),
            attempt: count(row, 8),
            failures: count(row, 9),
            lost: count(row, 10),
            crashes: count(row, 11),
            alone: flag(row, 12),
            cancel_requested: flag(row, 13),
            stop_requested: flag(row, 14),
            has_children: flag(row, 15),
            has_parents: flag(row, 16),
            has_context: flag(row, 17),
            at_most_once: flag(row, 18),
            auto_remove: flag(row, 19),
            on_parent_failure: i16::try_from(int(row, 20))
                .ok()
                .and_then(OnParentFailure::from_code)
                .unwrap_or_default(),
            fallen_from: bits(row, 21),
            unique_key: opt_text(row, 22),
            unique_hold: opt_int(row, 23),
            run_at: opt_int(row, 25),
            expires_at: opt_int(row, 26),
            started_at: opt_int(row, 27),
            finished_at: opt_int(row, 28),
            ended: opt_int(row, 29).and_then(|code| AttemptOutcome::from_code(i16::try_from(code).ok()?)),
        }
    }

    /// Returns the state; an unknown state counts as waiting, as it is shown.
    pub(crate) fn state(&self) -> TaskState {
        codec::state(self.state_code).unwrap_or(TaskState::Waiting)
    }

    /// Returns whether the task is failed or cancelled.
    pub(crate) fn is_fallen(&self) -> bool {
        matches!(self.state(), TaskState::Failed | TaskState::Cancelled)
    }

    /// Returns the ancestor to record when a child falls with this task.
    pub(crate) fn root(&self) -> Bits {
        self.fallen_from.unwrap_or(codec::id_bits(self.id))
    }

    /// Changes the state and updates the counts.
    pub(crate) fn enter(&mut self, tx: &mut Tx<'_>, state: TaskState) {
        tx.counted(self.queue, self.state(), -1);
        tx.counted(self.queue, state, 1);
        self.state_code = i64::from(state.code());
    }

    /// Writes the changed columns back.
    pub(crate) fn save(&self, tx: &Tx<'_>) -> Outcome<()> {
        self.write(tx).map(drop)
    }

    /// Writes the changed columns of an attempt's end back.
    ///
    /// # Errors
    /// `Error::Database` if a trigger skipped the update (`raise(ignore)`).
    pub(crate) fn save_end(&self, tx: &Tx<'_>) -> Outcome<()> {
        self.refuse_skipped(self.write(tx)?)
    }

    /// Refuses an end whose update changed no row: the task would stay `doing`, with its claim closed.
    ///
    /// # Errors
    /// `Error::Database` if `rows` is 0.
    pub(crate) fn refuse_skipped(&self, rows: usize) -> Outcome<()> {
        if rows > 0 {
            return Ok(());
        }
        Err(Error::Database(format!("a trigger on ty_task skipped the update that ends task {}", self.id)).into())
    }

    fn write(&self, tx: &Tx<'_>) -> Outcome<usize> {
        tx.run(
            sql!("task/save"),
            params![
                self.order,
                self.state_code,
                self.token,
                self.attempt,
                self.failures,
                self.lost,
                self.crashes,
                self.alone,
                self.cancel_requested,
                self.stop_requested,
                self.fallen_from,
                self.run_at,
                self.expires_at,
                self.started_at,
                self.finished_at,
                self.ended.map(AttemptOutcome::code),
            ],
        )
    }

    /// Writes the task's error.
    pub(crate) fn blame(&self, tx: &Tx<'_>, error: &Failure) -> Outcome<()> {
        tx.run(sql!("task/blame"), params![self.order, error.error_type, error.message, error.traceback])?;
        Ok(())
    }

    /// Reads the task's error.
    pub(crate) fn error(&self, tx: &Tx<'_>) -> Outcome<Option<Failure>> {
        Ok(tx.sql(sql!("task/error"))?.query_row([self.order], |row| Ok(codec::failure(row, 0)))?)
    }

    /// Writes a context.
    pub(crate) fn set_context(&mut self, tx: &Tx<'_>, context: &[u8]) -> Outcome<()> {
        // A context written by a task body is in its language's encoding, whatever the first one was.
        tx.run(sql!("context/set"), params![self.order, context, false])?;
        if !self.has_context {
            tx.run(sql!("context/mark"), [self.order])?;
            self.has_context = true;
        }
        Ok(())
    }
}
