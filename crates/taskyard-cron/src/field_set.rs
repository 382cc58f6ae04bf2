//! [`FieldSet`]: the parsed content of one field, and the steps in it as they were written.

use std::ops::Range;

use crate::days::{OfMonth, OfWeek};
use crate::field::Field;

/// The parsed content of one field.
#[derive(Clone, Debug)]
pub(crate) struct FieldSet {
    pub(crate) field: Field,
    pub(crate) span: Range<usize>,
    /// The plain values.
    pub(crate) bits: u64,
    /// Whether the field is exactly `*` or `?`.
    pub(crate) star: bool,
    pub(crate) begins_with_star: bool,
    pub(crate) of_month: OfMonth,
    pub(crate) of_week: OfWeek,
    pub(crate) steps: Vec<Step>,
}

/// A step as written, for warnings.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) span: Range<usize>,
    pub(crate) from: u32,
    /// Number of values that the step applies to.
    pub(crate) count: u32,
    pub(crate) by: u32,
    /// Whether it extends to the end of the field, as in `*/5` and `3/5`.
    pub(crate) open: bool,
}
