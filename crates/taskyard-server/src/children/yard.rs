//! The line of unstarted tasks and the children that take from it: who gets what, and when another child is wanted.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::child::{Child, Flight, Recall};
use super::frame::ToChild;
use super::knowing::Knowing;
use super::telling::Telling;
use crate::attempt::{Attempt, Interrupt};
use crate::executor::Queued;

/// The longest pause before another start is tried.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Yard {
    pub line: VecDeque<Queued>,
    /// By their numbers.
    pub children: BTreeMap<u64, Child>,
    /// Kinds of functions that run one at a time in one child.
    pub singles: HashSet<String>,
    pub last_child: u64,
    pub last_slot: u64,
    /// Which reasons for parking do not hold in the children, as far as they said.
    pub knowing: Knowing,
    /// The death that the application's hooks are told of.
    pub telling: Telling,
    /// The children were replaced, and none with the newer code has come up: one is needed to say what it knows.
    renewed: bool,
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
    /// Of those that run, those that wait for other tasks.
    pub resting: usize,
    pub unstarted: usize,
    /// Questions that wait for their answers.
    pub questions: usize,
    /// Children whose event loop is blocked, and what runs there.
    pub blocked: usize,
    pub running_blocked: usize,
}

/// A child that takes tasks, while they are handed out.
struct Taker {
    number: u64,
    count: usize,
    singles: usize,
    gift: Vec<(Queued, bool)>,
}

impl Taker {
    fn of(number: u64, child: &Child) -> Option<Self> {
        let (count, singles) = (child.flights.len() - child.resting.len(), child.singles.len());
        child.takes().then_some(Self { number, count, singles, gift: Vec::new() })
    }
}

impl Yard {
    /// Gives tasks to the children that have the fewest, each up to `concurrency` and `ahead` more; of those that run
    /// one at a time, one and `ahead` more.
    pub fn hand_out(&mut self, concurrency: usize, ahead: usize) {
        let limit = concurrency + ahead;
        let mut takers: Vec<Taker> =
            self.children.iter().filter_map(|(number, child)| Taker::of(*number, child)).collect();
        if takers.is_empty() {
            return;
        }
        let mut stay = VecDeque::new();
        while let Some(queued) = self.line.pop_front() {
            let single = self.singles.contains(&queued.claimed.kind);
            let free = takers.iter_mut().filter(|taker| taker.count < limit && !(single && taker.singles > ahead));
            match free.min_by_key(|taker| if single { (taker.singles, taker.count) } else { (0, taker.count) }) {
                Some(taker) => {
                    taker.count += 1;
                    taker.singles += usize::from(single);
                    taker.gift.push((queued, single));
                }
                // Others may have a place behind one that must wait for its turn.
                None if single => stay.push_back(queued),
                None => {
                    self.line.push_front(queued);
                    break;
                }
            }
        }
        stay.append(&mut self.line);
        self.line = stay;
        for Taker { number, gift, .. } in takers.into_iter().filter(|taker| !taker.gift.is_empty()) {
            if let Some(child) = self.children.get_mut(&number) {
                child.give(gift, &mut self.last_slot);
            }
        }
    }

    /// Whether the next start has to wait, after one that failed.
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// Whether one more child should be started now.
    pub fn wants_another(&self, workers: usize, always_one: bool, now: Instant) -> bool {
        if self.is_pausing(now) {
            return false;
        }
        let staying = self.children.values().filter(|child| child.stays());
        let (count, starting) =
            staying.fold((0, false), |(count, starting), child| (count + 1, starting || !child.ready));
        // One at a time: the next is started when this one is ready and there still is a line. After failures one is
        // tried although nothing is claimed for it.
        let asked_for = !self.line.is_empty()
            || (count == 0
                && (always_one
                    || self.renewed
                    || self.failures > 0
                    || self.knowing.is_wanted()
                    || self.telling.is_wanted()));
        !starting && count < workers && asked_for
    }

    /// A child did not come up.
    pub fn start_failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_millis(100) * 2_u32.saturating_pow(self.failures.min(10));
        self.not_before = Some(now + pause.min(PAUSE_MAX));
        if self.is_broken() {
            self.telling.broken();
        }
    }

    pub fn start_succeeded(&mut self) {
        self.renewed = false;
        self.failures = 0;
        self.not_before = None;
    }

    /// The application's code has changed: forgets what was known of the old one, and why its children did not come up.
    pub fn renew(&mut self) {
        self.start_succeeded();
        self.renewed = true;
        self.singles.clear();
        self.knowing = Knowing::default();
    }

    /// Whether the first child is being started, and nothing is known against it.
    pub fn is_coming_up(&self) -> bool {
        let is_starting = |child: &Child| child.stays() && !child.ready;
        self.failures == 0 && !self.children.values().any(Child::takes) && self.children.values().any(is_starting)
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
            if child.blocked {
                // In the place of one that leaves there is another.
                counts.blocked += usize::from(child.stays());
                counts.running_blocked += running.saturating_sub(child.resting.len());
            }
            counts.resting += child.resting.len();
            counts.questions += child.questions();
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
