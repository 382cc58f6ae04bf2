//! A small shop's nightly work, done by Taskyard.
//!
//! - [`import`]: 100,000 rows of the supplier's list into the shop's own SQLite file, range by range, with progress; a
//!   server that is killed in the middle loses one range at most.
//! - [`totals`]: one task per region over the imported items, and a summary with the results of all of them.
//! - [`mail`]: mails over SMTP; a busy mailbox (4xx) is retried, an address that does not exist (5xx) makes the task a dead
//!   letter, which can be retried by hand once the address is corrected; a hook on death records an alarm.
//! - [`report`]: a report every night at three o'clock in Berlin, also in the nights in which the clocks change.
//!
//! # Try it
//!
//! ```sh
//! export NIGHT_SMTP=127.0.0.1:2525                                           # any SMTP server; this is the default
//! cargo run -p night-example -- serve                                       # a server; Ctrl-C stops it
//! cargo run -p night-example -- go                                          # elsewhere: one night's work
//! cargo run -p night-example -- task list                                   # and every other command of taskyard
//! cargo run -p night-example -- dead retry --kind night_example::mail::send
//! ```
//!
//! Kill the server while it imports (`kill -9`), start it again, and see with `task show ID` where it resumed.
//!
//! # Settings
//!
//! The queue's database is `TASKYARD_DATABASE_URL`, as everywhere (PostgreSQL, or an SQLite file). The shop's own are
//! `NIGHT_DB` (`shop.db`), `NIGHT_SMTP` (`127.0.0.1:2525`) and `NIGHT_REST` (0: milliseconds that the import waits
//! after each range, for other writers of the shop's database). `TASKYARD_QUEUES=import` starts a server that only imports.

pub mod evening;
pub mod import;
pub mod mail;
pub mod report;
pub mod shop;
pub mod totals;
