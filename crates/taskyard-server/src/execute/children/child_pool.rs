//! The queue of unstarted tasks and the pool of children that take from it: assignment, and when another child is
//! needed.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use taskyard_core::backoff::CHILD;

use super::capability_cache::CapabilityCache;
use super::child::{Assignment, Child, Recall};
use super::frame::ToChild;
use super::hook_delivery::HookDelivery;
use crate::attempt::{Attempt, Interrupt};
use crate::execute::Queued;

/// Queue and children of one executor.
#[derive(Default)]
pub(super) struct ChildPool {
    pub run_queue: VecDeque<Queued>,
    /// Children by number.
    pub children: BTreeMap<u64, Child>,
    /// Kinds of functions that run one at a time in one child.
    pub singles: HashSet<String>,
    pub last_child: u64,
    pub last_slot: u64,
    /// Parking reasons that do not apply in the children, as far as they have replied.
    pub capabilities: CapabilityCache,
    /// The delivery of a dead letter to the application's hooks.
    pub hook_delivery: HookDelivery,
    /// Set after the children were replaced, until one with the newer code is ready: one is needed to report what it
    /// can run.
    renewed: bool,
    /// Number of failed starts in a row.
    failures: u32,
    /// Time of the next start after a failure.
    not_before: Option<Instant>,
}

/// Counts over all children at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub active: usize,
    pub idle: usize,
    pub running: usize,
    /// Running tasks that wait for other tasks.
    pub released_slots: usize,
    pub unstarted: usize,
    /// Open requests of children.
    pub questions: usize,
    /// Children whose event loop is blocked, and the number of tasks that run there.
    pub blocked: usize,
    pub running_blocked: usize,
}

/// A child that takes tasks, during an assignment.
struct Taker {
    number: u64,
    count: usize,
    singles: usize,
    assigned: Vec<(Queued, bool)>,
}

impl Taker {
    fn of(number: u64, child: &Child) -> Option<Self> {
        let (count, singles) = (child.assignments.len() - child.released_slots.len(), child.singles.len());
        child.takes().then_some(Self { number, count, singles, assigned: Vec::new() })
    }
}

impl ChildPool {
    /// Assigns tasks to the children that have the fewest, up to `concurrency` plus `ahead` each; of tasks that run one
    /// at a time, up to one plus `ahead`.
    pub fn hand_out(&mut self, concurrency: usize, ahead: usize) {
        let limit = concurrency + ahead;
        let mut takers: Vec<Taker> =
            self.children.iter().filter_map(|(number, child)| Taker::of(*number, child)).collect();
        if takers.is_empty() {
            return;
        }
        let mut stay = VecDeque::new();
        while let Some(queued) = self.run_queue.pop_front() {
            let single = self.singles.contains(&queued.claimed.kind);
            let free = takers.iter_mut().filter(|taker| taker.count < limit && !(single && taker.singles > ahead));
            match free.min_by_key(|taker| if single { (taker.singles, taker.count) } else { (0, taker.count) }) {
                Some(taker) => {
                    taker.count += 1;
                    taker.singles += usize::from(single);
                    taker.assigned.push((queued, single));
                }
                // Tasks behind one that must wait for its turn may still be assigned.
                None if single => stay.push_back(queued),
                None => {
                    self.run_queue.push_front(queued);
                    break;
                }
            }
        }
        stay.append(&mut self.run_queue);
        self.run_queue = stay;
        for Taker { number, assigned, .. } in takers.into_iter().filter(|taker| !taker.assigned.is_empty()) {
            if let Some(child) = self.children.get_mut(&number) {
                child.assign(assigned, &mut self.last_slot);
            }
        }
    }

    /// Returns true if the next start has to wait after a failed one.
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// Returns true if one more child should be started now.
    pub fn wants_another(&self, workers: usize, always_one: bool, now: Instant) -> bool {
        if self.is_pausing(now) {
            return false;
        }
        let staying = self.children.values().filter(|child| child.stays());
        let (count, starting) =
            staying.fold((0, false), |(count, starting), child| (count + 1, starting || !child.ready));
        // A single start at a time: the next follows when this child is ready and tasks are still queued. After failures one
        // is tried although nothing is claimed for it.
        let asked_for = !self.run_queue.is_empty()
            || (count == 0
                && (always_one
                    || self.renewed
                    || self.failures > 0
                    || self.capabilities.is_wanted()
                    || self.hook_delivery.is_wanted()));
        !starting && count < workers && asked_for
    }

    /// Notes that a child failed to start, and delays the next start.
    pub fn start_failed(&mut self, now: Instant) {
        self.not_before = Some(now + CHILD.draw(self.failures));
        self.failures = self.failures.saturating_add(1);
        if self.is_broken() {
            self.hook_delivery.broken();
        }
    }

    pub fn start_succeeded(&mut self) {
        self.renewed = false;
        self.failures = 0;
        self.not_before = None;
    }

    /// Discards everything that is cached about the children, including failed starts, because the application's code
    /// has changed.
    pub fn renew(&mut self) {
        self.start_succeeded();
        self.renewed = true;
        self.singles.clear();
        self.capabilities = CapabilityCache::default();
    }

    /// Returns true if the first child is starting and no start has failed.
    pub fn is_coming_up(&self) -> bool {
        let is_starting = |child: &Child| child.stays() && !child.ready;
        self.failures == 0 && !self.children.values().any(Child::takes) && self.children.values().any(is_starting)
    }

    /// Returns true if children fail to start.
    pub fn is_broken(&self) -> bool {
        self.failures > 0 && !self.children.values().any(Child::takes)
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts { unstarted: self.run_queue.len(), ..Counts::default() };
        for child in self.children.values() {
            let running = child.running();
            counts.running += running;
            if child.blocked {
                // A child that exits is replaced by another one.
                counts.blocked += usize::from(child.stays());
                counts.running_blocked += running.saturating_sub(child.released_slots.len());
            }
            counts.released_slots += child.released_slots.len();
            counts.questions += child.questions();
            counts.unstarted += child.assignments.len() - running;
            if child.assignments.is_empty() {
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

    /// Interrupts the started attempts that match.
    pub fn interrupt(&mut self, interrupt: Interrupt, meant: impl Fn(&Attempt) -> bool) {
        for child in self.children.values() {
            let mut slots = Vec::new();
            for (slot, assignment) in &child.assignments {
                if let Assignment::Started { attempt, .. } = assignment
                    && meant(attempt)
                {
                    attempt.interrupt(interrupt);
                    slots.push((*slot, interrupt));
                }
            }
            if !slots.is_empty() {
                child.send(ToChild::Interrupt(slots));
            }
        }
    }
}
