//! Building blocks that know nothing of tasks: a queue between threads, the host's clock, short locks, and the
//! capture of panics.
//!
//! This room imports nothing of the crate. What knows a task, an attempt or the store belongs to another room.

pub(crate) mod batch_queue;
pub(crate) mod clock;
pub(crate) mod lock;
pub(crate) mod panics;
