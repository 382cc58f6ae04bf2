//! Tests of this store alone: one file, several processes on it, and all kinds of damage to files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod busy;
mod child;
mod damage;
mod full;
mod gone;
mod kill;
mod lanes;
mod locks;
mod migration;
mod names;
mod opening;
mod overwritten;
mod place;
mod ranges;
mod rows;
mod views;
mod wake;
mod wal;
