//! Tests of the public API, by hand and by comparison with other engines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod all_zones;
mod croner;
mod croniter;
mod errors;
mod expression;
mod facts;
mod oracle;
mod properties;
mod random;
mod rare;
mod table;
mod transitions;
mod zones;
