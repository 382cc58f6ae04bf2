//! Since when a body has been polled, as the watchdog sees it. No clock is read where bodies are polled: the time counts
//! from the first look that saw the poll.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::attempt::Attempt;
use crate::engine::lock;

/// A poll that lasts this long blocks its thread; it is warned about, once.
const BLOCKS: Duration = Duration::from_secs(1);
/// No poll begins any more.
const RETIRED: u64 = u64::MAX - 1;
/// The poll that went on was given up.
const ABANDONED: u64 = u64::MAX;

#[derive(Default)]
pub(super) struct PollWatch {
    /// Grows at the beginning and at the end of each poll; odd = a body is being polled.
    beat: AtomicU64,
    seen: Mutex<Seen>,
}

/// The poll that the watchdog saw last.
#[derive(Default)]
struct Seen {
    beat: u64,
    since: Option<Instant>,
    warned: bool,
}

impl PollWatch {
    /// A poll begins; `false` if this is retired.
    pub fn begin(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        // Nobody else counts, but it may be retired just now.
        beat < RETIRED && self.turn(beat, beat + 1)
    }

    /// The poll ends; `false` if it was given up.
    pub fn end(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        beat < RETIRED && self.turn(beat, beat + 1)
    }

    /// No poll begins any more; `false` if one goes on.
    pub fn retire(&self) -> bool {
        let beat = self.beat.load(Ordering::Acquire);
        beat.is_multiple_of(2) && self.turn(beat, RETIRED)
    }

    /// Gives this poll up, and all that would follow; `false` if it has ended.
    pub fn abandon(&self, beat: u64) -> bool {
        self.turn(beat, ABANDONED)
    }

    /// Whether it was retired or given up.
    pub fn is_over(&self) -> bool {
        self.beat.load(Ordering::Acquire) >= RETIRED
    }

    fn turn(&self, from: u64, to: u64) -> bool {
        self.beat.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn is_polling(&self) -> bool {
        self.beat.load(Ordering::Acquire) % 2 == 1
    }

    /// The number of the poll that goes on now, if one does, and since when it lasts. For the watchdog only.
    pub fn look(&self, now: Instant) -> Option<(u64, Instant)> {
        let beat = self.beat.load(Ordering::Acquire);
        let mut seen = lock(&self.seen);
        if seen.beat != beat || seen.since.is_none() {
            *seen = Seen { beat, since: Some(now), warned: false };
        }
        seen.since.filter(|_| beat % 2 == 1).map(|since| (beat, since))
    }

    /// Whether this poll still goes on.
    pub fn is_at(&self, beat: u64) -> bool {
        self.beat.load(Ordering::Acquire) == beat
    }

    /// Warns of a poll that blocks its thread, once per poll; whether it did so now.
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
