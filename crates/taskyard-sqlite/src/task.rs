//! A task inside a write transaction: its row ([`row`]), its transitions between states ([`transitions`]), its parents and
//! children ([`dependents`]), its attempts ([`history`]).

pub(crate) mod dependents;
pub(crate) mod history;
pub(crate) mod row;
pub(crate) mod transitions;
