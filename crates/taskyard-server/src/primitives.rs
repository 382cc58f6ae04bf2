//! Building blocks that know nothing of tasks.

pub(crate) mod backoff;
pub(crate) mod batch_queue;
pub(crate) mod clock;
pub(crate) mod lock;
pub(crate) mod panics;
