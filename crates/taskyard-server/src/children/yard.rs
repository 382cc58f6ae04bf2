//! The line of unstarted tasks and the children that take from it: who gets what, and when another child is wanted.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::child::{Child, Flight, Recall};
use super::frame::ToChild;
use super::knowing::Knowing;
use crate::attempt::{Attempt, Interrupt};
use crate::executor::Queued;
use taskyard_core::seal::Keys;

/// The longest pause before another start is tried.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Yard {
    pub line: VecDeque<Queued>,
    /// By their numbers.
    pub children: BTreeMap<u64, Child>,
    pub last_child: u64,
    pub last_slot: u64,
    /// Which reasons for parking do not hold in the children, as far as they said.
    pub knowing: Knowing,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// No start before then.
    not_before: Option<Instant>,
}

/// What there is at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub active: usize,
    pub idle: usize,
    pub running: usize,
    pub unstarted: usize,
}

impl Yard {
    /// Gives tasks to the children that have the fewest, each up to `concurrency` and `ahead` more.
    pub fn hand_out(&mut self, concurrency: usize, ahead: usize, keys: Option<&dyn Keys>) {
        while !self.line.is_empty() {
            let takers = self.children.values().filter(|child| child.takes()).count().max(1);
            let limit = concurrency + ahead;
            let next = self.children.values_mut().filter(|child| child.takes() && child.flights.len() < limit);
            let Some(child) = next.min_by_key(|child| child.flights.len()) else { return };
            let share = self.line.len().div_ceil(takers).min(limit - child.flights.len());
            child.give(self.line.drain(..share), &mut self.last_slot, keys);
        }
    }

    /// Whether the next start has to wait, after one that failed.
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// Whether one more child should be started now.
    pub fn wants_another(&self, workers: usize, now: Instant) -> bool {
        if self.is_pausing(now) {
            return false;
        }
        let staying = self.children.values().filter(|child| child.stays());
        let (count, starting) =
            staying.fold((0, false), |(count, starting), child| (count + 1, starting || !child.ready));
        // One at a time: the next is started when this one is ready and there still is a line. After failures one is
        // tried although nothing is claimed for it.
        let asked_for = !self.line.is_empty() || (count == 0 && (self.failures > 0 || self.knowing.is_wanted()));
        !starting && count < workers && asked_for
    }

    /// A child did not come up.
    pub fn start_failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_millis(100) * 2_u32.saturating_pow(self.failures.min(10));
        self.not_before = Some(now + pause.min(PAUSE_MAX));
    }

    pub fn start_succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// Whether children do not come up.
    pub fn is_broken(&self) -> bool {
        self.failures > 0 && !self.children.values().any(Child::takes)
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts { unstarted: self.line.len(), ..Counts::default() };
        for child in self.children.values() {
            let running = child.running();
            counts.running += running;
            counts.unstarted += child.flights.len() - running;
            if child.flights.is_empty() {
                counts.idle += 1;
            } else {
                counts.active += 1;
            }
        }
        counts
    }

    pub fn recall(&mut self, why: Recall, meant: impl Fn(&Queued) -> bool) -> usize {
        self.children.values_mut().map(|child| child.recall(why, &meant)).sum()
    }

    /// Interrupts the started attempts that are meant.
    pub fn interrupt(&mut self, interrupt: Interrupt, meant: impl Fn(&Attempt) -> bool) {
        for child in self.children.values() {
            let mut slots = Vec::new();
            for (slot, flight) in &child.flights {
                if let Flight::Started { attempt, .. } = flight
                    && meant(attempt)
                {
                    attempt.interrupt(interrupt);
                    slots.push((*slot, super::why(interrupt)));
                }
            }
            if !slots.is_empty() {
                child.send(ToChild::Interrupt(slots));
            }
        }
    }
}
