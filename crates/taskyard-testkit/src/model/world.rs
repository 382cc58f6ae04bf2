//! The database, servers around it whose view may be wrong, and all actions that may happen next.
//!
//! A suspended server simply does nothing for a while; the actions of other processes come between two of its steps.
//! The number of faults is bounded by a [`Budget`], so that the exploration ends; actions that carry work forward are
//! never bounded.

mod act;
mod actions;

use taskyard_core::TaskState;

use super::checks;
use super::db::Db;
use super::finish::{Outcome, Writer};
use super::names::{AdditionNo, ClaimNo, QueueNo, ServerNo, TaskNo, Token};
use super::setups::Setup;

/// A lease that does not end by itself: its end is a separate action.
pub(super) const LEASE: i64 = 1_000_000;

/// Number of times that each fault, and each operator's action, may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "one name per fault")]
pub struct Budget {
    pub lost_adds: u8,
    pub lost_claims: u8,
    pub lost_writes: u8,
    pub lapses: u8,
    pub deaths: u8,
    pub freezes: u8,
    pub failovers: u8,
    pub cancels: u8,
    pub stops: u8,
    pub retries: u8,
    pub pauses: u8,
    pub priorities: u8,
    /// Ends of attempts other than `Done`, together.
    pub ends: u8,
}

/// An attempt that a server believes to be running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The identity that its writes carry.
    pub writer: Writer,
    /// Claim with which it came.
    pub claim: ClaimNo,
    /// A write whose reply was lost, to be repeated.
    pub sent: Option<Outcome>,
    /// Whether the server was asked to cancel or stop it.
    pub signalled: bool,
}

/// A server process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proc {
    /// Server id of this boot.
    pub server: ServerNo,
    /// Whether the process exists.
    pub alive: bool,
    /// Whether the process is suspended (SIGSTOP).
    pub frozen: bool,
    /// Whether it has yet to notice that the database was replaced by a standby without the last commits.
    pub outdated: bool,
    /// Attempts that it believes to be running.
    pub runs: Vec<Run>,
    /// Claims whose replies were lost.
    pub lost_claims: Vec<ClaimNo>,
    /// Build of the server, if not every build knows every kind.
    pub build: Option<u8>,
}

impl Proc {
    /// Kills all attempts.
    fn forget(&mut self) {
        self.frozen = false;
        self.outdated = false;
        self.runs.clear();
        self.lost_claims.clear();
    }
}

/// Progress of an addition, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// Not sent.
    No,
    /// Sent, without a reply.
    InDoubt(AdditionNo),
    /// Broken variant only: the parents were read, nothing is stored yet.
    Looked(Vec4),
    /// Acknowledged.
    Yes,
    /// Acknowledged, and lost by a fail-over: counted.
    Forgotten,
}

/// The states of up to four parents, as they were read.
pub(super) type Vec4 = [Option<TaskState>; 4];

/// An action that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant says what happens")]
pub enum Action {
    Add { batch: usize, reply_lost: bool },
    AddDelayed { batch: usize },
    AddArrives { at: usize },
    AskBack { batch: usize },
    LookAtParents { batch: usize },
    Claim { proc: usize, alone: bool, reply_lost: bool },
    ReadBack { proc: usize, claim: ClaimNo },
    Beat { proc: usize },
    Lapse { server: ServerNo },
    Rescue { server: ServerNo },
    RescueReads { server: ServerNo },
    RescueWrites,
    Finish { proc: usize, run: usize, outcome: Outcome, reply_lost: bool },
    WriteAgain { proc: usize, run: usize },
    Record { proc: usize, run: usize },
    Cancel { task: TaskNo },
    Stop { task: TaskNo },
    Retry { task: TaskNo },
    SetPriority { task: TaskNo, priority: i8 },
    Pause { queue: QueueNo },
    Resume { queue: QueueNo },
    Unpark { reason: u8 },
    Regroup,
    ForgetBuild { build: u8 },
    Promote,
    Cascade,
    Die { proc: usize },
    Restart { proc: usize },
    Freeze { proc: usize },
    Thaw { proc: usize },
    Reenter { proc: usize },
    FailOver { commits: usize },
}

