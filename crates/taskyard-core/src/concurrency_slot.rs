//! Releases the concurrency slot of a task body while it waits for another task.
//!
//! Without this, tasks that wait for tasks could occupy every slot, and none of them would ever finish. The executor
//! installs a function that releases the slot of the body on the calling thread; every wait for the end of a task calls
//! it.

use std::any::Any;
use std::sync::OnceLock;

/// Guard of a released slot. Dropping it re-acquires the slot.
pub type SlotRelease = Box<dyn Any + Send>;

/// Releases the slot of the body that runs on the calling thread. Returns `None` if no body runs there.
pub type ReleaseSlot = fn() -> Option<SlotRelease>;

static RELEASE_SLOT: OnceLock<ReleaseSlot> = OnceLock::new();

/// Installs the executor's function for the lifetime of the process. Later calls have no effect.
pub fn install(release: ReleaseSlot) {
    let _ = RELEASE_SLOT.set(release);
}

/// Releases the slot of the body that runs on this thread, if there is one, until the returned guard is dropped.
pub(crate) fn release_slot() -> Option<SlotRelease> {
    RELEASE_SLOT.get().and_then(|release| release())
}
