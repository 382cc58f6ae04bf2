//! The loops of a server.

pub(crate) mod bisect;
pub(crate) mod completer;
pub(crate) mod fetcher;
pub(crate) mod heartbeat;
pub(crate) mod recorder;
pub(crate) mod state;
