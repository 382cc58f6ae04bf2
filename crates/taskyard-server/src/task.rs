//! What the author of a task uses.

pub(crate) mod context;
pub(crate) mod definition;
pub(crate) mod log_layer;
pub(crate) mod progress;
