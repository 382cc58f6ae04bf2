//! Start times of polls, as observed by the watchdog. No clock is read where bodies are polled: the time counts from
//! the first check that observed the poll.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::attempt::Attempt;
use crate::primitives::lock::lock;

/// Duration after which a poll counts as blocking its thread; it is logged once.
const BLOCKS: Duration = Duration::from_secs(1);
/// No further poll may begin.
const RETIRED: u64 = u64::MAX - 1;
/// The current poll was abandoned.
const ABANDONED: u64 = u64::MAX;

#[derive(Default)]
pub(super) struct PollWatch {
    /// Incremented at the beginning and at the end of each poll; odd = a body is being polled.
    beat: AtomicU64,
    seen: Mutex<Seen>,
}

/// The poll that the watchdog last observed.
#[derive(Default)]
struct Seen {
    beat: u64,
    since: Option<Instant>,
    warned: bool,
}

impl PollWatch {
    /// Begins a poll; returns false if this is retired.
    pub fn begin(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        // Only one thread increments it, but it may be retired concurrently.
        beat < RETIRED && self.turn(beat, beat + 1)
    }

    /// Ends a poll; returns false if it was abandoned.
    pub fn end(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        beat < RETIRED && self.turn(beat, beat + 1)
    }

    /// Prevents further polls; returns false if one is in progress.
    pub fn retire(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        beat.is_multiple_of(2) && self.turn(beat, RETIRED)
    }

    /// Abandons this poll and all later ones; returns false if it has ended.
    pub fn abandon(&self, beat: u64) -> bool {
        self.turn(beat, ABANDONED)
    }

    /// Returns true if it was retired or abandoned.
    pub fn is_over(&self) -> bool {
        self.beat.load(Ordering::Acquire) >= RETIRED
    }

    fn turn(&self, from: u64, to: u64) -> bool {
        self.beat.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn is_polling(&self) -> bool {
        self.beat.load(Ordering::Acquire) % 2 == 1
    }

    /// Returns the number of the current poll and since when it was observed, if there is one. For the watchdog only.
    pub fn look(&self, now: Instant) -> Option<(u64, Instant)> {
        let beat = self.beat.load(Ordering::Acquire);
        let mut seen = lock(&self.seen);
        if seen.beat != beat || seen.since.is_none() {
            *seen = Seen { beat, since: Some(now), warned: false };
        }
        seen.since.filter(|_| beat % 2 == 1).map(|since| (beat, since))
    }

    /// Returns true if this poll is still in progress.
    pub fn is_at(&self, beat: u64) -> bool {
        self.beat.load(Ordering::Acquire) == beat
    }

    /// Logs a poll that blocks its thread, once per poll; returns true if it was logged now.
    pub fn warn(&self, attempt: &Attempt, since: Instant, now: Instant) -> bool {
        let lasts = now.saturating_duration_since(since);
        if lasts < BLOCKS || std::mem::replace(&mut lock(&self.seen).warned, true) {
            return false;
        }
        tracing::warn!(
            task = %attempt.id(),
            kind = attempt.claimed.kind,
            attempt = attempt.claimed.attempt,
            seconds = lasts.as_secs(),
            "an async task blocks its thread, and the other tasks on it. Declare it `#[task(blocking)]`, or move what blocks \
             into `tokio::task::spawn_blocking`"
        );
        true
    }
}
