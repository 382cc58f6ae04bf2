//! The database with servers around it whose beliefs may be wrong, and everything that may happen next.
//!
//! A server that stands still simply does nothing for a while; whatever the others do meanwhile comes between two of
//! its steps. What faults may happen at all is bounded by a [`Budget`], so that the walk ends; what carries work
//! forward is never bounded.

mod act;
mod actions;

use taskyard_core::TaskState;

use super::checks;
use super::db::Db;
use super::finish::{Outcome, Writer};
use super::names::{AdditionNo, ClaimNo, QueueNo, ServerNo, TaskNo, Token};
use super::setups::Setup;

/// A lease that does not end by itself: its end is an action of its own.
pub(super) const LEASE: i64 = 1_000_000;

/// How often each fault, and each thing a person does, may still happen.
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

/// One attempt that a server believes to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// What its writes show.
    pub writer: Writer,
    /// The claim it came with.
    pub claim: ClaimNo,
    /// A write whose reply was lost, to be written again.
    pub sent: Option<Outcome>,
    /// Whether the server was asked to cancel or stop it.
    pub signalled: bool,
}

/// One server process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proc {
    /// Its id of this boot.
    pub server: ServerNo,
    /// Whether the process exists.
    pub alive: bool,
    /// Whether it stands still (SIGSTOP).
    pub frozen: bool,
    /// Whether it has to notice that the database was replaced by a standby that knows less.
    pub outdated: bool,
    /// What it believes to run.
    pub runs: Vec<Run>,
    /// Claims whose replies were lost.
    pub lost_claims: Vec<ClaimNo>,
    /// Which build it is, if not every build knows every kind.
    pub build: Option<u8>,
}

impl Proc {
    /// Kills whatever runs.
    fn forget(&mut self) {
        self.frozen = false;
        self.outdated = false;
        self.runs.clear();
        self.lost_claims.clear();
    }
}

/// How far an addition has come, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// Not sent.
    No,
    /// Sent, and nothing heard of it.
    InDoubt(AdditionNo),
    /// Broken variant only: the parents were looked at, nothing is stored yet.
    Looked(Vec4),
    /// Acknowledged.
    Yes,
    /// Acknowledged, and forgotten by a fail-over: counted.
    Forgotten,
}

/// The states of up to four parents, as they were seen.
pub(super) type Vec4 = [Option<TaskState>; 4];

/// One thing that may happen.
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
    /// Whether it carries work forward by itself: neither a fault nor a person's wish.
    pub(super) fn is_progress(self, world: &World) -> bool {
        match self {
            Self::Add { reply_lost, .. } | Self::Claim { reply_lost, .. } | Self::Finish { reply_lost, .. } => {
                !reply_lost
            }
            // The lease of a process that is gone ends; that of a living one is renewed.
            Self::Lapse { server } => !world.procs.iter().any(|proc| proc.alive && proc.server == server),
            Self::Cancel { .. } | Self::Stop { .. } | Self::Retry { .. } | Self::Pause { .. } => false,
            Self::Die { .. } | Self::Freeze { .. } | Self::FailOver { .. } | Self::AddDelayed { .. } => false,
            _ => true,
        }
    }
}

/// The database and what everyone around it believes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The database.
    pub db: Db,
    /// What it was before the last commits, newest last; kept while a fail-over may happen.
    pub past: Vec<Db>,
    /// The servers.
    pub procs: Vec<Proc>,
    pub(super) asked: Vec<Asked>,
    /// Additions whose statements have not reached the database yet.
    pub(super) on_the_way: Vec<(usize, AdditionNo)>,
    /// Broken variant only: what a rescue has read and will free.
    pub(super) rescuing: Option<Vec<TaskNo>>,
    /// What may still go wrong.
    pub budget: Budget,
    pub(super) next_token: Token,
    pub(super) next_claim: ClaimNo,
    pub(super) next_addition: AdditionNo,
    pub(super) next_server: ServerNo,
}

impl World {
    /// The world before anything happened: the servers have entered.
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
            world.db.set_concurrency(queue, Some(max));
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

    /// When the next start time, backoff or expiry comes.
    fn next_due(&self) -> Option<i64> {
        let starts = self.db.waiting.iter().filter_map(|row| row.run_at.filter(|_| row.open_parents == 0));
        starts.chain(self.db.deadlines.iter().map(|row| row.at)).min()
    }

    /// Does it, and checks what it did.
    ///
    /// # Errors
    /// The rule that was broken, in words.
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

    /// Keeps the last commits as long as a fail-over may forget them.
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
