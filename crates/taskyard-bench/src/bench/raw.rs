//! Measures what the database itself can do: claims and completions by SQL alone and COPY, on a plain queue table and on a table
//! with Taskyard's columns.
//!
//! Claims and completions alternate on one connection in batches of 1,000; their rate is the limit of a drain.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde::Serialize;
use taskyard::Result;
use tokio_postgres::Client;
use uuid::Uuid;

use super::postgres::{Observer, failed};
use super::report::line;

const BATCH: i64 = 1_000;
const ROWS: i64 = 400_000;

/// Limits of a table in rows per second.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    pub claim_per_second: f64,
    pub complete_per_second: f64,
    /// Claim and complete alternating on one connection.
    pub drain_per_second: f64,
    pub copy_per_second: f64,
}

/// Limits of both tables.
#[derive(Debug, Serialize)]
pub(super) struct Raw {
    /// A plain queue table: identity key, kind, JSON payload, state, one partial index.
    pub plain: Limits,
    /// A table with the columns of Taskyard's tasks, with the same statements.
    pub ours: Limits,
}

/// The SQL that creates, fills, claims and completes a table.
struct Table {
    create: &'static str,
    copy: &'static str,
    row: fn(i64) -> String,
    claim: &'static str,
    complete: &'static str,
}

const PLAIN: Table = Table {
    create: "create table taskyard_bench.jobs(
        id bigint generated always as identity primary key, queue text not null default 'default', kind text not null,
        payload jsonb not null, state smallint not null default 0, priority smallint not null default 0,
        run_at timestamptz not null default now(), attempts smallint not null default 0,
        claimed_by text, started_at timestamptz, finished_at timestamptz);
        create index on taskyard_bench.jobs(queue, priority desc, id) where state = 0",
    copy: "copy taskyard_bench.jobs(kind, payload) from stdin",
    row: |number| format!("noop\t{{\"i\":{number}}}\n"),
    claim: "update taskyard_bench.jobs set state = 1, attempts = attempts + 1, claimed_by = 'w', started_at = now()
        where id in (select id from taskyard_bench.jobs where queue = 'default' and state = 0 and run_at <= now()
            order by priority desc, id for update skip locked limit 1000) returning id, kind, payload::text, attempts",
    complete: "update taskyard_bench.jobs set state = 2, finished_at = now(), claimed_by = null
        where id = any($1) and state = 1",
};

const OURS: Table = Table {
    create: "create table taskyard_bench.jobs(like taskyard.task including defaults);
        alter table taskyard_bench.jobs add primary key (id);
        create index on taskyard_bench.jobs(queue, priority desc, order_number) where state = 1",
    copy: "copy taskyard_bench.jobs(id, order_number, kind, runtime, queue, priority, state, payload, created_at) from stdin",
    row: |number| {
        format!(
            "01900000-0000-7000-8000-{number:012x}\t{number}\ttaskyard::bench::noop\t0\tbench\t0\t1\t\
             {{\"args\":[{number}],\"kwargs\":{{}}}}\t2026-01-01\n"
        )
    },
    claim:
        "update taskyard_bench.jobs set state = 2, attempt = attempt + 1, token = gen_random_uuid(), started_at = now()
        where id in (select id from taskyard_bench.jobs where queue = 'bench' and state = 1
            order by priority desc, order_number for update skip locked limit 1000)
        returning id, kind, payload, attempt",
    complete: "update taskyard_bench.jobs set state = 4, finished_at = now(), result = 'null'
        where id = any($1) and state = 2",
};

pub(super) async fn measure(observer: &Observer, seconds: Duration) -> Result<Raw> {
    let client = &observer.client;
    client
        .batch_execute("drop schema if exists taskyard_bench cascade; create schema taskyard_bench")
        .await
        .map_err(failed)?;
    let plain = limits::<i64>(client, &PLAIN, seconds).await?;
    let ours = limits::<Uuid>(client, &OURS, seconds).await?;
    client.batch_execute("drop schema taskyard_bench cascade").await.map_err(failed)?;
    Ok(Raw { plain, ours })
}

async fn limits<Id>(client: &Client, table: &Table, seconds: Duration) -> Result<Limits>
where
    Id: for<'a> tokio_postgres::types::FromSql<'a> + tokio_postgres::types::ToSql + Sync,
{
    client.batch_execute(table.create).await.map_err(failed)?;
    let mut rows = String::new();
    for number in 0..ROWS {
        rows.push_str(&(table.row)(number));
    }
    let started = Instant::now();
    let sink = client.copy_in::<_, bytes::Bytes>(table.copy).await.map_err(failed)?;
    futures_util::pin_mut!(sink);
    sink.send(bytes::Bytes::from(rows)).await.map_err(failed)?;
    sink.finish().await.map_err(failed)?;
    let copy = ROWS as f64 / started.elapsed().as_secs_f64();
    client.batch_execute("vacuum analyze taskyard_bench.jobs").await.map_err(failed)?;
    let limits = drain::<Id>(client, table.claim, table.complete, seconds, copy).await?;
    client.batch_execute("drop table taskyard_bench.jobs").await.map_err(failed)?;
    Ok(limits)
}

/// Claims and completes in turn until the time or the rows are used up.
async fn drain<Id>(client: &Client, claim: &str, complete: &str, seconds: Duration, copy: f64) -> Result<Limits>
where
    Id: for<'a> tokio_postgres::types::FromSql<'a> + tokio_postgres::types::ToSql + Sync,
{
    let (claim, complete) =
        (client.prepare(claim).await.map_err(failed)?, client.prepare(complete).await.map_err(failed)?);
    client.batch_execute("checkpoint").await.map_err(failed)?;
    let (mut claiming, mut completing, mut rows) = (Duration::ZERO, Duration::ZERO, 0_i64);
    while claiming + completing < seconds && rows + BATCH <= ROWS {
        let started = Instant::now();
        let claimed = client.query(&claim, &[]).await.map_err(failed)?;
        claiming += started.elapsed();
        let ids: Vec<Id> = claimed.iter().map(|row| row.get(0)).collect();
        let started = Instant::now();
        client.execute(&complete, &[&ids]).await.map_err(failed)?;
        completing += started.elapsed();
        rows += BATCH;
    }
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    Ok(Limits {
        claim_per_second: rate(claiming),
        complete_per_second: rate(completing),
        drain_per_second: rate(claiming + completing),
        copy_per_second: copy,
    })
}

impl Raw {
    pub(super) fn print(&self, drain: Option<f64>, bulk: Option<f64>) {
        for (name, limits) in [("plain table", &self.plain), ("our columns", &self.ours)] {
            line(
                &format!("raw SQL, {name}"),
                format!(
                    "claim {:.0} /s   complete {:.0} /s   drain limit {:.0} /s   COPY {:.0} /s",
                    limits.claim_per_second,
                    limits.complete_per_second,
                    limits.drain_per_second,
                    limits.copy_per_second
                ),
            );
            if let Some(drain) = drain {
                line(
                    "  our drain is",
                    format!("{:>10.0} % of its drain limit", drain / limits.drain_per_second * 100.0),
                );
            }
            if let Some(bulk) = bulk {
                line("  our bulk is", format!("{:>10.0} % of its COPY", bulk / limits.copy_per_second * 100.0));
            }
        }
    }
}
