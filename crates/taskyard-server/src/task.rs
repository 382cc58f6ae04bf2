//! The interface of Rust tasks: their declaration, and what their bodies can call.
//!
//! `definition` is what `#[task]` generates, `context` the handle of a running attempt, `progress` and `log_layer` what a body reports.
//! All of them are public, re-exported at the root, and thin: the data is the attempt's. Not here: errors of bodies
//! (`attempt/task_error.rs`), because an attempt stores them, and whatever surrounds a body (`layer`).
//!
//! Imports `attempt` and the rooms before it.

pub(crate) mod context;
pub(crate) mod definition;
pub(crate) mod log_layer;
pub(crate) mod progress;
