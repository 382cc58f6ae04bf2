//! Servers: entering, heartbeats, leaving, and their records.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Beat, BeatReply, BeatSeen, NewServer, ServerRecord, Serves, Signal};
use taskyard_core::{Result, ServerId, TaskId, Timestamp, Token};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{count, get, instant};
use crate::text::{clean, millis};

const LIST: &str = include_str!("sql/server/list.sql");
const BEATS: &str = include_str!("sql/server/beats.sql");

/// Time limit for a heartbeat: a later response is useless, since the next heartbeat is due. With a short lease the
/// limit is a quarter of it.
const BEAT_ANSWER_MAX: Duration = Duration::from_secs(4);
const BEAT_ANSWER_MIN: Duration = Duration::from_millis(100);

pub(crate) async fn enter(store: &Inner, server: &NewServer) -> Result<()> {
    // A connection is driven by the runtime that opened it. A server's first entry runs on its caller's runtime, which
    // may be busy: the connection for heartbeats is left to be opened by the thread that sends them.
    let role = if store.pool.is_open(Role::Beat) { Role::Beat } else { Role::Client };
    let (name, version) = (clean(&server.name), clean(&server.version));
    let (pid, lease, workers_max) = (i64::from(server.pid), millis(server.lease), i64::from(server.workers_max));
    let params: [(&(dyn ToSql + Sync), Type); 6] = [
        (&server.id.0, Type::UUID),
        (&name, Type::TEXT),
        (&pid, Type::INT8),
        (&version, Type::TEXT),
        (&lease, Type::INT8),
        (&workers_max, Type::INT8),
    ];
    match &server.serves {
        None => {
            let sql = "SELECT taskyard.server_enter($1, $2, $3, $4, $5, $6)";
            store.pool.query_idempotent(role, sql, &params).await?;
        }
        Some(serves) => {
            let sql = "SELECT taskyard.server_enter_as($1, $2, $3, $4, $5, $6, $7, $8, $9)";
            let (runtimes, fingerprints) = builds(serves);
            let all: Vec<_> = params
                .into_iter()
                .chain([
                    (&runtimes as _, Type::INT2_ARRAY),
                    (&fingerprints as _, Type::TEXT_ARRAY),
                    (&serves.queues as _, Type::TEXT_ARRAY),
                ])
                .collect();
            store.pool.query_idempotent(role, sql, &all).await?;
        }
    }
    if let Err(error) = set_limits(store).await {
        tracing::warn!(%error, "the SQL functions do not apply this server's limits, because the limits cannot be stored");
    }
    Ok(())
}

/// Refuses a server that would lack a connection. Checked once per store: connections that are lost later are replaced.
pub(crate) async fn check_capacity(store: &Inner) -> Result<()> {
    if store.admitted.load(Ordering::Acquire) {
        return Ok(());
    }
    // LISTEN through a separate address is optional: without it a server works, with a warning.
    let listens_here = store.options.notify && store.options.listen_url.is_none();
    let hears = store.hears.load(Ordering::Acquire);
    store.pool.check_capacity(usize::from(listens_here), usize::from(listens_here && hears)).await?;
    store.admitted.store(true, Ordering::Release);
    Ok(())
}

fn builds(serves: &Serves) -> (Vec<i16>, Vec<Cow<'_, str>>) {
    serves.builds.iter().map(|(runtime, fingerprint)| (runtime.code(), clean(fingerprint))).unzip()
}

/// Updates the builds and queues that a server serves.
pub(crate) async fn serve(store: &Inner, server: ServerId, serves: &Serves) -> Result<()> {
    let (runtimes, fingerprints) = builds(serves);
    let params = [
        (&server.0 as _, Type::UUID),
        (&runtimes as _, Type::INT2_ARRAY),
        (&fingerprints as _, Type::TEXT_ARRAY),
        (&serves.queues as _, Type::TEXT_ARRAY),
    ];
    store.pool.query_idempotent(Role::Claim, "SELECT taskyard.server_serve($1, $2, $3, $4)", &params).await?;
    Ok(())
}

