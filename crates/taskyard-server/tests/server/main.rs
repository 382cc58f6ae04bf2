//! A server on a real database, from claim to exit. One binary, so that it links once.

mod bodies;
mod context;
mod control;
mod ends;
mod identity;
mod inline;
mod log;
mod rescue;
mod stopping;
mod time_limits;
mod timers;
mod workers;
mod world;
