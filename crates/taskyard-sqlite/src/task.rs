//! One task inside a write transaction: its row ([`row`]), its moves from state to state ([`moves`]), its family
//! ([`family`]), its history ([`history`]).

pub(crate) mod family;
pub(crate) mod history;
pub(crate) mod moves;
pub(crate) mod row;
