//! Named statements against a real server, directly and through a proxy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use futures_util::future::join_all;
use taskyard_testkit::postgres::shared;
use taskyard_testkit::proxy::Proxy;
use tokio_postgres::types::Type;

use super::UNNAMED_RUNS;
use crate::address::Address;
use crate::pool::{Pool, Role};

const DOUBLE: &str = "SELECT public.double($1)";
const FUNCTION: &str =
    "CREATE OR REPLACE FUNCTION public.double(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN n * 2; END'";
const NAMED: &str = "SELECT count(*) FROM pg_catalog.pg_prepared_statements";

fn pool(url: &str) -> Pool {
    let address = Address::parse(url, Duration::from_secs(5)).unwrap();
    Pool::new(address, 1, Duration::from_secs(30))
}

async fn double(pool: &Pool, n: i32) -> i32 {
    let rows = pool.query_frequent(Role::Client, DOUBLE, &[(&n, Type::INT4)]).await.unwrap();
    rows[0].get(0)
}

async fn named(pool: &Pool) -> i64 {
    pool.query(Role::Client, NAMED, &[]).await.unwrap()[0].get(0)
}

/// A database with the function that the tests call.
fn database() -> String {
    let url = shared().create_database();
    let (_, name) = url.rsplit_once('/').unwrap();
    shared().psql_in(name, FUNCTION);
    url
}

#[tokio::test]
async fn a_frequent_statement_is_prepared_once() {
    let pool = pool(&database());
    for n in 0..i32::try_from(UNNAMED_RUNS).unwrap() {
        assert_eq!(double(&pool, n).await, 2 * n);
        assert_eq!(named(&pool).await, 0);
    }
    // Calls that come while another one prepares run unnamed.
    assert_eq!(join_all((0..20).map(|n| double(&pool, n))).await, (0..20).map(|n| 2 * n).collect::<Vec<_>>());
    assert_eq!(named(&pool).await, 1);
    assert_eq!(double(&pool, 21).await, 42);
}

#[tokio::test]
async fn a_statement_that_runs_once_is_not_prepared() {
    let pool = pool(&database());
    for n in 0..20 {
        pool.query(Role::Client, DOUBLE, &[(&n, Type::INT4)]).await.unwrap();
    }
    assert_eq!(named(&pool).await, 0);
}

/// As poolers do, the proxy gives its clients keys of its own.
#[tokio::test]
async fn nothing_is_prepared_behind_a_pooler() {
    let url = database();
    let (proxy, through) = Proxy::for_url(&url);
    let forwarded = pool(&through);
    for n in 0..20 {
        assert_eq!(double(&forwarded, n).await, 2 * n);
    }
    assert_eq!(named(&forwarded).await, 1, "a proxy that forwards everything does not share sessions");
    proxy.change_keys();
    let pooled = pool(&through);
    for n in 0..20 {
        assert_eq!(double(&pooled, n).await, 2 * n);
    }
    assert_eq!(named(&pooled).await, 0);
}

#[tokio::test]
async fn a_statement_that_the_session_has_lost_runs_unnamed() {
    let pool = pool(&database());
    for n in 0..20 {
        assert_eq!(double(&pool, n).await, 2 * n);
    }
    pool.query(Role::Client, "DEALLOCATE ALL", &[]).await.unwrap();
    for n in 0..20 {
        assert_eq!(double(&pool, n).await, 2 * n);
    }
    assert_eq!(named(&pool).await, 0);
}

/// A new version of the schema replaces functions while the statements of earlier versions are prepared.
#[tokio::test]
async fn a_function_may_be_replaced() {
    let url = database();
    let (_, name) = url.rsplit_once('/').unwrap();
    let pool = pool(&url);
    for n in 0..20 {
        assert_eq!(double(&pool, n).await, 2 * n);
    }
    shared().psql_in(name, &format!("DROP FUNCTION public.double; {}", FUNCTION.replace("n * 2", "n * 3")));
    assert_eq!(double(&pool, 5).await, 15);
    let wider = FUNCTION.replace("RETURNS int", "RETURNS bigint");
    shared().psql_in(name, &format!("DROP FUNCTION public.double; {wider}"));
    let rows = pool.query_frequent(Role::Client, DOUBLE, &[(&5, Type::INT4)]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 10);
}
