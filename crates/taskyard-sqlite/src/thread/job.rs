//! An operation on its way to the writer: the closure to run, and the channel for its result after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use taskyard_core::{Error, Result};
use tokio::sync::oneshot;

use super::tx::Tx;
use crate::fault::{Fault, Outcome};

/// An operation that waits for its turn.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome<()>;
    fn answer(self: Box<Self>, error: Option<Error>);
}

pub(super) struct Operation<T, F> {
    pub(super) work: Option<F>,
    pub(super) result: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send> Job for Operation<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome<()> {
        let work = self.work.take().expect("an operation runs once");
        let panicked = || Fault::Answer(Error::Database("an operation panicked; it changed nothing".into()));
        self.result = Some(catch_unwind(AssertUnwindSafe(|| work(tx))).map_err(|_| panicked())??);
        Ok(())
    }

    fn answer(self: Box<Self>, error: Option<Error>) {
        let answer = match (error, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::Database("an operation was not run".into())),
        };
        // The caller may have stopped waiting; the work was done all the same.
        let _ = self.reply.send(answer);
    }
}
