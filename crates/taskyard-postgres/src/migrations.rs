//! The versions of the schema. A migration that was released is never changed; `migrate.rs` applies them.

/// Name and source of each migration; the version of the schema is the number of those that were applied.
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_tables", include_str!("migrations/0001_tables.sql")),
    ("0002_schedules", include_str!("migrations/0002_schedules.sql")),
    ("0003_queues", include_str!("migrations/0003_queues.sql")),
    ("0004_deaths", include_str!("migrations/0004_deaths.sql")),
    ("0005_reasons", include_str!("migrations/0005_reasons.sql")),
    ("0006_rates", include_str!("migrations/0006_rates.sql")),
    ("0007_refused", include_str!("migrations/0007_refused.sql")),
    ("0008_checks", include_str!("migrations/0008_checks.sql")),
    ("0009_added_by", include_str!("migrations/0009_added_by.sql")),
    ("0010_encodings", include_str!("migrations/0010_encodings.sql")),
    ("0011_ends", include_str!("migrations/0011_ends.sql")),
    ("0012_kinds", include_str!("migrations/0012_kinds.sql")),
    ("0013_tags", include_str!("migrations/0013_tags.sql")),
    ("0014_turn", include_str!("migrations/0014_turn.sql")),
    ("0015_set_back", include_str!("migrations/0015_set_back.sql")),
];
/// Source of the schema `taskyard` and of the table `migration`.
pub(crate) const BASE: &str = include_str!("migrations/base.sql");

/// Returns this program's version of the schema.
pub(crate) fn known() -> i64 {
    MIGRATIONS.len() as i64
}