/// Returns whether the build of a server has refused this kind of task.
pub(crate) async fn has_refused(store: &Inner, server: ServerId, runtime: Runtime, kind: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM taskyard.server s
            JOIN taskyard.kind k ON k.runtime = $2 AND k.kind = $3
            JOIN taskyard.kind_group g ON g.id = k.group_id
        WHERE s.id = $1 AND s.builds[$2 + 1] = ANY(g.builds))";
    let params = [(&server.0 as _, Type::UUID), (&runtime.code() as _, Type::INT2), (&clean(kind) as _, Type::TEXT)];
    let rows = store.pool.query_idempotent(Role::Claim, sql, &params).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Stores the limits of this server's settings in the database, so that additions by SQL are held to the same limits.
async fn set_limits(store: &Inner) -> Result<()> {
    let limits = &store.options.limits;
    let (names, values): (Vec<&str>, Vec<String>) = [
        ("arguments_bytes_max", limits.arguments_bytes_max),
        ("result_bytes_max", limits.result_bytes_max),
        ("context_bytes_max", limits.context_bytes_max),
        ("name_bytes_max", limits.name_bytes_max),
        ("nesting_max", limits.nesting_max),
    ]
    .map(|(name, value)| (name, value.to_string()))
    .into_iter()
    .unzip();
    let params = [(&names as _, Type::TEXT_ARRAY), (&values as _, Type::TEXT_ARRAY)];
    store.pool.query_idempotent(Role::Attempt, "SELECT taskyard.limits_set($1, $2)", &params).await?;
    Ok(())
}

pub(crate) async fn beat(store: &Inner, beat: &Beat) -> Result<BeatReply> {
    // A heartbeat may safely be sent twice.
    let rows = store
        .pool
        .query_within(
            Role::Beat,
            (beat.lease / 4).clamp(BEAT_ANSWER_MIN, BEAT_ANSWER_MAX),
            true,
            "SELECT task_id, token, cancel FROM taskyard.server_beat($1, $2, $3, $4, $5, $6)",
            &[
                (&beat.server.0, Type::UUID),
                (&millis(beat.lease), Type::INT8),
                (&i64::from(beat.workers_max), Type::INT8),
                (&i64::from(beat.workers_active), Type::INT8),
                (&i64::from(beat.workers_idle), Type::INT8),
                (&i64::from(beat.tasks_running), Type::INT8),
            ],
        )
        .await?;
    let mut reply = BeatReply { dead: rows.is_empty(), signals: Vec::new() };
    for row in &rows {
        if let Some(id) = get::<Option<Uuid>>(row, 0)? {
            reply.signals.push(Signal { id: TaskId(id), token: Token(get(row, 1)?), cancel: get(row, 2)? });
        }
    }
    Ok(reply)
}

pub(crate) async fn leave(store: &Inner, server: ServerId) -> Result<()> {
    store.pool.query_idempotent(Role::Attempt, "SELECT taskyard.server_leave($1)", &[(&server.0, Type::UUID)]).await?;
    Ok(())
}

pub(crate) async fn list(store: &Inner) -> Result<Vec<ServerRecord>> {
    let small =
        |row: &tokio_postgres::Row, column| -> Result<u32> { Ok(u32::try_from(get::<i64>(row, column)?).unwrap_or(0)) };
    let rows = store.pool.query_idempotent(Role::Client, LIST, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(ServerRecord {
                id: ServerId(get(row, 0)?),
                name: get(row, 1)?,
                pid: small(row, 2)?,
                version: get(row, 3)?,
                is_running: get(row, 4)?,
                workers_max: small(row, 5)?,
                workers_active: small(row, 6)?,
                workers_idle: small(row, 7)?,
                tasks_running: small(row, 8)?,
                started_at: instant(row, 9).unwrap_or(Timestamp::UNIX_EPOCH),
                last_heartbeat_at: instant(row, 10).unwrap_or(Timestamp::UNIX_EPOCH),
            })
        })
        .collect()
}

pub(crate) async fn beats(store: &Inner) -> Result<Vec<BeatSeen>> {
    let rows = store.pool.query_idempotent(Role::Claim, BEATS, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(BeatSeen {
                server: ServerId(get(row, 0)?),
                beat: get(row, 1)?,
                lapsed: get(row, 2)?,
                dead: get(row, 3)?,
                lease: Duration::from_millis(count(row, 4)?),
            })
        })
        .collect()
}
