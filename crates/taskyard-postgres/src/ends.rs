//! Ends of attempts that the rows of their tasks do not accept, stored in a table of their own.

use taskyard_core::store::{EndAside, Finish, OutcomeColumns, WriteReply};
use taskyard_core::{Error, Result, ServerId, TaskId, Timestamp, Token};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::finish;
use crate::inner::Inner;
use crate::pool::Role;
use crate::row::{get, instant};
use crate::text::clean;

const ASIDE: &str = include_str!("sql/end/aside.sql");
const LIST: &str = include_str!("sql/end/list.sql");

pub(crate) async fn set_aside(store: &Inner, end: &Finish, reason: &str) -> Result<WriteReply> {
    let columns = OutcomeColumns::from(&end.outcome);
    let text = |text: &Option<String>| text.as_deref().map(|text| clean(text).into_owned());
    let (error_type, message) = (text(&columns.error_type), text(&columns.error_message));
    let traceback = text(&columns.error_traceback);
    let rows = store
        .pool
        .query_idempotent(
            Role::Attempt,
            ASIDE,
            &[
                (&end.id.0, Type::UUID),
                (&end.token.0, Type::UUID),
                (&clean(reason), Type::TEXT),
                (&columns.code, Type::INT2),
                (&columns.result, Type::BYTEA),
                (&columns.after_us, Type::INT8),
                (&error_type, Type::TEXT),
                (&message, Type::TEXT),
                (&traceback, Type::TEXT),
                (&end.context, Type::BYTEA),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(|| Error::Database("setting an end aside returned no row".into()))?;
    finish::reply_of(get(row, 0)?, get(row, 1)?)
}

pub(crate) async fn list(
    store: &Inner,
    tasks: Option<&[TaskId]>,
    after: Option<TaskId>,
    limit: usize,
) -> Result<Vec<EndAside>> {
    let tasks: Option<Vec<Uuid>> = tasks.map(|tasks| tasks.iter().map(|task| task.0).collect());
    let after = after.map(|task| task.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [(&tasks as _, Type::UUID_ARRAY), (&after as _, Type::UUID), (&limit as _, Type::INT8)];
    let rows = store.pool.query_idempotent(Role::Client, LIST, &params).await?;
    let mut ends = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = OutcomeColumns {
            code: get(row, 4)?,
            result: get(row, 5)?,
            after_us: get(row, 6)?,
            error_type: get(row, 7)?,
            error_message: get(row, 8)?,
            error_traceback: get(row, 9)?,
        };
        // An unknown code was inserted by hand.
        let Some(outcome) = columns.outcome() else { continue };
        ends.push(EndAside {
            finish: Finish {
                id: TaskId(get(row, 0)?),
                token: Token(get(row, 1)?),
                outcome,
                context: get(row, 10)?,
                logs: Vec::new(),
            },
            since: instant(row, 2).unwrap_or(Timestamp::UNIX_EPOCH),
            reason: get(row, 3)?,
        });
    }
    Ok(ends)
}

pub(crate) async fn settled(store: &Inner, task: TaskId, token: Token) -> Result<()> {
    let sql = "DELETE FROM taskyard.end_aside a WHERE a.task_id = $1 AND a.token = $2 \
               AND pg_catalog.set_config('lock_timeout', '1000', true) IS NOT NULL";
    store.pool.query_idempotent(Role::Claim, sql, &[(&task.0, Type::UUID), (&token.0, Type::UUID)]).await?;
    Ok(())
}

pub(crate) async fn holds(store: &Inner, server: ServerId, ends: u32, reason: Option<&str>) -> Result<()> {
    let sql = "UPDATE taskyard.server s SET ends_held = $2, ends_held_reason = $3 WHERE s.id = $1 \
               AND pg_catalog.set_config('lock_timeout', '1000', true) IS NOT NULL";
    let reason = reason.map(|reason| clean(reason).into_owned());
    let params = [(&server.0 as _, Type::UUID), (&i64::from(ends) as _, Type::INT8), (&reason as _, Type::TEXT)];
    store.pool.query_idempotent(Role::Claim, sql, &params).await?;
    Ok(())
}
