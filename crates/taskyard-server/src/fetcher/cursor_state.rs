//! The position that claims on one range have reached: while they come back full, the next claim continues where the
//! last one stopped.

use std::time::{Duration, Instant};

use taskyard_core::store::ClaimPlace;

/// Minimum time for which a position is used before the next claim starts from the head.
const PLACE_AGE: Duration = Duration::from_millis(100);
/// Maximum time for which a position is used.
const PLACE_AGE_MAX: Duration = Duration::from_secs(1);
/// Bounds the time spent on claims from the head, beyond the cost of an ordinary claim, to one part in this many.
const HEAD_SHARE: u32 = 50;

/// Position and timing of the claims on one range.
#[derive(Debug, Default)]
pub(super) struct Trail {
    place: Option<(ClaimPlace, Instant)>,
    /// Duration of the last full claim: from the head, and from a position.
    took: [Duration; 2],
}

impl Trail {
    /// Returns the position where the next claim starts; `None` for the head.
    pub fn place(&self) -> Option<ClaimPlace> {
        self.place.filter(|(_, since)| since.elapsed() < self.age_max()).map(|(place, _)| place)
    }

    fn age_max(&self) -> Duration {
        let [head, place] = self.took;
        (head.saturating_sub(place) * HEAD_SHARE).clamp(PLACE_AGE, PLACE_AGE_MAX)
    }

    /// Records a full claim from `from` that stopped at `next`. `took` is set if the claim was large enough to be
    /// compared.
    pub fn full(&mut self, from: Option<ClaimPlace>, next: Option<ClaimPlace>, took: Option<Duration>) {
        if let Some(took) = took {
            self.took[usize::from(from.is_some())] = took;
        }
        let since = self.place.filter(|_| from.is_some()).map_or_else(Instant::now, |(_, since)| since);
        self.place = next.map(|next| (next, since));
    }

    /// Makes the next claim start from the head.
    pub fn reset(&mut self) {
        self.place = None;
    }
}
