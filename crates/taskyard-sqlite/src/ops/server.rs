//! Servers: entering, heartbeats, leaving, and their records.

use rusqlite::params;
use taskyard_core::store::{Beat, BeatReply, BeatSeen, NewServer, ServerRecord, Signal};
use taskyard_core::{ServerId, TaskId, TaskState, Timestamp, Token};

use super::claim::orders_of;
use super::ends::is_aside;
use super::kind;
use super::rescue::claims;
use crate::codec::{count, duration, flag, id, instant, int, micros, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::end_and_notify;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::reader::Read;
use crate::thread::tx::Tx;

/// Time for which a dead server is listed.
const SHOWN_US: i64 = 86_400 * 1_000_000;

/// Enters a server with a first lease.
pub(crate) fn enter(tx: &mut Tx<'_>, server: &NewServer) -> Outcome<()> {
    tx.run(sql!("server/forget"), [tx.now - SHOWN_US])?;
    tx.run(
        sql!("server/enter"),
        params![
            server.id.0.into_bytes(),
            server.name,
            server.pid,
            server.version,
            tx.now,
            micros(server.lease),
            server.workers_max
        ],
    )?;
    if let Some(serves) = &server.serves {
        kind::serve(tx, server.id, serves)?;
    }
    Ok(())
}

/// Renews the lease and returns requests for the server.
pub(crate) fn beat(tx: &mut Tx<'_>, beat: &Beat) -> Outcome<BeatReply> {
    let server = beat.server.0.into_bytes();
    let renewed = tx.run(
        sql!("server/beat"),
        params![
            server,
            tx.now,
            micros(beat.lease),
            beat.workers_max,
            beat.workers_active,
            beat.workers_idle,
            beat.tasks_running
        ],
    )?;
    if renewed == 0 {
        return Ok(BeatReply { dead: true, signals: Vec::new() });
    }
    let mut signals = Vec::new();
    let mut statement = tx.sql(sql!("signal/of_server"))?;
    let mut rows = statement.query([server])?;
    while let Some(row) = rows.next()? {
        if let (Some(id), Some(token)) = (id::<TaskId>(row, 0), id::<Token>(row, 1)) {
            signals.push(Signal { id, token, cancel: flag(row, 2) });
        }
    }
    Ok(BeatReply { dead: false, signals })
}

/// Removes a server that leaves. It should hold no task any more; one that it still holds is released.
pub(crate) fn leave(tx: &mut Tx<'_>, server: ServerId) -> Outcome<()> {
    let id = server.0.into_bytes();
    for (claim, orders) in claims(tx, id)? {
        for order in orders_of(&orders) {
            if let Some(mut row) = Row::find_by_order(tx, order)?
                && row.state() == TaskState::Doing
                && row.server == Some(id)
                && !is_aside(tx, &row)?
            {
                release(tx, &mut row)?;
            }
        }
        tx.run(sql!("claim/delete"), [claim])?;
    }
    tx.run(sql!("server/delete"), [id])?;
    Ok(())
}

fn release(tx: &mut Tx<'_>, row: &mut Row) -> Outcome<()> {
    let (cancel, stop) = (row.cancel_requested, row.stop_requested);
    transitions::clear_requests(tx, row)?;
    row.token = None;
    if cancel || stop {
        let state = if cancel { TaskState::Cancelled } else { TaskState::Stopped };
        return end_and_notify(tx, row, state, &mut taskyard_core::store::CASCADE_INLINE_MAX.clone());
    }
    row.attempt = row.attempt.saturating_sub(1);
    row.started_at = None;
    transitions::enqueue(tx, row)?;
    row.save(tx)
}

/// Returns all servers that are alive, or died within the last day.
pub(crate) fn list(read: &Read<'_>) -> Outcome<Vec<ServerRecord>> {
    let mut statement = read.sql(sql!("server/list"))?;
    let mut rows = statement.query([read.now, read.now - SHOWN_US])?;
    let mut servers = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(id) = id(row, 0) else { continue };
        servers.push(ServerRecord {
            id,
            name: text(row, 1),
            pid: count(row, 2),
            version: text(row, 3),
            is_running: flag(row, 4),
            workers_max: count(row, 5),
            workers_active: count(row, 6),
            workers_idle: count(row, 7),
            tasks_running: count(row, 8),
            started_at: instant(row, 9).unwrap_or(Timestamp::UNIX_EPOCH),
            last_heartbeat_at: instant(row, 10).unwrap_or(Timestamp::UNIX_EPOCH),
        });
    }
    Ok(servers)
}

/// Returns the servers that a rescue must watch: those not declared dead, and dead ones that still hold claims.
pub(crate) fn beats(read: &Read<'_>) -> Outcome<Vec<BeatSeen>> {
    let mut statement = read.sql(sql!("server/beats"))?;
    let mut rows = statement.query([read.now])?;
    let mut seen = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(server) = id(row, 0) else { continue };
        seen.push(BeatSeen {
            server,
            beat: int(row, 1),
            lapsed: flag(row, 2),
            dead: flag(row, 3),
            lease: duration(int(row, 4)),
        });
    }
    Ok(seen)
}
