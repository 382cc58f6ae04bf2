//! The test clock.

use rusqlite::params;
use taskyard_core::store::TestClock;
use taskyard_core::time::to_micros;

use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::{PendingNotifications, Tx};

/// Moves, freezes or resets the clock of every process on this file.
pub(crate) fn set(tx: &mut Tx<'_>, clock: TestClock) -> Outcome<()> {
    let (offset_us, frozen_at) = match clock {
        TestClock::Real => (0, None),
        TestClock::Offset(offset_us) => (offset_us, None),
        TestClock::Frozen(at) => (0, Some(to_micros(at))),
    };
    tx.run(sql!("clock/set"), params![offset_us, frozen_at])?;
    // Tasks that sleep until a time of this clock must read it again.
    tx.memory.pending_notifications.add(PendingNotifications {
        work: true,
        schedules: true,
        ..PendingNotifications::default()
    });
    Ok(())
}
