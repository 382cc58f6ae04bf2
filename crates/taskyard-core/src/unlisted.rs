//! Keeps a struct open for further fields while literals of it stay possible.

/// A field of this type has only its default, so that a literal of its struct outside of this crate ends in `..Default::default()`, and
/// goes on to compile when the struct gets further fields. (`#[non_exhaustive]` would forbid the literal.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlisted(());
