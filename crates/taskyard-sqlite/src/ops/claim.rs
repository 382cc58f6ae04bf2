//! Claims runnable tasks, by priority and age, under a live lease; and reads a lost claim back.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::{ClaimCursor, ClaimReply, ClaimRequest, Claimed};
use taskyard_core::task::{plain, policy_from_text};
use taskyard_core::{ClaimId, TaskId, TaskState, Token};
use uuid::Uuid;

use super::pick::{Candidate, Picker};
use super::set_aside;
use crate::codec::{self, Bits, bits, bytes, count, flag, id_bits, opt_int, opt_text, random_bits};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::HOLD_STARTED;
use crate::thread::tx::{QueueNo, Tx};

/// A task as it is read for a claim.
struct Runnable {
    task: Claimed,
    queue: QueueNo,
    has_context: bool,
    unique_key: Option<(String, i64)>,
    server: Option<Bits>,
}

/// Result of reading a row for a claim.
enum Checked {
    /// The task can run.
    Sound(Box<Runnable>),
    /// The task is enqueued, but its row cannot be decoded.
    Corrupt(String),
    /// The task is in this state instead of the expected one.
    Elsewhere(i64),
    /// There is no such task.
    Missing,
}

/// Claims up to `limit` tasks.
pub(crate) fn claim(tx: &mut Tx<'_>, request: &ClaimRequest) -> Outcome<ClaimReply> {
    let server = request.server.0.into_bytes();
    let alive: Option<Option<i64>> = tx
        .sql(sql!("server/alive"))?
        .query_row(params![server, tx.now, request.runtime.code()], |row| Ok(opt_int(row, 0)))
        .optional()?;
    let Some(build) = alive else { return Ok(ClaimReply { dead: true, ..ClaimReply::default() }) };
    let mut picker = Picker::new(tx, request, build);
    if tx.any(sql!("claim/get"), [request.claim.0.into_bytes()])? {
        // A repeated claim returns the tasks that it has claimed, and no others.
        let tasks = claimed(tx, request.claim)?;
        return Ok(ClaimReply { tasks, alone_waiting: picker.alone_waiting(tx)?, ..ClaimReply::default() });
    }
    let limit = if request.alone { request.limit.min(1) } else { request.limit };
    let mut tasks: Vec<Claimed> = Vec::new();
    let mut orders: Vec<u8> = Vec::new();
    let mut last = None;
    while tasks.len() < limit {
        let wanted = limit - tasks.len();
        let found = picker.pick(tx, wanted)?;
        start(tx, server, &found, &mut tasks, &mut orders)?;
        last = found.last().copied().or(last);
        if found.len() < wanted {
            break;
        }
    }
    if !tasks.is_empty() {
        tx.run(sql!("claim/add"), params![request.claim.0.into_bytes(), server, tx.now, orders])?;
    }
    // Claimers that got nothing because tasks were only moved out of the way must try again.
    tx.memory.pending_notifications.work |= picker.cut.is_some();
    let cursor = if tasks.len() == limit { last } else { picker.cut };
    Ok(ClaimReply {
        tasks,
        cursor: cursor.map(cursor_of),
        alone_waiting: picker.alone_waiting(tx)?,
        ..ClaimReply::default()
    })
}

fn cursor_of(candidate: Candidate) -> ClaimCursor {
    let priority = i32::try_from(-candidate.rank).unwrap_or(if candidate.rank > 0 { i32::MIN } else { i32::MAX });
    ClaimCursor { priority, order: candidate.order }
}

/// Starts the candidates that can run, and sets the others aside.
fn start(
    tx: &mut Tx<'_>,
    server: Bits,
    found: &[Candidate],
    tasks: &mut Vec<Claimed>,
    orders: &mut Vec<u8>,
) -> Outcome<()> {
    let mut read = tx.sql(sql!("task/claimable"))?;
    let mut update = tx.sql(sql!("task/start"))?;
    let mut delete = tx.sql(sql!("ready/delete"))?;
    let mut rated: HashMap<QueueNo, u32> = HashMap::new();
    for candidate in found {
        let checked = read
            .query_row([candidate.order], |row| Ok(check(tx, row, TaskState::Enqueued)))
            .optional()?
            .unwrap_or(Checked::Missing);
        delete.execute(params![candidate.lane, candidate.rank, candidate.order])?;
        let mut runnable = match checked {
            Checked::Sound(runnable) => runnable,
            Checked::Corrupt(why) => {
                set_aside::park(tx, candidate.order, &why)?;
                continue;
            }
            Checked::Elsewhere(state) => {
                set_aside::leave(tx, candidate.order, state)?;
                continue;
            }
            Checked::Missing => continue,
        };
        let token = random_bits();
        update.execute(params![candidate.order, token, server, tx.now])?;
        tx.counted(runnable.queue, TaskState::Enqueued, -1);
        tx.counted(runnable.queue, TaskState::Doing, 1);
        if tx.config(runnable.queue).is_some_and(|config| config.rate.is_some()) {
            *rated.entry(runnable.queue).or_default() += 1;
        }
        runnable.task.token = Token(Uuid::from_bytes(token));
        runnable.task.attempt += 1;
        only_the_first_expires(&mut runnable.task);
        if runnable.has_context {
            (runnable.task.context, runnable.task.context_encoded) = context(tx, candidate.order)?;
        }
        if let Some((key, HOLD_STARTED)) = &runnable.unique_key {
            tx.run(sql!("unique_key/release"), params![key, id_bits(runnable.task.id)])?;
        }
        orders.extend_from_slice(&candidate.order.to_le_bytes());
        tasks.push(runnable.task);
    }
    for (queue, started) in rated {
        if let Some(config) = tx.config(queue)
            && let Some(rate) = config.rate
        {
            let full_at = rate.after(tx.full_at(config)?, tx.now, started);
            tx.run(sql!("queue/set_full_at"), params![config.id, full_at])?;
        }
    }
    Ok(())
}

