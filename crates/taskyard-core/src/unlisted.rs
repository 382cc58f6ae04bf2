//! Keeps a struct extensible while literals of it remain possible.

/// Type of a hidden field that has only its default value, so that a literal of its struct outside of this crate must
/// end in `..Default::default()` and still compiles after fields are added. (`#[non_exhaustive]` would forbid the
/// literal.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlisted(());
