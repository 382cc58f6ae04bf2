//! Owns nothing but the list of the tests: what the crate does, seen from outside and through other engines.

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