/// Reads a context, and whether it is in the Python client's encoding.
fn context(tx: &Tx<'_>, order: i64) -> Outcome<(Option<Vec<u8>>, bool)> {
    let found = tx.sql(sql!("context/get"))?.query_row([order], |row| Ok((bytes(row, 0), !flag(row, 1)))).optional()?;
    Ok(found.unwrap_or((None, true)))
}

/// Decodes a row strictly: a worker must be able to trust the task it gets.
fn check(tx: &mut Tx<'_>, row: &rusqlite::Row<'_>, expected: TaskState) -> Checked {
    let code = opt_int(row, 0).unwrap_or(-1);
    if code != i64::from(expected.code()) {
        return Checked::Elsewhere(code);
    }
    match read_runnable(tx, row) {
        Ok(runnable) => Checked::Sound(Box::new(runnable)),
        Err(why) => Checked::Corrupt(why),
    }
}

fn read_runnable(tx: &mut Tx<'_>, row: &rusqlite::Row<'_>) -> Result<Runnable, String> {
    let id: TaskId = codec::id(row, 1).ok_or("its id is not a UUID")?;
    let kind = row.get::<_, String>(2).ok().filter(|kind| !kind.is_empty()).ok_or("its kind is not a text")?;
    let queue = row.get::<_, String>(4).map_err(|_| "its queue is not a text")?;
    let payload = bytes(row, 5).ok_or("its payload is neither text nor bytes")?;
    let (retry, _) =
        policy_from_text(opt_text(row, 8).as_deref()).map_err(|error| format!("its retry policy: {error}"))?;
    let timeout = match opt_int(row, 9) {
        Some(ms) => Some(u64::try_from(ms).map_err(|_| "its timeout is negative")?),
        None if row.get_ref(9).is_ok_and(|value| value != rusqlite::types::ValueRef::Null) => {
            return Err("its timeout is not a number".into());
        }
        None => None,
    };
    let number = tx.queue(&queue);
    Ok(Runnable {
        queue: number,
        has_context: flag(row, 10),
        unique_key: opt_text(row, 14).zip(opt_int(row, 15)),
        server: bits(row, 18),
        task: Claimed {
            id,
            token: Token(Uuid::from_bytes(bits(row, 17).unwrap_or_default())),
            kind,
            name: opt_text(row, 3),
            queue,
            payload,
            payload_encoded: opt_int(row, 19).unwrap_or(0) & i64::from(plain::PAYLOAD) == 0,
            context: None,
            context_encoded: true,
            restricted: opt_int(row, 19).unwrap_or(0) & i64::from(plain::RESTRICTED) != 0,
            attempt: count(row, 6),
            failures: count(row, 7),
            retry,
            timeout: timeout.map(std::time::Duration::from_millis),
            has_parents: flag(row, 11),
            expired: opt_int(row, 13).is_some_and(|at| at <= tx.now),
            alone: flag(row, 12),
        },
    })
}

/// Returns the tasks that a claim has claimed and still holds.
pub(crate) fn claimed(tx: &mut Tx<'_>, claim: ClaimId) -> Outcome<Vec<Claimed>> {
    let found: Option<(Bits, Vec<u8>)> = tx
        .sql(sql!("claim/get"))?
        .query_row([claim.0.into_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((server, orders)) = found else { return Ok(Vec::new()) };
    let mut read = tx.sql(sql!("task/claimable"))?;
    let mut tasks = Vec::new();
    for order in orders_of(&orders) {
        let checked = read.query_row([order], |row| Ok(check(tx, row, TaskState::Doing))).optional()?;
        if let Some(Checked::Sound(mut runnable)) = checked
            && runnable.server == Some(server)
        {
            if runnable.has_context {
                (runnable.task.context, runnable.task.context_encoded) = context(tx, order)?;
            }
            only_the_first_expires(&mut runnable.task);
            tasks.push(runnable.task);
        }
    }
    Ok(tasks)
}

/// Only the first attempt can expire: a task that has started once has started in time, whatever the outcome.
fn only_the_first_expires(task: &mut Claimed) {
    task.expired &= task.attempt == 1;
}

/// Returns the order numbers in a claim's row.
pub(crate) fn orders_of(bytes: &[u8]) -> impl Iterator<Item = i64> + '_ {
    bytes.chunks_exact(8).map(|part| i64::from_le_bytes(part.try_into().expect("eight bytes each")))
}
