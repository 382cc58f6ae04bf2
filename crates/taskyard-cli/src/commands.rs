//! The commands: one file each, a folder for each group.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod db;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod queue;
pub(crate) mod schedule;
pub(crate) mod serve;
pub(crate) mod task;
pub(crate) mod top;

mod bulk;
mod call_args;
mod filter;
mod id;
mod interrupt;
mod known;
mod reload;
mod run;

pub(crate) use interrupt::{Interrupt, Interrupts};
