//! A body that waits for another task gives its place to others meanwhile, so that tasks which wait for tasks never take
//! all places there are.
//!
//! The executor installs how the place of the body that runs on the calling thread is given away; every wait for a task's
//! end asks for it.

use std::any::Any;
use std::sync::OnceLock;

/// Dropping this takes the place again.
pub type SlotRelease = Box<dyn Any + Send>;

/// Gives away the place of the body that runs on the calling thread; `None` if none runs there.
pub type ReleaseSlot = fn() -> Option<SlotRelease>;

static RELEASE_SLOT: OnceLock<ReleaseSlot> = OnceLock::new();

/// Installs the executor's function, for the life of the process. The first one stays.
pub fn install(release: ReleaseSlot) {
    let _ = RELEASE_SLOT.set(release);
}

/// Gives away the place of the body that runs on this thread, if one does, until the answer is dropped.
pub(crate) fn release_slot() -> Option<SlotRelease> {
    RELEASE_SLOT.get().and_then(|release| release())
}
