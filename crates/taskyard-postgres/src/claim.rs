//! Claims tasks.
//!
//! A claim that meets a task locked by another transaction fails as a whole, after a second. From then on claims skip
//! locked rows, which costs a check of each task's row, for as long as there is such a task.

use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::store::{ClaimCursor, ClaimReply, ClaimRequest, Claimed, ClaimsHeld, Finish, Outcome};
use taskyard_core::task::policy_from_text;
use taskyard_core::{ClaimId, Error, Result, ServerId, TaskId, Token};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::finish;
use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{get, number};

const HAS_PARENTS: i32 = 1;
const EXPIRED: i32 = 2;
const ALONE: i32 = 4;
const DEAD: i32 = 8;
const ALONE_WAITING: i32 = 16;
const PLAIN_PAYLOAD: i32 = 32;
const PLAIN_CONTEXT: i32 = 64;
const RESTRICTED: i32 = 128;
const PASSED_OVER: i32 = 256;

/// Time for which claims skip locked rows after one met a lock; extended by each claim that skipped something.
const AROUND_LOCKS: Duration = Duration::from_secs(10);

/// Number of failed claims in a row after which the tasks that they would have taken are checked.
const CLAIMS_FAILED_MAX: u32 = 3;

/// Maximum number of tokens sent with a claim (64 KiB); the database generates the others.
const TOKENS_MAX: usize = 4_096;

/// Claims tasks.
pub(crate) async fn claim(store: &Inner, request: &ClaimRequest) -> Result<ClaimReply> {
    let sql = if store.claims_around_locks() { AROUND } else { FLAT };
    match run(store, request, sql).await {
        // Nothing was claimed, so the claim may be repeated under the same id.
        Err(Error::Locked(_)) if sql == FLAT => {
            store.claim_around_locks(AROUND_LOCKS);
            run(store, request, AROUND).await
        }
        // The database has responded, so nothing was claimed.
        Err(error) if !error.is_transient() && postpone_refused(store, request).await? => {
            tracing::warn!(%error, "the database refuses to start some tasks; they are tried again after ten seconds");
            run(store, request, sql).await
        }
        Err(error) => {
            // A trigger may raise the code of an unavailable database, too. If the database is unavailable, this call
            // fails as well.
            if store.claims_failed.fetch_add(1, Ordering::Relaxed) >= CLAIMS_FAILED_MAX {
                let _ = postpone_refused(store, request).await;
            }
            Err(error)
        }
        Ok(reply) => {
            store.claims_failed.store(0, Ordering::Relaxed);
            Ok(reply)
        }
    }
}

