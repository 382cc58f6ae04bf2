//! The statements, one file each under `sql/<entity>/<verb>.sql`.
//!
//! Nothing is built from input: only bound parameters. A statement is prepared once per connection and kept.

/// The text of `sql/<entity>/<verb>.sql`.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql/", $name, ".sql"))
    };
}
pub(crate) use sql;
