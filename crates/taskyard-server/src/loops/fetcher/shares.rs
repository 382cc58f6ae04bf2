//! Distributes the capacity of a server among its queues.

use taskyard_core::QueueOrder;

/// Stores between two distributions how much each queue is owed, so that shares are exact for any capacity.
#[derive(Debug, Default)]
pub(super) struct Shares {
    owed: Vec<i64>,
}

impl Shares {
    /// Distributes `capacity` slots among the queues that are not dry, and returns the share of each queue.
    pub fn deal(&mut self, order: &QueueOrder, capacity: usize, dry: &[bool]) -> Vec<usize> {
        let mut shares = vec![0; dry.len()];
        let QueueOrder::Weights(weights) = order else {
            if let Some(first) = dry.iter().position(|dry| !dry) {
                shares[first] = capacity;
            }
            return shares;
        };
        self.owed.resize(dry.len(), 0);
        let weight = |at: usize| i64::from(weights.get(at).copied().unwrap_or(1).max(1));
        let wet: Vec<usize> = (0..dry.len()).filter(|at| !dry[*at]).collect();
        let sum: i64 = wet.iter().map(|at| weight(*at)).sum();
        if sum == 0 {
            return shares;
        }
        // Whole rounds at once, the rest one by one: each slot goes to the queue that is owed most, which then owes a
        // round to the others. After a whole round the debts are as they were before it.
        let rounds = capacity / usize::try_from(sum).unwrap_or(usize::MAX);
        for at in &wet {
            shares[*at] = rounds * usize::try_from(weight(*at)).unwrap_or(0);
        }
        for _ in shares.iter().sum::<usize>()..capacity {
            for at in &wet {
                self.owed[*at] += weight(*at);
            }
            let Some(most) = wet.iter().copied().max_by_key(|at| (self.owed[*at], std::cmp::Reverse(*at))) else {
                break;
            };
            self.owed[most] -= sum;
            shares[most] += 1;
        }
        shares
    }

    /// Resets the debts after a change of queues or weights.
    pub fn forget(&mut self) {
        self.owed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(deals: &[Vec<usize>]) -> Vec<usize> {
        (0..deals[0].len()).map(|at| deals.iter().map(|deal| deal[at]).sum()).collect()
    }

    #[test]
    fn strict_gives_all_to_the_first_that_may_have_some() {
        let mut shares = Shares::default();
        assert_eq!(shares.deal(&QueueOrder::Strict, 9, &[false, false, false]), [9, 0, 0]);
        assert_eq!(shares.deal(&QueueOrder::Strict, 9, &[true, false, false]), [0, 9, 0]);
        assert_eq!(shares.deal(&QueueOrder::Strict, 9, &[true, true, true]), [0, 0, 0]);
    }

    #[test]
    fn weights_come_out_right_for_any_room() {
        let order = QueueOrder::Weights(vec![5, 3, 1]);
        for capacity in [1, 2, 3, 7, 9, 10, 100, 1_000] {
            let mut shares = Shares::default();
            let deals: Vec<_> = (0..9 * 10).map(|_| shares.deal(&order, capacity, &[false; 3])).collect();
            assert!(deals.iter().all(|deal| deal.iter().sum::<usize>() == capacity), "no place is left");
            assert_eq!(sum(&deals), [50 * capacity, 30 * capacity, 10 * capacity], "room {capacity}");
        }
    }

    #[test]
    fn the_share_of_a_dry_queue_goes_to_the_others() {
        let mut shares = Shares::default();
        let order = QueueOrder::Weights(vec![5, 3, 1]);
        let deals: Vec<_> = (0..40).map(|_| shares.deal(&order, 1, &[true, false, false])).collect();
        assert_eq!(sum(&deals), [0, 30, 10]);
        // A share that the queue did not take is not owed to it later.
        let deals: Vec<_> = (0..9).map(|_| shares.deal(&order, 1, &[false; 3])).collect();
        assert_eq!(sum(&deals), [5, 3, 1]);
    }

    #[test]
    fn the_lightest_is_not_starved_and_nonsense_does_not_break_it() {
        let mut shares = Shares::default();
        let order = QueueOrder::Weights(vec![10_000, 1]);
        let deals: Vec<_> = (0..10_001).map(|_| shares.deal(&order, 1, &[false; 2])).collect();
        assert_eq!(sum(&deals), [10_000, 1]);
        let deal = Shares::default().deal(&QueueOrder::Weights(vec![0]), 10, &[false, false]);
        assert_eq!(deal.iter().sum::<usize>(), 10);
    }
}
