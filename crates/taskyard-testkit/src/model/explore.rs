//! Explores every reachable state, shortest paths first.
//!
//! A state is identified by a 128-bit hash of its canonical form: with ten million states the probability of a
//! collision is below 10^-24. A path is stored as a parent state and the number of the action, and replayed when it
//! must be shown.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::setups::Setup;
use super::world::World;

/// The shortest path to a violation.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The violation at its end.
    pub what: String,
    /// The steps of the path.
    pub steps: Vec<String>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (after {} steps)", self.what, self.steps.len())?;
        self.steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "  {:2}. {step}", at + 1))
    }
}

/// Result of an exploration.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the setup.
    pub name: &'static str,
    /// Number of distinct states.
    pub states: usize,
    /// Number of steps between them.
    pub steps: usize,
    /// Number of states in which nothing changes any more by itself.
    pub settled: usize,
    /// Length of the longest of the shortest paths.
    pub depth: usize,
    /// The first violation.
    pub violation: Option<Trace>,
}

struct Walk<'a> {
    setup: &'a Setup,
    known: HashMap<u128, u32>,
    /// By state: the state from which it was reached, the number of the action there, and the number of steps.
    from: Vec<(u32, u16, u16)>,
    /// Steps that carry work forward, for going back from the settled states.
    forward: Vec<(u32, u32)>,
    settled: Vec<u32>,
    queue: VecDeque<(u32, World)>,
    steps: usize,
}

/// Explores everything that can happen in this setup, or up to the first violation.
#[must_use]
pub fn explore(setup: &Setup) -> Report {
    let mut walk = Walk {
        setup,
        known: HashMap::new(),
        from: Vec::new(),
        forward: Vec::new(),
        settled: Vec::new(),
        queue: VecDeque::new(),
        steps: 0,
    };
    walk.enter(World::new(setup), (0, 0, 0));
    let violation = walk.run().or_else(|| walk.dead_end());
    Report {
        name: setup.name,
        states: walk.from.len(),
        steps: walk.steps,
        settled: walk.settled.len(),
        depth: walk.from.last().map_or(0, |(_, _, depth)| usize::from(*depth)),
        violation,
    }
}

impl Walk<'_> {
    fn enter(&mut self, world: World, from: (u32, u16, u16)) -> u32 {
        let next = u32::try_from(self.from.len()).expect("fewer than 2^32 states fit into memory");
        match self.known.entry(fingerprint(&world)) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(free) => free.insert(next),
        };
        self.from.push(from);
        if world.db.is_settled() {
            self.settled.push(next);
        }
        self.queue.push_back((next, world));
        next
    }

    fn run(&mut self) -> Option<Trace> {
        while let Some((at, world)) = self.queue.pop_front() {
            let depth = self.from[at as usize].2 + 1;
            for (number, action) in world.actions(self.setup).into_iter().enumerate() {
                self.steps += 1;
                let mut next = world.clone();
                if let Err(what) = next.apply(action, self.setup) {
                    let mut trace = self.trace(at, what);
                    trace.steps.push(format!("{action:?}"));
                    return Some(trace);
                }
                let to = self.enter(next, (at, number as u16, depth));
                if action.is_progress(&world) && to != at {
                    self.forward.push((at, to));
                }
            }
        }
        None
    }

    /// Returns a state from which no settled one can be reached without a fault or an operator's action, if there is
    /// one.
    fn dead_end(&self) -> Option<Trace> {
        let mut ways_in: Vec<Vec<u32>> = vec![Vec::new(); self.from.len()];
        for (from, to) in &self.forward {
            ways_in[*to as usize].push(*from);
        }
        let mut reaches = vec![false; self.from.len()];
        let mut open: Vec<u32> = self.settled.clone();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reaches[at as usize], true) {
                open.extend(&ways_in[at as usize]);
            }
        }
        let stuck = reaches.iter().position(|reaches| !reaches)?;
        Some(self.trace(stuck as u32, "limbo: from here no end can be reached".into()))
    }

    /// Replays the shortest path to a state.
    fn trace(&self, at: u32, what: String) -> Trace {
        let mut numbers = Vec::new();
        let mut state = at;
        while state != 0 {
            let (parent, number, _) = self.from[state as usize];
            numbers.push(usize::from(number));
            state = parent;
        }
        let mut world = World::new(self.setup);
        let mut steps = Vec::new();
        for number in numbers.into_iter().rev() {
            let action = world.actions(self.setup)[number];
            steps.push(format!("{action:?}"));
            world.apply(action, self.setup).expect("the way was walked before");
        }
        Trace { what, steps }
    }
}

fn fingerprint(world: &World) -> u128 {
    let mut hasher = Wide { low: 0x9e37_79b9_7f4a_7c15, high: 0xd1b5_4a32_d192_ed03 };
    world.hash(&mut hasher);
    u128::from(hasher.high) << 64 | u128::from(hasher.low)
}

/// Two multiply-and-fold hashes with different factors: as wide as needed, and much faster than two SipHashes.
struct Wide {
    low: u64,
    high: u64,
}

impl Wide {
    fn mix(&mut self, word: u64) {
        let fold = |state: u64, factor: u64| {
            let product = u128::from(state ^ word) * u128::from(factor);
            (product >> 64) as u64 ^ product as u64
        };
        self.low = fold(self.low, 0xa076_1d64_78bd_642f).wrapping_add(0x8ebc_6af0_9c88_c6e3);
        self.high = fold(self.high.rotate_left(23), 0xe703_7ed1_a0b4_28db).wrapping_add(0x5899_65cc_7537_4cc3);
    }
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.low
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}
