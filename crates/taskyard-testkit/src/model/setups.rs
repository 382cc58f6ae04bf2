//! The small worlds that are explored: few tasks, few servers, and every fault at every moment.

use taskyard_core::state::OnParentFailure;

use super::add::{Addition, Start};
use super::finish::Outcome;
use super::names::{QueueNo, TaskNo};
use super::rules::Rules;
use super::world::Budget;

/// A small world and the faults that may happen in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Subject of the setup.
    pub name: &'static str,
    /// Rules of the protocol.
    pub rules: Rules,
    /// Number of servers.
    pub servers: usize,
    /// Number of attempts that one server runs at once.
    pub slots: usize,
    /// Maximum number of tasks per claim.
    pub claim_max: usize,
    /// Batches that clients add, each at any moment after its parents.
    pub batches: Vec<Vec<Addition>>,
    /// Ends of attempts besides `Done`.
    pub ends: Vec<Outcome>,
    /// Whether attempts record while they run.
    pub records: bool,
    /// A queue with a limit of running tasks.
    pub limited: Option<(QueueNo, usize)>,
    /// The tasks whose kinds each server's build knows; if empty, all builds know all.
    pub knows: Vec<Vec<TaskNo>>,
    /// Faults, and how often each may happen.
    pub budget: Budget,
    /// Number of commits that a fail-over may lose.
    pub forgets_max: usize,
}

const RETRY: Outcome = Outcome::Retry { after: 0, error: 1 };
const FAILED: Outcome = Outcome::Failed(1);

/// Returns a task with parents.
fn task(id: u16, parents: &[u16], on_parent_failure: OnParentFailure) -> Addition {
    Addition { parents: parents.iter().copied().map(TaskNo).collect(), on_parent_failure, ..Addition::new(TaskNo(id)) }
}

impl Setup {
    /// Two servers and one task.
    #[must_use]
    pub fn one_task() -> Self {
        Self {
            name: "one task",
            rules: Rules::default(),
            servers: 2,
            slots: 2,
            claim_max: 2,
            batches: vec![vec![Addition::new(TaskNo(0))]],
            ends: vec![RETRY, FAILED, Outcome::Released],
            records: true,
            limited: None,
            knows: Vec::new(),
            budget: Budget {
                lost_adds: 1,
                lost_claims: 1,
                lost_writes: 1,
                lapses: 2,
                cancels: 1,
                ends: 2,
                ..Budget::default()
            },
            forgets_max: 0,
        }
    }

    /// A task and an asynchronous fail-over that loses the last commits.
    #[must_use]
    pub fn fail_over() -> Self {
        Self {
            name: "fail-over",
            budget: Budget {
                failovers: 1,
                lost_adds: 1,
                lost_writes: 1,
                lapses: 1,
                cancels: 1,
                ends: 1,
                ..Budget::default()
            },
            ends: vec![RETRY, FAILED, Outcome::Released],
            records: false,
            forgets_max: 2,
            ..Self::one_task()
        }
    }

    /// A task that repeatedly kills its server or worker.
    #[must_use]
    pub fn killer() -> Self {
        Self {
            name: "killer",
            slots: 1,
            ends: vec![Outcome::Crashed(1), Outcome::Beside, Outcome::Lost(2)],
            records: false,
            budget: Budget { lapses: 2, deaths: 1, freezes: 1, ends: 3, ..Budget::default() },
            ..Self::one_task()
        }
    }

    /// A task that operators cancel, stop and retry while its writes get lost.
    #[must_use]
    pub fn people() -> Self {
        Self {
            name: "people",
            ends: vec![RETRY, FAILED, Outcome::Released],
            records: false,
            budget: Budget {
                lost_writes: 1,
                lapses: 1,
                cancels: 2,
                stops: 1,
                retries: 2,
                ends: 1,
                ..Budget::default()
            },
            ..Self::one_task()
        }
    }

    /// A parent, and a child that is added at any moment.
    #[must_use]
    pub fn family() -> Self {
        Self {
            name: "family",
            batches: vec![vec![task(0, &[], OnParentFailure::Fail)], vec![task(1, &[0], OnParentFailure::Fail)]],
            ends: vec![FAILED, RETRY, Outcome::Released],
            records: false,
            budget: Budget {
                lost_writes: 1,
                lapses: 1,
                cancels: 1,
                stops: 1,
                retries: 1,
                ends: 2,
                ..Budget::default()
            },
            ..Self::one_task()
        }
    }

