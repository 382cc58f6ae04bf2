//! Servers and upkeep, on both sides; time moves here and nowhere else.

use std::time::Duration;

use taskyard_core::ServerId;
use taskyard_core::store::{Beat, BeatSeen, NewServer, StepReport, TestClock};

use super::names::{self, instant, seconds};
use super::pair::{LEASE, Pair, same, works};
use crate::model::ServerNo;

impl Pair {
    pub(super) async fn enter(&mut self) -> Result<(), String> {
        let id = ServerId::generate();
        self.names.servers.push(id);
        self.db.enter(ServerNo(self.names.servers.len() as u16 - 1), LEASE);
        let server = NewServer {
            id,
            name: "sequence".into(),
            pid: 1,
            version: "0".into(),
            lease: seconds(LEASE),
            workers_max: 4,
            serves: None,
        };
        works("server_enter", self.store.server_enter(&server).await)
    }

    pub(super) async fn leave(&mut self, number: u8) -> Result<(), String> {
        let server = self.server(number);
        // A server leaves when it holds no task any more.
        if !self.db.held_by(server).is_empty() {
            return Ok(());
        }
        self.db.leave(server);
        works("server_leave", self.store.server_leave(self.names.server(server)).await)?;
        self.never_without_server().await
    }

    /// Enters a server if there is none, because most steps mean nothing without one.
    async fn never_without_server(&mut self) -> Result<(), String> {
        if self.db.servers.iter().all(|row| row.dead) { self.enter().await } else { Ok(()) }
    }

    pub(super) async fn beat(&mut self, number: u8) -> Result<(), String> {
        let server = self.server(number);
        let beat = Beat {
            server: self.names.server(server),
            lease: seconds(LEASE),
            workers_max: 4,
            workers_active: 1,
            workers_idle: 1,
            tasks_running: 1,
        };
        let reply = works("server_beat", self.store.server_beat(&beat).await)?;
        let model = self.db.beat(server, LEASE);
        same("beat: dead", model.dead, reply.dead)?;
        let mut expected: Vec<_> =
            model.signals.iter().map(|row| (self.names.task(row.task), row.cancel, row.token)).collect();
        expected.sort();
        let mut signals = reply.signals.clone();
        signals.sort_by_key(|signal| signal.id);
        let shown: Vec<_> = signals.iter().map(|signal| (signal.id, signal.cancel)).collect();
        same("beat: signals", expected.iter().map(|(id, cancel, _)| (*id, *cancel)).collect(), shown)?;
        for ((_, _, token), signal) in expected.iter().zip(&signals) {
            // The token of a claim whose reply was lost is not known here.
            if let Some(known) = self.names.tokens.get(token) {
                same("beat: token", *known, signal.token)?;
            }
        }
        Ok(())
    }

    async fn seen(&self, server: ServerNo) -> Result<Option<BeatSeen>, String> {
        let beats = works("beats", self.store.beats().await)?;
        Ok(beats.into_iter().find(|seen| seen.server == self.names.server(server)))
    }

    /// Declares a server dead whose lease has lapsed, or that was watched long enough; a stale heartbeat number must be
    /// refused.
    pub(super) async fn rescue(&mut self, number: u8, stale: bool) -> Result<(), String> {
        let server = self.server(number);
        let Some(row) = self.db.servers.iter().find(|row| row.id == server).copied() else {
            return Ok(());
        };
        let Some(seen) = self.seen(server).await? else {
            // A server that holds no task any more need not be listed.
            return same("beats: not shown", true, row.dead && self.db.held_by(server).is_empty());
        };
        let lapsed = row.lease_until <= self.db.now;
        same("beats: dead", row.dead, seen.dead)?;
        same("beats: lapsed", lapsed || row.dead, seen.lapsed || seen.dead)?;
        same("beats: lease", seconds(row.lease), seen.lease)?;
        let (beat, model_beat) = if stale { (seen.beat - 1, row.beat.wrapping_sub(1)) } else { (seen.beat, row.beat) };
        let report = works("rescue", self.store.rescue(self.names.server(server), beat, !lapsed).await)?;
        let freed = self.db.rescue(server, model_beat, !lapsed, &self.rules);
        same("rescue", StepReport { tasks: freed, more: false }, report)?;
        self.never_without_server().await
    }

    pub(super) async fn unpark(&mut self, python: bool, reason: u8) -> Result<(), String> {
        let runtime = names::runtime(python);
        let mut parked: Vec<(String, u64)> =
            works("parked", self.store.parked(runtime).await)?.into_iter().map(|row| (row.reason, row.count)).collect();
        parked.sort();
        let model = self.db.parked(python).into_iter().map(|(reason, count)| (names::parked(reason), count)).collect();
        same("parked", model, parked)?;
        let report = works("unpark", self.store.unpark(runtime, &names::parked(reason)).await)?;
        same("unpark", StepReport { tasks: self.db.unpark(python, reason), more: false }, report)
    }

    /// Advances the time, and moves tasks that have become due.
    pub(super) async fn promote(&mut self, seconds: i64) -> Result<(), String> {
        self.db.now += seconds;
        works("set_clock", self.store.set_clock(TestClock::Frozen(instant(self.db.now))).await)?;
        let report = works("promote", self.store.promote().await)?;
        let model = self.db.promote(&self.rules);
        // A task that is due and has expired may count as both.
        same("promote: expired", model.expired, report.expired)?;
        same("promote: removed", model.removed, report.removed)?;
        same("promote: more", false, report.more)?;
        let next = model.next_due.map(|due| Duration::from_secs(due as u64));
        same("promote: next due", next, report.next_due)
    }

    /// Checks that nothing is left to complete: no sequence has more edges than one transaction processes.
    pub(super) async fn cascade(&mut self) -> Result<(), String> {
        let report = works("cascade", self.store.cascade().await)?;
        same("cascade", false, report.more)?;
        let report = works("settle", self.store.settle().await)?;
        same("settle", StepReport::default(), report)
    }
}