impl Action {
    /// Returns whether it carries work forward by itself: it is neither a fault nor an operator's action.
    pub(super) fn is_progress(self, world: &World) -> bool {
        match self {
            Self::Add { reply_lost, .. } | Self::Claim { reply_lost, .. } | Self::Finish { reply_lost, .. } => {
                !reply_lost
            }
            // The lease of a dead process ends; that of a living one is renewed.
            Self::Lapse { server } => !world.procs.iter().any(|proc| proc.alive && proc.server == server),
            Self::Cancel { .. } | Self::Stop { .. } | Self::Retry { .. } | Self::Pause { .. } => false,
            Self::Die { .. } | Self::Freeze { .. } | Self::FailOver { .. } | Self::AddDelayed { .. } => false,
            _ => true,
        }
    }
}

/// The database, and the state of the clients and servers around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The database.
    pub db: Db,
    /// The database before the last commits, newest last; stored while a fail-over may happen.
    pub past: Vec<Db>,
    /// The servers.
    pub procs: Vec<Proc>,
    pub(super) asked: Vec<Asked>,
    /// Additions whose statements have not reached the database yet.
    pub(super) on_the_way: Vec<(usize, AdditionNo)>,
    /// Broken variant only: the tasks that a rescue has read and will free.
    pub(super) rescuing: Option<Vec<TaskNo>>,
    /// Faults that may still happen.
    pub budget: Budget,
    pub(super) next_token: Token,
    pub(super) next_claim: ClaimNo,
    pub(super) next_addition: AdditionNo,
    pub(super) next_server: ServerNo,
}

impl World {
    /// Returns the initial world: the servers have entered.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let mut world = Self {
            db: Db::default(),
            past: Vec::new(),
            procs: Vec::new(),
            asked: vec![Asked::No; setup.batches.len()],
            on_the_way: Vec::new(),
            rescuing: None,
            budget: setup.budget,
            next_token: Token(0),
            next_claim: ClaimNo(0),
            next_addition: AdditionNo(0),
            next_server: ServerNo(0),
        };
        if let Some((queue, max)) = setup.limited {
            world.db.set_limit(queue, Some(max));
        }
        for at in 0..setup.servers {
            let build = (!setup.knows.is_empty()).then_some(at as u8);
            let server = world.enter(build);
            world.procs.push(Proc {
                server,
                alive: true,
                frozen: false,
                outdated: false,
                runs: Vec::new(),
                lost_claims: Vec::new(),
                build,
            });
        }
        world.canonicalise();
        world
    }

    fn enter(&mut self, build: Option<u8>) -> ServerNo {
        let server = self.next_server;
        self.next_server.0 += 1;
        self.db.enter_as(server, LEASE, build);
        server
    }

    /// Returns the time of the next start, backoff or expiry.
    fn next_due(&self) -> Option<i64> {
        let starts = self.db.waiting.iter().filter_map(|row| row.run_at.filter(|_| row.open_parents == 0));
        starts.chain(self.db.deadlines.iter().map(|row| row.at)).min()
    }

    /// Executes an action, and checks its effect.
    ///
    /// # Errors
    /// A description of the rule that was broken.
    pub fn apply(&mut self, action: Action, setup: &Setup) -> Result<(), String> {
        let before = self.db.clone();
        self.act(action, setup)?;
        if setup.budget.failovers > 0 {
            self.remember(action, &before, setup);
        }
        if !matches!(action, Action::FailOver { .. }) {
            checks::step(&before, action, &self.db)?;
        }
        self.db.check()?;
        checks::acknowledged(self, setup)?;
        self.canonicalise();
        Ok(())
    }

    /// Stores the last commits as long as a fail-over may lose them.
    fn remember(&mut self, action: Action, before: &Db, setup: &Setup) {
        if self.budget.failovers == 0 {
            self.past.clear();
        } else if self.db != *before && !matches!(action, Action::FailOver { .. }) {
            self.past.push(before.clone());
            if self.past.len() > setup.forgets_max {
                self.past.remove(0);
            }
        }
    }
}
