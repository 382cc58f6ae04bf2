//! Holds a transaction open in another session, so that the database cannot remove dead rows that it might still see.

use std::time::{Duration, Instant};

use taskyard::{Result, Taskyard};
use taskyard_terminal::remark;

use super::drain::Load;
use super::postgres::{Observer, failed};
use super::{add, drain};

/// A session with an open transaction; both end when this is dropped.
pub(super) struct Held {
    _session: Observer,
}

impl Held {
    /// Opens the transaction with a snapshot and with a transaction id, as a session that has written would have.
    ///
    /// # Errors
    /// [`taskyard::Error::InvalidArgument`] if the database is not PostgreSQL, [`taskyard::Error::Database`] if it cannot be opened.
    pub(super) async fn open(address: &str) -> Result<Self> {
        let Some(session) = Observer::connect(address).await? else {
            let why = "held=SECONDS needs PostgreSQL, where sessions hold snapshots".to_owned();
            return Err(taskyard::Error::InvalidArgument { what: "--beside", why });
        };
        let sql =
            "begin isolation level repeatable read; select pg_current_xact_id(); select count(*) from taskyard.server";
        session.client.batch_execute(sql).await.map_err(failed)?;
        Ok(Self { _session: session })
    }
}

/// Adds and drains tasks for this long.
pub(super) async fn load(queue: &Taskyard, seconds: Duration, load: &Load) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < seconds {
        let bulk = add::bulk(queue, load.tasks).await?;
        let drain = drain::measure(queue, None, load).await?;
        remark(format!(
            "bench: {:>4.0} s of load: bulk {:.0}/s, drain {:.0}/s",
            started.elapsed().as_secs_f64(),
            bulk.per_second,
            drain.rate.per_second
        ));
    }
    Ok(())
}
