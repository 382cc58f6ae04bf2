//! Claims with tasks that this server still holds: undecided ones, and claims in flight. A claim's row is deleted from
//! the database when none of its tasks runs any more.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use taskyard_core::{ClaimId, TaskId, Token};

use crate::primitives::lock::lock;

/// Tasks by claim that one write decides.
pub(crate) type ByClaim = Vec<(ClaimId, Vec<TaskId>)>;

#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<ClaimId, Open>,
    /// Claims that were sent and have no reply yet.
    pending: HashSet<ClaimId>,
}

#[derive(Debug)]
struct Open {
    tasks: Vec<(TaskId, Token)>,
    decided: Vec<TaskId>,
    left: usize,
    since: Instant,
}

impl Open {
    fn undecided(&self) -> Vec<(TaskId, Token)> {
        let decided: HashSet<TaskId> = self.decided.iter().copied().collect();
        self.tasks.iter().filter(|(task, _)| !decided.contains(task)).copied().collect()
    }
}

impl Claims {
    /// Registers a claim that is sent.
    pub fn begin(&self, claim: ClaimId) {
        lock(&self.0).pending.insert(claim);
    }

    /// Records the tasks that a claim returned; none if it failed.
    pub fn open(&self, claim: ClaimId, tasks: Vec<(TaskId, Token)>) {
        let mut inner = lock(&self.0);
        inner.pending.remove(&claim);
        if !tasks.is_empty() {
            let (left, since) = (tasks.len(), Instant::now());
            inner.open.insert(claim, Open { tasks, decided: Vec::new(), left, since });
        }
    }

    /// Returns the claims that a write of these tasks completes, if all of it is written.
    pub fn ended_by(&self, by_claim: &ByClaim) -> Vec<ClaimId> {
        let inner = lock(&self.0);
        let ends = |(claim, tasks): &&(ClaimId, Vec<TaskId>)| {
            inner.open.get(claim).is_some_and(|open| open.left == tasks.len())
        };
        by_claim.iter().filter(ends).map(|(claim, _)| *claim).collect()
    }

    /// Records that these tasks were decided. Returns the claims that this completes.
    pub fn decided(&self, by_claim: ByClaim) -> Vec<ClaimId> {
        let mut inner = lock(&self.0);
        let mut over = Vec::new();
        for (claim, tasks) in by_claim {
            let Some(open) = inner.open.get_mut(&claim) else { continue };
            open.left = open.left.saturating_sub(tasks.len());
            open.decided.extend(tasks);
            if open.left == 0 {
                inner.open.remove(&claim);
                over.push(claim);
            }
        }
        over
    }

    /// Removes claims that a write has closed already.
    pub fn forget(&self, closed: &[ClaimId]) {
        let mut inner = lock(&self.0);
        for claim in closed {
            inner.open.remove(claim);
        }
    }

    /// Returns the claims that were sent and have no reply yet.
    pub fn pending(&self) -> HashSet<ClaimId> {
        lock(&self.0).pending.clone()
    }

    /// Returns true if the claim is open or in flight.
    pub fn knows(&self, claim: ClaimId) -> bool {
        let inner = lock(&self.0);
        inner.open.contains_key(&claim) || inner.pending.contains(&claim)
    }

    /// Returns true if this attempt is held, under any claim. Scans all claims, so it is for rare cases.
    pub fn holds(&self, task: TaskId, token: Token) -> bool {
        lock(&self.0).open.values().any(|open| open.tasks.contains(&(task, token)) && !open.decided.contains(&task))
    }

    /// Returns the tasks of this claim that are not decided.
    pub fn undecided(&self, claim: ClaimId) -> Vec<(TaskId, Token)> {
        lock(&self.0).open.get(&claim).map_or_else(Vec::new, Open::undecided)
    }

    /// Returns some claims of at least this age, in turn, continuing at `place`: with up to `tasks_max` tasks together,
    /// but at least one claim.
    pub fn aged(&self, age: Duration, place: &mut Option<ClaimId>, tasks_max: usize) -> Vec<ClaimId> {
        let inner = lock(&self.0);
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut found, mut tasks) = (Vec::new(), 0);
        for (claim, open) in inner.open.range((from, Bound::Unbounded)) {
            if open.since.elapsed() < age {
                continue;
            }
            tasks += open.tasks.len();
            if tasks > tasks_max && !found.is_empty() {
                *place = found.last().copied();
                return found;
            }
            found.push(*claim);
        }
        *place = None;
        found
    }
}

/// Groups tasks by claim.
pub(super) fn by_claim(tasks: impl Iterator<Item = (ClaimId, TaskId)>) -> ByClaim {
    let mut by_claim = ByClaim::new();
    for (claim, task) in tasks {
        add(&mut by_claim, claim, task);
    }
    by_claim
}

pub(super) fn add(by_claim: &mut ByClaim, claim: ClaimId, task: TaskId) {
    // A batch comes from few claims, so a short list is faster than a map.
    match by_claim.iter_mut().rev().find(|(known, _)| *known == claim) {
        Some((_, tasks)) => tasks.push(task),
        None => by_claim.push((claim, vec![task])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(count: usize) -> Vec<(TaskId, Token)> {
        (0..count).map(|_| (TaskId::generate(), Token::generate())).collect()
    }

    #[test]
    fn a_claim_closes_with_the_write_that_decides_its_last_task() {
        let (claims, one, two) = (Claims::default(), ClaimId::generate(), ClaimId::generate());
        let (of_one, of_two) = (tasks(3), tasks(1));
        claims.begin(one);
        assert!(claims.knows(one) && claims.pending().contains(&one));
        claims.open(one, of_one.clone());
        claims.open(two, of_two.clone());
        let first = by_claim([(one, of_one[0].0), (two, of_two[0].0), (one, of_one[1].0)].into_iter());
        assert_eq!(claims.ended_by(&first), [two]);
        claims.forget(&[two]);
        assert!(claims.decided(first).is_empty());
        assert_eq!(claims.undecided(one), of_one[2..]);
        assert!(claims.holds(of_one[2].0, of_one[2].1) && !claims.holds(of_one[1].0, of_one[1].1));
        let rest = by_claim([(one, of_one[2].0)].into_iter());
        assert_eq!(claims.ended_by(&rest), [one]);
        assert_eq!(claims.decided(rest), [one]);
        assert!(!claims.knows(one) && claims.undecided(one).is_empty());
    }

    #[test]
    fn a_look_at_old_claims_goes_round_and_is_bounded() {
        let claims = Claims::default();
        for _ in 0..10 {
            claims.open(ClaimId::generate(), tasks(300));
        }
        let (mut place, mut seen) = (None, HashSet::new());
        for _ in 0..4 {
            let some = claims.aged(Duration::ZERO, &mut place, 1_000);
            assert!(some.len() <= 3);
            seen.extend(some);
        }
        assert_eq!((seen.len(), place), (10, None));
        assert!(claims.aged(Duration::from_secs(60), &mut place, 1_000).is_empty());
        assert_eq!(claims.aged(Duration::ZERO, &mut place, 1).len(), 1, "one at least");
    }
}
