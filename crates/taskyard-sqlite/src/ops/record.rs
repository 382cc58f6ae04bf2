//! Writes context and logs of running attempts, fenced.

use taskyard_core::TaskState;
use taskyard_core::store::{Record, WriteReply};

use super::{finish, log};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::thread::tx::Tx;

/// Writes each record, or replies that its lease is over.
pub(crate) fn record(tx: &mut Tx<'_>, batch: &[Record]) -> Outcome<Vec<WriteReply>> {
    let mut find = tx.sql(sql!("task/find"))?;
    let mut replies = Vec::with_capacity(batch.len());
    for item in batch {
        let row = Row::find_with(tx, &mut find, [item.id.0.into_bytes()])?;
        let mut row = match finish::fence(row, item.token) {
            Ok(row) => row,
            Err(reply) => {
                replies.push(reply);
                continue;
            }
        };
        if let Some(context) = &item.context {
            row.set_context(tx, context)?;
        }
        log::add(tx, row.order, row.attempt, &item.logs)?;
        replies.push(WriteReply::Applied(TaskState::Doing));
    }
    Ok(replies)
}