/// Returns whether the database refuses to start some tasks that this claim would have taken; those are postponed by
/// ten seconds.
async fn postpone_refused(store: &Inner, request: &ClaimRequest) -> Result<bool> {
    const SQL: &str = "SELECT taskyard.claim_refused($1, $2, $3)";
    let rows = store
        .pool
        .query(
            Role::Claim,
            SQL,
            &[
                (&request.server.0, Type::UUID),
                (&request.runtime.code(), Type::INT2),
                (&request.queues, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    Ok(rows.first().map_or(Ok(0), |row| get::<i32>(row, 0))? > 0)
}

const FLAT: &str = "SELECT id, token, kind, name, queue, payload, context, attempt, failures, policy, timeout_ms, flags, \
                    priority, order_number FROM taskyard.task_claim($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const AROUND: &str = "SELECT id, token, kind, name, queue, payload, context, attempt, failures, policy, timeout_ms, flags, \
                      priority, order_number FROM taskyard.task_claim_around($1, $2, $3, $4, $5, $6, $7, $8, $9)";

async fn run(store: &Inner, request: &ClaimRequest, sql: &'static str) -> Result<ClaimReply> {
    let limit = if request.alone { 1 } else { i32::try_from(request.limit).unwrap_or(i32::MAX) };
    // The rank is the complement of the priority, so that one ascending comparison finds the rows after the cursor.
    let rank = request.cursor.map_or(i32::MIN, |cursor| !cursor.priority);
    let order = request.cursor.map_or(i64::MIN, |cursor| cursor.order);
    // The database generates tokens one by one, which takes a tenth of the time of a claim. Only a claim that is likely
    // to be full sends its own: for a few tasks, sending them would cost more.
    let tokens = request.cursor.map(|_| Token::generate_many(request.limit.min(TOKENS_MAX)));
    let tokens: Option<Vec<Uuid>> = tokens.map(|tokens| tokens.into_iter().map(|token| token.0).collect());
    let rows = store
        .pool
        .query_frequent(
            Role::Claim,
            sql,
            &[
                (&request.server.0, Type::UUID),
                (&request.claim.0, Type::UUID),
                (&request.runtime.code(), Type::INT2),
                (&request.queues, Type::TEXT_ARRAY),
                (&limit, Type::INT4),
                (&request.alone, Type::BOOL),
                (&rank, Type::INT4),
                (&order, Type::INT8),
                (&tokens, Type::UUID_ARRAY),
            ],
        )
        .await?;
    let mut reply = ClaimReply::default();
    let read = read(&rows, &mut reply)?;
    let full = read.seen > 0 && read.seen >= usize::try_from(limit).unwrap_or(usize::MAX) && !request.alone;
    if full {
        reply.cursor = read.last;
    }
    if reply.passed_over {
        store.claim_around_locks(AROUND_LOCKS);
    }
    set_aside(store, read.corrupt).await?;
    Ok(reply)
}

/// Returns the tasks of a claim whose reply was lost.
pub(crate) async fn claimed(store: &Inner, server: ServerId, claim: ClaimId) -> Result<Vec<Claimed>> {
    const SQL: &str = "SELECT id, token, kind, name, queue, payload, context, attempt, failures, policy, timeout_ms, \
                       flags, priority, order_number FROM taskyard.claim_read($1, $2)";
    let rows =
        store.pool.query_idempotent(Role::Claim, SQL, &[(&server.0, Type::UUID), (&claim.0, Type::UUID)]).await?;
    let mut reply = ClaimReply::default();
    let read = read(&rows, &mut reply)?;
    set_aside(store, read.corrupt).await?;
    Ok(reply.tasks)
}

/// Number of claim rows read at once.
const PAGE: i64 = 200;

/// Returns the tasks running under these claims of a server, and those claims of the server that are in the next page
/// of all claims.
pub(crate) async fn held(
    store: &Inner,
    server: ServerId,
    claims: &[ClaimId],
    after: Option<ClaimId>,
) -> Result<ClaimsHeld> {
    const HELD: &str = "SELECT claim_id, task_id, token FROM taskyard.claim_held($1, $2)";
    // Not filtered by the server, because no index supports it. An empty claim may still arrive.
    const CLAIMS: &str = "SELECT k.id, k.server_id = $1 AND k.size > 0 FROM taskyard.claim k WHERE k.id > $2 \
                          ORDER BY k.id LIMIT $3";
    let mut seen = ClaimsHeld::default();
    if !claims.is_empty() {
        let claims: Vec<Uuid> = claims.iter().map(|claim| claim.0).collect();
        let params = [(&server.0 as _, Type::UUID), (&claims as _, Type::UUID_ARRAY)];
        for row in &store.pool.query_idempotent(Role::Claim, HELD, &params).await? {
            seen.doing.push((ClaimId(get(row, 0)?), TaskId(get(row, 1)?), Token(get(row, 2)?)));
        }
    }
    let cursor = after.map_or(Uuid::nil(), |claim| claim.0);
    let params = [(&server.0 as _, Type::UUID), (&cursor as _, Type::UUID), (&PAGE as _, Type::INT8)];
    let rows = store.pool.query_idempotent(Role::Claim, CLAIMS, &params).await?;
    for row in &rows {
        if get(row, 1)? {
            seen.claims.push(ClaimId(get(row, 0)?));
        }
    }
    if i64::try_from(rows.len()).is_ok_and(|count| count == PAGE) {
        seen.next = rows.last().map(|row| get(row, 0)).transpose()?.map(ClaimId);
    }
    Ok(seen)
}

#[derive(Default)]
struct Read {
    seen: usize,
    last: Option<ClaimCursor>,
    corrupt: Vec<Finish>,
}

fn read(rows: &[Row], reply: &mut ClaimReply) -> Result<Read> {
    let mut read = Read::default();
    let mut tasks = Vec::with_capacity(rows.len());
    for row in rows {
        let flags: i32 = get::<Option<i32>>(row, 11)?.unwrap_or(0);
        let Some(id) = get::<Option<uuid::Uuid>>(row, 0)?.map(TaskId) else {
            reply.dead |= flags & DEAD != 0;
            reply.alone_waiting |= flags & ALONE_WAITING != 0;
            reply.passed_over |= flags & PASSED_OVER != 0;
            continue;
        };
        read.seen += 1;
        let token = Token(get(row, 1)?);
        let cursor = ClaimCursor { priority: get(row, 12)?, order: get(row, 13)? };
        let policy_text: Option<String> = get(row, 9)?;
        match policy_from_text(policy_text.as_deref()) {
            Ok((retry, _)) => tasks.push((cursor, claimed_task(row, id, token, flags, retry)?)),
            Err(why) => read.corrupt.push(Finish {
                id,
                token,
                outcome: Outcome::Parked { reason: format!("corrupt: its retry policy cannot be read: {why}") },
                context: None,
                logs: Vec::new(),
            }),
        }
        let later = |last: &ClaimCursor| (!last.priority, last.order) < (!cursor.priority, cursor.order);
        if read.last.as_ref().is_none_or(later) {
            read.last = Some(cursor);
        }
    }
    tasks.sort_unstable_by_key(|(cursor, _)| (!cursor.priority, cursor.order));
    reply.tasks = tasks.into_iter().map(|(_, task)| task).collect();
    Ok(read)
}

fn claimed_task(row: &Row, id: TaskId, token: Token, flags: i32, retry: taskyard_core::RetryPolicy) -> Result<Claimed> {
    Ok(Claimed {
        id,
        token,
        kind: get(row, 2)?,
        name: get(row, 3)?,
        queue: get(row, 4)?,
        payload: get(row, 5)?,
        payload_encoded: flags & PLAIN_PAYLOAD == 0,
        context: get(row, 6)?,
        context_encoded: flags & PLAIN_CONTEXT == 0,
        restricted: flags & RESTRICTED != 0,
        attempt: number(row, 7)?,
        failures: number(row, 8)?,
        retry,
        timeout: get::<Option<i64>>(row, 10)?
            .and_then(|timeout| u64::try_from(timeout).ok())
            .map(Duration::from_millis),
        has_parents: flags & HAS_PARENTS != 0,
        expired: flags & EXPIRED != 0,
        alone: flags & ALONE != 0,
    })
}

/// Parks claimed tasks that cannot be decoded, where operators see them; the claim continues without them.
async fn set_aside(store: &Inner, corrupt: Vec<Finish>) -> Result<()> {
    if !corrupt.is_empty() {
        tracing::warn!(count = corrupt.len(), "tasks that cannot be decoded were parked");
        finish::finish(store, &corrupt, &[]).await?;
    }
    Ok(())
}
