//! Servers: entering, heartbeats, leaving.

use super::db::{Db, Server, Signal};
use super::names::ServerNo;

/// Reply to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the fields are those of `BeatReply`")]
pub struct BeatAnswer {
    pub dead: bool,
    pub signals: Vec<Signal>,
}

impl Db {
    /// Enters a server with a first lease.
    pub fn enter(&mut self, id: ServerNo, lease: i64) {
        self.enter_as(id, lease, None);
    }

    /// Enters a server that reports its build.
    pub fn enter_as(&mut self, id: ServerNo, lease: i64, build: Option<u8>) {
        self.servers.push(Server { id, beat: 0, lease_until: self.now + lease, lease, dead: false, build });
    }

    /// Renews the lease and returns requests for the server.
    pub fn beat(&mut self, id: ServerNo, lease: i64) -> BeatAnswer {
        let now = self.now;
        let Some(row) = self.servers.iter_mut().find(|row| row.id == id && !row.dead) else {
            return BeatAnswer { dead: true, signals: Vec::new() };
        };
        row.beat += 1;
        row.lease = lease;
        row.lease_until = now + lease;
        let mut signals: Vec<Signal> = self.signals.iter().copied().filter(|row| row.server == id).collect();
        signals.sort();
        BeatAnswer { dead: false, signals }
    }

    /// Removes a server that leaves: it holds no task any more, and its lease is over.
    pub fn leave(&mut self, id: ServerNo) {
        self.bury(id);
    }
}
