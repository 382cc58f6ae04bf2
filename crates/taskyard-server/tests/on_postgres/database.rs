//! A fresh database per test, in one throw-away cluster.

use std::sync::Arc;

use taskyard_core::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::postgres::shared;

pub struct Database(String);

impl Database {
    pub fn new() -> Self {
        Self(shared().create_database())
    }

    pub fn url(&self) -> &str {
        &self.0
    }

    /// Creates a database in a cluster of the test's own.
    pub fn of(cluster: &taskyard_testkit::postgres::Cluster) -> Self {
        Self(cluster.create_database())
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        PostgresStore::connect(&self.0, Options::default()).await.unwrap()
    }

    /// Runs SQL on a connection of its own.
    pub async fn run(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.0, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
        client.batch_execute(sql).await.unwrap();
        drop(client);
        driver.await.unwrap();
    }

    /// Makes the database refuse every end of a task of this kind with an SQLSTATE.
    pub async fn refuse_ends(&self, kind: &str, code: &str) {
        self.run(&format!(
            "create or replace function public.refuse() returns trigger language plpgsql as $$ begin
                 raise exception 'not this one' using errcode = '{code}';
             end $$;
             create or replace trigger refuse before update on taskyard.task for each row
                 when (old.state = 2 and new.state <> 2 and old.kind = '{kind}') execute function public.refuse();"
        ))
        .await;
    }

    /// Makes a trigger skip every end of a task of this kind: it returns NULL, or the old row.
    pub async fn skip_ends(&self, kind: &str, returned: &str) {
        self.run(&format!(
            "create or replace function public.refuse() returns trigger language plpgsql as $$ begin
                 return {returned};
             end $$;
             create or replace trigger refuse before update on taskyard.task for each row
                 when (old.state = 2 and new.state <> 2 and old.kind = '{kind}') execute function public.refuse();"
        ))
        .await;
    }

    /// Makes the database refuse every log line with this text with an SQLSTATE.
    pub async fn refuse_lines(&self, text: &str, code: &str) {
        self.run(&format!(
            "create or replace function public.refuse() returns trigger language plpgsql as $$ begin
                 raise exception 'not this one' using errcode = '{code}';
             end $$;
             create or replace trigger refuse before insert on taskyard.task_log for each row
                 when (new.message = '{text}') execute function public.refuse();"
        ))
        .await;
    }

    /// Makes the database refuse every addition of a task of this kind.
    pub async fn refuse_additions(&self, kind: &str) {
        self.run(&format!(
            "create or replace function public.refuse() returns trigger language plpgsql as $$ begin
                 raise exception 'not this one' using errcode = '23514';
             end $$;
             create trigger refuse_additions before insert on taskyard.task for each row
                 when (new.kind = '{kind}') execute function public.refuse();"
        ))
        .await;
    }

    /// Makes the database accept everything again.
    pub async fn accept(&self) {
        self.run("drop trigger if exists refuse on taskyard.task; drop trigger if exists refuse on taskyard.task_log")
            .await;
    }

    /// Prevents two tasks from having the same result.
    pub async fn refuse_equal_results(&self) {
        self.run("create unique index one_result on taskyard.task (result)").await;
    }

    /// Blocks all statements of the stores until the guard is dropped.
    pub async fn block(&self) -> Blocked {
        let (client, connection) = tokio_postgres::connect(&self.0, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
        client.batch_execute("begin; lock table taskyard.task in access exclusive mode").await.unwrap();
        Blocked { _client: client, _driver: driver }
    }
}

/// Ends the transaction when the connection is closed by dropping this.
pub struct Blocked {
    _client: tokio_postgres::Client,
    _driver: tokio::task::JoinHandle<()>,
}
