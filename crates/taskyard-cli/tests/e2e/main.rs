//! End-to-end tests of the command: the built binary, in directories of its own, on real databases.

#![allow(clippy::unwrap_used)]

mod addresses;
mod bench;
mod commands;
mod demo;
mod demo_resume;
mod errors;
mod first_process;
mod ids;
mod postgres;
mod queues;
mod reading;
mod sandbox;
mod schedules;
mod server;
mod settings;
mod terminal;
mod trust;
