//! Choices that are not part of a schedule's text.

/// Options of the parser. The default is what [`Cron::parse`](crate::Cron::parse) uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Seed from which `H` is computed, usually the job's id. Without it `H` is an error.
    pub hash_seed: Option<&'a str>,
    /// Whether a day must be admitted by day-of-month *and* day-of-week. By default, if both are given, either is
    /// enough.
    pub day_and: bool,
    /// Whether a day field that only *begins* with `*`, such as `*/2`, counts as `*` when the two day fields are
    /// combined, as in Vixie cron: then both must admit the day. By default only `*` and `?` themselves do.
    pub vixie_star: bool,
}
