//! Checks, before a server enters, that it gets all of its connections.
//!
//! A server that lacks one would claim tasks but never renew its lease or write an outcome. The connections are opened
//! at the same time and closed again: a connection is driven by the runtime that opened it, so the thread that uses it
//! opens its own later.

use std::time::Duration;

use futures_util::future::join_all;
use taskyard_core::{Error, Result};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{Pool, Role};
use crate::connect;

/// Maximum wait until the database has ended the sessions. Sessions behind a pooler stay.
const ENDED_MAX: Duration = Duration::from_millis(300);
const LOOK_EACH: Duration = Duration::from_millis(5);

impl Pool {
    /// Checks that all connections of this pool can be open at once, together with `further` ones to the same address,
    /// of which `open` are open now.
    ///
    /// # Errors
    /// `Error::Connection` with the number needed, the number reached and the reason of the first refusal, if the
    /// database refuses one of them; any other error of opening a connection, unchanged.
    pub async fn check_capacity(&self, further: usize, open: usize) -> Result<()> {
        let open = open + self.slots.iter().filter(|slot| slot.current().is_some()).count();
        let needed = self.slots.len() + further;
        let opened = join_all((open..needed).map(|_| connect::open(&self.address))).await;
        let (clients, errors): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        let clients: Vec<Client> = clients.into_iter().flatten().collect();
        let count = open + clients.len();
        let sessions = join_all(clients.iter().map(session)).await.into_iter().flatten().collect();
        drop(clients);
        self.until_ended(sessions).await;
        match errors.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(Error::Connection(why)) => Err(Error::Connection(format!(
                "a server needs {needed} connections to the database at the same time, and there were {count}: {why}"
            ))),
            Some(error) => Err(error),
        }
    }

    /// Waits until these sessions no longer count towards a connection limit, at most [`ENDED_MAX`].
    async fn until_ended(&self, sessions: Vec<i32>) {
        const SQL: &str = "SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY($1) LIMIT 1";
        let deadline = Instant::now() + ENDED_MAX;
        while !sessions.is_empty() && Instant::now() < deadline {
            match self.query_idempotent(Role::Client, SQL, &[(&sessions, Type::INT4_ARRAY)]).await {
                Ok(rows) if !rows.is_empty() => sleep(LOOK_EACH).await,
                _ => return,
            }
        }
    }
}

/// Returns the process id of a connection's session.
async fn session(client: &Client) -> Option<i32> {
    let rows = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}
