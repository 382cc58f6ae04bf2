//! The loops by which a server lives: it claims ([`fetcher`]), writes ends ([`completer`]), writes records of running attempts
//! ([`recorder`]) and renews its lease ([`heartbeat`]). They share [`state`].
//!
//! Each loop runs until the server stops and survives every outage of the database; one that panics ends the server. Not here: periodic
//! work for all servers (`upkeep`), the running of bodies (`execute`), starting and stopping (`server`).
//!
//! Imports `execute` and the rooms before it.

pub(crate) mod bisect;
pub(crate) mod completer;
pub(crate) mod fetcher;
pub(crate) mod heartbeat;
pub(crate) mod recorder;
pub(crate) mod state;
