//! What only this store has: one file, several processes on it, and whatever can happen to a file.

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
