//! The steps of a sequence, and their frequencies.

use proptest::collection::vec;
use proptest::prelude::*;
use taskyard_core::state::OnParentFailure;

use crate::model::{Hold, Outcome, Start};

/// A task to be added; parents are counted back from the newest existing task.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of `NewTask`")]
pub struct NewStep {
    pub parents: Vec<u8>,
    pub on_parent_failure: OnParentFailure,
    pub queue: u8,
    pub priority: i8,
    pub python: bool,
    pub start: Start,
    pub expires: Option<i64>,
    pub unique: Option<(u8, Hold)>,
    pub at_most_once: bool,
    pub auto_remove: bool,
    pub context: Option<u8>,
}

/// The end of one attempt.
#[derive(Clone, Debug)]
pub struct End {
    /// Selects the attempt: of those that hold their lease, or of all that there ever were.
    pub run: u8,
    /// Whether any attempt may be selected, also one whose lease is over or whose end was written.
    pub any: bool,
    /// Outcome of the attempt.
    pub outcome: Outcome,
    /// A context to be stored with it.
    pub context: Option<u8>,
    /// Number of log lines to be stored with it.
    pub logs: u8,
}

/// An operation. Numbers are taken modulo the number of existing objects.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each variant is a method of the seam")]
pub enum Step {
    Add(Vec<NewStep>),
    AddTaken { task: u8 },
    AddOrphan,
    Claim { server: u8, python: bool, queues: Option<Vec<u8>>, limit: usize, alone: bool, reply_lost: bool },
    ReadBack { claim: u8 },
    Finish(Vec<End>),
    WriteAgain { write: u8 },
    Record { run: u8, any: bool, context: Option<u8>, logs: u8 },
    Beat { server: u8 },
    Rescue { server: u8, stale: bool },
    Enter,
    Leave { server: u8 },
    Cancel(Vec<u8>),
    Stop(Vec<u8>),
    Retry(Vec<u8>),
    Purge(Vec<u8>),
    Priority { tasks: Vec<u8>, priority: i8 },
    Edit { task: u8, queue: u8, priority: i8 },
    Pause { queue: u8, paused: bool },
    Limit { queue: u8, running_max: Option<usize> },
    Apart { queue: u8 },
    Unpark { python: bool, reason: u8 },
    Promote { seconds: i64 },
    Cascade,
}

impl Step {
    /// Returns the name of the step in the tally.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Add(_) | Self::AddTaken { .. } | Self::AddOrphan => "step: add",
            Self::Claim { .. } | Self::ReadBack { .. } => "step: claim",
            Self::Finish(_) | Self::WriteAgain { .. } | Self::Record { .. } => "step: write",
            Self::Beat { .. } | Self::Rescue { .. } | Self::Enter | Self::Leave { .. } => "step: server",
            Self::Cancel(_) | Self::Stop(_) | Self::Retry(_) | Self::Purge(_) => "step: control",
            Self::Priority { .. } | Self::Edit { .. } => "step: change",
            Self::Pause { .. } | Self::Limit { .. } | Self::Apart { .. } => "step: queue",
            Self::Unpark { .. } | Self::Promote { .. } | Self::Cascade => "step: upkeep",
        }
    }
}

