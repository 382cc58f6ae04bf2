//! Whether a server gets all of its connections, asked before it enters.
//!
//! A server that lacks one would claim tasks, and never renew its lease or write an end. The connections are opened at the same
//! time and closed again: a connection is driven by the runtime that opened it, so each is opened for good by the thread that
//! uses it.

use std::time::Duration;

use futures_util::future::join_all;
use taskyard_core::{Error, Result};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{Pool, Role};
use crate::connect;

/// How long the database may take to end the sessions. Those behind a pooler stay.
const ENDED_MAX: Duration = Duration::from_millis(300);
const LOOK_EACH: Duration = Duration::from_millis(5);

impl Pool {
    /// Returns whether the connections of this pool can all be open at once, with `further` ones to the same address, of which
    /// `open` are open now.
    ///
    /// # Errors
    /// `Error::Connection` with how many are needed, how many there were, and why the next one was refused; errors that are not
    /// about the connection as they are.
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

    /// Waits until these sessions do not count any more for a limit.
    async fn until_ended(&self, sessions: Vec<i32>) {
        const SQL: &str = "SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY($1) LIMIT 1";
        let deadline = Instant::now() + ENDED_MAX;
        while !sessions.is_empty() && Instant::now() < deadline {
            match self.ask(Role::Ask, SQL, &[(&sessions, Type::INT4_ARRAY)]).await {
                Ok(rows) if !rows.is_empty() => sleep(LOOK_EACH).await,
                _ => return,
            }
        }
    }
}

/// The number of a connection's session.
async fn session(client: &Client) -> Option<i32> {
    let rows = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}