    /// A parent with a child of every policy and a grandchild; a transaction processes only one edge.
    #[must_use]
    pub fn cascade() -> Self {
        Self {
            name: "cascade",
            rules: Rules { inline_max: 1, ..Rules::default() },
            servers: 1,
            batches: vec![
                vec![
                    task(0, &[], OnParentFailure::Fail),
                    task(1, &[0], OnParentFailure::Fail),
                    task(2, &[0], OnParentFailure::Run),
                    task(3, &[0, 1], OnParentFailure::Fail),
                ],
                vec![task(4, &[0], OnParentFailure::Wait)],
                vec![task(5, &[3], OnParentFailure::Fail)],
            ],
            ends: vec![FAILED],
            records: false,
            budget: Budget { cancels: 1, retries: 2, ends: 2, ..Budget::default() },
            ..Self::one_task()
        }
    }

    /// Two parents, a child of both, a grandchild.
    #[must_use]
    pub fn diamond() -> Self {
        Self {
            name: "diamond",
            rules: Rules { inline_max: 1, ..Rules::default() },
            servers: 1,
            batches: vec![
                vec![
                    task(0, &[], OnParentFailure::Fail),
                    task(1, &[], OnParentFailure::Fail),
                    task(2, &[0, 1], OnParentFailure::Fail),
                ],
                vec![task(3, &[2, 1], OnParentFailure::Fail)],
            ],
            ends: vec![FAILED],
            records: false,
            budget: Budget { cancels: 2, stops: 1, retries: 3, ends: 3, ..Budget::default() },
            ..Self::one_task()
        }
    }

    /// Three tasks in a queue that runs one at a time and is paused now and then.
    #[must_use]
    pub fn limited() -> Self {
        let batch = (0..3).map(|id| Addition { priority: i8::from(id == 2), ..Addition::new(TaskNo(id)) });
        Self {
            name: "limited queue",
            batches: vec![batch.collect()],
            limited: Some((QueueNo(0), 1)),
            ends: vec![Outcome::Released, RETRY],
            records: false,
            budget: Budget {
                lost_claims: 1,
                lapses: 1,
                deaths: 1,
                pauses: 1,
                priorities: 1,
                cancels: 1,
                ends: 1,
                ..Budget::default()
            },
            ..Self::one_task()
        }
    }

    /// Start times, backoffs, expiry, parking, tasks that run at most once.
    #[must_use]
    pub fn timed() -> Self {
        Self {
            name: "times and parking",
            servers: 1,
            batches: vec![
                vec![
                    Addition { start: Start::After(5), at_most_once: true, ..Addition::new(TaskNo(0)) },
                    Addition { expires: Some(7), ..Addition::new(TaskNo(1)) },
                ],
                vec![Addition { start: Start::After(3), ..task(2, &[1], OnParentFailure::Run) }],
            ],
            ends: vec![
                Outcome::Snooze { after: 4 },
                Outcome::Parked(1),
                Outcome::Crashed(1),
                Outcome::CutShort,
                Outcome::Retry { after: 9, error: 1 },
            ],
            records: false,
            budget: Budget { lapses: 1, cancels: 1, ends: 2, ..Budget::default() },
            ..Self::one_task()
        }
    }

    /// Two builds: one does not know one of two kinds, and the other one comes and goes.
    #[must_use]
    pub fn builds() -> Self {
        Self {
            name: "two builds",
            batches: vec![vec![Addition::new(TaskNo(0))], vec![Addition::new(TaskNo(1))]],
            ends: Vec::new(),
            records: false,
            knows: vec![vec![TaskNo(0)], vec![TaskNo(0), TaskNo(1)]],
            budget: Budget { lost_writes: 1, deaths: 1, cancels: 1, ..Budget::default() },
            ..Self::one_task()
        }
    }

    /// Returns the same world under other rules.
    #[must_use]
    pub fn with(self, rules: Rules) -> Self {
        Self { rules: Rules { inline_max: self.rules.inline_max, ..rules }, ..self }
    }
}

/// Returns all worlds, with the correct protocol.
#[must_use]
pub fn sound_setups() -> Vec<Setup> {
    vec![
        Setup::one_task(),
        Setup::fail_over(),
        Setup::killer(),
        Setup::people(),
        Setup::family(),
        Setup::cascade(),
        Setup::diamond(),
        Setup::limited(),
        Setup::timed(),
        Setup::builds(),
    ]
}
