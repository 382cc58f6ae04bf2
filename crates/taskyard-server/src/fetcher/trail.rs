//! How far claims of one range have come: while they come back full the next one goes on where the last one stopped.

use std::time::{Duration, Instant};

use taskyard_core::store::ClaimPlace;

/// How long a place is followed before the next claim starts from the head: at least, and at most.
const PLACE_AGE: Duration = Duration::from_millis(100);
const PLACE_AGE_MAX: Duration = Duration::from_secs(1);
/// The share of the time that looks from the head may cost beyond what a claim costs anyway: one part of so many.
const HEAD_SHARE: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct Trail {
    place: Option<(ClaimPlace, Instant)>,
    /// How long the last full claim took: from the head, and from a place.
    took: [Duration; 2],
}

impl Trail {
    /// Where the next claim starts; the head if `None`.
    pub fn place(&self) -> Option<ClaimPlace> {
        self.place.filter(|(_, since)| since.elapsed() < self.age_max()).map(|(place, _)| place)
    }

    fn age_max(&self) -> Duration {
        let [head, place] = self.took;
        (head.saturating_sub(place) * HEAD_SHARE).clamp(PLACE_AGE, PLACE_AGE_MAX)
    }

    /// A claim that started at `from` was full, and stopped at `next`; `took` if it was large enough to be compared.
    pub fn full(&mut self, from: Option<ClaimPlace>, next: Option<ClaimPlace>, took: Option<Duration>) {
        if let Some(took) = took {
            self.took[usize::from(from.is_some())] = took;
        }
        let since = self.place.filter(|_| from.is_some()).map_or_else(Instant::now, |(_, since)| since);
        self.place = next.map(|next| (next, since));
    }

    /// The next claim starts from the head.
    pub fn reset(&mut self) {
        self.place = None;
    }
}
