//! Canonical form of a state: differences only in names, in times that no longer decide anything, or in the order of
//! rows that are sets, are removed before a state is looked up.

use taskyard_core::TaskState;

use super::db::Db;
use super::names::{AdditionNo, ClaimNo, ServerNo, Token};
use super::world::{Asked, LEASE, World};

/// Assigns names in the order of first use.
#[derive(Default)]
struct Renaming {
    seen: Vec<u16>,
}

impl Renaming {
    fn of(&mut self, old: u16) -> u16 {
        let at = self.seen.iter().position(|seen| *seen == old).unwrap_or_else(|| {
            self.seen.push(old);
            self.seen.len() - 1
        });
        at as u16
    }
}

#[derive(Default)]
struct Names {
    tokens: Renaming,
    claims: Renaming,
    servers: Renaming,
    additions: Renaming,
}

impl Names {
    fn token(&mut self, token: &mut Token) {
        token.0 = self.tokens.of(token.0);
    }

    fn claim(&mut self, claim: &mut ClaimNo) {
        claim.0 = self.claims.of(claim.0);
    }

    fn server(&mut self, server: &mut ServerNo) {
        server.0 = self.servers.of(server.0);
    }

    fn addition(&mut self, addition: &mut AdditionNo) {
        addition.0 = self.additions.of(addition.0);
    }

    fn rename(&mut self, db: &mut Db) {
        db.refused.iter_mut().for_each(|addition| self.addition(addition));
        for task in &mut db.tasks {
            task.token.iter_mut().for_each(|token| self.token(token));
            task.decided_by.iter_mut().for_each(|token| self.token(token));
            task.server.iter_mut().for_each(|server| self.server(server));
        }
        for row in &mut db.claims {
            self.claim(&mut row.id);
            self.server(&mut row.server);
        }
        for row in &mut db.servers {
            self.server(&mut row.id);
        }
        for row in &mut db.signals {
            self.server(&mut row.server);
            self.token(&mut row.token);
        }
    }
}

impl World {
    /// Converts the world to its canonical form.
    pub(super) fn canonicalise(&mut self) {
        let living: Vec<ServerNo> = self.procs.iter().map(|proc| proc.server).collect();
        std::iter::once(&mut self.db).chain(&mut self.past).for_each(|db| settle(db, &living));
        // The mark of an addition that can no longer arrive decides nothing.
        let on_the_way = &self.on_the_way;
        std::iter::once(&mut self.db).chain(&mut self.past).for_each(|db| {
            db.refused.retain(|refused| on_the_way.iter().any(|(_, addition)| addition == refused));
        });
        let mut names = Names::default();
        for proc in &mut self.procs {
            names.server(&mut proc.server);
            proc.runs.sort_by_key(|run| run.writer.task);
            for run in &mut proc.runs {
                names.token(&mut run.writer.token);
                names.claim(&mut run.claim);
                names.server(&mut run.writer.server);
            }
            proc.lost_claims.iter_mut().for_each(|claim| names.claim(claim));
        }
        for asked in &mut self.asked {
            if let Asked::InDoubt(addition) = asked {
                names.addition(addition);
            }
        }
        self.on_the_way.iter_mut().for_each(|(_, addition)| names.addition(addition));
        self.on_the_way.sort_unstable();
        std::iter::once(&mut self.db).chain(&mut self.past).for_each(|db| names.rename(db));
        std::iter::once(&mut self.db).chain(&mut self.past).for_each(sort);
        self.next_token = Token(names.tokens.seen.len() as u16);
        self.next_addition = AdditionNo(names.additions.seen.len() as u16);
        self.next_claim = ClaimNo(names.claims.seen.len() as u16);
        self.next_server = ServerNo(names.servers.seen.len() as u16);
    }
}

/// Drops values that no longer decide anything; times become distances from now.
fn settle(db: &mut Db, living: &[ServerNo]) {
    let now = db.now;
    db.now = 0;
    // Only the future decides; past times become "now".
    let shift = |at: &mut i64| *at = (*at - now).max(0);
    for task in &mut db.tasks {
        (task.created_at, task.started_at, task.finished_at) = (0, None, None);
        task.run_at.iter_mut().for_each(shift);
        task.expires_at.iter_mut().for_each(shift);
        if task.state != TaskState::Doing {
            task.server = None;
        }
        for row in &mut task.history {
            (row.number, row.server, row.error) = (0, None, None);
            row.outcome = taskyard_core::task::AttemptOutcome::Lost;
        }
    }
    db.waiting.iter_mut().for_each(|row| row.run_at.iter_mut().for_each(shift));
    db.deadlines.iter_mut().for_each(|row| shift(&mut row.at));
    db.keys.iter_mut().for_each(|row| row.until.iter_mut().for_each(shift));
    for row in &mut db.servers {
        row.beat = 0;
        row.lease_until = if row.lease_until > now { LEASE } else { 0 };
    }
    let claims = &db.claims;
    db.servers.retain(|row| !row.dead || living.contains(&row.id) || claims.iter().any(|claim| claim.server == row.id));
}

/// Sorts the tables that are sets.
fn sort(db: &mut Db) {
    db.tasks.sort_by_key(|row| row.id);
    db.waiting.sort_by_key(|row| row.task);
    db.edges.sort_by_key(|row| (row.parent, row.child));
    db.claims.sort_by_key(|row| row.id);
    db.servers.sort_by_key(|row| row.id);
    db.queues.sort_by_key(|row| row.id);
    db.keys.sort_by_key(|row| row.key);
    db.cascades.sort();
    db.deadlines.sort();
    db.dead.sort();
    db.signals.sort();
    db.refused.sort();
    db.refusals.sort();
}