/// Generates lists of `length` steps, seldom a few less; shrinking leaves out those that are not needed.
pub fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(proptest::option::weighted(0.99, step()), length).prop_map(|steps| steps.into_iter().flatten().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        19 => vec(new_step(), 1..4).prop_map(Step::Add),
        1 => any::<u8>().prop_map(|task| Step::AddTaken { task }),
        1 => Just(Step::AddOrphan),
        26 => claim(),
        2 => any::<u8>().prop_map(|claim| Step::ReadBack { claim }),
        24 => vec(end(), 1..4).prop_map(Step::Finish),
        4 => any::<u8>().prop_map(|write| Step::WriteAgain { write }),
        3 => (any::<u8>(), few(), proptest::option::of(0_u8..9), 0_u8..3)
            .prop_map(|(run, any, context, logs)| Step::Record { run, any, context, logs }),
        2 => any::<u8>().prop_map(|server| Step::Beat { server }),
        4 => (any::<u8>(), few()).prop_map(|(server, stale)| Step::Rescue { server, stale }),
        3 => Just(Step::Enter),
        1 => any::<u8>().prop_map(|server| Step::Leave { server }),
        2 => some_tasks().prop_map(Step::Cancel),
        3 => some_tasks().prop_map(Step::Stop),
        8 => some_tasks().prop_map(Step::Retry),
        1 => some_tasks().prop_map(Step::Purge),
        3 => (some_tasks(), -2_i8..3).prop_map(|(tasks, priority)| Step::Priority { tasks, priority }),
        2 => (any::<u8>(), 0_u8..3, -2_i8..3)
            .prop_map(|(task, queue, priority)| Step::Edit { task, queue, priority }),
        2 => (0_u8..3, proptest::bool::weighted(0.3)).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        2 => (0_u8..3, proptest::option::of(prop_oneof![1 => Just(0_usize), 9 => 1_usize..4]))
            .prop_map(|(queue, running_max)| Step::Limit { queue, running_max }),
        1 => (0_u8..3).prop_map(|queue| Step::Apart { queue }),
        2 => (few(), 0_u8..2).prop_map(|(python, reason)| Step::Unpark { python, reason }),
        7 => prop_oneof![2 => Just(0_i64), 6 => 1_i64..6, 3 => 5_i64..30, 1 => Just(60), 1 => Just(100)]
            .prop_map(|seconds| Step::Promote { seconds }),
        1 => Just(Step::Cascade),
    ]
}

/// Generates a value that is seldom true.
fn few() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn some_tasks() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..3)
}

fn new_step() -> impl Strategy<Value = NewStep> {
    let policy = prop_oneof![
        4 => Just(OnParentFailure::Fail),
        1 => Just(OnParentFailure::Run),
        1 => Just(OnParentFailure::Wait),
    ];
    let start = prop_oneof![
        8 => Just(Start::Now),
        1 => (0_i64..20).prop_map(Start::After),
        1 => (0_i64..60).prop_map(Start::At),
    ];
    let hold = prop_oneof![Just(Hold::Finished), Just(Hold::Started), (1_i64..40).prop_map(Hold::For)];
    let parents = prop_oneof![5 => Just(Vec::new()), 2 => vec(0_u8..8, 1..2), 1 => vec(0_u8..8, 2..4)];
    let first = (parents, policy, 0_u8..3, -1_i8..2, few(), start);
    let second = (
        proptest::option::weighted(0.1, 1_i64..60),
        proptest::option::weighted(0.2, (0_u8..3, hold)),
        few(),
        few(),
        proptest::option::weighted(0.2, 0_u8..9),
    );
    (first, second).prop_map(|(first, second)| {
        let (parents, on_parent_failure, queue, priority, python, start) = first;
        let (expires, unique, at_most_once, auto_remove, context) = second;
        NewStep {
            parents,
            on_parent_failure,
            queue,
            priority,
            python,
            start,
            expires,
            unique,
            at_most_once,
            auto_remove,
            context,
        }
    })
}

fn claim() -> impl Strategy<Value = Step> {
    let queues = proptest::option::weighted(0.12, vec(0_u8..3, 1..3));
    (any::<u8>(), few(), queues, 1_usize..5, proptest::bool::weighted(0.15), few()).prop_map(
        |(server, python, queues, limit, alone, reply_lost)| Step::Claim {
            server,
            python,
            queues,
            limit,
            alone,
            reply_lost,
        },
    )
}

fn end() -> impl Strategy<Value = End> {
    let after = || prop_oneof![Just(0_i64), 1_i64..20];
    let outcome = prop_oneof![
        6 => (0_u8..9).prop_map(Outcome::Done),
        4 => (0_u8..9).prop_map(Outcome::Failed),
        3 => (after(), 0_u8..9).prop_map(|(after, error)| Outcome::Retry { after, error }),
        1 => after().prop_map(|after| Outcome::Snooze { after }),
        2 => Just(Outcome::Released),
        2 => Just(Outcome::CutShort),
        1 => (0_u8..2).prop_map(Outcome::Parked),
        3 => (0_u8..9).prop_map(Outcome::Crashed),
        2 => Just(Outcome::Beside),
        2 => Just(Outcome::Interrupted),
        1 => (0_u8..9).prop_map(Outcome::Lost),
    ];
    (any::<u8>(), few(), outcome, proptest::option::weighted(0.1, 0_u8..9), 0_u8..2)
        .prop_map(|(run, any, outcome, context, logs)| End { run, any, outcome, context, logs })
}
