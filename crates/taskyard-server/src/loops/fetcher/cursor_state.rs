//! The position that claims on one range have reached: while they come back full, the next claim continues where the
//! last one stopped.

use std::time::{Duration, Instant};

use taskyard_core::store::ClaimCursor;

/// Minimum time for which a position is used before the next claim starts from the head.
const CURSOR_AGE: Duration = Duration::from_millis(100);
/// Maximum time for which a position is used.
const CURSOR_AGE_MAX: Duration = Duration::from_secs(1);
/// Bounds the time spent on claims from the head, beyond the cost of an ordinary claim, to one part in this many.
const HEAD_SHARE: u32 = 50;

/// Position and timing of the claims on one range.
#[derive(Debug, Default)]
pub(super) struct CursorState {
    cursor: Option<(ClaimCursor, Instant)>,
    /// Duration of the last full claim: from the head, and from a position.
    took: [Duration; 2],
}

impl CursorState {
    /// Returns the position where the next claim starts; `None` for the head.
    pub fn cursor(&self) -> Option<ClaimCursor> {
        self.cursor.filter(|(_, since)| since.elapsed() < self.age_max()).map(|(cursor, _)| cursor)
    }

    fn age_max(&self) -> Duration {
        let [head, cursor] = self.took;
        (head.saturating_sub(cursor) * HEAD_SHARE).clamp(CURSOR_AGE, CURSOR_AGE_MAX)
    }

    /// Records a full claim from `from` that stopped at `next`. `took` is set if the claim was large enough to be
    /// compared.
    pub fn full(&mut self, from: Option<ClaimCursor>, next: Option<ClaimCursor>, took: Option<Duration>) {
        if let Some(took) = took {
            self.took[usize::from(from.is_some())] = took;
        }
        let since = self.cursor.filter(|_| from.is_some()).map_or_else(Instant::now, |(_, since)| since);
        self.cursor = next.map(|next| (next, since));
    }

    /// Makes the next claim start from the head.
    pub fn reset(&mut self) {
        self.cursor = None;
    }
}
