//! Which claims still have undecided tasks. A claim's row in the database goes when nothing of it runs any more.

use std::collections::HashMap;
use std::sync::Mutex;

use taskyard_core::ClaimId;

use crate::engine::lock;

/// Undecided tasks per claim.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<ClaimId, usize>>);

impl Claims {
    /// A claim took this many tasks.
    pub fn open(&self, claim: ClaimId, count: usize) {
        if count > 0 {
            lock(&self.0).insert(claim, count);
        }
    }

    /// Of these claims those that a write of so many of their tasks brings to an end, if it is written as a whole.
    pub fn ended_by(&self, by_claim: &[(ClaimId, usize)]) -> Vec<ClaimId> {
        let claims = lock(&self.0);
        by_claim.iter().filter(|(claim, count)| claims.get(claim) == Some(count)).map(|(claim, _)| *claim).collect()
    }

    /// So many tasks of these claims were decided. The claims that are over, and were not before the write.
    pub fn decided(&self, by_claim: &[(ClaimId, usize)]) -> Vec<ClaimId> {
        let mut claims = lock(&self.0);
        let mut over = Vec::new();
        for (claim, count) in by_claim {
            let Some(left) = claims.get_mut(claim) else { continue };
            *left = left.saturating_sub(*count);
            if *left == 0 {
                claims.remove(claim);
                over.push(*claim);
            }
        }
        over
    }

    /// A write closed these already.
    pub fn forget(&self, closed: &[ClaimId]) {
        let mut claims = lock(&self.0);
        for claim in closed {
            claims.remove(claim);
        }
    }
}

/// How many of each claim.
pub(super) fn count(claims: impl Iterator<Item = ClaimId>) -> Vec<(ClaimId, usize)> {
    let mut counts: Vec<(ClaimId, usize)> = Vec::new();
    for claim in claims {
        // A batch comes from a few claims: a short list beats a map.
        match counts.iter_mut().rev().find(|(known, _)| *known == claim) {
            Some((_, count)) => *count += 1,
            None => counts.push((claim, 1)),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_closes_with_the_write_that_decides_its_last_task() {
        let (claims, one, two) = (Claims::default(), ClaimId::generate(), ClaimId::generate());
        claims.open(one, 3);
        claims.open(two, 1);
        let first = count([one, two, one].into_iter());
        assert_eq!(claims.ended_by(&first), [two]);
        claims.forget(&[two]);
        assert!(claims.decided(&first).is_empty());
        let rest = count([one].into_iter());
        assert_eq!(claims.ended_by(&rest), [one]);
        assert_eq!(claims.decided(&rest), [one]);
    }
}
