//! A task inside a write transaction: its row ([`row`]), its transitions between states ([`moves`]), its parents and
//! children ([`family`]), its attempts ([`history`]).

pub(crate) mod family;
pub(crate) mod history;
pub(crate) mod moves;
pub(crate) mod row;
