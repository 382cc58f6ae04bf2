//! Checks of every single step: which writer may decide a task, what its write may change, and that acknowledged
//! additions exist.

use taskyard_core::{TaskState, WaitReason};

use super::db::{Db, Task};
use super::finish::{Outcome, Reply, Writer};
use super::invariants::must;
use super::names::TaskNo;
use super::setups::Setup;
use super::world::{Action, Asked, World};

/// Checks that final states are left by a retry only, requests are not dropped, and limits hold.
pub(super) fn step(before: &Db, action: Action, after: &Db) -> Result<(), String> {
    for was in &before.tasks {
        let id = was.id;
        let Some(is) = after.task(id) else {
            return Err(format!("{id:?} has vanished"));
        };
        if was.state.is_final() && is.state != was.state {
            let allowed = match action {
                Action::Retry { task } => task == id || was.fallen_from.is_some(),
                Action::Cascade => was.fallen_from.is_some(),
                Action::Cancel { task } => task == id && was.state == TaskState::Stopped,
                _ => false,
            };
            must!(allowed, "the final state of {id:?} was left: {} became {}", was.state, is.state);
        }
        let running = is.state == TaskState::Doing && is.token == was.token;
        if was.cancel_requested {
            let kept = running && is.cancel_requested || matches!(is.state, TaskState::Cancelled | TaskState::Done);
            must!(kept, "a cancel of {id:?} was forgotten: it is {}", is.state);
        }
        if was.stop_requested && !was.cancel_requested {
            let ended = matches!(is.state, TaskState::Stopped | TaskState::Cancelled | TaskState::Done);
            must!(running && is.stop_requested || ended, "a stop of {id:?} was forgotten: it is {}", is.state);
        }
        let started = was.state != TaskState::Doing && is.state == TaskState::Doing;
        must!(!started || was.state == TaskState::Enqueued, "{id:?} was {} and runs", was.state);
        must!(!started || matches!(action, Action::Claim { .. }), "{id:?} runs without a claim");
    }
    if matches!(action, Action::Claim { .. }) {
        for row in &after.queues {
            let (doing, was) = (after.doing(row.id), before.doing(row.id));
            let full = row.running_max.is_some_and(|max| doing > max) || row.paused;
            must!(!full || doing == was, "{:?} runs {doing} tasks with the limit {:?}", row.id, row.running_max);
        }
    }
    Ok(())
}

/// Checks that every acknowledged addition is stored, unless a fail-over has lost it, which is counted.
pub(super) fn acknowledged(world: &World, setup: &Setup) -> Result<(), String> {
    for (batch, asked) in world.asked.iter().enumerate() {
        let there = setup.batches[batch].iter().filter(|new| world.db.task(new.id).is_some()).count();
        let all = setup.batches[batch].len();
        let right = match asked {
            Asked::Yes => there == all,
            Asked::InDoubt(_) => there == all || there == 0,
            Asked::No | Asked::Looked(_) | Asked::Forgotten => there == 0,
        };
        must!(right, "of the {all} tasks of addition {batch} ({asked:?}) {there} exist");
    }
    Ok(())
}

/// Checks that only the attempt with the lease decides a task, once, and that its reply is correct.
pub(super) fn write(
    before: Option<&Task>,
    writer: &Writer,
    outcome: Outcome,
    reply: Reply,
    after: Option<&Task>,
) -> Result<(), String> {
    let Some(before) = before else {
        must!(reply == Reply::Lost, "a write to a task that does not exist was answered {reply:?}");
        return Ok(());
    };
    let id = before.id;
    let mine = before.token == Some(writer.token);
    match reply {
        Reply::Applied(_) => {
            let state = before.state;
            must!(state == TaskState::Doing, "{id:?} was {state} and was decided again by {writer:?}");
            must!(mine, "{id:?} was decided by {writer:?}, its lease is {:?}", before.token);
            counters(before, outcome, after.ok_or("a decided task is gone")?)
        }
        Reply::AlreadyApplied(_) => {
            must!(
                before.decided_by == Some(writer.token),
                "{writer:?} was told that it had decided {id:?}: it had not"
            );
            Ok(())
        }
        Reply::Lost => {
            must!(
                before.decided_by != Some(writer.token),
                "{writer:?} had decided {id:?} and was told that it is lost"
            );
            must!(before.state != TaskState::Doing || !mine, "{writer:?} holds the lease of {id:?} and was refused");
            Ok(())
        }
    }
}

/// Checks that a refused task is parked only if no server may know its kind.
pub(super) fn refusal(after: &Db, id: TaskNo) -> Result<(), String> {
    let is_parked = after.waiting_row(id).is_some_and(|row| row.reason == WaitReason::Parked);
    must!(!is_parked || !after.may_be_known(id), "{id:?} was parked, and a live build may know its kind");
    Ok(())
}

/// Checks that a record is accepted from the attempt with the lease, and from no other.
pub(super) fn record(before: Option<&Task>, writer: &Writer, reply: Reply) -> Result<(), String> {
    let holds = before.is_some_and(|task| task.state == TaskState::Doing && task.token == Some(writer.token));
    must!(matches!(reply, Reply::Applied(_)) == holds, "a record by {writer:?} was answered {reply:?}");
    Ok(())
}

/// Checks the counters that each end of an attempt changes: attempt, failures, lost, crashes.
fn counters(before: &Task, outcome: Outcome, after: &Task) -> Result<(), String> {
    let flagged = before.cancel_requested || before.stop_requested;
    if flagged && !after.state.is_final() {
        // The request was dropped; the check of the whole step reports it.
        return Ok(());
    }
    let expected = match outcome {
        _ if flagged => [0, 0, 0, 0],
        Outcome::Done(_) | Outcome::Snooze { .. } | Outcome::Beside | Outcome::Interrupted => [0, 0, 0, 0],
        Outcome::Failed(_) | Outcome::Retry { .. } => [0, 1, 0, 0],
        Outcome::CutShort if before.at_most_once => [0, 0, 0, 0],
        Outcome::Released | Outcome::CutShort | Outcome::Parked(_) | Outcome::Refused | Outcome::Expired => {
            [-1, 0, 0, 0]
        }
        Outcome::Crashed(_) => [0, 0, 0, 1],
        Outcome::Lost(_) => [0, 0, 1, 0],
    };
    let counts = |task: &Task| [task.attempt, task.failures, task.lost, task.crashes].map(i64::from);
    let (was, is) = (counts(before), counts(after));
    let change = std::array::from_fn(|at| is[at] - was[at]);
    must!(change == expected, "{outcome:?} of {:?} counted {change:?} and not {expected:?}", before.id);
    Ok(())
}
