//! Owns the choices that a text cannot make for itself.

/// How a text is read. The default is what [`Cron::parse`](crate::Cron::parse) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// What `H` is computed from: usually the job's id. Without it `H` is an error.
    pub hash_seed: Option<&'a str>,
    /// A day must be admitted by day-of-month *and* day-of-week. By default, when both are given, either is enough.
    pub day_and: bool,
    /// A day field that only *begins* with `*`, such as `*/2`, counts as `*` when the two day fields are combined, as
    /// in Vixie cron: then both must admit the day. By default only `*` and `?` themselves do.
    pub vixie_star: bool,
}
