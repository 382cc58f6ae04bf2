//! Tests of this store alone: one file, several processes on it, and all kinds of damage to files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod child;
mod damage;
mod deleted_files;
mod disk_full;
mod killed_process;
mod lanes;
mod linked_files;
mod locks;
mod many_writers;
mod migration;
mod opening;
mod overwritten;
mod ranges;
mod rows;
mod sandbox;
mod schema;
mod views;
mod wake_file;
mod wal;
