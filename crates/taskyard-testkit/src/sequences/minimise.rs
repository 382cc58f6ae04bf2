//! Shortens a sequence that shows a difference.
//!
//! proptest shrinks value by value from the front; a run on a database takes milliseconds, and leaving out steps
//! matters most. So the sequence is cut after the step that differs, then halves, quarters, and at last single steps
//! and single items of steps are left out, as long as some difference remains.

use std::time::{Duration, Instant};

use super::Difference;
use super::steps::Step;

/// Time after which the shortest sequence found so far is reported.
const MINIMISE_MAX: Duration = Duration::from_secs(60);

/// Returns the shortest sequence found, and its difference.
pub(super) async fn minimise(
    steps: Vec<Step>,
    difference: Difference,
    differs: impl AsyncFn(&[Step]) -> Option<Difference>,
) -> (Vec<Step>, Difference) {
    let until = Instant::now() + MINIMISE_MAX;
    let mut best = (steps, difference);
    best.0.truncate(best.1.at);
    let mut size = best.0.len().div_ceil(2);
    while size > 0 && Instant::now() < until {
        let mut at = 0;
        let mut found = false;
        while at < best.0.len() && Instant::now() < until {
            let mut shorter = best.0.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            match differs(&shorter).await {
                Some(difference) => {
                    shorter.truncate(difference.at);
                    best = (shorter, difference);
                    found = true;
                }
                None => at += size,
            }
        }
        if !found || size > 1 {
            size /= 2;
        }
    }
    let mut at = 0;
    while at < best.0.len() && Instant::now() < until {
        let mut simpler = best.0[at].simpler().into_iter();
        let mut found = false;
        while let Some(step) = simpler.next().filter(|_| !found) {
            let mut shorter = best.0.clone();
            shorter[at] = step;
            if let Some(difference) = differs(&shorter).await {
                shorter.truncate(difference.at);
                best = (shorter, difference);
                found = true;
            }
        }
        at += usize::from(!found);
    }
    best
}

impl Step {
    /// Returns variants of the step with one item less.
    fn simpler(&self) -> Vec<Self> {
        fn without<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
            let one_less =
                |at| items.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, item)| item.clone());
            (0..items.len()).filter(|_| items.len() > 1).map(|at| one_less(at).collect()).collect()
        }
        match self {
            Self::Add(news) => without(news).into_iter().map(Self::Add).collect(),
            Self::Finish(ends) => without(ends).into_iter().map(Self::Finish).collect(),
            Self::Cancel(tasks) => without(tasks).into_iter().map(Self::Cancel).collect(),
            Self::Stop(tasks) => without(tasks).into_iter().map(Self::Stop).collect(),
            Self::Retry(tasks) => without(tasks).into_iter().map(Self::Retry).collect(),
            Self::Purge(tasks) => without(tasks).into_iter().map(Self::Purge).collect(),
            _ => Vec::new(),
        }
    }
}
